//! Folding: finals in the log that no sink was ever given become finals of wider windows, where the log is short of room
//! and where a reporter tells wider windows than it counts (`stretch`).
//!
//! What is counted is conserved: of two slots of the same topic, class, kind, rule and flags in one wider window the one
//! with the smaller id stands for both, with their sums; the other id is told as merged (`AuditMessage::merged`), so that
//! ids stay dense. That a message takes the place of others is one frame in the log: after a death it is there or they are.
//!
//! Invariants: only finals of this life, all of whose slots no message ever told, take part (`Journal::fresh`): what a
//! sink may have had under an id keeps its id, window and width. For the sake of room, what cannot be merged is written
//! again as it is, so that the segments in front, which hold dead weight too, can go.
//!
//! Limits: at 600 s nothing becomes smaller; then the log fills up and finals stay in the slot table. A pass holds one
//! message's slots in memory, beside what the log itself holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;

use chaperone_wal::{Entry, Seq};
use uuid::Uuid;

use super::journal::Batch;
use super::message::SLOT_BYTES;
use super::report::Reporter;
use crate::rule::{Class, RuleId};
use crate::state::SlotState;
use crate::window::{Width, WindowStart};
use crate::wire::{AuditMessage, MAX_BYTES, SlotRecord};

/// What slots must have in common to become one.
type Place = (String, WindowStart, Class, RuleId, BTreeSet<String>);

/// Slots of several messages, merged at one width.
#[derive(Debug, Default)]
pub(super) struct Pile {
    slots: BTreeMap<Place, SlotRecord>,
    merged: Vec<(u64, u64)>,
    /// Of the slots as JSON, about.
    bytes: usize,
    /// How many slots went into others.
    pub(super) gone: u64,
}

fn place(record: &SlotRecord, width: Width) -> Place {
    let window = width.max(record.width_ms).window_of(record.window_ms.0);
    (record.topic.clone(), window, record.class, record.rule, record.state.flags.clone())
}

fn bytes_of(record: &SlotRecord) -> usize {
    1 + serde_json::to_vec(record).map_or(SLOT_BYTES, |v| v.len())
}

impl Pile {
    /// Whether it stays small enough for one message with these.
    fn has_room(&self, message: &AuditMessage, width: Width) -> bool {
        let new = message.slots.iter().filter(|r| !self.slots.contains_key(&place(r, width)));
        self.bytes + new.map(bytes_of).sum::<usize>() <= SLOT_BYTES
    }

    pub(super) fn add(&mut self, message: AuditMessage, width: Width) {
        self.merged.extend(message.merged);
        for record in message.slots {
            match self.slots.entry(place(&record, width)) {
                std::collections::btree_map::Entry::Vacant(free) => {
                    self.bytes += bytes_of(&record);
                    free.insert(record);
                }
                std::collections::btree_map::Entry::Occupied(mut taken) => {
                    let (window, kept) = (taken.key().1, taken.get_mut());
                    let (id, gone) = (kept.id.min(record.id), kept.id.max(record.id));
                    kept.id = id;
                    (kept.window_ms, kept.width_ms) = (window, width.max(kept.width_ms).max(record.width_ms));
                    sum(&mut kept.state, &record.state);
                    self.merged.push((gone, gone.saturating_add(1)));
                    self.gone += 1;
                }
            }
        }
    }

    /// The slots in the order of their ids, and the ids that are gone.
    pub(super) fn into_parts(self) -> (Vec<SlotRecord>, Vec<(u64, u64)>) {
        let mut slots: Vec<SlotRecord> = self.slots.into_values().collect();
        slots.sort_by_key(|r| r.id);
        (slots, joined(self.merged))
    }
}

/// Ranges that touch become one.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// Adds a final state to another one of other messages.
fn sum(state: &mut SlotState, other: &SlotState) {
    let both = |a: Option<i64>, b: Option<i64>, f: fn(i64, i64) -> i64| a.zip(b).map(|(a, b)| f(a, b));
    let fingerprint = |n, a: crate::Fingerprint, b| (n > 0).then(|| a.plus(b));
    state.f_in = fingerprint(state.n + other.n, state.f_in(), other.f_in());
    state.f_acked = fingerprint(state.acked + other.acked, state.f_acked(), other.f_acked());
    state.f_failed = fingerprint(state.failed + other.failed, state.f_failed(), other.f_failed());
    state.n += other.n;
    state.bytes += other.bytes;
    state.acked += other.acked;
    state.failed += other.failed;
    state.min_ms = both(state.min_ms, other.min_ms, i64::min);
    state.max_ms = both(state.max_ms, other.max_ms, i64::max);
    state.last_ms = state.last_ms.max(other.last_ms);
    // What one of them has no histogram of, the sum has none of.
    match (&mut state.hist, &other.hist) {
        (Some(all), Some(more)) => all.add(more),
        (hist, _) => *hist = None,
    }
    // A sketch covers all of a slot or nothing.
    (state.sketch_n, state.sketch) = (None, None);
}

