//! What taps must have counted, told by those that did not count it: the topic itself, and the control.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{AuditMessage, Width};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::{Cluster, clients};

const PATIENCE: Duration = Duration::from_secs(120);

/// The truth: the first `messages` of a topic by window of their own timestamps.
pub fn by_window(cluster: &Cluster, topic: &str, messages: u64) -> anyhow::Result<BTreeMap<i64, u64>> {
    let all = clients::consume(&cluster.plain_config(), topic, "recount", usize::try_from(messages)?, PATIENCE)?;
    let mut counts = BTreeMap::new();
    for message in &all {
        let event_ms = message.timestamp().to_millis().context("a message without a timestamp")?;
        *counts.entry(Width::TEN_SECONDS.window_of(event_ms).0).or_default() += 1;
    }
    Ok(counts)
}

/// Every report of the audit topic once more, as a tap would send it whose acknowledgement was lost; returns how many.
pub fn say_again(cluster: &Cluster, audit: &str) -> anyhow::Result<u64> {
    let producer: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&cluster.exact_config())?;
    let mut said = 0;
    each(cluster, audit, |record| {
        let again = BaseRecord::<[u8], [u8]>::to(audit).partition(record.partition());
        let again = again.key(record.key().unwrap_or_default()).payload(record.payload().unwrap_or_default());
        producer.send(again).map_err(|(e, _)| e)?;
        said += 1;
        Ok(())
    })?;
    producer.flush(PATIENCE)?;
    Ok(said)
}

/// The control: what a collector without claims would have counted, every interval on the audit topic added up.
pub fn without_epochs(cluster: &Cluster, audit: &str) -> anyhow::Result<u64> {
    let mut sum = 0;
    each(cluster, audit, |record| {
        let message = AuditMessage::decode(record.payload().unwrap_or_default())?;
        sum += message.intervals.iter().flat_map(|i| &i.windows).map(|w| w.n).sum::<u64>();
        Ok(())
    })?;
    Ok(sum)
}

/// The truth where nobody knows how many there are (transactions of unknown end): every message that a consumer may see,
/// from the beginning of each partition to its end, by window of its own timestamp.
pub fn committed(cluster: &Cluster, topic: &str) -> anyhow::Result<BTreeMap<i64, u64>> {
    let mut counts = BTreeMap::new();
    each(cluster, topic, |message| {
        let event_ms = message.timestamp().to_millis().context("a message without a timestamp")?;
        *counts.entry(Width::TEN_SECONDS.window_of(event_ms).0).or_default() += 1;
        Ok(())
    })?;
    Ok(counts)
}

/// Each message from the beginning of each partition to where it ends now, or later.
fn each(
    cluster: &Cluster,
    topic: &str,
    mut see: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let partitions = cluster.offsets(topic)?.len();
    let mut config = cluster.plain_config();
    config.set("group.id", "recount").set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    let consumer = BaseConsumer::<DefaultConsumerContext>::from_config(&config)?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, i32::try_from(partition)?, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (end, mut ended) = (Instant::now() + PATIENCE, BTreeSet::new());
    while ended.len() < partitions {
        ensure!(Instant::now() < end, "{} of {partitions} partitions within {PATIENCE:?}", ended.len());
        match consumer.poll(Duration::from_millis(50)) {
            // What comes behind the end is a later test's, or a heartbeat.
            Some(Ok(message)) if ended.contains(&message.partition()) => {}
            Some(Ok(message)) => see(&message)?,
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            // It goes on by itself.
            Some(Err(_)) | None => {}
        }
    }
    Ok(())
}
