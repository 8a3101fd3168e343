//! Identity and time of a message: the same rule at every stage, or two stages cannot be compared.
//!
//! The default rule leaves messages untouched and takes the first that is there: our `chaperone` header (16-byte id,
//! 8-byte big-endian event milliseconds), the `CloudEvents` headers `ce_id`/`ce_source`/`ce_time`, else the record's `CreateTime`
//! and a content id (XXH3-128 of key and value under the deployment's seed). Equal messages share a content id;
//! fingerprints are multisets, so that is right.
//!
//! Invariants: pure; a rule's id covers everything that changes an answer, the seed only by its hash. A time that is
//! missing, malformed or out of range gets a class of its own and the arrival's window; it is never folded into "now".

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use crate::fingerprint::MessageId;
use crate::message::Message;

/// Name of the header that stamping producers add.
pub const HEADER: &str = "chaperone";
/// 2000-01-01T00:00:00Z: event times before it are out of range.
pub const MIN_EVENT_MS: i64 = 946_684_800_000;
/// How far ahead of the arrival an event time may be, in milliseconds (one day).
pub const MAX_AHEAD_MS: i64 = 86_400_000;

/// What a message's counts are kept under, beside its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Identity from a header that audited producers add, or `CloudEvents`.
    Stamped,
    /// Identity from the content.
    Bare,
    /// No event time; counted in the arrival's window.
    NoTime,
    /// An event time that cannot be read; counted in the arrival's window.
    Malformed,
    /// Before 2000 or more than a day ahead; counted in the arrival's window.
    OutOfRange,
    /// The only time is the broker's (`LogAppendTime`): counted in its window, which is not that of other stages.
    Rewritten,
}

impl Class {
    /// All classes, in stored order.
    pub const ALL: [Self; 6] =
        [Self::Stamped, Self::Bare, Self::NoTime, Self::Malformed, Self::OutOfRange, Self::Rewritten];

    /// The name on the wire, in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stamped => "stamped",
            Self::Bare => "bare",
            Self::NoTime => "no_time",
            Self::Malformed => "malformed",
            Self::OutOfRange => "out_of_range",
            Self::Rewritten => "rewritten",
        }
    }
    /// Reads a stored name.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == s)
    }
    /// Whether messages of this class lie in the window of a time of their own. Those of [`Rewritten`](Self::Rewritten)
    /// are judged too, with a caveat that voids the comparison.
    pub const fn has_time(self) -> bool {
        matches!(self, Self::Stamped | Self::Bare | Self::Rewritten)
    }
}

/// What a rule makes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Identity.
    pub id: MessageId,
    /// Class.
    pub class: Class,
    /// Event time in milliseconds, `None` unless the class has one.
    pub event_ms: Option<i64>,
}

impl Observation {
    /// The time that decides the window: the event's, or the arrival's where there is none.
    pub fn window_time_ms(&self, arrival_ms: i64) -> i64 {
        self.event_ms.unwrap_or(arrival_ms)
    }
}

/// A hash over everything that decides a rule's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
impl Serialize for RuleId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if text.len() != 16 {
            return Err(serde::de::Error::custom("a rule id is 16 hex digits"));
        }
        u64::from_str_radix(&text, 16).map(RuleId).map_err(serde::de::Error::custom)
    }
}

/// How a message's identity and time are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    seed: u64,
}

impl Rule {
    /// The default rule under the deployment's seed (random per deployment, so that ids cannot be guessed).
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }
    /// The seed, for hashing ids into fingerprints.
    pub const fn seed(&self) -> u64 {
        self.seed
    }
    /// The rule's id; equal ids give equal answers.
    pub fn id(&self) -> RuleId {
        let seed_hash = xxh3_64(&self.seed.to_le_bytes());
        RuleId(xxh3_64_with_seed(b"v1 header:chaperone,cloudevents,create_time+content", seed_hash))
    }

    /// Finds identity, class and event time of `message`, which arrived at `arrival_ms`.
    pub fn observe(&self, message: &Message<'_>, arrival_ms: i64) -> Observation {
        if let Some(stamp) = message.headers.header(HEADER) {
            return self.by_stamp(stamp, message, arrival_ms);
        }
        if let Some(id) = message.headers.header("ce_id") {
            return self.by_cloud_event(id, message, arrival_ms);
        }
        let id = self.content_id(message);
        by_timestamp(id, Class::Bare, message, arrival_ms)
    }

    fn by_stamp(self, stamp: &[u8], message: &Message<'_>, arrival_ms: i64) -> Observation {
        let Some((id, ms)) = parse_stamp(stamp) else {
            return Observation { id: self.content_id(message), class: Class::Malformed, event_ms: None };
        };
        ranged(id, Class::Stamped, ms, arrival_ms)
    }

    fn by_cloud_event(self, id: &[u8], message: &Message<'_>, arrival_ms: i64) -> Observation {
        let source = message.headers.header("ce_source").unwrap_or_default();
        let id = self.pair_id(Some(source), Some(id));
        let Some(time) = message.headers.header("ce_time") else {
            // CloudEvents make the time optional; the record's own is the next best that all stages share.
            return by_timestamp(id, Class::Stamped, message, arrival_ms);
        };
        match std::str::from_utf8(time).ok().and_then(|t| chrono::DateTime::parse_from_rfc3339(t).ok()) {
            Some(t) => ranged(id, Class::Stamped, t.timestamp_millis(), arrival_ms),
            None => Observation { id, class: Class::Malformed, event_ms: None },
        }
    }

    /// XXH3-128 over key and value; null and empty differ.
    fn content_id(self, message: &Message<'_>) -> MessageId {
        self.pair_id(message.key, message.value)
    }

    fn pair_id(self, first: Option<&[u8]>, second: Option<&[u8]>) -> MessageId {
        // The first part's hash (and whether each part is null) seeds the second's: no concatenation, no ambiguity.
        let nulls = u64::from(first.is_none()) | (u64::from(second.is_none()) << 1);
        let seed = xxh3_64_with_seed(first.unwrap_or_default(), self.seed ^ nulls);
        MessageId(xxh3_128_with_seed(second.unwrap_or_default(), seed))
    }
}

