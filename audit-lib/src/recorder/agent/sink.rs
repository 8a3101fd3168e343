//! The sink of a process whose counts its host's agent sends: no Kafka client in the process.
//!
//! Invariants: never blocks; a message is stored when the agent says that the audit topic has it. While there is no
//! agent everything is refused, and the recorder's log and slots keep it. At most [`OUTSTANDING`] messages and
//! [`QUEUED`] bytes are on their way; what was when the connection ended is reported as not stored, once, and repeated.
//!
//! Limits: an agent that has messages of ours and says nothing for [`SILENCE`] is given up and connected to again.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::super::{Sink, SinkError};
use super::connection::{check_peer, invalid, read_some, write_some};
use super::frame::{self, GREETING, REPORT_MAX};

/// Messages that the agent has not reported on.
const OUTSTANDING: usize = 256;
/// Bytes that wait for the agent to read them.
const QUEUED: usize = 4 << 20;
/// Longer than the agent's own sink takes to give a message up.
const SILENCE: Duration = Duration::from_secs(90);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Hands audit messages to the agent of this host (`chaperone recover --watch DIR`).
#[derive(Debug)]
pub struct AgentSink {
    path: PathBuf,
    line: Option<Line>,
    outstanding: BTreeSet<u64>,
    reports: Vec<(u64, Result<(), SinkError>)>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// A connection.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    greeted: bool,
    /// When the agent last said something, or had nothing to say.
    heard: Instant,
}

impl AgentSink {
    /// A sink on the agent that serves `dir`. It connects when there is something to send; whether an agent is there
    /// does not matter yet.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self {
            path: dir.as_ref().join(super::SOCKET),
            line: None,
            outstanding: BTreeSet::new(),
            reports: Vec::new(),
            failures: 0,
            retry_at: None,
        }
    }

    /// Connects, unless that has just failed.
    fn reach(&mut self, now: Instant) {
        if self.line.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        match Line::open(&self.path, now) {
            Ok(line) => self.line = Some(line),
            Err(error) => self.back_off(&error, now),
        }
    }

    fn back_off(&mut self, error: &io::Error, now: Instant) {
        if self.failures == 0 {
            tracing::warn!(path = %self.path.display(), %error, "the host's agent is not there; counts are kept until it is");
        }
        let wait = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + wait);
    }

    /// Writes and reads what can be.
    fn pump(&mut self, now: Instant) {
        let Some(line) = &mut self.line else { return };
        if self.outstanding.is_empty() {
            line.heard = now;
        }
        // Reports that came before the connection ended count.
        let mut over = line.write().err();
        over = line.read().err().or(over);
        loop {
            match line.next() {
                Ok(Some(report)) => {
                    line.heard = now;
                    self.failures = 0;
                    if self.outstanding.remove(&report.token) {
                        self.reports.push((report.token, report.result));
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    over = Some(error);
                    break;
                }
            }
        }
        if now.saturating_duration_since(line.heard) > SILENCE {
            over = Some(io::Error::new(ErrorKind::TimedOut, "the agent says nothing"));
        }
        if let Some(error) = over {
            self.line = None;
            self.back_off(&error, now);
            let lost = || SinkError::NotStored(format!("the connection to the agent ended: {error}"));
            self.reports.extend(std::mem::take(&mut self.outstanding).into_iter().map(|token| (token, Err(lost()))));
        }
    }

    /// Waits until the agent says something, or reads on.
    fn wait(&self, patience: Duration) {
        let Some(line) = &self.line else { return };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !line.output.is_empty());
        let patience = Timespec::try_from(patience).ok();
        // Interrupted: the caller looks again.
        poll(&mut [PollFd::new(&line.stream, flags)], patience.as_ref()).ok();
    }
}

impl Line {
    fn open(path: &Path, now: Instant) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Without waiting: an agent that is frozen must not hold us up once its backlog is full.
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let stream = UnixStream::from(socket);
        check_peer(&stream)?;
        Ok(Self { stream, input: Vec::new(), output: GREETING.to_vec(), greeted: false, heard: now })
    }

    fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = self.output.get(written..).filter(|rest| !rest.is_empty()) {
            match write_some(&self.stream, rest)? {
                0 => break,
                n => written += n,
            }
        }
        self.output.drain(..written);
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        read_some(&self.stream, &mut self.input, OUTSTANDING * (4 + REPORT_MAX))
    }

    fn next(&mut self) -> io::Result<Option<frame::Report>> {
        if !self.greeted {
            let Some(n) = frame::take_greeting(&self.input).map_err(invalid)? else { return Ok(None) };
            self.greeted = true;
            self.input.drain(..n);
        }
        let Some((report, size)) = frame::take_report(&self.input).map_err(invalid)? else { return Ok(None) };
        self.input.drain(..size);
        Ok(Some(report))
    }
}

impl Sink for AgentSink {
    fn send(&mut self, key: &[u8], payload: &[u8], token: u64) -> Result<(), SinkError> {
        self.reach(Instant::now());
        let Some(line) = &mut self.line else {
            return Err(SinkError::NotStored(format!("no agent at {}", self.path.display())));
        };
        if self.outstanding.len() >= OUTSTANDING || line.output.len() + payload.len() > QUEUED {
            return Err(SinkError::Full);
        }
        if !frame::put_send(&mut line.output, key, payload, token) {
            return Err(SinkError::NotStored("it is longer than an audit message may be".to_owned()));
        }
        self.outstanding.insert(token);
        self.pump(Instant::now());
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        let deadline = Instant::now() + timeout;
        loop {
            let now = Instant::now();
            self.pump(now);
            let left = deadline.saturating_duration_since(now);
            if !self.reports.is_empty() || left.is_zero() || self.line.is_none() {
                return std::mem::take(&mut self.reports);
            }
            self.wait(left);
        }
    }

    fn flush(&mut self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        while !self.outstanding.is_empty() && Instant::now() < deadline {
            self.pump(Instant::now());
            self.wait(deadline.saturating_duration_since(Instant::now()));
        }
    }
}
