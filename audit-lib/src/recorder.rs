//! Counting in the host process, and reporting what was counted.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! # use chaperone_audit::message::{Message, NoHeaders};
//! # use chaperone_audit::recorder::{Config, Recorder, Sink};
//! # fn demo(sink: Box<dyn Sink>) -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { seed: 42, data_dir: Some("/var/lib/app/chaperone".into()), ..Config::new("producer", "shop") };
//! let recorder = Recorder::start(config, sink, Arc::new(chaperone_audit::SystemClock))?;
//! let message = Message { topic: "orders", key: None, value: Some(b"{}"), headers: &NoHeaders, timestamp_ms: Some(1), broker_time: false };
//! let ticket = recorder.attempt(&message); // before the hand-over to Kafka
//! ticket.acked(); // from the delivery report
//! recorder.close(Duration::from_secs(5));
//! # Ok(()) }
//! ```
//!
//! Nobody can make "count" and "produce" one act: what has no delivery report yet is *in flight*, and what will have
//! none is *in doubt*. Stages that only see (consumers) have no *out* chain: their slots carry the flag `seen` and
//! nothing of them is in flight.
//!
//! Invariants: `attempt` and `seen` cannot fail, block on I/O or panic, and no fault of the sink, the disk or the
//! reporter's thread reaches the host; every message counted is in exactly one slot (I1); memory is bounded whatever
//! Kafka does (I7). The parts: `table` counts, `report` tells, `outbox` repeats, `journal` keeps, `recover` takes over.
//!
//! Limits: slots are heap memory under sharded locks, so threads that count one topic share a lock, and the death of
//! the process loses the counts since the last checkpoint (said by the flag `crash`); mapped slots remove both. Threads
//! do not survive `fork`: start the recorder after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use chaperone_wal::Error as LogError;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Clock;
use crate::message::Message;
use crate::rule::{Rules, TopicRule};
use crate::window::Width;
use crate::wire::{self, Dropped, Reporter as ReporterName};

mod journal;
mod life;
mod message;
mod outbox;
mod positions;
mod recover;
mod report;
mod sink;
mod slot;
mod table;
#[cfg(test)]
mod tests;
mod ticket;

#[cfg(any(test, feature = "testing"))]
mod testing;

use journal::Journal;
use message::Head;
use positions::Positions;
use report::{Command, Counters, Reporter, Shared, Timing};
#[cfg(any(test, feature = "testing"))]
pub use sink::{Behaviour, MemorySink};
pub use sink::{Sink, SinkError};
use slot::Kind;
use table::Table;
#[cfg(any(test, feature = "testing"))]
pub use testing::Stepper;
pub use ticket::Ticket;

/// How long dropping the last [`Recorder`] waits for the sink.
const DROP_DEADLINE: Duration = Duration::from_secs(1);
/// What the reporter's thread may take beyond a deadline: a last device flush, and the sink's own end.
const CLOSE_SLACK: Duration = Duration::from_secs(2);

/// How a recorder counts and reports.
#[derive(Debug, Clone)]
pub struct Config {
    /// The stage that is counted, as the pipelines of the configuration name it.
    pub stage: String,
    /// Name of the application.
    pub application: String,
    /// Host; default the machine's name.
    pub host: String,
    /// Kafka cluster of the stage; empty outside Kafka.
    pub cluster: String,
    /// Datacenter; may be empty.
    pub datacenter: String,
    /// Directory of the write-ahead log, one for each recorder of a host. `None`: memory only; a crash loses all that
    /// was not sent, and every record says so with the flag `no_wal`.
    pub data_dir: Option<PathBuf>,
    /// The deployment's seed (`chaperone init` writes it). Stages with different seeds cannot be compared.
    pub seed: u64,
    /// Topics whose time and identity are not found by the default rule; the first that matches decides. Write what the
    /// taps' configuration has (`pipeline.NAME.time`, `.unit`, `.id`): stages with different rules cannot be compared.
    pub rules: Vec<TopicRule>,
    /// Width of a window, default 10 s.
    pub width: Width,
    /// How long after its end, and after its last message, a window stays open. Default 10 s. Later messages are
    /// counted too, in a slot of their own.
    pub grace: Duration,
    /// How often is reported, default 2 s. The collector calls a reporter silent after 30 s.
    pub heartbeat: Duration,
    /// How often the open slots go to the write-ahead log, default 10 s: what the machine's death may cost.
    pub checkpoint: Duration,
    /// Slots in memory, default 4096 of up to 2.5 KB each; beyond it the overflow slot counts.
    pub max_slots: usize,
}

impl Config {
    /// The defaults for a stage of an application.
    pub fn new(stage: impl Into<String>, application: impl Into<String>) -> Self {
        Self {
            stage: stage.into(),
            application: application.into(),
            host: host_name(),
            cluster: String::new(),
            datacenter: String::new(),
            data_dir: None,
            seed: 0,
            rules: Vec::new(),
            width: Width::default(),
            grace: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
            checkpoint: Duration::from_secs(10),
            max_slots: 4096,
        }
    }

