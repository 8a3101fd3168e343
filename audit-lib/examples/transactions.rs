//! Produces in transactions of COUNT messages (default 100), TRANSACTIONS of them (default 3), of which every second one is
//! aborted; then leaves one open until Ctrl-C, and aborts it.
//!
//! `BOOTSTRAP=localhost:9092 TOPIC=orders DATA_DIR=/tmp/transactions cargo run --example transactions --features kafka`

mod common;

use std::time::Duration;

use anyhow::Context as _;
use chaperone_audit::kafka::AuditedProducer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseRecord;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let count: u64 = common::setting("COUNT", "100").parse().context("COUNT is not a number")?;
    let transactions: u64 = common::setting("TRANSACTIONS", "3").parse().context("TRANSACTIONS is not a number")?;
    let recorder = common::recorder("producer", "example-transactions")?;
    let (topic, mut config) = (common::topic(), common::kafka());
    // One name for one logical producer, the same after a restart: it ends what a dead one left open.
    config.set("transactional.id", format!("example-{topic}"));
    let producer = AuditedProducer::new(&config, recorder.clone())?;
    producer.init_transactions(PATIENCE)?;

    let send = |n: u64| -> anyhow::Result<()> {
        producer.begin_transaction()?;
        for i in 0..count {
            let value = format!(r#"{{"transaction":{n},"order":{i}}}"#);
            producer.send(BaseRecord::<str, str>::to(&topic).payload(&value)).map_err(|(error, _)| error)?;
        }
        Ok(())
    };
    for n in 0..transactions {
        send(n)?;
        if n % 2 == 0 { commit(&producer)? } else { producer.abort_transaction(PATIENCE)? }
    }
    send(transactions)?;
    producer.flush(PATIENCE)?;
    let stats = recorder.stats();
    println!("open: {} held, {} acked, {} failed", stats.in_flight, stats.acked, stats.failed);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(common::stop_signal());

    producer.abort_transaction(PATIENCE)?;
    let closed = recorder.close(Duration::from_secs(10));
    let stats = recorder.stats();
    println!("{} acked, {} failed, {} in doubt", stats.acked, stats.failed, closed.in_doubt);
    Ok(())
}

/// A commit that did not come through is repeated as long as Kafka says that it may be; else the transaction is aborted.
fn commit(producer: &AuditedProducer) -> anyhow::Result<()> {
    loop {
        match producer.commit_transaction(PATIENCE) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                producer.abort_transaction(PATIENCE)?;
                return Ok(());
            }
            result => return result.context("cannot commit"),
        }
    }
}
