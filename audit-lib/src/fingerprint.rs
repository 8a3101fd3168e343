//! Message identities and the order-free fingerprint of a multiset of them.
//!
//! A fingerprint is the lane-wise wrapping sum of XXH3-128(id): equal counts with unequal fingerprints prove that the
//! messages are not the same ones. The group law is (Z/2^64)², so hosts, threads, late data and retractions merge by
//! plain addition in any order, and no carry crosses a lane (clients of other languages need 64-bit adds only).
//!
//! Limits: two different multisets collide with probability 2^-128 for ids that are not chosen by an adversary who
//! knows the seed; keep the seed private.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The 128-bit identity of a message, the same at every stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

impl MessageId {
    /// The hash that is summed: XXH3-128 of the id's 16 little-endian bytes under the deployment's seed.
    #[inline]
    pub fn hash(self, seed: u64) -> Fingerprint {
        Fingerprint::from_u128(xxh3_128_with_seed(&self.0.to_le_bytes(), seed))
    }
}

/// Σ of hashed ids, two independent 64-bit lanes. The empty multiset is zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint {
    /// High lane.
    pub hi: u64,
    /// Low lane.
    pub lo: u64,
}

impl Fingerprint {
    /// The empty multiset.
    pub const ZERO: Self = Self { hi: 0, lo: 0 };

    /// Splits a 128-bit number into its lanes.
    #[expect(clippy::cast_possible_truncation, reason = "the low lane is the low half")]
    pub const fn from_u128(v: u128) -> Self {
        Self { hi: (v >> 64) as u64, lo: v as u64 }
    }
    /// The lanes as one number, high lane first.
    pub const fn to_u128(self) -> u128 {
        ((self.hi as u128) << 64) | self.lo as u128
    }
    /// The union of two multisets.
    #[must_use]
    pub const fn plus(self, o: Self) -> Self {
        Self { hi: self.hi.wrapping_add(o.hi), lo: self.lo.wrapping_add(o.lo) }
    }
    /// The difference of two multisets (a member of the group, not always of a real multiset).
    #[must_use]
    pub const fn minus(self, o: Self) -> Self {
        Self { hi: self.hi.wrapping_sub(o.hi), lo: self.lo.wrapping_sub(o.lo) }
    }
    /// The fingerprint as 16 big-endian bytes, as it is stored.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.to_u128().to_be_bytes()
    }
    /// From 16 big-endian bytes.
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self::from_u128(u128::from_be_bytes(b))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.to_u128())
    }
}
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why a text is not a 128-bit number in our notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not 32 lower-case hex digits")]
pub struct NotHex128(String);

fn parse_hex128(s: &str) -> Result<u128, NotHex128> {
    let wrong = || NotHex128(s.chars().take(40).collect());
    if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(wrong());
    }
    u128::from_str_radix(s, 16).map_err(|_| wrong())
}

impl std::str::FromStr for Fingerprint {
    type Err = NotHex128;
    fn from_str(s: &str) -> Result<Self, NotHex128> {
        parse_hex128(s).map(Self::from_u128)
    }
}
impl std::str::FromStr for MessageId {
    type Err = NotHex128;
    fn from_str(s: &str) -> Result<Self, NotHex128> {
        parse_hex128(s).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(ids in proptest::collection::vec(any::<u128>(), 0..50), cut in 0usize..50) {
            let sum = |it: &[u128]| it.iter().fold(Fingerprint::ZERO, |f, i| f.plus(MessageId(*i).hash(7)));
            let cut = cut.min(ids.len());
            let mut reversed = ids.clone();
            reversed.reverse();
            prop_assert_eq!(sum(&ids), sum(&reversed));
            prop_assert_eq!(sum(&ids), sum(&ids[..cut]).plus(sum(&ids[cut..])));
            prop_assert_eq!(sum(&ids).minus(sum(&ids[..cut])), sum(&ids[cut..]));
        }
        #[test]
        fn text_is_32_lower_case_hex_digits(v in any::<u128>()) {
            let f = Fingerprint::from_u128(v);
            prop_assert_eq!(f.to_string().parse::<Fingerprint>(), Ok(f));
            prop_assert_eq!(Fingerprint::from_bytes(f.to_bytes()), f);
        }
    }

    #[test]
    fn other_notations_are_refused() {
        for bad in [
            "",
            "0",
            "0x00000000000000000000000000000000",
            "FF000000000000000000000000000000",
            "+f000000000000000000000000000000",
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
