//! The consumer for async hosts.
//!
//! Limits: rdkafka's `StreamConsumer` can lose a wake-up (rust-rdkafka #638, #665, open as of 0.39): a stream then stands
//! still until something else wakes it, at the latest half of `max.poll.interval.ms` later (2.5 minutes by default). Nothing
//! is lost or counted twice by that, and positions and lag show it; a host that cannot bear it sets `max.poll.interval.ms`
//! lower, or polls an [`AuditedConsumer`](super::AuditedConsumer) on a thread of its own.

use std::ops::Deref;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{ConsumerContext, DefaultConsumerContext, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::util::{AsyncRuntime, DefaultRuntime};

use super::Counting;
use crate::kafka::error::KafkaStartError;
use crate::recorder::Recorder;

/// rdkafka's [`StreamConsumer`], counting. Everything but `seen` is the consumer's own, by `Deref`: also `stream` and
/// `split_partition_queue`, whose messages are counted by the same [`seen`](Self::seen).
pub struct AuditedStreamConsumer<C: ConsumerContext + 'static = DefaultConsumerContext, R = DefaultRuntime> {
    consumer: StreamConsumer<C, R>,
    counting: Counting,
}

impl<R: AsyncRuntime> AuditedStreamConsumer<DefaultConsumerContext, R> {
    /// A consumer without callbacks of the host. Make it inside its runtime `R`: rdkafka starts a task there.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(config: &ClientConfig, recorder: Recorder) -> Result<Self, KafkaStartError> {
        Self::with_context(config, DefaultConsumerContext, recorder)
    }
}

impl<C: ConsumerContext + 'static, R: AsyncRuntime> AuditedStreamConsumer<C, R> {
    /// A consumer with the host's own context; see [`new`](AuditedStreamConsumer::new).
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn with_context(config: &ClientConfig, context: C, recorder: Recorder) -> Result<Self, KafkaStartError> {
        let counting = Counting::new(config, recorder);
        Ok(Self { consumer: StreamConsumer::from_config_and_context(config, context)?, counting })
    }
}

impl<C: ConsumerContext + 'static, R> AuditedStreamConsumer<C, R> {
    /// The next message. It may be cancelled: no message is lost. A message is counted by [`seen`](Self::seen), not here.
    ///
    /// # Errors
    /// librdkafka's; a missing ACL is named in the log, once.
    pub async fn recv(&self) -> KafkaResult<BorrowedMessage<'_>>
    where
        R: AsyncRuntime,
    {
        let received = self.consumer.recv().await;
        if let Err(error) = &received {
            self.counting.name_missing_grant(&self.consumer, error);
        }
        received
    }

    /// Counts a processed message and moves the partition's position past it. Call it before the commit.
    pub fn seen(&self, message: &BorrowedMessage<'_>) {
        self.counting.seen(message);
    }

    /// The recorder that counts.
    pub fn recorder(&self) -> &Recorder {
        &self.counting.recorder
    }
}

impl<C: ConsumerContext + 'static, R> Deref for AuditedStreamConsumer<C, R> {
    type Target = StreamConsumer<C, R>;

    fn deref(&self) -> &StreamConsumer<C, R> {
        &self.consumer
    }
}
