//! Real processes that die amid counting, against an outside witness: a byte in a pipe for each count.
//!
//! What is counted but not yet told is at most one message a thread; what was told must be there. `CHAPERONE_KILLS` says how
//! many die (default 60). The control, a table in memory that is saved every 5 ms, must lose.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use chaperone_wal::slots::recovery::{Life, SlotFile, list};
use chaperone_wal::slots::{Error, Limits, Slot, default_dir};
use rustix::process::{Pid, Signal, kill_process};

#[path = "slots_story/mod.rs"]
mod story;

/// `target/<profile>/examples`, beside this test's own `deps`.
fn victim() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.parent().unwrap().with_file_name("examples").join("slots_victim");
    assert!(path.exists(), "{} is not built: cargo test -p chaperone-wal builds it", path.display());
    path
}

fn start(dir: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(victim());
    command.arg(dir).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// In memory where there is such a place.
fn scratch() -> tempfile::TempDir {
    let shm = default_dir(Path::new("/dev/shm"), None).map(|_| "/dev/shm");
    shm.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap()
}

/// A sequence that looks random and is the same each time; what the threads do is not.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most + 1
    }
}

/// Lets a victim tell so many counts, ends it, and answers all that it told and the signal that ended it. The signal is
/// sent until it works: Rust's runtime takes the first SIGSEGV, to look whether a stack overflowed.
fn die(mut child: Child, told: u64, signal: Option<Signal>) -> (u64, i32) {
    let mut pipe = child.stdout.take().unwrap();
    let mut witnessed = 0;
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer).unwrap() {
            0 => break,
            n => witnessed += n as u64,
        }
        if let Some(signal) = signal.filter(|_| witnessed >= told) {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
    }
    (witnessed, child.wait().unwrap().signal().unwrap_or(0))
}

/// What a dead process left in its directory; the file is removed as a successor would.
fn left(dir: &Path) -> Vec<Slot> {
    let paths = list(dir).unwrap();
    let [path] = &paths[..] else { panic!("{paths:?}") };
    let file = SlotFile::open(path).unwrap();
    assert_eq!(file.life(), Life::Dead);
    assert!(!file.machine_died());
    let contents = file.read(Limits::default()).unwrap();
    assert_eq!((contents.cut_off, contents.busy), (0, 0));
    file.remove().unwrap();
    contents.slots
}

/// What is wrong with what a victim left: counts that were told and are not there, words that are not those of their
/// count.
#[derive(Debug, Default, PartialEq)]
struct Wrong {
    lost: u64,
    torn: u64,
}

impl Wrong {
    fn check(&mut self, slots: &[Slot], mode: &str, witnessed: u64) {
        for slot in slots {
            if let Some(wrong) = story::wrong(slot) {
                println!("{wrong}");
                self.torn += 1;
            }
            assert!(slot.m <= slot.n && slot.n - slot.m <= 1);
        }
        let counted: u64 = slots.iter().map(|s| s.n).sum();
        let told = witnessed * story::per_byte(mode);
        self.lost += told.saturating_sub(counted);
        assert!(counted <= told + story::THREADS * story::per_byte(mode), "{counted} counted, {told} told");
    }
}

fn kills() -> u64 {
    std::env::var("CHAPERONE_KILLS").ok().map_or(60, |n| n.parse().expect("a number"))
}

#[test]
fn killed_processes_lose_no_count_and_tear_none() {
    let dir = scratch();
    let slots = dir.path().join("slots");
    let mut dice = Dice(1);
    let (mut all, mut wrong) = (0, Wrong::default());
    for round in 0..kills() {
        let mode = if round % 3 == 0 { "dense" } else { "mapped" };
        let (witnessed, signal) = die(start(&slots, &[mode]), dice.up_to(4000), Some(Signal::KILL));
        assert_eq!(signal, Signal::KILL.as_raw());
        wrong.check(&left(&slots), mode, witnessed);
        all += witnessed * story::per_byte(mode);
    }
    println!("{} killed, {all} counts told, {} lost, {} torn", kills(), wrong.lost, wrong.torn);
    assert_eq!(wrong, Wrong::default());
}

#[test]
fn other_deaths_lose_no_count_either() {
    let dir = scratch();
    let slots = dir.path().join("slots");
    let mut dice = Dice(2);
    let mut wrong = Wrong::default();
    for _ in 0..kills().div_ceil(20) {
        let abort_after = dice.up_to(1000).to_string();
        let (witnessed, signal) = die(start(&slots, &["mapped", &abort_after]), 0, None);
        assert_eq!(signal, Signal::ABORT.as_raw());
        wrong.check(&left(&slots), "mapped", witnessed);
        let (witnessed, signal) = die(start(&slots, &["mapped"]), dice.up_to(1000), Some(Signal::SEGV));
        assert_eq!(signal, Signal::SEGV.as_raw());
        wrong.check(&left(&slots), "mapped", witnessed);
    }
    assert_eq!(wrong, Wrong::default());
}

#[test]
fn the_control_in_memory_loses() {
    const RUNS: u64 = 12;
    let dir = scratch();
    let mut dice = Dice(3);
    let mut lost = 0;
    for _ in 0..RUNS {
        let child = start(dir.path(), &["heap"]);
        let (witnessed, _) = die(child, 2000 + dice.up_to(4000), Some(Signal::KILL));
        let saved = std::fs::read(dir.path().join("saved")).unwrap_or_default();
        let saved = saved.try_into().map_or(0, u64::from_le_bytes);
        lost += u64::from(saved < witnessed);
    }
    assert!(lost > RUNS / 2, "the witness sees losses: {lost} of {RUNS}");
}

#[test]
fn a_living_process_is_read_and_left_alone() {
    let dir = scratch();
    let slots = dir.path().join("slots");
    let mut child = start(&slots, &["mapped"]);
    let mut pipe = child.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    let mut told = 0;
    let mut whole = 0;
    while whole < 100 {
        told += pipe.read(&mut buffer).unwrap() as u64;
        let path = list(&slots).unwrap().remove(0);
        let file = SlotFile::open(&path).unwrap();
        assert_eq!((file.life(), file.header().pid), (Life::Alive, child.id()));
        let contents = file.read(Limits::default()).unwrap();
        for slot in &contents.slots {
            if let Some(wrong) = story::wrong(slot) {
                panic!("{wrong}");
            }
            whole += 1;
        }
        let sum: u64 = contents.slots.iter().map(|slot| slot.n).sum();
        assert!(contents.busy > 0 || contents.slots.len() < 4 || sum >= told, "{sum} counted, {told} told");
        assert!(matches!(file.remove(), Err(Error::Unreadable { .. })), "a living process keeps its file");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left(&slots).len(), 4);
}
