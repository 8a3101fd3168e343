//! The topics of a tap: there, readable, and with a timestamp that says when a message was made.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chaperone_collector::TopicPattern;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};

use super::{Report, TOPICS_MAX};
use crate::config::{Cluster, Isolation, Tap};
use crate::exit::{Code, Failure};
use crate::ffi::batch::Arrived;
use crate::ffi::{Alone, Lane};
use crate::kafka::ear::{Ear, Existence, existence, may_not_read};
use crate::kafka::wanted::Wanted;
use crate::kafka::{ASK_TIMEOUT, asking, create, lone_consumer};

/// How long one topic may take to be read from.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The topics that a tap will count.
pub(super) struct Topics<'a> {
    cluster: &'a Cluster,
    tap: &'a Tap,
    found: Vec<(String, i32)>,
}

impl<'a> Topics<'a> {
    /// Those that match, and what is wrong with the names that do not.
    pub(super) fn find(
        cluster: &'a Cluster,
        tap: &'a Tap,
        own: BTreeSet<String>,
        client: &BaseConsumer<Ear>,
        metadata: &Metadata,
        report: &mut Report<'_>,
    ) -> Self {
        let path = format!("kafka.{}.tap.topics", cluster.name);
        let wanted = Wanted::of_tap(tap, own);
        let listed = metadata.topics().iter().filter(|t| wanted.has(t.name()) && t.error().is_none());
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let mut found: Vec<_> = listed.map(|t| (t.name().to_owned(), count(t.partitions().len()))).collect();
        if !found.is_empty() {
            report.ok(format!("{path}: {} topics match", found.len()));
        }
        tell_names(cluster, tap, &found, metadata, report);
        let unclear = tap.names.unclear(found.iter().map(|(topic, _)| topic.as_str()));
        for why in unclear.values().collect::<BTreeSet<_>>() {
            report.fail(Code::Configuration, format!("kafka.{}.tap.rename: {why}", cluster.name));
        }
        found.retain(|(topic, _)| !unclear.contains_key(topic));
        for pattern in &tap.topics {
            let TopicPattern::Name(name) = pattern else { continue };
            if found.iter().any(|(topic, _)| topic == name) {
                continue;
            }
            match existence(client, name) {
                Existence::Refused(code) => {
                    let failure = may_not_read(&cluster.name, name, code);
                    report.fail(failure.code, failure.message);
                }
                Existence::Untold(code) => report.unknown(format!("{path}: '{name}': {code}")),
                Existence::There(_) => {
                    report.warning(format!(
                        "{path}: '{name}' is a topic that is never counted: Kafka's, our own or excluded"
                    ));
                }
                Existence::Absent => {
                    report.warning(format!("{path}: '{name}' does not exist; it is counted once it does"));
                }
            }
        }
        let patterns = tap.topics.iter().any(|t| matches!(t, TopicPattern::Regex(_)));
        if found.is_empty() && patterns {
            let seen = metadata.topics().len();
            report.warning(format!(
                "{path}: none of the {seen} topics that we may see matches; new ones are counted once they do"
            ));
        }
        Self { cluster, tap, found }
    }

    /// One of them.
    pub(super) fn first(&self) -> Option<&str> {
        self.found.first().map(|(topic, _)| topic.as_str())
    }

    /// Reads from each, and looks at its timestamps.
    pub(super) fn check(&self, report: &mut Report<'_>) {
        let some = self.found.get(..TOPICS_MAX).unwrap_or(&self.found);
        if some.len() < self.found.len() {
            let more = self.found.len() - some.len();
            report.unknown(format!("kafka.{}: READ on {more} more topics is not tried", self.cluster.name));
        }
        let seen = read(self.cluster, self.tap.isolation, some, report);
        let empty: Vec<&str> = seen.iter().filter(|(_, append)| append.is_none()).map(|(t, _)| t.as_str()).collect();
        let configured = append_times(self.cluster, &empty);
        let rewritten = seen.iter().filter(|(_, append)| *append == Some(true)).map(|(topic, _)| topic.as_str());
        for topic in rewritten.chain(configured.iter().map(String::as_str)) {
            let path = format!("kafka.{}.tap.topics", self.cluster.name);
            let need = "messages need a `chaperone` or `ce_time` header, else their event time is unknown";
            report.warning(format!("{path}: '{topic}' has message.timestamp.type=LogAppendTime: {need}"));
        }
    }
}

/// What is counted under another name, and what is not counted although it matches.
fn tell_names(cluster: &Cluster, tap: &Tap, found: &[(String, i32)], metadata: &Metadata, report: &mut Report<'_>) {
    let path = format!("kafka.{}.tap", cluster.name);
    let renamed = found.iter().filter_map(|(topic, _)| Some((topic, tap.names.audited(topic).ok()?)));
    let renamed =
        renamed.filter(|(topic, name)| **topic != **name).map(|(topic, name)| format!("'{topic}' → '{name}'"));
    let renamed: Vec<String> = renamed.collect();
    if !renamed.is_empty() {
        report.ok(format!("{path}.rename: {}", some(&renamed)));
    }
    let matched = metadata.topics().iter().map(MetadataTopic::name);
    let matched = matched.filter(|name| tap.topics.iter().any(|t| t.matches(name)));
    let left_out: Vec<String> = matched
        .filter(|name| !found.iter().any(|(topic, _)| topic == name) && !name.starts_with("__"))
        .map(|name| format!("'{name}'"))
        .collect();
    if !left_out.is_empty() {
        report.ok(format!("{path}.topics: match and are not counted: {}", some(&left_out)));
    }
}

