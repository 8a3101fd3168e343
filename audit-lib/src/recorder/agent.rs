//! A host's agent: it sends what living processes hand over through `agent.sock`, and what dead ones left.
//!
//! So a process need not run a Kafka client for its counts: its recorder has an [`AgentSink`], and the agent has the sink
//! of the audit topic. What a process has handed over stays in its log and its slots until the agent reports that the
//! audit topic has it, so the death of the agent, of the process or of both at any moment loses nothing and doubles nothing.
//!
//! Invariants: a message is reported as stored only when the sink says so. Nobody but this user (`SO_PEERCRED`) is
//! listened to. Memory is bounded: at most [`CONNECTIONS`] processes, of each one frame that is being read, and
//! [`IN_FLIGHT`] messages that are only with the sink; who does not read its reports is not read from.
//!
//! Limits: Linux. One agent a directory (`agent.lock`). A path of at most 107 bytes for the socket.

mod connection;
mod frame;
mod sink;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};

use super::courier::{Allows, Carried, Courier, FIRST_TOKEN};
use super::{Sink, SinkError, recover};
use connection::Connection;
use frame::{Posted, Report};
pub use sink::AgentSink;

/// The name of the socket in the agent's directory.
const SOCKET: &str = "agent.sock";
const LOCK: &str = "agent.lock";
/// Processes that are served at one time.
const CONNECTIONS: usize = 256;
/// Messages of one process that are with the sink at one time.
const IN_FLIGHT: usize = 256;
/// How long the sink is waited for while it has something of ours.
const SLICE: Duration = Duration::from_millis(10);

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The directory cannot be made or used.
    #[error("agent directory {}: {source}; give one that this user can write", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Others could put a socket of theirs in the place of ours.
    #[error("agent directory {}: {problem}; make it this user's own: chmod 700", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Another agent is at work there.
    #[error("agent directory {} is served by another agent; one is enough", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The socket cannot be made.
    #[error("{}: {source}; the path of a socket has at most 107 bytes", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// What an agent did since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AgentStats {
    /// Processes that are connected.
    pub connected: u64,
    /// Messages of living processes that the sink has confirmed.
    pub relayed: u64,
    /// Messages of living processes that were refused or not stored; the processes repeat them.
    pub refused: u64,
    /// Connections that were ended because of what came through them, or of whom they were.
    pub rejected: u64,
    /// What the dead left.
    pub carried: Carried,
    /// Since when the sink has confirmed nothing and reported failures; `None`: it works, or has had nothing to do.
    pub failing_since: Option<Instant>,
}

/// Serves a directory: its socket, and what the dead left in it and in its subdirectories.
pub struct Agent {
    dir: PathBuf,
    listener: UnixListener,
    /// Held for life.
    _lock: File,
    sink: Box<dyn Sink>,
    allows: Allows,
    every: Duration,
    look_at: Instant,
    courier: Courier,
    connections: BTreeMap<u64, Connection>,
    /// Whose the messages are that are with the sink: connection, and the token there.
    routes: BTreeMap<u64, (u64, u64)>,
    next: u64,
    stats: AgentStats,
}

