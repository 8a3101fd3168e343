//! A slot's cumulative state and `Join`, the one place where two reports of it merge.
//!
//! A state is three chains, each ordered by one number that only grows (I2): *in* (attempted or seen) by `n`; *out*
//! (acked and failed) by `acked + failed`; *sketch* by the count that it covers, absent being its bottom. `Join` takes
//! of each chain the one with the larger order number, **whole**; at equal numbers the bytewise larger; flags are
//! united. Nothing is added and no fields are mixed, so `Join` is total, commutative, associative and idempotent:
//! duplicates, re-ordering, re-sends and lost reports (repaired by the next) change nothing.
//!
//! Limits: a `sketch` is usable only where it covers the whole of *in* (`sketch_n = n`).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::histogram::Histogram;

/// Words that stand in [`SlotState::flags`].
pub mod flag {
    /// The stage only sees: there are no delivery reports, the *out* chain stays 0 and nothing is in flight.
    pub const SEEN: &str = "seen";
    /// The slot table was full: totals are kept, topic and window are lost.
    pub const OVERFLOW: &str = "overflow";
    /// The reporter has no write-ahead log: the counts do not survive its machine.
    pub const NO_WAL: &str = "no_wal";
    /// The slots are not in memory that outlives the process: its death loses what was counted since the last checkpoint.
    pub const NO_CRASH_RECOVERY: &str = "no_crash_recovery";
    /// Made final by recovery from the last checkpoint of a dead incarnation, which may be older than its last report.
    pub const CRASH: &str = "crash";
}

/// The cumulative counts of one incarnation for one (topic, stage, window, class).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotState {
    /// *in*: messages attempted (a producer) or seen (a consumer, a proxy).
    pub n: u64,
    /// *in*: key and value bytes of those.
    pub bytes: u64,
    /// *in*: Σ of their hashed ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f_in: Option<Fingerprint>,
    /// *in*: arrival minus event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hist: Option<Histogram>,
    /// *in*: smallest event time, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ms: Option<i64>,
    /// *in*: largest event time, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<i64>,
    /// *in*: wall time of the last arrival, ms, by the reporter's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<i64>,
    /// *out*: delivery reports that say persisted.
    pub acked: u64,
    /// *out*: reports that prove not persisted.
    pub failed: u64,
    /// *out*: Σ of the hashed ids acked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f_acked: Option<Fingerprint>,
    /// *out*: Σ of the hashed ids failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f_failed: Option<Fingerprint>,
    /// *sketch*: how many of *in* the sketch covers.
    pub sketch_n: Option<u64>,
    /// *sketch*: its table as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sketch: Option<String>,
    /// What limits this slot's counts, united by `Join`.
    pub flags: BTreeSet<String>,
    /// No report of this slot will differ from this one.
    #[serde(rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
}

impl SlotState {
    /// Order number of the *out* chain.
    pub fn out(&self) -> u64 {
        self.acked.saturating_add(self.failed)
    }
    /// Messages with no delivery report yet. Zero for stages that only see.
    pub fn unreported(&self) -> u64 {
        self.n.saturating_sub(self.out())
    }
    /// Σ of ids in, zero when absent.
    pub fn f_in(&self) -> Fingerprint {
        self.f_in.unwrap_or_default()
    }
    /// Σ of ids acked, zero when absent.
    pub fn f_acked(&self) -> Fingerprint {
        self.f_acked.unwrap_or_default()
    }
    /// Σ of ids failed, zero when absent.
    pub fn f_failed(&self) -> Fingerprint {
        self.f_failed.unwrap_or_default()
    }

    fn in_order(&self, o: &Self) -> Ordering {
        let key = |s: &Self| (s.n, s.bytes, s.f_in, s.min_ms, s.max_ms, s.last_ms);
        key(self).cmp(&key(o)).then_with(|| self.hist.cmp(&o.hist))
    }
    fn out_order(&self, o: &Self) -> Ordering {
        let key = |s: &Self| (s.out(), s.acked, s.failed, s.f_acked, s.f_failed);
        key(self).cmp(&key(o))
    }
    fn sketch_order(&self, o: &Self) -> Ordering {
        self.sketch_n.cmp(&o.sketch_n).then_with(|| self.sketch.cmp(&o.sketch))
    }

