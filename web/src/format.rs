//! Numbers, delays and names as text: one way everywhere.
//!
//! Thousands with commas, the true minus (U+2212), a sign on every difference, shares in ppm below a thousand of them.
//! Integer arithmetic only, saturating, so that no count can be printed wrong.

use std::fmt::Write as _;

/// The true minus.
pub(crate) const MINUS: char = '\u{2212}';

/// `48,211`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `−37`, `+412`, `0`.
pub(crate) fn signed(value: i64) -> String {
    sign(value) + &count(value.unsigned_abs())
}

/// `277 k`, `8.6 M`; every digit below 10,000.
pub(crate) fn short(value: u64) -> String {
    if value < 10_000 {
        return count(value);
    }
    let mut unit = 1_000u64;
    let mut rest = [" k", " M", " G", " T"].iter().peekable();
    while let Some(suffix) = rest.next() {
        let tenths = rounded(value, 10, unit);
        if tenths < 10_000 || rest.peek().is_none() {
            let whole = tenths >= 1_000 || unit == 1_000;
            let number =
                if whole { rounded(value, 1, unit).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) };
            return number + suffix;
        }
        unit = unit.saturating_mul(1_000);
    }
    count(value)
}

/// `−277 k`.
pub(crate) fn short_signed(value: i64) -> String {
    sign(value) + &short(value.unsigned_abs())
}

fn sign(value: i64) -> String {
    match value.signum() {
        -1 => MINUS.to_string(),
        1 => "+".to_owned(),
        _ => String::new(),
    }
}

/// A difference as a share: `−4.3 ppm`, `−477 ppm`, `−0.28 %`, `−38 %`. Nothing of nothing has no share.
pub(crate) fn share(difference: i64, of: u64) -> Option<String> {
    if of == 0 || difference == 0 {
        return None;
    }
    let part = difference.unsigned_abs();
    let ppm_tenths = rounded(part, 10_000_000, of);
    let ppm = rounded(part, 1_000_000, of);
    let basis = rounded(part, 10_000, of);
    let text = if ppm_tenths == 0 {
        "<0.1 ppm".to_owned()
    } else if ppm_tenths < 100 {
        format!("{}.{} ppm", ppm_tenths / 10, ppm_tenths % 10)
    } else if ppm < 1_000 {
        format!("{ppm} ppm")
    } else if basis < 100 {
        format!("0.{basis:02} %")
    } else if basis < 1_000 {
        let tenths = rounded(part, 1_000, of);
        format!("{}.{} %", tenths / 10, tenths % 10)
    } else {
        format!("{} %", count(rounded(part, 100, of)))
    };
    Some(sign(difference) + &text)
}

fn rounded(part: u64, scale: u64, of: u64) -> u64 {
    let of = u128::from(of.max(1));
    u64::try_from((u128::from(part) * u128::from(scale) + of / 2) / of).unwrap_or(u64::MAX)
}

/// `down − up`.
pub(crate) fn difference(down: u64, up: u64) -> i64 {
    let wide = i128::from(down) - i128::from(up);
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN + 1 } else { i64::MAX })
}

/// A count as a difference that is missing.
pub(crate) fn minus(value: u64) -> i64 {
    difference(0, value)
}

/// Step of the tint, 1 to 6: at most 1, 10, 100, 1,000, 10,000 ppm, more. Anything absent is at least step 2, so that
/// a single message can be seen.
pub(crate) fn tint(part: u64, of: u64) -> usize {
    if of == 0 {
        return 6;
    }
    let ppm = u128::from(part) * 1_000_000;
    let of = u128::from(of);
    let step = [1u128, 10, 100, 1_000, 10_000].iter().filter(|limit| ppm > *limit * of).count() + 1;
    if part > 0 { step.max(2) } else { step }
}

/// `840 ms`, `4.2 s`, `3 m 8 s`, `2 h 5 m`, `3 d 4 h`.
pub(crate) fn delay(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}.{} s", ms % 1000 / 100),
        _ => coarse(s),
    }
}

