//! What is produced on `regional`, as Kafka acknowledged it, and what a plain consumer finds on `agg`: the truth, without
//! any part of what is tested.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::{Cluster, eventually};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// Of a window, ms.
pub(crate) const WIDTH_MS: i64 = 10_000;
/// Of the topic.
pub(crate) const PARTITIONS: i32 = 3;
/// Between two messages of a partition.
const PAUSE: Duration = Duration::from_millis(10);
/// How far ahead the wild clock is, ms.
const AHEAD_MS: i64 = 600_000;

/// The window that holds `ms`.
pub(crate) fn window_of(ms: i64) -> i64 {
    ms.div_euclid(WIDTH_MS) * WIDTH_MS
}

/// A message that Kafka acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Produced {
    pub(crate) time_ms: i64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

#[derive(Default)]
struct Ledger {
    produced: BTreeMap<u64, Produced>,
    refused: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Shared {}

impl ProducerContext for Shared {
    type DeliveryOpaque = Box<(u64, i64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        let (id, time_ms) = *sent;
        self.with(|ledger| match result {
            Ok(m) => {
                let produced = Produced { time_ms, partition: m.partition(), offset: m.offset() };
                ledger.produced.insert(id, produced);
            }
            Err((e, _)) => ledger.refused.push(e.to_string()),
        });
    }
}

/// See the module's head.
pub(crate) struct Traffic {
    source: Source,
    stop: Option<(Sender<()>, JoinHandle<anyhow::Result<()>>)>,
}

#[derive(Clone)]
struct Source {
    producer: Arc<ThreadedProducer<Shared>>,
    shared: Shared,
    topic: String,
    next_id: Arc<AtomicU64>,
}

impl Source {
    /// One message to each partition, all with this time.
    fn send(&self, time_ms: i64) -> anyhow::Result<()> {
        for partition in 0..PARTITIONS {
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            let (key, payload) = (format!("key {}", id % 50), id.to_string());
            let record = BaseRecord::with_opaque_to(&self.topic, Box::new((id, time_ms)))
                .partition(partition)
                .key(&key)
                .payload(&payload)
                .timestamp(time_ms);
            self.producer.send(record).map_err(|(e, _)| e)?;
        }
        Ok(())
    }
}

impl Traffic {
    /// Sends nothing yet.
    pub(crate) fn new(cluster: &Cluster, topic: &str) -> anyhow::Result<Self> {
        let shared = Shared::default();
        let mut config = cluster.plain_config();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        let producer = Arc::new(ThreadedProducer::from_config_and_context(&config, shared.clone())?);
        let source = Source { producer, shared, topic: topic.to_owned(), next_id: Arc::default() };
        Ok(Self { source, stop: None })
    }

    /// One message to each partition whose clock is ten minutes ahead; returns their window once Kafka has them.
    pub(crate) fn ahead(&self) -> anyhow::Result<i64> {
        let time_ms = SystemClock.now_ms() + AHEAD_MS;
        self.source.send(time_ms)?;
        self.source.producer.flush(Duration::from_secs(20))?;
        Ok(window_of(time_ms))
    }

    /// Sends steadily until stopped.
    pub(crate) fn start(&mut self) {
        let (stop, stopped) = mpsc::channel();
        let source = self.source.clone();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                source.send(SystemClock.now_ms())?;
            }
            source.producer.flush(Duration::from_secs(20))?;
            Ok(())
        });
        self.stop = Some((stop, thread));
    }

    /// The first offset of `partition` that was produced at `ms` or later, once there is one.
    pub(crate) fn offset_at(&self, partition: i32, ms: i64) -> anyhow::Result<i64> {
        eventually(Duration::from_mins(1), "time passes", || {
            let first = self.source.shared.with(|ledger| {
                let later = ledger.produced.values().filter(|p| p.partition == partition && p.time_ms >= ms);
                later.filter(|p| p.time_ms < ms + AHEAD_MS / 2).map(|p| p.offset).min()
            });
            first.context("nothing was produced after it yet")
        })
    }

    /// Sends what waits; returns everything that was acknowledged, by id.
    pub(crate) fn stop(mut self) -> anyhow::Result<BTreeMap<u64, Produced>> {
        let (stop, thread) = self.stop.take().context("not started, or stopped before")?;
        drop(stop);
        thread.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))??;
        let (produced, refused) =
            self.source.shared.with(|l| (std::mem::take(&mut l.produced), std::mem::take(&mut l.refused)));
        ensure!(refused.is_empty(), "Kafka refused messages: {refused:?}");
        Ok(produced)
    }
}

/// Reads all of a topic with a plain consumer: how often each id is there.
pub(crate) fn recount(cluster: &Cluster, topic: &str) -> anyhow::Result<BTreeMap<u64, u64>> {
    let mut config = cluster.plain_config();
    config.set("group.id", format!("{topic}-recount")).set("enable.auto.commit", "false");
    let consumer = BaseConsumer::from_config(&config)?;
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for (partition, (first, next)) in (0_i32..).zip(cluster.offsets(topic)?) {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
        left += next - first;
    }
    consumer.assign(&list)?;
    let mut copies = BTreeMap::new();
    eventually(Duration::from_mins(1), "the whole topic is read", || {
        while let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message?;
            let id: u64 = std::str::from_utf8(message.payload().context("no payload")?)?.parse()?;
            *copies.entry(id).or_insert(0) += 1;
            left -= 1;
        }
        ensure!(left <= 0, "{left} messages are left");
        Ok(())
    })?;
    Ok(copies)
}
