//! A producer whose `send` is a future.
//!
//! Invariants: the outcome is counted by the delivery callback, never by whoever awaits it, so that a dropped future
//! loses nothing; a future dropped while it waits for room in the queue leaves a message that was never sent: failed.
//! One message is one attempt, however often the queue was full.
//!
//! Limits: as with rdkafka, waiting for room needs the timer of the host's runtime `R` (rdkafka's default with its
//! feature `tokio`); `send_result` needs none. Unlike rdkafka's, `send` does not panic when a promise is broken.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, DefaultClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _, OwnedHeaders, OwnedMessage, Timestamp, ToBytes};
use rdkafka::producer::future_producer::{Delivery, FutureRecord, OwnedDeliveryResult};
use rdkafka::producer::{BaseRecord, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::util::{AsyncRuntime, DefaultRuntime, Timeout};

use super::context::guarded;
use super::{AuditedProducer, Stamping};
use crate::kafka::error::KafkaStartError;
use crate::recorder::Recorder;

/// How long a full queue is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(20);

type Promise = Box<oneshot::Sender<OwnedDeliveryResult>>;

/// rdkafka's `FutureProducer`, counting. `C` is the host's own context, `R` its async runtime.
pub struct AuditedFutureProducer<C: ClientContext + 'static = DefaultClientContext, R = DefaultRuntime> {
    producer: AuditedProducer<Promises<C>>,
    runtime: PhantomData<fn() -> R>,
}

impl<R> AuditedFutureProducer<DefaultClientContext, R> {
    /// A producer without callbacks of the host.
    ///
    /// # Errors
    /// See [`AuditedProducer::with_context`].
    pub fn new(config: &ClientConfig, recorder: Recorder) -> Result<Self, KafkaStartError> {
        Self::with_context(config, DefaultClientContext, recorder)
    }
}

impl<C: ClientContext + 'static, R> AuditedFutureProducer<C, R> {
    /// A producer with the host's own context.
    ///
    /// # Errors
    /// See [`AuditedProducer::with_context`].
    pub fn with_context(config: &ClientConfig, context: C, recorder: Recorder) -> Result<Self, KafkaStartError> {
        let producer = AuditedProducer::with_context(config, Promises { host: context }, recorder)?;
        Ok(Self { producer, runtime: PhantomData })
    }

    /// Sets whether messages are stamped.
    #[must_use]
    pub fn stamping(mut self, stamping: Stamping) -> Self {
        self.producer = self.producer.stamping(stamping);
        self
    }

    /// Hands the message over or gives it back at once. The future that it returns may be dropped.
    ///
    /// # Errors
    /// librdkafka's, with the record: it was never queued and counts as failed; a second call is a new attempt.
    #[expect(clippy::result_large_err, reason = "rdkafka's own signature")]
    pub fn send_result<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
    ) -> Result<AuditedDelivery, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (promise, rx) = oneshot::channel();
        let sent = self.producer.send(into_base(record, Box::new(promise)));
        sent.map(|()| AuditedDelivery { rx }).map_err(|(error, record)| (error, from_base(record)))
    }

    /// Hands the message over, waiting at most `queue_timeout` while the queue is full, and resolves with its delivery
    /// report. If the future is dropped before there was room, the message is not sent.
    ///
    /// # Errors
    /// librdkafka's, with the message; [`KafkaError::Canceled`] (with the message, but its headers) if there will be no
    /// report, which the recorder calls in doubt.
    pub async fn send<K, P, T>(&self, record: FutureRecord<'_, K, P>, queue_timeout: T) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        T: Into<Timeout>,
        R: AsyncRuntime,
    {
        let begun = Instant::now();
        let left = match queue_timeout.into() {
            Timeout::After(limit) => Some(limit),
            Timeout::Never => None,
        };
        let left = || left.map_or(FULL_PAUSE, |limit| limit.saturating_sub(begun.elapsed()).min(FULL_PAUSE));
        let (promise, rx) = oneshot::channel();
        let mut record = into_base(record, Box::new(promise));
        let mut attempt = self.producer.attempt(&mut record);
        let sent = Copied::of(&record);
        loop {
            match self.producer.offer(record, &mut attempt) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) if !left().is_zero() => {
                    record = refused;
                    R::delay_for(left()).await;
                }
                Err((error, refused)) => return Err((error, sent.owned(refused.headers))),
            }
        }
        match rx.await {
            Ok(report) => report,
            Err(oneshot::Canceled) => Err((KafkaError::Canceled, sent.owned(None))),
        }
    }

    /// The producer underneath: metadata, the recorder, and flush and transactions, which block (in an async host they
    /// belong on a thread that may).
    pub fn producer(&self) -> &AuditedProducer<Promises<C>> {
        &self.producer
    }
}

