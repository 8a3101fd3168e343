//! The configuration: text → shape ([`mod@file`]) → checked [`Config`].
//!
//! Pure but for references to files and environment, which come through [`Lookup`]. A [`Config`] is complete: defaults
//! are filled in, names resolve, patterns compile. Secrets are never shown by `Debug` or by an error.
//!
//! Every mistake is named by the full path of its key. Mistakes of shape end at the first, others are listed together.

pub mod check;
mod effective;
pub mod example;
pub mod file;
pub mod references;
pub mod reload;
pub mod schema;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::{Rules, Width};
use chaperone_collector::{AuditSource, Pipelines, Retention, TopicPattern};

pub use check::web::Web;
pub use effective::{Secrets, effective};
pub use file::{Isolation, Start};
pub use references::{Lookup, System};

use crate::kafka::names::Names;
use crate::kafka::wanted::Called;

/// What the process does, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// The store's database, if it is not a file there.
    pub store: Option<chaperone_collector::postgres::Settings>,
    /// How long rows stay in it.
    pub retention: Retention,
    /// Identity and time of messages, by topic.
    pub rules: Rules,
    /// Where the dashboard listens, and for whom.
    pub web: Web,
    /// Kafka clusters in the order of the file; at least one.
    pub clusters: Vec<Cluster>,
    /// Pipelines.
    pub pipelines: Arc<Pipelines>,
    /// Widths of the taps' windows.
    pub widths: Widths,
}

/// A Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name in the configuration.
    pub name: String,
    /// Brokers to ask first.
    pub bootstrap_servers: String,
    /// Datacenter, empty if not set.
    pub datacenter: String,
    /// librdkafka properties, references resolved.
    pub properties: Properties,
    /// Its tap.
    pub tap: Option<Tap>,
    /// Whether the lag of its consumer groups is asked for.
    pub lag: Option<Lag>,
    /// Its audit topic.
    pub audit: Option<Audit>,
}

/// Whose lag is asked for, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Groups.
    pub groups: Vec<TopicPattern>,
    /// Never these.
    pub exclude: Vec<TopicPattern>,
    /// Time between two looks.
    pub every: Duration,
}

impl Lag {
    /// Whether this group is meant.
    pub fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g.matches(group)) && !self.exclude.iter().any(|e| e.matches(group))
    }

    /// Groups that are listed by name: they are asked whether or not the cluster shows them to us.
    pub fn named(&self) -> BTreeSet<String> {
        let names = self.groups.iter().filter_map(|g| match g {
            TopicPattern::Name(name) => Some(name.clone()),
            TopicPattern::Regex(_) => None,
        });
        names.filter(|name| self.has(name)).collect()
    }

    /// Whether the cluster has to be asked which groups there are.
    pub fn lists(&self) -> bool {
        self.groups.iter().any(|g| matches!(g, TopicPattern::Regex(_)))
    }
}

/// What a tap counts, and where its counts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// Stage.
    pub stage: String,
    /// Topics.
    pub topics: Vec<TopicPattern>,
    /// Whose names `topics` are.
    pub called: Called,
    /// Never these, in Kafka's names.
    pub excluded: Vec<TopicPattern>,
    /// What Kafka's topics are called in the pipelines.
    pub names: Names,
    /// Where a partition that was never counted begins.
    pub start: Start,
    /// Consumer group.
    pub group: String,
    /// Name of the cluster whose audit topic gets the counts; it has one.
    pub audit: String,
    /// Which messages count.
    pub isolation: Isolation,
    /// Most bytes that this process takes a second; none is no cap.
    pub max_bytes_per_second: Option<u64>,
    /// The rack whose copies this process reads; none is that of the cluster's properties.
    pub client_rack: Option<String>,
}

/// An audit topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Its name.
    pub topic: String,
    /// Partitions when created.
    pub partitions: i32,
    /// Replicas when created; `None` is the broker's default.
    pub replication: Option<i32>,
    /// Retention when created.
    pub retention: Duration,
    /// Whether to create it if it is missing.
    pub create: bool,
    /// Who may report here.
    pub stages: Vec<StagePattern>,
}

/// Stages by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagePattern {
    /// All.
    Any,
    /// Those that match.
    Matching(TopicPattern),
}

impl Audit {
    /// Whether `stage` may report here.
    pub fn allows(&self, stage: &str) -> bool {
        self.stages.iter().any(|p| match p {
            StagePattern::Any => true,
            StagePattern::Matching(pattern) => pattern.matches(stage),
        })
    }
}

/// The audit topics that intake reads.
/// Stages that taps have, and their clusters.
fn tapped(clusters: &[Cluster]) -> Vec<(String, String)> {
    clusters.iter().filter_map(|c| Some((c.tap.as_ref()?.stage.clone(), c.name.clone()))).collect()
}

