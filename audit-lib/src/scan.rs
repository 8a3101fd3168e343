//! Finds one field of a JSON document without decoding the rest of it.
//!
//! A [`Pointer`] (RFC 6901) leads from object to member and from array to element. Blocks of 64 bytes become bit masks of
//! quotes, backslashes and brackets (`masks`); what lies in strings is taken out of them, and only what opens a string
//! directly in the wanted object is looked at (`walk`). So a key inside a string, a nested object, an escaped quote or
//! a value that looks like the key is never taken for it.
//!
//! Of members with the same name the **first** wins, and the search does not come back to a later one. Escaped keys
//! (`"\u0074s"`) are compared as what they mean.
//!
//! What correct is, for every stage alike: on a valid document the answer is that of a full parser that keeps first
//! members (`serde_json` in the tests). A document that is cut off before the answer is known is
//! [`Malformed`](Found::Malformed). What follows the field is never looked at, and of what comes before it only strings
//! and brackets: other damage there goes unnoticed. Equal bytes always have the same answer, on every processor.
//!
//! Invariants: no recursion, no allocation, no panic on any bytes; time is linear in the document, memory constant.

mod masks;
mod number;
mod text;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use fearless_simd::{Level, dispatch};

pub use number::{Number, Scaled};
pub use text::Text;

/// Where a field is: the names of members and the indices of elements that lead to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer {
    text: Arc<str>,
    steps: Arc<[Step]>,
}

/// One step of a pointer.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// The member's name, decoded.
    name: Box<[u8]>,
    /// What follows the opening quote of the key as it is usually written.
    first: u8,
    /// From the opening quote to the closing one of a key that is written as it is; 64 is any distance from there on.
    beyond: u32,
    /// The name is written as it is: no quote, backslash or control character in it.
    plain: bool,
    /// Its meaning in an array.
    index: Option<u64>,
}

/// Why a text is no pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("'{0}' does not begin with '/': write /meta/ts for the member ts of the member meta")]
    NoSlash(String),
    /// A tilde that is no escape.
    #[error("'{0}' has a '~' that is neither ~0 (for ~) nor ~1 (for /)")]
    Tilde(String),
}

impl Pointer {
    /// Reads a pointer as RFC 6901 writes it: empty for the whole document, else `/` before each step, `~0` for `~`
    /// and `~1` for `/` in names. In an array a step of digits without a leading zero is an index from 0.
    ///
    /// # Errors
    /// See [`PointerError`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PointerError::NoSlash(text.to_owned()));
        }
        let steps: Option<Vec<Step>> = text.split('/').skip(1).map(Step::parse).collect();
        let steps = steps.ok_or_else(|| PointerError::Tilde(text.to_owned()))?;
        Ok(Self { text: text.into(), steps: steps.into() })
    }

    /// The pointer to a member of the document.
    pub fn member(name: &str) -> Self {
        let step = Step::named(name.to_owned());
        Self { text: format!("/{}", name.replace('~', "~0").replace('/', "~1")).into(), steps: [step].into() }
    }

    /// The pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('~');
        let mut name = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.strip_prefix('0').map(|rest| ('~', rest)).or(part.strip_prefix('1').map(|r| ('/', r)));
            let (meant, rest) = rest?;
            name.push(meant);
            name.push_str(rest);
        }
        Some(Self::named(name))
    }

    fn named(name: String) -> Self {
        let canonical = name == "0" || !name.starts_with('0');
        let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let index = if canonical && digits { name.parse().ok() } else { None };
        let name = name.into_bytes().into_boxed_slice();
        let plain = !name.iter().any(|b| matches!(b, b'"' | b'\\' | 0..0x20));
        let beyond = u32::try_from(name.len() + 1).map_or(64, |length| length.min(64));
        Self { first: name.first().copied().unwrap_or(b'"'), beyond, plain, index, name }
    }
}

/// What is at a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// No such field.
    Absent,
    /// The document is no JSON as far as it was looked at, or is cut off.
    Malformed,
    /// `null`.
    Null,
    /// A string.
    Text(Text<'a>),
    /// A number.
    Number(Number<'a>),
    /// `true`, `false`, an object or an array; what is in the container is not looked at.
    Other,
}

/// Looks for the field at `pointer`.
pub fn find<'a>(document: &'a [u8], pointer: &Pointer) -> Found<'a> {
    find_at(Level::new(), document, pointer)
}

/// What [`find`] finds at each of two pointers: in one walk, if both lead to members of the document itself.
pub fn find_both<'a>(document: &'a [u8], pointers: [&Pointer; 2]) -> [Found<'a>; 2] {
    find_both_at(Level::new(), document, pointers)
}

fn find_both_at<'a>(level: Level, document: &'a [u8], pointers: [&Pointer; 2]) -> [Found<'a>; 2] {
    match pointers.map(|pointer| &*pointer.steps) {
        [[first], [second]] => dispatch!(level, simd => walk::walk_pair(simd, document, [first, second])),
        _ => pointers.map(|pointer| find_at(level, document, pointer)),
    }
}

/// The same with the instructions of `level`, for tests: the answer does not depend on them.
fn find_at<'a>(level: Level, document: &'a [u8], pointer: &Pointer) -> Found<'a> {
    dispatch!(level, simd => walk::walk(simd, document, &pointer.steps))
}
