//! Whether a reader that is behind still moves (RELIABILITY C5). Pure but for the monotonic clock.
//!
//! A reader stalls when answers about its log's end keep coming, the end lies before it for `patience`, and it does not
//! move. Without answers nothing is known: a broker that is gone stalls nobody, and another client would not reach it
//! either. How long a partition was idle before does not count.

use std::time::{Duration, Instant};

/// A reader that is behind and does not move for this long gets a new consumer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why a consumer is of no more use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It said so.
    Failed(String),
    /// It is behind, does not move, and says nothing.
    Stalled(String),
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Stall {
    /// Since when it is behind without having moved.
    behind_since: Option<Instant>,
    told_at: Option<Instant>,
    moved: bool,
    out_of_reach: bool,
}

impl Stall {
    /// An answer about the log's end: whether it lies beyond what was read.
    pub fn told(&mut self, behind: bool, now: Instant) {
        self.told_at = Some(now);
        if behind {
            self.behind_since.get_or_insert(now);
        } else {
            self.behind_since = None;
        }
    }

    /// The reader moved.
    pub fn moved(&mut self, now: Instant) {
        self.moved = true;
        if self.behind_since.is_some() {
            self.behind_since = Some(now);
        }
    }

    /// Whether its leader is out of our reach: then it stands still, and has its time again when the leader is back.
    pub fn reach(&mut self, out_of_reach: bool, now: Instant) {
        if std::mem::replace(&mut self.out_of_reach, out_of_reach) && self.behind_since.is_some() {
            self.behind_since = Some(now);
        }
    }

    /// Whether it is stalled.
    pub fn is_stalled(&self, now: Instant, patience: Duration) -> bool {
        let longer =
            |since: Option<Instant>, than: Duration| since.is_none_or(|at| now.saturating_duration_since(at) >= than);
        let behind = self.behind_since.is_some() && !self.out_of_reach;
        behind && longer(self.behind_since, patience) && !longer(self.told_at, patience * 3 / 4)
    }

    /// Whether a reader that took over from a stalled one has yet to show that it moves.
    pub fn lasts(&self) -> bool {
        self.behind_since.is_some() && !self.moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn only_a_reader_that_is_known_to_be_behind_and_stands_still_is_stalled() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut s = Stall::default();
        assert!(!s.is_stalled(at(1_000), PATIENCE), "nothing is known");
        s.told(false, at(1_000));
        // Idle for long, and then one message: it gets its time.
        s.told(true, at(2_000));
        assert!(!s.is_stalled(at(2_001), PATIENCE) && s.lasts());
        s.told(true, at(2_059));
        assert!(!s.is_stalled(at(2_059), PATIENCE));
        assert!(s.is_stalled(at(2_060), PATIENCE));
        // Slow is not stalled.
        s.moved(at(2_060));
        assert!(!s.is_stalled(at(2_100), PATIENCE) && !s.lasts());
        s.told(true, at(2_119));
        assert!(s.is_stalled(at(2_120), PATIENCE), "it moved, and then stood still again");
        s.told(false, at(2_121));
        assert!(!s.is_stalled(at(9_999), PATIENCE));
    }

    #[test]
    fn a_broker_that_says_nothing_stalls_nobody() {
        let start = Instant::now();
        let mut s = Stall::default();
        s.told(true, start);
        assert!(!s.is_stalled(start + PATIENCE * 10, PATIENCE));
        s.told(true, start + PATIENCE * 10);
        assert!(s.is_stalled(start + PATIENCE * 10, PATIENCE), "and when it speaks again nothing has moved");
    }

    #[test]
    fn a_leader_out_of_reach_stalls_nobody_and_what_it_leads_has_its_time_when_it_is_back() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut s = Stall::default();
        s.told(true, start);
        s.reach(true, at(1));
        s.told(true, at(119));
        assert!(!s.is_stalled(at(120), PATIENCE));
        s.reach(false, at(120));
        assert!(!s.is_stalled(at(121), PATIENCE), "it has just come back");
        s.told(true, at(179));
        assert!(s.is_stalled(at(180), PATIENCE));
    }
}
