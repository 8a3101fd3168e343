//! Lives that end by a signal, one after the other in one directory, and what is wrong with what they left.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::recorder::survey;
use chaperone_tests::witness::{Ended, Told, Watched, in_memory, victim};
use chaperone_tests::{paths, programs};
use rustix::process::Signal;

/// Threads that count.
const THREADS: u64 = 4;
/// Messages of a thread without an outcome: the one before, whose report is being entered, and the last.
const OPEN: u64 = 2;
/// Lives of a directory.
const LIVES: u64 = 5;
/// Most lives last at most 2^EXPONENT × 100 µs, and at least 50 µs.
const EXPONENT: u64 = 8;
/// One in so many may last sixteen times as long.
const LONG_EVERY: u64 = 32;
/// One life in so many is measured from its start, the others from the first message.
const EARLY_EVERY: u64 = 4;
/// One directory in so many is looked at by `chaperone recover`.
const RECOVER_EVERY: u64 = 16;

/// A sequence that looks random and is the same each time; what the processes do is not.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
    /// 1 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most + 1
    }
    /// From before the first message to some hundred milliseconds, short ones as often as long ones.
    fn moment(&mut self) -> Duration {
        let most = if self.up_to(LONG_EVERY) == 1 { EXPONENT + 4 } else { EXPONENT };
        let scale = 1 << (self.up_to(most) - 1);
        Duration::from_micros(self.up_to(100 * scale) + 50 * scale)
    }
}

/// What was killed and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    /// Deaths before the first message: while it starts or takes over.
    pub(crate) before_first: u64,
    pub(crate) witnessed: u64,
    pub(crate) lost: u64,
    /// Messages counted beyond those that can have been.
    pub(crate) doubled: u64,
    /// Outcomes beyond those that can have been, or less; states that cannot be true together; things left behind.
    pub(crate) contradictions: u64,
    pub(crate) resent: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.before_first += other.before_first;
        self.witnessed += other.witnessed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.contradictions += other.contradictions;
        self.resent += other.resent;
    }

    pub(crate) fn is_right(&self) -> bool {
        (self.lost, self.doubled, self.contradictions) == (0, 0, 0)
    }

    /// Holds one life's counts (n, acked, failed) against what it told.
    pub(crate) fn judge(&mut self, ended: &Ended, (n, acked, failed): (u64, u64, u64)) {
        let told = ended.told.len() as u64;
        self.kills += 1;
        self.before_first += u64::from(told == 0);
        self.witnessed += told;
        self.lost += told.saturating_sub(n);
        self.doubled += n.saturating_sub(told + THREADS);
        let outcomes = acked + failed;
        if outcomes > n || n - outcomes > OPEN * THREADS {
            self.contradict(&format!("{n} messages, {acked} acked, {failed} failed"));
        }
        if told > n || n > told + THREADS {
            println!("process {} told {told}, counted {n}", ended.pid);
        }
    }

    pub(crate) fn contradict(&mut self, what: &str) {
        println!("{what}");
        self.contradictions += 1;
    }
}

/// A directory on a disk, or in memory.
fn scratch(on_disk: bool) -> anyhow::Result<tempfile::TempDir> {
    if on_disk { Ok(tempfile::tempdir_in(paths::scratch("crash")?)?) } else { in_memory() }
}

pub(crate) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Starts a program, lets it live for a random time and kills it.
fn short_life(dice: &mut Dice, program: &Path, arguments: &[&str]) -> anyhow::Result<Ended> {
    let watched = Watched::start(program, arguments)?;
    if dice.up_to(EARLY_EVERY) > 1 {
        watched.begun();
    }
    anyhow::ensure!(!watched.live(dice.moment()), "{arguments:?} ended by itself");
    let ended = watched.end_by(Signal::KILL)?;
    anyhow::ensure!(ended.status.signal() == Some(Signal::KILL.as_raw()), "{:?}", ended.status);
    Ok(ended)
}

/// Lives of `chaperone inspect count`: all that they counted stays in the directory.
pub(crate) fn staying(dice: &mut Dice, on_disk: bool) -> anyhow::Result<Tally> {
    let scratch = scratch(on_disk)?;
    let dir = scratch.path().join("data");
    let arguments = ["inspect", "count", "--threads", "4", "--dir", text(&dir)?];
    let mut all = Tally::default();
    let mut ends = Vec::new();
    for _ in 0..dice.up_to(LIVES) {
        ends.push(short_life(dice, &programs::built("chaperone"), &arguments)?);
        // After every death, for the next may hide what the last one broke.
        let mut now = Tally::default();
        judge_directory(&dir, &ends, &mut now)?;
        if !now.is_right() || dice.up_to(RECOVER_EVERY) == 1 {
            all.contradictions += u64::from(!recover_agrees(&dir)?);
        }
        all = Tally { contradictions: all.contradictions + now.contradictions, ..now };
        if !all.is_right() {
            break;
        }
    }
    Ok(all)
}

