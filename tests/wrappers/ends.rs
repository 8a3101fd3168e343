//! Delivered, refused by librdkafka (too large, the queue full), refused by the broker (too large, no such topic, no
//! right to it): the counts are what the topic holds. And both kinds of consumers see that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::kafka::{AuditedConsumer, AuditedStreamConsumer};
use chaperone_tests::{Bed, figures, skip};
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, DefaultConsumerContext};

use crate::sender::{Delivered, KINDS, Kind, Sender, Tokio, WAIT, clean, recorder, stored, wrong};

/// More than librdkafka takes, and more than the topic takes.
const LOCAL_LIMIT: usize = 60_000;
const TOPIC_LIMIT: usize = 30_000;
const QUEUE: u64 = 2_000;

fn config(base: ClientConfig) -> ClientConfig {
    let mut config = base;
    config.set("message.max.bytes", "50000").set("batch.size", "10000").set("linger.ms", "50");
    // A topic that nobody has is given up after half a second instead of 30.
    config.set("topic.metadata.propagation.max.ms", "500").set("message.timeout.ms", "20000");
    config.set("queue.buffering.max.messages", QUEUE.to_string());
    config
}

/// Sends in every way; returns what librdkafka took (the control: a count of sends that returned no error).
fn every_way(kind: Kind, topic: &str) -> anyhow::Result<(u64, u64)> {
    let cluster = &Bed::get()?.regional;
    let recorder = recorder()?;
    let sender = Sender::new(kind, &config(cluster.plain_config()), Delivered::default(), &recorder)?;
    let mut taken = sender.send_all(topic, 1_500, 100);
    sender.flush()?;
    ensure!((taken, recorder.stats().acked) == (1_500, 1_500), "{kind:?}: {taken} taken, {:?}", recorder.stats());
    ensure!(sender.send_all(topic, 20, LOCAL_LIMIT) == 0, "{kind:?}: more than message.max.bytes was taken");
    taken += sender.send_all(topic, 20, TOPIC_LIMIT);
    taken += sender.send_all("wrappers-nobody-has-this", 20, 100);
    sender.flush()?;
    ensure!(recorder.stats().failed == 60, "{kind:?}: {:?}", recorder.stats());
    // More at once than the queue holds.
    let burst = sender.send_all(topic, 3 * QUEUE, 20);
    ensure!(burst < 3 * QUEUE, "{kind:?}: the queue was never full");
    taken += burst;
    sender.flush()?;
    let held = stored(cluster, topic)?;
    clean(kind, &recorder.stats(), held)?;
    let false_counts = wrong(&recorder.stats(), held);
    recorder.close(WAIT);
    Ok((false_counts, taken - held))
}

fn forbidden(kind: Kind) -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    if !cluster.is_secure() {
        return skip("a user without rights", "this cluster (CHAPERONE_TEST_BOOTSTRAP) has no ACLs of ours");
    }
    let (topic, recorder) = (cluster.fresh_topic("wrappers-forbidden", 1, &[])?, recorder()?);
    let sender = Sender::new(kind, &config(cluster.client_config("nobody")?), Delivered::default(), &recorder)?;
    sender.send_all(&topic, 20, 100);
    sender.flush()?;
    let stats = recorder.stats();
    ensure!((stats.counted, stats.failed) == (20, 20), "{kind:?}: {stats:?}");
    clean(kind, &stats, stored(cluster, &topic)?)
}

#[test]
fn every_kind_of_producer_says_what_the_topic_holds() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let (mut false_counts, mut topics) = (0, BTreeMap::new());
    for kind in KINDS {
        let limit = (TOPIC_LIMIT - 10_000).to_string();
        let topic = cluster.fresh_topic("wrappers", 3, &[("max.message.bytes", &limit)])?;
        let (wrong, control) = every_way(kind, &topic)?;
        ensure!(control >= 40, "{kind:?}: a count of sends alone was only {control} off");
        false_counts += wrong;
        forbidden(kind)?;
        topics.insert(topic.clone(), stored(cluster, &topic)?);
    }
    figures::record("wrappers", "false_counts", false_counts)?;
    consumers(&topics)
}

/// Both kinds of consumers see what is there, and as far as it goes.
fn consumers(topics: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let names: Vec<&str> = topics.keys().map(String::as_str).collect();
    let (all, mut config) = (topics.values().sum::<u64>(), cluster.plain_config());
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");

    let (polled, end) = (recorder()?, Instant::now() + WAIT);
    let consumer = AuditedConsumer::new(config.set("group.id", format!("{}-base", names[0])), polled.clone())?;
    consumer.subscribe(&names)?;
    while polled.stats().counted < all {
        ensure!(Instant::now() < end, "{} of {all}", polled.stats().counted);
        if let Some(message) = consumer.poll(Duration::from_millis(50)) {
            consumer.seen(&message?);
        }
    }
    drop(consumer);

    let streamed = recorder()?;
    config.set("group.id", format!("{}-stream", names[0]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let consumer = AuditedStreamConsumer::<DefaultConsumerContext, Tokio>::new(&config, streamed.clone())?;
        consumer.subscribe(&names)?;
        let read = async {
            while streamed.stats().counted < all {
                consumer.seen(&consumer.recv().await?);
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(WAIT, read).await.context("the stream")?
    })?;
    ensure!(
        polled.stats().counted == all && streamed.stats().counted == all,
        "{:?} {:?}",
        polled.stats(),
        streamed.stats()
    );
    Ok(())
}
