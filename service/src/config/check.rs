//! From the file's shape to a [`Config`]: fills in defaults, resolves names and references, and lists every mistake.

mod duties;
mod groups;
mod lag;
mod retention;
pub(super) mod rules;
mod stamped;
pub(super) mod store;
pub(super) mod web;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::wire::DEFAULT_TOPIC;
use chaperone_audit::{Rules, TopicRule, Width};
use chaperone_collector::{Pipeline, Pipelines, Stage, StageKind, TopicPattern};

use super::file::{self, Scalar};
use super::references::{self, Lookup};
use super::{Audit, Cluster, Config, ConfigError, Properties, StagePattern, Tap, Widths, suggestion};
use crate::kafka::names::{NAME_RULE, Names, Rename, Wrong};
use crate::kafka::wanted::Called;
use crate::tap::budget;

/// librdkafka properties that the counts depend on, and what to say instead.
const OWNED: [(&str, &str); 20] = [
    ("bootstrap.servers", "write bootstrap_servers beside it"),
    ("metadata.broker.list", "write bootstrap_servers beside it"),
    ("group.id", "write tap.group"),
    ("group.instance.id", "static membership can stall a tap for days"),
    ("group.protocol", "partitions are claimed in the store; the group is only a hint"),
    ("partition.assignment.strategy", "partitions are claimed in the store; the group is only a hint"),
    ("enable.auto.commit", "offsets are kept in the store"),
    ("enable.auto.offset.store", "offsets are kept in the store"),
    ("auto.offset.reset", "write tap.start; later starts go on where the store stands"),
    ("enable.partition.eof", "it is not used"),
    ("isolation.level", "write tap.isolation"),
    ("check.crcs", "it is always on"),
    ("acks", "reports are always acknowledged by all replicas"),
    ("request.required.acks", "reports are always acknowledged by all replicas"),
    ("enable.idempotence", "it is always on"),
    ("transactional.id", "reports are exactly-once without transactions"),
    ("compression.type", "reports are always compressed with zstd"),
    ("compression.codec", "reports are always compressed with zstd"),
    ("delivery.report.only.error", "it would turn silence into success"),
    ("log_level", "use RUST_LOG"),
];

/// The least silence that tells a dead reporter from a slow one: three heartbeats.
const SILENT_AFTER_MIN: Duration = Duration::from_secs(6);
/// Delays that can be told from none, and that windows are kept for.
const OBJECTIVE: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(7 * 86_400);
const GRACE_MAX: Duration = Duration::from_hours(1);
const RETENTION_MIN: Duration = Duration::from_hours(1);

/// Mistakes found so far.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, path: impl std::fmt::Display, problem: impl std::fmt::Display) {
        self.0.push(format!("{path}: {problem}"));
    }
    /// The value, or the mistake noted.
    fn take<T>(&mut self, path: impl std::fmt::Display, answer: Result<T, String>) -> Option<T> {
        answer.map_err(|problem| self.add(path, problem)).ok()
    }
}

/// Checks a file.
///
/// # Errors
/// All mistakes.
pub fn check(file: file::File, lookup: &dyn Lookup) -> Result<Config, ConfigError> {
    let mut m = Mistakes::default();
    if file.data_dir == Path::new("") {
        m.add("data_dir", "is empty; name a directory");
    }
    let seed = |text: &str| references::resolve(text, lookup).and_then(|s| parse_seed(&s));
    let seed = file.seed.as_deref().map_or(Some(0), |text| m.take("seed", seed(text)));
    let store = file.store.and_then(|s| store::check(s, lookup, &mut m));
    let retention = retention::check(&file.retention, &mut m);
    let web = web::check(file.web, lookup, &mut m);
    if file.kafka.0.is_empty() {
        m.add("kafka", "no cluster is configured; add [kafka.NAME] with bootstrap_servers");
    }
    let mut clusters: Vec<Cluster> = Vec::new();
    for (name, raw) in file.kafka.0 {
        let cluster = cluster(&name, raw, lookup, &mut m);
        clusters.push(cluster);
    }
    default_audit(&mut clusters);
    tap_targets(&mut clusters, &mut m);
    let mut pipelines = Vec::new();
    let mut widths = Vec::new();
    let mut rules = Vec::new();
    for (name, raw) in file.pipeline.0 {
        let (pipeline, width) = pipeline(&name, &raw, &clusters, &mut m);
        widths.extend(pipeline.topics.iter().map(|t| (t.clone(), width)));
        let recipe = rules::recipe(&name, &raw, &mut m);
        rules.extend(pipeline.topics.iter().map(|t| TopicRule { topics: t.clone(), recipe: recipe.clone() }));
        pipelines.push(pipeline);
    }
    match (seed, web) {
        (Some(seed), Some(web)) if m.0.is_empty() => Ok(Config {
            data_dir: file.data_dir,
            store,
            retention,
            rules: Rules::with(seed, rules),
            web,
            pipelines: Arc::new(Pipelines {
                list: pipelines,
                sources: super::sources(&clusters),
                discover: file.discover.then(|| super::tapped(&clusters)),
            }),
            clusters,
            widths: Widths(widths),
        }),
        _ => Err(ConfigError { mistakes: m.0 }),
    }
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let wrong = || format!("must be 16 hex digits, for example {:016x}; it has {} characters", 0x5eed, text.len());
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    u64::from_str_radix(text, 16).map_err(|_| wrong())
}

