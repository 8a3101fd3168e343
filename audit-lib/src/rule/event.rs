//! `CloudEvents` in Kafka's protocol binding: *binary*, the attributes in headers `ce_…`, or *structured*, the whole event
//! as JSON in the value, told by the header `content-type: application/cloudevents+json`.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::message::Message;
use crate::scan::{Found, Pointer, find};

/// How a message carries an event.
pub(super) enum Mode<'a> {
    /// In headers.
    Binary,
    /// In its value.
    Structured(&'a [u8]),
    /// It carries none.
    None,
}

const STRUCTURED: &[u8] = b"application/cloudevents+json";

/// Where a structured event has its attributes.
pub(super) struct Attributes {
    pub(super) id: Pointer,
    pub(super) source: Pointer,
    pub(super) time: Pointer,
}

pub(super) static ATTRIBUTES: LazyLock<Attributes> = LazyLock::new(|| Attributes {
    id: Pointer::member("id"),
    source: Pointer::member("source"),
    time: Pointer::member("time"),
});

pub(super) fn mode<'a>(message: &Message<'a>) -> Mode<'a> {
    if let (Some(kind), Some(value)) = (message.headers.header("content-type"), message.value) {
        // Parameters (a charset) may follow.
        let media_type = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if media_type.eq_ignore_ascii_case(STRUCTURED) {
            return Mode::Structured(value);
        }
    }
    let binary = ["ce_id", "ce_specversion"].iter().any(|name| message.headers.header(name).is_some());
    if binary { Mode::Binary } else { Mode::None }
}

/// An attribute of a structured event that is a text with something in it.
pub(super) fn text<'a>(payload: &'a [u8], attribute: &Pointer) -> Option<Cow<'a, str>> {
    match find(payload, attribute) {
        Found::Text(text) => text.read().filter(|text| !text.is_empty()),
        _ => None,
    }
}
