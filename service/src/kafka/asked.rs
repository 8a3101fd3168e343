//! What a partition's end was, when asked; and which of those ends have been reached. Pure.
//!
//! The rule that every watermark rests on: the time is taken *before* the end is asked for, and it counts only once
//! everything below that end has been read. So what was appended before the time lies below the position.
//! Limit: [`PENDING_MAX`] ends wait; beyond it the second oldest is forgotten, which delays and never falsifies.

use std::collections::VecDeque;

/// Ends that wait to be reached.
pub const PENDING_MAX: usize = 32;

/// See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pending: VecDeque<(i64, i64)>,
    reached_ms: Option<i64>,
}

impl Asked {
    /// At or after `asked_ms` the partition ended at `end`.
    pub fn answer(&mut self, asked_ms: i64, end: i64) {
        if self.pending.len() == PENDING_MAX {
            self.pending.remove(1);
        }
        self.pending.push_back((asked_ms, end));
    }

    /// Everything below `position` has been read. Returns the latest time that this settles.
    pub fn reach(&mut self, position: i64) -> Option<i64> {
        let before = self.reached_ms;
        self.pending.retain(|(asked_ms, end)| {
            if *end > position {
                return true;
            }
            self.reached_ms = self.reached_ms.max(Some(*asked_ms));
            false
        });
        debug_assert!(self.reached_ms >= before);
        self.reached_ms
    }

    /// The latest time that has been reached.
    pub fn reached_ms(&self) -> Option<i64> {
        self.reached_ms
    }
    /// Whether an end waits that was asked for at or before `ms`.
    pub fn waits_since(&self, ms: i64) -> bool {
        self.pending.front().is_some_and(|(asked_ms, _)| *asked_ms <= ms)
    }
    /// The newest end known to wait.
    pub fn newest_end(&self) -> Option<i64> {
        self.pending.back().map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_once_everything_below_its_end_is_read() {
        let mut a = Asked::default();
        assert_eq!(a.reach(100), None);
        a.answer(1_000, 10);
        a.answer(2_000, 20);
        assert_eq!(a.reach(9), None);
        assert_eq!(a.reach(10), Some(1_000));
        assert!(a.waits_since(2_000) && !a.waits_since(1_999));
        assert_eq!(a.reach(25), Some(2_000));
        a.answer(3_000, 20);
        assert_eq!(a.reach(20), Some(3_000), "an idle partition's time moves on");
    }

    #[test]
    fn a_reader_that_never_catches_up_keeps_the_oldest_end_and_bounded_memory() {
        let mut a = Asked::default();
        for i in 0..1_000 {
            a.answer(i, i * 10);
        }
        assert_eq!(a.pending.len(), PENDING_MAX);
        assert_eq!(a.reach(0), Some(0));
        assert_eq!(a.reach(9_990), Some(999));
    }
}
