//! A process that forks while its threads count, as servers do: children that end at once, become another program, count
//! with what they inherited, hand in their parent's tickets, start a recorder of their own; and one that outlives it.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::Clock;
use chaperone_audit::recorder::{Closed, Recorder, Slots, StartError, Ticket};
use fork::Fork;
use rustix::process::{Pid, Signal, kill_process};

use crate::busy::{Fast, hasty};
use crate::sink::FileSink;
use crate::{Witness, message};

const THREADS: u64 = 4;
const TOPICS: [&str; 4] = ["orders", "payments", "refunds", "clicks"];
/// Messages that a child counts, or tries to.
const OF_A_CHILD: u64 = 50;
/// A child that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(1);
/// What children do in turn, and the one thing that takes a second.
const TURNS: u64 = 6;
const IN_USE: u64 = 6;

struct Host {
    recorder: Recorder,
    clock: Arc<Fast>,
    witness: Witness,
    over: AtomicBool,
    dir: PathBuf,
    sink: PathBuf,
}

/// Forks so often, one child after the other; then, as `end` says, closes well (`close`, `heap`), or (`outlived`) forks one
/// that lives until the file `heir` beside the directory is gone, and counts until killed.
pub(crate) fn run(dir: &Path, sink: &Path, forks: u64, end: &str) -> anyhow::Result<()> {
    let clock = Fast::new();
    let mut config = hasty(dir);
    if end == "heap" {
        config.slots = Slots::Heap;
    }
    let recorder =
        Recorder::start(config, Box::new(FileSink::open(sink, true)?), Arc::clone(&clock) as Arc<dyn Clock>)?;
    let (witness, over) = (Witness::new()?, AtomicBool::new(false));
    let host = Arc::new(Host { recorder, clock, witness, over, dir: dir.to_owned(), sink: sink.to_owned() });
    let count = |thread| {
        let host = Arc::clone(&host);
        std::thread::spawn(move || host.count(thread))
    };
    let threads: Vec<_> = (0..THREADS).map(count).collect();
    let mut wrong = Vec::new();
    for number in 0..forks {
        let ended = host.fork(number)?;
        if !ended.success() {
            wrong.push(format!("child {number}: {ended:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:?}");
    if end == "outlived" {
        host.leave_an_heir()?;
    } else {
        host.over.store(true, Ordering::Relaxed);
    }
    for thread in threads {
        thread.join().ok().context("a thread panicked")??;
    }
    let closed = host.recorder.close(Duration::from_secs(10));
    ensure!(closed == Closed::default(), "{closed:?}");
    let stats = host.recorder.stats();
    ensure!((stats.uncounted, stats.in_flight, stats.panics) == (0, 0, 0), "{stats:?}");
    Ok(())
}

impl Host {
    fn count(&self, thread: u64) -> io::Result<()> {
        let mut in_flight: Option<Ticket> = None;
        for i in 0u64.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let ticket = self.attempt(thread << 48 | i);
            if let Some(before) = in_flight.replace(ticket) {
                if i % 64 == 0 { before.failed() } else { before.acked() }
            }
            self.witness.tell(".")?;
        }
        in_flight.into_iter().for_each(Ticket::acked);
        Ok(())
    }

    fn attempt(&self, number: u64) -> Ticket {
        let topic = TOPICS.get(usize::try_from(number % 4).unwrap_or(0)).copied().unwrap_or("orders");
        self.recorder.attempt(&message(topic, &number.to_le_bytes(), self.clock.now_ms()))
    }

    /// Forks, with a message in flight whose ticket both have, and waits for the child's end.
    fn fork(&self, number: u64) -> anyhow::Result<ExitStatus> {
        let ticket = self.attempt(THREADS << 48 | number);
        self.witness.tell(".")?;
        match fork::fork()? {
            Fork::Child => {
                // It never comes back to where other threads would be waited for.
                let right = self.child(number, ticket);
                std::process::exit(i32::from(!right));
            }
            Fork::Parent(pid) => {
                ticket.acked();
                wait(pid, number % TURNS == 5)
            }
        }
    }

    /// What a child does; whether it went as it should.
    fn child(&self, number: u64, ticket: Ticket) -> bool {
        if number == IN_USE {
            return self.is_refused_the_parents_directory();
        }
        match number % TURNS {
            0 => true,
            1 => self.counts_nothing(),
            2 => {
                ticket.failed();
                true
            }
            3 => self.counts_by_itself(number).is_ok_and(|right| right),
            4 => {
                let error = Command::new("true").exec();
                eprintln!("{error}");
                false
            }
            _ => {
                let told = self.counts_nothing();
                told && kill_process(rustix::process::getpid(), Signal::KILL).is_ok()
            }
        }
    }

    /// With the parent's recorder nothing is counted, and it says so.
    fn counts_nothing(&self) -> bool {
        for i in 0..OF_A_CHILD {
            self.attempt(i).acked();
            self.recorder.seen(&message("orders", &i.to_le_bytes(), self.clock.now_ms()));
            self.recorder.position("orders", 0, 1);
        }
        let stats = self.recorder.stats();
        let closed = self.recorder.close(Duration::from_secs(1));
        (stats.counted, stats.in_flight, stats.uncounted) == (0, 0, 2 * OF_A_CHILD) && closed == Closed::default()
    }

    /// With one of its own it does.
    fn counts_by_itself(&self, number: u64) -> anyhow::Result<bool> {
        let dir = self.dir.with_file_name(format!("child-{number}"));
        let (sink, clock) = (FileSink::open(&self.sink, false)?, Arc::clone(&self.clock) as Arc<dyn Clock>);
        let own = Recorder::start(hasty(&dir), Box::new(sink), clock)?;
        for i in 0..OF_A_CHILD {
            own.attempt(&message("orders", &i.to_le_bytes(), self.clock.now_ms())).acked();
        }
        let closed = own.close(Duration::from_secs(10));
        Ok(own.stats().counted == OF_A_CHILD && closed == Closed::default() && self.recorder.stats().counted == 0)
    }

    fn is_refused_the_parents_directory(&self) -> bool {
        let Ok(sink) = FileSink::open(&self.sink, false) else { return false };
        let started = Recorder::start(hasty(&self.dir), Box::new(sink), Arc::clone(&self.clock) as Arc<dyn Clock>);
        matches!(started, Err(StartError::InUse { .. }))
    }

    /// A child that has all that it inherited for as long as the file with its number is there.
    fn leave_an_heir(&self) -> anyhow::Result<()> {
        let file = self.dir.with_file_name("heir");
        if let Fork::Child = fork::fork()? {
            let wrote = std::fs::write(&file, std::process::id().to_string()).is_ok();
            while wrote && file.exists() {
                std::thread::park_timeout(LOOK);
            }
            std::process::exit(i32::from(!self.counts_nothing()));
        }
        Ok(())
    }
}

/// Waits for a child; one that hangs is killed and counts as ended badly. `killed`: so it should end.
fn wait(pid: i32, killed: bool) -> anyhow::Result<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = fork::waitpid_nohang(pid)? {
            let status = ExitStatus::from_raw(status);
            let as_told = killed && status.signal() == Some(Signal::KILL.as_raw());
            return Ok(if as_told { ExitStatus::default() } else { status });
        }
        if Instant::now() > until {
            let pid = Pid::from_raw(pid).context("a child's number")?;
            kill_process(pid, Signal::KILL)?;
            anyhow::bail!("a child hangs");
        }
        std::thread::park_timeout(LOOK);
    }
}
