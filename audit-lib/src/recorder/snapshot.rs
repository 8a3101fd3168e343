//! What the reporter says at a beat: the finals of one look at the slots, then the states of those that are open and
//! changed, in parts, then the watermark and the sums of that look.
//!
//! Invariants: one snapshot at a time. From its look until its watermark is sent nothing of a later look is told, or the
//! sums would not be the collector's; what is closed meanwhile is logged and waits (the outbox's gate). A snapshot that
//! fails is forgotten: its slots are still dirty, and the next one supersedes it.
//!
//! Limits: a host with more than [`SMALL`] changing slots tells the open ones every ten seconds instead of every beat,
//! and as slowly as its budget demands (`pace`), but at least a part in ten seconds; its watermark comes as rarely
//! (`cadence_ms`). A part that waits is kept encoded: some 440 bytes a slot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::message::{POSITION_BYTES, split};
use super::registry::Key;
use super::report::Reporter;
use super::sink::SinkError;
use super::table::{Capture, Captured, How};
use crate::wire::{AuditMessage, Position};

/// So many changing slots of a process are told at every heartbeat.
pub const SMALL: usize = 100;
/// Those of a process with more are told so often, if the budget allows.
pub const LARGE_EVERY: Duration = Duration::from_secs(10);
/// A snapshot that has not been reported on for so long is given up.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A message with some of the states.
pub(super) struct Part {
    message: AuditMessage,
    payload: Vec<u8>,
    states: Vec<(Key, u64)>,
}

/// One look's open states on their way.
pub(super) struct Snapshot {
    /// When something of it was last sent or reported on.
    moved: Instant,
    /// Parts that are not sent yet; the last one carries the watermark.
    waiting: VecDeque<Part>,
    /// Parts with the sink, and the states in them.
    parts: BTreeMap<u64, Vec<(Key, u64)>>,
    /// Finals of the same look, or of earlier ones, with the outbox.
    finals: BTreeSet<u64>,
    /// Letters with larger numbers are of later looks.
    pub(super) gate: Option<u64>,
    /// The last part, when it is sent.
    last: Option<Last>,
    failed: bool,
}

struct Last {
    token: u64,
    positions: Vec<Position>,
    watermark_ms: Option<i64>,
}

impl Reporter {
    /// Looks at the slots and sends what there is to say.
    pub(super) fn beat(&mut self, now: Instant) {
        self.snapshot.take_if(|s| now.saturating_duration_since(s.moved) >= TIMEOUT);
        let is_busy = self.snapshot.is_some();
        if self.snapshot.as_ref().is_some_and(|s| s.waiting.len() <= 1 && s.finals.is_empty()) {
            // Its last reports are on their way.
            return;
        }
        self.make_room();
        let positions = self.shared.positions.changed(POSITION_BYTES);
        let mut capture = self.capture(How::Beat { grace_ms: self.timing.grace_ms });
        let is_wide = self.stretch(&capture, &positions, now);
        let finals = std::mem::take(&mut capture.finals);
        let letters = self.final_letters(finals, is_wide);
        let closed_any = !letters.is_empty();
        let finals = self.log(letters);
        if closed_any {
            self.write_checkpoint(now);
        }
        if is_busy {
            self.sign_of_life();
            return;
        }
        if is_wide {
            self.tell_rounds(capture, now);
            return;
        }
        let Capture { watermark_ms, dirty, sum, partial, .. } = capture;
        // While more finals wait than memory holds, the sums cannot be the collector's: open slots would be told in vain,
        // and what nobody was told may still go into wider windows.
        let is_whole = !self.dispatch.outbox.behind && (dirty.len() <= SMALL || now >= self.large_at);
        if dirty.len() > SMALL && is_whole {
            self.large_at = now + LARGE_EVERY;
        }
        let mut waiting: VecDeque<Part> = VecDeque::new();
        let (mut last, states) = self.parts(if is_whole { dirty } else { Vec::new() }, &mut waiting);
        if !partial && is_whole {
            last.watermark_ms = Some(watermark_ms);
            last.cadence_ms = self.told_ms.map(|told| watermark_ms.saturating_sub(told).max(0).cast_unsigned());
            last.sum = Some(sum);
            last.positions = positions;
        }
        waiting.extend(Part::of(last, states));
        let gate = is_whole.then_some(self.dispatch.last_token());
        let mut finals: BTreeSet<u64> = if is_whole { finals } else { BTreeSet::new() };
        finals.extend(self.dispatch.outbox.untried().filter(|_| is_whole));
        self.snapshot = Some(Snapshot::new(waiting, finals, gate, now));
        self.post(now);
        self.send_parts(now);
    }

