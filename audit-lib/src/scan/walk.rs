//! From the document's beginning to the field, container by container.
//!
//! `depth` counts from the container that is searched: 0 is directly in it. Blocks are taken in order, each once, so that
//! what is carried from one to the next is right; only the answer's own bytes are looked at one by one.

#![expect(clippy::inline_always, reason = "what is not inlined into the dispatched function loses its instructions")]

use fearless_simd::Simd;
use memchr::memchr2;
use serde::de::IgnoredAny;

use super::masks::{BLOCK, Block, Carry, Masks, block, positions};
use super::number::Number;
use super::text::{Text, name_end};
use super::{Found, Step};

/// What the value is in, which decides what may follow it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    Nothing,
    Object,
    Array,
}

impl Within {
    /// By the bracket that opened it.
    pub(super) const fn of(bracket: Option<u8>) -> Self {
        match bracket {
            Some(b'{') => Self::Object,
            Some(_) => Self::Array,
            None => Self::Nothing,
        }
    }
}

/// How a step ends, if not at a value.
#[derive(Clone, Copy)]
enum Stop {
    Absent,
    Malformed,
}

#[inline(always)]
pub(super) fn walk<'a, S: Simd>(simd: S, document: &'a [u8], steps: &[Step]) -> Found<'a> {
    let mut at = skip_space(document, 0);
    let mut within = None;
    let mut cursor = Cursor::new(simd, document);
    for step in steps {
        let bracket = document.get(at).copied();
        let next = match bracket {
            Some(b'{') => cursor.member(at + 1, step),
            Some(b'[') => cursor.element(at + 1, step.index),
            _ => return into_scalar(document, at, Within::of(within)),
        };
        within = bracket;
        at = match next {
            Ok(at) => at,
            Err(Stop::Absent) => return Found::Absent,
            Err(Stop::Malformed) => return Found::Malformed,
        };
    }
    value(document, at, Within::of(within))
}

/// The pointer leads into what is no container.
pub(super) fn into_scalar(document: &[u8], at: usize, within: Within) -> Found<'_> {
    // A whole document that is a scalar is a rarity, and may be anything but JSON: let a full parser see it.
    let good = match within {
        Within::Nothing => serde_json::from_slice::<IgnoredAny>(document).is_ok(),
        _ => value(document, at, within) != Found::Malformed,
    };
    if good { Found::Absent } else { Found::Malformed }
}

/// Two members of the document in one walk; what is found is what two walks find.
#[inline(always)]
pub(super) fn walk_pair<'a, S: Simd>(simd: S, document: &'a [u8], names: [&Step; 2]) -> [Found<'a>; 2] {
    let at = skip_space(document, 0);
    let mut cursor = Cursor::new(simd, document);
    match document.get(at) {
        Some(b'{') => {}
        Some(b'[') => return names.map(|name| walk(simd, document, std::slice::from_ref(name))),
        _ => return [into_scalar(document, at, Within::Nothing); 2],
    }
    cursor.members(at + 1, names).map(|found| match found {
        Ok(at) => value(document, at, Within::Object),
        Err(Stop::Absent) => Found::Absent,
        Err(Stop::Malformed) => Found::Malformed,
    })
}

struct Cursor<'a, S> {
    simd: S,
    document: &'a [u8],
    /// Where the block begins.
    base: usize,
    /// What the blocks before it left.
    carry: Carry,
}

impl<'a, S: Simd> Cursor<'a, S> {
    const fn new(simd: S, document: &'a [u8]) -> Self {
        Self { simd, document, base: 0, carry: Carry::START }
    }

    /// The block, its masks, and what it leaves to the next.
    #[inline(always)]
    fn block(&self) -> (Block<S>, Masks, Carry) {
        let mut carry = self.carry;
        let (block, masks) = block(self.simd, self.document, self.base, &mut carry);
        (block, masks, carry)
    }

    /// Goes to the next block; `false` at the document's end.
    #[inline(always)]
    const fn next(&mut self, carry: Carry) -> bool {
        self.base += BLOCK;
        self.carry = carry;
        self.base < self.document.len()
    }

    /// Goes to the block that has byte `at`; `false` if none has.
    #[inline(always)]
    fn seek(&mut self, at: usize) -> bool {
        while at >= self.base + BLOCK {
            let (_, _, carry) = self.block();
            if !self.next(carry) {
                return false;
            }
        }
        at < self.document.len()
    }

