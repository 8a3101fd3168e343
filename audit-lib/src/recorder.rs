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
//! let mut orders = recorder.counter("orders"); // for a thread that knows its topic: and less to look up
//! orders.attempt(&message).acked();
//! if let Some(mut stamped) = orders.stamped() {
//!     // Of messages whose header `chaperone` this thread wrote or read itself: identity, event time, bytes.
//!     stamped.attempt(chaperone_audit::MessageId(7), 1_790_000_000_000, 2).acked();
//! }
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
//! Kafka does (I7). The death of the process loses no count, unless the slots are on its heap ([`Slots`]). The parts:
//! `table` counts (`counter` for who knows the topic), `report` tells, `outbox` repeats, `journal` keeps, `remains` and `recover` take over from the dead.
//!
//! Limits: the death of the machine loses what was counted since the last checkpoint, and the end `power` says so. Threads
//! do not survive `fork`: start the recorder after it; what a child counts with its parent's recorder is uncounted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use chaperone_wal::slots;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Clock;
use crate::message::Message;
use crate::wire::Dropped;

mod agent;
mod coalesce;
mod config;
mod counter;
mod courier;
mod dispatch;
mod home;
mod journal;
mod late;
mod life;
mod lines;
mod message;
mod outbox;
mod pace;
mod positions;
mod recover;
mod registry;
mod remains;
mod repeats;
mod report;
mod sink;
mod slot;
mod snapshot;
mod start;
mod stretch;
mod survey;
mod table;
#[cfg(test)]
mod tests;
mod ticket;
mod wide;

#[cfg(any(test, feature = "testing"))]
mod testing;

pub use agent::{Agent, AgentError, AgentSink, AgentStats};
pub use config::{Config, Slots, StartError};
pub use counter::{Counter, Stamped};
pub use courier::{Allows, Carried, Courier};
pub use remains::{Abandoned, abandoned};
use report::{Command, Counters, Reporter, Shared};
#[cfg(any(test, feature = "testing"))]
pub use sink::{Behaviour, MemorySink};
pub use sink::{Nowhere, Sink, SinkError};
pub use snapshot::{LARGE_EVERY, SMALL};
pub use stretch::told_width;
pub use survey::{Account, Survey, SurveyError, survey};
use table::Table;
#[cfg(any(test, feature = "testing"))]
pub use testing::Stepper;
#[cfg(feature = "kafka")]
pub(crate) use ticket::Stub;
pub use ticket::Ticket;

/// How long dropping the last [`Recorder`] waits for the sink.
const DROP_DEADLINE: Duration = Duration::from_secs(1);
/// What the reporter's thread may take beyond a deadline: a last device flush, and the sink's own end.
const CLOSE_SLACK: Duration = Duration::from_secs(2);

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
    /// Time between the last two watermarks that were stored, ms: two seconds, or more where there is much to tell.
    pub cadence_ms: u64,
    /// Messages of windows that were closed before they came, as far as the reporter has looked. They are in `counted` too.
    pub late: u64,
    /// Width of the windows that are told, ms: the recorder's, or 60,000 or 600,000 where finals alone would exceed the budget.
    pub width_ms: u64,
    /// Finals' messages that were told once more, a minute after the sink had them.
    pub repeated: u64,
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
    /// Opens the log and the slots, takes over what dead incarnations left in them, and starts the thread `chaperone-report`, which
    /// sends a heartbeat at once.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: Config, sink: Box<dyn Sink>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let (recorder, reporter, commands) = start::build(config, sink, clock, slots::boot_id())?;
        let shared = Arc::clone(&recorder.handle.shared);
        shared.counters.reporting.store(true, Ordering::SeqCst);
        std::thread::Builder::new()
            .name("chaperone-report".to_owned())
            .spawn(move || guarded(reporter, &commands, &shared.counters))
            .map_err(StartError::Thread)?;
        Ok(recorder)
    }

    /// Counts a message that is about to be handed to Kafka. Hand in the ticket with the delivery report.
    pub fn attempt(&self, message: &Message<'_>) -> Ticket {
        Ticket::new(self.handle.table.attempt(message))
    }

    /// Counts a message that was processed; call it before the offset is committed.
    pub fn seen(&self, message: &Message<'_>) {
        self.handle.table.seen(message);
    }

    /// Counts the messages of one topic, for a thread that knows the topic beforehand: it finds rule and line sooner than the
    /// calls above, and with a stamp at hand a count takes two thirds of their time.
    pub fn counter(&self, topic: &str) -> Counter {
        Counter::new(&self.handle.table, topic)
    }

    /// Notes how far a partition has been processed: one past the last offset. Call it after [`seen`](Self::seen).
    pub fn position(&self, topic: &str, partition: i32, next_offset: i64) {
        if !self.handle.table.is_forked() {
            self.handle.shared.positions.set(topic, partition, next_offset);
        }
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
            cadence_ms: read(&c.cadence_ms),
            late: read(&c.late),
            width_ms: read(&c.width_ms),
            repeated: read(&c.repeated),
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
        // A child has no reporter to close anything, and nothing to say.
        if self.table.is_forked() {
            return Closed::default();
        }
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