fn sources(clusters: &[Cluster]) -> Vec<AuditSource> {
    let pattern = |p: &StagePattern| match p {
        StagePattern::Any => None,
        StagePattern::Matching(pattern) => Some(pattern.clone()),
    };
    let audited = clusters.iter().filter_map(|cluster| Some((cluster, cluster.audit.as_ref()?)));
    audited
        .map(|(cluster, audit)| AuditSource {
            cluster: cluster.name.clone(),
            topic: audit.topic.clone(),
            stages: audit.stages.iter().map(pattern).collect::<Option<_>>().unwrap_or_default(),
        })
        .collect()
}

/// librdkafka properties. Their values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The width of a topic's windows at taps: that of the first pipeline that matches it.
#[derive(Debug, Clone, Default)]
pub struct Widths(pub Vec<(TopicPattern, Width)>);

/// Equal if they give every topic the same width as far as the patterns tell: what ends in the default says nothing.
impl PartialEq for Widths {
    fn eq(&self, other: &Self) -> bool {
        self.telling() == other.telling()
    }
}
impl Eq for Widths {}

impl Widths {
    fn telling(&self) -> &[(TopicPattern, Width)] {
        let last = self.0.iter().rposition(|(_, width)| *width != Width::default());
        self.0.get(..last.map_or(0, |at| at + 1)).unwrap_or_default()
    }
    /// The width for `topic`; 10 s where no pipeline matches.
    pub fn of(&self, topic: &str) -> Width {
        self.0.iter().find(|(p, _)| p.matches(topic)).map_or(Width::default(), |(_, w)| *w)
    }
}

/// Why a configuration cannot be used: one line a mistake, each with the key's full path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The mistakes.
    pub mistakes: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}
impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(crate) fn one(mistake: impl Into<String>) -> Self {
        Self { mistakes: vec![mistake.into()] }
    }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, lookup: &dyn Lookup) -> Result<Self, ConfigError> {
        let file = shape(text)?;
        check::check(file, lookup)
    }

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// See [`ConfigError`]; the first line names the file.
    pub fn load(path: &Path, lookup: &dyn Lookup) -> Result<Self, ConfigError> {
        reload::Loaded::read(path, lookup).map(|loaded| loaded.config)
    }

    /// The database file, where the store is one.
    pub fn store_path(&self) -> PathBuf {
        self.data_dir.join("chaperone.sqlite")
    }

    /// Where the store is, in words, without a password.
    pub fn store_place(&self) -> String {
        self.store.as_ref().map_or_else(|| self.store_path().display().to_string(), |store| store.place().to_owned())
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.name == name)
    }
}

/// Shape only. toml's own errors show the line's text, which may be a secret: only its number is kept.
fn shape(text: &str) -> Result<file::File, ConfigError> {
    let document = toml::Deserializer::parse(text).map_err(|e| ConfigError::one(at_line(text, &e, e.message())))?;
    serde_path_to_error::deserialize(document).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        ConfigError::one(at_line(text, &inner, &shape_mistake(&path, inner.message())))
    })
}

fn at_line(text: &str, error: &toml::de::Error, message: &str) -> String {
    match error.span().and_then(|s| text.get(..s.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message.to_owned(),
    }
}

/// serde's words about a shape, as ours: the key's full path, and what was probably meant.
fn shape_mistake(path: &str, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let field = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        let parent = path.strip_suffix(field).unwrap_or(path).trim_end_matches('.');
        return format!("unknown key {}{}", joined(parent, field), suggestion(field, &known));
    }
    if message.starts_with("missing field") {
        return format!("{} is required", joined(path, quoted.next().unwrap_or_default()));
    }
    let first_line = message.lines().next().unwrap_or_default();
    format!("{path}: {}", without_value(first_line))
}

/// serde quotes the value that it did not want; values may be secrets.
fn without_value(message: &str) -> String {
    match (message.strip_prefix("invalid type: "), message.split_once(", expected ")) {
        (Some(found), Some((_, expected))) => {
            let kind = found.split([' ', ',']).next().unwrap_or("value");
            format!("is a {kind}; expected {expected}")
        }
        _ => message.to_owned(),
    }
}

fn joined(parent: &str, key: &str) -> String {
    if parent.is_empty() || parent == "." { key.to_owned() } else { format!("{parent}.{key}") }
}

/// `; did you mean …?` or `; allowed: …`.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    let best = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), k)).min();
    match best {
        Some((distance, k)) if distance <= 2.max(word.len() / 3) => format!("; did you mean {k}?"),
        _ if known.is_empty() => String::new(),
        _ => format!("; allowed: {}", known.join(", ")),
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
