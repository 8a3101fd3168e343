//! Pipelines: which stages a set of topics runs through, and what may be expected of each.
//!
//! A stage may be a *group*: several stages, its members, that together stand at one place, as the clusters of several
//! datacenters do between their proxies and one aggregate. A hop compares the sum of its members.
//!
//! Invariants: a hop is two neighbours of one pipeline; a topic belongs to the first pipeline whose pattern matches it; reports
//! come from members and never from a group.

use std::time::Duration;

use chaperone_audit::TopicPattern;
use serde::Serialize;

use crate::verdict::Expect;

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
    /// Its name, as reported; of a group, what people call it.
    pub name: String,
    /// Of a group: the stages that make it up, as reported, all of one kind; else empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Where its counts come from.
    pub kind: StageKind,
    /// Every message of the topic passes an audited process here; without it nothing downstream is ever `ok` by it.
    pub complete: bool,
    /// It may read a message twice, which is information and not a fault.
    pub at_least_once: bool,
    /// The hop from here to the next stage compares stamped messages only. Only of a client stage.
    pub stamped_only: bool,
    /// What of the stage before is expected here.
    pub expect: Expect,
}

impl Stage {
    /// A stage of which nothing special is said: a Kafka stage is complete, a client stage is not.
    pub fn new(name: impl Into<String>, kind: StageKind) -> Self {
        Self {
            name: name.into(),
            members: Vec::new(),
            kind,
            complete: kind == StageKind::Kafka,
            at_least_once: false,
            stamped_only: false,
            expect: Expect::ALL,
        }
    }

    /// A group of stages of one kind, of which nothing special is said.
    pub fn group(name: impl Into<String>, kind: StageKind, members: impl IntoIterator<Item = String>) -> Self {
        Self { members: members.into_iter().collect(), ..Self::new(name, kind) }
    }

    /// Whether several stages make it up.
    pub fn is_group(&self) -> bool {
        !self.members.is_empty()
    }

    /// The stages that report for it: its members, or itself.
    pub fn reported(&self) -> &[String] {
        if self.is_group() { &self.members } else { std::slice::from_ref(&self.name) }
    }

    /// Whether `stage` reports for it.
    pub fn is_reported_by(&self, stage: &str) -> bool {
        self.reported().iter().any(|name| name == stage)
    }
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
    /// Within which time 99 of 100 messages should be at a stage; what takes longer is shown as late, and no verdict depends on it.
    pub objective: Option<Duration>,
    /// Who sees to it when something is wrong, as people of the organisation call them.
    pub owner: Option<String>,
    /// Where it is written what they do.
    pub runbook: Option<String>,
    /// Who is expected to report.
    pub expected: Vec<Expected>,
    /// How its messages are counted, for people.
    pub counting: Counting,
}

/// How a pipeline's messages are counted, as it is configured; nothing here decides a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counting {
    /// Where taps find a message's time.
    pub time: String,
    /// What a time in a header or a field is written in.
    pub unit: String,
    /// Where they find its identity.
    pub id: String,
    /// Width of their windows, ms.
    pub width_ms: i64,
}

impl Default for Counting {
    fn default() -> Self {
        Self { time: "default".to_owned(), unit: "ms".to_owned(), id: "default".to_owned(), width_ms: 10_000 }
    }
}

/// Processes that are expected at a stage: hosts come and go, an application does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// A client stage of the pipeline, or a member of one.
    pub stage: String,
    /// The application, as its reporters call it.
    pub application: String,
    /// So many of its reporters live at least.
    pub at_least: u32,
}

/// Whether those who are expected report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// As many live as are expected.
    Ok,
    /// Some live, fewer than expected.
    Few,
    /// None lives; some were heard before.
    Silent,
    /// None was ever heard: that is no zero.
    Never,
}

impl Presence {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Few, Self::Silent, Self::Never];
    /// Of so many that live, so many that are expected, and whether one was ever heard.
    pub const fn of(live: u32, at_least: u32, ever: bool) -> Self {
        match live {
            0 if !ever => Self::Never,
            0 => Self::Silent,
            _ if live < at_least => Self::Few,
            _ => Self::Ok,
        }
    }
    /// The word in store and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Few => "few",
            Self::Silent => "silent",
            Self::Never => "never",
        }
    }
    /// Reads a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == word)
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
    /// A pipeline with the default times: 10 s of grace, silent after 30 s. Its cluster is `-`.
    pub fn new(name: impl Into<String>, topics: Vec<TopicPattern>, stages: Vec<Stage>) -> Self {
        Self {
            name: name.into(),
            cluster: "-".to_owned(),
            topics,
            stages,
            grace: Duration::from_secs(10),
            silent_after: Duration::from_secs(30),
            objective: None,
            owner: None,
            runbook: None,
            expected: Vec::new(),
            counting: Counting::default(),
        }
    }

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
    /// Topics of no pipeline get one by what reports ([`discover`](crate::discover::discover)); which stages are taps', with
    /// their clusters.
    pub discover: Option<Vec<(String, String)>>,
}

impl From<Vec<Pipeline>> for Pipelines {
    fn from(list: Vec<Pipeline>) -> Self {
        Self { list, ..Self::default() }
    }
}

impl Pipelines {
    /// The pipeline that `topic` runs through.
    pub fn of(&self, topic: &str) -> Option<&Pipeline> {
        self.list.iter().find(|p| p.topics.iter().any(|t| t.matches(topic)))
    }
}
