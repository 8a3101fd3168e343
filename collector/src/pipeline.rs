//! Pipelines: which stages a set of topics runs through, and what may be expected of each.
//!
//! Invariant: a hop is two neighbours of one pipeline; a topic belongs to the first pipeline whose pattern matches it.

use std::time::Duration;

use chaperone_audit::TopicPattern;
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
