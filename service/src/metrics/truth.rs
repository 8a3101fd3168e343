//! Verdicts and expected reporters as figures. What is in order is absent: nobody knows of a zero.
//!
//! Limit: beyond [`TOPICS_MAX`] topics in trouble the others are one, `(others)`.

use std::collections::{BTreeMap, BTreeSet};

use chaperone_collector::Verdict;
use chaperone_collector::query::{ExpectedState, HopTrouble};

use super::exposition::Exposition;
use super::families as f;
use super::meters::TOPICS_MAX;
use super::number;

/// Windows that began so long ago, ms, are looked at.
pub(super) const LOOKED_BACK_MS: i64 = 3_600_000;
const OTHERS: &str = "(others)";

/// Sums by topic, hop and what they are of.
type Sums<'a> = BTreeMap<[&'a str; 4], u64>;

/// Writes the samples.
pub(super) fn write(out: &mut Exposition, trouble: &[HopTrouble], expected: &[ExpectedState]) {
    let mut topics = BTreeSet::new();
    let (mut messages, mut windows) = (Sums::new(), Sums::new());
    for t in trouble {
        let known = topics.contains(t.topic.as_str()) || topics.len() < TOPICS_MAX && topics.insert(t.topic.as_str());
        let hop = [if known { t.topic.as_str() } else { OTHERS }, &t.from_stage, &t.to_stage];
        add(&mut windows, hop, t.verdict.as_str(), t.windows);
        add(&mut messages, hop, "missing", t.missing_min);
        // What is read again at an at-least-once consumer is no surplus.
        add(&mut messages, hop, "surplus", if t.verdict == Verdict::Surplus { t.surplus_min } else { 0 });
        add(&mut messages, hop, "delayed", t.delayed);
    }
    for (family, word, sums) in [(&f::HOP_MESSAGES, "state", &messages), (&f::HOP_WINDOWS, "verdict", &windows)] {
        for ([topic, from, to, what], n) in sums {
            let labels = [("topic", *topic), ("from_stage", *from), ("to_stage", *to), (word, *what)];
            out.sample(family, &labels, number(*n));
        }
    }
    for e in expected {
        let labels = [("stage", e.stage.as_str()), ("application", e.application.as_str())];
        out.sample(&f::EXPECTED, &labels, number(e.at_least));
        out.sample(&f::LIVE, &labels, number(e.live));
    }
}

fn add<'a>(sums: &mut Sums<'a>, [topic, from, to]: [&'a str; 3], what: &'a str, n: u64) {
    if n > 0 {
        let sum = sums.entry([topic, from, to, what]).or_default();
        *sum = sum.saturating_add(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(topic: &str, verdict: Verdict, n: u64) -> HopTrouble {
        let (missing_min, surplus_min) = match verdict {
            Verdict::Missing => (n, 0),
            _ => (0, n),
        };
        HopTrouble {
            topic: topic.into(),
            from_stage: "a".into(),
            to_stage: "b".into(),
            verdict,
            windows: 1,
            missing_min,
            surplus_min,
            delayed: 0,
        }
    }

    #[test]
    fn figures_are_of_what_is_wrong_and_topics_are_bounded() {
        let mut all: Vec<HopTrouble> =
            (0..TOPICS_MAX + 5).map(|i| trouble(&format!("t{i:05}"), Verdict::Missing, 2)).collect();
        all.push(trouble("t00000", Verdict::ReRead, 9));
        all.push(trouble("t00000", Verdict::Surplus, 4));
        let mut out = Exposition::new(f::ALL);
        let expected = ExpectedState {
            stage: "consumer".into(),
            application: "billing".into(),
            at_least: 3,
            live: 2,
            state: chaperone_collector::Presence::Few,
            since_ms: 0,
        };
        write(&mut out, &all, &[expected]);
        let text = out.finish();
        let value = |topic: &str, state: &str| {
            let labels = format!("{{topic=\"{topic}\",from_stage=\"a\",to_stage=\"b\",state=\"{state}\"}} ");
            let line = text.lines().find_map(|l| l.strip_prefix(&format!("chaperone_hop_messages{labels}")));
            line.map(str::to_owned)
        };
        assert_eq!(value("t00000", "missing").as_deref(), Some("2"), "{text}");
        assert_eq!(value("t00000", "surplus").as_deref(), Some("4"));
        assert_eq!(value("(others)", "missing").as_deref(), Some("10"));
        assert_eq!(value("t00001", "surplus"), None);
        let has = |line: &str| text.lines().any(|l| l == line);
        assert!(has("chaperone_expected_reporters{stage=\"consumer\",application=\"billing\"} 3"), "{text}");
        assert!(has("chaperone_live_reporters{stage=\"consumer\",application=\"billing\"} 2"), "{text}");
        let windows = "chaperone_hop_windows{topic=\"t00000\",from_stage=\"a\",to_stage=\"b\",verdict=\"re-read\"} 1";
        assert!(has(windows), "{text}");
    }
}
