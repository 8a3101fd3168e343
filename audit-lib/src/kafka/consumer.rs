//! Consumers that count what was processed, before it is committed.
//!
//! The order is the promise: poll or receive, process, `seen`, commit. A message that is committed but not seen looks
//! lost; one that is seen twice because the commit was lost is `re-read`, information only.
//!
//! Limits: with `enable.auto.commit=true` (librdkafka's default) offsets are committed when they are handed out, not
//! when they are processed; it works, and a crash between the two is a loss that the audit will show.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Once;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};

use super::error::KafkaStartError;
use super::grant::{Grant, missing_grant};
use super::observe::observe_message;
use crate::recorder::Recorder;

mod stream;

pub use stream::AuditedStreamConsumer;

/// What both consumers do.
struct Counting {
    recorder: Recorder,
    group: String,
    /// A missing ACL is said once, not at every retry of librdkafka's.
    refused: Once,
}

impl Counting {
    fn new(config: &ClientConfig, recorder: Recorder) -> Self {
        if config.get("enable.auto.commit").is_none_or(|v| v == "true") {
            tracing::warn!("enable.auto.commit is on: a crash between commit and processing loses messages");
        }
        let group = config.get("group.id").unwrap_or_default().to_owned();
        Self { recorder, group, refused: Once::new() }
    }

    fn seen(&self, message: &BorrowedMessage<'_>) {
        self.recorder.seen(&observe_message(message));
        self.recorder.position(message.topic(), message.partition(), message.offset().saturating_add(1));
    }

    fn name_missing_grant<C: ConsumerContext>(&self, consumer: &impl Consumer<C>, error: &KafkaError) {
        let subscribed = consumer.subscription().map(|topics| topics.to_topic_map()).unwrap_or_default();
        let topics: BTreeSet<&str> = subscribed.keys().map(|(topic, _)| topic.as_str()).collect();
        let topics = topics.into_iter().collect::<Vec<_>>().join("', '");
        let said = missing_grant(error, Grant::ReadGroup(&self.group))
            .or_else(|| missing_grant(error, Grant::ReadTopic(&topics)));
        if let Some(said) = said {
            self.refused.call_once(|| tracing::error!("{said}"));
        }
    }
}

/// rdkafka's [`BaseConsumer`], counting. Everything but `seen` is the consumer's own, by `Deref`.
pub struct AuditedConsumer<C: ConsumerContext = DefaultConsumerContext> {
    consumer: BaseConsumer<C>,
    counting: Counting,
}

impl AuditedConsumer {
    /// A consumer without callbacks of the host.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(config: &ClientConfig, recorder: Recorder) -> Result<Self, KafkaStartError> {
        Self::with_context(config, DefaultConsumerContext, recorder)
    }
}

impl<C: ConsumerContext> AuditedConsumer<C> {
    /// A consumer with the host's own context.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn with_context(config: &ClientConfig, context: C, recorder: Recorder) -> Result<Self, KafkaStartError> {
        let counting = Counting::new(config, recorder);
        Ok(Self { consumer: BaseConsumer::from_config_and_context(config, context)?, counting })
    }

    /// The next message or error, after at most `timeout`. A message is counted by [`seen`](Self::seen), not here.
    pub fn poll(&self, timeout: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let polled = self.consumer.poll(timeout);
        if let Some(Err(error)) = &polled {
            self.counting.name_missing_grant(&self.consumer, error);
        }
        polled
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

impl<C: ConsumerContext> Deref for AuditedConsumer<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &BaseConsumer<C> {
        &self.consumer
    }
}
