//! Processes that count and are killed, and what is known of them: the bytes that they told before, and what a sink that
//! survived them stored.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::state::SlotState;
use chaperone_audit::wire::{AuditMessage, End, Sum};
use rustix::process::Signal;
use uuid::Uuid;

use crate::process::{self, Guarded};
use crate::programs;

/// The process that counts for these suites.
pub fn victim() -> PathBuf {
    programs::built("victim")
}

/// A directory in memory, for who counts.
pub fn in_memory() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in("/dev/shm")?)
}

/// A process, and all that it writes to standard output.
#[derive(Debug)]
pub struct Watched {
    child: Guarded,
    reader: JoinHandle<io::Result<Vec<u8>>>,
    first: Receiver<()>,
    ended: Receiver<()>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// What it wrote.
    pub told: Vec<u8>,
    /// Its last word to the system.
    pub status: ExitStatus,
    /// What it was called by.
    pub pid: u32,
}

impl Watched {
    /// Starts a program. It dies with this process.
    pub fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = process::command(program.to_str().context("a path in UTF-8")?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process::spawn(command)?;
        let mut pipe = child.child().stdout.take().context("a pipe")?;
        let (over, ended) = mpsc::channel::<()>();
        let (begun, first) = mpsc::channel::<()>();
        let reader = std::thread::spawn(move || {
            let _over = over;
            let mut told = vec![0; 1];
            let length = pipe.read(&mut told)?;
            told.truncate(length);
            drop(begun);
            pipe.read_to_end(&mut told).map(|_| told)
        });
        Ok(Self { child, reader, first, ended })
    }

    /// Waits until it tells something, or has ended without.
    pub fn begun(&self) {
        // Nothing is ever sent: the other end goes.
        self.first.recv().ok();
    }

    /// Lets it live so long; whether it has ended before.
    pub fn live(&self, time: Duration) -> bool {
        // Nothing is ever sent: the other end goes when the pipe is closed.
        !matches!(self.ended.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal until it has ended: Rust's runtime takes the first SIGSEGV, to look whether a stack overflowed.
    pub fn end_by(self, signal: Signal) -> anyhow::Result<Ended> {
        self.child.signal(signal)?;
        while !self.live(Duration::from_millis(20)) {
            self.child.signal(signal)?;
        }
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> anyhow::Result<Ended> {
        let told = self.reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        let status = self.child.wait(Duration::from_secs(60))?;
        Ok(Ended { told, status, pid: self.child.id() })
    }
}

/// One incarnation, as the sink knows it.
#[derive(Debug, Default)]
pub struct Life {
    /// Its process.
    pub pid: u32,
    /// Its slots, all reports joined.
    pub slots: BTreeMap<u64, SlotState>,
    /// How it ended.
    pub end: Option<End>,
    /// What it counted, by its last words.
    pub sum: Option<Sum>,
}

impl Life {
    /// Messages, of which so many were acked, so many failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.slots.values().fold((0, 0, 0), |(n, acked, failed), s| (n + s.n, acked + s.acked, failed + s.failed))
    }
}

/// All that a sink stored, taken together as the collector does.
#[derive(Debug, Default)]
pub struct Told {
    /// By incarnation.
    pub lives: BTreeMap<Uuid, Life>,
    /// Messages that were stored again under their UUID.
    pub resent: u64,
    /// What cannot be true together: two contents under one UUID, two states of one slot, sums that are not those of the
    /// slots.
    pub contradictions: Vec<String>,
}

impl Told {
    /// Reads a sink's file: one message a line; a line that a death cut off was not stored.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let mut all = Self::default();
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let mut seen: BTreeMap<Uuid, &str> = BTreeMap::new();
        for line in text.lines() {
            let Ok(message) = AuditMessage::decode(line.as_bytes()) else { continue };
            if let Some(before) = seen.insert(message.uuid, line) {
                all.resent += 1;
                if before != line {
                    all.contradictions.push(format!("{} was once {before} and once {line}", message.uuid));
                }
            }
            all.add(message);
        }
        all.check_sums();
        Ok(all)
    }

    /// Of messages that were stored, in any order.
    pub fn of(messages: impl IntoIterator<Item = AuditMessage>) -> Self {
        let mut all = Self::default();
        messages.into_iter().for_each(|message| all.add(message));
        all.check_sums();
        all
    }

    fn check_sums(&mut self) {
        for (incarnation, life) in &self.lives {
            let n = life.counts().0;
            if life.sum.is_some_and(|sum| sum.n != n) {
                self.contradictions.push(format!("{incarnation}: {n} in slots, {:?}", life.sum));
            }
        }
    }

    fn add(&mut self, message: AuditMessage) {
        let life = self.lives.entry(message.incarnation).or_default();
        life.pid = message.reporter.pid;
        if message.end.is_some() {
            life.end = message.end;
            life.sum = message.sum.or(life.sum);
        }
        for record in message.slots {
            let state = life.slots.entry(record.id).or_default();
            if state.n > 0 && state.divergent(&record.state) {
                self.contradictions.push(format!("slot {}: {state:?} and {:?}", record.id, record.state));
            }
            state.join(&record.state);
        }
    }

    /// Messages counted by all.
    pub fn n(&self) -> u64 {
        self.lives.values().map(|life| life.counts().0).sum()
    }
}
