//! Taps in every weather, on real Kafka: odd messages, codecs and transactions; compaction, retention and re-creation;
//! many taps on many partitions that are killed, stopped, started and frozen.
//!
//! The witness is always independent: what was produced, or an exact recount of the topic.

mod cap;
mod crowd;
mod gaps;
mod scene;
mod thousand;
mod weather;
