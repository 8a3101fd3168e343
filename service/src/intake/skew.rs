//! How far this machine's clock is ahead of an audit partition's broker: the smallest (receive − append) of the last
//! hour. Pure.
//!
//! It includes the fastest transport, so that our time minus it is never later than the broker's: what is claimed to be
//! applied errs to the safe side.

use std::collections::VecDeque;

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// Minima by minute of receipt.
#[derive(Debug, Clone, Default)]
pub struct Skew {
    minutes: VecDeque<(i64, i64)>,
}

impl Skew {
    /// A record was received at `received_ms` that was appended at `append_ms`.
    pub fn note(&mut self, received_ms: i64, append_ms: i64) {
        let minute = received_ms.div_euclid(MINUTE_MS);
        let ahead_ms = received_ms.saturating_sub(append_ms);
        match self.minutes.back_mut() {
            Some((at, least)) if *at == minute => *least = (*least).min(ahead_ms),
            _ => self.minutes.push_back((minute, ahead_ms)),
        }
        while self.minutes.len() > 61 {
            self.minutes.pop_front();
        }
    }

    /// The smallest of the last hour; `None` without a record in it.
    pub fn ms(&self, now_ms: i64) -> Option<i64> {
        let oldest = (now_ms - HOUR_MS).div_euclid(MINUTE_MS);
        self.minutes.iter().filter(|(at, _)| *at >= oldest).map(|(_, least)| *least).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_difference_of_the_last_hour_counts() {
        let mut s = Skew::default();
        assert_eq!(s.ms(0), None);
        s.note(1_000, 900);
        s.note(2_000, 1_950);
        s.note(HOUR_MS, HOUR_MS - 500);
        assert_eq!(s.ms(HOUR_MS), Some(50));
        assert_eq!(s.ms(HOUR_MS + 2 * MINUTE_MS), Some(500));
        assert_eq!(s.ms(3 * HOUR_MS), None);
        for minute in 0..1_000 {
            s.note(minute * MINUTE_MS, 0);
        }
        assert!(s.minutes.len() <= 61);
    }
}
