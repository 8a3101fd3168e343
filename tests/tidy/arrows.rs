//! The dependency arrows between the crates: one way, and only those of the design.

use std::collections::BTreeSet;
use std::process::Command;

use cargo_metadata::MetadataCommand;
use chaperone_tests::paths;

const WAL: &str = "chaperone-wal";
const AUDIT: &str = "chaperone-audit";
const COLLECTOR: &str = "chaperone-collector";
const WEB: &str = "chaperone-web";
const SERVICE: &str = "chaperone";
const TESTS: &str = "chaperone-tests";

/// `(from, to)`: `from` may depend on `to`.
const ALLOWED: [(&str, &str); 8] = [
    (AUDIT, WAL),
    (COLLECTOR, AUDIT),
    (WEB, COLLECTOR),
    (WEB, AUDIT),
    (SERVICE, COLLECTOR),
    (SERVICE, WEB),
    (SERVICE, AUDIT),
    // `chaperone wal inspect` reads logs.
    (SERVICE, WAL),
];

/// The manifests, whatever the kind of the dependency: for tests and build scripts the arrows hold as well.
#[test]
fn crates_depend_on_each_other_one_way() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().current_dir(paths::root()).no_deps().exec()?;
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(members, BTreeSet::from([WAL, AUDIT, COLLECTOR, WEB, SERVICE, TESTS]));
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let from = package.name.as_str();
        for dependency in package.dependencies.iter().filter(|dependency| members.contains(dependency.name.as_str())) {
            let to = dependency.name.as_str();
            // A crate's own tests may switch on its features by naming itself.
            let allowed = from == TESTS || from == to || ALLOWED.contains(&(from, to));
            if !allowed {
                wrong.push(format!("{from} → {to} ({})", dependency.kind));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the design does not have: {wrong:?}");
    Ok(())
}

/// The collector takes the core of the audit library only: no log, no mapping, no Kafka client.
#[test]
fn the_collector_reaches_neither_the_log_nor_kafka() -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(paths::root()).args([
        "tree",
        "--offline",
        "-p",
        COLLECTOR,
        "-e",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let output = cargo.output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout)?;
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(AUDIT), "{names:?}");
    for unwanted in [WAL, "rdkafka"] {
        assert!(!names.contains(unwanted), "{COLLECTOR} reaches {unwanted}");
    }
    Ok(())
}
