//! The consumer stage: the library's `AuditedConsumer` on the aggregate cluster, counting before it commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::kafka::AuditedConsumer;
use chaperone_audit::recorder::Recorder;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};

/// A running consumer.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Reader {
    /// Reads `topic` from the beginning as a member of `group`.
    pub(crate) fn start(config: &ClientConfig, group: &str, topic: &str, recorder: Recorder) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer = AuditedConsumer::new(&config, recorder).context("the consumer stage")?;
        consumer.subscribe(&[topic])?;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || read(&consumer, &stopped, &counter));
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// Messages seen so far.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// Stops, and says what went wrong if anything did.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("finished before")?;
        thread.join().map_err(|_| anyhow::anyhow!("the consumer panicked"))?
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn read(consumer: &AuditedConsumer, stop: &AtomicBool, seen: &AtomicU64) -> anyhow::Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.context("the consumer stage reads")?;
        consumer.seen(&message);
        let count = seen.fetch_add(1, Ordering::SeqCst) + 1;
        if count.is_multiple_of(1000) {
            consumer.commit_consumer_state(CommitMode::Async).context("the consumer stage commits")?;
        }
    }
    Ok(())
}
