//! A transaction that stays open while others' messages are acknowledged behind it: no consumer can read those, so they are
//! waited for, and the rows say why; whatever becomes of the transaction, nothing was ever *missing*.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::{Recorder, Ticket};
use chaperone_audit::{Clock, Message, SystemClock};
use chaperone_tests::tapped::{PATIENCE, Scene, Setup, Upstream};
use chaperone_tests::{Cluster, eventually, figures};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

type Sends = ThreadedProducer<DefaultProducerContext>;

const WAIT: Duration = Duration::from_secs(30);
const CAVEAT: &str = "held by an open transaction downstream";
/// Messages in a transaction.
const INSIDE: u64 = 10;

/// Begins a transaction and sends; its messages are attempts until it ends.
fn begin(scene: &Scene, producer: &Sends, recorder: &Recorder) -> anyhow::Result<Vec<Ticket>> {
    producer.begin_transaction()?;
    let mut tickets = Vec::new();
    for n in 0..INSIDE {
        let (value, now_ms) = (format!("held {now} {n}", now = SystemClock.now_ms()), SystemClock.now_ms());
        let (topic, value, headers) = (scene.topic.as_str(), value.as_bytes(), &NoHeaders);
        let timestamp_ms = Some(now_ms);
        let message = Message { topic, key: None, value: Some(value), headers, timestamp_ms, broker_time: false };
        tickets.push(recorder.attempt(&message));
        producer.send(BaseRecord::<[u8], _>::to(topic).payload(value).timestamp(now_ms)).map_err(|(e, _)| e)?;
    }
    producer.flush(WAIT)?;
    Ok(tickets)
}

/// Holds a transaction open until at least one window that ended behind it says so; returns false alarms meanwhile.
fn hold(scene: &Scene, upstream: &mut Upstream<'_>) -> anyhow::Result<BTreeSet<i64>> {
    let mut red = BTreeSet::new();
    eventually(PATIENCE, "a window says what holds it", || {
        upstream.send(5)?;
        let rows = scene.windows()?;
        red.extend(rows.iter().filter(|w| w.missing_min > 0 || w.is_late()).map(|w| w.window_ms));
        ensure!(rows.iter().any(|w| w.caveats.iter().any(|c| c == CAVEAT) && w.is_pending()), "{rows:#?}");
        Ok(())
    })?;
    Ok(red)
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let scene = Setup::on(cluster).scene("held", 1)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send(100)?;
    scene.counted(100)?;
    let mut config = cluster.plain_config();
    config.set("transactional.id", &scene.topic).set("transaction.timeout.ms", "120000");
    let producer = Sends::from_config(&config)?;
    producer.init_transactions(WAIT)?;
    let mut red = BTreeSet::new();

    let tickets = begin(&scene, &producer, &recorder)?;
    red.append(&mut hold(&scene, &mut upstream)?);
    producer.commit_transaction(WAIT)?;
    tickets.into_iter().for_each(Ticket::acked);
    scene.counted(upstream.sent() + INSIDE)?;

    let tickets = begin(&scene, &producer, &recorder)?;
    red.append(&mut hold(&scene, &mut upstream)?);
    producer.abort_transaction(WAIT)?;
    tickets.into_iter().for_each(Ticket::failed);
    scene.counted(upstream.sent() + INSIDE)?;

    let rows = scene.verdicts()?;
    for w in &rows {
        ensure!(w.verdict == "ok" && !w.caveats.iter().any(|c| c == CAVEAT), "{w:?}");
    }
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    println!("{} messages, {} windows ok", upstream.sent(), rows.len());
    figures::record("brokers", "held_false_alarms", red.len())
}
