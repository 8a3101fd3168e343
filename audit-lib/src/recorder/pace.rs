//! How much a reporter tells in a second: a budget of records and of bytes, so that a host with thousands of busy topics
//! does not flood the audit topic. Pure.
//!
//! What was told is a debt that time pays off. A message may go when nothing is owed; a small one also while little is,
//! so that reporters of few topics are never held up. So over any minute no more than the budget goes, but for the
//! last message of it.
//!
//! Limits: finals are owed too but not held up while few wait, for windows are judged by them: where they alone would be more
//! than the budget has, wider windows are told (`stretch`); without a log, which that needs, they go beyond it.

use std::time::{Duration, Instant};

/// Small messages may add up to so much debt: four times what is told of 100 slots at once, less the half.
const SMALL: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    records_per_second: u32,
    bytes_per_second: u32,
    /// When all that was told will be paid off.
    paid_at: Option<Instant>,
    /// Nothing is held up any more.
    lifted: bool,
}

impl Pace {
    pub(super) const fn new(records_per_second: u32, bytes_per_second: u32) -> Self {
        Self { records_per_second, bytes_per_second, paid_at: None, lifted: false }
    }

    fn cost(&self, records: u64, bytes: usize) -> Duration {
        let millis = |amount: u64, rate: u32| amount.saturating_mul(1000) / u64::from(rate.max(1));
        Duration::from_millis(millis(records, self.records_per_second).max(millis(bytes as u64, self.bytes_per_second)))
    }

    /// What is owed.
    pub(super) fn debt(&self, now: Instant) -> Duration {
        self.paid_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Whether a message may go now.
    pub(super) fn allows(&self, records: u64, bytes: usize, now: Instant) -> bool {
        let debt = self.debt(now);
        self.lifted || debt.is_zero() || debt + self.cost(records, bytes) <= SMALL
    }

    /// A message went.
    pub(super) fn spend(&mut self, records: u64, bytes: usize, now: Instant) {
        let cost = self.cost(records, bytes);
        self.paid_at = Some(self.paid_at.map_or(now, |at| at.max(now)) + cost);
    }

    /// For the close, which has a deadline of its own.
    pub(super) fn lift(&mut self) {
        self.lifted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_minute_has_more_than_the_budget_and_one_message(
            sizes in proptest::collection::vec(1u64..500, 1..200), step_ms in 10u64..3_000,
        ) {
            let (mut pace, start) = (Pace::new(50, 32 << 10), Instant::now());
            let (mut sent, mut now): (Vec<(Instant, u64)>, _) = (Vec::new(), start);
            for records in sizes {
                while !pace.allows(records, 100, now) {
                    now += Duration::from_millis(step_ms);
                }
                pace.spend(records, 100, now);
                sent.push((now, records));
            }
            for (from, _) in &sent {
                let within: Vec<u64> =
                    sent.iter().filter(|(at, _)| at >= from && *at < *from + Duration::from_mins(1)).map(|s| s.1).collect();
                let sum: u64 = within.iter().sum();
                let slack = within.iter().max().copied().unwrap_or(0).max(200);
                prop_assert!(sum <= 60 * 50 + slack, "{sum}");
            }
        }
    }
}
