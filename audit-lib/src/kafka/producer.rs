//! Producers that count: attempts before the hand-over, outcomes from the delivery reports.
//!
//! Invariants: the record that rdkafka gets is the caller's, with a `CreateTime` where it had none (and, with
//! [`Stamping::On`], a `chaperone` header where it had none). Errors are rdkafka's own, unchanged. Our part of a
//! delivery callback resolves a ticket, cannot panic, and runs before the host's part. The parts: `record` prepares,
//! `inner` hands over, `context` hears, `transaction` holds, `future` makes it a promise.
//!
//! Limits: dropping a producer purges what is queued, like rdkafka's: those are in doubt, as is what was
//! on its way. Call [`Audited::flush`], then close the recorder. A custom partitioner of rdkafka's is not offered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::client::Client;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, ProducerContext, PurgeConfig, ThreadedProducer,
};

use super::error::{KafkaStartError, check_producer};
use super::grant::{Grant, missing_grant};
use crate::recorder::{Recorder, Ticket};

mod context;
mod future;
mod inner;
mod pending;
mod record;
mod transaction;

pub use context::AuditedContext;
pub use future::{AuditedDelivery, AuditedFutureProducer, Promises};
pub use inner::Inner;
pub use pending::Pending;
pub use record::Stamping;

use record::{as_message, join, prepare, split};

/// rdkafka's [`ThreadedProducer`], counting: a thread of its own serves the delivery reports. `C` is the host's own
/// context.
pub type AuditedProducer<C = DefaultProducerContext> = Audited<ThreadedProducer<AuditedContext<C>>>;

/// rdkafka's [`BaseProducer`], counting: the host serves the delivery reports, by [`poll`](Audited::poll). Until it does,
/// its messages are in flight. `C` is the host's own context.
pub type AuditedBaseProducer<C = DefaultProducerContext> = Audited<BaseProducer<AuditedContext<C>>>;

/// One of rdkafka's producers, counting. See [`AuditedProducer`] and [`AuditedBaseProducer`].
///
/// Without a `transactional.id` a message is acked or failed by its delivery report. With one the report says that a
/// message is in the log, and the end of its transaction whether anyone will see it:
///
/// | what happened | the messages of the transaction |
/// |---|---|
/// | the commit succeeded | acked |
/// | the abort succeeded | failed: readers of committed messages will never see them |
/// | commit or abort may be called again (`is_retriable`), a flush timed out | in flight |
/// | the commit failed and the transaction must be aborted (`txn_requires_abort`) | in flight until the abort |
/// | a fatal error (fenced by another producer, …), or the producer dropped before the end was known | in doubt |
/// | the coordinator had forgotten the producer when it was to commit, and a new epoch aborted | in doubt: that does not tell how the old epoch ended |
/// | a report or an error of `send` proves that the message was not persisted | failed, whatever the end |
/// | a report proves nothing (timed out) | in doubt, whatever the end: the request may reach the log after the abort |
pub struct Audited<I: Inner> {
    producer: I,
    recorder: Recorder,
    stamping: Stamping,
}

impl<I: Inner<Host = DefaultProducerContext>> Audited<I> {
    /// A producer without callbacks of the host.
    ///
    /// # Errors
    /// See [`with_context`](Self::with_context).
    pub fn new(config: &ClientConfig, recorder: Recorder) -> Result<Self, KafkaStartError> {
        Self::with_context(config, DefaultProducerContext, recorder)
    }
}

impl<I: Inner> Audited<I> {
    /// A producer whose delivery reports go to `context` too.
    ///
    /// # Errors
    /// [`KafkaStartError::Setting`] for `acks=0` and `delivery.report.only.error=true`: their delivery reports do not
    /// say whether a message is persisted. [`KafkaStartError::Client`] from librdkafka.
    pub fn with_context(config: &ClientConfig, context: I::Host, recorder: Recorder) -> Result<Self, KafkaStartError> {
        check_producer(config)?;
        let context = AuditedContext::new(context, config.get("transactional.id"));
        let producer = I::from_config_and_context(config, context)?;
        Ok(Self { producer, recorder, stamping: Stamping::Off })
    }

    /// Sets whether messages are stamped.
    #[must_use]
    pub fn stamping(mut self, stamping: Stamping) -> Self {
        self.stamping = stamping;
        self
    }

