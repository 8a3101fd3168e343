//! `max_bytes_per_second`: a tap takes no more from its cluster than it is told, and counts everything all the same.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{AuditMessage, Clock, SystemClock};
use chaperone_tests::{Bed, clients, eventually, figures};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::Message;
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::scene::{PATIENCE, Scene, Setup};

const CAP: u64 = 2_000_000;
const MESSAGES: u64 = 6_000;
const BYTES: usize = 4_000;
const WAIT: Duration = Duration::from_secs(30);

/// Fills one partition with messages that do not compress.
pub(crate) fn fill(scene: &Scene, topic: &str, messages: u64) -> anyhow::Result<()> {
    let mut config = scene.cluster.plain_config();
    config.set("linger.ms", "20").set("queue.buffering.max.kbytes", "65536");
    let producer: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    let mut value = vec![0_u8; BYTES];
    let mut random = StdRng::seed_from_u64(messages);
    for _ in 0..messages {
        random.fill(value.as_mut_slice());
        eventually(WAIT, "room in the queue", || {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(&value);
            producer.send(record).map_err(|(e, _)| anyhow::anyhow!(e))
        })?;
    }
    Ok(producer.flush(WAIT)?)
}

/// When the last message of each report arrived at the tap, ms, and how many bytes the report counts.
fn arrivals(scene: &Scene) -> anyhow::Result<Vec<(i64, u64)>> {
    let records: i64 = scene.cluster.offsets(&scene.audit)?.iter().map(|(from, to)| to - from).sum();
    let config = scene.cluster.plain_config();
    let all = clients::consume(&config, &scene.audit, "arrivals", usize::try_from(records)?, PATIENCE)?;
    let mut arrivals = Vec::new();
    for record in &all {
        let message = AuditMessage::decode(record.payload().unwrap_or_default())?;
        for interval in &message.intervals {
            let last_ms = interval.windows.iter().map(|w| w.last_ms).max();
            arrivals.extend(last_ms.map(|ms| (ms, interval.windows.iter().map(|w| w.bytes).sum())));
        }
    }
    arrivals.sort_unstable();
    Ok(arrivals)
}

#[test]
fn a_tap_with_a_cap_takes_no_more_and_loses_nothing() -> anyhow::Result<()> {
    let capped = Setup::on(&Bed::get()?.regional).tap(&format!("max_bytes_per_second = {CAP}\n")).scene("capped", 1)?;
    let free = Scene::new("free", 1, &[])?;
    for scene in [&capped, &free] {
        fill(scene, &scene.topic, MESSAGES)?;
    }
    let mut tap = capped.tap()?;
    capped.counted(MESSAGES)?;
    tap.process.terminate(WAIT)?;
    let arrivals_capped = arrivals(&capped)?;
    let (first, rest) = arrivals_capped.split_first().context("no report")?;
    let (last_ms, _) = rest.last().context("a single report: the cap did nothing")?;
    // From the last message of the first report to that of the last one.
    let bytes: u64 = rest.iter().map(|(_, bytes)| bytes).sum();
    let rate = bytes * 1_000 / u64::try_from(last_ms - first.0)?;
    let begun_ms = SystemClock.now_ms();
    let mut tap = free.tap()?;
    free.counted(MESSAGES)?;
    tap.process.terminate(WAIT)?;
    let all: u64 = MESSAGES * u64::try_from(BYTES)?;
    let last_ms = arrivals(&free)?.last().context("no report")?.0;
    // From the start of the process: it was faster than that.
    let control = all * 1_000 / u64::try_from(last_ms - begun_ms)?;
    println!("{rate} bytes/s with a cap of {CAP}, at least {control} without");
    ensure!(control > 2 * CAP, "{control} bytes/s without a cap: the run showed nothing");
    figures::record("taps", "cap_ratio", f64::from(u32::try_from(rate)?) / f64::from(u32::try_from(CAP)?))?;
    ensure!(rate * 10 <= CAP * 11, "{rate} bytes/s with a cap of {CAP}");
    ensure!(rate * 10 >= CAP * 8, "{rate} bytes/s: the cap of {CAP} is not used");
    Ok(())
}
