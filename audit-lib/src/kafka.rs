//! Wrappers for rdkafka: a producer and a consumer that count, and Kafka as the sink of audit messages.
//!
//! Invariants: a wrapper never turns a produce that would have worked into an error and never blocks; only an error
//! that proves that a message was not persisted counts as *failed* (see [`proves_not_persisted`]), every other leaves
//! it in doubt; nothing of ours panics inside a callback of librdkafka, where it would end its polling thread.
//!
//! Limits: librdkafka itself asserts and aborts in places; whoever cannot have that in the process runs the agent.
//! Transactions are refused by [`AuditedProducer`] until their outcome is counted.

mod consumer;
mod error;
mod grant;
mod observe;
mod producer;
mod sink;
#[cfg(test)]
mod tests;

pub use consumer::AuditedConsumer;
pub use error::{KafkaStartError, proves_not_persisted};
pub use grant::{Grant, missing_grant};
pub use observe::observe_message;
pub use producer::{AuditedContext, AuditedProducer, Pending, Stamping};
pub use sink::KafkaSink;
