//! What `serde_json` makes of a document: a visitor that keeps the first of members with the same name.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What is at a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Absent,
    Malformed,
    Null,
    Number(String),
    Text(String),
    /// A string that means no text: half of a surrogate pair.
    Unreadable,
    Other,
}

/// The steps of a pointer, decoded.
pub(crate) fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// Of a document that must be valid to its end.
pub(crate) fn whole(document: &[u8], steps: &[String]) -> Answer {
    let Ok(mut raw) = serde_json::from_slice::<&RawValue>(document) else { return Answer::Malformed };
    // A step at a time, so that no string is decoded that is not asked for.
    for step in steps.chunks(1) {
        if !raw.get().starts_with(['{', '[']) {
            return Answer::Absent;
        }
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        match (Seek { steps: step, stop: &mut Stop::No }).deserialize(&mut reader) {
            Ok(Some(found)) => raw = found,
            Ok(None) => return Answer::Absent,
            Err(_) => return Answer::Malformed,
        }
    }
    of(raw)
}

/// Of a reader that stops as soon as it knows: what follows may be anything. Halves of surrogate pairs on the way are
/// malformed to it.
pub(crate) fn up_to_the_field(document: &[u8], steps: &[String]) -> Answer {
    let mut reader = serde_json::Deserializer::from_slice(document);
    let mut stop = Stop::Wanted;
    match (Seek { steps, stop: &mut stop }.deserialize(&mut reader), stop) {
        (_, Stop::Known(answer)) => answer,
        (Ok(_), _) => Answer::Absent,
        (Err(_), _) => Answer::Malformed,
    }
}

/// The value that a text begins with, if one does.
pub(crate) fn leading_value(text: &str) -> Answer {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.next().and_then(Result::ok).map_or(Answer::Malformed, of)
}

fn of(raw: &RawValue) -> Answer {
    match raw.get().as_bytes().first() {
        Some(b'n') => Answer::Null,
        Some(b'"') => serde_json::from_str(raw.get()).map_or(Answer::Unreadable, Answer::Text),
        Some(b'-' | b'0'..=b'9') => Answer::Number(raw.get().to_owned()),
        _ => Answer::Other,
    }
}

/// Whether to end the reading, by an error, once the answer is known.
enum Stop {
    No,
    Wanted,
    Known(Answer),
}

/// Goes to the value at `steps`.
struct Seek<'s> {
    steps: &'s [String],
    stop: &'s mut Stop,
}

impl Seek<'_> {
    /// Known now: ends the reading if that was asked for.
    fn known<E: Error>(&mut self, answer: impl FnOnce() -> Answer) -> Result<(), E> {
        if matches!(self.stop, Stop::No) {
            return Ok(());
        }
        *self.stop = Stop::Known(answer());
        Err(E::custom("known"))
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(mut self, d: D) -> Result<Self::Value, D::Error> {
        if self.steps.is_empty() {
            let raw = <&RawValue as serde::Deserialize>::deserialize(d)?;
            self.known(|| of(raw))?;
            return Ok(Some(raw));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.steps.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(Key(key)) = map.next_key()? {
            if found.is_none() && key == first.as_bytes() {
                found = Some(map.next_value_seed(Seek { steps: rest, stop: self.stop })?);
                // Whatever it was, it is the first of that name.
                if matches!(found, Some(None)) {
                    self.known(|| Answer::Absent)?;
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.flatten())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.steps.split_first() else { return Ok(None) };
        let canonical = first == "0" || !first.starts_with(['0', '+']);
        let index = if canonical { first.parse::<u64>().ok() } else { None };
        let Some(index) = index else {
            self.known(|| Answer::Absent)?;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = seq.next_element_seed(Seek { steps: rest, stop: self.stop })?;
        if found.is_some_and(|found| found.is_none()) {
            self.known(|| Answer::Absent)?;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found.flatten())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A key's bytes; half of a surrogate pair in it is no error, and no name of ours.
struct Key(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(Key(bytes.to_vec()))
            }
        }
        d.deserialize_bytes(Bytes)
    }
}
