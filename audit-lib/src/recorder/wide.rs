//! What the reporter does at a beat while it tells wider windows than it counts (`stretch`).
//!
//! Finals go to the log as they are closed, and are *held* there: nobody is told of them before their round is. Then
//! those of the round are folded and released; when the sink has all of them, one snapshot tells what is open of the
//! round's slots, and the round's watermark with the sums over just these slots. So the sums are the collector's.
//!
//! Invariants: what is held is pending in the log, so the next life tells it if this one dies. Only what no message told
//! is held: the other finals go out at once. A round that cannot be told whole has no watermark, and the next one makes
//! up for it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::report::Reporter;
use super::snapshot::{Part, Snapshot};
use super::stretch::{Load, Mark};
use super::table::{Capture, Captured};
use crate::state::flag;
use crate::window::Width;
use crate::wire::{Position, Sum};

impl Reporter {
    /// Enters what a look found; `true` if the windows that are told are wide.
    pub(super) fn stretch(&mut self, capture: &Capture, positions: &[Position], now: Instant) -> bool {
        if self.dispatch.journal.is_none() {
            return false;
        }
        let records = || capture.dirty.iter().chain(&capture.finals).map(|c| &c.record);
        let place = |r: &'_ crate::wire::SlotRecord| (r.class, r.state.flags.contains(flag::SEEN));
        let places: BTreeSet<_> = records().map(|r| (r.topic.as_str(), place(r))).collect();
        let load = Load { places: places.len() as u64, closed: capture.finals.len() as u64 };
        let mark = Mark { end: self.ids, at_ms: capture.watermark_ms, positions: positions.to_vec() };
        let mark = (!capture.partial).then_some(mark);
        let before = self.stretch.width();
        if self.stretch.look(load, mark, now) {
            let (width, finer) = (self.stretch.width(), self.stretch.width() < before);
            tracing::warn!(
                width_ms = width.ms(),
                before_ms = before.ms(),
                topics = load.places,
                "{}",
                if finer {
                    "windows that are told become narrower again"
                } else {
                    "more windows close than the budget has room to tell: wider ones are told"
                }
            );
            self.release(before.max(width));
        }
        self.stretch.is_on()
    }

    /// What is held goes out, folded.
    pub(super) fn release(&mut self, width: Width) {
        self.dispatch.released = u64::MAX;
        if self.dispatch.journal.has_fresh(|_| true) {
            self.coalesce(width, false, |_| true);
            self.dispatch.outbox.behind = true;
        }
        if self.stretch.is_on() {
            // What is closed from now on waits for its round, but for slots that are numbered already.
            self.dispatch.released = self.ids;
        }
    }

    /// Says at a beat what is to be said of the rounds; the finals of the look are logged already.
    pub(super) fn tell_rounds(&mut self, capture: Capture, now: Instant) {
        let (now_ms, width) = (capture.watermark_ms, self.stretch.width());
        let open = |end: u64| capture.dirty.iter().any(|c| c.record.id < end);
        if self.stretch.is_due(now_ms, open)
            && let Some(end) = self.stretch.begin(now_ms)
        {
            self.coalesce(width, false, |batch| batch.end <= end);
            self.dispatch.released = end;
            self.dispatch.outbox.behind = true;
            self.post(now);
        } else if now_ms >= self.fold_at_ms {
            // So that what waits for a round of ten minutes is never much.
            let [telling, next] = self.stretch.bounds(now_ms);
            let bound = telling.max(next);
            self.coalesce(width, false, |batch| batch.first >= bound);
            self.fold_at_ms = now_ms.saturating_add(Width::ALL[1].ms());
        }
        if !self.tell_mark(capture, now) {
            self.sign_of_life();
        }
    }

    /// The snapshot of the round that is being told, if the sink has all else of it.
    fn tell_mark(&mut self, capture: Capture, now: Instant) -> bool {
        let Some(Mark { end, at_ms, positions }) = self.stretch.telling().cloned() else { return false };
        let journal = &self.dispatch.journal;
        if capture.partial || self.dispatch.outbox.behind || journal.has_fresh(|batch| batch.end <= end) {
            return false;
        }
        if journal.has_fresh(|batch| batch.first < end) {
            // An entry with slots of two rounds, from when the log was short of room.
            self.stretch.told();
            return false;
        }
        let (of_round, later): (Vec<Captured>, Vec<Captured>) =
            capture.dirty.into_iter().partition(|c| c.record.id < end);
        let mut sum = Sum { slots: end, ..capture.sum };
        let untold = later.iter().map(|c| Sum::of(&c.record.state)).chain(self.dispatch.journal.fresh_sums());
        untold.for_each(|more| sum = sum.minus(more));
        let mut waiting = VecDeque::new();
        let (mut last, states) = self.parts(of_round, &mut waiting);
        last.watermark_ms = Some(at_ms);
        last.cadence_ms = self.told_ms.map(|told| at_ms.saturating_sub(told).max(0).cast_unsigned());
        last.sum = Some(sum);
        last.positions = positions;
        waiting.extend(Part::of(last, states));
        let finals = self.dispatch.outbox.tokens().collect();
        self.snapshot = Some(Snapshot::new(waiting, finals, Some(self.dispatch.last_token()), now));
        self.post(now);
        self.send_parts(now);
        true
    }
}
