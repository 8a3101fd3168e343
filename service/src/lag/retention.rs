//! How long until retention may take the oldest message that a group has not committed. Pure.
//!
//! Two ways, the shorter counts: the topic's `retention.ms` less the message's age (where we may read the configuration),
//! and the pace at which the log start moved towards it. A broker deletes whole segments, so it may take longer.
//! Limit: `MOVES_MAX` moves of the log start are kept.

use std::collections::VecDeque;

/// Moves of the log start that are kept.
const MOVES_MAX: usize = 16;

/// The beginnings of one partition's log.
#[derive(Debug, Clone, Default)]
pub struct Starts {
    moves: VecDeque<(i64, i64)>,
}

impl Starts {
    /// At `at_ms` the log began at `start`.
    pub fn note(&mut self, at_ms: i64, start: i64) {
        match self.moves.back() {
            Some((_, before)) if *before == start => return,
            // Another log.
            Some((_, before)) if start < *before => self.moves.clear(),
            _ => {}
        }
        if self.moves.len() == MOVES_MAX {
            self.moves.pop_front();
        }
        self.moves.push_back((at_ms, start));
    }

    /// Where it begins.
    pub fn newest(&self) -> Option<i64> {
        self.moves.back().map(|(_, start)| *start)
    }

    /// Until it begins at `offset`, ms, at the pace so far. The first start was there before anybody looked, so a pace
    /// takes two moves more.
    pub fn reaches_in_ms(&self, offset: i64, now_ms: i64) -> Option<i64> {
        let (from_ms, from) = *self.moves.get(1).filter(|_| self.moves.len() >= 3)?;
        let (_, newest) = *self.moves.back()?;
        let (moved, took) = (i128::from(newest) - i128::from(from), i128::from(now_ms) - i128::from(from_ms));
        if moved <= 0 || took <= 0 {
            return None;
        }
        let left = (i128::from(offset) - i128::from(newest)).max(0);
        Some(i64::try_from(left * took / moved).unwrap_or(i64::MAX))
    }
}

/// Until the message at `offset` may go, ms; its age is at most `age_ms`, if anybody knows.
pub fn left_ms(
    retention_ms: Option<i64>,
    age_ms: Option<i64>,
    starts: &Starts,
    offset: i64,
    now_ms: i64,
) -> Option<i64> {
    if starts.newest().is_some_and(|start| offset < start) {
        return Some(0);
    }
    let by_time = retention_ms.zip(age_ms).map(|(retention, age)| retention.saturating_sub(age).max(0));
    let by_pace = starts.reaches_in_ms(offset, now_ms);
    match (by_time, by_pace) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_time_less_the_age_is_what_is_left() {
        let none = Starts::default();
        assert_eq!(left_ms(Some(60_000), Some(45_000), &none, 5, 0), Some(15_000));
        assert_eq!(left_ms(Some(60_000), Some(75_000), &none, 5, 0), Some(0), "due; its segment is still in use");
        assert_eq!(left_ms(Some(60_000), None, &none, 5, 0), None, "of unknown age");
        assert_eq!(left_ms(None, Some(1), &none, 5, 0), None);
    }

    #[test]
    fn the_pace_of_the_log_start_counts_where_it_is_faster() {
        let mut starts = Starts::default();
        starts.note(0, 100);
        starts.note(10_000, 200);
        assert_eq!(starts.reaches_in_ms(1_000, 20_000), None, "one step has no pace");
        starts.note(20_000, 300);
        // 100 in 10 s.
        assert_eq!(starts.reaches_in_ms(1_000, 20_000), Some(70_000));
        assert_eq!(left_ms(Some(500_000), Some(1), &starts, 1_000, 20_000), Some(70_000));
        assert_eq!(left_ms(Some(50_000), Some(1), &starts, 1_000, 20_000), Some(49_999));
        assert_eq!(left_ms(None, None, &starts, 299, 20_000), Some(0), "eaten already");
        for i in 4..100 {
            starts.note(i * 10_000, i * 100);
        }
        assert_eq!(starts.moves.len(), MOVES_MAX);
        starts.note(2_000_000, 0);
        assert_eq!((starts.newest(), starts.moves.len()), (Some(0), 1), "another log");
    }
}
