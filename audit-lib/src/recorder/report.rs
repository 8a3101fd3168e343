//! The reporter: one thread that turns slots into audit messages and sees them through.
//!
//! A *beat* (every heartbeat) looks at all slots at once. Slots that this look closed are appended to the log, leave the
//! table and go to the outbox; then the open ones that changed are sent as a *snapshot*, in parts. Its last message
//! carries the watermark and the sums, and is sent only when the parts before it, and the finals of the same look, are
//! stored (`snapshot`). How much is sent in a second has a limit (`pace`).
//!
//! Where finals alone would be more, wider windows are told than are counted (`stretch`, `wide`).
//!
//! Invariants: a final is sent only after it is logged *and* a checkpoint without it is logged, so that recovery never
//! brings an older state of a slot whose final was stored. One snapshot at a time. `step` never waits for the sink.
//!
//! Limits: with the sink away, memory holds the open slots, 64 logged letters and what the log itself keeps (at
//! most its size limit). From half of that limit on windows are made wider (`coalesce`); where that is not enough, finals
//! stay in the slot table, and past `max_slots` the overflow slot counts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::Closed;
use super::dispatch::Dispatch;
use super::late::Late;
use super::message::{Head, split};
use super::outbox::{Letter, News};
use super::positions::Positions;
use super::registry::Key;
use super::snapshot::Snapshot;
use super::stretch::Stretch;
use super::table::{Capture, Captured, How, Table};
use crate::state::flag;
use crate::wire::{AuditMessage, Dropped, SlotRecord};

/// How often the sink is looked at while it has something of ours, and while it has not.
pub(super) const POLL_BUSY: Duration = Duration::from_millis(10);
const POLL_IDLE: Duration = Duration::from_millis(250);

/// What the host's threads and the reporter share.
pub(super) struct Shared {
    pub(super) table: Arc<Table>,
    pub(super) positions: Positions,
    pub(super) counters: Arc<Counters>,
}

/// What the reporter tells about itself.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) stored: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) snapshots: AtomicU64,
    pub(super) unlogged: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) coalesced: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) cadence_ms: AtomicU64,
    pub(super) width_ms: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) reporting: AtomicBool,
    /// The slot file was removed by somebody.
    pub(super) unreachable: AtomicBool,
}

/// Orders for the reporter.
pub(super) enum Command {
    Close {
        deadline: Instant,
        reply: SyncSender<Closed>,
    },
    /// Stop like a process that is killed.
    #[cfg(any(test, feature = "testing"))]
    Abandon {
        reply: SyncSender<()>,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) grace_ms: i64,
    pub(super) heartbeat: Duration,
    pub(super) checkpoint: Duration,
}

pub(super) struct Reporter {
    pub(super) shared: Arc<Shared>,
    pub(super) head: Head,
    pub(super) timing: Timing,
    pub(super) dispatch: Dispatch,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) stretch: Stretch,
    /// When what is held for a round is folded next, by the wall clock.
    pub(super) fold_at_ms: i64,
    /// The machine's boot.
    pub(super) boot: [u8; 16],
    /// Slots numbered so far.
    pub(super) ids: u64,
    pub(super) seq: u64,
    pub(super) beat_at: Instant,
    pub(super) checkpoint_at: Instant,
    /// When many open slots may be told again.
    pub(super) large_at: Instant,
    pub(super) late: Late,
    /// The last watermark that was stored.
    pub(super) told_ms: Option<i64>,
    /// Whether windows are made wider where the log is short of room; only a test that needs a control says no.
    pub(super) coalescing: bool,
}

impl Reporter {
    pub(super) fn new(
        shared: Arc<Shared>,
        head: Head,
        (timing, stretch): (Timing, Stretch),
        dispatch: Dispatch,
        now: Instant,
    ) -> Self {
        Self {
            shared,
            head,
            timing,
            dispatch,
            snapshot: None,
            stretch,
            fold_at_ms: i64::MIN,
            boot: [0; 16],
            ids: 0,
            seq: 0,
            beat_at: now,
            checkpoint_at: now + timing.checkpoint,
            large_at: now,
            late: Late::default(),
            told_ms: None,
            coalescing: true,
        }
    }

    /// Does what is due.
    pub(super) fn step(&mut self, now: Instant) {
        self.collect(Duration::ZERO, now);
        if now >= self.beat_at {
            self.beat_at = now + self.timing.heartbeat;
            self.beat(now);
        }
        if now >= self.checkpoint_at {
            self.write_checkpoint(now);
        }
        self.post(now);
        self.send_parts(now);
        self.collect(Duration::ZERO, now);
        self.send_parts(now);
        self.dispatch.repeat(now);
        self.collect(Duration::ZERO, now);
        self.shared.counters.waiting.store(self.dispatch.outbox.len() as u64, Ordering::Relaxed);
        self.shared.counters.width_ms.store(self.stretch.width().ms().unsigned_abs(), Ordering::Relaxed);
    }

