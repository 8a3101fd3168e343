//! The worst transport that at-least-once allows: every audit record three times, each after a random delay.
//!
//! And the control: what a collector without `Join` and epochs would have made of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::AuditMessage;
use rand::Rng;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::plan::Plan;
use crate::scene::Scene;

/// Partitions of both audit topics.
const AUDIT_PARTITIONS: usize = 3;
/// Copies of each record.
const COPIES: usize = 3;
/// The longest delay of a copy.
const DELAY_MS: u64 = 1_500;

/// A running relay.
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Relayed>>>,
}

/// What went through, and what adding it up blindly would give.
#[derive(Default)]
pub(crate) struct Relayed {
    pub(crate) records: u64,
    /// By stage and window.
    naive: BTreeMap<(String, i64), u64>,
}

struct Copy {
    due: Instant,
    order: u64,
    key: Vec<u8>,
    value: Arc<[u8]>,
}

impl PartialEq for Copy {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}
impl Eq for Copy {}
impl PartialOrd for Copy {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Copy {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl Relay {
    /// Makes both audit topics and relays from one to the other.
    pub(crate) fn start(scene: &Scene) -> anyhow::Result<Self> {
        let cluster = &scene.bed.regional;
        for topic in [&scene.audit, &scene.collected] {
            cluster.create_topic(topic, AUDIT_PARTITIONS, &[("message.timestamp.type", "LogAppendTime")])?;
        }
        let mut config = cluster.plain_config();
        config.set("group.id", "relay").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
        let consumer = BaseConsumer::from_config(&config)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..AUDIT_PARTITIONS {
            all.add_partition_offset(&scene.audit, i32::try_from(partition)?, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let producer = ThreadedProducer::from_config(&cluster.exact_config())?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, to) = (Arc::clone(&stop), scene.collected.clone());
        let thread = std::thread::spawn(move || relay(&consumer, &producer, &to, &stopped));
        Ok(Self { stop, thread: Some(thread) })
    }

    pub(crate) fn finish(mut self) -> anyhow::Result<Relayed> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("finished before")?;
        thread.join().map_err(|_| anyhow::anyhow!("the relay panicked"))?
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn relay(
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<DefaultProducerContext>,
    to: &str,
    stop: &AtomicBool,
) -> anyhow::Result<Relayed> {
    let (mut waiting, mut relayed, mut order) = (BinaryHeap::new(), Relayed::default(), 0);
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            let message = message.context("the relay reads")?;
            let value: Arc<[u8]> = message.payload().unwrap_or_default().into();
            relayed.records += 1;
            for _ in 0..COPIES {
                relayed.add_naively(&value);
                order += 1;
                let due = Instant::now() + Duration::from_millis(rand::rng().random_range(0..DELAY_MS));
                let key = message.key().unwrap_or_default().to_vec();
                waiting.push(Reverse(Copy { due, order, key, value: Arc::clone(&value) }));
            }
        } else if stopping {
            break;
        }
        while waiting.peek().is_some_and(|Reverse(next): &Reverse<Copy>| next.due <= Instant::now()) {
            let Some(Reverse(copy)) = waiting.pop() else { break };
            let record = BaseRecord::to(to).key(&copy.key).payload(&*copy.value);
            producer.send(record).map_err(|(e, _)| e).context("the relay produces")?;
        }
    }
    producer.flush(Duration::from_secs(30)).context("the relay flushes")?;
    Ok(relayed)
}

impl Relayed {
    /// A collector without `Join` and epochs: it adds what it gets.
    fn add_naively(&mut self, value: &[u8]) {
        let Ok(message) = AuditMessage::decode(value) else { return };
        let slots = message.slots.iter().map(|s| (s.window_ms.0, s.state.n - s.state.failed));
        let intervals = message.intervals.iter().flat_map(|i| i.windows.iter().map(|w| (w.window_ms.0, w.n)));
        for (window, n) in slots.chain(intervals) {
            *self.naive.entry((message.stage.clone(), window)).or_default() += n;
        }
    }

    /// The control: it must miscount.
    pub(crate) fn naive_counting_differs(&self, plan: &Plan) -> anyhow::Result<()> {
        for (stage, truth) in [("producer", plan.sent()), ("kafka:agg", plan.replicated())] {
            let naive: BTreeMap<i64, u64> =
                self.naive.iter().filter(|((s, _), _)| s == stage).map(|((_, w), n)| (*w, *n)).collect();
            ensure!(!naive.is_empty(), "no record of {stage} went through the relay");
            ensure!(naive != truth, "{stage}: adding blindly gave the truth; the run showed nothing");
        }
        Ok(())
    }
}
