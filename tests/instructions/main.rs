//! Instructions of the hot paths, by callgrind: the same on every machine to a percent, so that CI can hold them.
//!
//! The loops are the binary `gates` of the audit library, built for release. Each costs what two runs of different length
//! differ by, and is held as a multiple of its floor in the same run. A new one is a row of [`GATES`], its loop, and a promise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use chaperone_tests::{figures, paths, process};

/// Loop, its floor, and the figure that says how many times the floor it is.
const GATES: [(&str, &str, &str); 8] = [
    ("recorder", "recorder-floor", "recorder"),
    ("counter", "recorder-floor", "counter"),
    // The same rule and clock and a map behind a lock: what the promise of `recorder` must not let through.
    ("recorder-control", "recorder-floor", "recorder_control"),
    ("report", "recorder-floor", "report"),
    ("slot", "slot-floor", "slot"),
    // A map behind a lock: what the promise of `slot` must not let through.
    ("slot-control", "slot-floor", "slot_control"),
    ("scan", "scan-floor", "scan"),
    ("append", "append-floor", "append"),
];
const TIMES: u64 = 1_000;

/// Builds the loops: release, as users have them, and nothing but the library.
fn gates() -> anyhow::Result<PathBuf> {
    let mut cargo = process::command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(paths::root()).args(["build", "--release", "-p", "chaperone-audit", "--features", "gates"]);
    let status = cargo.args(["--bin", "gates", "--target-dir"]).arg(paths::target()).status()?;
    ensure!(status.success(), "cargo build ended with {status}");
    Ok(paths::target().join("release/gates"))
}

/// Instructions of one run.
fn run(gates: &std::path::Path, name: &str, times: u64) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(gates).args([name, &times.to_string()]);
    let output = valgrind.stdin(Stdio::null()).output().context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} ended with {}: {text}", output.status);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.with_context(|| format!("callgrind counted nothing: {text}"))?;
    Ok(collected.trim().parse()?)
}

/// Instructions of doing it once.
fn once(gates: &std::path::Path, name: &str) -> anyhow::Result<f64> {
    let more = run(gates, name, 3 * TIMES)?.checked_sub(run(gates, name, TIMES)?).context("less for more")?;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    Ok(more as f64 / (2 * TIMES) as f64)
}

#[test]
fn hot_paths_take_a_few_times_their_floor() -> anyhow::Result<()> {
    let gates = gates()?;
    let mut floors = BTreeMap::new();
    for (name, floor, figure) in GATES {
        let own = once(&gates, name)?;
        let floor = match floors.get(floor) {
            Some(known) => *known,
            None => *floors.entry(floor).or_insert(once(&gates, floor)?),
        };
        figures::record("instructions", figure, own.round())?;
        figures::record("instructions", &format!("{figure}_ratio"), (own / floor * 100.0).round() / 100.0)?;
    }
    Ok(())
}

/// A loop that did not do its work would be fast.
#[test]
fn a_run_that_fails_is_no_count() -> anyhow::Result<()> {
    let failed = run(&gates()?, "no-such-loop", TIMES);
    ensure!(failed.is_err(), "{failed:?}");
    Ok(())
}
