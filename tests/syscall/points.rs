//! Scenes, their system calls, and what must be true after one of them went wrong.
//!
//! A scene makes the same calls each time, in one thread, so the n-th of a name is always the same one. After a death:
//! told ≤ counted ≤ told + 1; after a refusal exactly what was told, whether the recorder starts without what was refused
//! or says why it does not. What an earlier life left is told to the last message in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use chaperone_tests::witness::{Told, in_memory, victim};
use chaperone_wal::{Config, Log};

use super::trace::{self, WRITES, calls};

const KILLED: i32 = 128 + 9;
/// A start that was refused and said so.
const REFUSED: i32 = 73;

/// Who is at work when the call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// A recorder that closes well.
    Life,
    /// One that finds a dead one's log and slots, and then lives.
    Successor,
    /// The log alone.
    Log,
}

impl Scene {
    pub(crate) const ALL: [Self; 3] = [Self::Life, Self::Successor, Self::Log];
}

/// One call, and what happens at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    name: String,
    nth: usize,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL before it is done.
    Kill,
    Error(&'static str),
    /// So many bytes written, and no more.
    Short(u64),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Kill => write!(f, "{}:signal=KILL:when={}", self.name, self.nth),
            Fault::Error(error) => write!(f, "{}:error={error}:when={}", self.name, self.nth),
            Fault::Short(bytes) => write!(f, "{}:retval={bytes}:when={}", self.name, self.nth),
        }
    }
}

/// What can go wrong at a call. A short write is only pretended, so it is pretended where what is not written is zero
/// already (a new file's blocks), or where nothing is said to be written.
fn faults(name: &str, text: &str) -> Vec<Fault> {
    let errors: &[&str] = match name {
        "write" | "pwrite64" => &["EIO", "ENOSPC", "EINTR"],
        "fallocate" => &["EIO", "ENOSPC", "EOPNOTSUPP"],
        "openat" => &["EIO", "ENOSPC", "EMFILE"],
        "flock" => &["EIO", "ENOLCK"],
        "mmap" => &["ENOMEM"],
        "madvise" => &["EINVAL"],
        "rename" | "renameat2" | "unlink" | "unlinkat" => &["EIO", "ENOSPC", "EACCES"],
        _ => &["EIO", "ENOSPC"],
    };
    let mut faults: Vec<Fault> = [Fault::Kill].into_iter().chain(errors.iter().map(|e| Fault::Error(e))).collect();
    if matches!(name, "write" | "pwrite64") {
        faults.push(Fault::Short(0));
        if text.contains(r#""\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"..."#) {
            faults.push(Fault::Short(1000));
        }
    }
    faults
}

/// A scene and its calls.
pub(crate) struct Bench {
    scene: Scene,
    calls: Vec<trace::Call>,
}

/// Where a scene plays.
struct Place {
    dir: tempfile::TempDir,
    /// What a dead process counted that left its log and slots here.
    inherited: u64,
}

impl Bench {
    pub(crate) fn new(scene: Scene) -> anyhow::Result<Self> {
        let scratch = in_memory()?;
        let mut bench = Self { scene, calls: Vec::new() };
        let (place, log) = (bench.place()?.dir, scratch.path().join("trace"));
        let arguments = bench.arguments(place.path())?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let went = trace::run(&log, &["-e", &format!("trace={WRITES}")], &victim(), &arguments)?;
        ensure!(went.code == 0, "{}: {}", went.code, went.err);
        bench.calls = calls(&log)?;
        let threads: BTreeSet<u32> = bench.calls.iter().map(|call| call.thread).collect();
        ensure!(threads.len() == 1, "the n-th call of a name is not one only: {threads:?}");
        // What the loader does before the program begins is not ours.
        let ours = text(place.path())?.to_owned();
        let begins = bench.calls.iter().position(|call| call.text.contains(&ours)).context("no call of ours")?;
        bench.calls.drain(..begins);
        bench.calls.retain(|call| match call.name.as_str() {
            "openat" => call.text.contains(&ours),
            "mmap" => call.text.contains("MAP_SHARED"),
            _ => true,
        });
        Ok(bench)
    }

    /// All that can go wrong, or as many of it, evenly chosen.
    pub(crate) fn points(&self, at_most: usize) -> Vec<Point> {
        let of = |call: &trace::Call| {
            let point = |fault| Point { name: call.name.clone(), nth: call.nth, fault };
            faults(&call.name, &call.text).into_iter().map(point).collect::<Vec<_>>()
        };
        let all: Vec<Point> = self.calls.iter().flat_map(of).collect();
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        self.calls.iter().for_each(|call| *by_name.entry(&call.name).or_default() += 1);
        println!("{:?}: {} points of {by_name:?}", self.scene, all.len());
        let wanted = at_most.min(all.len());
        (0..wanted).filter_map(|i| all.get(i * all.len() / wanted).cloned()).collect()
    }

    /// Deaths from the middle of the scene on, for the control.
    pub(crate) fn deaths(&self) -> Vec<Point> {
        let all = self.points(usize::MAX).into_iter();
        all.filter(|point| point.fault == Fault::Kill && point.nth > 10).collect()
    }

