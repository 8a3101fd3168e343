//! The spine: a message lost in real Kafka is one red cell, and nothing else is red.
//!
//! Five real stages (producer → proxy example → Kafka → replicator → Kafka → consumer) on secured listeners with exactly
//! the documented ACLs. The replicator loses and doubles messages by plan; the API must say just that. Then the same
//! with every audit record three times in random order and the collector killed five times, and with taps killed ten
//! times and woken up as zombies. Each has a control that must fail.

mod acls;
mod consumer;
mod missing_acls;
mod plan;
mod relay;
mod replicator;
mod run;
mod scene;
mod taps;
mod traffic;
mod truth;
