//! The slot table: where a message becomes a count. Everything that the host's threads touch is here.
//!
//! Invariants:
//! * Time is read inside the shard's lock and never lies below the last watermark; the reporter fixes its watermark
//!   *before* it locks the shards. So everything that arrived before a watermark is in the capture that carries it.
//! * A slot's key is (topic, window, class, attempted or seen) at the recorder's one width. The reporter numbers slots
//!   when it first captures them, so ids are dense at every capture; a number is never used again.
//! * n = acked + failed + in doubt + in flight (I3); a slot with messages in flight is never made final, except at the
//!   close, when nobody counts any more.
//! * `arrive` and `resolve` do not panic, do no I/O and allocate only when a slot is opened.
//!
//! Limits: at most `max_slots` slots beside those for overflow. One lock per shard and topics spread over the shards by
//! hash, so all threads that count one topic share a lock: the mapped slots, where every thread owns its lines, remove
//! this. The table is heap memory: counts since the last checkpoint die with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::slot::{Kind, Place, Slot};
use crate::clock::Clock;
use crate::fingerprint::Fingerprint;
use crate::message::Message;
use crate::rule::{Class, Rules};
use crate::window::{Width, WindowStart};
use crate::wire::{self, OVERFLOW_TOPIC, SlotRecord, Sum};

const SHARDS: usize = 16;
/// The shard of the overflow slots, behind those that topics are spread over.
const OVERFLOW_SHARD: usize = SHARDS;
/// Overflow slots of one kind, one per arrival window, so that the bound holds while Kafka is away.
const OVERFLOW_SLOTS: usize = 4;

/// Where a slot is, for as long as it is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotAt {
    shard: usize,
    key: u64,
}

/// A counted message, to be resolved by its delivery report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    at: SlotAt,
    hash: Fingerprint,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Acked,
    Failed,
    InDoubt,
}

/// A slot's state as it was when the reporter looked.
#[derive(Debug, Clone)]
pub(super) struct Captured {
    pub(super) at: SlotAt,
    pub(super) record: SlotRecord,
    /// How often the slot had changed; see [`Table::settle`].
    pub(super) changes: u64,
}

/// All that one look at the table found.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub(super) watermark_ms: i64,
    /// Open slots that changed since they were last settled.
    pub(super) dirty: Vec<Captured>,
    /// Slots that this look closed.
    pub(super) finals: Vec<Captured>,
    /// Sums over every slot ever, exactly at this look.
    pub(super) sum: Sum,
    /// Attempts without any outcome at this look.
    pub(super) in_flight: u64,
}

/// How to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Close the slots whose time has come.
    Beat {
        /// How long after its end a window is left open.
        grace_ms: i64,
    },
    /// Close all; nothing is counted from now on.
    Close,
}

pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    clock: Arc<dyn Clock>,
    rules: Rules,
    width: Width,
    max_slots: usize,
    /// Slots in the topics' shards.
    slots: AtomicUsize,
    /// The last watermark; arrivals are not dated before it, even if the wall clock steps back.
    floor_ms: AtomicI64,
    closed: AtomicBool,
    overflowed: AtomicU64,
    in_doubt: AtomicU64,
    uncounted: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// Open slots by topic; a closed slot is no longer listed, so a late message opens another.
    open: HashMap<Arc<str>, BTreeMap<Place, u64>>,
    slots: BTreeMap<u64, Slot>,
    next_key: u64,
    /// Sums of the slots that were freed.
    freed: Sum,
}

/// Totals for [`Stats`](super::Stats).
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) sum: Sum,
    pub(super) in_flight: u64,
    pub(super) in_doubt: u64,
    pub(super) slots: usize,
    pub(super) uncounted: u64,
}

/// An arrival, as the slots see it.
struct Arrival<'a> {
    message: &'a Message<'a>,
    class: Class,
    event_ms: Option<i64>,
    hash: Fingerprint,
    kind: Kind,
}

impl Table {
    pub(super) fn new(clock: Arc<dyn Clock>, rules: Rules, width: Width, max_slots: usize) -> Self {
        Self {
            shards: (0..=OVERFLOW_SHARD).map(|_| Mutex::default()).collect(),
            floor_ms: AtomicI64::new(i64::MIN),
            rules,
            clock,
            width,
            max_slots,
            slots: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            overflowed: AtomicU64::new(0),
            in_doubt: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
        }
    }

