//! libFuzzer, which looks for inputs that reach new code: on the structural scan against `serde_json`, audit messages, a
//! log's segments, slot files, headers (`audit-lib/fuzz`). It begins with `audit-lib/fuzz/corpus`, a line of hexadecimal
//! digits for each input; one that was wrong is added there by hand, and the suite `scan` replays all of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use chaperone_tests::{figures, paths, process};

/// Seconds for each; `CHAPERONE_FUZZ_SECONDS` is for the scan, the others get a quarter.
const SECONDS: u64 = 240;
const TARGETS: [&str; 5] = ["scan", "wire", "log", "slots", "header"];
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// So that flags are not those of build scripts.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// The fuzzer, built with the workspace's versions of everything.
fn build() -> anyhow::Result<PathBuf> {
    let (home, target) = (paths::root().join("audit-lib/fuzz"), paths::target().join("fuzz"));
    std::fs::copy(paths::root().join("Cargo.lock"), home.join("Cargo.lock"))?;
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(&home).args(["build", "--release", "--target", HOST]);
    let status =
        cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target).status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "cargo build ended with {status}");
    Ok(target.join(HOST).join("release/fuzz"))
}

/// Lets it look for so long; whether it found nothing wrong, and how many inputs it tried.
fn fuzz(program: &Path, name: &str, seconds: u64) -> anyhow::Result<(bool, u64)> {
    let (scratch, log) = (paths::scratch("fuzz")?, paths::target().join(format!("fuzz-{name}.log")));
    let found = scratch.join(name);
    std::fs::create_dir_all(&found)?;
    let mut command = process::command(program.to_str().context("a path in UTF-8")?);
    command.arg(&found);
    // Begins with what is known: a line of hexadecimal digits for each input.
    let known = paths::root().join(format!("audit-lib/fuzz/corpus/{name}.hex"));
    for (line, number) in std::fs::read_to_string(known).unwrap_or_default().lines().zip(1..) {
        std::fs::write(found.join(format!("known-{number}")), hex::decode(line)?)?;
    }
    let findings = format!("-artifact_prefix={}/fuzz-{name}-", paths::target().display());
    command.args([&*format!("-max_total_time={seconds}"), "-max_len=2048", "-timeout=20", "-print_final_stats=1"]);
    command.arg(format!("-dict={}", paths::root().join("audit-lib/fuzz/words.dict").display()));
    command.arg(findings).env("CHAPERONE_FUZZ", name).stdout(Stdio::null());
    let mut child = process::spawn({
        command.stderr(std::fs::File::create(&log)?);
        command
    })?;
    let status = child.wait(Duration::from_secs(seconds + 120))?;
    let said = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let tried = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let tried = tried.map_or(Ok(0), |tried| tried.trim().parse())?;
    println!("{name}: {tried} inputs in {seconds} s, {status}");
    if !status.success() {
        said.lines().filter(|line| line.contains("panicked") || line.contains("ERROR")).for_each(|l| println!("  {l}"));
    }
    Ok((status.success(), tried))
}

#[test]
fn nothing_wrong_is_found_and_a_search_for_the_name_is_found_out() -> anyhow::Result<()> {
    let program = build()?;
    let seconds = std::env::var("CHAPERONE_FUZZ_SECONDS").map_or(Ok(SECONDS), |seconds| seconds.parse())?;
    let (mut inputs, mut wrong) = (0, Vec::new());
    for name in TARGETS {
        let time = if name == "scan" { seconds } else { seconds / 4 };
        let (right, tried) = fuzz(&program, name, time)?;
        figures::record("fuzz", &format!("inputs_{name}"), tried)?;
        inputs += tried;
        wrong.extend((!right).then_some(name));
    }
    let (control_right, _) = fuzz(&program, "naive", seconds)?;
    figures::record("fuzz", "inputs", inputs)?;
    figures::record("fuzz", "wrong", wrong.len())?;
    figures::record("fuzz", "control_found", u64::from(!control_right))?;
    anyhow::ensure!(
        wrong.is_empty(),
        "{wrong:?}: target/fuzz-NAME-crash-… is the input, target/fuzz-NAME.log says what"
    );
    Ok(())
}