fn cluster(name: &str, raw: file::Kafka, lookup: &dyn Lookup, m: &mut Mistakes) -> Cluster {
    let path = format!("kafka.{name}");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        m.add(&path, "a cluster's name has 1 to 64 characters of A-Z a-z 0-9 . _ -");
    }
    let servers = m.take(format!("{path}.bootstrap_servers"), bootstrap_servers(&raw.bootstrap_servers));
    let properties = properties(&path, raw.properties, lookup, m);
    let tap = raw.tap.map(|t| tap(name, &path, t, m));
    let lag = raw.lag.map(|l| lag::check(&path, &l, tap.is_some(), m));
    let audit = raw.audit.map(|a| audit(&path, a, m));
    let bootstrap_servers = servers.unwrap_or_default();
    Cluster { name: name.to_owned(), bootstrap_servers, datacenter: raw.datacenter, properties, tap, lag, audit }
}

pub(crate) fn bootstrap_servers(text: &str) -> Result<String, String> {
    let servers: Vec<&str> = text.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    if servers.is_empty() {
        return Err("is empty; write host:port, several separated by commas".to_owned());
    }
    for server in &servers {
        let port = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        if port.is_none_or(|(host, port)| host.is_empty() || port == 0) {
            return Err(format!("'{server}' is not host:port"));
        }
    }
    Ok(servers.join(","))
}

/// What to say instead where a librdkafka property is chaperone's own.
pub(crate) fn owned(key: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == key).map(|(_, instead)| *instead)
}

fn properties(
    path: &str,
    raw: std::collections::BTreeMap<String, Scalar>,
    lookup: &dyn Lookup,
    m: &mut Mistakes,
) -> Properties {
    let mut properties = Properties::default();
    for (key, value) in raw {
        let path = format!("{path}.properties.\"{key}\"");
        if let Some(instead) = owned(&key) {
            m.add(path, format!("is chaperone's own: {instead}"));
            continue;
        }
        let value = match value {
            Scalar::Bool(v) => Some(v.to_string()),
            Scalar::Int(v) => Some(v.to_string()),
            Scalar::Float(v) => Some(v.to_string()),
            Scalar::Text(v) => m.take(path, references::resolve(&v, lookup)),
        };
        properties.0.extend(value.map(|v| (key, v)));
    }
    properties
}

fn tap(name: &str, path: &str, raw: file::Tap, m: &mut Mistakes) -> Tap {
    let path = format!("{path}.tap");
    let stage = raw.stage.unwrap_or_else(|| format!("kafka:{name}"));
    stage_name(&format!("{path}.stage"), &stage, m);
    let topics = topics(&format!("{path}.topics"), &raw.topics, m);
    let group = raw.group.unwrap_or_else(|| "chaperone-tap".to_owned());
    if group.is_empty() {
        m.add(format!("{path}.group"), "is empty; leave it out for chaperone-tap");
    }
    // Resolved by `tap_targets`, when all clusters are known.
    let audit = raw.audit.unwrap_or_default();
    let excluded = patterns(&format!("{path}.exclude"), &raw.exclude, m);
    let listed =
        topics.iter().filter_map(|t| if let TopicPattern::Name(name) = t { Some(name.as_str()) } else { None });
    let names = names(&path, &raw.rename, listed.filter(|name| !excluded.iter().any(|e| e.matches(name))), m);
    let called = Called::ByKafka;
    let max_bytes_per_second = raw.max_bytes_per_second;
    if max_bytes_per_second.is_some_and(|cap| cap < budget::LEAST) {
        m.add(
            format!("{path}.max_bytes_per_second"),
            format!("is less than {}; leave it out for no cap", budget::LEAST),
        );
    }
    let client_rack = raw.client_rack;
    if client_rack.as_ref().is_some_and(String::is_empty) {
        m.add(format!("{path}.client_rack"), "is empty; leave it out for none, or write a broker's `broker.rack`");
    }
    let (start, isolation) = (raw.start, raw.isolation);
    Tap { stage, topics, called, excluded, names, start, group, audit, isolation, max_bytes_per_second, client_rack }
}

