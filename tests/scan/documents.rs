//! Documents and pointers made from a number: few names, so that keys collide at every depth, in strings and in arrays;
//! all notations; white space and escapes anywhere.

use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Names of members, also found in strings.
const NAMES: &[&str] =
    &["ts", "t", "meta", "id", "a", "", "t\"s", "a/b", "~", "0", "1", "é", "😀", "ts\\", "time", "\n"];
const NUMBERS: &[&str] =
    &["0", "-0", "17", "1790000000000", "1.79e12", "-1.5E-3", "1e400", "0.10", "18446744073709551616", "1E+2"];
const FILL: &[&str] = &[
    "",
    "x",
    "Main Street 7, 12345 Springfield",
    "\"ts\":1,",
    "{\"ts\":2}",
    "\\\"ts\\\":",
    "],}",
    "\\",
    "\\\\\"",
    "tab\there",
];

pub(crate) struct Maker {
    random: SmallRng,
}

impl Maker {
    pub(crate) fn new(number: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(number) }
    }

    /// A valid document, and a pointer that leads somewhere in it more often than not.
    pub(crate) fn document(&mut self) -> (String, String) {
        let mut text = String::new();
        self.space(&mut text);
        if self.chance(40) {
            self.scalar(&mut text);
        } else {
            self.container(&mut text, 4);
        }
        self.space(&mut text);
        let steps = *[0, 1, 1, 1, 1, 1, 2, 2, 2, 3].choose(&mut self.random).unwrap_or(&1);
        let mut path = String::new();
        for _ in 0..steps {
            let name = if self.chance(3) { "ts" } else { self.pick(NAMES) };
            path.push('/');
            path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        }
        (text, path)
    }

    /// A beginning of it.
    pub(crate) fn cut<'a>(&mut self, document: &'a [u8]) -> &'a [u8] {
        &document[..self.random.random_range(0..document.len())]
    }

    /// The document with a byte changed, removed or put in.
    pub(crate) fn damage(&mut self, document: &[u8]) -> Vec<u8> {
        let mut bytes = document.to_vec();
        let at = self.random.random_range(0..bytes.len());
        let byte = *b"\"\\{}[]:, t1\xff\n".choose(&mut self.random).unwrap_or(&b'"');
        match self.random.random_range(0..3) {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        bytes
    }

    /// True once in `n`.
    fn chance(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn space(&mut self, text: &mut String) {
        if self.chance(6) {
            text.push_str(self.pick(&[
                " ",
                "\n",
                "\t ",
                "\r\n  ",
                "                                                                ",
            ]));
        }
    }

    fn container(&mut self, text: &mut String, depth: u32) {
        let object = !self.chance(4);
        text.push(if object { '{' } else { '[' });
        let members = self.random.random_range(0..if depth > 2 { 9 } else { 5 });
        self.space(text);
        for i in 0..members {
            if i > 0 {
                text.push(',');
                self.space(text);
            }
            if object {
                let name = self.pick(NAMES);
                self.string(text, name);
                self.space(text);
                text.push(':');
                self.space(text);
            }
            if depth > 0 && self.chance(3) {
                self.container(text, depth - 1);
            } else {
                self.scalar(text);
            }
            self.space(text);
        }
        text.push(if object { '}' } else { ']' });
    }

    fn scalar(&mut self, text: &mut String) {
        match self.random.random_range(0..8) {
            0 => text.push_str(self.pick(&["true", "false", "null"])),
            1..4 => text.push_str(self.pick(NUMBERS)),
            4 => {
                let name = self.pick(NAMES);
                self.string(text, name);
            }
            5 if self.chance(20) => text.push_str("\"\\ud800\""),
            _ => {
                let fill = self.pick(FILL).repeat(self.random.random_range(1..4));
                self.string(text, &fill);
            }
        }
    }

    /// A string in one of its notations.
    fn string(&mut self, text: &mut String, meant: &str) {
        let escape_all = self.chance(10);
        text.push('"');
        for c in meant.chars() {
            match c {
                '"' | '\\' if !escape_all => text.extend(['\\', c]),
                '\n' if !escape_all => text.push_str("\\n"),
                '/' if self.chance(2) => text.push_str("\\/"),
                c if c < ' ' || escape_all || self.chance(60) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(text, "\\u{unit:04x}").unwrap_or_default();
                    }
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }
}