/// Where an entry belongs: its earliest wide window and its first topic, so that neighbours share slots.
fn shelf(message: &AuditMessage, width: Width) -> (i64, String) {
    let window = message.slots.iter().map(|r| width.window_of(r.window_ms.0).0).min();
    let topic = message.slots.iter().map(|r| &r.topic).min().cloned();
    (window.unwrap_or(i64::MAX), topic.unwrap_or_default())
}

impl Reporter {
    /// Makes the log smaller, if it is short of room.
    pub(super) fn make_room(&mut self) {
        if !self.coalescing || !self.dispatch.journal.is_short() {
            return;
        }
        // What was told once makes room for what was never told.
        if self.dispatch.give_up_repeats() {
            self.dispatch.journal.sync();
            self.dispatch.journal.tend();
            if !self.dispatch.journal.is_short() {
                return;
            }
        }
        for width in Width::ALL.into_iter().skip(1) {
            let before = self.dispatch.journal.bytes();
            let (whole, gone) = self.coalesce(width, true, |_| true);
            let bytes = self.dispatch.journal.tend();
            tracing::warn!(
                bytes = bytes,
                before,
                slots = gone,
                width_ms = width.ms(),
                "audit records wait for the sink and the log is short of room: windows were made wider"
            );
            if !whole || !self.dispatch.journal.is_short() {
                break;
            }
        }
        self.dispatch.journal.note_size();
    }

    /// Goes once through the fresh records that are `chosen`, and with `rewrite` through all others. Returns whether it came
    /// to the end, and how many slots went into others.
    pub(super) fn coalesce(&mut self, width: Width, rewrite: bool, chosen: impl Fn(&Batch) -> bool) -> (bool, u64) {
        let mut fresh = Vec::new();
        let mut others = VecDeque::new();
        for entry in self.dispatch.journal.pending() {
            match AuditMessage::decode(&entry.payload) {
                Ok(message) if self.dispatch.journal.fresh(entry.seq).is_some_and(&chosen) => {
                    fresh.push((shelf(&message, width), entry));
                }
                _ if rewrite => others.push_back(entry),
                _ => {}
            }
        }
        fresh.sort_by(|(a, x), (b, y)| (a, x.seq).cmp(&(b, y.seq)));
        let mut fresh = fresh.into_iter().peekable();
        let mut gone = 0;
        while let Some(((window, _), first)) = fresh.next() {
            let mut taken = vec![first];
            let mut pile = Pile::default();
            taken.iter().filter_map(decode).for_each(|m| pile.add(m, width));
            while let Some((_, entry)) = fresh.next_if(|((next, _), entry)| {
                *next == window && decode(entry).is_some_and(|m| pile.has_room(&m, width))
            }) {
                if let Some(message) = decode(&entry) {
                    pile.add(message, width);
                }
                taken.push(entry);
            }
            let before = taken.iter().map(|e| e.seq).min();
            while let Some(entry) = others.pop_front_if(|e| Some(e.seq) < before) {
                if !self.rewrite(&entry) {
                    return (false, gone);
                }
            }
            match self.put(&taken, pile, rewrite) {
                Some(more) => gone += more,
                None => return (false, gone),
            }
        }
        (true, gone)
    }

    /// Puts a pile in the place of what it was made of, or writes these again. `None`: the log refused.
    fn put(&mut self, taken: &[Entry], pile: Pile, rewrite: bool) -> Option<u64> {
        let gone = pile.gone;
        let was: usize = taken.iter().map(|e| e.payload.len()).sum();
        if taken.len() > 1 {
            let (slots, merged) = pile.into_parts();
            let message = AuditMessage { merged, ..self.message(slots) };
            let bytes = message.check().and_then(|()| message.encode()).ok();
            if let Some(bytes) = bytes.filter(|b| b.len() <= MAX_BYTES && b.len() < was) {
                let olds: Vec<Seq> = taken.iter().map(|e| e.seq).collect();
                self.dispatch.journal.replace(&olds, message.uuid, &bytes)?;
                self.shared.counters.coalesced.fetch_add(gone, Ordering::Relaxed);
                return Some(gone);
            }
        }
        (!rewrite || taken.iter().all(|entry| self.rewrite(entry))).then_some(0)
    }

    /// Writes an entry again as it is, behind all others.
    fn rewrite(&mut self, entry: &Entry) -> bool {
        let id: Uuid = entry.id;
        let Some(seq) = self.dispatch.journal.replace(&[entry.seq], id, &entry.payload) else { return false };
        self.dispatch.moved(entry.seq, seq);
        true
    }
}

fn decode(entry: &Entry) -> Option<AuditMessage> {
    AuditMessage::decode(&entry.payload).ok()
}
