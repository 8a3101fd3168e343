//! Wrappers for rdkafka: producers and consumers that count, and Kafka as the sink of audit messages.
//!
//! | rdkafka's | here | outcomes |
//! |---|---|---|
//! | `ThreadedProducer` | [`AuditedProducer`] | from the delivery reports, served by its thread |
//! | `BaseProducer` | [`AuditedBaseProducer`] | when the host polls |
//! | `FutureProducer` | [`AuditedFutureProducer`] | as above; the future may be dropped |
//! | any of them with a `transactional.id` | the same, with the calls of a transaction | at commit and abort |
//! | `BaseConsumer` | [`AuditedConsumer`] | `seen` before the commit |
//! | `StreamConsumer` | [`AuditedStreamConsumer`] | `seen` before the commit |
//!
//! **Any other client** (another Kafka library, HTTP, a queue in between) counts by
//! [`Recorder`](crate::recorder::Recorder) itself: `attempt(&message)` before the hand-over and the ticket's `acked` or
//! `failed` from the client's answer (dropped where the answer proves nothing); `seen(&message)` and
//! `position(topic, partition, next_offset)` after processing and before the commit. `message` has the topic, key, value,
//! headers and time that the record has in Kafka: a record without a time gets `recorder.now_ms()` before both. Messages of
//! rdkafka's come by [`observe_message`], errors of rdkafka's are judged by [`proves_not_persisted`]. Of a transaction,
//! keep the tickets until it ends: `acked` after the commit, `failed` after the abort, dropped if nobody knows.
//!
//! Invariants: a wrapper never turns a produce that would have worked into an error and never blocks; only an error
//! that proves that a message was not persisted counts as *failed* (see [`proves_not_persisted`]), every other leaves
//! it in doubt; nothing of ours panics inside a callback of librdkafka, where it would end its polling thread.
//!
//! Limits: librdkafka itself asserts and aborts in places; whoever cannot have that in the process runs the agent.
//! The async clients need a runtime of the host's: rdkafka's default with its feature `tokio`, else one named as `R`.

mod consumer;
mod error;
mod grant;
mod observe;
mod producer;
mod sink;
#[cfg(test)]
mod tests;

pub use consumer::{AuditedConsumer, AuditedStreamConsumer};
pub use error::{KafkaStartError, proves_not_persisted};
pub use grant::{Grant, missing_grant};
pub use observe::observe_message;
pub use producer::{
    Audited, AuditedBaseProducer, AuditedContext, AuditedDelivery, AuditedFutureProducer, AuditedProducer, Inner,
    Pending, Promises, Stamping,
};
pub use sink::KafkaSink;
