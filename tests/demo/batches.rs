//! The demo's brokers hold few, well filled batches: librdkafka's mock walks all of them at each fetch, so that a demo of
//! single messages takes a whole core after a few minutes.
//!
//! Counted, not timed: the mock answers a fetch with one batch, so a reader's fetches are the batches that it read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::demo::Demo;
use chaperone_tests::{eventually, figures};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, Statistics, TopicPartitionList};

/// What librdkafka's mock keeps of a partition, the head of a batch, and of a record in it.
const KEPT_BYTES: usize = 5 << 20;
const BATCH_HEAD: usize = 61;
const RECORD_HEAD: usize = 12;
/// Enough to see how they are filled.
const MESSAGES: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps librdkafka's count of fetches.
#[derive(Default)]
struct Fetches(AtomicI64);

impl ClientContext for Fetches {
    fn stats(&self, statistics: Statistics) {
        let sent = statistics.brokers.values().filter_map(|broker| broker.req.get("Fetch")).sum();
        self.0.store(sent, Ordering::SeqCst);
    }
}

impl ConsumerContext for Fetches {}

/// What a reader got.
#[derive(Debug, Default, Clone, Copy)]
struct Read {
    messages: usize,
    bytes: usize,
    fetches: usize,
}

/// Reads one partition until its end, at least [`MESSAGES`].
fn read(brokers: &str, partition: i32) -> anyhow::Result<Read> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "unused").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("statistics.interval.ms", "20");
    let reader: BaseConsumer<Fetches> = config.create_with_context(Fetches::default())?;
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("orders", partition, Offset::Beginning)?;
    reader.assign(&all)?;
    let mut read = Read::default();
    let mut ended = false;
    eventually(PATIENCE, "a partition is read", || {
        while let Some(polled) = reader.poll(Duration::from_millis(50)) {
            match polled {
                Ok(message) => {
                    read.messages += 1;
                    read.bytes += message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                    ended = false;
                }
                Err(KafkaError::PartitionEOF(_)) => {
                    ended = true;
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        ensure!(ended && read.messages >= MESSAGES, "{read:?}");
        // Counted after the last message, and with the fetches that found nothing: too many rather than too few.
        let fetches = reader.context().0.load(Ordering::SeqCst);
        ensure!(fetches > 0, "no statistics yet");
        read.fetches = usize::try_from(fetches)?;
        Ok(())
    })?;
    Ok(read)
}

/// Checks a demo that runs, on both clusters.
pub(crate) fn few_and_full(demo: &mut Demo) -> anyhow::Result<()> {
    let brokers = eventually(PATIENCE, "both stages run", || demo.brokers())?;
    let (mut fewest, mut most) = (usize::MAX, 0);
    for (cluster, brokers) in ["regional", "aggregate"].into_iter().zip(&brokers) {
        let mut sum = Read::default();
        for partition in 0..4 {
            let one = read(brokers, partition).with_context(|| format!("{cluster}, partition {partition}"))?;
            sum = Read {
                messages: sum.messages + one.messages,
                bytes: sum.bytes + one.bytes,
                fetches: sum.fetches + one.fetches,
            };
        }
        let batch_bytes = BATCH_HEAD + (sum.bytes + RECORD_HEAD * sum.messages) / sum.fetches;
        println!("{cluster}: {sum:?}, {batch_bytes} bytes a batch");
        fewest = fewest.min(sum.messages / sum.fetches);
        most = most.max(KEPT_BYTES / batch_bytes);
    }
    figures::record("demo", "messages_a_batch", fewest)?;
    figures::record("demo", "batches_kept", most)?;
    ensure!(fewest > 1, "a message a batch: the brokers will take a core");
    Ok(())
}
