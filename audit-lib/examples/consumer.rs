//! Consumes a topic in the group GROUP (default `example`) until Ctrl-C or SIGTERM, counting before it commits.
//!
//! `BOOTSTRAP=localhost:9092 TOPIC=orders DATA_DIR=/tmp/consumer cargo run --example consumer --features kafka`

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chaperone_audit::kafka::AuditedConsumer;
use rdkafka::consumer::{CommitMode, Consumer as _};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    tokio::spawn(async move {
        common::stop_signal().await;
        told.store(true, Ordering::SeqCst);
    });
    // `poll` blocks, so it has a thread of its own.
    tokio::task::spawn_blocking(move || consume(&stop)).await?
}

fn consume(stop: &AtomicBool) -> anyhow::Result<()> {
    let recorder = common::recorder("consumer", "example-consumer")?;
    let mut config = common::kafka();
    config
        .set("group.id", common::setting("GROUP", "example"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    let consumer = AuditedConsumer::new(&config, recorder.clone())?;
    consumer.subscribe(&[&common::topic()])?;
    println!("consuming");

    while !stop.load(Ordering::SeqCst) {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(error)) => eprintln!("{error}"),
            Some(Ok(message)) => {
                // Process the message here; then count it; then commit it.
                consumer.seen(&message);
                consumer.commit_message(&message, CommitMode::Async)?;
            }
        }
    }

    // Nothing was polled: there is nothing to commit, which is no error at the end.
    consumer.commit_consumer_state(CommitMode::Sync).ok();
    let closed = recorder.close(Duration::from_secs(10));
    println!(
        "consumed {} messages; {} audit messages left for the next start",
        recorder.stats().counted,
        closed.unsent
    );
    Ok(())
}
