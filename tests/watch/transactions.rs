//! Aborted transactions never reach a consumer, so they are nobody's loss; and the markers that end transactions have
//! offsets that no message ever shows, which must not hold up a verdict.

use std::time::Duration;

use anyhow::ensure;
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::programs;
use chaperone_tests::{Bed, eventually};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::verdicts;

/// Serves its delivery reports by itself: an abort waits for them.
type Sends = ThreadedProducer<DefaultProducerContext>;

const WAIT: Duration = Duration::from_secs(30);
/// Proven windows that are waited for.
const WINDOWS: usize = 2;

#[test]
fn aborted_transactions_are_nobodys_loss() -> anyhow::Result<()> {
    let bed = Bed::get()?;
    let topic = bed.regional.fresh_topic("tx", 1, &[])?;
    bed.agg.create_topic(&topic, 1, &[])?;
    let (from, to) = (format!("a={}", bed.regional.bootstrap_plain()), format!("b={}", bed.agg.bootstrap_plain()));
    let arguments = ["--from", &from, "--to", &to, "--topics", &topic, "--port", "0", "--json", "--grace", "2s"];
    let mut watch = programs::chaperone_verb("watch", &arguments)?;
    watch.line("it is up", WAIT, |line| line.contains("\"event\":\"ready\""))?;

    let mut config = bed.regional.plain_config();
    config.set("transactional.id", &topic);
    let mut upstream = transactional(&config)?;
    let downstream: Sends = ThreadedProducer::from_config(&bed.agg.exact_config())?;
    let mut n = 0_u64;
    // The last thing in the log is always a marker.
    eventually(Duration::from_secs(120), "windows proven in spite of aborted transactions", || {
        for commit in [true, false] {
            let sent: Vec<(String, i64)> =
                (n..n + 10).map(|n| (format!("message {n}"), SystemClock.now_ms())).collect();
            n += 10;
            if let Err(error) = transaction(&upstream, &topic, &sent, commit) {
                // As any program has it then: what was open is aborted by the one that comes after it.
                upstream = transactional(&config)?;
                return Err(error);
            }
            if commit {
                send(&downstream, &topic, &sent)?;
                downstream.flush(WAIT)?;
            }
        }
        let said = verdicts(&watch)?;
        let proven = said.values().filter(|v| v["verdict"] == "ok").count();
        ensure!(proven >= WINDOWS, "{}", watch.output());
        Ok(())
    })?;
    for ((_, window_ms), said) in verdicts(&watch)? {
        ensure!(said["verdict"] == "ok" && said["topic"] == topic.as_str(), "{window_ms}: {said}");
    }
    Ok(())
}

fn transactional(config: &ClientConfig) -> anyhow::Result<Sends> {
    let producer: Sends = ThreadedProducer::from_config(config)?;
    producer.init_transactions(WAIT)?;
    Ok(producer)
}

fn transaction(upstream: &Sends, topic: &str, sent: &[(String, i64)], commit: bool) -> anyhow::Result<()> {
    upstream.begin_transaction()?;
    send(upstream, topic, sent)?;
    let ended = if commit { upstream.commit_transaction(WAIT) } else { upstream.abort_transaction(WAIT) };
    Ok(ended?)
}

fn send(producer: &Sends, topic: &str, sent: &[(String, i64)]) -> anyhow::Result<()> {
    for (payload, ms) in sent {
        producer.send(BaseRecord::<[u8], _>::to(topic).payload(payload).timestamp(*ms)).map_err(|(e, _)| e)?;
    }
    Ok(())
}
