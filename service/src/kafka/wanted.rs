//! Which topics are asked for: what is named, without what is excluded, by us and by the operator. Pure.

use std::collections::BTreeSet;

use chaperone_collector::TopicPattern;

use super::names::Names;
use crate::config::Tap;

/// Most topics that are asked for by name; beyond it the whole cluster's metadata is one question.
pub const BY_NAME_MAX: usize = 32;

/// Whose names a selection speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Called {
    /// Kafka's at this stage.
    #[default]
    ByKafka,
    /// The pipelines', after the stage's renames.
    ByPipelines,
}

/// See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names and patterns.
    pub topics: Vec<TopicPattern>,
    /// Whose names `topics` are.
    pub called: Called,
    /// Never these: our own.
    pub own: BTreeSet<String>,
    /// Never these: the operator's wish, in Kafka's names.
    pub excluded: Vec<TopicPattern>,
    /// Their names in the pipelines.
    pub names: Names,
}

impl Wanted {
    /// What a tap counts; `own` are the audit topics.
    pub fn of_tap(tap: &Tap, own: BTreeSet<String>) -> Self {
        let Tap { topics, called, excluded, names, .. } = tap.clone();
        Self { topics, called, own, excluded, names }
    }

    /// Whether `topic`, Kafka's name, is meant.
    pub fn has(&self, topic: &str) -> bool {
        // A name that cannot be is told by `Names::unclear`; it must come that far.
        let audited = self.names.audited(topic).unwrap_or(topic.into());
        let selected = match self.called {
            Called::ByKafka => topic,
            Called::ByPipelines => &audited,
        };
        let named = || self.topics.iter().any(|t| matches!(t, TopicPattern::Name(name) if name == selected));
        self.topics.iter().any(|t| t.matches(selected))
            && ![topic, &audited].iter().any(|name| is_internal(name) || self.own.contains(*name))
            && (!is_heartbeats(topic) || named())
            && !self.excluded.iter().any(|e| e.matches(topic))
    }

    /// Names to ask for one by one, if they are few and Kafka's own.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        if self.called == Called::ByPipelines {
            return None;
        }
        let names: Option<Vec<&str>> = self
            .topics
            .iter()
            .map(|t| match t {
                TopicPattern::Name(name) => Some(name.as_str()),
                TopicPattern::Regex(_) => None,
            })
            .collect();
        names.filter(|n| n.len() <= BY_NAME_MAX)
    }
}

/// Kafka's, Confluent's, Connect's and `MirrorMaker`'s bookkeeping (docs/OPERATIONS.md lists it).
fn is_internal(topic: &str) -> bool {
    let mirror = topic.starts_with("mm2") && (topic.ends_with(".internal") || topic.ends_with("-internal"));
    topic.starts_with("__") || topic.starts_with("_confluent") || mirror || topic.ends_with(".checkpoints.internal")
}

/// `MirrorMaker`'s sign of life, `heartbeats` and its copies `ALIAS.heartbeats`. Others' topics have such names too, so it
/// is counted where it is listed by name.
fn is_heartbeats(topic: &str) -> bool {
    topic == "heartbeats" || topic.ends_with(".heartbeats")
}

#[cfg(test)]
mod tests {
    use super::super::names::Rename;
    use super::*;

    fn wanted(topics: &[&str]) -> Wanted {
        let topics = topics.iter().map(|t| TopicPattern::parse(t).expect("good")).collect();
        let names = Names(vec![Rename::parse(r"^regional\.(.*)$", "$1").expect("good")]);
        let excluded = vec![TopicPattern::Name("pay".to_owned()), TopicPattern::parse("^test-.*").expect("good")];
        Wanted { topics, own: BTreeSet::from(["chaperone-audit".to_owned()]), excluded, names, called: Called::ByKafka }
    }

    /// The names that `MirrorMaker` 4.3.1 creates, Kafka's, Confluent's, our own, and the operator's.
    #[test]
    fn bookkeeping_is_never_counted_under_any_alias() {
        let all = wanted(&["^.*", "__consumer_offsets", "chaperone-audit", "mm2-status.agg.internal"]);
        for topic in [
            "__consumer_offsets",
            "__transaction_state",
            "regional.__consumer_offsets",
            "_confluent-metrics",
            "mm2-offset-syncs.agg.internal",
            "mm2-configs.regional.internal",
            "mm2-offsets.regional.internal",
            "mm2-status.agg.internal",
            "mm2-offset-syncs-agg-internal",
            "regional.checkpoints.internal",
            "heartbeats",
            "regional.heartbeats",
            "us.regional.heartbeats",
            "chaperone-audit",
            "regional.chaperone-audit",
            "pay",
            "test-1",
        ] {
            assert!(!all.has(topic), "{topic}");
        }
        for topic in
            ["orders", "regional.orders", "regional.pay", "mm2-orders", "checkpoints", "heartbeats-2", "my.test-1"]
        {
            assert!(all.has(topic), "{topic}");
        }
    }

    #[test]
    fn heartbeats_that_are_listed_by_name_are_counted() {
        let some = wanted(&["device.heartbeats", "^.*"]);
        assert!(some.has("device.heartbeats") && !some.has("other.heartbeats"));
    }

    #[test]
    fn a_selection_speaks_of_kafkas_names_or_the_pipelines() {
        let mut w = wanted(&["orders"]);
        assert!(w.has("orders") && !w.has("regional.orders"));
        assert_eq!(w.names(), Some(vec!["orders"]));
        w.called = Called::ByPipelines;
        assert!(w.has("orders") && w.has("regional.orders") && !w.has("regional.pay"));
        assert_eq!(w.names(), None, "Kafka is not asked by names that it does not know");
    }
}