    fn check(&self) -> Result<(), StartError> {
        let wrong = |field, problem: &dyn std::fmt::Display| StartError::Config { field, problem: problem.to_string() };
        wire::name("stage", &self.stage).map_err(|e| wrong("stage", &e))?;
        wire::name("reporter.host", &self.host).map_err(|e| wrong("host", &e))?;
        if self.heartbeat < Duration::from_millis(1) {
            return Err(wrong("heartbeat", &"is below 1 ms; set 2 s unless this is a test"));
        }
        if self.max_slots == 0 {
            return Err(wrong("max_slots", &"is 0; set at least the number of topics times open windows"));
        }
        Ok(())
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "unknown-host".to_owned() } else { name }
}

/// Why a recorder did not start. Counting has not begun; the host may go on without it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("recorder setting {field}: {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Another recorder, here or in another process, holds the directory.
    #[error(
        "recorder directory {} is in use by another recorder; give each recorder a data_dir of its own \
         (for example one per process or instance number)", dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The write-ahead log cannot be opened.
    #[error(
        "recorder directory {}: {source}; make it a writable directory on a local disk, or start with data_dir = None \
         to do without the write-ahead log", dir.display()
    )]
    Log {
        /// The directory.
        dir: PathBuf,
        /// The log's words.
        source: LogError,
    },
    /// The reporter's thread cannot be started.
    #[error("cannot start the thread chaperone-report: {0}; raise the process's limit of threads")]
    Thread(std::io::Error),
}

/// How the books were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closed {
    /// Attempts of this incarnation without an outcome: tickets dropped, and what was in flight at the close.
    pub in_doubt: u64,
    /// Audit messages that the sink has not confirmed. With a log the next start sends them; without one they are lost.
    pub unsent: u64,
}

/// What a recorder tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Messages attempted or seen.
    pub counted: u64,
    /// Delivery reports that say persisted.
    pub acked: u64,
    /// Delivery reports that prove not persisted.
    pub failed: u64,
    /// Attempts without a delivery report yet.
    pub in_flight: u64,
    /// Attempts that will have none.
    pub in_doubt: u64,
    /// Messages that came after the close and are not counted.
    pub uncounted: u64,
    /// Slots in memory.
    pub slots: u64,
    /// Audit messages stored by the sink.
    pub stored: u64,
    /// Delivery failures of audit messages; they are repeated.
    pub failures: u64,
    /// Snapshots stored whole.
    pub snapshots: u64,
    /// Final records' messages that wait for the sink (those that wait only in the log not included).
    pub waiting: u64,
    /// What could not be kept.
    pub dropped: Dropped,
    /// Panics caught in the reporter's thread.
    pub panics: u64,
    /// Whether the reporter's thread is at work.
    pub reporting: bool,
}

/// Counts messages and reports the counts. Clones are the same recorder; dropping the last one closes it, with a
/// deadline of one second.
#[derive(Clone)]
pub struct Recorder {
    handle: Arc<Handle>,
}

struct Handle {
    incarnation: Uuid,
    table: Arc<Table>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    closed: Mutex<Option<Closed>>,
}

