//! `chaperone plan` as a stranger runs it, and a producer of a known rate.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_tests::{Cluster, eventually, paths};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

/// Runs `chaperone plan` to its end.
pub(crate) fn plan(arguments: &[&str]) -> anyhow::Result<(Option<i32>, String, String)> {
    let binary = paths::target().join("ci/chaperone");
    let output: Output = Command::new(binary).arg("plan").args(arguments).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("--- {:?}\n{out}{err}", output.status.code());
    ensure!(!err.contains("panicked"), "{err}");
    Ok((output.status.code(), out, err))
}

/// A plain producer.
pub(crate) fn producer(cluster: &Cluster) -> anyhow::Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config: ClientConfig = cluster.plain_config();
    config.set("linger.ms", "20").set("queue.buffering.max.messages", "500000");
    Ok(ThreadedProducer::from_config(&config)?)
}

/// Sends `messages` of `bytes` bytes to `topic`, round robin over its partitions.
pub(crate) fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    (topic, partitions): (&str, i32),
    messages: u64,
    bytes: usize,
) -> anyhow::Result<()> {
    // Random, so that compression by anybody would not make it cheap.
    let payload: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
    for number in 0..messages {
        let partition = i32::try_from(number % u64::try_from(partitions)?)?;
        eventually(Duration::from_secs(60), "the queue has room", || {
            let record: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(topic).payload(payload.as_slice()).partition(partition);
            match producer.send(record) {
                Ok(()) => Ok(Ok(())),
                Err((e @ KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(e.into()),
                Err((e, _)) => Ok(Err(e)),
            }
        })??;
    }
    Ok(())
}

/// Waits for everything that was sent.
pub(crate) fn flush(producer: &ThreadedProducer<DefaultProducerContext>) -> anyhow::Result<()> {
    producer.flush(Duration::from_secs(60)).context("everything is delivered")
}

/// Sends `each` messages every `pace` until `done`.
pub(crate) fn steadily(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: (&str, i32),
    (each, pace): (u64, Duration),
    done: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    for burst in 0.. {
        if done() {
            break;
        }
        let due = begun + pace * burst;
        eventually(Duration::from_secs(60), "the next burst is due", || {
            ensure!(Instant::now() >= due, "not yet");
            Ok(())
        })?;
        send(producer, topic, each, 200)?;
    }
    Ok(())
}