/// The renames, and whether topics that are listed by name collide under them; others are found when they are seen.
fn names<'a>(path: &str, raw: &[file::Rename], listed: impl Iterator<Item = &'a str>, m: &mut Mistakes) -> Names {
    let mut rules = Vec::new();
    for (i, file::Rename { from, to }) in raw.iter().enumerate() {
        match Rename::parse(from, to) {
            Ok(rule) => rules.push(rule),
            Err(Wrong::From(why)) => m.add(format!("{path}.rename[{i}].from"), why),
            Err(Wrong::To(why)) => m.add(format!("{path}.rename[{i}].to"), format!("'{to}' {why}")),
        }
    }
    let names = Names(rules);
    let unclear: BTreeSet<String> = names.unclear(listed).into_values().collect();
    for why in unclear {
        m.add(format!("{path}.rename"), why);
    }
    names
}

fn audit(path: &str, raw: file::Audit, m: &mut Mistakes) -> Audit {
    let path = format!("{path}.audit");
    let mut stages = Vec::new();
    for (i, text) in raw.stages.unwrap_or_else(|| vec!["*".to_owned()]).iter().enumerate() {
        if text == "*" {
            stages.push(StagePattern::Any);
        } else {
            let pattern = m.take(format!("{path}.stages[{i}]"), TopicPattern::parse(text).map_err(|e| regex_words(&e)));
            stages.extend(pattern.map(StagePattern::Matching));
        }
    }
    let audit = Audit {
        topic: raw.topic.unwrap_or_else(|| DEFAULT_TOPIC.to_owned()),
        partitions: raw.partitions.unwrap_or(4),
        replication: raw.replication,
        retention: raw.retention.map_or(Duration::from_secs(14 * 86_400), |s| s.0),
        create: raw.create.unwrap_or(true),
        stages,
    };
    if !is_topic_name(&audit.topic) {
        m.add(format!("{path}.topic"), NAME_RULE);
    }
    if !(1..=10_000).contains(&audit.partitions) {
        m.add(format!("{path}.partitions"), format!("is {}; allowed are 1 to 10000", audit.partitions));
    }
    if audit.replication.is_some_and(|r| !(1..=100).contains(&r)) {
        m.add(format!("{path}.replication"), "allowed are 1 to 100; leave it out for the broker's default");
    }
    if audit.retention < RETENTION_MIN {
        m.add(format!("{path}.retention"), "is shorter than 1h; what is not read within it is lost");
    }
    audit
}

/// Kafka's own rule.
pub(crate) fn is_topic_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= 249 && text != "." && text != ".." && text.bytes().all(legal)
}

fn stage_name(path: &str, name: &str, m: &mut Mistakes) {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        m.add(path, "a stage's name has 1 to 255 bytes without control characters");
    }
}

pub(crate) fn regex_words(e: &regex::Error) -> String {
    let text = e.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("cannot read the regular expression: {}", last.trim_start_matches("error: "))
}

fn topics(path: &str, texts: &[String], m: &mut Mistakes) -> Vec<TopicPattern> {
    if texts.is_empty() {
        m.add(path, "is empty; name a topic, or a regular expression that begins with ^");
    }
    patterns(path, texts, m)
}

fn patterns(path: &str, texts: &[String], m: &mut Mistakes) -> Vec<TopicPattern> {
    let mut patterns = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if !text.starts_with('^') && !is_topic_name(text) {
            m.add(path, format!("'{text}' is no topic name; a regular expression begins with ^"));
            continue;
        }
        patterns.extend(m.take(path, TopicPattern::parse(text).map_err(|e| regex_words(&e))));
    }
    patterns
}

/// Reports need somewhere to go: where no audit topic is configured, the first cluster has the default one.
fn default_audit(clusters: &mut [Cluster]) {
    if clusters.iter().all(|c| c.audit.is_none())
        && let Some(first) = clusters.first_mut()
    {
        first.audit = Some(audit("", file::Audit::default(), &mut Mistakes::default()));
    }
}

