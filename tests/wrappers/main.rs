//! Does each wrapper of the library say of its messages what the topic says? Every kind of producer, in every way that a
//! message can end, against a recount of real Kafka; transactions that are committed, aborted, fenced, dropped
//! and killed. And the agent of processes that have no Kafka client.

mod agent;
mod ends;
mod frozen;
mod sender;
mod transactions;
