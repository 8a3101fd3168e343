//! Miri, an interpreter that knows what Rust leaves undefined: the slots (on the heap, for it maps no files) with their
//! cells shared between threads, and the pure core, by the crates' own tests in small sizes.
//!
//! Not here: what maps files, forks or asks the kernel for barriers (Miri has none of it: `slots`, `crash` run them), and what
//! is only slow in an interpreter and has no `unsafe` of its own (whole recorders, the corpus of the scan).

use std::process::Command;

use anyhow::Context;
use chaperone_tests::{figures, paths};

/// Cases of a property test.
const CASES: &str = "3";
/// Crate, features, and the tests by the beginnings of their names.
const RUNS: [(&str, &str, &[&str]); 2] = [
    ("chaperone-wal", "", &["slots::tests::uses", "slots::tests::cuts", "--skip", "cuts_find_every_known"]),
    (
        "chaperone-audit",
        "testing",
        &[
            "state::",
            "fingerprint::",
            "histogram::",
            "window::",
            "recorder::slot::",
            "scan::tests::pointers",
            "scan::tests::blocks",
        ],
    ),
];

#[test]
fn nothing_is_undefined() -> anyhow::Result<()> {
    let mut passed = 0;
    for (package, features, filters) in RUNS {
        let mut miri = Command::new("rustup");
        miri.current_dir(paths::root()).args(["run", "nightly", "cargo", "miri", "test", "--lib", "-p", package]);
        miri.args(["--features", features, "--"]).args(filters);
        for inherited in ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
            miri.env_remove(inherited);
        }
        miri.env("CARGO_TARGET_DIR", paths::target().join("miri"));
        // The clock and the random numbers are the machine's; `parking_lot` keeps pointers in integers.
        miri.env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-permissive-provenance").env("PROPTEST_CASES", CASES);
        let output = miri.output().context("cannot start rustup")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        anyhow::ensure!(output.status.success(), "{miri:?}: {out}{err}");
        let result = out.lines().find_map(|line| line.strip_prefix("test result: ok. ")).context("no result")?;
        println!("{package}: {result}");
        passed += result.split(' ').next().context("no number")?.parse::<u64>()?;
    }
    figures::record("miri", "tests", passed)
}

/// The control: a program that reads what it must not is found.
#[test]
fn what_is_undefined_is_found() -> anyhow::Result<()> {
    let dir = paths::scratch("miri")?;
    std::fs::create_dir_all(dir.join("src"))?;
    let manifest = "[workspace]\n[package]\nname = \"control\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(dir.join("Cargo.toml"), manifest)?;
    // Written so that this file does not hold the word.
    let keyword = ["un", "safe"].concat();
    let program = format!(
        "fn main() {{ let v = vec![1u64; 4]; let p = v.as_ptr(); drop(v); println!(\"{{}}\", {keyword} {{ *p }}); }}"
    );
    std::fs::write(dir.join("src/main.rs"), program)?;
    let mut miri = Command::new("rustup");
    miri.current_dir(&dir).args(["run", "nightly", "cargo", "miri", "run"]);
    for inherited in ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
        miri.env_remove(inherited);
    }
    let output = miri.env("CARGO_TARGET_DIR", dir.join("target")).output().context("cannot start rustup")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let found = !output.status.success() && said.contains("Undefined Behavior");
    figures::record("miri", "control_found", u64::from(found))?;
    anyhow::ensure!(found, "{said}");
    Ok(())
}