    /// A fresh place, with what was there before.
    fn place(&self) -> anyhow::Result<Place> {
        let mut place = Place { dir: in_memory()?, inherited: 0 };
        if self.scene == Scene::Successor {
            let (dir, sink) = (place.dir.path().join("data"), place.dir.path().join("sink"));
            let died = trace::plain(&victim(), &["acts", text(&dir)?, text(&sink)?, "die"])?;
            ensure!(died.code == KILLED, "{}: {}", died.code, died.err);
            place.inherited = died.out.len() as u64;
        }
        Ok(place)
    }

    fn arguments(&self, place: &Path) -> anyhow::Result<Vec<String>> {
        let (dir, sink) = (text(&place.join("data"))?.to_owned(), text(&place.join("sink"))?.to_owned());
        Ok(match self.scene {
            Scene::Life | Scene::Successor => vec!["acts".to_owned(), dir, sink, "close".to_owned()],
            Scene::Log => vec!["log".to_owned(), dir],
        })
    }

    /// Lets one call go wrong and looks at what is left; `tamper`: after all files are gone, the control.
    pub(crate) fn try_point(&self, point: &Point, tamper: bool) -> anyhow::Result<()> {
        let Place { dir: place, inherited } = self.place()?;
        let arguments = self.arguments(place.path())?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let inject = format!("inject={point}");
        let trace = format!("trace={}", point.name);
        let log = place.path().join("trace");
        let ended = trace::run(&log, &["-e", &trace, "-e", &inject], &victim(), &arguments)?;
        let killed = point.fault == Fault::Kill;
        let allowed: &[i32] = if killed { &[KILLED] } else { &[0, REFUSED] };
        ensure!(allowed.contains(&ended.code), "ended with {}: {}", ended.code, ended.err);
        ensure!(!ended.err.contains("panicked"), "{}", ended.err);
        let injected = std::fs::read_to_string(&log)?.contains("(INJECTED)");
        ensure!(killed || injected, "the call was not made");
        if tamper {
            std::fs::remove_dir_all(place.path().join("data"))?;
        }
        match self.scene {
            Scene::Log => judge_log(&place.path().join("data"), &ended.out, killed),
            _ => judge(place.path(), inherited, ended.out.len() as u64, killed),
        }
    }
}

/// What was there before is told whole, and of what was counted since, all that was told.
fn judge(place: &Path, inherited: u64, told: u64, killed: bool) -> anyhow::Result<()> {
    let (dir, sink) = (place.join("data"), place.join("sink"));
    let last = trace::plain(&victim(), &["rest", text(&dir)?, text(&sink)?])?;
    ensure!(last.code == 0, "the next life ended with {}: {}", last.code, last.err);
    let all = Told::read(&sink)?;
    ensure!(all.contradictions.is_empty(), "{:?}", all.contradictions);
    let most = told + u64::from(killed);
    let mine = all.n().checked_sub(inherited).context("what was there before is lost")?;
    ensure!((told..=most).contains(&mine), "told {told}, counted {mine}");
    if let (Some(dead), true) = (all.lives.values().next(), inherited > 0) {
        ensure!(dead.counts().0 == inherited, "the dead counted {:?}", dead.counts());
    }
    ensure!(all.lives.values().all(|life| life.end.is_some()), "a life without an end");
    let found = chaperone_audit::recorder::survey(&dir)?;
    ensure!((found.n(), found.unreadable) == (0, 0), "left behind: {found:?}");
    Ok(())
}

/// Every entry that was taken and not marked done is there once, with its bytes, and the last checkpoint is.
fn judge_log(dir: &Path, told: &str, killed: bool) -> anyhow::Result<()> {
    let mut kept: BTreeSet<u128> = BTreeSet::new();
    let (mut begun, mut written) = (0, 0);
    for line in told.lines() {
        let (what, number) = line.split_once(' ').context("a word and a number")?;
        let number: u128 = number.parse()?;
        match what {
            "a" => drop(kept.insert(number)),
            "d" => drop(kept.remove(&number)),
            "b" => begun = number,
            _ => written = number,
        }
    }
    let (_log, recovered) = Log::open(dir, Config { segment_bytes: 4096, max_bytes: 64 << 10, background: false })?;
    ensure!(recovered.corrupt.is_empty(), "{:?}", recovered.corrupt);
    ensure!(killed || recovered.torn.is_empty() || told.is_empty(), "torn: {:?}", recovered.torn);
    let mut found = BTreeSet::new();
    for entry in &recovered.entries {
        ensure!(found.insert(entry.id.as_u128()), "{} twice", entry.id);
        let right = entry.payload.iter().all(|byte| *byte == b'x' || *byte == b'c');
        ensure!(right && [200, 300].contains(&entry.payload.len()), "{} is harmed", entry.id);
    }
    let lost: Vec<_> = kept.difference(&found).collect();
    ensure!(lost.is_empty(), "lost {lost:?}");
    let checkpoint = found.iter().copied().filter(|id| *id >= 1000).map(|id| id - 1000).collect::<Vec<_>>();
    ensure!(written == 0 || checkpoint == [written] || checkpoint == [begun], "{checkpoint:?}, {written} was written");
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}
