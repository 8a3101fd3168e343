//! From what a message carries to its 128-bit id.

use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::event::{self, Mode};
use super::{Class, HEADER, IdRule, Rule, parse_stamp};
use crate::fingerprint::MessageId;
use crate::message::Message;
use crate::scan::{Found, find};

/// Length of a UUID as text, with hyphens.
const UUID_TEXT: usize = 36;

impl Rule {
    /// XXH3-128 over key and value, whatever the recipe; null and empty differ. It tells one log from another.
    pub fn content_id(&self, message: &Message<'_>) -> MessageId {
        self.pair_id(message.key, message.value)
    }

    /// Identity by what was found where a rule looks in the payload.
    pub(super) fn identity_of(&self, found: Found<'_>, message: &Message<'_>) -> (MessageId, Class) {
        (self.field_id(found).unwrap_or_else(|| self.content_id(message)), Class::Bare)
    }

    /// Identity by a recipe, and the class of a message that has a time of its own.
    pub(super) fn identity(&self, rule: &IdRule, message: &Message<'_>) -> (MessageId, Class) {
        let stamped = |id| (id, Class::Stamped);
        let bare = |id| (id, Class::Bare);
        let headers = message.headers;
        let found = match rule {
            IdRule::Default => match headers.header(HEADER) {
                Some(stamp) => parse_stamp(stamp).map(|(id, _)| stamped(id)),
                None => headers.header("ce_id").map(|id| stamped(self.event_id(headers.header("ce_source"), id))),
            },
            IdRule::Content => None,
            IdRule::CloudEvents => self.of_event(message).map(stamped),
            IdRule::Header(name) => headers.header(name).and_then(|value| self.header_id(value)).map(bare),
            IdRule::Json(pointer) => message.value.and_then(|value| self.field_id(find(value, pointer))).map(bare),
        };
        found.unwrap_or_else(|| bare(self.content_id(message)))
    }

    /// The id of a `CloudEvent`, which is unique within its source only.
    pub(super) fn event_id(&self, source: Option<&[u8]>, id: &[u8]) -> MessageId {
        self.pair_id(Some(source.unwrap_or_default()), Some(id))
    }

    fn of_event(&self, message: &Message<'_>) -> Option<MessageId> {
        match event::mode(message) {
            Mode::Binary => {
                let id = message.headers.header("ce_id")?;
                Some(self.event_id(message.headers.header("ce_source"), id))
            }
            Mode::Structured(payload) => {
                let id = event::text(payload, &event::ATTRIBUTES.id)?;
                let source = event::text(payload, &event::ATTRIBUTES.source).unwrap_or_default();
                Some(self.event_id(Some(source.as_bytes()), id.as_bytes()))
            }
            Mode::None => None,
        }
    }

    /// A string, or a number as it is written.
    fn field_id(&self, found: Found<'_>) -> Option<MessageId> {
        match found {
            Found::Text(text) => self.text_id(&text.read_bytes()?),
            Found::Number(number) => self.text_id(number.as_bytes()),
            _ => None,
        }
    }

    /// 16 bytes are the id, anything else is text.
    fn header_id(&self, value: &[u8]) -> Option<MessageId> {
        match <[u8; 16]>::try_from(value) {
            Ok(id) => Some(MessageId(u128::from_be_bytes(id))),
            Err(_) => self.text_id(value),
        }
    }

    /// A UUID is its 16 bytes, in whatever case it is written; other text is hashed; no text is no id.
    fn text_id(&self, text: &[u8]) -> Option<MessageId> {
        if text.len() == UUID_TEXT
            && let Ok(id) = Uuid::try_parse_ascii(text)
        {
            return Some(MessageId(id.as_u128()));
        }
        (!text.is_empty()).then(|| MessageId(xxh3_128_with_seed(text, self.seed)))
    }

    fn pair_id(&self, first: Option<&[u8]>, second: Option<&[u8]>) -> MessageId {
        // The first part's hash (and whether each part is null) seeds the second's: no concatenation, no ambiguity.
        let nulls = u64::from(first.is_none()) | (u64::from(second.is_none()) << 1);
        let seed = xxh3_64_with_seed(first.unwrap_or_default(), self.seed ^ nulls);
        MessageId(xxh3_128_with_seed(second.unwrap_or_default(), seed))
    }
}