    /// Merges a report into this state. See the module's head for the law.
    pub fn join(&mut self, other: &Self) {
        if other.in_order(self) == Ordering::Greater {
            self.n = other.n;
            self.bytes = other.bytes;
            self.f_in = other.f_in;
            self.hist.clone_from(&other.hist);
            self.min_ms = other.min_ms;
            self.max_ms = other.max_ms;
            self.last_ms = other.last_ms;
        }
        if other.out_order(self) == Ordering::Greater {
            self.acked = other.acked;
            self.failed = other.failed;
            self.f_acked = other.f_acked;
            self.f_failed = other.f_failed;
        }
        if other.sketch_order(self) == Ordering::Greater {
            self.sketch_n = other.sketch_n;
            self.sketch.clone_from(&other.sketch);
        }
        self.flags.extend(other.flags.iter().cloned());
        self.is_final |= other.is_final;
    }

    /// Whether two reports cannot both be of one honest slot: an equal order number with other bytes, or growth after
    /// `final`. The state itself joins all the same; the event stands beside it.
    ///
    /// A final with [`flag::CRASH`] comes from a checkpoint: a later report of the dead incarnation may well exceed it.
    pub fn divergent(&self, other: &Self) -> bool {
        let twin_in = self.n == other.n && self.in_order(other) != Ordering::Equal;
        let twin_out = self.out() == other.out() && self.out_order(other) != Ordering::Equal;
        let grown = |done: &Self, later: &Self| {
            done.is_final && !done.flags.contains(flag::CRASH) && (later.n > done.n || later.out() > done.out())
        };
        twin_in || twin_out || grown(self, other) || grown(other, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        /// Small ranges, so that equal order numbers with other bytes are common.
        fn any_state()(n in 0u64..4, bytes in 0u64..3, f in 0u64..3, acked in 0u64..3, failed in 0u64..3,
                       sketch_n in proptest::option::of(0u64..3), flag in 0u8..3, is_final in any::<bool>(),
                       last in proptest::option::of(0i64..3)) -> SlotState {
            let fp = |v: u64| (v > 0).then_some(Fingerprint { hi: v, lo: v });
            let mut hist = Histogram::new();
            hist.record(last.unwrap_or(0));
            SlotState {
                n, bytes, f_in: fp(f), hist: last.map(|_| hist), min_ms: last, max_ms: last, last_ms: last, acked, failed,
                f_acked: fp(f), f_failed: None, sketch_n, sketch: sketch_n.map(|s| s.to_string()),
                flags: (flag > 0).then(|| format!("f{flag}")).into_iter().collect(), is_final,
            }
        }
    }

    fn joined(a: &SlotState, b: &SlotState) -> SlotState {
        let mut s = a.clone();
        s.join(b);
        s
    }

    proptest! {
        #[test]
        fn join_is_a_semilattice(a in any_state(), b in any_state(), c in any_state()) {
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
            prop_assert_eq!(joined(&a, &a), a);
        }
        #[test]
        fn join_never_loses_a_count_and_never_invents_one(a in any_state(), b in any_state()) {
            let j = joined(&a, &b);
            prop_assert_eq!(j.n, a.n.max(b.n));
            prop_assert_eq!(j.out(), a.out().max(b.out()));
            prop_assert!(j.in_order(&a) != Ordering::Less && j.in_order(&b) != Ordering::Less);
            prop_assert!(j.in_order(&a) == Ordering::Equal || j.in_order(&b) == Ordering::Equal, "a whole chain");
            prop_assert!(j.out_order(&a) == Ordering::Equal || j.out_order(&b) == Ordering::Equal, "a whole chain");
        }
    }

    #[test]
    fn an_ack_that_was_reported_survives_an_older_report_with_more_attempts() {
        let early = SlotState { n: 10, acked: 9, ..SlotState::default() };
        let late = SlotState { n: 12, acked: 3, ..SlotState::default() };
        let j = joined(&late, &early);
        assert_eq!((j.n, j.acked), (12, 9));
        assert!(!early.divergent(&late));
        assert!(SlotState { bytes: 1, ..early.clone() }.divergent(&early));
        let finished = SlotState { is_final: true, ..early };
        assert!(finished.divergent(&late));
        let recovered = SlotState { flags: [flag::CRASH.to_owned()].into(), ..finished };
        assert!(!recovered.divergent(&late), "a checkpoint may be older than the last report");
    }
}
