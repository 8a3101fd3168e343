//! When a reporter was heard in the last hour: one cell for each 10 s of broker time. Pure.
//!
//! Invariants: a cell only gets worse (`nothing` → `on time` → `late` → `gap`), so messages of one cell may come in any order;
//! what is older than the last [`CELLS`] cells is forgotten. Limit: 98 bytes a reporter, however often it speaks.

use serde::{Serialize, Serializer};

/// Width of a cell, ms.
pub const CELL_MS: i64 = 10_000;
/// Cells kept: one hour.
pub const CELLS: usize = 360;
/// A message that was under way for longer than this, beyond the shortest way of the last hour, is late, ms.
pub const LATE_MS: i64 = 5_000;
/// Counts that were told and are not here for longer than this are a gap, ms.
pub const GAP_MS: i64 = 10_000;

const BYTES: usize = CELLS / 4;
/// The cells as a distance between two.
const SPAN: i64 = 360;
const _: () = assert!(SPAN.cast_unsigned() == CELLS as u64);

/// What was heard in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Heard {
    /// Nothing.
    #[default]
    Nothing,
    /// Messages, none of them late.
    OnTime,
    /// A message that was under way for long.
    Late,
    /// A message that tells of counts which are not here.
    Gap,
}

impl Heard {
    const ALL: [Self; 4] = [Self::Nothing, Self::OnTime, Self::Late, Self::Gap];

    /// The letter in the API: `.`, `o`, `l`, `g`.
    pub const fn letter(self) -> char {
        match self {
            Self::Nothing => '.',
            Self::OnTime => 'o',
            Self::Late => 'l',
            Self::Gap => 'g',
        }
    }
    const fn bits(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::OnTime => 1,
            Self::Late => 2,
            Self::Gap => 3,
        }
    }
}

/// The last hour of a reporter, as of its newest message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckIns {
    /// Number of the newest cell since 1970; its cells lie before it.
    newest: i64,
    /// Two bits a cell; cell `c` is at `c mod CELLS`.
    ring: [u8; BYTES],
}

impl Default for CheckIns {
    fn default() -> Self {
        Self { newest: i64::MIN, ring: [0; BYTES] }
    }
}

/// The cell of a broker time.
pub const fn cell_of(ms: i64) -> i64 {
    ms.div_euclid(CELL_MS)
}

/// Place of a cell in the ring.
fn place(cell: i64) -> (usize, u32) {
    let slot = usize::try_from(cell.rem_euclid(SPAN)).unwrap_or(0);
    (slot / 4, u32::try_from(slot % 4).unwrap_or(0) * 2)
}

impl CheckIns {
    /// Something was heard at this broker time, ms.
    pub fn note(&mut self, at_ms: i64, heard: Heard) {
        let cell = cell_of(at_ms);
        if self.newest == i64::MIN || cell.saturating_sub(self.newest) >= SPAN {
            *self = Self { newest: cell, ..Self::default() };
        }
        while self.newest < cell {
            self.newest += 1;
            self.set(self.newest, Heard::Nothing);
        }
        if self.holds(cell) {
            self.set(cell, self.get(cell).max(heard));
        }
    }
    /// What was heard in a cell; nothing where nothing is kept of it.
    pub fn at(&self, cell: i64) -> Heard {
        if self.holds(cell) { self.get(cell) } else { Heard::Nothing }
    }
    /// The newest cell, if anything was ever heard.
    pub fn newest(&self) -> Option<i64> {
        (self.newest != i64::MIN).then_some(self.newest)
    }
    fn holds(&self, cell: i64) -> bool {
        cell <= self.newest && cell > self.newest.saturating_sub(SPAN)
    }
    fn get(&self, cell: i64) -> Heard {
        let (byte, shift) = place(cell);
        let bits = self.ring.get(byte).map_or(0, |b| b >> shift & 3);
        Heard::ALL.into_iter().find(|h| h.bits() == bits).unwrap_or_default()
    }
    fn set(&mut self, cell: i64, heard: Heard) {
        let (byte, shift) = place(cell);
        if let Some(b) = self.ring.get_mut(byte) {
            *b = *b & !(3 << shift) | heard.bits() << shift;
        }
    }
    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&self.newest.to_be_bytes()[..], &self.ring].concat()
    }
    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (newest, ring) = bytes.split_first_chunk::<8>()?;
        Some(Self { newest: i64::from_be_bytes(*newest), ring: ring.try_into().ok()? })
    }
}

/// `to_ms`: end of the newest cell, broker time; `cells`: one letter each, oldest first, without the silence before the
/// first word.
#[derive(Serialize)]
struct Shown<'a> {
    to_ms: Option<i64>,
    cell_ms: i64,
    cells: &'a str,
}

impl Serialize for CheckIns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let to_ms = self.newest().map(|newest| newest.saturating_add(1).saturating_mul(CELL_MS));
        let cells = self.newest().map_or(0..0, |newest| newest.saturating_sub(SPAN - 1)..newest.saturating_add(1));
        let text: String = cells.map(|cell| self.at(cell).letter()).collect();
        Shown { to_ms, cell_ms: CELL_MS, cells: text.trim_start_matches(Heard::Nothing.letter()) }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(c: &CheckIns) -> String {
        let shown = serde_json::to_value(c).expect("json");
        assert_eq!(shown["to_ms"].as_i64(), c.newest().map(|newest| (newest + 1).saturating_mul(CELL_MS)));
        shown["cells"].as_str().expect("text").to_owned()
    }

    #[test]
    fn cells_are_in_order_and_only_get_worse() {
        let mut c = CheckIns::default();
        assert_eq!((said(&c).as_str(), c.newest()), ("", None));
        for (ms, heard) in [
            (100_000, Heard::OnTime),
            (109_999, Heard::Late),
            (105_000, Heard::OnTime),
            (130_000, Heard::OnTime),
            (121_000, Heard::Gap),
        ] {
            c.note(ms, heard);
        }
        assert_eq!((said(&c).as_str(), c.newest()), ("l.go", Some(13)));
        assert_eq!((c.at(10), c.at(11), c.at(12), c.at(14)), (Heard::Late, Heard::Nothing, Heard::Gap, Heard::Nothing));
        assert_eq!(CheckIns::from_bytes(&c.to_bytes()), Some(c));
        assert_eq!(CheckIns::from_bytes(b"short"), None);
    }

    #[test]
    fn what_is_an_hour_old_is_forgotten_and_never_heard_again() {
        let mut c = CheckIns::default();
        let cells = SPAN;
        c.note(0, Heard::Gap);
        c.note((cells - 1) * CELL_MS, Heard::OnTime);
        assert_eq!(c.at(0), Heard::Gap);
        c.note(cells * CELL_MS, Heard::OnTime);
        assert_eq!((c.at(0), c.at(cells)), (Heard::Nothing, Heard::OnTime), "the same place, another hour");
        c.note(0, Heard::Gap);
        assert_eq!(c.at(cells), Heard::OnTime, "too old a word changes nothing");
        c.note(9 * cells * CELL_MS, Heard::OnTime);
        assert_eq!(said(&c), "o");
        c.note(i64::MAX, Heard::OnTime);
        c.note(i64::MIN, Heard::OnTime);
        assert_eq!(said(&c), "o");
    }
}
