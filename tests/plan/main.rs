//! `chaperone plan` on real Kafka: it sees the rate that was really produced, leaves no trace, and its figure of messages
//! a core is one that a real tap reaches.

mod cores;
mod rate;
mod scene;
mod wrong;
