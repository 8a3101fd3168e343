//! Pipelines: which stages a set of topics runs through, and what may be expected of each.
//!
//! Invariant: a hop is two neighbours of one pipeline; a topic belongs to the first pipeline whose pattern matches it.

use std::time::Duration;

use regex::Regex;
use serde::Serialize;

/// Where a stage's counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// A process that links the library.
    Client,
    /// A Kafka cluster that a tap reads.
    Kafka,
}

/// One stage of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its name, as reported.
    pub name: String,
    /// Where its counts come from.
    pub kind: StageKind,
    /// Every message of the topic passes an audited process here; without it nothing downstream is ever `ok` by it.
    pub complete: bool,
    /// It may read a message twice, which is information and not a fault.
    pub at_least_once: bool,
    /// The hop from here to the next stage compares stamped messages only. Only of a client stage.
    pub stamped_only: bool,
}

/// Stages in order, for the topics that match.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// The cluster that its topics are known by in URLs: that of its first Kafka stage, `-` if it has none.
    pub cluster: String,
    /// Topics: exact names, or regular expressions that begin with `^` (they match the whole name).
    pub topics: Vec<TopicPattern>,
    /// Stages, upstream first; at least two.
    pub stages: Vec<Stage>,
    /// How long after a window's end, and after its last arrival upstream, its verdict waits at least.
    pub grace: Duration,
    /// A reporter that sent nothing for this long is no longer waited for.
    pub silent_after: Duration,
}

/// A topic name or a pattern.
#[derive(Debug, Clone)]
pub enum TopicPattern {
    /// Exactly this topic.
    Name(String),
    /// Every topic that this matches as a whole.
    Regex(Regex),
}

/// Patterns are equal if they are written the same.
impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}
impl Eq for TopicPattern {}

impl TopicPattern {
    /// Reads a pattern: a leading `^` makes it a regular expression.
    ///
    /// # Errors
    /// When the regular expression cannot be read; the message shows where.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        if text.starts_with('^') {
            let whole = format!("^(?:{})$", text.trim_start_matches('^').trim_end_matches('$'));
            return Regex::new(&whole).map(Self::Regex);
        }
        Ok(Self::Name(text.to_owned()))
    }
    /// Whether it names `topic`.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Regex(r) => r.is_match(topic),
        }
    }
}

/// Two neighbours of a pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// Upstream.
    pub from: &'a Stage,
    /// Downstream.
    pub to: &'a Stage,
}

impl Pipeline {
    /// The hops, upstream first.
    pub fn hops(&self) -> impl Iterator<Item = Hop<'_>> {
        self.stages.iter().zip(self.stages.iter().skip(1)).map(|(from, to)| Hop { from, to })
    }
}

/// An audit topic that is read, and who may report there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSource {
    /// Name of its cluster in the configuration.
    pub cluster: String,
    /// The topic.
    pub topic: String,
    /// Stages whose reports are believed there; empty: any.
    pub stages: Vec<TopicPattern>,
}

impl AuditSource {
    /// Whether reports of `stage` may arrive there.
    pub fn carries(&self, stage: &str) -> bool {
        self.stages.is_empty() || self.stages.iter().any(|pattern| pattern.matches(stage))
    }
}

/// All pipelines, and where their reports come from.
#[derive(Debug, Clone, Default)]
pub struct Pipelines {
    /// In order of precedence.
    pub list: Vec<Pipeline>,
    /// Audit topics that a verdict waits for. Empty: all that the store knows.
    pub sources: Vec<AuditSource>,
}

impl From<Vec<Pipeline>> for Pipelines {
    fn from(list: Vec<Pipeline>) -> Self {
        Self { list, sources: Vec::new() }
    }
}

impl Pipelines {
    /// The pipeline that `topic` runs through.
    pub fn of(&self, topic: &str) -> Option<&Pipeline> {
        self.list.iter().find(|p| p.topics.iter().any(|t| t.matches(topic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_matches_the_whole_name_and_a_name_only_itself() {
        let p = TopicPattern::parse("^orders-.*").expect("regex");
        assert!(p.matches("orders-eu") && !p.matches("my-orders-eu"));
        let p = TopicPattern::parse("^a|b").expect("regex");
        assert!(p.matches("a") && p.matches("b") && !p.matches("ab"));
        assert!(!TopicPattern::parse("orders.eu").expect("name").matches("ordersXeu"));
    }
}
