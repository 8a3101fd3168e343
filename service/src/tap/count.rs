//! What one claim of one partition has counted and not yet handed on. Pure.
//!
//! Offsets only go forward: a message below `to` was counted before and is ignored. `cut` hands over a run `[from, to)`
//! and the next begins where it ended, so that intervals of a claim are gapless by construction. Limit:
//! [`WINDOWS_MAX`] windows, then the run must be cut, so that it always fits one audit message.

use std::collections::BTreeMap;

use chaperone_audit::wire::{Anchor, GapCause, Gaps, Interval, IntervalKind, IntervalWindow, MAX_BYTES};
use chaperone_audit::{Class, Histogram, Rule, Width, WindowStart};
use chaperone_collector::Claim;

use super::frontier::Frontier;
use crate::kafka::message::Seen;

/// Windows in one interval.
pub const WINDOWS_MAX: usize = 340;
/// Offsets without a gap that end a stretch with gaps: the run is cut there, so that its event times stay close to the
/// gaps.
const CLEAN: i64 = 1_000;
/// A window of JSON at its very largest: its fields, and a histogram in which every cell is in use.
const WINDOW_BYTES_MAX: usize = 2_600;
const _: () = assert!(WINDOWS_MAX * WINDOW_BYTES_MAX < MAX_BYTES);

/// See the module's head.
#[derive(Debug)]
pub struct PartitionCount {
    topic: String,
    partition: i32,
    claim: Claim,
    rule: Rule,
    width: Width,
    from: i64,
    to: i64,
    windows: BTreeMap<(WindowStart, Class), IntervalWindow>,
    last: Option<Anchor>,
    gaps: Option<Gaps>,
    frontier: Frontier,
}