impl Recorder {
    /// Opens the log, takes over what a dead incarnation left in it, and starts the thread `chaperone-report`, which
    /// sends a heartbeat at once.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: Config, sink: Box<dyn Sink>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let (recorder, reporter, commands) = Self::build(config, sink, clock)?;
        let shared = Arc::clone(&recorder.handle.shared);
        shared.counters.reporting.store(true, Ordering::SeqCst);
        std::thread::Builder::new()
            .name("chaperone-report".to_owned())
            .spawn(move || guarded(reporter, &commands, &shared.counters))
            .map_err(StartError::Thread)?;
        Ok(recorder)
    }

    fn build(
        config: Config,
        sink: Box<dyn Sink>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Reporter, Receiver<Command>), StartError> {
        config.check()?;
        let (journal, entries) = open_log(&config)?;
        let audited_since_ms = clock.now_ms();
        let table = Arc::new(Table::new(clock, Rules::with(config.seed, config.rules), config.width, config.max_slots));
        let counters = Counters::default();
        let shared = Arc::new(Shared { table: Arc::clone(&table), positions: Positions::default(), counters });
        let head = Head {
            incarnation: Uuid::now_v7(),
            reporter: ReporterName {
                host: config.host,
                application: config.application,
                library: concat!("chaperone-audit ", env!("CARGO_PKG_VERSION")).to_owned(),
                pid: std::process::id(),
            },
            stage: config.stage,
            cluster: config.cluster,
            datacenter: config.datacenter,
            audited_since_ms,
        };
        let timing = Timing {
            grace_ms: i64::try_from(config.grace.as_millis()).unwrap_or(i64::MAX),
            heartbeat: config.heartbeat,
            checkpoint: config.checkpoint,
        };
        let (sender, receiver) = mpsc::channel();
        let incarnation = head.incarnation;
        let now = Instant::now();
        let mut reporter = Reporter::new(Arc::clone(&shared), head, timing, sink, journal, now);
        reporter.recover(&entries, now);
        let handle = Handle { incarnation, table, shared, commands: sender, closed: Mutex::default() };
        Ok((Self { handle: Arc::new(handle) }, reporter, receiver))
    }

    /// Counts a message that is about to be handed to Kafka. Hand in the ticket with the delivery report.
    pub fn attempt(&self, message: &Message<'_>) -> Ticket {
        let table = &self.handle.table;
        Ticket::new(Arc::clone(table), table.arrive(message, Kind::Attempted))
    }

    /// Counts a message that was processed; call it before the offset is committed.
    pub fn seen(&self, message: &Message<'_>) {
        let _counted = self.handle.table.arrive(message, Kind::Seen);
    }

    /// Notes how far a partition has been processed: one past the last offset. Call it after [`seen`](Self::seen).
    pub fn position(&self, topic: &str, partition: i32, next_offset: i64) {
        self.handle.shared.positions.set(topic, partition, next_offset);
    }

    /// This life of the process, as it stands in every record.
    pub fn incarnation(&self) -> Uuid {
        self.handle.incarnation
    }

    /// The recorder's wall clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.handle.table.now_ms()
    }

    /// Figures about the recorder itself.
    pub fn stats(&self) -> Stats {
        let totals = self.handle.table.totals();
        let shared = &self.handle.shared;
        let c = &shared.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            counted: totals.sum.n,
            acked: totals.sum.acked,
            failed: totals.sum.failed,
            in_flight: totals.in_flight,
            in_doubt: totals.in_doubt,
            uncounted: totals.uncounted,
            slots: totals.slots as u64,
            stored: read(&c.stored),
            failures: read(&c.failures),
            snapshots: read(&c.snapshots),
            waiting: read(&c.waiting),
            dropped: shared.dropped(),
            panics: read(&c.panics),
            reporting: c.reporting.load(Ordering::Relaxed),
        }
    }

    /// Makes all slots final, says goodbye, and sends until `deadline`. What is counted later is not reported. Flush
    /// the producer before, or what it has in flight ends in doubt. A second call returns the first one's answer.
    pub fn close(&self, deadline: Duration) -> Closed {
        self.handle.close(deadline)
    }
}

impl Handle {
    fn close(&self, deadline: Duration) -> Closed {
        let mut closed = self.closed.lock();
        if let Some(closed) = *closed {
            return closed;
        }
        let (reply, answer): (SyncSender<Closed>, _) = mpsc::sync_channel(1);
        let deadline_at = Instant::now() + deadline;
        let told = self.commands.send(Command::Close { deadline: deadline_at, reply }).is_ok();
        let answer = told.then(|| answer.recv_timeout(deadline.saturating_add(CLOSE_SLACK)).ok()).flatten();
        let answer = answer.unwrap_or_else(|| {
            // The thread is gone or hangs in the sink: the log, if there is one, speaks at the next start.
            let totals = self.table.totals();
            Closed { in_doubt: totals.in_doubt + totals.in_flight, unsent: totals.slots as u64 }
        });
        *closed = Some(answer);
        answer
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close(DROP_DEADLINE);
    }
}

fn open_log(config: &Config) -> Result<(Journal, Vec<chaperone_wal::Entry>), StartError> {
    let Some(dir) = &config.data_dir else { return Ok((Journal::none(), Vec::new())) };
    let (journal, recovered) = Journal::open(dir, config.max_slots).map_err(|source| match source {
        LogError::Locked { .. } => StartError::InUse { dir: dir.clone() },
        source => StartError::Log { dir: dir.clone(), source },
    })?;
    if !recovered.torn.is_empty() || !recovered.corrupt.is_empty() {
        let (torn, corrupt) = (recovered.torn.len(), recovered.corrupt.len());
        tracing::warn!(dir = %dir.display(), torn, corrupt, "the write-ahead log was damaged; what is whole is sent");
    }
    Ok((journal, recovered.entries))
}

/// Runs the reporter; a panic ends reporting and nothing else.
fn guarded(reporter: Reporter, commands: &Receiver<Command>, counters: &Counters) {
    let run = std::panic::AssertUnwindSafe(|| reporter.run(commands));
    if std::panic::catch_unwind(run).is_err() {
        counters.panics.fetch_add(1, Ordering::SeqCst);
        tracing::error!("the audit reporter panicked; the host is unharmed, but its counts are no longer reported");
    }
    counters.reporting.store(false, Ordering::SeqCst);
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("incarnation", &self.handle.incarnation).finish_non_exhaustive()
    }
}
