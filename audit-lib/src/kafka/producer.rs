//! A producer that counts: attempts before the hand-over, outcomes from the delivery reports.
//!
//! Invariants: the record that rdkafka gets is the caller's, with a `CreateTime` where it had none (and, with
//! [`Stamping::On`], a `chaperone` header where it had none). Errors are rdkafka's own, unchanged. Our part of a
//! delivery callback resolves a ticket, cannot panic, and runs before the host's part.
//!
//! Limits: dropping the producer purges what is queued, like rdkafka's: those count as failed, what was on its way is
//! in doubt. Call [`AuditedProducer::flush`], then close the recorder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders, ToBytes};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use rdkafka::util::IntoOpaque;

use super::error::{KafkaStartError, check_producer, proves_not_persisted};
use super::grant::{Grant, missing_grant};
use crate::message::{Headers, Message, NoHeaders};
use crate::recorder::{Recorder, Ticket};
use crate::rule;

/// Whether messages get an identity of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamping {
    /// Messages are left as they are: the content is the identity.
    #[default]
    Off,
    /// Messages without one get the `chaperone` header (16-byte id, 8-byte event time): for pipelines that rewrite
    /// payloads or send equal ones. A record handed back with an error keeps its stamp, so that a re-send is the same.
    On,
}

/// rdkafka's [`ThreadedProducer`], counting. `C` is the host's own context.
pub struct AuditedProducer<C: ProducerContext + 'static = DefaultProducerContext> {
    producer: ThreadedProducer<AuditedContext<C>>,
    recorder: Recorder,
    stamping: Stamping,
}

impl AuditedProducer {
    /// A producer without callbacks of the host.
    ///
    /// # Errors
    /// See [`with_context`](Self::with_context).
    pub fn new(config: &ClientConfig, recorder: Recorder) -> Result<Self, KafkaStartError> {
        Self::with_context(config, DefaultProducerContext, recorder)
    }
}

impl<C: ProducerContext + 'static> AuditedProducer<C> {
    /// A producer whose delivery reports go to `context` too.
    ///
    /// # Errors
    /// [`KafkaStartError::Setting`] for `acks=0`, `delivery.report.only.error=true` and `transactional.id`: their
    /// delivery reports do not say whether a message is persisted. [`KafkaStartError::Client`] from librdkafka.
    pub fn with_context(config: &ClientConfig, context: C, recorder: Recorder) -> Result<Self, KafkaStartError> {
        check_producer(config)?;
        let context = AuditedContext { host: context, refused: Once::new() };
        let producer = ThreadedProducer::from_config_and_context(config, context)?;
        Ok(Self { producer, recorder, stamping: Stamping::Off })
    }

    /// Sets whether messages are stamped.
    #[must_use]
    pub fn stamping(mut self, stamping: Stamping) -> Self {
        self.stamping = stamping;
        self
    }

    /// Counts the message as attempted and hands it to librdkafka, as `ThreadedProducer::send` does: without blocking,
    /// with its errors. An error here means that it was never queued, so it counts as failed; a second `send` of the
    /// record is a new attempt.
    ///
    /// # Errors
    /// librdkafka's, with the record (its `CreateTime`, and its stamp, set).
    #[expect(clippy::result_large_err, clippy::type_complexity, reason = "rdkafka's own signature")]
    pub fn send<'a, K, P>(
        &self,
        record: BaseRecord<'a, K, P, C::DeliveryOpaque>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, P, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let mut record = record;
        // To librdkafka 0 is "now", decided later: decide it here, or the stages would see another time.
        if record.timestamp.unwrap_or(0) == 0 {
            record.timestamp = Some(self.recorder.now_ms());
        }
        if self.stamping == Stamping::On {
            self.stamp(&mut record);
        }
        // The host's `to_bytes` is all that can panic here, and rdkafka would call it anyway.
        let ticket = catch_unwind(AssertUnwindSafe(|| self.recorder.attempt(&as_message(&record)))).ok();
        let (record, opaque) = split(record);
        let pending = Box::new(Pending { ticket, host: opaque });
        match self.producer.send(join(record, pending)) {
            Ok(()) => Ok(()),
            Err((error, record)) => {
                let (record, pending) = split(record);
                let Pending { ticket, host } = *pending;
                if let Some(ticket) = ticket {
                    ticket.failed();
                }
                Err((error, join(record, host)))
            }
        }
    }

    /// Waits until all delivery reports are in, at most `deadline`.
    ///
    /// # Errors
    /// Some are still missing: they arrive later, or end in doubt when the recorder closes.
    pub fn flush(&self, deadline: Duration) -> KafkaResult<()> {
        self.producer.flush(deadline)
    }

    /// The producer underneath, for metadata, purges and counts of what is queued.
    pub fn inner(&self) -> &ThreadedProducer<AuditedContext<C>> {
        &self.producer
    }

    /// The recorder that counts.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn stamp<K, P, D>(&self, record: &mut BaseRecord<'_, K, P, D>)
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        D: IntoOpaque,
    {
        if as_message(record).headers.header(rule::HEADER).is_some() {
            return;
        }
        let event_ms = record.timestamp.unwrap_or_else(|| self.recorder.now_ms());
        // Equal messages are told apart by their stamps: a v7 UUID is new for each.
        let id = crate::MessageId(uuid::Uuid::now_v7().as_u128());
        let stamp = rule::stamp(id, event_ms);
        let headers = record.headers.take().unwrap_or_else(|| OwnedHeaders::new_with_capacity(1));
        record.headers = Some(headers.insert(Header { key: rule::HEADER, value: Some(&stamp) }));
    }
}

