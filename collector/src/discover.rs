//! Pipelines that nobody configured, from what reports: the stages of a topic in the order of their median delay. Pure.
//!
//! Invariants: a topic of a configured pipeline is never discovered; an order once found stands for as long as the same
//! stages report. Nothing is known of what a linked stage sees, so none is complete, and as an order may be wrong where
//! clocks of brokers differ by more than messages take, nothing here is ever *surplus*: what is more than upstream is
//! *re-read*. Limits: at most [`TOPICS_MAX`] topics; a stage with fewer than [`MESSAGES_ENOUGH`] messages is not placed.

use std::collections::BTreeMap;

use chaperone_audit::{Histogram, TopicPattern};

use crate::pipeline::{Pipeline, Pipelines, Stage, StageKind};
use crate::query::StageWindow;

/// Topics at most; the first by name.
pub const TOPICS_MAX: usize = 1_000;
/// A median of fewer says nothing.
pub const MESSAGES_ENOUGH: u64 = 20;
/// What a discovered pipeline is called.
pub const NAME: &str = "discovered";

/// The pipelines of topics that `configured` has none for. `cluster`: the cluster of a stage that a tap has; others are
/// linked. `before`: what was discovered the last time.
pub fn discover(
    configured: &Pipelines,
    before: &[Pipeline],
    seen: &[StageWindow],
    cluster: impl Fn(&str) -> Option<String>,
) -> Vec<Pipeline> {
    let mut topics: BTreeMap<&str, BTreeMap<&str, Histogram>> = BTreeMap::new();
    for window in seen.iter().filter(|w| configured.of(&w.topic).is_none()) {
        let stages = topics.entry(&window.topic).or_default();
        stages.entry(&window.stage).or_default().add(&window.hist);
    }
    let old = |topic: &str| before.iter().find(|p| p.topics.iter().any(|t| t.matches(topic)));
    for topic in before.iter().flat_map(|p| &p.topics) {
        if let TopicPattern::Name(topic) = topic
            && configured.of(topic).is_none()
        {
            // It may only be quiet.
            topics.entry(topic).or_default();
        }
    }
    let one = |(topic, stages): (&str, BTreeMap<&str, Histogram>)| {
        let known = old(topic);
        let mut delays: Vec<(&str, Histogram)> =
            stages.into_iter().filter(|(_, delay)| delay.total() >= MESSAGES_ENOUGH).collect();
        if let Some(known) = known
            && delays.iter().all(|(stage, _)| known.stages.iter().any(|s| s.is_reported_by(stage)))
        {
            return Some(known.clone());
        }
        // A tap learns of a message after whoever sent it.
        delays.sort_by_key(|(stage, d)| (d.quantile_ms(500), d.quantile_ms(900), cluster(stage).is_some(), *stage));
        let stages = delays.iter().map(|(stage, _)| {
            let kind = if cluster(stage).is_some() { StageKind::Kafka } else { StageKind::Client };
            Stage { at_least_once: true, ..Stage::new(*stage, kind) }
        });
        let stages: Vec<Stage> = stages.collect();
        let first = stages.iter().find_map(|stage| cluster(&stage.name)).unwrap_or_else(|| "-".to_owned());
        let pipeline = Pipeline::new(NAME, vec![TopicPattern::Name(topic.to_owned())], stages);
        (pipeline.stages.len() >= 2).then_some(Pipeline { cluster: first, ..pipeline })
    };
    topics.into_iter().filter_map(one).take(TOPICS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_audit::Fingerprint;

    fn window(topic: &str, stage: &str, n: u64, delay_ms: i64) -> StageWindow {
        let mut hist = Histogram::new();
        (0..n).for_each(|_| hist.record(delay_ms));
        StageWindow {
            topic: topic.into(),
            stage: stage.into(),
            window_ms: 0,
            width_ms: 10_000,
            n,
            acked: n,
            failed: 0,
            bytes: 0,
            f_in: Fingerprint::ZERO,
            hist,
            last_ms: 0,
            rule: None,
        }
    }

    fn cluster(stage: &str) -> Option<String> {
        stage.strip_prefix("kafka:").map(str::to_owned)
    }

    fn stages(p: &Pipeline) -> Vec<&str> {
        p.stages.iter().map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn stages_are_in_the_order_of_their_median_delay() {
        let seen = [
            window("orders", "consumer", 100, 900),
            window("orders", "kafka:agg", 100, 300),
            window("orders", "producer", 60, 0),
            window("orders", "producer", 40, 2),
            window("orders", "kafka:sjc", 100, 20),
            // A few stragglers do not move a stage.
            window("orders", "kafka:sjc", 9, 60_000),
            window("alone", "producer", 100, 0),
            window("mine", "producer", 100, 0),
            window("mine", "kafka:sjc", 100, 9),
            window("few", "producer", 100, 0),
            window("few", "kafka:sjc", 19, 9),
        ];
        let mine = vec![Stage::new("producer", StageKind::Client), Stage::new("kafka:sjc", StageKind::Kafka)];
        let configured = Pipelines::from(vec![Pipeline::new("p", vec![TopicPattern::Name("mine".into())], mine)]);
        let found = discover(&configured, &[], &seen, cluster);
        assert_eq!(found.len(), 1, "one stage is no hop, few messages have no median: {found:?}");
        assert_eq!(stages(&found[0]), ["producer", "kafka:sjc", "kafka:agg", "consumer"]);
        assert_eq!(found[0].cluster, "sjc");
        assert!(found[0].stages.iter().all(|s| s.at_least_once && s.complete == (s.kind == StageKind::Kafka)));
        assert!(found[0].topics[0].matches("orders") && !found[0].topics[0].matches("orders2"));
    }

    #[test]
    fn an_order_stands_until_another_stage_reports_and_a_quiet_topic_keeps_its_own() {
        let none = Pipelines::default();
        let seen = |a, b| vec![window("t", "a", 50, a), window("t", "b", 50, b)];
        let first = discover(&none, &[], &seen(10, 20), cluster);
        assert_eq!(stages(&first[0]), ["a", "b"]);
        let slow = discover(&none, &first, &seen(30, 20), cluster);
        assert_eq!(stages(&slow[0]), ["a", "b"], "a slow hour turns nothing round");
        assert_eq!(stages(&discover(&none, &first, &[], cluster)[0]), ["a", "b"]);
        assert_eq!(stages(&discover(&none, &first, &seen(30, 20)[..1], cluster)[0]), ["a", "b"]);
        let mut more = seen(10, 20);
        more.push(window("t", "kafka:k", 50, 15));
        assert_eq!(stages(&discover(&none, &first, &more, cluster)[0]), ["a", "kafka:k", "b"]);
        let p = Pipelines::from(vec![Pipeline::new("p", vec![TopicPattern::Name("t".into())], vec![])]);
        assert!(discover(&p, &first, &more, cluster).is_empty(), "the configuration decides");
    }
}
