//! The slots of `chaperone-wal`: every schedule of its models, and processes that die amid counting.
//!
//! Both are tests of that crate, run from here because one takes a compiler flag and a target folder of its own
//! (`--cfg loom`), and because both give figures.

use std::process::Command;

use anyhow::Context;
use chaperone_tests::{figures, paths};

/// Runs cargo at the root and answers what it printed; a failure is an error with all of it.
fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(paths::root()).args(arguments).envs(environment.iter().copied());
    let output = cargo.output().context("cannot start cargo")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    anyhow::ensure!(output.status.success(), "cargo {arguments:?}: {said}");
    Ok(said)
}

/// The number before a word, in the one line that holds the word `line`.
fn number_before(text: &str, line: &str, word: &str) -> anyhow::Result<u64> {
    let found = text.lines().find(|l| l.contains(line)).with_context(|| format!("no line with '{line}' in: {text}"))?;
    let (before, _) = found.rsplit_once(word).with_context(|| format!("no '{word}' in: {found}"))?;
    let number = before.split_whitespace().next_back().with_context(|| format!("no number in: {found}"))?;
    Ok(number.parse()?)
}

/// Models hold in every schedule, and each known mistake is found. Nothing is optimised but loom itself: the compiler
/// takes longer than the models.
#[test]
fn models() -> anyhow::Result<()> {
    let target = paths::target().join("loom");
    let arguments = [
        "test",
        "--config",
        "profile.dev.package.loom.opt-level=2",
        "--config",
        "profile.dev.package.generator.opt-level=2",
        "-p",
        "chaperone-wal",
        "--lib",
        "slots::models",
    ];
    let environment = [
        ("RUSTFLAGS", "--cfg loom"),
        ("CARGO_PROFILE_DEV_DEBUG", "0"),
        ("CARGO_TARGET_DIR", target.to_str().context("a path in UTF-8")?),
    ];
    let said = cargo(&arguments, &environment)?;
    figures::record("slots", "models", number_before(&said, "test result", " passed")?)
}

fn killed(section: &str, kills: &str) -> anyhow::Result<()> {
    let arguments =
        ["test", "--profile", "ci", "--workspace", "--test", "slots_killed", "--", "--nocapture", "--test-threads=1"];
    cargo(&["build", "--profile", "ci", "--workspace", "--examples"], &[])?;
    let said = cargo(&arguments, &[("CHAPERONE_KILLS", kills)])?;
    let figure = |word| number_before(&said, "counts told", word);
    figures::record(section, "killed", figure(" killed")?)?;
    figures::record(section, "told", figure(" counts told")?)?;
    figures::record(section, "lost", figure(" lost")?)?;
    figures::record(section, "torn", figure(" torn")?)
}

/// 300 processes, against a witness outside; a table in memory, the control, loses.
#[test]
fn killed_few() -> anyhow::Result<()> {
    killed("slots", "300")
}

/// The same at its stated size.
#[test]
fn full_size() -> anyhow::Result<()> {
    killed("slots_full", "4000")
}