    /// The value of the first member of that name, in the object whose content begins at `from`.
    #[inline(always)]
    fn member(&mut self, from: usize, step: &Step) -> Result<usize, Stop> {
        if !self.seek(from) {
            return Err(Stop::Malformed);
        }
        let mut live = !0u64 << (from - self.base);
        let mut depth = 0;
        loop {
            let (block, masks, carry) = self.block();
            let (direct, after) = level(&masks, live, depth);
            let probe = positions(self.simd, block, step.first);
            if let Some(at) = self.among(masks.like(probe, step.beyond) & direct, step) {
                return at;
            }
            if after == ENDS {
                return Err(Stop::Absent);
            }
            depth = after;
            live = !0;
            if !self.next(carry) {
                return Err(Stop::Malformed);
            }
        }
    }

    /// The values of the first members of these names.
    #[inline(always)]
    fn members(&mut self, from: usize, names: [&Step; 2]) -> [Result<usize, Stop>; 2] {
        let [mut first, mut second] = [None, None];
        let mut depth = 0;
        let seen = self.seek(from);
        let mut live = if seen { !0u64 << (from - self.base) } else { 0 };
        let missing = loop {
            if !seen {
                break Stop::Malformed;
            }
            let (block, masks, carry) = self.block();
            let (direct, after) = level(&masks, live, depth);
            for (name, found) in names.iter().zip([&mut first, &mut second]) {
                if found.is_none() {
                    let probe = positions(self.simd, block, name.first);
                    *found = self.among(masks.like(probe, name.beyond) & direct, name);
                }
            }
            if after == ENDS || first.is_some() && second.is_some() {
                break Stop::Absent;
            }
            depth = after;
            live = !0;
            if !self.next(carry) {
                break Stop::Malformed;
            }
        };
        [first.unwrap_or(Err(missing)), second.unwrap_or(Err(missing))]
    }

    /// The value of the first of these strings that is the wanted key.
    #[inline(always)]
    fn among(&self, mut starts: u64, step: &Step) -> Option<Result<usize, Stop>> {
        while starts != 0 {
            let bit = starts.trailing_zeros();
            starts &= starts - 1;
            let at = self.base + bit as usize;
            if let Some(end) = key_end(self.document, at + 1, step)
                && let Some(found) = after_key(self.document, at, end)
            {
                return Some(found);
            }
        }
        None
    }

    /// The element of that index, in the array whose content begins at `from`.
    #[inline(always)]
    fn element(&mut self, from: usize, index: Option<u64>) -> Result<usize, Stop> {
        let Some(mut left) = index else { return Err(Stop::Absent) };
        let first = skip_space(self.document, from);
        match self.document.get(first) {
            None => return Err(Stop::Malformed),
            Some(b']') => return Err(Stop::Absent),
            Some(_) if left == 0 => return Ok(first),
            Some(_) => {}
        }
        if !self.seek(from) {
            return Err(Stop::Malformed);
        }
        let mut live = !0u64 << (from - self.base);
        let mut depth = 0;
        loop {
            let (block, masks, carry) = self.block();
            let (direct, after) = level(&masks, live, depth);
            let mut commas = positions(self.simd, block, b',') & !masks.strings & direct;
            while commas != 0 {
                left -= 1;
                if left == 0 {
                    return Ok(skip_space(self.document, self.base + commas.trailing_zeros() as usize + 1));
                }
                commas &= commas - 1;
            }
            if after == ENDS {
                return Err(Stop::Absent);
            }
            depth = after;
            live = !0;
            if !self.next(carry) {
                return Err(Stop::Malformed);
            }
        }
    }
}

/// What of a block, from the bits `live` on, lies directly in the container, and the depth behind it; [`ENDS`] if the
/// container ends in the block. `before` is the depth before it.
#[inline(always)]
fn level(masks: &Masks, live: u64, before: u64) -> (u64, u64) {
    let (open, close) = (masks.open & live, masks.close & live);
    // Mostly nothing is nested twice: brackets open and close by turns. Then a difference whose borrow runs from each that
    // opens to the one that closes is the nested stretches; and only then are all that open in it and none that close.
    let nested = close.wrapping_sub(open).wrapping_sub(before);
    if before <= 1 && open & !nested == 0 && close & nested == 0 {
        return (live & !nested, nested >> 63);
    }
    counted(open, close, live, before)
}

