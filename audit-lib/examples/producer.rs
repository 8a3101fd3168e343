//! Produces COUNT messages (default 1000) and lets them be audited.
//!
//! `BOOTSTRAP=localhost:9092 TOPIC=orders DATA_DIR=/tmp/producer cargo run --example producer --features kafka`

mod common;

use std::time::Duration;

use anyhow::Context as _;
use chaperone_audit::kafka::AuditedProducer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseRecord;

fn main() -> anyhow::Result<()> {
    let count: u64 = common::setting("COUNT", "1000").parse().context("COUNT is not a number")?;
    let recorder = common::recorder("producer", "example-producer")?;
    let producer = AuditedProducer::new(&common::kafka(), recorder.clone())?;

    let topic = common::topic();
    for i in 0..count {
        let (key, value) = (i.to_string(), format!(r#"{{"order":{i},"run":"{}"}}"#, recorder.incarnation()));
        let mut record = BaseRecord::to(&topic).key(&key).payload(&value);
        // A full queue is for the application to handle: here, wait and try again (a new attempt).
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error).context("cannot send");
            }
            std::thread::sleep(Duration::from_millis(10));
            record = refused;
        }
    }

    // First the delivery reports, then the goodbye: this order leaves nothing in doubt.
    if let Err(error) = producer.flush(Duration::from_mins(1)) {
        eprintln!("some messages have no delivery report yet, they end in doubt: {error}");
    }
    let closed = recorder.close(Duration::from_secs(10));
    let stats = recorder.stats();
    println!(
        "sent {} messages: {} acked, {} failed, {} in doubt; {} audit messages left for the next start",
        stats.counted, stats.acked, stats.failed, closed.in_doubt, closed.unsent
    );
    Ok(())
}