    /// Counts a message; `None` after the close, when it only counts as uncounted.
    pub(super) fn arrive(&self, message: &Message<'_>, kind: Kind) -> Option<Counted> {
        // Hashing the payload stays outside the lock; the time that dates the arrival is read inside.
        let rule = self.rules.of(message.topic);
        let seen = rule.observe(message, self.now_ms());
        let hash = seen.id.hash(rule.seed());
        let arrival = Arrival { message, class: seen.class, event_ms: seen.event_ms, hash, kind };
        match self.count_in(shard_of(message.topic), &arrival) {
            Count::Done(counted) => Some(counted),
            Count::Closed => None,
            Count::Full => match self.count_in(OVERFLOW_SHARD, &arrival) {
                Count::Done(counted) => Some(counted),
                Count::Closed | Count::Full => None,
            },
        }
    }

    fn count_in(&self, shard_no: usize, a: &Arrival<'_>) -> Count {
        let Some(mut shard) = self.shards.get(shard_no).map(Mutex::lock) else { return Count::Full };
        if self.closed.load(Ordering::Relaxed) {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
            return Count::Closed;
        }
        let now_ms = self.now_ms();
        let key = if shard_no == OVERFLOW_SHARD {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            Some(shard.overflow_slot(self.width.window_of(now_ms), a.kind))
        } else {
            let window = self.width.window_of(a.event_ms.unwrap_or(now_ms));
            self.slot_for(&mut shard, a, window)
        };
        let Some((key, slot)) = key.and_then(|key| Some((key, shard.slots.get_mut(&key)?))) else { return Count::Full };
        slot.arrive(a.message.bytes(), a.hash, a.event_ms, now_ms);
        Count::Done(Counted { at: SlotAt { shard: shard_no, key }, hash: a.hash })
    }

    /// The open slot for an arrival, opened if there is room and the topic has a name that Kafka allows.
    fn slot_for(&self, shard: &mut Shard, a: &Arrival<'_>, window: WindowStart) -> Option<u64> {
        let place = (window, a.class, a.kind);
        if let Some(key) = shard.open.get(a.message.topic).and_then(|slots| slots.get(&place)) {
            return Some(*key);
        }
        wire::topic_name(a.message.topic).ok()?;
        let room = |slots| (slots < self.max_slots).then_some(slots + 1);
        self.slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(shard.open_slot(a.message.topic, place, false))
    }

    /// Enters what became of an attempt.
    pub(super) fn resolve(&self, counted: Counted, outcome: Outcome) {
        let Some(mut shard) = self.shards.get(counted.at.shard).map(Mutex::lock) else { return };
        // A slot that is gone or closed had its attempts declared in doubt at the close: a report after it is too late.
        let Some(slot) = shard.slots.get_mut(&counted.at.key).filter(|s| !s.closed) else { return };
        slot.resolve(outcome, counted.hash);
        if outcome == Outcome::InDoubt {
            self.in_doubt.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Looks at every slot. `ids` is the number that the next new slot gets.
    pub(super) fn capture(&self, look: Look, ids: &mut u64) -> Capture {
        // Before any lock: who locks a shard after us reads this floor and dates its arrival at or after it.
        let watermark_ms = self.now_ms();
        self.floor_ms.store(watermark_ms, Ordering::SeqCst);
        if look == Look::Close {
            self.closed.store(true, Ordering::SeqCst);
        }
        let mut capture = Capture { watermark_ms, ..Capture::default() };
        for (shard_no, shard) in self.shards.iter().enumerate() {
            shard.lock().capture(shard_no, look, self, ids, &mut capture);
        }
        capture.sum.slots = *ids;
        capture
    }

    /// The state of every slot in the table, for a checkpoint.
    pub(super) fn copy(&self, ids: &mut u64) -> Vec<SlotRecord> {
        let mut records = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            records.extend(shard.slots.values_mut().map(|slot| slot.record(ids, &self.rules, self.width)));
        }
        records
    }

    /// The sink has these states: slots that have not changed since are no longer dirty.
    pub(super) fn settle(&self, reported: &[(SlotAt, u64)]) {
        for (at, changes) in reported {
            let Some(mut shard) = self.shards.get(at.shard).map(Mutex::lock) else { continue };
            if let Some(slot) = shard.slots.get_mut(&at.key) {
                slot.settled = slot.settled.max(*changes);
            }
        }
    }

    /// Takes closed slots out of the table.
    pub(super) fn free(&self, slots: &[SlotAt]) {
        for at in slots {
            let Some(mut shard) = self.shards.get(at.shard).map(Mutex::lock) else { continue };
            let Some(slot) = shard.slots.remove(&at.key) else { continue };
            debug_assert!(slot.closed, "a slot is freed after it was closed");
            slot.add_to(&mut shard.freed);
            if at.shard != OVERFLOW_SHARD {
                self.slots.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            in_doubt: self.in_doubt.load(Ordering::Relaxed),
            uncounted: self.uncounted.load(Ordering::Relaxed),
            ..Totals::default()
        };
        for shard in &self.shards {
            let shard = shard.lock();
            totals.slots += shard.slots.len();
            shard.add_to(&mut totals.sum, &mut totals.in_flight);
        }
        totals
    }

    /// Messages counted in overflow slots.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
    /// Wall time, never below the last watermark.
    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms().max(self.floor_ms.load(Ordering::SeqCst))
    }
}

enum Count {
    Done(Counted),
    /// No slot can be opened here.
    Full,
    Closed,
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of 16")]
fn shard_of(topic: &str) -> usize {
    (xxh3_64(topic.as_bytes()) % SHARDS as u64) as usize
}

impl Shard {
    fn open_slot(&mut self, topic: &str, place: Place, overflow: bool) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        let topic = self.open.get_key_value(topic).map_or_else(|| Arc::from(topic), |(known, _)| Arc::clone(known));
        self.slots.insert(key, Slot::new(Arc::clone(&topic), place, overflow));
        self.open.entry(topic).or_default().insert(place, key);
        key
    }

