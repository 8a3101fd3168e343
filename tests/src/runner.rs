//! Runs the suites of the table, then checks the promises. `tests/run` is the way in; docs/TESTING.md the manual.

mod install;
mod lanes;
mod run;

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use chaperone_audit::recorder::Slots;
use chaperone_wal::slots::recovery::{Life, SlotFile, list};
use clap::Parser;

use crate::bed::{BED_VARIABLE, BOOTSTRAP_VARIABLE, Bed};
use crate::promises::Promise;
use crate::suites::{self, Mode, Need, SUITES, Suite};
use crate::{evidence, figures, in_ci, paths, performance, promises};
use run::Outcome;

/// Runs the fast suites, or the one named.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of a command line")]
#[command(name = "tests/run")]
struct Options {
    /// Just this suite
    suite: Option<String>,
    /// The slow suites too, if none is named
    #[arg(long)]
    full: bool,
    /// List the suites: name, mode, minutes
    #[arg(long)]
    list: bool,
    /// Install what the suites need and is missing, then run them
    #[arg(long)]
    install: bool,
    /// Write docs/EVIDENCE.md from the promises and the last figures; runs nothing
    #[arg(long)]
    evidence: bool,
    /// Write docs/PERFORMANCE.md from what the suite perf measured last; runs nothing
    #[arg(long)]
    performance: bool,
}

/// What to run.
struct Selection {
    suites: Vec<&'static Suite>,
    /// All suites of these modes; empty when a single suite was named.
    modes: &'static [Mode],
}

impl Selection {
    fn of(options: &Options) -> anyhow::Result<Selection> {
        if let Some(name) = &options.suite {
            let suite = suites::find(name).with_context(|| format!("no suite {name}: see tests/run --list"))?;
            return Ok(Selection { suites: vec![suite], modes: &[] });
        }
        let modes: &[Mode] = if options.full { &[Mode::Ci, Mode::Full] } else { &[Mode::Ci] };
        Ok(Selection { suites: SUITES.iter().filter(|suite| modes.contains(&suite.mode)).collect(), modes })
    }
}

/// Whether `suite` is the one that gives the figure of `promise`.
fn gives(suite: &Suite, section: &str, promise: &Promise) -> bool {
    suite.mode == promise.mode && suite.figures.contains(&section)
}

/// The binary's `main`.
pub fn main() -> ExitCode {
    let options = Options::parse();
    match work(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tests/run: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> anyhow::Result<bool> {
    if options.list {
        for suite in SUITES {
            println!("{:<12} {:<5} {:>3} min", suite.name, suite.mode, suite.minutes);
        }
        return Ok(true);
    }
    if options.evidence {
        evidence::write()?;
        println!("docs/EVIDENCE.md is written");
        return Ok(true);
    }
    if options.performance {
        performance::write()?;
        println!("docs/PERFORMANCE.md is written");
        return Ok(true);
    }
    let selection = Selection::of(options)?;
    let (runnable, skipped) = sort_out(&selection, options.install || in_ci());
    forget_figures(&runnable)?;
    let before = shared_memory();
    let bed = open_bed(&runnable)?;
    let mut outcomes = lanes::run(&runnable)?;
    drop(bed);
    let left: Vec<_> = shared_memory().difference(&before).cloned().collect();
    outcomes.extend(skipped.iter().map(|(suite, why)| Outcome::skipped(suite, why)));
    let well = conclude(&selection, &runnable, &skipped, &outcomes)?;
    for path in &left {
        println!("left behind by a suite: {}", path.display());
    }
    Ok(well && left.is_empty())
}

/// Slot files of dead processes where recorders put them unless they are told: nobody of ours is to leave one.
fn shared_memory() -> BTreeSet<PathBuf> {
    let files = Slots::default().dir().map(|dir| list(&dir).unwrap_or_default()).unwrap_or_default();
    let is_dead = |path: &PathBuf| SlotFile::open(path).is_ok_and(|file| file.life() != Life::Alive);
    files.into_iter().filter(is_dead).collect()
}

type Skipped = Vec<(&'static Suite, String)>;

/// Installs, or finds out, what the suites need; a suite without it is skipped, and the reason names the way out.
fn sort_out(selection: &Selection, install: bool) -> (Vec<&'static Suite>, Skipped) {
    let mut runnable = Vec::new();
    let mut skipped = Vec::new();
    for suite in &selection.suites {
        match suite.needs.iter().try_for_each(|need| install::ensure(*need, install)) {
            Ok(()) => runnable.push(*suite),
            Err(error) => skipped.push((*suite, format!("{error:#}"))),
        }
    }
    (runnable, skipped)
}

/// What the suites that are about to run measured before is no evidence of this run.
fn forget_figures(suites: &[&Suite]) -> anyhow::Result<()> {
    let promises = promises::load()?;
    figures::clear(|section, name| {
        let promise = promises.get(section).and_then(|names| names.get(name));
        suites.iter().any(|suite| match promise {
            Some(promise) => gives(suite, section, promise),
            None => suite.figures.contains(&section),
        })
    })
}

/// Starts the shared clusters if a suite needs them, and tells the suites where they are.
fn open_bed(suites: &[&Suite]) -> anyhow::Result<Option<Bed>> {
    let needed = suites.iter().any(|suite| suite.needs.contains(&Need::Kafka));
    if !needed || env::var(BOOTSTRAP_VARIABLE).is_ok() {
        return Ok(None);
    }
    let bed = Bed::start()?;
    println!("the bed is up after {:.1} s", bed.start_time.as_secs_f64());
    bed.publish(&bed_file()?)?;
    Ok(Some(bed))
}

fn bed_file() -> anyhow::Result<PathBuf> {
    Ok(paths::scratch("runner")?.join("bed.json"))
}

/// A cargo that dies with this process, and whose test binaries die with it; the bed is in its environment.
fn cargo(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut cargo = crate::process::command(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(paths::root());
    cargo.args(["--config", r#"target."cfg(unix)".runner = ["setpriv", "--pdeathsig", "KILL", "--"]"#]);
    cargo.args(arguments);
    let bed = bed_file()?;
    if bed.exists() {
        cargo.env(BED_VARIABLE, bed);
    }
    Ok(cargo)
}

/// Prints what became of everything; true iff all is well.
fn conclude(
    selection: &Selection,
    runnable: &[&Suite],
    skipped: &Skipped,
    outcomes: &[Outcome],
) -> anyhow::Result<bool> {
    let findings = promises::check(&promises::load()?, &figures::load()?, |section, promise| {
        let skipped = skipped.iter().any(|(suite, _)| gives(suite, section, promise));
        let run = runnable.iter().any(|suite| gives(suite, section, promise));
        run || (selection.modes.contains(&promise.mode) && !skipped)
    });
    println!();
    for finding in &findings {
        println!("{finding}");
    }
    for outcome in outcomes {
        println!("{outcome}");
    }
    let kept = findings.iter().filter(|finding| finding.kept()).count();
    let passed = outcomes.iter().map(|outcome| outcome.passed).sum::<usize>() + kept;
    let failed = outcomes.iter().map(|outcome| outcome.failed).sum::<usize>() + findings.len() - kept;
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}