/// No depth: the container has ended.
const ENDS: u64 = u64::MAX;

/// The same, bracket by bracket. Two words, so that they come back in registers.
#[inline(never)]
fn counted(open: u64, close: u64, live: u64, before: u64) -> (u64, u64) {
    if u64::from(close.count_ones()) < before {
        return (0, before + u64::from(open.count_ones()) - u64::from(close.count_ones()));
    }
    let (mut direct, mut depth, mut from) = (0, before, live);
    let mut brackets = open | close;
    while brackets != 0 {
        let bracket = brackets & brackets.wrapping_neg();
        if depth == 0 {
            direct |= from & (bracket - 1);
        }
        // Behind the bracket.
        from = !(bracket | (bracket - 1));
        if open & bracket != 0 {
            depth += 1;
        } else if depth == 0 {
            return (direct, ENDS);
        } else {
            depth -= 1;
        }
        brackets &= brackets - 1;
    }
    (if depth == 0 { direct | from } else { direct }, depth)
}

/// Where the string ends that begins with the quote at `at`: the position of its closing quote, and whether it has
/// escapes.
fn string_end(document: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut from = at + 1;
    let mut escapes = false;
    loop {
        let hit = from + memchr2(b'"', b'\\', document.get(from..)?)?;
        if document.get(hit) == Some(&b'"') {
            return Some((hit, escapes));
        }
        escapes = true;
        from = hit + 2;
    }
}

/// If the string whose content begins at `from` is that name: where its closing quote is.
#[inline(always)]
fn key_end(document: &[u8], from: usize, step: &Step) -> Option<usize> {
    let end = from + step.name.len();
    let same = step.plain && document.get(from..end) == Some(&*step.name) && document.get(end) == Some(&b'"');
    if same { Some(end) } else { name_end(document, from, &step.name) }
}

/// Where the value begins of the string from `at` to `end` if it is a key; a string that stands where no key can is not
/// one.
#[inline(always)]
fn after_key(document: &[u8], at: usize, end: usize) -> Option<Result<usize, Stop>> {
    let colon = skip_space(document, end + 1);
    match document.get(colon) {
        Some(b':') => {}
        None => return Some(Err(Stop::Malformed)),
        Some(_) => return None,
    }
    let before = document.get(..at).unwrap_or_default().iter().rfind(|b| !is_space(**b));
    match before {
        Some(b'{' | b',') => Some(Ok(skip_space(document, colon + 1))),
        _ => Some(Err(Stop::Malformed)),
    }
}

const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// The first byte from `at` on that is no white space; the document's length if there is none.
#[inline(always)]
fn skip_space(document: &[u8], mut at: usize) -> usize {
    while document.get(at).is_some_and(|b| is_space(*b)) {
        at += 1;
    }
    at
}

/// The value at `at`.
pub(super) fn value(document: &[u8], at: usize, within: Within) -> Found<'_> {
    let rest = document.get(at..).unwrap_or_default();
    let (found, length) = match rest.first() {
        Some(b'"') => {
            let Some((end, escapes)) = string_end(document, at) else { return Found::Malformed };
            let raw = document.get(at + 1..end).unwrap_or_default();
            let Some(text) = Text::new(raw, escapes) else { return Found::Malformed };
            (Found::Text(text), end + 1 - at)
        }
        Some(b'-' | b'0'..=b'9') => {
            let Some(number) = Number::at(rest) else { return Found::Malformed };
            (Found::Number(number), number.as_bytes().len())
        }
        Some(b'n') if rest.starts_with(b"null") => (Found::Null, 4),
        Some(b't') if rest.starts_with(b"true") => (Found::Other, 4),
        Some(b'f') if rest.starts_with(b"false") => (Found::Other, 5),
        Some(b'{' | b'[') => return Found::Other,
        _ => return Found::Malformed,
    };
    let next = document.get(skip_space(document, at + length));
    let good = match within {
        Within::Nothing => next.is_none(),
        Within::Object => matches!(next, Some(b',' | b'}')),
        Within::Array => matches!(next, Some(b',' | b']')),
    };
    if good { found } else { Found::Malformed }
}