impl PartitionCount {
    /// Counts from where the claim says.
    pub fn new(topic: &str, partition: i32, claim: Claim, rule: Rule, width: Width) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            rule,
            width,
            from: claim.next,
            to: claim.next,
            claim,
            windows: BTreeMap::new(),
            last: None,
            gaps: None,
            frontier: Frontier::default(),
        }
    }

    /// The claim.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }
    /// The rule that it counts by.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
    /// The next offset that counts.
    pub fn next(&self) -> i64 {
        self.to
    }
    /// Where the next interval begins: everything below was cut.
    pub fn cut_to(&self) -> i64 {
        self.from
    }
    /// See [`Frontier`].
    pub fn frontier_ms(&mut self, now_ms: i64) -> Option<i64> {
        self.frontier.ms(now_ms)
    }
    /// Whether it must be cut before it can count on: it is full, or what it says of gaps is over.
    pub fn is_full(&self) -> bool {
        self.windows.len() >= WINDOWS_MAX || self.gaps.is_some_and(|gaps| self.to - gaps.to >= CLEAN)
    }
    /// Whether it holds anything, but no gap.
    pub fn is_clean(&self) -> bool {
        self.from != self.to && self.gaps.is_none()
    }

    /// Counts a message; `false` if its offset was counted before.
    pub fn count(&mut self, seen: &Seen) -> bool {
        if seen.offset < self.to {
            return false;
        }
        self.to = seen.offset + 1;
        self.last =
            Some(Anchor { offset: seen.offset, hash: seen.content, time_ms: seen.time_ms, rule: Some(self.rule.id()) });
        let time_ms = seen.observation.window_time_ms(seen.arrival_ms);
        let start = self.width.window_of(time_ms);
        let width_ms = self.width;
        let class = seen.observation.class;
        let w = self.windows.entry((start, class)).or_insert_with(|| IntervalWindow {
            window_ms: start,
            width_ms,
            class,
            n: 0,
            bytes: 0,
            f: chaperone_audit::Fingerprint::ZERO,
            hist: Histogram::new(),
            min_ms: time_ms,
            max_ms: time_ms,
            last_ms: seen.now_ms,
            min_offset: seen.offset,
            max_offset: seen.offset,
        });
        w.n += 1;
        w.bytes = w.bytes.saturating_add(seen.bytes);
        w.f = w.f.plus(seen.observation.id.hash(self.rule.seed()));
        w.min_ms = w.min_ms.min(time_ms);
        w.max_ms = w.max_ms.max(time_ms);
        w.last_ms = w.last_ms.max(seen.now_ms);
        w.max_offset = seen.offset;
        if let Some(event_ms) = seen.observation.event_ms {
            w.hist.record(seen.arrival_ms.saturating_sub(event_ms));
            self.frontier.push(event_ms, seen.arrival_ms, seen.now_ms);
        }
        true
    }

    /// The consumer has passed everything below `position`: what was not delivered there is not a message (transaction
    /// markers, aborted or compacted records).
    pub fn pass(&mut self, position: i64) {
        self.to = self.to.max(position);
    }

    /// What lies below `position` and was not counted held nothing, and compaction may be why. Cut what
    /// [is clean](Self::is_clean) first: then the run that says so begins with the gap.
    pub fn removed(&mut self, position: i64) {
        debug_assert!(!self.is_clean(), "cut before a gap");
        let Ok(offsets @ 1..) = u64::try_from(position - self.to) else { return };
        let gaps = self.gaps.get_or_insert_with(|| Gaps {
            from: self.to,
            to: position,
            offsets: 0,
            since_ms: self.frontier.least_ms(),
        });
        gaps.to = position;
        gaps.offsets += offsets;
        self.to = position;
    }

    /// Offsets below `first` cannot be counted: an interval that says so. Cut first.
    pub fn skip(&mut self, first: i64, cause: GapCause) -> Option<Interval> {
        debug_assert!(self.windows.is_empty() && self.from == self.to, "cut before a skip");
        if first <= self.to {
            return None;
        }
        self.to = first;
        let mut gone = self.cut()?;
        gone.kind = IntervalKind::Unaudited;
        gone.cause = cause;
        gone.anchor = None;
        Some(gone)
    }

    /// Hands over what was counted since the last cut; `None` if the position did not move.
    pub fn cut(&mut self) -> Option<Interval> {
        if self.from == self.to {
            return None;
        }
        let interval = Interval {
            topic: self.topic.clone(),
            partition: self.partition,
            log: self.claim.log,
            epoch: self.claim.epoch,
            claim_from: self.claim.next,
            from: self.from,
            to: self.to,
            rule: self.rule.id(),
            kind: IntervalKind::Counted,
            cause: GapCause::Gone,
            anchor: self.last.take(),
            gaps: self.gaps.take(),
            windows: std::mem::take(&mut self.windows).into_values().collect(),
        };
        self.from = self.to;
        Some(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_audit::{Fingerprint, MessageId, Observation};

    const T: i64 = 1_790_000_000_000;

    fn seen(offset: i64, event_ms: i64) -> Seen {
        let id = MessageId(u128::from(offset.unsigned_abs()));
        Seen {
            offset,
            observation: Observation { id, class: Class::Bare, event_ms: Some(event_ms) },
            bytes: 10,
            arrival_ms: event_ms + 100,
            now_ms: T + offset,
            content: Fingerprint::from_u128(id.0),
            time_ms: event_ms,
        }
    }
    fn counter(next: i64) -> PartitionCount {
        let claim = Claim { log: 2, epoch: 7, next, topic_id: None, anchor: None };
        PartitionCount::new("orders", 3, claim, Rule::new(1), Width::TEN_SECONDS)
    }

    #[test]
    fn a_run_is_cut_by_window_and_the_next_begins_where_it_ended() {
        let mut c = counter(5);
        assert!(c.cut().is_none());
        for (offset, event) in [(5, T), (6, T + 9_999), (8, T + 10_000), (9, T)] {
            assert!(c.count(&seen(offset, event)));
        }
        let i = c.cut().expect("a run");
        assert_eq!((i.log, i.epoch, i.claim_from, i.from, i.to), (2, 7, 5, 5, 10));
        let windows: Vec<_> = i.windows.iter().map(|w| (w.window_ms.0 - T, w.n, w.min_offset, w.max_offset)).collect();
        assert_eq!(windows, [(0, 3, 5, 9), (10_000, 1, 8, 8)]);
        assert_eq!(i.windows[0].hist.total(), 3);
        assert_eq!((i.windows[0].bytes, i.windows[0].min_ms, i.windows[0].max_ms), (30, T, T + 9_999));
        assert_eq!(i.anchor.as_ref().map(|a| (a.offset, a.time_ms)), Some((9, T)));
        assert!(c.cut().is_none());
        assert!(c.count(&seen(10, T)));
        assert_eq!(c.cut().map(|i| (i.claim_from, i.from, i.to)), Some((5, 10, 11)));
    }

    #[test]
    fn an_offset_counts_once_and_never_below_the_claim() {
        let mut c = counter(5);
        assert!(!c.count(&seen(4, T)));
        assert!(c.count(&seen(5, T)));
        assert!(!c.count(&seen(5, T)));
        assert_eq!(c.cut().map(|i| i.windows[0].n), Some(1));
        assert!(!c.count(&seen(5, T)));
    }

    #[test]
    fn markers_move_the_position_without_a_count() {
        let mut c = counter(0);
        c.count(&seen(0, T));
        c.pass(3);
        let i = c.cut().expect("a run");
        assert_eq!((i.from, i.to, i.windows[0].n), (0, 3, 1));
        c.pass(2);
        assert!(c.cut().is_none(), "a position never goes back");
        c.pass(4);
        let i = c.cut().expect("a run without messages");
        assert_eq!((i.from, i.to, i.windows.len(), i.anchor), (3, 4, 0, None));
    }

    #[test]
    fn a_stretch_with_gaps_is_a_run_of_its_own_that_says_where_they_are() {
        let mut c = counter(0);
        for offset in 0..5 {
            c.count(&seen(offset, T + offset));
        }
        assert!(c.is_clean());
        assert_eq!(c.cut().and_then(|i| i.gaps), None);
        c.removed(5);
        assert_eq!(c.next(), 5, "no offset is missing");
        c.removed(8);
        assert!(!c.is_clean());
        c.count(&seen(8, T + 20_000));
        c.removed(10);
        c.count(&seen(10, T + 20_000));
        for offset in 11..10 + CLEAN {
            assert!(!c.is_full());
            c.count(&seen(offset, T + 20_000));
        }
        assert!(c.is_full(), "the stretch is over");
        let i = c.cut().expect("a run");
        assert_eq!((i.kind, i.from, i.to), (IntervalKind::Counted, 5, 10 + CLEAN));
        assert_eq!(i.gaps, Some(Gaps { from: 5, to: 10, offsets: 4, since_ms: Some(T) }));
        assert_eq!(i.windows.iter().map(|w| w.n).sum::<u64>(), 1 + CLEAN.unsigned_abs());
        c.count(&seen(20 + CLEAN, T));
        assert_eq!(c.cut().and_then(|i| i.gaps), None, "nobody called this one a gap");
        let mut first = counter(0);
        first.removed(3);
        let i = first.cut().expect("a run without messages");
        assert_eq!((i.from, i.to, i.gaps), (0, 3, Some(Gaps { from: 0, to: 3, offsets: 3, since_ms: None })));
    }

    #[test]
    fn what_is_gone_is_said_and_not_counted() {
        let mut c = counter(5);
        assert!(c.skip(5, GapCause::Gone).is_none());
        let gone = c.skip(9, GapCause::Gone).expect("gone");
        assert_eq!((gone.kind, gone.from, gone.to, gone.windows.len()), (IntervalKind::Unaudited, 5, 9, 0));
        assert!(!c.count(&seen(8, T)) && c.count(&seen(9, T)));
        assert_eq!(c.cut().map(|i| (i.kind, i.from)), Some((IntervalKind::Counted, 9)));
    }

    #[test]
    fn fingerprints_of_two_runs_add_up_to_that_of_one() {
        let (mut one, mut two) = (counter(0), counter(0));
        let mut parts = Vec::new();
        for offset in 0..100 {
            one.count(&seen(offset, T));
            two.count(&seen(offset, T));
            if offset % 7 == 0 {
                parts.extend(two.cut());
            }
        }
        parts.extend(two.cut());
        let whole = one.cut().expect("a run");
        let sum =
            parts.iter().flat_map(|i| &i.windows).fold((0, Fingerprint::ZERO), |(n, f), w| (n + w.n, f.plus(w.f)));
        assert_eq!(sum, (100, whole.windows[0].f));
    }

    #[test]
    fn the_fullest_run_fits_one_message() {
        let mut c = counter(0);
        let mut offset = 0;
        while !c.is_full() {
            c.count(&seen(offset, T + offset * 10_000));
            offset += 1;
        }
        let mut i = c.cut().expect("a run");
        assert_eq!(i.windows.len(), WINDOWS_MAX);
        let mut full = Histogram::new();
        for cell in 0..chaperone_audit::histogram::CELLS {
            full.add_cell(cell, chaperone_audit::wire::MAX_COUNT);
        }
        for w in &mut i.windows {
            w.hist = full.clone();
            (w.n, w.bytes, w.f) = (u64::MAX, u64::MAX, Fingerprint::from_u128(u128::MAX));
        }
        let bytes = serde_json::to_vec(&i).expect("json").len();
        assert!(bytes < MAX_BYTES, "{bytes}");
    }

    #[test]
    fn a_message_without_a_time_counts_in_its_arrivals_window() {
        let mut c = counter(0);
        let mut m = seen(0, T);
        m.observation = Observation { class: Class::NoTime, event_ms: None, ..m.observation };
        m.arrival_ms = T + 25_000;
        c.count(&m);
        assert_eq!(c.frontier_ms(T), None);
        let i = c.cut().expect("a run");
        assert_eq!((i.windows[0].window_ms.0, i.windows[0].class), (T + 20_000, Class::NoTime));
        assert_eq!(i.windows[0].hist.total(), 0);
    }
}
