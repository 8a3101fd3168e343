//! Delay histogram: log-linear, 240 cells, milliseconds.
//!
//! Cells 0–7 are exact; above, each power of two has eight cells, so a value is reported with a relative error of at
//! most 1/8 of its cell's lower bound. Range 0 ms to 2^32 − 1 ms (49.7 days); longer delays count in the last cell,
//! negative ones (a clock behind) in the first. Histograms of one window add cell by cell.
//!
//! As text: base64url of pairs (cells skipped, count), each a LEB128 varint: a window is a few dozen bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Number of cells.
pub const CELLS: usize = 240;
const SUB_BITS: u32 = 3;
const SUB: u64 = 1 << SUB_BITS;

/// Counts of delays by cell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Histogram {
    /// At most [`CELLS`]; the last one is not zero, so that equal counts are equal histograms.
    cells: Vec<u64>,
}

/// Why a text is not a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// The text is not base64url without padding.
    #[error("histogram is not base64url")]
    NotBase64,
    /// A varint is cut off, overlong or zero where a count must be positive, or a cell is past the last.
    #[error("histogram has a broken pair of (cells skipped, count)")]
    BrokenPair,
}

/// The cell that counts a delay of `ms`.
#[inline]
pub fn cell_of(ms: i64) -> usize {
    narrow_cell_of(ms).into()
}

/// The same in a byte.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a cell index is below 240")]
pub(crate) fn narrow_cell_of(ms: i64) -> u8 {
    let v = u64::try_from(ms).unwrap_or(0).min(u64::from(u32::MAX));
    if v < SUB {
        return v as u8;
    }
    let exponent = v.ilog2();
    let sub = (v >> (exponent - SUB_BITS)) & (SUB - 1);
    ((exponent - SUB_BITS + 1) * SUB as u32 + sub as u32) as u8
}

/// The smallest delay that the cell counts, in milliseconds.
#[expect(clippy::cast_possible_wrap, reason = "a cell index is below 240")]
pub fn lower_bound_ms(cell: usize) -> i64 {
    let cell = cell.min(CELLS - 1) as i64;
    let sub = SUB as i64;
    if cell < sub {
        return cell;
    }
    let shift = cell / sub - 1;
    (sub + cell % sub) << shift
}

impl Histogram {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self { cells: Vec::new() }
    }
    /// Counts one delay.
    pub fn record(&mut self, ms: i64) {
        self.add_cell(cell_of(ms), 1);
    }
    /// Adds `count` to a cell; counts saturate.
    pub fn add_cell(&mut self, cell: usize, count: u64) {
        if count == 0 || cell >= CELLS {
            return;
        }
        if cell >= self.cells.len() {
            self.cells.resize(cell + 1, 0);
        }
        if let Some(c) = self.cells.get_mut(cell) {
            *c = c.saturating_add(count);
        }
    }
    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        if other.cells.len() > self.cells.len() {
            self.cells.resize(other.cells.len(), 0);
        }
        // Cell by cell, without asking which are zero: several at a time, where the processor can.
        for (cell, count) in self.cells.iter_mut().zip(&other.cells) {
            *cell = cell.saturating_add(*count);
        }
    }
    /// Takes away what `other` counted; cells stop at zero (a shrinking cell is a `divergent` state, told elsewhere).
    pub fn subtract(&mut self, other: &Self) {
        for (cell, count) in other.iter() {
            if let Some(c) = self.cells.get_mut(cell) {
                *c = c.saturating_sub(count);
            }
        }
        let length = self.cells.iter().rposition(|c| *c > 0).map_or(0, |last| last + 1);
        self.cells.truncate(length);
    }
    /// The cells that are not zero, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.cells.iter().enumerate().filter(|(_, c)| **c > 0).map(|(i, c)| (i, *c))
    }
    /// Messages counted.
    pub fn total(&self) -> u64 {
        self.cells.iter().fold(0, |a, c| a.saturating_add(*c))
    }
    /// Lower bound of the cell that holds the `permille`-th thousandth (500 = median); `None` when empty.
    pub fn quantile_ms(&self, permille: u64) -> Option<i64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = (u128::from(total) * u128::from(permille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0u128;
        for (cell, count) in self.iter() {
            seen += u128::from(count);
            if seen >= rank {
                return Some(lower_bound_ms(cell));
            }
        }
        None
    }
    /// The text form.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        let mut next = 0;
        for (cell, count) in self.iter() {
            put_varint(&mut bytes, (cell - next) as u64);
            put_varint(&mut bytes, count);
            next = cell + 1;
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
    /// Reads the text form; one text per histogram is accepted.
    ///
    /// # Errors
    /// When the text is not exactly what [`encode`](Self::encode) prints.
    pub fn decode(text: &str) -> Result<Self, HistogramError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| HistogramError::NotBase64)?;
        let mut rest = bytes.as_slice();
        let mut h = Self::new();
        let mut next = 0u64;
        while !rest.is_empty() {
            let skip = take_varint(&mut rest).ok_or(HistogramError::BrokenPair)?;
            let count = take_varint(&mut rest).filter(|c| *c > 0).ok_or(HistogramError::BrokenPair)?;
            let cell = next.checked_add(skip).and_then(|c| usize::try_from(c).ok());
            let cell = cell.filter(|c| *c < CELLS).ok_or(HistogramError::BrokenPair)?;
            h.add_cell(cell, count);
            next = cell as u64 + 1;
        }
        Ok(h)
    }
}

fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push((v & 0x7f) as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for shift in (0..).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        let low = u64::from(byte & 0x7f);
        if shift > 63 || (shift == 63 && low > 1) {
            return None;
        }
        v |= low << shift;
        if byte & 0x80 == 0 {
            return (low != 0 || shift == 0).then_some(v);
        }
    }
    None
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.encode())
    }
}
impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::decode(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cells_are_contiguous_and_the_last_holds_49_days() {
        assert_eq!(cell_of(-5), 0);
        assert_eq!(cell_of(i64::MAX), CELLS - 1);
        for cell in 0..CELLS {
            let low = lower_bound_ms(cell);
            assert_eq!(cell_of(low), cell);
            if cell > 0 {
                assert_eq!(cell_of(low - 1), cell - 1);
            }
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(delays in proptest::collection::vec(0i64..10_000_000_000, 0..200)) {
            let mut h = Histogram::new();
            for d in &delays {
                h.record(*d);
            }
            prop_assert_eq!(h.total(), delays.len() as u64);
            let back = Histogram::decode(&h.encode()).expect("own text");
            prop_assert_eq!(back, h);
        }
        #[test]
        fn what_is_added_and_taken_away_again_leaves_no_trace(
            first in proptest::collection::vec(0i64..10_000_000_000, 0..20),
            second in proptest::collection::vec(0i64..10_000_000_000, 0..20),
        ) {
            let of = |delays: &[i64]| {
                let mut h = Histogram::new();
                for d in delays {
                    h.record(*d);
                }
                h
            };
            let (a, b) = (of(&first), of(&second));
            let mut sum = a.clone();
            sum.add(&b);
            prop_assert_eq!(&sum, &of(&[first, second].concat()));
            sum.subtract(&b);
            prop_assert_eq!(&sum, &a);
            sum.add_cell(CELLS - 1, 0);
            prop_assert_eq!(sum, a);
        }
        #[test]
        fn arbitrary_text_never_panics_and_is_canonical(text in "[A-Za-z0-9_-]{0,40}") {
            if let Ok(h) = Histogram::decode(&text) {
                prop_assert_eq!(h.encode(), text);
            }
        }
        #[test]
        fn quantiles_are_within_an_eighth(delays in proptest::collection::vec(0i64..4_000_000_000, 1..100), q in 0u64..=1000) {
            let mut h = Histogram::new();
            for d in &delays {
                h.record(*d);
            }
            let mut sorted = delays;
            sorted.sort_unstable();
            let rank = usize::try_from((sorted.len() as u64 * q).div_ceil(1000).max(1)).expect("below the length");
            let exact = sorted[rank - 1];
            let said = h.quantile_ms(q).expect("not empty");
            prop_assert!(said <= exact && exact - said <= said / 8, "{} {}", said, exact);
        }
    }
}
