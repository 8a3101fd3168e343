//! What became of one group in one partition in the last two minutes: rates, and whether its time lag rises. Pure.
//!
//! Limits: `SPAN_MS`, a point every `STEP_MS` at most: 25 points of 40 bytes. A commit that goes back (offsets were
//! reset) begins anew.

use std::collections::VecDeque;

use chaperone_collector::lag::{Rates, Trend};

/// How far back it looks, ms.
const SPAN_MS: i64 = 120_000;
/// Least time between two points, ms.
const STEP_MS: i64 = 4_800;
/// Below this nothing is said, ms: consumers commit in steps of seconds.
const ENOUGH_MS: i64 = 14_000;

/// Time lag at most and at least, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// At least.
    pub least_ms: i64,
    /// At most.
    pub most_ms: i64,
}

/// What was known at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When, ms.
    pub at_ms: i64,
    /// Committed offset.
    pub committed: i64,
    /// End of the partition.
    pub end: i64,
    /// Time lag, where both bounds were known.
    pub lag: Option<Between>,
}

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub struct History {
    points: VecDeque<Point>,
}

impl History {
    /// What is known now. Returns the rates since, and where the time lag is going.
    pub fn note(&mut self, now: Point) -> (Option<Rates>, Trend) {
        let newest = self.points.back();
        if newest.is_some_and(|p| now.committed < p.committed || now.end < p.end || now.at_ms < p.at_ms) {
            self.points.clear();
        }
        while self.points.front().is_some_and(|p| p.at_ms < now.at_ms - SPAN_MS) {
            self.points.pop_front();
        }
        let said = self.since(&now);
        if self.points.back().is_none_or(|p| now.at_ms >= p.at_ms + STEP_MS) {
            self.points.push_back(now);
        }
        said
    }

    fn since(&self, now: &Point) -> (Option<Rates>, Trend) {
        let old_enough = || self.points.iter().take_while(|p| now.at_ms >= p.at_ms + ENOUGH_MS);
        let Some(then) = old_enough().next() else { return (None, Trend::Unknown) };
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = |offsets: i64| (offsets as f64 * 1e6 / (now.at_ms - then.at_ms) as f64).round() / 1e3;
        let rates =
            Rates { produced: per_second(now.end - then.end), consumed: per_second(now.committed - then.committed) };
        // Both lags are known within bounds: it rises if it does whatever they were.
        let trend = match (old_enough().find_map(|p| p.lag), now.lag) {
            (Some(then), Some(now)) if now.least_ms > then.most_ms => Trend::Growing,
            (Some(then), Some(now)) if now.most_ms < then.least_ms => Trend::Falling,
            (Some(_), Some(_)) => Trend::Steady,
            _ => Trend::Unknown,
        };
        (Some(rates), trend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_s: i64, committed: i64, end: i64, lag_s: i64) -> Point {
        let lag = Some(Between { least_ms: lag_s * 1_000 - 5_000, most_ms: lag_s * 1_000 });
        Point { at_ms: at_s * 1_000, committed, end, lag }
    }

    #[test]
    fn rates_and_the_time_lag_are_over_two_minutes() {
        let mut history = History::default();
        assert_eq!(history.note(point(0, 0, 0, 0)), (None, Trend::Unknown));
        assert_eq!(history.note(point(10, 500, 1_000, 5)), (None, Trend::Unknown), "too early to tell");
        let mut said = (None, Trend::Unknown);
        for s in (15..600).step_by(5) {
            said = history.note(point(s, s * 50, s * 100, s / 2));
            assert!(history.points.len() <= 25);
        }
        let (Some(rates), trend) = said else { panic!("{said:?}") };
        assert!((rates.produced - 100.0).abs() < 1e-9 && (rates.consumed - 50.0).abs() < 1e-9, "{rates:?}");
        assert_eq!(trend, Trend::Growing);
        // Five seconds either way are within the error.
        let mut steady = History::default();
        steady.note(point(0, 0, 0, 30));
        assert_eq!(steady.note(point(60, 10, 10, 34)).1, Trend::Steady);
        assert_eq!(steady.note(point(90, 10, 10, 24)).1, Trend::Falling);
    }

    #[test]
    fn offsets_that_were_reset_and_logs_made_anew_have_no_rate() {
        let mut history = History::default();
        history.note(point(0, 500, 900, 0));
        assert_eq!(history.note(point(60, 100, 950, 0)), (None, Trend::Unknown));
        assert!(history.note(point(90, 160, 1_000, 0)).0.is_some());
        assert_eq!(history.note(point(120, 200, 300, 0)), (None, Trend::Unknown));
    }
}
