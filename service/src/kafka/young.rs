//! Which offsets are so young that compaction cannot have touched them. Pure.
//!
//! What lies at or behind an end that the partition had a moment ago was appended since. The cleaner takes only segments
//! that are closed, and looks for them every 15 s (`log.cleaner.backoff.ms`): offsets younger than [`YOUNG`] that hold
//! nothing held no message. A tap that reads the head of a log sees only such; so markers of transactions are not taken
//! for removed messages there. Limits: a cleaner that is busy may look again at once; `min.compaction.lag.ms` of a minute
//! on the topic makes it certain. Ends asked for more than [`YOUNG`] ago are forgotten.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// See the module's head.
pub const YOUNG: Duration = Duration::from_secs(10);
/// Ends kept: enough for one a second and then some. With more than that the newest replaces the last; the oldest stays.
const KEPT: usize = 16;

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Young {
    ends: VecDeque<(Instant, i64)>,
}

impl Young {
    /// The partition ended at `end` when it was asked, which was not before `at`.
    pub fn ended(&mut self, end: i64, at: Instant) {
        self.forget(at);
        if self.ends.len() == KEPT {
            self.ends.pop_back();
        }
        self.ends.push_back((at, end));
    }

    /// Whether `offset` and all behind it are young.
    pub fn is(&mut self, offset: i64, now: Instant) -> bool {
        self.forget(now);
        self.ends.front().is_some_and(|(_, end)| offset >= *end)
    }

    fn forget(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > YOUNG) {
            self.ends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_behind_an_end_of_a_moment_ago_are_young() {
        let begun = Instant::now();
        let at = |s| begun + Duration::from_secs(s);
        let mut y = Young::default();
        assert!(!y.is(0, at(0)), "nobody knows");
        y.ended(100, at(0));
        y.ended(200, at(5));
        assert!(y.is(100, at(10)) && !y.is(99, at(10)));
        assert!(y.is(200, at(11)) && !y.is(199, at(11)), "what was young at 0 s is not any more");
        assert!(!y.is(1_000, at(16)), "nothing was heard for too long");
        for s in 0..100 {
            y.ended(s, begun);
        }
        assert!(y.ends.len() <= KEPT && y.is(0, begun));
    }
}
