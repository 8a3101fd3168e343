//! How far each topic's verdicts are, and how late messages come at each stage.
//!
//! Limit: beyond [`TOPICS_MAX`] topics the others have no samples here: an age or a delay of several topics says nothing.

use std::collections::{BTreeMap, BTreeSet};

use chaperone_audit::Histogram;
use chaperone_audit::histogram::lower_bound_ms;
use chaperone_collector::query::StageWindow;

use super::exposition::Exposition;
use super::families as f;
use super::meters::TOPICS_MAX;
use super::{number, seconds};

/// Windows that began so long ago, ms, are looked at.
pub(super) const LOOKED_BACK_MS: i64 = 120_000;
/// Bounds of delays: as text, and in ms.
const BOUNDS: [(&str, i64); 9] = [
    ("0.05", 50),
    ("0.1", 100),
    ("0.5", 500),
    ("1", 1_000),
    ("5", 5_000),
    ("10", 10_000),
    ("60", 60_000),
    ("600", 600_000),
    ("3600", 3_600_000),
];

/// Writes the samples.
pub(super) fn write(out: &mut Exposition, complete: &[(String, Option<i64>)], recent: &[StageWindow], now_ms: i64) {
    for (topic, through_ms) in complete.iter().take(TOPICS_MAX) {
        if let Some(through_ms) = through_ms {
            out.sample(&f::COMPLETE_AGE, &[("topic", topic)], seconds(now_ms, *through_ms));
        }
    }
    let topics: BTreeSet<&str> = recent.iter().map(|w| w.topic.as_str()).collect();
    let topics: BTreeSet<&str> = topics.into_iter().take(TOPICS_MAX).collect();
    let mut delays: BTreeMap<(&str, &str), Histogram> = BTreeMap::new();
    for w in recent.iter().filter(|w| topics.contains(w.topic.as_str())) {
        delays.entry((&w.topic, &w.stage)).or_default().add(&w.hist);
    }
    for ((topic, stage), delays) in delays.iter().filter(|(_, delays)| delays.total() > 0) {
        let all = ("+Inf", delays.total());
        let bounded = BOUNDS.iter().map(|(text, ms)| (*text, at_most(delays, *ms)));
        for (le, n) in bounded.chain([all]) {
            out.sample(&f::DELAY, &[("topic", topic), ("stage", stage), ("le", le)], number(n));
        }
    }
}

/// Messages whose delay was at most this: of a cell that goes beyond it, none.
fn at_most(delays: &Histogram, ms: i64) -> u64 {
    delays.iter().filter(|(cell, _)| lower_bound_ms(cell + 1) <= ms.saturating_add(1)).map(|(_, n)| n).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_add_up_over_windows_and_never_fall_with_the_bound() {
        let window = |topic: &str, ms: i64| {
            let mut hist = Histogram::new();
            hist.record(ms);
            let (topic, stage) = (topic.to_owned(), "s".to_owned());
            let none = chaperone_audit::Fingerprint::ZERO;
            StageWindow {
                topic,
                stage,
                window_ms: 0,
                width_ms: 10_000,
                n: 1,
                acked: 1,
                failed: 0,
                bytes: 1,
                f_in: none,
                hist,
                last_ms: 0,
                rule: None,
            }
        };
        let mut out = Exposition::new(f::ALL);
        let complete = [("t".to_owned(), Some(7_000)), ("u".to_owned(), None)];
        write(&mut out, &complete, &[window("t", 20), window("t", 800), window("t", 90_000_000)], 10_000);
        let text = out.finish();
        let value = |le: &str| {
            let line = format!("chaperone_stage_delay_messages{{topic=\"t\",stage=\"s\",le=\"{le}\"}} ");
            text.lines().find_map(|l| l.strip_prefix(&line)).map(str::to_owned).expect(le)
        };
        let values: Vec<String> = BOUNDS.iter().map(|(le, _)| value(le)).chain([value("+Inf")]).collect();
        assert_eq!(values, ["1", "1", "1", "2", "2", "2", "2", "2", "2", "3"], "{text}");
        assert!(text.contains("chaperone_topic_complete_through_age_seconds{topic=\"t\"} 3\n"), "{text}");
        assert!(!text.contains("topic=\"u\""), "not judged yet is not old: {text}");
    }
}