    /// Counts the message as attempted and hands it to librdkafka, as rdkafka's `send` does: without blocking, with its
    /// errors. An error here means that it was never queued, so it counts as failed; a second `send` of the record is a
    /// new attempt.
    ///
    /// # Errors
    /// librdkafka's, with the record (its `CreateTime`, and its stamp, set).
    #[expect(clippy::result_large_err, clippy::type_complexity, reason = "rdkafka's own signature")]
    pub fn send<'a, K, P>(
        &self,
        record: BaseRecord<'a, K, P, <I::Host as ProducerContext>::DeliveryOpaque>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, P, <I::Host as ProducerContext>::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let mut record = record;
        let mut attempt = self.attempt(&mut record);
        self.offer(record, &mut attempt)
    }

    /// Prepares a record and counts it.
    fn attempt<K, P>(&self, record: &mut BaseRecord<'_, K, P, <I::Host as ProducerContext>::DeliveryOpaque>) -> Attempt
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        prepare(record, self.stamping, || self.recorder.now_ms());
        // The host's `to_bytes` is all that can panic here, and rdkafka would call it anyway.
        Attempt(catch_unwind(AssertUnwindSafe(|| self.recorder.attempt(&as_message(record)))).ok())
    }

    /// Hands a record over; with success the attempt goes with it.
    #[expect(clippy::result_large_err, clippy::type_complexity, reason = "rdkafka's own signature")]
    fn offer<'a, K, P>(
        &self,
        record: BaseRecord<'a, K, P, <I::Host as ProducerContext>::DeliveryOpaque>,
        attempt: &mut Attempt,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, P, <I::Host as ProducerContext>::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (record, host) = split(record);
        let pending = Pending::new(attempt.0.take(), host, &self.producer.context().boxes);
        self.producer.hand_over(join(record, pending)).map_err(|(error, record)| {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                self.producer.context().die();
            }
            let (record, mut pending) = split(record);
            let (ticket, host) = pending.empty();
            attempt.0 = ticket;
            (error, join(record, host.expect("it is emptied once")))
        })
    }

    /// Waits until all delivery reports are in, at most `deadline`.
    ///
    /// # Errors
    /// Some are still missing: they arrive later, or end in doubt when the recorder closes.
    pub fn flush(&self, deadline: Duration) -> KafkaResult<()> {
        self.producer.flush(deadline)
    }

    /// The client underneath, for metadata, the host's context and fatal errors.
    pub fn client(&self) -> &Client<AuditedContext<I::Host>> {
        self.producer.client()
    }

    /// How many messages wait for their delivery reports.
    pub fn in_flight_count(&self) -> i32 {
        self.producer.in_flight_count()
    }

    /// Purges what waits to be sent, what is on its way, or both: in doubt, but for what waits in a transaction, which is
    /// failed.
    pub fn purge(&self, flags: PurgeConfig) {
        self.producer.purge(flags);
    }

    /// The recorder that counts.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

/// Transactions, with a `transactional.id`, as rdkafka's: blocking calls, to be repeated when their error says
/// `is_retriable`. A delivered message counts as acked when its transaction is committed and as failed when it is
/// aborted; until then, and for good if nobody will ever know, it is neither (see the table above).
/// Begin, commit and abort take turns when several threads call them.
impl<I: Inner> Audited<I> {
    /// Asks the coordinator for the producer's id, which ends what a dead producer of the same id left open.
    ///
    /// # Errors
    /// librdkafka's; also without a `transactional.id`, like the calls below. If the right to that id is missing, the log
    /// names the ACL.
    pub fn init_transactions(&self, deadline: Duration) -> KafkaResult<()> {
        let result = self.producer.init_transactions(deadline);
        if let (Err(error), Some(id)) = (&result, &self.producer.context().transactional_id)
            && let Some(said) = missing_grant(error, Grant::WriteTransactionalId(id))
        {
            tracing::error!("{said}");
        }
        self.ending(|transactions| transactions.step(&result));
        result
    }

    /// Begins a transaction. Outside of one, `send` is refused by librdkafka: never queued, so failed.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn begin_transaction(&self) -> KafkaResult<()> {
        match &self.producer.context().transactions {
            Some(transactions) => transactions.begin(|| self.producer.begin_transaction()),
            None => self.producer.begin_transaction(),
        }
    }

    /// Makes a consumer's offsets part of the transaction.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn send_offsets_to_transaction(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
        deadline: Duration,
    ) -> KafkaResult<()> {
        let result = self.producer.send_offsets_to_transaction(offsets, group, deadline);
        self.ending(|transactions| transactions.step(&result));
        result
    }

    /// Flushes and commits. With success the messages of the transaction are acked.
    ///
    /// # Errors
    /// librdkafka's: to be called again (`is_retriable`), to be aborted (`txn_requires_abort`; after any delivery failure
    /// a transaction can only be aborted), or fatal: then the messages are in doubt.
    pub fn commit_transaction(&self, deadline: Duration) -> KafkaResult<()> {
        match &self.producer.context().transactions {
            Some(transactions) => transactions.commit(|| self.producer.commit_transaction(deadline)),
            None => self.producer.commit_transaction(deadline),
        }
    }

    /// Purges and aborts. With success the messages of the transaction are failed. [`AuditedBaseProducer`] serves the
    /// delivery reports that librdkafka waits for meanwhile.
    ///
    /// # Errors
    /// librdkafka's: to be called again, or fatal.
    pub fn abort_transaction(&self, deadline: Duration) -> KafkaResult<()> {
        match &self.producer.context().transactions {
            Some(transactions) => transactions.abort(|| self.producer.abort(deadline)),
            None => self.producer.abort(deadline),
        }
    }

    fn ending(&self, hear: impl FnOnce(&transaction::Transactions)) {
        if let Some(transactions) = &self.producer.context().transactions {
            hear(transactions);
        }
    }
}

impl<C: ProducerContext + 'static> AuditedBaseProducer<C> {
    /// Serves delivery reports and other callbacks for `timeout`; rdkafka's own waits to its end even when something
    /// came. Call it often, or the queue fills.
    pub fn poll(&self, timeout: Duration) {
        self.producer.poll(timeout);
    }
}

impl<I: Inner + Clone> Clone for Audited<I> {
    fn clone(&self) -> Self {
        let (producer, recorder) = (self.producer.clone(), self.recorder.clone());
        Self { producer, recorder, stamping: self.stamping }
    }
}

/// A counted message that librdkafka does not have: dropped, it is proven not persisted.
struct Attempt(Option<Ticket>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.failed();
        }
    }
}

/// So that the wrapper can be shared where rdkafka's can.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<AuditedProducer>>();
    shared::<Arc<AuditedBaseProducer>>();
};
