//! From what a message carries to its event time in milliseconds since 1970, rounded down.
//!
//! Numbers are read in JSON's notation, exactly, in the unit that the rule names; nothing guesses a unit from a number's
//! size. Whether a time is plausible is the rule's business, not this module's.

use super::event::{self, Mode};
use super::{HEADER, TimeRule, Unit, parse_stamp};
use crate::message::Message;
use crate::scan::{Found, Number, Scaled, find};

/// The longest time that is written with escapes.
const ESCAPED_MAX: usize = 64;

/// What there is of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// A time, in milliseconds.
    At(i64),
    /// The broker's, in milliseconds.
    Broker(i64),
    /// None.
    Missing,
    /// It cannot be read.
    Malformed,
    /// It cannot be a time: beyond 64 bits.
    Beyond,
}

impl TimeRule {
    pub(super) fn when(&self, message: &Message<'_>) -> When {
        match self {
            Self::Default => match message.headers.header(HEADER) {
                Some(stamp) => parse_stamp(stamp).map_or(When::Malformed, |(_, ms)| When::At(ms)),
                None if message.headers.header("ce_id").is_some() => of_binary_event(message),
                None => of_record(message),
            },
            Self::Timestamp => of_record(message),
            Self::CloudEvents => match event::mode(message) {
                Mode::Binary => of_binary_event(message),
                Mode::Structured(payload) => match find(payload, &event::ATTRIBUTES.time) {
                    Found::Absent | Found::Null => of_record(message),
                    found => of_field(found, Unit::Rfc3339),
                },
                Mode::None => When::Missing,
            },
            Self::Header(name, unit) => match message.headers.header(name) {
                Some(value) => of_header(value, *unit),
                None => When::Missing,
            },
            Self::Json(pointer, unit) => match message.value {
                Some(value) => of_field(find(value, pointer), *unit),
                None => When::Missing,
            },
        }
    }
}

/// The record's own timestamp.
pub(super) fn of_record(message: &Message<'_>) -> When {
    match message.timestamp_ms {
        Some(ms) if message.broker_time => When::Broker(ms),
        Some(ms) => When::At(ms),
        None => When::Missing,
    }
}

/// `CloudEvents` make the time optional; the record's own is the next best that all stages share.
pub(super) fn of_binary_event(message: &Message<'_>) -> When {
    message.headers.header("ce_time").map_or_else(|| of_record(message), rfc3339)
}

pub(super) fn of_field(found: Found<'_>, unit: Unit) -> When {
    match found {
        Found::Absent | Found::Null => When::Missing,
        Found::Number(number) => unit.power().map_or(When::Malformed, |power| scaled(&number, power)),
        Found::Text(text) => {
            let mut buffer = [0; ESCAPED_MAX];
            text.read_short(&mut buffer).map_or(When::Malformed, |text| of_text(text.as_bytes(), unit))
        }
        Found::Malformed | Found::Other => When::Malformed,
    }
}

/// Text as in a string of JSON, or 8 bytes, big-endian, in the rule's unit.
fn of_header(value: &[u8], unit: Unit) -> When {
    match (of_text(value, unit), <[u8; 8]>::try_from(value), unit.power()) {
        (When::Malformed, Ok(bytes), Some(power)) => of_integer(i64::from_be_bytes(bytes), power),
        (when, _, _) => when,
    }
}

fn of_integer(value: i64, power: i64) -> When {
    let factor = 10_i64.pow(power.unsigned_abs().try_into().unwrap_or(0));
    if power < 0 {
        return When::At(value.div_euclid(factor));
    }
    value.checked_mul(factor).map_or(When::Beyond, When::At)
}

fn of_text(text: &[u8], unit: Unit) -> When {
    match unit.power() {
        Some(power) => Number::parse(text).map_or(When::Malformed, |number| scaled(&number, power)),
        None => rfc3339(text),
    }
}

fn scaled(number: &Number<'_>, power: i64) -> When {
    match number.scaled(power) {
        Scaled::Whole(ms) => When::At(ms),
        Scaled::Beyond => When::Beyond,
    }
}

fn rfc3339(text: &[u8]) -> When {
    let time = std::str::from_utf8(text).ok().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    time.map_or(When::Malformed, |time| When::At(time.timestamp_millis()))
}
