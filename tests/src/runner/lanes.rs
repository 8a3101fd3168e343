//! In which order suites run, and which beside which.
//!
//! Most suites wait for windows to end, so two at a time take little more than the longer one. Those that measure times
//! or shares of the processor run by themselves, after the others. All is compiled before the first begins: no suite
//! waits for another's compiler.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context;

use super::run::{self, Outcome};
use crate::suites::{LANES, Suite};

/// Runs them all; outcomes in the order in which they ended.
pub(super) fn run(suites: &[&'static Suite]) -> anyhow::Result<Vec<Outcome>> {
    if let [suite] = suites {
        return Ok(vec![run::suite(suite, "")]);
    }
    compile(suites)?;
    let (alone, mut together): (Vec<&'static Suite>, Vec<&'static Suite>) =
        suites.iter().partition(|suite| suite.alone());
    // A stable sort of a list that is taken from its end: the longest begin, of equals the first of the table.
    together.reverse();
    together.sort_by_key(|suite| suite.minutes);
    let waiting = Mutex::new(together);
    let ended = Mutex::new(Vec::new());
    let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(suite) = take() {
                    let outcome = run::suite(suite, &format!("{}| ", suite.name));
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut outcomes = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.extend(alone.into_iter().map(|suite| run::suite(suite, "")));
    Ok(outcomes)
}

/// Compiles what they run.
fn compile(suites: &[&Suite]) -> anyhow::Result<()> {
    if suites.iter().any(|suite| suite.test.is_none()) {
        cargo(&["test", "--profile", "ci", "--workspace", "--no-run"])?;
    }
    let targets: BTreeSet<&str> = suites.iter().filter_map(|suite| suite.test).collect();
    if targets.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["test", "--profile", "ci", "--workspace", "--no-run"];
    arguments.extend(targets.into_iter().flat_map(|target| ["--test", target]));
    cargo(&arguments)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    println!("\n=== cargo {}", arguments.join(" "));
    let status = super::cargo(arguments)?.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}
