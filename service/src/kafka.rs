//! Kafka clients as we run them: one place for the properties that the counts depend on (RELIABILITY §1).
//!
//! A user's librdkafka properties come first, ours override them. Consumers never commit, never store offsets and never
//! fall back to another offset by themselves; producers wait for all replicas and are idempotent. All queues are
//! bounded.

pub mod asked;
pub mod asker;
pub mod brokers;
pub mod client;
pub mod context;
pub mod corrupt;
pub mod ear;
pub mod message;
pub mod names;
pub mod policies;
pub mod position;
pub mod refusal;
pub mod stall;
pub mod topic;
pub mod wanted;
pub mod young;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};

/// How long a question to a broker may take.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to close before its thread is left behind (C8).
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// What every client shares.
fn base(cluster: &Cluster, part: &str) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("client.id", format!("chaperone-{part}"));
    // Partitions that are added later are seen in seconds, not in librdkafka's five minutes.
    c.set("topic.metadata.refresh.interval.ms", "10000");
    for (key, value) in &cluster.properties.0 {
        c.set(key, value);
    }
    c.set("bootstrap.servers", &cluster.bootstrap_servers);
    c.set_log_level(RDKafkaLogLevel::Info);
    c
}

fn reading(cluster: &Cluster, part: &str, isolation: Isolation) -> ClientConfig {
    let mut c = base(cluster, part);
    c.set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "false")
        .set("check.crcs", "true")
        .set("isolation.level", isolation.as_str())
        // Per queue; grows with partitions in librdkafka (C7), so that it is small.
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "10000")
        // Once that many wait, librdkafka looks again after this; its default of a second caps a partition at 10,000/s.
        .set("fetch.queue.backoff.ms", "10")
        // A larger message still arrives: the broker sends at least one, librdkafka grows its buffer.
        .set("fetch.message.max.bytes", "1048576");
    c
}

/// A member of a tap's group, which says which partitions are whose and reads none.
pub fn member(cluster: &Cluster, group: &str) -> ClientConfig {
    let mut c = reading(cluster, "tap", Isolation::ReadUncommitted);
    // Range is eager: one assignment at a time. Cooperative protocols stall (C3), static membership too (C4).
    c.set("group.id", group).set("partition.assignment.strategy", "range").set("session.timeout.ms", "10000");
    c
}

/// What is fetched ahead of a reader that takes at most so many bytes a second: a second's worth, in four parts.
pub fn capped(c: &mut ClientConfig, bytes_per_second: u64) {
    let queued_kib = (bytes_per_second / 1024).clamp(64, 16_384);
    let part = (bytes_per_second / 4).clamp(16_384, 1_048_576);
    // librdkafka raises the last one to its `message.max.bytes`, a megabyte.
    c.set("queued.max.messages.kbytes", queued_kib.to_string())
        .set("fetch.message.max.bytes", part.to_string())
        .set("fetch.max.bytes", bytes_per_second.clamp(1_000_000, 52_428_800).to_string());
}

/// Reads assigned partitions without a group: see [`Alone`](crate::ffi::Alone).
pub fn lone_consumer(cluster: &Cluster, part: &str, isolation: Isolation) -> ClientConfig {
    let mut c = reading(cluster, part, isolation);
    // Nobody keeps its offsets, the simple interface's own timer neither.
    c.set("offset.store.method", "none");
    c
}

/// The rack of whom this configuration reads copies; leaders otherwise.
pub const RACK: &str = "client.rack";

/// Reads from leaders only, whatever the user's properties say.
pub fn by_leaders(c: &mut ClientConfig) {
    c.set(RACK, "");
}

/// Looks what can be read at an offset, and where the log ends: as its leader has it, which decides.
pub fn looking(cluster: &Cluster, isolation: Isolation) -> ClientConfig {
    let mut c = lone_consumer(cluster, "look", isolation);
    by_leaders(&mut c);
    c.set("enable.partition.eof", "true").set("queued.min.messages", "1");
    c
}

/// Asks for offsets and metadata; never reads.
pub fn asking(cluster: &Cluster, isolation: Isolation) -> ClientConfig {
    let mut c = reading(cluster, "ask", isolation);
    // A broker that keeps silent must lose its connection: metadata is asked of any broker that has one.
    c.set("socket.timeout.ms", (ASK_TIMEOUT.as_millis() + 500).to_string());
    c
}

/// Asks what groups have committed. With a group's name that nobody joins: librdkafka 2.12 follows a null pointer when a
/// coordinator has moved or is loading and the client that asks has no group.
pub fn asking_groups(cluster: &Cluster) -> ClientConfig {
    let mut c = asking(cluster, Isolation::ReadUncommitted);
    c.set("group.id", "chaperone-lag-unused");
    c
}

/// Sends reports.
pub fn producer(cluster: &Cluster) -> ClientConfig {
    let mut c = base(cluster, "report");
    c.set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .set("message.timeout.ms", "30000")
        .set("queue.buffering.max.messages", "10000")
        .set("queue.buffering.max.kbytes", "16384");
    c
}

/// Makes a client. It connects later, and waits for as long as no broker answers.
///
/// # Errors
/// When librdkafka refuses a property: [`Code::Configuration`].
pub fn create<T, C>(cluster: &Cluster, config: &ClientConfig, context: C) -> Result<T, Failure>
where
    T: FromClientConfigAndContext<C>,
    C: rdkafka::ClientContext,
{
    T::from_config_and_context(config, context).map_err(|e| refused_property(cluster, e))
}

/// librdkafka's words about a property may hold its value; only those about its name are passed on.
fn refused_property(cluster: &Cluster, e: KafkaError) -> Failure {
    let path = format!("kafka.{}.properties", cluster.name);
    let message = match e {
        KafkaError::ClientConfig(_, words, key, _) => {
            let why = if words.starts_with("No such") {
                "librdkafka has no such property"
            } else {
                "librdkafka refuses its value"
            };
            format!("{path}.\"{key}\": {why}")
        }
        KafkaError::ClientCreation(words) => format!("{path}: librdkafka: {words}"),
        other => format!("{path}: librdkafka: {other}"),
    };
    Failure::new(Code::Configuration, message)
}

/// Closes a consumer by dropping it on a thread of its own: librdkafka may wait for ever (C8). After the deadline the
/// thread is left behind; the process ends without it.
pub fn close(name: &str, consumer: impl Send + 'static) {
    let (done, closed) = std::sync::mpsc::channel();
    let closing = std::thread::Builder::new().name(format!("{name}-close")).spawn(move || {
        drop(consumer);
        // The receiver is gone after the deadline; nobody waits then.
        done.send(()).is_ok()
    });
    if closing.is_ok() && closed.recv_timeout(CLOSE_DEADLINE).is_err() {
        tracing::warn!(
            "{name}: the Kafka client did not close within {} s; it is left behind",
            CLOSE_DEADLINE.as_secs()
        );
    }
}
