//! Counts messages where they pass and reports the counts, exactly once.
//!
//! The always-on core ([`state`], [`wire`], [`fingerprint`], [`histogram`], [`rule`], [`scan`], [`window`]) is pure: no I/O, no
//! clock, no unsafe. It is shared by the reporter in the host process, by taps, by recovery and by the collector, so
//! that there is one place where a message becomes an identity and a window, and one place where two states merge.
//!
//! * feature `recorder`: [`Recorder`](recorder::Recorder), the counters and the reporter thread behind it;
//! * feature `kafka`: audited producers and consumers around rdkafka, and the Kafka sink.
//!
//! Invariants: a slot's chains only grow (I2); `Join` is total, commutative, associative and idempotent; payloads and
//! keys never leave this crate, only counts and hashes do (I9).

#![forbid(unsafe_code)]

pub mod clock;
pub mod fingerprint;
pub mod histogram;
pub mod message;
pub mod rule;
pub mod scan;
mod short;
pub mod state;
pub mod topic;
pub mod window;
pub mod wire;

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "recorder")]
pub mod recorder;

#[cfg(feature = "recorder")]
pub use clock::CoarseClock;
pub use clock::{Clock, SystemClock};
pub use fingerprint::{Fingerprint, MessageId};
pub use histogram::Histogram;
pub use message::{Headers, Message};
pub use rule::{Class, Observation, Recipe, Rule, RuleId, Rules, TopicRule};
pub use state::SlotState;
pub use topic::TopicPattern;
pub use window::{Width, WindowStart};
pub use wire::AuditMessage;