    /// The overflow slot of a kind for an arrival window, else the latest open one: there is always one.
    fn overflow_slot(&mut self, window: WindowStart, kind: Kind) -> u64 {
        let place = (window, Class::NoTime, kind);
        let listed = self.open.get(OVERFLOW_TOPIC);
        if let Some(key) = listed.and_then(|slots| slots.get(&place)) {
            return *key;
        }
        let latest = listed.and_then(|slots| slots.iter().rev().find(|((_, _, k), _)| *k == kind));
        match latest {
            Some((_, key)) if self.of_kind(kind).count() >= OVERFLOW_SLOTS => *key,
            _ => self.open_slot(OVERFLOW_TOPIC, place, true),
        }
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Slot> {
        self.slots.values().filter(move |slot| slot.place.2 == kind)
    }

    fn capture(&mut self, shard_no: usize, look: Look, table: &Table, ids: &mut u64, capture: &mut Capture) {
        self.add_to(&mut capture.sum, &mut capture.in_flight);
        let mut closing = Vec::new();
        for (key, slot) in &self.slots {
            let due = match look {
                Look::Close => true,
                Look::Beat { grace_ms } => slot.is_due(capture.watermark_ms, grace_ms, table.width),
            };
            // One overflow slot of a kind can always be opened or is open, however long Kafka is away.
            let spare = look == Look::Close
                || shard_no != OVERFLOW_SHARD
                || self.of_kind(slot.place.2).filter(|s| s.closed).count() + closing.len() + 1 < OVERFLOW_SLOTS;
            if due && spare && !slot.closed {
                closing.push(*key);
            }
        }
        for key in closing {
            self.close(key);
        }
        for (key, slot) in &mut self.slots {
            let closed_now = slot.closed && !slot.taken;
            if !closed_now && (slot.closed || slot.changes == slot.settled) {
                continue;
            }
            let record = slot.record(ids, &table.rules, table.width);
            let captured = Captured { at: SlotAt { shard: shard_no, key: *key }, record, changes: slot.changes };
            if closed_now {
                slot.taken = true;
                capture.finals.push(captured);
            } else {
                capture.dirty.push(captured);
            }
        }
    }

    fn close(&mut self, key: u64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.closed = true;
        if let Some(listed) = self.open.get_mut(&slot.topic) {
            listed.remove(&slot.place);
            if listed.is_empty() {
                self.open.remove(&slot.topic);
            }
        }
    }

    fn add_to(&self, sum: &mut Sum, in_flight: &mut u64) {
        sum.n += self.freed.n;
        sum.acked += self.freed.acked;
        sum.failed += self.freed.failed;
        sum.f_in = sum.f_in.plus(self.freed.f_in);
        for slot in self.slots.values() {
            slot.add_to(sum);
            *in_flight += slot.in_flight();
        }
    }
}
