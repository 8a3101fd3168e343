//! What a slot's words mean: from a message to the words of a line, and from the lines of a slot to its state. Pure.
//!
//! A slot on the wire is the sum of the lines of the threads that counted in it. A line's *in* words are bytes, Σ of
//! ids (2), smallest and largest event time, last arrival; its cells are the delay histogram. Its *out* words are acked,
//! failed, in doubt, Σ of ids acked (2) and failed (2). Its tags say which slot it is of, so that whoever finds the file
//! of a dead process can make the same states of it ([`SCHEMA`] says which meaning of words a file has).
//!
//! Limits: doubt is known here only; on the wire it is what a final state has no report for. An overflow slot mixes
//! topics and windows, so it has no histogram and no span.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

use chaperone_wal::slots::{Slot, Standing, TAGS, Trouble, Words};

use super::table::Outcome;
use crate::fingerprint::Fingerprint;
use crate::histogram::{Histogram, narrow_cell_of};
use crate::rule::{Class, RuleId};
use crate::state::{SlotState, flag};
use crate::window::{Width, WindowStart};
use crate::wire::{SlotRecord, Sum};

/// The meaning of words, cells and tags in a slot file.
pub(super) const SCHEMA: u64 = 1;

/// How a message is counted. Kinds have slots of their own, so that what was only seen never looks in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Attempted,
    Seen,
}

/// Within a topic, what a slot is for.
pub(super) type Place = (WindowStart, Class, Kind);

/// All that a slot's lines have in common, but for the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Purpose {
    pub(super) place: Place,
    pub(super) width: Width,
    pub(super) rule: RuleId,
    pub(super) overflow: bool,
}

impl Purpose {
    pub(super) fn tags(&self) -> [u64; TAGS] {
        let (window, class, kind) = self.place;
        let class = Class::ALL.iter().position(|c| *c == class).unwrap_or(0) as u64;
        let kind = u64::from(kind == Kind::Seen);
        let what = class | kind << 8 | u64::from(self.overflow) << 16;
        [window.0.cast_unsigned(), u64::from(u32::from(self.width)), what, self.rule.0, 0, 0, 0, 0]
    }

    /// `None` for tags that this release does not write.
    pub(super) fn of(tags: &[u64; TAGS]) -> Option<Self> {
        let [window, width, what, rule, ..] = *tags;
        let class = *Class::ALL.get(usize::try_from(what & 0xff).ok()?)?;
        let kind = match what >> 8 & 0xff {
            0 => Kind::Attempted,
            1 => Kind::Seen,
            _ => return None,
        };
        Some(Self {
            place: (WindowStart(window.cast_signed()), class, kind),
            width: Width::try_from(u32::try_from(width).ok()?).ok()?,
            rule: RuleId(rule),
            overflow: what >> 16 & 1 == 1,
        })
    }

    /// Whether its messages have times of their own that mean something together.
    fn is_timed(&self) -> bool {
        self.place.1.has_time() && !self.overflow
    }
}

/// The name of the line in which the sums of freed slots are kept: so the sums of all that was ever counted survive too.
pub(super) const LEDGER: &str = "_chaperone.freed";

/// The words of the ledger: n, acked, failed, in doubt, Σ of ids (2), and the number plus one of the slot freed last.
///
/// It is entered before the slot's lines are freed, so a death in between leaves some of them; the number tells which
/// slot they are of, and that it is in a safe place already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) sum: Sum,
    pub(super) in_doubt: u64,
    pub(super) last: u64,
}

impl Ledger {
    pub(super) fn of(words: &Words) -> Self {
        let [n, acked, failed, in_doubt, hi, lo, last] = *words;
        Self { sum: Sum { slots: 0, n, acked, failed, f_in: Fingerprint { hi, lo } }, in_doubt, last }
    }

    pub(super) fn words(&self) -> Words {
        let Sum { n, acked, failed, f_in, .. } = self.sum;
        [n, acked, failed, self.in_doubt, f_in.hi, f_in.lo, self.last]
    }

    /// Enters a slot.
    pub(super) fn enter(&mut self, id: u64, last: &Tally) {
        last.add_to(&mut self.sum);
        self.in_doubt += last.in_doubt;
        self.last = id + 1;
    }
}