    /// Makes parts of states; the last one, which is to say more, is not made yet.
    pub(super) fn parts(
        &mut self,
        dirty: Vec<Captured>,
        waiting: &mut VecDeque<Part>,
    ) -> (AuditMessage, Vec<(Key, u64)>) {
        let mut parts = split(dirty);
        let tail = parts.pop().unwrap_or_default();
        for part in parts {
            let (states, records) = self.unpack(part);
            let message = self.message(records);
            waiting.extend(Part::of(message, states));
        }
        let (states, records) = self.unpack(tail);
        (self.message(records), states)
    }

    /// Hands letters to the sink, but those that are of a later look than the snapshot.
    pub(super) fn post(&mut self, now: Instant) {
        let gate = self.snapshot.as_ref().and_then(|s| s.gate);
        self.dispatch.post(now, gate);
    }

    pub(super) fn sign_of_life(&mut self) {
        let message = self.message(Vec::new());
        self.dispatch.send(&message);
    }

    /// Sends what the budget allows of the snapshot; its last message once all before it is stored.
    pub(super) fn send_parts(&mut self, now: Instant) {
        let Some(mut snapshot) = self.snapshot.take() else { return };
        let outbox = &self.dispatch.outbox;
        // A final that waits for its next attempt, or in the log, does not hold up the heartbeat: until it is stored,
        // the sums tell the collector that the watermark is not proven.
        snapshot.finals.retain(|t| outbox.is_in_flight(*t) || (outbox.has(*t) && !outbox.is_backing_off(now)));
        let unsent = snapshot.finals.iter().any(|t| !outbox.is_in_flight(*t));
        while !unsent && !snapshot.failed {
            let is_last = snapshot.waiting.len() == 1;
            if is_last && !(snapshot.parts.is_empty() && snapshot.finals.is_empty()) {
                break;
            }
            let overdue = now.saturating_duration_since(snapshot.moved) >= LARGE_EVERY;
            let allowed = |p: &mut Part| self.dispatch.pace.allows(p.states.len() as u64, p.payload.len(), now);
            let Some(part) = snapshot.waiting.pop_front_if(|p| p.states.is_empty() || overdue || allowed(p)) else {
                break;
            };
            self.shared.table.tell(&part.states);
            let records = part.states.len() as u64;
            let Some(token) = self.dispatch.send_payload(&part.message, &part.payload) else {
                snapshot.failed = true;
                break;
            };
            if records > 0 {
                self.dispatch.pace.spend(records, part.payload.len(), now);
            }
            snapshot.moved = now;
            snapshot.parts.insert(token, part.states);
            if is_last {
                let AuditMessage { positions, watermark_ms, .. } = part.message;
                snapshot.last = Some(Last { token, positions, watermark_ms });
            }
        }
        let is_over = snapshot.failed && snapshot.parts.is_empty() && snapshot.finals.is_empty();
        self.snapshot = (!is_over).then_some(snapshot);
    }

    /// A final was reported on.
    pub(super) fn report_final(&mut self, token: u64, is_stored: bool, now: Instant) {
        if let Some(snapshot) = self.snapshot.as_mut()
            && snapshot.finals.remove(&token)
        {
            snapshot.failed |= !is_stored;
            snapshot.moved = now;
        }
    }

    pub(super) fn report_part(&mut self, token: u64, result: &Result<(), SinkError>, now: Instant) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let Some(states) = snapshot.parts.remove(&token) else { return };
        snapshot.moved = now;
        if result.is_ok() {
            self.shared.table.settle(&states);
            // The sink works: what waits for a second attempt need not wait longer.
            self.dispatch.outbox.hurry();
        }
        snapshot.failed |= result.is_err();
        if let Some(last) = snapshot.last.take_if(|last| last.token == token) {
            if result.is_ok() {
                self.shared.positions.settle(&last.positions);
                self.shared.counters.snapshots.fetch_add(1, Ordering::Relaxed);
                if let Some(now_ms) = last.watermark_ms {
                    let cadence = self.told_ms.map_or(0, |told| now_ms.saturating_sub(told).max(0).cast_unsigned());
                    self.shared.counters.cadence_ms.store(cadence, Ordering::Relaxed);
                    self.told_ms = Some(now_ms);
                    self.stretch.told();
                }
            }
            self.snapshot = None;
        }
    }

    /// Whether the sink has something of the snapshot.
    pub(super) fn awaits_reports(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|s| !s.parts.is_empty())
    }
}

impl Snapshot {
    /// Parts that are to be sent, after the finals with these tokens.
    pub(super) fn new(waiting: VecDeque<Part>, finals: BTreeSet<u64>, gate: Option<u64>, now: Instant) -> Self {
        Self { moved: now, waiting, parts: BTreeMap::new(), finals, gate, last: None, failed: false }
    }
}

impl Part {
    pub(super) fn of(mut message: AuditMessage, states: Vec<(Key, u64)>) -> Option<Self> {
        let payload = message.encode().ok()?;
        message.slots.clear();
        message.slots.shrink_to_fit();
        Some(Self { message, payload, states })
    }
}