/// The value of the [`HEADER`] for a message: id and event time.
pub fn stamp(id: MessageId, event_ms: i64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&id.0.to_be_bytes());
    bytes[16..].copy_from_slice(&event_ms.to_be_bytes());
    bytes
}

fn parse_stamp(bytes: &[u8]) -> Option<(MessageId, i64)> {
    let (id, ms) = bytes.split_at_checked(16)?;
    Some((MessageId(u128::from_be_bytes(id.try_into().ok()?)), i64::from_be_bytes(ms.try_into().ok()?)))
}

fn by_timestamp(id: MessageId, class: Class, message: &Message<'_>, arrival_ms: i64) -> Observation {
    match message.timestamp_ms {
        Some(ms) if message.broker_time => ranged(id, Class::Rewritten, ms, arrival_ms),
        Some(ms) => ranged(id, class, ms, arrival_ms),
        None => Observation { id, class: Class::NoTime, event_ms: None },
    }
}

fn ranged(id: MessageId, class: Class, event_ms: i64, arrival_ms: i64) -> Observation {
    if event_ms < MIN_EVENT_MS || event_ms > arrival_ms.saturating_add(MAX_AHEAD_MS) {
        return Observation { id, class: Class::OutOfRange, event_ms: None };
    }
    Observation { id, class, event_ms: Some(event_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::NoHeaders;

    const NOW: i64 = 1_790_000_000_000;

    fn bare<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, ts: Option<i64>) -> Message<'a> {
        Message { topic: "t", key, value, headers: &NoHeaders, timestamp_ms: ts, broker_time: false }
    }

    #[test]
    fn content_identity_tells_null_from_empty_and_key_from_value() {
        let rule = Rule::new(1);
        let id = |k, v| rule.observe(&bare(k, v, Some(NOW)), NOW).id;
        let all = [
            id(None, None),
            id(Some(b""), None),
            id(None, Some(b"")),
            id(Some(b""), Some(b"")),
            id(Some(b"ab"), Some(b"c")),
            id(Some(b"a"), Some(b"bc")),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(id(Some(b"a"), Some(b"bc")), all[5]);
        assert_ne!(Rule::new(2).observe(&bare(None, Some(b"x"), Some(NOW)), NOW).id, id(None, Some(b"x")));
    }

    #[test]
    fn classes_follow_the_time_that_was_found() {
        let rule = Rule::new(1);
        let class = |ts| rule.observe(&bare(None, Some(b"x"), ts), NOW).class;
        assert_eq!(class(Some(NOW)), Class::Bare);
        assert_eq!(class(None), Class::NoTime);
        assert_eq!(class(Some(MIN_EVENT_MS - 1)), Class::OutOfRange);
        assert_eq!(class(Some(NOW + MAX_AHEAD_MS + 1)), Class::OutOfRange);
        assert_eq!(class(Some(NOW + MAX_AHEAD_MS)), Class::Bare);
        let appended = Message { broker_time: true, ..bare(None, Some(b"x"), Some(NOW)) };
        let seen = rule.observe(&appended, NOW);
        assert_eq!((seen.class, seen.event_ms), (Class::Rewritten, Some(NOW)));
        let headers = [(HEADER, stamp(MessageId(42), NOW - 5).to_vec())];
        let seen = rule.observe(&Message { headers: &headers, ..appended }, NOW);
        assert_eq!((seen.class, seen.event_ms), (Class::Stamped, Some(NOW - 5)), "a time of its own is believed");
    }

    #[test]
    fn the_stamp_is_kept_and_a_broken_one_is_malformed() {
        let rule = Rule::new(1);
        let headers = [(HEADER, stamp(MessageId(42), NOW - 5).to_vec())];
        let m = Message { headers: &headers, ..bare(None, Some(b"x"), Some(NOW)) };
        let seen = rule.observe(&m, NOW);
        assert_eq!(seen, Observation { id: MessageId(42), class: Class::Stamped, event_ms: Some(NOW - 5) });
        let broken = [(HEADER, vec![1, 2, 3])];
        let m = Message { headers: &broken, ..m };
        assert_eq!(rule.observe(&m, NOW).class, Class::Malformed);
    }

    #[test]
    fn cloud_events_give_identity_and_time() {
        let rule = Rule::new(1);
        let headers = [("ce_id", "a1"), ("ce_source", "/app"), ("ce_time", "2026-09-21T12:00:00.250Z")];
        let m = Message { headers: &headers, ..bare(None, Some(b"x"), None) };
        let seen = rule.observe(&m, NOW);
        assert_eq!(seen.class, Class::Stamped);
        assert_eq!(seen.event_ms.map(|ms| ms % 1000), Some(250));
        let other = [("ce_id", "a1"), ("ce_source", "/other"), ("ce_time", "yesterday")];
        let m = Message { headers: &other, ..m };
        assert_ne!(rule.observe(&m, NOW).id, seen.id);
        assert_eq!(rule.observe(&m, NOW).class, Class::Malformed);
    }
}
