//! A JSON string as it is written, and what it means.

use std::borrow::Cow;

/// A string between its quotes: UTF-8 without control characters. Whether its escapes are right shows when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a [u8],
    escapes: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(raw: &'a [u8], escapes: bool) -> Option<Self> {
        // To the end in any case, so that many are looked at at once.
        let controls = raw.iter().fold(0, |found, b| found | u8::from(*b < 0x20));
        let good = controls == 0 && (raw.is_ascii() || std::str::from_utf8(raw).is_ok());
        good.then_some(Self { raw, escapes })
    }

    /// What it means, as bytes; else as [`read`](Self::read).
    pub(crate) fn read_bytes(&self) -> Option<Cow<'a, [u8]>> {
        if !self.escapes {
            return Some(Cow::Borrowed(self.raw));
        }
        self.read().map(|text| Cow::Owned(text.into_owned().into_bytes()))
    }

    /// What it means; `None` where an escape is none, or half of a surrogate pair. Allocates only if there are escapes.
    pub fn read(&self) -> Option<Cow<'a, str>> {
        if !self.escapes {
            return std::str::from_utf8(self.raw).ok().map(Cow::Borrowed);
        }
        let mut text = String::with_capacity(self.raw.len());
        for piece in pieces(self.raw) {
            match piece? {
                Piece::Plain(bytes) => text.push_str(std::str::from_utf8(bytes).ok()?),
                Piece::Escaped(c) => text.push(c),
            }
        }
        Some(Cow::Owned(text))
    }

    /// The same if it has at most as many bytes as `buffer`; never allocates.
    pub fn read_short<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b str>
    where
        'a: 'b,
    {
        if !self.escapes {
            return std::str::from_utf8(self.raw).ok();
        }
        let mut length = 0;
        for piece in pieces(self.raw) {
            let mut utf8 = [0; 4];
            let bytes = match piece? {
                Piece::Plain(bytes) => bytes,
                Piece::Escaped(c) => c.encode_utf8(&mut utf8).as_bytes(),
            };
            buffer.get_mut(length..length + bytes.len())?.copy_from_slice(bytes);
            length += bytes.len();
        }
        std::str::from_utf8(buffer.get(..length)?).ok()
    }
}

/// If the string whose content begins at `from` means `name`: where its closing quote is.
pub(super) fn name_end(document: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let mut raw = document.get(from..)?;
    let mut left = name;
    loop {
        let (byte, rest) = raw.split_first()?;
        match byte {
            b'"' => return left.is_empty().then_some(document.len() - raw.len()),
            b'\\' => {
                let (meant, rest) = escape(raw)?;
                left = left.strip_prefix(meant.encode_utf8(&mut [0; 4]).as_bytes())?;
                raw = rest;
            }
            byte => {
                let (next, rest_of_name) = left.split_first()?;
                if next != byte {
                    return None;
                }
                (left, raw) = (rest_of_name, rest);
            }
        }
    }
}

enum Piece<'a> {
    Plain(&'a [u8]),
    Escaped(char),
}

/// The stretches without escapes and the escapes of a string; `None`, once, where an escape is none.
fn pieces(raw: &[u8]) -> impl Iterator<Item = Option<Piece<'_>>> {
    let mut left = raw;
    std::iter::from_fn(move || {
        let next = match memchr::memchr(b'\\', left) {
            _ if left.is_empty() => return None,
            Some(0) => escape(left).map(|(c, rest)| (Piece::Escaped(c), rest)),
            Some(at) => left.split_at_checked(at).map(|(plain, rest)| (Piece::Plain(plain), rest)),
            None => Some((Piece::Plain(left), &[][..])),
        };
        left = next.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(next.map(|(piece, _)| piece))
    })
}

/// The escape that `raw` begins with, and what follows it.
fn escape(raw: &[u8]) -> Option<(char, &[u8])> {
    let (kind, rest) = raw.get(1..)?.split_first()?;
    let c = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (high, rest) = code_unit(rest)?;
            if let Some(c) = char::from_u32(high) {
                return Some((c, rest));
            }
            let (low, rest) = code_unit(rest.strip_prefix(br"\u")?)?;
            let pair = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
            let c = char::decode_utf16(pair).next()?.ok()?;
            return Some((c, rest));
        }
        _ => return None,
    };
    Some((c, rest))
}

fn code_unit(raw: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = raw.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Option<Text<'_>> {
        Text::new(raw.as_bytes(), raw.contains('\\'))
    }

    #[test]
    fn what_is_no_string_is_not_read() {
        for bad in [r"\q", r"\u12", r"\ud800", r"\ud800\u0041", r"\udc00\ud800", r"a\", r"\u+123"] {
            let text = text(bad).expect("UTF-8");
            assert_eq!((text.read(), text.read_short(&mut [0; 64])), (None, None), "{bad}");
            assert_eq!(name_end(format!("{bad}\"").as_bytes(), 0, b"a"), None, "{bad}");
        }
        assert_eq!(text("a\nb"), None);
        assert_eq!(Text::new(&[0xff], false), None);
        assert_eq!(text(r"abc\n").expect("UTF-8").read_short(&mut [0; 3]), None, "too long");
    }

    proptest! {
        #[test]
        fn it_means_what_a_parser_says(raw in r#"([ -!#-\[\]-~é𝄞]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\ud83d\\ude00){0,12}"#) {
            let meant = serde_json::from_str::<String>(&format!("\"{raw}\"")).ok();
            let read = text(&raw).expect("UTF-8");
            prop_assert_eq!(read.read().map(Cow::into_owned), meant.clone());
            prop_assert_eq!(read.read_short(&mut [0; 64]).map(str::to_owned), meant.clone());
            if let Some(meant) = meant {
                let document = format!("[{raw}\"");
                prop_assert_eq!(name_end(document.as_bytes(), 1, meant.as_bytes()), Some(raw.len() + 1));
                let longer = format!("{meant}x");
                prop_assert_eq!(name_end(document.as_bytes(), 1, longer.as_bytes()), None);
                prop_assert_eq!(name_end(&document.as_bytes()[..=raw.len()], 1, meant.as_bytes()), None);
            }
        }
    }
}
