//! What counting costs: the processor time of a real tap's thread for a million messages, and that of a bare rdkafka consumer
//! which only looks at their lengths. The same topic, alternately, so that neither has the warmer machine.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::tapped::count_once;
use chaperone_tests::{Bed, Cluster, eventually, figures};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

const PARTITIONS: i32 = 4;
const MESSAGES: u64 = 1_000_000;
const BYTES: usize = 200;
const PAIRS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(180);

/// Seconds that a thread has run, by the scheduler's nanoseconds.
fn seconds(task: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(task.join("schedstat"))?;
    let nanos: u64 = text.split(' ').next().context("no time")?.parse()?;
    Ok(Duration::from_nanos(nanos).as_secs_f64())
}

/// The thread of a process that has this name.
fn thread(pid: u32, name: &str) -> anyhow::Result<std::path::PathBuf> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == name {
            return Ok(task);
        }
    }
    anyhow::bail!("process {pid} has no thread {name}")
}

fn fill(cluster: &Cluster, topic: &str) -> anyhow::Result<()> {
    let mut config = cluster.plain_config();
    config.set("linger.ms", "20").set("batch.num.messages", "1000");
    let producer: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    let begun_ms = SystemClock.now_ms();
    for number in 0..MESSAGES {
        let value = format!("{number:BYTES$}");
        let key = number.to_be_bytes();
        // A minute of event time, in order.
        let time_ms = begun_ms - 60_000 + i64::try_from(number * 60_000 / MESSAGES)?;
        let partition = i32::try_from(number % 4)? % PARTITIONS;
        eventually(PATIENCE, "room in the queue", || {
            let record = BaseRecord::to(topic).partition(partition).key(&key[..]).payload(&value).timestamp(time_ms);
            producer.send(record).map_err(|(e, _)| anyhow::anyhow!(e))
        })?;
    }
    Ok(producer.flush(PATIENCE)?)
}

/// A consumer that does nothing, with a tap's queues.
fn bare(cluster: &Cluster, topic: &str) -> anyhow::Result<f64> {
    let mut config = cluster.plain_config();
    config.set("group.id", "bare").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("check.crcs", "true").set("queued.max.messages.kbytes", "16384").set("queued.min.messages", "10000");
    config.set("fetch.queue.backoff.ms", "10").set("fetch.message.max.bytes", "1048576");
    let consumer: BaseConsumer = BaseConsumer::from_config(&config)?;
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    let task = Path::new("/proc/thread-self");
    let before = seconds(task)?;
    let (mut read, bytes) = (0, AtomicU64::new(0));
    while read < MESSAGES {
        if let Some(message) = consumer.poll(Duration::from_millis(50)) {
            bytes.fetch_add(u64::try_from(message?.payload_len())?, Ordering::Relaxed);
            read += 1;
        }
    }
    ensure!(bytes.into_inner() == MESSAGES * u64::try_from(BYTES)?, "not the messages that were sent");
    Ok(seconds(task)? - before)
}

/// `chaperone tap`, from its start until everything is counted.
fn tap(cluster: &Cluster, topic: &str, turn: usize) -> anyhow::Result<f64> {
    count_once(cluster, topic, (MESSAGES, turn), |pid| seconds(&thread(pid, "tap-main")?))
}

fn median(mut values: Vec<f64>) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("no value")
}

#[test]
fn a_tap_is_nearly_as_fast_as_a_consumer_that_does_nothing() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let topic = cluster.fresh_topic("bench-tap", usize::try_from(PARTITIONS)?, &[("segment.bytes", "268435456")])?;
    fill(cluster, &topic)?;
    // Once for the brokers' page cache.
    bare(cluster, &topic)?;
    let (mut bares, mut taps) = (Vec::new(), Vec::new());
    for turn in 0..PAIRS {
        let (b, t) = (bare(cluster, &topic)?, tap(cluster, &topic, turn)?);
        println!("bare {b:.3} s, tap {t:.3} s for {MESSAGES} messages");
        bares.push(b);
        taps.push(t);
    }
    cluster.delete_topic(&topic)?;
    let (bare, tap) = (median(bares)?, median(taps)?);
    figures::record("bench_tap", "bare_ns_a_message", (bare * 1e9 / 1e6).round())?;
    figures::record("bench_tap", "tap_ns_a_message", (tap * 1e9 / 1e6).round())?;
    figures::record("bench_tap", "ratio", (bare / tap * 1_000.0).round() / 1_000.0)
}