impl Agent {
    /// Takes the directory, making it if need be, and listens. `every`: how often is looked for the dead, at the start
    /// at once. `allows` says which stages the audit topic may report.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn open<A>(dir: &Path, sink: Box<dyn Sink>, every: Duration, allows: A) -> Result<Self, AgentError>
    where
        A: Fn(&str) -> bool + Send + Clone + 'static,
    {
        let unusable = |source| AgentError::Directory { dir: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
        let about = std::fs::metadata(dir).map_err(unusable)?;
        let open = |problem| AgentError::Open { dir: dir.to_owned(), problem };
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(open("belongs to another user"));
        }
        if about.mode() & 0o022 != 0 {
            return Err(open("can be written by others"));
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(LOCK));
        let lock = lock.map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(AgentError::InUse { dir: dir.to_owned() }),
            Err(error) => return Err(unusable(error.into())),
        }
        Ok(Self {
            listener: listen(&dir.join(SOCKET))?,
            dir: dir.to_owned(),
            _lock: lock,
            sink,
            allows: Box::new(allows.clone()),
            every,
            look_at: Instant::now(),
            courier: Courier::new(Box::new(allows)),
            connections: BTreeMap::new(),
            routes: BTreeMap::new(),
            next: 0,
            stats: AgentStats::default(),
        })
    }

    /// What it did so far.
    pub fn stats(&self) -> AgentStats {
        let connected = self.connections.len() as u64;
        AgentStats { connected, carried: self.courier.carried().clone(), ..self.stats.clone() }
    }

    /// Does what is due, waiting at most `patience` for something to do.
    pub fn turn(&mut self, patience: Duration) {
        let now = Instant::now();
        if now >= self.look_at && self.courier.is_idle() {
            self.courier.look(&dirs(&self.dir));
            self.look_at = now + self.every;
        }
        self.courier.post(&mut *self.sink, now);
        let busy = !self.routes.is_empty() || self.courier.has_in_flight();
        // A look's findings may be waiting for their next attempt.
        let idle = self.courier.due().unwrap_or(self.look_at).saturating_duration_since(now);
        self.wait(if busy { Duration::ZERO } else { patience.min(idle) });
        self.accept();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.read(id);
        }
        self.reports(if busy { patience.min(SLICE) } else { Duration::ZERO });
        let broken = |connection: &mut Connection| connection.write().inspect_err(|e| tracing::debug!("{e}")).is_err();
        self.connections.retain(|_, connection| !broken(connection));
    }

    /// Enters what the sink says.
    fn reports(&mut self, patience: Duration) {
        for (token, result) in self.sink.poll(patience) {
            let now = Instant::now();
            self.stats.failing_since = if result.is_ok() { None } else { self.stats.failing_since.or(Some(now)) };
            if token >= FIRST_TOKEN {
                self.courier.report(token, &result, now);
            } else if let Some((id, theirs)) = self.routes.remove(&token) {
                self.answer(id, theirs, result);
            }
        }
    }

    /// Waits for the sockets.
    fn wait(&self, patience: Duration) {
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        fds.extend(self.connections.values().map(Connection::interest));
        let patience = Timespec::try_from(patience).ok();
        // Interrupted: the next turn waits again.
        poll(&mut fds, patience.as_ref()).ok();
    }

    fn accept(&mut self) {
        while self.connections.len() < CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else { return };
            match Connection::new(stream) {
                Ok(connection) => {
                    self.next += 1;
                    self.connections.insert(self.next, connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the agent is refused");
                    self.stats.rejected += 1;
                }
            }
        }
    }

    /// Takes what a process says.
    fn read(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let result = connection.read();
        let frames = std::mem::take(&mut connection.frames);
        for message in frames {
            self.hand_over(id, &message);
        }
        match result {
            Ok(()) => {}
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    tracing::warn!(%error, "a connection to the agent is ended");
                    self.stats.rejected += 1;
                }
                self.connections.remove(&id);
            }
        }
    }

    fn hand_over(&mut self, id: u64, message: &Posted) {
        let refused = match recover::stage_of(&message.payload) {
            _ if recover::key_of(&message.payload).is_none_or(|(key, _)| key.as_bytes() != message.key) => {
                Err(SinkError::NotStored("it is no audit message".to_owned()))
            }
            Some(stage) if (self.allows)(&stage) => Ok(()),
            stage => Err(SinkError::NotStored(format!(
                "stage {:?} may not report to this agent's audit topic",
                stage.unwrap_or_default()
            ))),
        };
        self.next += 1;
        let sent = refused.and_then(|()| self.sink.send(&message.key, &message.payload, self.next));
        match sent {
            Ok(()) => {
                self.routes.insert(self.next, (id, message.token));
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.in_flight += 1;
                }
            }
            Err(error) => {
                self.stats.refused += 1;
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.tell(&Report { token: message.token, result: Err(error) });
                }
            }
        }
    }

    fn answer(&mut self, id: u64, token: u64, result: Result<(), SinkError>) {
        *(if result.is_ok() { &mut self.stats.relayed } else { &mut self.stats.refused }) += 1;
        // Who is gone sends it again.
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.in_flight -= 1;
        connection.tell(&Report { token, result });
    }

    /// Stops taking messages, and waits at most `deadline` for the sink's last words.
    pub fn close(mut self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        while (!self.routes.is_empty() || self.courier.has_in_flight()) && Instant::now() < deadline {
            self.reports(SLICE);
            for connection in self.connections.values_mut() {
                connection.write().ok();
            }
        }
        if let Err(error) = std::fs::remove_file(self.dir.join(SOCKET)) {
            tracing::debug!("{error}");
        }
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("dir", &self.dir).field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// A socket of this user alone. One that is there is of an agent that is gone: the lock is ours.
fn listen(path: &Path) -> Result<UnixListener, AgentError> {
    let listen = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| AgentError::Socket { path: path.to_owned(), source })
}

/// A directory and its immediate subdirectories; links are not followed.
pub(super) fn dirs(dir: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(dir).inspect_err(|error| tracing::warn!(dir = %dir.display(), %error, "cannot look"));
    let entries = entries.into_iter().flatten().flatten();
    let mut dirs: Vec<_> = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
    dirs.sort();
    dirs.insert(0, dir.to_owned());
    dirs
}
