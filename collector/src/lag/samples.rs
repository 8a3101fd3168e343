//! The rows as samples of metrics, by name. Pure; whoever writes `/metrics` prints them.
//!
//! What is not known has no sample, and neither has what is old: a series that ends is noticed, a number that stands
//! still is not.

use super::GroupLag;

/// A row older than this is not sampled any more, ms.
pub const STALE_AFTER_MS: i64 = 60_000;

/// One sample of a gauge.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Its name.
    pub name: &'static str,
    /// What it is, for `# HELP`.
    pub help: &'static str,
    /// Labels.
    pub labels: [(&'static str, &'a str); 3],
    /// `partition`.
    pub partition: i32,
    /// Value.
    pub value: f64,
}

const MESSAGES: (&str, &str) =
    ("chaperone_group_lag_messages", "Messages that are there and that the group has not committed, at most.");
const SECONDS: (&str, &str) =
    ("chaperone_group_lag_seconds", "Age of the oldest message that the group has not committed.");
const ERROR: (&str, &str) =
    ("chaperone_group_lag_error_seconds", "By how much chaperone_group_lag_seconds may be too much.");

/// The samples of the rows of partitions, by metric: all of one name stand together.
pub fn samples(rows: &[GroupLag], now_ms: i64) -> Vec<Sample<'_>> {
    let fresh = || rows.iter().filter(|r| now_ms.saturating_sub(r.at_ms) <= STALE_AFTER_MS);
    let of = |(name, help): (&'static str, &'static str), value: fn(&GroupLag) -> Option<f64>| {
        fresh().filter_map(move |row| {
            let labels =
                [("cluster", row.cluster.as_str()), ("group", row.group.as_str()), ("topic", row.topic.as_str())];
            Some(Sample { name, help, labels, partition: row.partition?, value: value(row)? })
        })
    };
    let messages = of(MESSAGES, |r| r.messages.map(number));
    let seconds = of(SECONDS, |r| r.lag_ms.map(in_seconds));
    let error = of(ERROR, |r| r.error_ms.map(in_seconds));
    messages.chain(seconds).chain(error).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
fn number(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
fn in_seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::sum::tests::row;
    use super::*;

    #[test]
    fn what_is_not_known_or_old_has_no_sample() {
        let mut unknown = row(1, None, None);
        unknown.at_ms = 100_000;
        let mut fresh = row(2, Some(42), Some(1_500));
        fresh.at_ms = 100_000;
        let rows = [row(0, Some(1), Some(1)), unknown, fresh];
        let found = samples(&rows, 100_000 + STALE_AFTER_MS);
        let said: Vec<_> = found.iter().map(|s| (s.name, s.partition, s.value)).collect();
        assert_eq!(
            said,
            [
                ("chaperone_group_lag_messages", 2, 42.0),
                ("chaperone_group_lag_seconds", 2, 1.5),
                ("chaperone_group_lag_error_seconds", 2, 0.007)
            ]
        );
        assert_eq!(found[0].labels, [("cluster", "c"), ("group", "g"), ("topic", "t")]);
    }
}
