//! Where one partition ended in the last quarter of an hour, so that the arrival of an offset can be told within two
//! questions. Pure.
//!
//! Invariants: runs are in the order of both time and offset; an end below an earlier one is another log, and the ring
//! begins anew. Limit: [`KEPT_MS`] and one run more, [`RUNS_MAX`] runs: 24 bytes each, so at a question every 5 seconds
//! at most 4.4 KB a partition, and one run while it stands still.

use std::collections::VecDeque;

use chaperone_collector::lag::{Bracket, Run};

/// How far back it reaches, ms.
pub const KEPT_MS: i64 = 900_000;
/// Most runs: a question a second.
pub const RUNS_MAX: usize = 902;

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    runs: VecDeque<Run>,
}

impl Ring {
    /// Asked after `asked_ms`, answered before `answered_ms`: it ends at `end`. Returns whether it is another log.
    pub fn note(&mut self, asked_ms: i64, answered_ms: i64, end: i64) -> bool {
        let anew = self.runs.back().is_some_and(|newest| end < newest.end);
        // A clock that was set back puts nothing in order any more.
        if anew || self.runs.back().is_some_and(|newest| asked_ms < newest.last_ms) {
            self.runs.clear();
        }
        match self.runs.back_mut() {
            Some(newest) if newest.end == end => newest.last_ms = asked_ms,
            _ => self.runs.push_back(Run { end, first_ms: answered_ms, last_ms: asked_ms }),
        }
        // The first only tells of what arrived before the second began.
        while self.runs.len() > RUNS_MAX || self.runs.get(1).is_some_and(|second| second.first_ms < asked_ms - KEPT_MS)
        {
            self.runs.pop_front();
        }
        anew
    }

    /// When `offset` arrived, as far as is known here.
    pub fn bracket(&self, offset: i64) -> Bracket {
        let above = self.runs.partition_point(|run| run.end <= offset);
        Bracket {
            after_ms: above.checked_sub(1).and_then(|at| self.runs.get(at)).map(|run| run.last_ms),
            before_ms: self.runs.get(above).map(|run| run.first_ms),
        }
    }

    /// Where it ended last.
    pub fn newest(&self) -> Option<Run> {
        self.runs.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bracket(after_ms: Option<i64>, before_ms: Option<i64>) -> Bracket {
        Bracket { after_ms, before_ms }
    }

    #[test]
    fn an_arrival_lies_between_the_last_end_below_it_and_the_first_above() {
        let mut ring = Ring::default();
        assert_eq!(ring.bracket(0), bracket(None, None));
        for (asked, end) in [(0, 10), (5_000, 10), (10_000, 10), (15_000, 40), (20_000, 90)] {
            assert!(!ring.note(asked, asked + 30, end));
        }
        assert_eq!(ring.bracket(9), bracket(None, Some(30)), "it was there when first asked");
        assert_eq!(ring.bracket(10), bracket(Some(10_000), Some(15_030)), "the message that ended the standstill");
        assert_eq!(ring.bracket(39), bracket(Some(10_000), Some(15_030)));
        assert_eq!(ring.bracket(40), bracket(Some(15_000), Some(20_030)));
        assert_eq!(ring.bracket(90), bracket(Some(20_000), None), "not arrived yet");
        assert_eq!(ring.newest(), Some(Run { end: 90, first_ms: 20_030, last_ms: 20_000 }));
    }

    #[test]
    fn it_reaches_back_a_quarter_of_an_hour_and_no_further() {
        let mut ring = Ring::default();
        for i in 0..2_000_i64 {
            ring.note(i * 5_000, i * 5_000 + 20, i * 100);
            assert!(ring.runs.len() <= 182, "{}", ring.runs.len());
        }
        let now = 1_999 * 5_000;
        for i in 0..2_000_i64 {
            let found = ring.bracket(i * 100);
            let arrived_at_most = (i + 1) * 5_000;
            if arrived_at_most > now - KEPT_MS && i < 1_999 {
                assert_eq!(found, bracket(Some(i * 5_000), Some(arrived_at_most + 20)), "{i}");
            }
        }
        assert_eq!(ring.bracket(0).after_ms, None);
        let mut fast = Ring::default();
        for i in 0..5_000 {
            fast.note(i * 100, i * 100 + 1, i);
        }
        assert_eq!(fast.runs.len(), RUNS_MAX);
    }

    #[test]
    fn a_standstill_is_one_run_and_keeps_what_came_before_it() {
        let mut ring = Ring::default();
        ring.note(0, 10, 5);
        for i in 1..1_000 {
            ring.note(i * 5_000, i * 5_000 + 10, 8);
        }
        assert_eq!(ring.runs.len(), 1, "what ended below is more than a quarter of an hour ago");
        ring.note(5_000_000, 5_000_010, 9);
        assert_eq!(ring.bracket(8), bracket(Some(4_995_000), Some(5_000_010)));
    }

    #[test]
    fn another_log_and_another_time_begin_anew() {
        let mut ring = Ring::default();
        ring.note(0, 10, 500);
        assert!(ring.note(5_000, 5_010, 20), "re-created or truncated");
        assert_eq!(ring.bracket(400), bracket(Some(5_000), None), "not arrived yet, in this log");
        assert_eq!(ring.bracket(5), bracket(None, Some(5_010)));
        assert!(!ring.note(4_000, 4_010, 30), "the same log; the clock was set back");
        assert_eq!(ring.bracket(25), bracket(None, Some(4_010)));
    }
}