/// The first few of a list.
fn some(list: &[String]) -> String {
    let shown = list.get(..TOPICS_MAX).unwrap_or(list);
    let more = list.len() - shown.len();
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Reads the newest message of each topic. Returns those that may be read, each with whether its timestamps are the
/// broker's; `None` where there is no message to see it by.
pub(super) fn read(
    cluster: &Cluster,
    isolation: Isolation,
    topics: &[(String, i32)],
    report: &mut Report<'_>,
) -> Vec<(String, Option<bool>)> {
    let mut config = lone_consumer(cluster, "check", isolation);
    // The end is an answer as well, and it comes at once.
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    let ear = Ear::default();
    let made = create(cluster, &config, ear.clone()).and_then(|consumer: BaseConsumer<Ear>| {
        Alone::apart(consumer).map_err(|e| Failure::new(Code::Software, format!("kafka.{}: {e}", cluster.name)))
    });
    let mut reader = match made {
        Ok(reader) => reader,
        Err(failure) => {
            report.fail(failure.code, failure.message);
            return Vec::new();
        }
    };
    let mut seen = Vec::new();
    for (topic, partitions) in topics {
        match read_topic(cluster, &mut reader, &ear, topic, *partitions) {
            Ok(append) => {
                report.ok(format!("kafka.{}: READ on topic '{topic}'", cluster.name));
                seen.push((topic.clone(), append));
            }
            Err(failure) => {
                let silent = failure.code == Code::Unavailable;
                report.fail(failure.code, failure.message);
                // Whoever does not answer for one topic will not for the next.
                if silent {
                    break;
                }
            }
        }
    }
    seen
}

fn read_topic(
    cluster: &Cluster,
    reader: &mut Alone<Ear>,
    ear: &Ear,
    topic: &str,
    partitions: i32,
) -> Result<Option<bool>, Failure> {
    let software =
        |e: KafkaError| Failure::new(Code::Software, format!("kafka.{}: cannot read '{topic}': {e}", cluster.name));
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::OffsetTail(1)).map_err(software)?;
    }
    reader.assign(&list).map_err(software)?;
    let until = Instant::now() + READ_WITHIN;
    let mut ended = BTreeSet::new();
    while Instant::now() < until {
        // What concerns the whole client, which the ear hears.
        drop(reader.poll(Duration::ZERO));
        let Some(mut batch) = reader.batch(&[(Lane::First, Duration::from_millis(100))], 1) else { break };
        match batch.next() {
            Some(Arrived::Message(message)) => {
                return Ok(Some(matches!(message.timestamp(), Timestamp::LogAppendTime(_))));
            }
            Some(Arrived::Refused { partition, code: RDKafkaErrorCode::PartitionEOF, .. }) => {
                ended.insert(partition);
                if ended.len() >= usize::try_from(partitions).unwrap_or(usize::MAX) {
                    return Ok(None);
                }
            }
            Some(Arrived::Refused { code: code @ RDKafkaErrorCode::TopicAuthorizationFailed, .. }) => {
                return Err(may_not_read(&cluster.name, topic, code));
            }
            _ => {}
        }
    }
    if !ended.is_empty() {
        return Ok(None);
    }
    let reason = ear.best().map(|(_, reason)| format!(" ({})", reason.chars().take(300).collect::<String>()));
    let text = format!(
        "kafka.{}: the cluster answers, but the brokers that have topic '{topic}' do not within {} s: check that their advertised.listeners can be reached from here{}",
        cluster.name,
        READ_WITHIN.as_secs(),
        reason.unwrap_or_default()
    );
    Err(Failure::new(Code::Unavailable, text))
}

/// Those of the topics that are configured with the broker's time. Who may not ask is not told: it needs
/// `DESCRIBE_CONFIGS`, which `run` does not.
fn append_times(cluster: &Cluster, topics: &[&str]) -> Vec<String> {
    if topics.is_empty() {
        return Vec::new();
    }
    let admin = create(cluster, &asking(cluster, Isolation::default()), Ear::default());
    let Ok(admin) = admin.map(|a: AdminClient<Ear>| a) else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return Vec::new() };
    let wanted: Vec<ResourceSpecifier<'_>> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    let answers = runtime.block_on(admin.describe_configs(&wanted, &options)).unwrap_or_default();
    // In the order of the question.
    let appended = topics.iter().zip(answers).filter(|(_, answer)| {
        let entry = answer.as_ref().ok().and_then(|a| a.get("message.timestamp.type"));
        entry.and_then(|e| e.value.as_deref()) == Some("LogAppendTime")
    });
    appended.map(|(topic, _)| (*topic).to_owned()).collect()
}