impl<C: ClientContext + 'static, R> Clone for AuditedFutureProducer<C, R> {
    fn clone(&self) -> Self {
        Self { producer: self.producer.clone(), runtime: PhantomData }
    }
}

/// What a message was, should nobody give it back. Borrowed until then.
struct Copied<'a, K: ?Sized, P: ?Sized> {
    topic: &'a str,
    partition: Option<i32>,
    key: Option<&'a K>,
    payload: Option<&'a P>,
    timestamp: Option<i64>,
}

impl<'a, K: ToBytes + ?Sized, P: ToBytes + ?Sized> Copied<'a, K, P> {
    fn of(record: &BaseRecord<'a, K, P, Promise>) -> Self {
        let BaseRecord { topic, partition, payload, key, timestamp, .. } = *record;
        Self { topic, partition, key, payload, timestamp }
    }

    fn owned(&self, headers: Option<OwnedHeaders>) -> OwnedMessage {
        OwnedMessage::new(
            self.payload.map(|p| p.to_bytes().to_vec()),
            self.key.map(|k| k.to_bytes().to_vec()),
            self.topic.to_owned(),
            self.timestamp.map_or(Timestamp::NotAvailable, Timestamp::CreateTime),
            self.partition.unwrap_or(-1),
            0,
            headers,
        )
    }
}

fn into_base<K, P>(record: FutureRecord<'_, K, P>, promise: Promise) -> BaseRecord<'_, K, P, Promise>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
{
    let FutureRecord { topic, partition, payload, key, timestamp, headers } = record;
    BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque: promise }
}

fn from_base<K, P>(record: BaseRecord<'_, K, P, Promise>) -> FutureRecord<'_, K, P>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
{
    let BaseRecord { topic, partition, payload, key, timestamp, headers, .. } = record;
    FutureRecord { topic, partition, payload, key, timestamp, headers }
}

/// The delivery of a message that librdkafka has. Resolves with its report, as rdkafka's `DeliveryFuture`; with
/// [`oneshot::Canceled`] if there will be none.
#[must_use = "the message is sent and counted in any case; to await the report is the host's choice"]
pub struct AuditedDelivery {
    rx: oneshot::Receiver<OwnedDeliveryResult>,
}

impl Future for AuditedDelivery {
    type Output = Result<OwnedDeliveryResult, oneshot::Canceled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.rx).poll(cx)
    }
}

/// The context that keeps the promises; the rest is the host's.
pub struct Promises<C> {
    host: C,
}

impl<C> Promises<C> {
    /// The host's own context.
    pub fn host(&self) -> &C {
        &self.host
    }
}

impl<C: ClientContext + 'static> ProducerContext for Promises<C> {
    type DeliveryOpaque = Promise;

    fn delivery(&self, result: &DeliveryResult<'_>, promise: Promise) {
        // Copying a refused message reads its headers, where rdkafka may panic; nobody may be waiting any more.
        guarded("copying a delivery report; whoever awaits it is told that there is none", || {
            let owned = match result {
                Ok(message) => Ok(Delivery {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp: message.timestamp(),
                }),
                Err((error, message)) => Err((error.clone(), message.detach())),
            };
            drop(promise.send(owned));
        });
    }
}

impl<C: ClientContext> ClientContext for Promises<C> {
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
