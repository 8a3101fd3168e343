//! Identity and time of a message: the same rule at every stage, or two stages cannot be compared.
//!
//! The default rule leaves messages untouched and takes the first that is there: our `chaperone` header (16-byte id,
//! 8-byte big-endian event milliseconds), the `CloudEvents` headers `ce_id`/`ce_source`/`ce_time`, else the record's `CreateTime`
//! and a content id (XXH3-128 of key and value under the deployment's seed). Equal messages share a content id;
//! fingerprints are multisets, so that is right. A [`Recipe`] finds either elsewhere: in a header, in a JSON field, in a
//! structured `CloudEvent`; [`Rules`] says which topic has which.
//!
//! Invariants: pure; a rule's id covers everything that changes an answer, the seed only by its hash. A time that is
//! missing, malformed or out of range gets a class of its own and the arrival's window; it is never folded into "now".
//! A message without the identity that its recipe asks for has that of its content.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

mod event;
mod identity;
mod recipe;
mod time;
mod topics;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::fingerprint::MessageId;
use crate::message::Message;
use crate::scan::find_both;
use time::When;

pub use recipe::{IdRule, Recipe, RuleError, TimeRule, Unit};
pub use topics::{Rules, TopicRule};

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
    /// Identity from the content, or from a field or header that a recipe names.
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
    #[inline(always)]
    pub fn window_time_ms(&self, arrival_ms: i64) -> i64 {
        self.event_ms.unwrap_or(arrival_ms)
    }
}

/// What the default rule finds in the header [`HEADER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Identity and time.
    Read(MessageId, i64),
    /// Bytes that are no stamp.
    Unreadable,
    /// There is no such header, or it does not decide.
    None,
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

/// How a message's identity and time are found, under the deployment's seed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    seed: u64,
    id: RuleId,
    /// `None` is the default rule.
    recipe: Option<Arc<Recipe>>,
}

