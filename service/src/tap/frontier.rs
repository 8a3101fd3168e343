//! How far a partition's event times have come: the running maximum of the 5th percentile of the last messages.
//!
//! One early or late message does not move it, not even if it is the first that is seen. Limit: the last [`KEPT`]
//! messages.

use std::collections::VecDeque;

/// Messages looked back upon.
pub const KEPT: usize = 1_000;

/// Before so many messages there is no frontier: what a single clock says may be wild, and the frontier never goes back.
const FEWEST: usize = 2;

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    last: VecDeque<i64>,
    stale: bool,
    highest: Option<i64>,
}

impl Frontier {
    /// One more message.
    pub fn push(&mut self, event_ms: i64) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event_ms);
        self.stale = true;
    }

    /// The smallest of the last event times.
    pub fn least_ms(&self) -> Option<i64> {
        self.last.iter().copied().min()
    }

    /// The frontier; `None` before there are two messages with an event time.
    pub fn ms(&mut self) -> Option<i64> {
        if self.stale {
            let mut times: Vec<i64> = self.last.iter().copied().collect();
            let twentieth = times.len() / 20;
            if times.len() >= FEWEST {
                let (_, percentile, _) = times.select_nth_unstable(twentieth);
                self.highest = self.highest.max(Some(*percentile));
            }
            self.stale = false;
        }
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition's first message, or the first after a restart: were it believed, every window of the next ten minutes
    /// would count as passed, and what a stopped replicator has not copied as lost.
    #[test]
    fn a_wild_clock_that_comes_first_does_not_push_it_either() {
        let mut f = Frontier::default();
        f.push(600_000);
        assert_eq!(f.ms(), None);
        f.push(1);
        assert_eq!(f.ms(), Some(1));
        f.push(2);
        assert_eq!(f.ms(), Some(1));
    }

    #[test]
    fn a_straggler_does_not_hold_it_and_a_wild_clock_does_not_push_it() {
        let mut f = Frontier::default();
        assert_eq!(f.ms(), None);
        for t in 0..1_000 {
            f.push(t);
        }
        assert_eq!(f.ms(), Some(50));
        f.push(1_000_000);
        assert_eq!(f.ms(), Some(51));
        for _ in 0..100 {
            f.push(0);
        }
        assert_eq!(f.ms(), Some(51), "it never goes back");
        for t in 2_000..3_000 {
            f.push(t);
        }
        assert_eq!(f.ms(), Some(2_050));
    }
}
