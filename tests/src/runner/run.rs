//! One suite: its process, its limit, its count of tests.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::suites::Suite;
use crate::{in_ci, process};

/// What became of a suite.
#[derive(Debug)]
pub(super) struct Outcome {
    name: &'static str,
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Why, if no test says it.
    reason: Option<String>,
    time: Duration,
}

impl Outcome {
    /// A skip is said; in CI it is a failure.
    pub(super) fn skipped(suite: &'static Suite, why: &str) -> Outcome {
        let reason = Some(format!("skipped: {why}"));
        Outcome { name: suite.name, passed: 0, failed: usize::from(in_ci()), reason, time: Duration::ZERO }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { name, passed, failed, reason, time } = self;
        // A suite of which nothing ran is not "ok".
        let verdict = match (failed, passed) {
            (0, 0) => "skipped",
            (0, _) => "ok",
            _ => "FAILED",
        };
        write!(f, "suite {name}: {verdict}, {passed} passed, {failed} failed, {:.1} s", time.as_secs_f64())?;
        reason.iter().try_for_each(|reason| write!(f, " ({reason})"))
    }
}

/// Runs a suite, its output passed on as it comes, each line behind `margin`.
pub(super) fn suite(suite: &'static Suite, margin: &str) -> Outcome {
    println!("\n=== {}: cargo {}", suite.name, suite.command().join(" "));
    let begun = Instant::now();
    let mut tally = Tally::default();
    let reason = match execute(suite, margin, &mut tally) {
        Ok(()) => None,
        Err(error) => {
            // A suite that did not get as far as its tests has failed as well.
            tally.failed = tally.failed.max(1);
            Some(format!("{error:#}"))
        }
    };
    let outcome =
        Outcome { name: suite.name, passed: tally.passed, failed: tally.failed, reason, time: begun.elapsed() };
    println!("=== {outcome}");
    outcome
}

fn execute(suite: &Suite, margin: &str, tally: &mut Tally) -> anyhow::Result<()> {
    let limit = Duration::from_mins((3 * suite.minutes).max(20));
    let mut command = super::cargo(&suite.command())?;
    command.stdout(Stdio::piped());
    let mut child = process::spawn(command)?;
    let pid = child.id();
    let output = child.child().stdout.take().context("no output")?;
    let (done, watched) = mpsc::channel::<()>();
    let overdue = thread::scope(|scope| -> anyhow::Result<bool> {
        let watchdog = scope.spawn(move || {
            let overdue = watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if overdue {
                process::kill_tree(pid);
            }
            overdue
        });
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{margin}{line}");
            tally.read(&line);
        }
        drop(done);
        Ok(watchdog.join().unwrap_or(true))
    })?;
    anyhow::ensure!(!overdue, "killed after {} minutes", limit.as_secs() / 60);
    let status = child.wait(Duration::from_mins(1))?;
    anyhow::ensure!(status.success(), "cargo ended with {status}");
    anyhow::ensure!(tally.passed > 0, "not a single test ran");
    Ok(())
}

/// The sums of libtest's result lines.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        // "ok. 5 passed; 0 failed; …"
        let words: Vec<&str> = counts.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            match (pair[0].parse::<usize>(), pair[1]) {
                (Ok(count), "passed") => self.passed += count,
                (Ok(count), "failed") => self.failed += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_result_lines_and_nothing_else() {
        let mut tally = Tally::default();
        for line in [
            "running 5 tests",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "we say 7 passed; 7 failed",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 7, failed: 1 });
    }
}
