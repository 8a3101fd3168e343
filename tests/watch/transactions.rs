//! Aborted transactions never reach a consumer, so they are nobody's loss; and the markers that end transactions have
//! offsets that no message ever shows, which must not hold up a verdict.

use std::time::Duration;

use anyhow::ensure;
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::programs;
use chaperone_tests::{Bed, eventually};
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
    let upstream: Sends = ThreadedProducer::from_config(&config)?;
    upstream.init_transactions(WAIT)?;
    let downstream: Sends = ThreadedProducer::from_config(&bed.agg.plain_config())?;
    let mut n = 0_u64;
    let mut transaction = |commit: bool| -> anyhow::Result<()> {
        upstream.begin_transaction()?;
        for _ in 0..10 {
            let (payload, now_ms) = (format!("message {n}"), SystemClock.now_ms());
            n += 1;
            let record = || BaseRecord::<[u8], _>::to(&topic).payload(&payload).timestamp(now_ms);
            upstream.send(record()).map_err(|(e, _)| e)?;
            if commit {
                downstream.send(record()).map_err(|(e, _)| e)?;
            }
        }
        if commit {
            upstream.commit_transaction(WAIT)?;
        } else {
            upstream.abort_transaction(WAIT)?;
        }
        Ok(downstream.flush(WAIT)?)
    };
    // The last thing in the log is always a marker.
    eventually(Duration::from_secs(120), "windows proven in spite of aborted transactions", || {
        transaction(true)?;
        transaction(false)?;
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