    pub(super) fn idle(&self) -> Duration {
        if self.awaits_reports() || self.dispatch.outbox.has_in_flight() {
            return POLL_BUSY;
        }
        let next = self.dispatch.outbox.due().map_or(self.beat_at, |due| due.min(self.beat_at));
        next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), POLL_IDLE)
    }

    /// Enters delivery reports.
    pub(super) fn collect(&mut self, timeout: Duration, now: Instant) {
        for (token, result) in self.dispatch.sink.poll(timeout) {
            let counters = &self.shared.counters;
            let counter = if result.is_ok() { &counters.stored } else { &counters.failures };
            counter.fetch_add(1, Ordering::Relaxed);
            if self.dispatch.is_repeat(token) {
                self.dispatch.report_repeat(token, result.is_ok(), now);
                continue;
            }
            if !self.dispatch.outbox.has(token) {
                self.report_part(token, &result, now);
                continue;
            }
            self.report_final(token, result.is_ok(), now);
            if let Some(letter) = self.dispatch.report(token, &result, now) {
                self.shared.table.free(&letter.frees);
            }
        }
    }

    /// Looks at every slot.
    pub(super) fn capture(&mut self, how: How) -> Capture {
        let capture = self.shared.table.capture(how, &mut self.ids);
        let late = self.late.look(&capture, self.timing.grace_ms, self.ids);
        self.shared.counters.late.store(late, Ordering::Relaxed);
        capture
    }

    /// Final states as letters, not logged yet; `held`: those of which nobody was told are to wait for their round.
    pub(super) fn final_letters(&mut self, mut finals: Vec<Captured>, held: bool) -> Vec<Letter> {
        let bounds = self.stretch.bounds(self.shared.table.now_ms());
        let kind = |c: &Captured| (!c.told, bounds.map(|bound| c.told || c.record.id >= bound));
        finals.sort_by_key(|c| (kind(c), c.record.id));
        let mut letters = Vec::new();
        for finals in chunks(finals, kind) {
            let news = match finals.first() {
                Some(first) if !first.told && held => News::Held,
                Some(first) if !first.told => News::Fresh,
                _ => News::Told,
            };
            for part in split(finals) {
                let (states, records) = self.unpack(part);
                let message = self.message(records);
                let letter = self.dispatch.letter(&message, states.into_iter().map(|s| s.0).collect());
                if let Some(letter) = letter {
                    self.stretch.weigh(letter.records, letter.payload.len() as u64);
                    letters.push(Letter { news, ..letter });
                }
            }
        }
        letters
    }

    /// Logs letters; their slots leave the table. Returns the tokens of those that are in the outbox.
    pub(super) fn log(&mut self, letters: Vec<Letter>) -> BTreeSet<u64> {
        let logged = self.dispatch.log(letters);
        self.shared.table.free(&logged.frees);
        logged.tokens
    }

    /// Takes states apart into what to settle and what to send.
    pub(super) fn unpack(&self, part: Vec<Captured>) -> (Vec<(Key, u64)>, Vec<SlotRecord>) {
        let no_wal = self.dispatch.journal.is_none().then_some(flag::NO_WAL);
        let heap = self.is_heap().then_some(flag::NO_CRASH_RECOVERY);
        let mark = |mut record: SlotRecord| {
            record.state.flags.extend(no_wal.into_iter().chain(heap).map(str::to_owned));
            record
        };
        part.into_iter().map(|c| ((c.key, c.changes), mark(c.record))).unzip()
    }

    /// Whether the death of this process would lose counts.
    pub(super) fn is_heap(&self) -> bool {
        !self.shared.table.slots().survives() || self.shared.counters.unreachable.load(Ordering::Relaxed)
    }

    /// The next message of the sequence.
    pub(super) fn message(&mut self, slots: Vec<SlotRecord>) -> AuditMessage {
        let mut message = self.head.message(self.seq, self.shared.table.now_ms(), slots);
        self.seq += 1;
        message.dropped = self.shared.dropped();
        message.late = self.shared.counters.late.load(Ordering::Relaxed);
        message
    }
}

/// Neighbours of the same kind.
fn chunks<T, K: PartialEq>(all: Vec<T>, kind: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    for one in all {
        match chunks.last_mut() {
            Some(chunk) if chunk.last().is_some_and(|last| kind(last) == kind(&one)) => chunk.push(one),
            _ => chunks.push(vec![one]),
        }
    }
    chunks
}

impl Shared {
    /// What was dropped so far, by cause.
    pub(super) fn dropped(&self) -> Dropped {
        Dropped {
            overflow: self.table.overflowed(),
            unlogged: self.counters.unlogged.load(Ordering::Relaxed),
            records: self.counters.records.load(Ordering::Relaxed),
            coalesced: self.counters.coalesced.load(Ordering::Relaxed),
        }
    }
}