/// What one message adds to the *in* words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addition {
    pub(super) bytes: u64,
    pub(super) hash: Fingerprint,
    /// The event's time, or the arrival's where there is none.
    pub(super) event_ms: i64,
}

impl Addition {
    /// The words of n + 1 and the histogram's cell; `first` if n is 0.
    #[inline(always)]
    pub(super) fn count(&self, words: &mut Words, first: bool, now_ms: i64) -> u8 {
        let [bytes, hi, lo, min, max, last, _] = words;
        *bytes = bytes.wrapping_add(self.bytes);
        *hi = hi.wrapping_add(self.hash.hi);
        *lo = lo.wrapping_add(self.hash.lo);
        if first || self.event_ms < min.cast_signed() {
            *min = self.event_ms.cast_unsigned();
        }
        if first || self.event_ms > max.cast_signed() {
            *max = self.event_ms.cast_unsigned();
        }
        if first || now_ms > last.cast_signed() {
            *last = now_ms.cast_unsigned();
        }
        // Both are times that a clock shows: far from the ends of what 64 bits hold.
        narrow_cell_of(now_ms.wrapping_sub(self.event_ms))
    }
}

/// What an outcome adds to the *out* words.
#[inline]
pub(super) fn outcome(outcome: Outcome, hash: Fingerprint) -> Words {
    match outcome {
        Outcome::Acked => [1, 0, 0, hash.hi, hash.lo, 0, 0],
        Outcome::Failed => [0, 1, 0, 0, 0, hash.hi, hash.lo],
        Outcome::InDoubt => [0, 0, 1, 0, 0, 0, 0],
    }
}

/// Attempts of a line without any outcome.
pub(super) fn line_in_flight(line: &Standing) -> u64 {
    line.n.saturating_sub(line.m)
}

/// The sum of a slot's lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) n: u64,
    bytes: u64,
    f_in: Fingerprint,
    hist: Histogram,
    /// A line's cells were not those of its count: there is no histogram.
    no_hist: bool,
    /// Smallest and largest event time, last arrival.
    times: Option<(i64, i64, i64)>,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) in_doubt: u64,
    f_acked: Fingerprint,
    f_failed: Fingerprint,
}