/// Finds each tap's audit topic, and refuses two taps of one stage: their counts would mix.
fn tap_targets(clusters: &mut [Cluster], m: &mut Mistakes) {
    let with_audit: Vec<(String, Audit)> =
        clusters.iter().filter_map(|c| Some((c.name.clone(), c.audit.clone()?))).collect();
    let mut stages: Vec<(String, String)> = Vec::new();
    for c in clusters {
        let Some(tap) = &mut c.tap else { continue };
        let path = format!("kafka.{}.tap", c.name);
        if tap.audit.is_empty() {
            let own = with_audit.iter().find(|(name, _)| *name == c.name).or(with_audit.first());
            tap.audit = own.map(|(name, _)| name.clone()).unwrap_or_default();
        }
        match with_audit.iter().find(|(name, _)| *name == tap.audit) {
            None => {
                let known: Vec<&str> = with_audit.iter().map(|(name, _)| name.as_str()).collect();
                let meant = suggestion(&tap.audit, &known);
                m.add(format!("{path}.audit"), format!("cluster '{}' has no [audit] table{meant}", tap.audit));
            }
            Some((name, audit)) if !audit.allows(&tap.stage) => {
                m.add(
                    format!("{path}.stage"),
                    format!("'{}' may not report there: add it to kafka.{name}.audit.stages", tap.stage),
                );
            }
            Some(_) => {}
        }
        if let Some((other, _)) = stages.iter().find(|(_, s)| *s == tap.stage) {
            m.add(format!("{path}.stage"), format!("'{}' is already the stage of kafka.{other}.tap", tap.stage));
        }
        stages.push((c.name.clone(), tap.stage.clone()));
    }
}

fn pipeline(name: &str, raw: &file::Pipeline, clusters: &[Cluster], m: &mut Mistakes) -> (Pipeline, Width) {
    let path = format!("pipeline.{name}");
    let topics = topics(&format!("{path}.topics"), &raw.topics, m);
    if raw.stages.len() < 2 {
        m.add(format!("{path}.stages"), "needs at least two stages; a hop is two neighbours");
    }
    for (i, stage) in raw.stages.iter().enumerate() {
        stage_name(&format!("{path}.stages[{i}]"), stage, m);
        if raw.stages.iter().take(i).any(|s| s == stage) {
            m.add(format!("{path}.stages[{i}]"), format!("'{stage}' is there twice"));
        }
    }
    let known: Vec<&str> = raw.stages.iter().map(String::as_str).collect();
    let listed =
        [("complete", &raw.complete), ("at_least_once", &raw.at_least_once), ("stamped_only", &raw.stamped_only)];
    for (key, listed) in listed {
        for stage in listed.iter().filter(|s| !raw.stages.contains(s)) {
            m.add(
                format!("{path}.{key}"),
                format!("'{stage}' is no stage of this pipeline{}", suggestion(stage, &known)),
            );
        }
    }
    let grace = raw.grace.map_or(Duration::from_secs(10), |s| s.0);
    if grace > GRACE_MAX {
        m.add(format!("{path}.grace"), "is longer than 1h");
    }
    let silent_after = raw.silent_after.map_or(Duration::from_secs(30), |s| s.0);
    if silent_after < SILENT_AFTER_MIN {
        m.add(
            format!("{path}.silent_after"),
            "is shorter than 6s, three heartbeats; slow reporters would count as dead",
        );
    }
    let objective = raw.objective.map(|s| s.0);
    if objective.is_some_and(|of| !OBJECTIVE.contains(&of)) {
        m.add(format!("{path}.objective"), "allowed are 10ms to 7d");
    }
    let width = raw.width.map_or(Ok(Width::default()), |s| {
        u32::try_from(s.0.as_millis())
            .ok()
            .and_then(|ms| Width::try_from(ms).ok())
            .ok_or_else(|| "allowed are 10s, 60s (or 1m) and 600s (or 10m)".to_owned())
    });
    let width = m.take(format!("{path}.width"), width).unwrap_or_default();
    let tapped = |stage: &str| clusters.iter().find(|c| c.tap.as_ref().is_some_and(|t| t.stage == stage));
    let mut stages: Vec<Stage> = raw
        .stages
        .iter()
        .map(|stage| {
            let members = raw.groups.get(stage).cloned().unwrap_or_default();
            let is_tapped = tapped(members.first().unwrap_or(stage)).is_some();
            let kind = if is_tapped { StageKind::Kafka } else { StageKind::Client };
            Stage {
                complete: kind == StageKind::Kafka || raw.complete.contains(stage),
                at_least_once: raw.at_least_once.contains(stage),
                stamped_only: raw.stamped_only.contains(stage),
                ..Stage::group(stage.as_str(), kind, members)
            }
        })
        .collect();
    groups::check(&path, raw, |stage| tapped(stage).is_some(), m);
    stamped::check(&path, &stages, m);
    duties::expect(&path, raw, &mut stages, m);
    let first_tapped = stages.iter().flat_map(Stage::reported).find_map(|s| tapped(s));
    let cluster = first_tapped.map_or_else(|| "-".to_owned(), |c| c.name.clone());
    let owner = duties::owner(&path, raw, m);
    let runbook = duties::runbook(&path, raw, m);
    let expected = duties::expected(&path, raw, &stages, m);
    let counting = duties::counting(raw, width);
    let pipeline = Pipeline::new(name, topics, stages);
    (Pipeline { cluster, grace, silent_after, objective, owner, runbook, expected, counting, ..pipeline }, width)
}
