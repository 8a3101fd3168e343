//! The slot table: where a message becomes a count. Everything that the host's threads touch is here.
//!
//! Counts are in mapped memory (`chaperone_wal::slots`), so the death of the process loses none: `lines` has what a
//! thread owns, `registry` what they share, `slot` what the words mean.
//!
//! Invariants:
//! * An arrival is dated inside its count, at or after the last watermark; the reporter fixes its watermark, *then* waits
//!   until every count that began before is published, then reads. So everything that arrived before a watermark is in
//!   the capture that carries it; where a thread was too slow to be waited for, the capture carries none.
//! * A slot's key is (topic, window, class, attempted or seen) at the recorder's one width. The reporter numbers slots
//!   when it first looks at them, so ids are dense at every look.
//! * n = acked + failed + in doubt + in flight (I3); a slot with messages in flight is never made final, except at the
//!   close, when nobody counts any more.
//! * `arrive` and `resolve` do not panic, do no I/O, and allocate and lock only when a line is opened, or
//!   a thread hands in its first report (I8).
//!
//! Limits: with more than half of `max_slots` lines in use, further ones are behind locks; with all in use the overflow
//! slots count. In a child that the process forked nothing is counted.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use chaperone_wal::slots::{self, At, Refused};
use parking_lot::Mutex;

use super::lines::{self, Arrival, Brief, Glance, Missed};
use super::registry::{Registry, Way};
use super::slot::{Addition, Kind, Purpose, outcome};
use crate::clock::{Clock, CoarseClock};
use crate::fingerprint::{Fingerprint, MessageId};
use crate::message::Message;
use crate::rule::{Observation, Rule, Rules, Stamp};
use crate::window::{Width, WindowStart};
use crate::wire;

mod look;

pub(super) use look::{Capture, Captured, How};

/// How often a delivery report is offered to a line that other threads hold: each time is far longer than they need.
const REPORT_TRIES: u32 = 16;

/// Tells a table from all others of the process.
pub(super) type Number = NonZeroU64;

/// A counted message, to be resolved by its delivery report.
#[derive(Debug)]
pub(super) struct Counted {
    table: Number,
    at: At,
    hash: Fingerprint,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Acked,
    Failed,
    InDoubt,
}

pub(super) struct Table {
    number: Number,
    slots: slots::Table,
    registry: Mutex<Registry>,
    clock: Arc<dyn Clock>,
    is_coarse: bool,
    rules: Rules,
    width: Width,
    /// The last watermark; arrivals are not dated before it, even if the wall clock steps back.
    floor_ms: AtomicI64,
    closed: AtomicBool,
    overflowed: AtomicU64,
    uncounted: AtomicU64,
}

impl Counted {
    /// Enters what became of the attempt. With the table gone, all that was in flight was declared in doubt.
    #[inline]
    pub(super) fn resolve(&self, what: Outcome) {
        let addends = outcome(what, self.hash);
        lines::with(self.table, |table| table.report(self.at, &addends));
    }
}

