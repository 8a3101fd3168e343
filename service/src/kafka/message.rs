//! What a tap keeps of a message: numbers and hashes, never its content (I9).
//!
//! Identity and time are found by the function that producers and consumers use, hostile headers included
//! ([`observe_message`]).

use chaperone_audit::kafka::observe_message;
use chaperone_audit::{Fingerprint, Observation, Rule};
use rdkafka::Timestamp;

/// What a tap keeps of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: i64,
    /// Identity, class, event time.
    pub observation: Observation,
    /// Key and value bytes.
    pub bytes: u64,
    /// When it arrived: the broker's append time where the topic has it, else the tap's clock, ms.
    pub arrival_ms: i64,
    /// The tap's clock, ms.
    pub now_ms: i64,
    /// Hash of key and value, to recognise the log by.
    pub content: Fingerprint,
    /// Its timestamp, ms; -1 if none.
    pub time_ms: i64,
}

/// Looks at a consumed message.
pub fn look<M>(message: &M, rule: &Rule, now_ms: i64) -> Seen
where
    M: rdkafka::Message,
    M::Headers: chaperone_audit::message::Headers + Sized,
{
    let stamp = message.timestamp();
    let arrival_ms = match stamp {
        Timestamp::LogAppendTime(ms) if ms >= 0 => ms,
        _ => now_ms,
    };
    let observed = observe_message(message);
    let observation = rule.observe(&observed, arrival_ms);
    // The content's id under the deployment's seed: it tells one log from another and gives no payload away.
    let content =
        if rule.is_default() && message.headers().is_none() { observation.id } else { rule.content_id(&observed) };
    Seen {
        offset: message.offset(),
        observation,
        bytes: observed.bytes(),
        arrival_ms,
        now_ms,
        content: Fingerprint::from_u128(content.0),
        time_ms: stamp.to_millis().unwrap_or(-1),
    }
}
