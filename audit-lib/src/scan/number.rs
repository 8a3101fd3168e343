//! A JSON number as it is written, and its whole part in another unit, exactly.
//!
//! No floating point: `1.7900000000001e12` is 1,790,000,000,000.1 to the last digit, whatever the notation.

/// A number in JSON's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<'a>(&'a [u8]);

/// A number as an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaled {
    /// The largest integer that is not above it.
    Whole(i64),
    /// It is beyond 64 bits.
    Beyond,
}

impl<'a> Number<'a> {
    /// The number that is the whole of `text`.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        Self::at(text).filter(|number| number.0.len() == text.len())
    }

    /// The number that `bytes` begin with.
    #[inline]
    pub(super) fn at(bytes: &'a [u8]) -> Option<Self> {
        let digits = |from: usize| digits(bytes.get(from..).unwrap_or_default());
        let mut at = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(at);
        if whole == 0 || (whole > 1 && bytes.get(at) == Some(&b'0')) {
            return None;
        }
        at += whole;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            if fraction == 0 {
                return None;
            }
            at += 1 + fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at + 1 + sign);
            if exponent == 0 {
                return None;
            }
            at += 1 + sign + exponent;
        }
        bytes.get(..at).map(Self)
    }

    /// As it is written.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// ⌊number × 10^`power`⌋.
    pub fn scaled(&self, power: i64) -> Scaled {
        let (negative, text) = self.0.strip_prefix(b"-").map_or((false, self.0), |rest| (true, rest));
        if power == 0
            && text.len() <= 18
            && let Some(whole) = whole(text)
        {
            return Scaled::Whole(if negative { -whole } else { whole });
        }
        let (mantissa, exponent) =
            split(text, |b| matches!(b, b'e' | b'E')).map_or((text, 0), |(m, e)| (m, exponent(e)));
        let (whole, fraction) = split(mantissa, |b| b == b'.').unwrap_or((mantissa, b""));
        let digits = || whole.iter().chain(fraction).map(|b| i64::from(b - b'0'));
        let zeros = digits().take_while(|digit| *digit == 0).count();
        // How many of the digits that follow stand before the point.
        let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let point = length(whole.len()).saturating_add(exponent).saturating_add(power).saturating_sub(length(zeros));
        let mut rest = digits().skip(zeros).peekable();
        if rest.peek().is_none() {
            return Scaled::Whole(0);
        }
        if point > 19 {
            return Scaled::Beyond;
        }
        let mut sum: i64 = 0;
        for _ in 0..point.max(0) {
            // Negative, which reaches one further.
            let next = sum.checked_mul(10).and_then(|sum| sum.checked_sub(rest.next().unwrap_or(0)));
            let Some(next) = next else { return Scaled::Beyond };
            sum = next;
        }
        let part = rest.any(|digit| digit != 0);
        let whole = if negative { sum.checked_sub(i64::from(part)) } else { sum.checked_neg() };
        whole.map_or(Scaled::Beyond, Scaled::Whole)
    }
}

/// How many digits there are at the beginning.
#[inline]
fn digits(bytes: &[u8]) -> usize {
    let (eights, _) = bytes.as_chunks::<8>();
    let eights = 8 * eights.iter().take_while(|eight| all_digits(u64::from_le_bytes(**eight))).count();
    eights + bytes.iter().skip(eights).take_while(|b| b.is_ascii_digit()).count()
}

/// Whether eight bytes are digits: the upper half of each is 3, also when 6 is added.
const fn all_digits(eight: u64) -> bool {
    /// Of each byte.
    const UPPER: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    (eight & UPPER) | ((eight.wrapping_add(0x0606_0606_0606_0606) & UPPER) >> 4) == 0x3333_3333_3333_3333
}

/// The value of at most 18 bytes if all are digits.
#[inline]
fn whole(text: &[u8]) -> Option<i64> {
    // A time in ms or µs: two halves, neither of which waits for the other.
    if let (8..=16, Some(first), Some(last)) = (text.len(), text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        let behind = text.len() - 8;
        // Of the second half, what is not in the first; all of it is in it if nothing is behind.
        let new = if behind == 0 { 0 } else { !0 << (64 - 8 * behind) };
        let powers = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
        let power: u64 = powers.get(behind).copied()?;
        let sum = eight_digits(first) * power + eight_digits(last & new);
        return if all_digits(first) && all_digits(last) { i64::try_from(sum).ok() } else { None };
    }
    text.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
}