/// `38 s`, `3 m 28 s`, `11 m`, `2 h 5 m`: how long ago.
pub(crate) fn age(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s} s"),
        600..3600 => format!("{} m", s / 60),
        _ => coarse(s),
    }
}

/// `10 s`, `1 min`, `10 min`, `1 h`: a width that is whole in one of these.
pub(crate) fn length(ms: i64) -> String {
    match ms / 1000 {
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

fn coarse(s: i64) -> String {
    match s {
        ..3600 => format!("{} m {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} m", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `1 window`, `15 windows`.
pub(crate) fn plural(value: u64, noun: &str) -> String {
    if value == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(value)) }
}

/// A text from outside: control characters and those that change the direction of writing are spelt out, so that no
/// name can look like another.
pub(crate) fn name(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{feff}');
        if hidden {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// A path segment or a query value: everything but unreserved characters is percent-encoded.
pub(crate) fn url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            if write!(out, "%{byte:02X}").is_err() {
                break;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1_000, 48_211, 1_338_075].map(count), ["0", "999", "1,000", "48,211", "1,338,075"]);
        assert_eq!([-37, 412, 0, i64::MIN].map(signed), ["−37", "+412", "0", "−9,223,372,036,854,775,808"]);
        assert_eq!(
            [9_999, 10_000, 277_015, 999_499, 999_960, 8_643_210, 356_200_000, 21_000_000_000].map(short),
            ["9,999", "10 k", "277 k", "999 k", "1.0 M", "8.6 M", "356 M", "21.0 G"]
        );
        assert_eq!(short_signed(-277_015), "−277 k");
        assert_eq!(short(u64::MAX), "18446744 T");
        assert_eq!((difference(0, u64::MAX), difference(u64::MAX, 0)), (i64::MIN + 1, i64::MAX));
    }

    #[test]
    fn lengths() {
        let lengths = [10_000, 60_000, 90_000, 600_000, 3_600_000, 7_200_000].map(length);
        assert_eq!(lengths, ["10 s", "1 min", "90 s", "10 min", "1 h", "2 h"]);
    }

    #[test]
    fn shares() {
        let said = [
            share(-37, 8_522_447),
            share(-23, 48_211),
            share(-14, 48_136),
            share(412, 147_000),
            share(-17_088, 45_152),
            share(-4_898, 44_536),
            share(-1, 100_000_000),
            share(5, 100),
            share(-9_999, 10_000_000),
        ];
        let want = ["−4.3 ppm", "−477 ppm", "−291 ppm", "+0.28 %", "−38 %", "−11 %", "−<0.1 ppm", "+5.0 %", "−0.10 %"];
        assert_eq!(said.map(Option::unwrap_or_default), want);
        assert_eq!((share(0, 5), share(-1, 0)), (None, None));
    }

    #[test]
    fn tints() {
        let steps = [(0, 100), (1, 10_000_000), (1, 100_000), (23, 48_211), (14, 1_000), (1, 5), (3, 0)];
        assert_eq!(steps.map(|(a, b)| tint(a, b)), [1, 2, 2, 4, 6, 6, 6]);
    }

    #[test]
    fn delays_and_ages() {
        let said = [-3, 840, 4_250, 38_000, 188_000, 7_500_000, 273_600_000].map(delay);
        assert_eq!(said, ["0 ms", "840 ms", "4.2 s", "38.0 s", "3 m 8 s", "2 h 5 m", "3 d 4 h"]);
        assert_eq!([38_000, 208_000, 679_000, 7_500_000].map(age), ["38 s", "3 m 28 s", "11 m", "2 h 5 m"]);
    }

    #[test]
    fn names_cannot_pretend() {
        assert_eq!(name("kafka:agg é"), "kafka:agg é");
        assert_eq!(name("a\u{202e}b\n\u{200b}"), "a\\u{202e}b\\u{a}\\u{200b}");
        assert_eq!(url("a/b?c=1&d +é\"<"), "a%2Fb%3Fc%3D1%26d%20%2B%C3%A9%22%3C");
    }
}
