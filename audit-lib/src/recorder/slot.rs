//! One slot in heap memory: the three chains as they grow. Pure; the shard's lock is around it.

use std::sync::Arc;

use super::table::Outcome;
use crate::fingerprint::Fingerprint;
use crate::histogram::Histogram;
use crate::rule::{Class, Rules};
use crate::state::{SlotState, flag};
use crate::window::{Width, WindowStart};
use crate::wire::{SlotRecord, Sum};

/// How a message is counted. Kinds have slots of their own, so that what was only seen never looks in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Attempted,
    Seen,
}

/// Within a topic, what a slot is for.
pub(super) type Place = (WindowStart, Class, Kind);

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) topic: Arc<str>,
    pub(super) place: Place,
    /// Grows with every change of what is on the wire.
    pub(super) changes: u64,
    /// The value of `changes` in the last state that the sink has.
    pub(super) settled: u64,
    /// No longer counts; its final state is or will be captured.
    pub(super) closed: bool,
    /// The final state was captured.
    pub(super) taken: bool,
    /// Given at the first capture.
    id: Option<u64>,
    overflow: bool,
    n: u64,
    bytes: u64,
    f_in: Fingerprint,
    hist: Histogram,
    /// Smallest and largest event time.
    span_ms: Option<(i64, i64)>,
    last_ms: i64,
    acked: u64,
    failed: u64,
    in_doubt: u64,
    f_acked: Fingerprint,
    f_failed: Fingerprint,
}

impl Slot {
    pub(super) fn new(topic: Arc<str>, place: Place, overflow: bool) -> Self {
        Self {
            topic,
            place,
            changes: 0,
            settled: 0,
            closed: false,
            taken: false,
            id: None,
            overflow,
            n: 0,
            bytes: 0,
            f_in: Fingerprint::ZERO,
            hist: Histogram::new(),
            span_ms: None,
            last_ms: i64::MIN,
            acked: 0,
            failed: 0,
            in_doubt: 0,
            f_acked: Fingerprint::ZERO,
            f_failed: Fingerprint::ZERO,
        }
    }

    pub(super) fn arrive(&mut self, bytes: u64, hash: Fingerprint, event_ms: Option<i64>, now_ms: i64) {
        self.n += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.f_in = self.f_in.plus(hash);
        self.last_ms = self.last_ms.max(now_ms);
        self.changes += 1;
        // An overflow slot mixes topics and windows: a delay or a span of it would mean nothing.
        if let Some(event_ms) = event_ms.filter(|_| !self.overflow) {
            self.hist.record(now_ms.saturating_sub(event_ms));
            let (min, max) = self.span_ms.unwrap_or((event_ms, event_ms));
            self.span_ms = Some((min.min(event_ms), max.max(event_ms)));
        }
    }

    pub(super) fn resolve(&mut self, outcome: Outcome, hash: Fingerprint) {
        match outcome {
            Outcome::Acked => {
                self.acked += 1;
                self.f_acked = self.f_acked.plus(hash);
            }
            Outcome::Failed => {
                self.failed += 1;
                self.f_failed = self.f_failed.plus(hash);
            }
            Outcome::InDoubt => {
                // Known here only: on the wire, doubt is what a final state has no report for.
                self.in_doubt += 1;
                return;
            }
        }
        self.changes += 1;
        debug_assert!(self.acked + self.failed + self.in_doubt <= self.n, "I3: more outcomes than attempts");
    }

    pub(super) fn in_flight(&self) -> u64 {
        match self.place.2 {
            Kind::Attempted if !self.closed => self.n - self.acked - self.failed - self.in_doubt,
            Kind::Attempted | Kind::Seen => 0,
        }
    }

    /// Whether no more is to be expected: grace has passed since the window's end and since the last arrival, and
    /// nothing is in flight. Counting from the last arrival keeps a consumer with a backlog from closing and opening a
    /// slot at every heartbeat.
    pub(super) fn is_due(&self, now_ms: i64, grace_ms: i64, width: Width) -> bool {
        let quiet_ms = self.place.0.end_ms(width).max(self.last_ms);
        now_ms >= quiet_ms.saturating_add(grace_ms) && self.in_flight() == 0
    }

    pub(super) fn add_to(&self, sum: &mut Sum) {
        sum.n += self.n;
        sum.acked += self.acked;
        sum.failed += self.failed;
        sum.f_in = sum.f_in.plus(self.f_in);
    }

    /// The state as it goes on the wire; a slot without a number takes the next.
    pub(super) fn record(&mut self, ids: &mut u64, rules: &Rules, width_ms: Width) -> SlotRecord {
        let id = *self.id.get_or_insert_with(|| {
            *ids += 1;
            *ids - 1
        });
        let (window_ms, class, kind) = self.place;
        let flags = [(kind == Kind::Seen, flag::SEEN), (self.overflow, flag::OVERFLOW)];
        let state = SlotState {
            n: self.n,
            bytes: self.bytes,
            f_in: (self.n > 0).then_some(self.f_in),
            hist: self.span_ms.map(|_| self.hist.clone()),
            min_ms: self.span_ms.map(|s| s.0),
            max_ms: self.span_ms.map(|s| s.1),
            last_ms: (self.n > 0).then_some(self.last_ms),
            acked: self.acked,
            failed: self.failed,
            f_acked: (self.acked > 0).then_some(self.f_acked),
            f_failed: (self.failed > 0).then_some(self.f_failed),
            sketch_n: None,
            sketch: None,
            flags: flags.into_iter().filter(|f| f.0).map(|f| f.1.to_owned()).collect(),
            is_final: self.closed,
        };
        SlotRecord {
            id,
            topic: self.topic.to_string(),
            window_ms,
            width_ms,
            class,
            rule: rules.of(&self.topic).id(),
            state,
        }
    }
}