impl Rule {
    /// The default rule under the deployment's seed (random per deployment, so that ids cannot be guessed).
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Recipe::default())
    }
    /// The rule with a recipe of its own.
    pub fn with(seed: u64, recipe: Recipe) -> Self {
        let seed_hash = xxh3_64(&seed.to_le_bytes());
        let id = RuleId(xxh3_64_with_seed(recipe.canonical().as_bytes(), seed_hash));
        let recipe = (recipe != Recipe::default()).then(|| Arc::new(recipe));
        Self { seed, id, recipe }
    }
    /// The seed, for hashing ids into fingerprints.
    pub const fn seed(&self) -> u64 {
        self.seed
    }
    /// The rule's id; equal ids give equal answers.
    pub const fn id(&self) -> RuleId {
        self.id
    }

    /// Whether it is the default rule.
    pub const fn is_default(&self) -> bool {
        self.recipe.is_none()
    }

    /// Finds identity, class and event time of `message`, which arrived at `arrival_ms`.
    #[inline(always)]
    pub fn observe(&self, message: &Message<'_>, arrival_ms: i64) -> Observation {
        if let Some(recipe) = &self.recipe {
            return self.observe_by(recipe, message, arrival_ms);
        }
        self.observe_by_default(message, self.stamp_of(message), arrival_ms)
    }

    /// What audited producers add, where it decides. It is read in place; all else costs a hash of the message or more.
    #[inline(always)]
    pub(crate) fn stamp_of(&self, message: &Message<'_>) -> Stamp {
        if self.recipe.is_some() {
            return Stamp::None;
        }
        match message.headers.header(HEADER).map(parse_stamp) {
            Some(Some((id, ms))) => Stamp::Read(id, ms),
            Some(None) => Stamp::Unreadable,
            None => Stamp::None,
        }
    }

    #[inline(always)]
    fn observe_by_default(&self, message: &Message<'_>, stamp: Stamp, arrival_ms: i64) -> Observation {
        match stamp {
            Stamp::Read(id, ms) => Self::observe_stamp((id, ms), arrival_ms),
            Stamp::Unreadable => self.observe_bare(message, Some(When::Malformed), arrival_ms),
            Stamp::None => self.observe_bare(message, None, arrival_ms),
        }
    }

    /// The same as [`observe`](Self::observe) where no [`stamp`](Self::stamp_of) was read.
    #[cfg(feature = "recorder")]
    #[inline(always)]
    pub(crate) fn observe_unstamped(&self, message: &Message<'_>, stamp: Stamp, arrival_ms: i64) -> Observation {
        match &self.recipe {
            Some(recipe) => self.observe_by(recipe, message, arrival_ms),
            None => self.observe_by_default(message, stamp, arrival_ms),
        }
    }

    /// The same of a message of which only the stamp counts: see [`is_default`](Self::is_default).
    #[inline(always)]
    pub(crate) fn observe_stamp((id, event_ms): (MessageId, i64), arrival_ms: i64) -> Observation {
        Self::observation((id, Class::Stamped), When::At(event_ms), arrival_ms)
    }

    /// Whether a time in the window of a message that had a time of its own is one too.
    #[cfg(feature = "recorder")]
    #[inline(always)]
    pub(crate) fn is_timely(event_ms: i64, arrival_ms: i64) -> bool {
        // Windows begin at or after the first time, all in range.
        const { assert!(MIN_EVENT_MS % 600_000 == 0) };
        event_ms.wrapping_sub(arrival_ms) <= MAX_AHEAD_MS
    }

    #[inline(never)]
    fn observe_by(&self, recipe: &Recipe, message: &Message<'_>, arrival_ms: i64) -> Observation {
        if let (IdRule::Json(id), TimeRule::Json(time, unit), Some(value)) = (&recipe.id, &recipe.time, message.value) {
            let [id, time] = find_both(value, [id, time]);
            return Self::observation(self.identity_of(id, message), time::of_field(time, *unit), arrival_ms);
        }
        Self::observation(self.identity(&recipe.id, message), recipe.time.when(message), arrival_ms)
    }

    /// Without a header of ours that could be read. `when`: what is known of its time.
    #[inline(never)]
    fn observe_bare(&self, message: &Message<'_>, when: Option<When>, arrival_ms: i64) -> Observation {
        let event = if when.is_none() { message.headers.header("ce_id") } else { None };
        if let Some(id) = event {
            let id = self.event_id(message.headers.header("ce_source"), id);
            return Self::observation((id, Class::Stamped), time::of_binary_event(message), arrival_ms);
        }
        let when = when.unwrap_or_else(|| time::of_record(message));
        Self::observation((self.content_id(message), Class::Bare), when, arrival_ms)
    }

    #[inline(always)]
    fn observation((id, class): (MessageId, Class), when: When, arrival_ms: i64) -> Observation {
        let event_ms = match when {
            When::At(ms) | When::Broker(ms) => ms,
            When::Missing => return Observation { id, class: Class::NoTime, event_ms: None },
            When::Malformed => return Observation { id, class: Class::Malformed, event_ms: None },
            When::Beyond => return Observation { id, class: Class::OutOfRange, event_ms: None },
        };
        if event_ms < MIN_EVENT_MS || event_ms > arrival_ms.saturating_add(MAX_AHEAD_MS) {
            return Observation { id, class: Class::OutOfRange, event_ms: None };
        }
        let class = if matches!(when, When::Broker(_)) { Class::Rewritten } else { class };
        Observation { id, class, event_ms: Some(event_ms) }
    }
}

/// The value of the [`HEADER`] for a message: id and event time.
pub fn stamp(id: MessageId, event_ms: i64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&id.0.to_be_bytes());
    bytes[16..].copy_from_slice(&event_ms.to_be_bytes());
    bytes
}

#[inline(always)]
fn parse_stamp(bytes: &[u8]) -> Option<(MessageId, i64)> {
    let bytes: &[u8; 24] = bytes.try_into().ok()?;
    let (id, ms) = (bytes.first_chunk()?, bytes.last_chunk()?);
    Some((MessageId(u128::from_be_bytes(*id)), i64::from_be_bytes(*ms)))
}