/// The value of eight digits, the first in the lowest byte: neighbours by turns make two, four, eight. A byte of zero is
/// a zero; of other bytes it makes some number below 2^32.
const fn eight_digits(eight: u64) -> u64 {
    let ones = eight & 0x0f0f_0f0f_0f0f_0f0f;
    let twos = (ones.wrapping_mul(10) + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100) + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

/// What stands before and after the first such byte.
fn split(text: &[u8], at: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| at(*b))?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Saturates far beyond anything that matters, so that sums with it cannot overflow.
fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    let size = digits.iter().fold(0_i64, |sum, b| (sum * 10 + i64::from(b - b'0')).min(1 << 56));
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(text: &str, power: i64) -> Option<i64> {
        match Number::parse(text.as_bytes()).expect("a number").scaled(power) {
            Scaled::Whole(whole) => Some(whole),
            Scaled::Beyond => None,
        }
    }

    #[test]
    fn every_notation_is_exact() {
        for (text, power, whole) in [
            ("1790000000000", 0, 1_790_000_000_000),
            ("1790000000", 3, 1_790_000_000_000),
            ("1790000000.123456789", 3, 1_790_000_000_123),
            ("1.79e9", 3, 1_790_000_000_000),
            ("1.7900000000001E+9", 3, 1_790_000_000_000),
            ("1.790000000000999999999999999999e12", 0, 1_790_000_000_000),
            ("179000000000000000000e-8", 0, 1_790_000_000_000),
            ("1790000000123456", -3, 1_790_000_000_123),
            ("1790000000123999999", -6, 1_790_000_000_123),
            ("9007199254740993", 0, 9_007_199_254_740_993),
            ("9223372036854775807", 0, i64::MAX),
            ("-9223372036854775808", 0, i64::MIN),
            ("-0", 0, 0),
            ("-0.0e5", 3, 0),
            ("-0.1", 0, -1),
            ("-1.0", 0, -1),
            ("-1.5", 3, -1500),
            ("0.0009", 3, 0),
            ("0.0009e1", 3, 9),
            ("0e99999999999999999999", 3, 0),
            ("1e-99999999999999999999", 3, 0),
            ("-1e-99999999999999999999", 3, -1),
            ("0.00000000000000000000000000001e41", 0, 1_000_000_000_000),
            ("1e18", 0, 1_000_000_000_000_000_000),
        ] {
            assert_eq!(scaled(text, power), Some(whole), "{text} × 10^{power}");
        }
        for beyond in ["9223372036854775808", "-9223372036854775809", "1e19", "-1e400", "9223372036854775807.5e1"] {
            assert_eq!(scaled(beyond, 0), None, "{beyond}");
        }
        assert_eq!(scaled("9223372036854775.808", 3), None);
        assert_eq!(scaled("9223372036854775807.9", 0), Some(i64::MAX));
        let long = format!("1790000000000.{}1", "0".repeat(1_000_000));
        assert_eq!(
            (scaled(&long, 0), scaled(&format!("-{long}"), 0)),
            (Some(1_790_000_000_000), Some(-1_790_000_000_001))
        );
    }

    #[test]
    fn digits_of_any_length_and_nothing_else_are_whole() {
        let digits = b"987654321098765432";
        for length in 1..=digits.len() {
            let text = &digits[..length];
            assert_eq!(whole(text), std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()), "{length}");
            assert_eq!(super::digits(text), length);
            for at in 0..length {
                for stray in [b'/', b':', b'.', b'e', 0, 0x39 ^ 0x80, 0xff] {
                    let mut text = text.to_vec();
                    text[at] = stray;
                    assert_eq!((whole(&text), super::digits(&text)), (None, at), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn other_notations_are_none() {
        for bad in
            ["", "-", "+1", "01", "-01", ".5", "1.", "1.e3", "1e", "1e+", "0x10", " 1", "1 ", "1_000", "NaN", "--1"]
        {
            assert_eq!(Number::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_a_parser_takes_is_a_number_and_nothing_else(text in "[-+.eE0-9]{1,8}") {
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(Number::parse(text.as_bytes()).is_some(), parsed);
        }
        #[test]
        fn notation_changes_nothing(value in -1_000_000_000_000_000_000i64..1_000_000_000_000_000_000, shift in 0usize..25, zeros in 0usize..4) {
            let digits = value.unsigned_abs().to_string();
            let digits = format!("{digits:0>width$}", width = shift + 1);
            let (whole, fraction) = digits.split_at(digits.len() - shift);
            let sign = if value < 0 { "-" } else { "" };
            let point = if shift == 0 { "" } else { "." };
            let text = format!("{sign}{whole}{point}{fraction}{}e{shift}", if shift == 0 { "" } else { &"0000"[..zeros] });
            prop_assert_eq!(scaled(&text, 0), Some(value), "{}", text);
            prop_assert_eq!(scaled(&text, -3), Some(value.div_euclid(1000)), "{}", text);
        }
    }
}