fn judge_directory(dir: &Path, ends: &[Ended], all: &mut Tally) -> anyhow::Result<()> {
    if !dir.exists() {
        for ended in ends {
            all.judge(ended, (0, 0, 0));
        }
        return Ok(());
    }
    let found = survey(dir)?;
    for ended in ends {
        let account = found.dead().find(|account| account.pid == ended.pid);
        all.judge(ended, account.map_or((0, 0, 0), |a| (a.sum.n, a.sum.acked, a.sum.failed)));
    }
    if found.unreadable > 0 || found.dead().any(|account| ends.iter().all(|ended| ended.pid != account.pid)) {
        all.contradict(&format!("{found:?}"));
    }
    Ok(())
}

/// Whether the program says what the library says.
fn recover_agrees(dir: &Path) -> anyhow::Result<bool> {
    let mut recover = Command::new(programs::built("chaperone"));
    let output = recover.args(["recover", "--json", "--dir"]).arg(dir).output()?;
    if !dir.exists() {
        return Ok(!output.status.success());
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(said["n"].as_u64() == Some(survey(dir)?.n()))
}

/// Lives whose windows close all the time: what they counted is with the sink after one more life that ends well.
pub(crate) fn closing(dice: &mut Dice, on_disk: bool) -> anyhow::Result<Tally> {
    let scratch = scratch(on_disk)?;
    let (dir, sink) = (scratch.path().join("data"), scratch.path().join("sink"));
    let arguments = ["busy", text(&dir)?, text(&sink)?, "run", "0"];
    let mut ends = Vec::new();
    for _ in 0..dice.up_to(LIVES) {
        ends.push(short_life(dice, &victim(), &arguments)?);
    }
    judge_sink(&dir, &sink, &ends)
}

/// Lets a last process send what is there, and holds what the sink stored against what the dead told.
pub(crate) fn judge_sink(dir: &Path, sink: &Path, ends: &[Ended]) -> anyhow::Result<Tally> {
    let last = Watched::start(&victim(), &["rest", text(dir)?, text(sink)?])?.ended()?;
    anyhow::ensure!(last.status.success(), "the last process: {:?}", last.status);
    let told = Told::read(sink)?;
    let mut all = Tally { resent: told.resent, ..Tally::default() };
    for what in &told.contradictions {
        all.contradict(what);
    }
    for ended in ends {
        let of_it = told.lives.values().filter(|life| life.pid == ended.pid);
        all.judge(ended, of_it.map(chaperone_tests::witness::Life::counts).next().unwrap_or_default());
    }
    if told.lives.values().any(|life| life.end.is_none()) {
        all.contradict("a life without an end");
    }
    if survey(dir)?.n() > 0 || survey(dir)?.unreadable > 0 {
        all.contradict(&format!("left behind: {:?}", survey(dir)?));
    }
    Ok(all)
}

/// One life that ends by its own hand (`abort`, `exec`) or by a signal.
pub(crate) fn otherwise(dice: &mut Dice, end: &str) -> anyhow::Result<Tally> {
    let scratch = in_memory()?;
    let (dir, sink) = (scratch.path().join("data"), scratch.path().join("sink"));
    let after = dice.up_to(1000).to_string();
    let watched = Watched::start(&victim(), &["busy", text(&dir)?, text(&sink)?, end, &after])?;
    let ended = match end {
        "SEGV" | "ABRT" => {
            anyhow::ensure!(!watched.live(dice.moment()), "it ended by itself");
            watched.end_by(if end == "SEGV" { Signal::SEGV } else { Signal::ABORT })?
        }
        _ => watched.ended()?,
    };
    let expected = match end {
        "exec" => None,
        "SEGV" => Some(Signal::SEGV.as_raw()),
        _ => Some(Signal::ABORT.as_raw()),
    };
    anyhow::ensure!(ended.status.signal() == expected, "{end}: {:?}", ended.status);
    judge_sink(&dir, &sink, &[ended])
}

/// Whether the death of a process whose slots are on its heap lost what it had told.
pub(crate) fn heap_loses(seed: u64) -> anyhow::Result<bool> {
    let mut dice = Dice::new(seed);
    let scratch = in_memory()?;
    let dir = scratch.path().join("data");
    let arguments = ["inspect", "count", "--heap", "--threads", "4", "--dir", text(&dir)?];
    let ended = short_life(&mut dice, &programs::built("chaperone"), &arguments)?;
    let counted = if dir.exists() { survey(&dir)?.n() } else { 0 };
    Ok(counted < ended.told.len() as u64)
}
