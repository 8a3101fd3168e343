//! What the wrapper needs of rdkafka's producers beyond rdkafka's own trait.

use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::context::AuditedContext;
use super::pending::Pending;

/// How long an abort waits for librdkafka before delivery reports are served in between.
const ABORT_SLICE: Duration = Duration::from_millis(50);
/// How long they are: rdkafka's poll serves one report if it may not wait.
const POLL_SLICE: Duration = Duration::from_millis(5);

/// A record with our ticket and the host's opaque `D`.
pub(super) type Ticketed<'a, K, P, D> = BaseRecord<'a, K, P, Box<Pending<D>>>;

/// One of rdkafka's producers. Not for implementing elsewhere.
pub trait Inner:
    Producer<AuditedContext<Self::Host>> + FromClientConfigAndContext<AuditedContext<Self::Host>> + Sealed
{
    /// The host's own context.
    type Host: ProducerContext + 'static;

    /// Hands a record over, without blocking.
    ///
    /// # Errors
    /// librdkafka's, with the record; it was not queued then.
    #[doc(hidden)]
    #[expect(clippy::result_large_err, clippy::type_complexity, reason = "rdkafka's own signature")]
    fn hand_over<'a, K, P>(
        &self,
        record: BaseRecord<'a, K, P, Box<Pending<<Self::Host as ProducerContext>::DeliveryOpaque>>>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, P, Box<Pending<<Self::Host as ProducerContext>::DeliveryOpaque>>>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized;

    /// Aborts the transaction, serving delivery reports where nobody else does.
    ///
    /// # Errors
    /// librdkafka's.
    #[doc(hidden)]
    fn abort(&self, deadline: Duration) -> KafkaResult<()>;
}

/// Keeps [`Inner`] to rdkafka's producers.
pub trait Sealed {}
impl<C: ProducerContext + 'static> Sealed for ThreadedProducer<AuditedContext<C>> {}
impl<C: ProducerContext + 'static> Sealed for BaseProducer<AuditedContext<C>> {}

impl<C: ProducerContext + 'static> Inner for ThreadedProducer<AuditedContext<C>> {
    type Host = C;

    fn hand_over<'a, K, P>(
        &self,
        record: Ticketed<'a, K, P, C::DeliveryOpaque>,
    ) -> Result<(), (KafkaError, Ticketed<'a, K, P, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        self.send(record)
    }

    fn abort(&self, deadline: Duration) -> KafkaResult<()> {
        self.abort_transaction(deadline)
    }
}

impl<C: ProducerContext + 'static> Inner for BaseProducer<AuditedContext<C>> {
    type Host = C;

    fn hand_over<'a, K, P>(
        &self,
        record: Ticketed<'a, K, P, C::DeliveryOpaque>,
    ) -> Result<(), (KafkaError, Ticketed<'a, K, P, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        self.send(record)
    }

    /// librdkafka's abort waits until all delivery reports are served, and here the thread that waits is the one that
    /// serves them: by turns. A call that timed out is resumed by the next.
    fn abort(&self, deadline: Duration) -> KafkaResult<()> {
        let begun = Instant::now();
        loop {
            let left = deadline.saturating_sub(begun.elapsed());
            let result = self.abort_transaction(left.min(ABORT_SLICE));
            match &result {
                Err(KafkaError::Transaction(error))
                    if error.is_retriable()
                        && error.code() == RDKafkaErrorCode::OperationTimedOut
                        && begun.elapsed() < deadline =>
                {
                    self.poll(POLL_SLICE);
                }
                _ => return result,
            }
        }
    }
}
