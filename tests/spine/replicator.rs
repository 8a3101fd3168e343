//! The replicator under test: copies a topic from one real cluster to the other, and does what the plan says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::plan::{Fate, Plan};

/// A running replicator.
pub(crate) struct Replicator {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Replicator {
    /// Copies `topic` from the beginning.
    pub(crate) fn start(
        from: &ClientConfig,
        to: &ClientConfig,
        topic: &str,
        partitions: i32,
        plan: Arc<Plan>,
    ) -> anyhow::Result<Self> {
        let mut from = from.clone();
        from.set("group.id", "unused").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
        let consumer = BaseConsumer::from_config(&from).context("replicator's consumer")?;
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let mut to = to.clone();
        to.set("enable.idempotence", "true").set("linger.ms", "5");
        let producer = ThreadedProducer::from_config(&to).context("replicator's producer")?;
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&read));
        let thread = std::thread::spawn(move || copy(&consumer, &producer, &plan, &stopped, &counter));
        Ok(Self { stop, read, thread: Some(thread) })
    }

    /// Messages read so far.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::SeqCst)
    }

    /// Stops, and says what went wrong if anything did.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("finished before")?;
        thread.join().map_err(|_| anyhow::anyhow!("the replicator panicked"))?
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn copy(
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<DefaultProducerContext>,
    plan: &Plan,
    stop: &AtomicBool,
    read: &AtomicU64,
) -> anyhow::Result<()> {
    let mut copies: BTreeMap<&str, u64> = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => message,
            // Without a group there is nobody to ask for its offsets; reading goes on all the same.
            Some(Err(e)) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => continue,
            Some(Err(e)) => return Err(e).context("replicator reads"),
        };
        let fate = plan.fate(message.payload().unwrap_or_default());
        let times = match fate {
            None => 1,
            Some(Fate::Dropped) => 0,
            Some(Fate::Doubled) => 2,
        };
        for _ in 0..times {
            forward(producer, &message)?;
        }
        *copies
            .entry(match times {
                0 => "dropped",
                1 => "copied",
                _ => "doubled",
            })
            .or_default() += 1;
        read.fetch_add(1, Ordering::SeqCst);
    }
    producer.flush(Duration::from_secs(30)).context("replicator flushes")?;
    println!("replicator: {copies:?}");
    Ok(())
}

fn forward(producer: &ThreadedProducer<DefaultProducerContext>, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
    let timestamp = message.timestamp().to_millis().context("a message without a timestamp")?;
    let mut record: BaseRecord<'_, [u8], [u8]> =
        BaseRecord::to(message.topic()).partition(message.partition()).timestamp(timestamp);
    record.payload = message.payload();
    record.key = message.key();
    record.headers = message.headers().map(rdkafka::message::BorrowedHeaders::detach);
    let mut waiting = Some(record);
    chaperone_tests::eventually(Duration::from_secs(60), "room in the replicator's queue", || {
        let record = waiting.take().context("sent")?;
        match producer.send(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                waiting = Some(record);
                anyhow::bail!("queue full")
            }
            Err((e, _)) => Err(e).context("replicator produces"),
        }
    })
}
