//! A process that counts forks, again and again, and one of its children outlives it. What a child counts with what it
//! inherited is counted by nobody, and said; of the parent nothing is lost or doubled; and a lock that a child inherited
//! keeps no successor out.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::recorder::survey;
use chaperone_audit::wire::End;
use chaperone_tests::eventually;
use chaperone_tests::witness::{Ended, Told, Watched, in_memory, victim};
use rustix::process::{Pid, Signal, kill_process};

use super::life::{Tally, text};

/// What children count by themselves, each.
const OF_A_CHILD: u64 = 50;
/// Of six children one counts by itself.
const TURNS: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// Forks so often amid counting, and closes well (`heap`: with its slots on the heap).
pub(crate) fn closes(forks: u64, end: &str) -> anyhow::Result<Tally> {
    let scratch = in_memory()?;
    let (dir, sink) = (scratch.path().join("data"), scratch.path().join("sink"));
    let forks_text = forks.to_string();
    let ended = Watched::start(&victim(), &["forks", text(&dir)?, text(&sink)?, &forks_text, end])?.ended()?;
    ensure!(ended.status.success(), "{:?}", ended.status);
    judge(&sink, &ended, forks, End::Clean)
}

/// Is killed amid counting while a child of its lives; the next process takes over before that child is gone.
pub(crate) fn is_outlived(forks: u64, time: Duration) -> anyhow::Result<Tally> {
    let scratch = in_memory()?;
    let (dir, sink, heir) = (scratch.path().join("data"), scratch.path().join("sink"), scratch.path().join("heir"));
    let watched = Watched::start(&victim(), &["forks", text(&dir)?, text(&sink)?, &forks.to_string(), "outlived"])?;
    let child = eventually(PATIENCE, "the child that will outlive its parent", || {
        Ok(std::fs::read_to_string(&heir)?.parse::<u32>()?)
    })?;
    ensure!(!watched.live(time), "it ended by itself");
    let pid = Pid::from_raw(i32::try_from(watched.pid())?).context("its number")?;
    kill_process(pid, Signal::KILL)?;
    // What it counted can be told at once, and by whoever comes next, while the child has locks and pages.
    let counted = eventually(PATIENCE, "it is known to be dead", || {
        let found = survey(&dir)?;
        ensure!(found.accounts.iter().all(|account| !account.alive), "{found:?}");
        Ok(found.n())
    })?;
    let last = Watched::start(&victim(), &["rest", text(&dir)?, text(&sink)?])?.ended()?;
    ensure!(last.status.success(), "the next process: {:?}", last.status);
    ensure!(is_alive(child), "the child ended too early to show anything");
    std::fs::remove_file(&heir)?;
    let ended = watched.ended()?;
    ensure!(counted > 0, "nothing was left");
    judge(&sink, &ended, forks, End::Crash)
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// The process is right, to the message if it closed well, and so is each child that counted by itself; nobody else counted.
fn judge(sink: &Path, ended: &Ended, forks: u64, end: End) -> anyhow::Result<Tally> {
    let all = Told::read(sink)?;
    let mut tally = Tally::default();
    for what in &all.contradictions {
        tally.contradict(what);
    }
    let (mine, others): (Vec<_>, Vec<_>) = all.lives.values().partition(|life| life.pid == ended.pid);
    let counts = mine.first().map(|life| life.counts()).unwrap_or_default();
    tally.judge(ended, counts);
    let (n, acked, failed) = counts;
    let exact = n == ended.told.len() as u64 && acked + failed == n;
    if (end == End::Clean && !exact) || mine.iter().any(|l| l.end != Some(end)) {
        tally.contradict(&format!("told {}, counted {n}, {acked} acked, {failed} failed, {mine:?}", ended.told.len()));
    }
    let own: Vec<_> = others.iter().filter(|life| life.counts() == (OF_A_CHILD, OF_A_CHILD, 0)).collect();
    let expected = (0..forks).filter(|number| number % TURNS == 3).count();
    let nothing = others.iter().filter(|life| life.counts().0 == 0).count();
    if own.len() != expected || own.len() + nothing != others.len() || own.iter().any(|l| l.end != Some(End::Clean)) {
        tally.contradict(&format!("{expected} children counted by themselves: {others:?}"));
    }
    Ok(tally)
}