impl Tally {
    /// Adds a line.
    pub(super) fn add(&mut self, line: &Slot) {
        let [bytes, hi, lo, min, max, last, _] = line.words_in;
        self.n = self.n.saturating_add(line.n);
        self.bytes = self.bytes.saturating_add(bytes);
        self.f_in = self.f_in.plus(Fingerprint { hi, lo });
        if line.n > 0 {
            let (min, max, last) = (min.cast_signed(), max.cast_signed(), last.cast_signed());
            let (a, b, c) = self.times.unwrap_or((min, max, last));
            self.times = Some((a.min(min), b.max(max), c.max(last)));
        }
        self.no_hist |= line.troubles.iter().any(|t| matches!(t, Trouble::Cells { .. }));
        for (cell, count) in line.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.hist.add_cell(cell, u64::from(*count));
        }
        let [acked, failed, in_doubt, a_hi, a_lo, f_hi, f_lo] = line.words_out;
        self.acked = self.acked.saturating_add(acked);
        self.failed = self.failed.saturating_add(failed);
        self.in_doubt = self.in_doubt.saturating_add(in_doubt);
        self.f_acked = self.f_acked.plus(Fingerprint { hi: a_hi, lo: a_lo });
        self.f_failed = self.f_failed.plus(Fingerprint { hi: f_hi, lo: f_lo });
    }

    /// Grows with every change of it.
    pub(super) fn changes(&self) -> u64 {
        self.n.saturating_add(self.acked).saturating_add(self.failed).saturating_add(self.in_doubt)
    }

    /// Attempts without any outcome. Zero for what was only seen.
    pub(super) fn in_flight(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Attempted => self.n.saturating_sub(self.acked + self.failed + self.in_doubt),
            Kind::Seen => 0,
        }
    }

    /// Whether no more is to be expected: grace has passed since the window's end and since the last arrival, and
    /// nothing is in flight. Counting from the last arrival keeps a consumer with a backlog from closing and opening a
    /// slot at every heartbeat.
    pub(super) fn is_due(&self, purpose: &Purpose, now_ms: i64, grace_ms: i64) -> bool {
        let (window, _, kind) = purpose.place;
        let last_ms = self.times.map_or(i64::MIN, |t| t.2);
        let quiet_ms = window.end_ms(purpose.width).max(last_ms);
        now_ms >= quiet_ms.saturating_add(grace_ms) && self.in_flight(kind) == 0
    }

    pub(super) fn last_ms(&self) -> Option<i64> {
        self.times.map(|t| t.2)
    }

    /// Adds it to the sums over slots. What was read from a file may be anything, so it wraps rather than panics.
    pub(super) fn add_to(&self, sum: &mut Sum) {
        sum.n = sum.n.wrapping_add(self.n);
        sum.acked = sum.acked.wrapping_add(self.acked);
        sum.failed = sum.failed.wrapping_add(self.failed);
        sum.f_in = sum.f_in.plus(self.f_in);
    }

    /// The state as it goes on the wire.
    pub(super) fn record(&self, id: u64, topic: &str, purpose: &Purpose, is_final: bool) -> SlotRecord {
        let (window_ms, class, kind) = purpose.place;
        let flags = [(kind == Kind::Seen, flag::SEEN), (purpose.overflow, flag::OVERFLOW)];
        let span = self.times.filter(|_| purpose.is_timed());
        let state = SlotState {
            n: self.n,
            bytes: self.bytes,
            f_in: (self.n > 0).then_some(self.f_in),
            hist: span.filter(|_| !self.no_hist).map(|_| self.hist.clone()),
            min_ms: span.map(|s| s.0),
            max_ms: span.map(|s| s.1),
            last_ms: self.last_ms(),
            acked: self.acked,
            failed: self.failed,
            f_acked: (self.acked > 0).then_some(self.f_acked),
            f_failed: (self.failed > 0).then_some(self.f_failed),
            sketch_n: None,
            sketch: None,
            flags: flags.into_iter().filter(|f| f.0).map(|f| f.1.to_owned()).collect(),
            is_final,
        };
        SlotRecord { id, topic: topic.to_owned(), window_ms, width_ms: purpose.width, class, rule: purpose.rule, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::cell_of;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tags_say_all_of_a_purpose_and_others_say_nothing_wrong(
            window in any::<i64>(), class in 0usize..Class::ALL.len(), seen: bool, overflow: bool, width in 0usize..3,
            rule: u64, noise: [u64; TAGS],
        ) {
            let kind = if seen { Kind::Seen } else { Kind::Attempted };
            let place = (WindowStart(window), Class::ALL[class], kind);
            let purpose = Purpose { place, width: Width::ALL[width], rule: RuleId(rule), overflow };
            prop_assert_eq!(Purpose::of(&purpose.tags()), Some(purpose));
            if let Some(read) = Purpose::of(&noise) {
                prop_assert_eq!(&read.tags()[..2], &noise[..2]);
            }
        }

        #[test]
        fn the_words_of_many_messages_are_their_sums(
            messages in proptest::collection::vec((0u64..1000, any::<u128>(), -5i64..100_000, 0i64..200_000), 1..50),
        ) {
            let mut words = [0; 7];
            for (i, (bytes, hash, event_ms, now_ms)) in messages.iter().enumerate() {
                let one = Addition { bytes: *bytes, hash: Fingerprint::from_u128(*hash), event_ms: *event_ms };
                let cell = one.count(&mut words, i == 0, *now_ms);
                prop_assert_eq!(usize::from(cell), cell_of(now_ms - event_ms));
            }
            let hash = messages.iter().fold(Fingerprint::ZERO, |f, m| f.plus(Fingerprint::from_u128(m.1)));
            let (min, max) = (messages.iter().map(|m| m.2).min(), messages.iter().map(|m| m.2).max());
            prop_assert_eq!(words[0], messages.iter().map(|m| m.0).sum::<u64>());
            prop_assert_eq!(Fingerprint { hi: words[1], lo: words[2] }, hash);
            prop_assert_eq!((Some(words[3].cast_signed()), Some(words[4].cast_signed())), (min, max));
            prop_assert_eq!(Some(words[5].cast_signed()), messages.iter().map(|m| m.3).max());
        }
    }
}
