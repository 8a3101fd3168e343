//! How far a partition's event times have come: the running maximum of the 5th percentile of the last messages.
//!
//! One early or late message does not move it. Limit: the last [`KEPT`] messages.

use std::collections::VecDeque;

/// Messages looked back upon.
pub const KEPT: usize = 1_000;

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

    /// The frontier; `None` before the first message with an event time.
    pub fn ms(&mut self) -> Option<i64> {
        if self.stale {
            let mut times: Vec<i64> = self.last.iter().copied().collect();
            let twentieth = times.len() / 20;
            if twentieth < times.len() {
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
