//! The scanner as it is meant, byte by byte: no blocks, no masks. What it shares with the real one is how a value is
//! read once it is found.

use super::super::{Found, Pointer, Step, walk};

/// What soup is made of: enough to be nearly JSON now and then.
pub(super) const PARTS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\"",
    b"\\",
    b"\"ts\"",
    b"\"ts\":",
    b"\"a\":",
    b"\"a\":{",
    b"\"t\\u0073\":",
    b"\\\"ts\\\":",
    b"17",
    b"\"x\"",
    b"null",
    b",\"ts\":1",
    b"\"a\":[",
    b"{\"ts\":2}",
    b"\"t\\\"s\":",
    b"\n",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"\"\":",
    b"\\\\",
    b"\xff",
];

/// Reads a document from its beginning; `i` is always outside strings.
struct Reader<'a> {
    document: &'a [u8],
    i: usize,
}

/// What the reader went past.
enum Passed<'a> {
    Byte,
    /// A string with this content.
    Text(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn space(&mut self) -> Option<u8> {
        while matches!(self.document.get(self.i), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.i += 1;
        }
        self.document.get(self.i).copied()
    }

    /// Past one byte, or past a string, whose content it is then. Outside strings, where no backslash belongs, it still
    /// keeps a quote from being one.
    fn pass(&mut self) -> Option<Passed<'a>> {
        let from = self.i;
        let quote = self.document.get(from) == Some(&b'"');
        if !quote {
            let escape = matches!(self.document.get(from..)?, [b'\\', b'"' | b'\\', ..]);
            self.i += if escape { 2 } else { 1 };
            return Some(Passed::Byte);
        }
        self.i += 1;
        loop {
            match self.document.get(self.i)? {
                b'"' => break,
                b'\\' => self.i += 2,
                _ => self.i += 1,
            }
        }
        self.i += 1;
        Some(Passed::Text(&self.document[from + 1..self.i - 1]))
    }
}

/// As [`find`](super::super::find).
pub(super) fn find<'a>(document: &'a [u8], pointer: &Pointer) -> Found<'a> {
    let mut reader = Reader { document, i: 0 };
    reader.space();
    let mut within = None;
    for step in &*pointer.steps {
        let kind = document.get(reader.i).copied();
        let found = match (kind, step.index) {
            (Some(b'{'), _) => member(&mut reader, step),
            (Some(b'['), Some(index)) => element(&mut reader, index),
            (Some(b'['), None) => Some(false),
            _ => return walk::into_scalar(document, reader.i, walk::Within::of(within)),
        };
        match found {
            None => return Found::Malformed,
            Some(false) => return Found::Absent,
            Some(true) => within = kind,
        }
    }
    walk::value(document, reader.i, walk::Within::of(within))
}

/// Goes to the value of the first member of that name; `Some(false)` if there is none.
fn member(r: &mut Reader<'_>, step: &Step) -> Option<bool> {
    r.i += 1;
    let mut depth = 0;
    let mut last = b'{';
    loop {
        let byte = r.space()?;
        let passed = r.pass()?;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(false),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0
            && let Passed::Text(raw) = passed
            && meant(raw).as_deref() == Some(&*step.name)
        {
            match r.space() {
                Some(b':') if matches!(last, b'{' | b',') => {
                    r.i += 1;
                    r.space();
                    return Some(true);
                }
                None | Some(b':') => return None,
                Some(_) => {}
            }
        }
        last = r.document[r.i - 1];
    }
}

/// What a key's content means, by another reader of escapes; a control character is taken as it is.
fn meant(raw: &[u8]) -> Option<Vec<u8>> {
    if !raw.contains(&b'\\') {
        return Some(raw.to_vec());
    }
    let quoted = format!("\"{}\"", std::str::from_utf8(raw).ok()?);
    serde_json::from_str::<String>(&quoted).ok().map(String::into_bytes)
}

fn element(r: &mut Reader<'_>, mut index: u64) -> Option<bool> {
    r.i += 1;
    if r.space()? == b']' {
        return Some(false);
    }
    let mut depth = 0;
    while index > 0 {
        let byte = *r.document.get(r.i)?;
        r.pass()?;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(false),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => index -= 1,
            _ => {}
        }
    }
    r.space();
    Some(true)
}