impl Table {
    pub(super) fn new(
        slots: slots::Table,
        clock: Arc<dyn Clock>,
        rules: Rules,
        width: Width,
        max_slots: usize,
    ) -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let table = Arc::new(Self {
            number: Number::new(number).unwrap_or(Number::MAX),
            registry: Mutex::new(Registry::new(&slots, max_slots)),
            slots,
            floor_ms: AtomicI64::new(i64::MIN),
            rules,
            is_coarse: clock.is_coarse(),
            clock,
            width,
            closed: AtomicBool::new(false),
            overflowed: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
        });
        lines::enlist(&table);
        table
    }

    pub(super) fn number(&self) -> Number {
        self.number
    }
    pub(super) fn rule_of(&self, topic: &str) -> &Rule {
        self.rules.of(topic)
    }
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
    #[inline]
    pub(super) fn floor_ms(&self) -> i64 {
        self.floor_ms.load(Ordering::SeqCst)
    }
    pub(super) fn width_ms(&self) -> u64 {
        self.width.ms().cast_unsigned()
    }
    pub(super) fn window_of(&self, ms: i64) -> WindowStart {
        self.width.window_of(ms)
    }

    /// The mapping underneath.
    pub(super) fn slots(&self) -> &slots::Table {
        &self.slots
    }

    /// Counts a message that is about to be sent; `None` after the close, when it only counts as uncounted.
    #[inline]
    pub(super) fn attempt(self: &Arc<Self>, message: &Message<'_>) -> Option<Counted> {
        self.arrive(message, Kind::Attempted, |at, hash| self.counted(at, hash))
    }

    /// Counts a message that was processed.
    #[inline]
    pub(super) fn seen(self: &Arc<Self>, message: &Message<'_>) {
        self.arrive(message, Kind::Seen, |_, _| ());
    }

    #[inline(always)]
    pub(super) fn counted(&self, at: At, hash: Fingerprint) -> Counted {
        Counted { table: self.number, at, hash }
    }

    #[inline(always)]
    fn arrive<R>(
        self: &Arc<Self>,
        message: &Message<'_>,
        kind: Kind,
        keep: impl Fn(At, Fingerprint) -> R,
    ) -> Option<R> {
        match lines::count(self, message, kind, &keep) {
            Ok(counted) => Some(counted),
            Err(missed) => self.arrive_slowly(message, kind, missed).map(|(at, hash)| keep(at, hash)),
        }
    }

    #[cold]
    #[inline(never)]
    fn arrive_slowly(&self, message: &Message<'_>, kind: Kind, missed: Missed) -> Option<(At, Fingerprint)> {
        self.miss(self.observe(message, kind), missed)
    }

    /// Counts what is in no line in an overflow slot, or says that it is not counted.
    #[cold]
    #[inline(never)]
    pub(super) fn miss(&self, a: Arrival<'_>, missed: Missed) -> Option<(At, Fingerprint)> {
        let counted = if missed == Missed::Full { self.overflow(a).ok() } else { None };
        if counted.is_none() {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
        }
        Some((counted?, a.addition.hash))
    }

    #[inline(always)]
    pub(super) fn observe<'a>(&self, message: &Message<'a>, kind: Kind) -> Arrival<'a> {
        self.observe_by(self.rules.of(message.topic), message, kind)
    }

    #[inline(always)]
    pub(super) fn observe_by<'a>(&self, rule: &Rule, message: &Message<'a>, kind: Kind) -> Arrival<'a> {
        let now_ms = self.now_ms();
        let seen = rule.observe(message, now_ms);
        arrival(message.topic, kind, &seen, seen.id.hash(rule.seed()), message.bytes(), now_ms)
    }

    /// What its stamp says, if it says all.
    #[inline(always)]
    pub(super) fn look_at(&self, message: &Message<'_>, kind: Kind) -> Glance {
        let rule = self.rules.of(message.topic);
        match rule.stamp_of(message) {
            Stamp::Read(id, event_ms) => {
                let addition = Addition { bytes: message.bytes(), hash: id.hash(rule.seed()), event_ms };
                Glance::Brief(Brief { kind, addition, now_ms: self.clock_ms() })
            }
            stamp => Glance::Whole(stamp),
        }
    }

    /// All of a message that has no stamp, or one that says nothing.
    #[inline(always)]
    pub(super) fn observe_unstamped<'a>(&self, message: &Message<'a>, kind: Kind, stamp: Stamp) -> Arrival<'a> {
        let (rule, now_ms) = (self.rules.of(message.topic), self.now_ms());
        let seen = rule.observe_unstamped(message, stamp, now_ms);
        arrival(message.topic, kind, &seen, seen.id.hash(rule.seed()), message.bytes(), now_ms)
    }

    /// The arrival of a message whose stamp says all.
    pub(super) fn complete<'a>(&self, topic: &'a str, b: &Brief) -> Arrival<'a> {
        let now_ms = b.now_ms.max(self.floor_ms());
        // The identity is in the sum already.
        let seen = Rule::observe_stamp((MessageId(0), b.addition.event_ms), now_ms);
        let addition = Addition { event_ms: seen.window_time_ms(now_ms), ..b.addition };
        Arrival { topic, class: seen.class, kind: b.kind, addition, now_ms }
    }

    /// Enters what became of an attempt.
    #[inline]
    fn report(&self, at: At, addends: &slots::Words) {
        for _ in 0..REPORT_TRIES {
            match self.slots.add(at, addends) {
                // A thread was stopped while it held the line. Without a report the message ends in doubt.
                Err(Refused::Busy) => std::thread::yield_now(),
                // A slot that is closed had its attempts declared in doubt at the close: a report after it is too late.
                _ => return,
            }
        }
    }

    /// A line for an arrival, if its topic has a name that Kafka allows.
    pub(super) fn line(&self, a: &Arrival<'_>, spent: bool) -> Way {
        // Before any lock: a thread that the child does not have may have held it when the process was forked.
        if self.slots.is_forked() {
            return Way::Closed;
        }
        if wire::topic_name(a.topic).is_err() {
            return Way::Full;
        }
        let window = self.width.window_of(a.addition.event_ms);
        let rule = self.rules.of(a.topic).id();
        let purpose = Purpose { place: (window, a.class, a.kind), width: self.width, rule, overflow: false };
        self.registry.lock().line(&self.slots, thread_number(), a.topic, &purpose, spent)
    }

    /// Counts what has no slot of its own.
    fn overflow(&self, a: Arrival<'_>) -> Result<At, Missed> {
        if self.slots.is_forked() {
            return Err(Missed::Closed);
        }
        for _ in 0..REPORT_TRIES {
            let window = self.width.window_of(a.now_ms);
            let way = self.registry.lock().overflow_line(&self.slots, self.width, window, a.kind);
            let common = match way {
                Way::Common(common) => common,
                Way::Closed => return Err(Missed::Closed),
                Way::Own(_) | Way::Full => return Err(Missed::Full),
            };
            match lines::count_in_shared(&common, a, self) {
                Ok(at) => {
                    self.overflowed.fetch_add(1, Ordering::Relaxed);
                    return Ok(at);
                }
                Err(Refused::Forked) => return Err(Missed::Closed),
                // Closed meanwhile: the next one.
                Err(_) => {}
            }
        }
        Err(Missed::Full)
    }

    /// Whether this process is a child that was forked after the recorder was made: it counts nothing and has no reporter.
    pub(super) fn is_forked(&self) -> bool {
        self.slots.is_forked()
    }

    /// Counts no more and lets go of the file, as the death of the process does.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn abandon(&self) {
        self.registry.lock().shut();
        self.closed.store(true, Ordering::SeqCst);
        self.slots.unlock();
    }

    /// Messages counted in overflow slots.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
    /// Wall time, never below the last watermark.
    #[inline]
    pub(super) fn now_ms(&self) -> i64 {
        self.clock_ms().max(self.floor_ms.load(Ordering::SeqCst))
    }
    /// Wall time, by the clock alone.
    #[inline]
    pub(super) fn clock_ms(&self) -> i64 {
        if self.is_coarse { CoarseClock.now_ms() } else { self.clock.now_ms() }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("number", &self.number).finish_non_exhaustive()
    }
}

#[inline(always)]
fn arrival<'a>(
    topic: &'a str,
    kind: Kind,
    seen: &Observation,
    hash: Fingerprint,
    bytes: u64,
    now_ms: i64,
) -> Arrival<'a> {
    let addition = Addition { bytes, hash, event_ms: seen.window_time_ms(now_ms) };
    Arrival { topic, class: seen.class, kind, addition, now_ms }
}

/// The calling thread, for people who look at the file.
fn thread_number() -> u64 {
    u64::from(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned())
}