fn as_message<'r, K, P, D>(record: &'r BaseRecord<'_, K, P, D>) -> Message<'r>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    let headers: &dyn Headers = match &record.headers {
        Some(headers) => headers,
        None => &NoHeaders,
    };
    Message {
        topic: record.topic,
        key: record.key.map(ToBytes::to_bytes),
        value: record.payload.map(ToBytes::to_bytes),
        headers,
        timestamp_ms: record.timestamp,
        broker_time: false,
    }
}

/// Takes the opaque off a record.
fn split<K, P, D>(record: BaseRecord<'_, K, P, D>) -> (BaseRecord<'_, K, P>, D)
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    let BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque } = record;
    (BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque: () }, delivery_opaque)
}

fn join<K, P, D>(record: BaseRecord<'_, K, P>, delivery_opaque: D) -> BaseRecord<'_, K, P, D>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    let BaseRecord { topic, partition, payload, key, timestamp, headers, .. } = record;
    BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque }
}

/// What travels with a message through librdkafka: our ticket and the host's own opaque.
pub struct Pending<D> {
    ticket: Option<Ticket>,
    host: D,
}

/// The host's context, with the ticket handed in before its own delivery callback.
pub struct AuditedContext<C> {
    host: C,
    /// A missing ACL is said once, not for every message.
    refused: Once,
}

impl<C> AuditedContext<C> {
    /// The host's own context.
    pub fn host(&self) -> &C {
        &self.host
    }
}

impl<C: ProducerContext> ProducerContext for AuditedContext<C> {
    type DeliveryOpaque = Box<Pending<C::DeliveryOpaque>>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Self::DeliveryOpaque) {
        let Pending { ticket, host } = *pending;
        if let Some(ticket) = ticket {
            // Belt and braces: a panic here would end the polling thread, and with it all delivery reports (P3).
            let hand_in = AssertUnwindSafe(|| match result {
                Ok(_) => ticket.acked(),
                Err((error, _)) if proves_not_persisted(error) => ticket.failed(),
                Err(_) => drop(ticket),
            });
            if catch_unwind(hand_in).is_err() {
                tracing::error!("the audit of a delivery report panicked; its message is in doubt");
            }
        }
        if let Err((error, message)) = result
            && let Some(said) = missing_grant(error, Grant::WriteTopic(message.topic()))
        {
            self.refused.call_once(|| tracing::error!("{said}"));
        }
        self.host.delivery(result, host);
    }
}

impl<C: ClientContext> ClientContext for AuditedContext<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.host.log(level, facility, text);
    }
    fn stats(&self, statistics: Statistics) {
        self.host.stats(statistics);
    }
    fn stats_raw(&self, statistics: &[u8]) {
        self.host.stats_raw(statistics);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.host.error(error, reason);
    }
    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.host.generate_oauth_token(config)
    }
}
