//! How long rows stay, and which width answers a question: pure.
//!
//! What is counted lies in the windows that it was counted in, and besides in slices of 1 min, 10 min and 1 h, of which each
//! holds the sum of all narrower windows in it. A width is dropped when its time is over; the wider ones stay. Invariants:
//! a wider level is never kept for less than a narrower one; a question is answered from rows of one width and wider ones
//! that were counted so, never from two that hold the same messages.

use std::time::Duration;

use serde::Serialize;

/// Widths of the levels above the windows themselves, ms.
pub const LEVELS_MS: [i64; 3] = [60_000, 600_000, 3_600_000];
/// All widths that an answer may have, ms.
pub const BINS_MS: [i64; 4] = [10_000, 60_000, 600_000, 3_600_000];

const DAY: Duration = Duration::from_secs(86_400);

/// How long rows stay, by age of their windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Windows of 10 s.
    pub windows: Duration,
    /// Windows and slices of a minute.
    pub minutes: Duration,
    /// Windows and slices of ten minutes.
    pub ten_minutes: Duration,
    /// Slices of an hour, and with them everything about their time.
    pub hours: Duration,
    /// Windows with evidence in them, at every width.
    pub incidents: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { windows: 7 * DAY, minutes: 30 * DAY, ten_minutes: 90 * DAY, hours: 400 * DAY, incidents: 90 * DAY }
    }
}

impl Retention {
    /// Rows are rolled up before they are dropped, and slots and reports may be late: nothing is kept for less than this.
    pub const LEAST: Duration = Duration::from_secs(7_200);
    /// A hundred years: times stay what can be written down.
    pub const MOST: Duration = Duration::from_secs(36_500 * 86_400);

    /// What is kept for less than something that must go before it, as two keys.
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let order = [
            ("windows", self.windows),
            ("minutes", self.minutes),
            ("ten_minutes", self.ten_minutes),
            ("hours", self.hours),
        ];
        let levels = order.iter().zip(order.iter().skip(1)).find(|(fine, coarse)| fine.1 > coarse.1);
        let of_incidents = [
            ("windows", self.windows, "incidents", self.incidents),
            ("incidents", self.incidents, "hours", self.hours),
        ];
        let incidents = of_incidents.into_iter().find(|(_, first, _, second)| first > second);
        levels.map(|(fine, coarse)| (fine.0, coarse.0)).or(incidents.map(|(first, _, second, _)| (first, second)))
    }

    /// How long rows of this width stay, ms.
    pub(crate) fn of_ms(&self, width_ms: i64) -> i64 {
        millis(match width_ms {
            ..60_000 => self.windows,
            60_000..600_000 => self.minutes,
            600_000..3_600_000 => self.ten_minutes,
            _ => self.hours,
        })
    }

    pub(crate) fn incidents_ms(&self) -> i64 {
        millis(self.incidents)
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// What came of one step of the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Swept {
    /// Rows that were added to wider ones.
    pub rolled: u64,
    /// Rows that were dropped.
    pub dropped: u64,
    /// There may be more to do.
    pub more: bool,
}

/// The narrowest width that answers a range in at most so many slices, and is not narrower than `least_ms`.
pub fn fitting_ms(range_ms: i64, at_most: i64, least_ms: i64) -> i64 {
    let fits = |width: &i64| *width >= least_ms && range_ms.div_euclid(*width) <= at_most;
    BINS_MS.into_iter().find(fits).unwrap_or(3_600_000)
}

/// The slice of this width that holds a time.
pub(crate) fn floor_ms(at_ms: i64, width_ms: i64) -> i64 {
    at_ms.div_euclid(width_ms).saturating_mul(width_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_contradicts_nothing_and_what_does_is_named() {
        let usual = Retention::default();
        assert_eq!(usual.contradiction(), None);
        assert_eq!(Retention { minutes: DAY, ..usual }.contradiction(), Some(("windows", "minutes")));
        assert_eq!(Retention { hours: 80 * DAY, ..usual }.contradiction(), Some(("ten_minutes", "hours")));
        assert_eq!(Retention { incidents: DAY, ..usual }.contradiction(), Some(("windows", "incidents")));
        assert_eq!(Retention { incidents: 500 * DAY, ..usual }.contradiction(), Some(("incidents", "hours")));
    }

    #[test]
    fn an_hour_has_windows_and_a_year_has_hours() {
        let hour = 3_600_000;
        assert_eq!(fitting_ms(hour, 400, 0), 10_000);
        assert_eq!(fitting_ms(hour, 400, 60_000), 60_000);
        assert_eq!(fitting_ms(6 * hour, 400, 0), 60_000);
        assert_eq!(fitting_ms(24 * hour, 400, 0), 600_000);
        assert_eq!(fitting_ms(7 * 24 * hour, 400, 0), 3_600_000);
        assert_eq!(fitting_ms(i64::MAX, 400, 0), 3_600_000);
    }
}
