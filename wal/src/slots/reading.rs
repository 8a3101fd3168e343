//! What a slot says, from its words: pure, total over any words, the same for a table in this process and for a file.

use super::chain::{COUNT_MAX, Words, cell_of, copy_at, count_of, generation_of, in_excess};
use super::layout::{CELLS, Geometry, IN, LINE, OUT, State, TAGS, WORDS, descriptor, name_place};

/// A use of a slot: which one, and the how-manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// From 0.
    pub index: u32,
    /// From 1; grows with each use.
    pub generation: u32,
}

/// What one slot held at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Which.
    pub at: At,
    /// Whether it counts no more.
    pub closed: bool,
    /// The caller's number of the thread that opened or last adopted it.
    pub owner: u64,
    /// The caller's name; empty if it cannot be read (see `troubles`).
    pub name: String,
    /// The caller's words that were given when it was opened.
    pub tags: [u64; TAGS],
    /// The caller's word that may be set at any time; 0 until then.
    pub note: u64,
    /// *in*: how many were counted.
    pub n: u64,
    /// *in*: the words that belong to exactly these n.
    pub words_in: Words,
    /// *in*: the histogram of exactly these n; Σ = n. Empty if the table has none.
    pub cells: Vec<u32>,
    /// *out*: how many additions.
    pub m: u64,
    /// *out*: their sum.
    pub words_out: Words,
    /// What does not fit together. Empty unless the file was damaged or forged.
    pub troubles: Vec<Trouble>,
}

/// What does not fit together in a slot. Counts are given as they stand; who uses them decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The histogram does not hold n, nor n − 1.
    Cells {
        /// What it holds.
        sum: u64,
    },
    /// More outcomes than attempts.
    MoreOut,
    /// More than can be: see [`Limits`].
    Implausible,
    /// A control word has bits that no writer sets.
    Control,
    /// The name lies outside of the names, or is no UTF-8.
    Name,
}

/// What a reader takes for possible.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest n; larger is [`Trouble::Implausible`]. Default: what a line can hold.
    pub count: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { count: COUNT_MAX }
    }
}

/// The name at a place, if it is one: within the `used` bytes of `length` words of names, and UTF-8.
pub(crate) fn name(place: u64, used: u64, length: usize, word: impl Fn(usize) -> Option<u64>) -> Option<String> {
    let (offset, bytes) = name_place(place);
    let used = usize::try_from(used).unwrap_or(usize::MAX).min(length * 8);
    let end = offset.checked_add(bytes).filter(|end| *end <= used && offset % 8 == 0)?;
    let mut name = Vec::with_capacity(bytes.next_multiple_of(8));
    for at in offset / 8..end.div_ceil(8) {
        name.extend(word(at)?.to_ne_bytes());
    }
    name.truncate(bytes);
    String::from_utf8(name).ok()
}

/// Two cells to a word.
fn cells_of(words: &[u64]) -> Vec<u32> {
    words.iter().flat_map(|w| [(*w & 0xffff_ffff) as u32, (*w >> 32) as u32]).collect()
}

/// The histogram of exactly `n`: repaired by the pending cell if it is one short.
fn settle_cells(cells: &mut [u32], n: u64, pending: u8) -> Result<(), Trouble> {
    let sum: u64 = cells.iter().map(|c| u64::from(*c)).sum();
    if cells.is_empty() || sum == n {
        return Ok(());
    }
    match cells.get_mut(usize::from(pending)) {
        Some(cell) if sum.checked_add(1) == Some(n) && *cell < u32::MAX => {
            *cell += 1;
            Ok(())
        }
        _ => Err(Trouble::Cells { sum }),
    }
}

/// A slot's parts, each consistent in itself.
pub(crate) struct Parts<'a> {
    pub(crate) descriptor: [u64; descriptor::TAGS_AT + TAGS],
    pub(crate) in_control: u64,
    pub(crate) in_words: Words,
    pub(crate) cells: &'a [u64],
    pub(crate) out_control: u64,
    pub(crate) out_words: Words,
}

/// The parts in a slot's words as they were read in one go; `None` if they are not a whole slot.
pub(crate) fn parts<'a>(words: &'a [u64], geometry: &Geometry) -> Option<Parts<'a>> {
    if words.len() < geometry.slot_words() {
        return None;
    }
    let lane = |at: usize| words.get(at..at + LINE);
    let published = |lane: &[u64]| -> Option<(u64, Words)> {
        let control = *lane.first()?;
        let copy = lane.get(copy_at(count_of(control))..)?.first_chunk::<WORDS>()?;
        Some((control, *copy))
    };
    let (in_control, in_words) = published(lane(IN)?)?;
    let (out_control, out_words) = published(lane(OUT)?)?;
    let cells = words.get(CELLS..CELLS + geometry.cell_words())?;
    let descriptor = *words.first_chunk()?;
    Some(Parts { descriptor, in_control, in_words, cells, out_control, out_words })
}

/// The slot that the parts are; `None` if it is free or being opened, and so has counted nothing. A state that no
/// writer writes counts as live: what may be counts is never passed over.
pub(crate) fn slot(parts: &Parts<'_>, index: u32, name: Option<String>, limits: Limits) -> Option<Slot> {
    let mut troubles = Vec::new();
    let word = parts.descriptor[descriptor::STATE];
    let (state, generation) = State::of(word).unwrap_or_else(|| {
        troubles.push(Trouble::Control);
        (State::Live, word >> 3)
    });
    if matches!(state, State::Free | State::Init) {
        return None;
    }
    let n = count_of(parts.in_control);
    let m = count_of(parts.out_control);
    let mut cells = cells_of(parts.cells);
    if let Err(trouble) = settle_cells(&mut cells, n, cell_of(parts.in_control)) {
        troubles.push(trouble);
    }
    if in_excess(parts.in_control) != 0 || generation_of(parts.out_control) != generation {
        troubles.push(Trouble::Control);
    }
    if m > n {
        troubles.push(Trouble::MoreOut);
    }
    if n > limits.count.min(COUNT_MAX) {
        troubles.push(Trouble::Implausible);
    }
    let name = name.unwrap_or_else(|| {
        troubles.push(Trouble::Name);
        String::new()
    });
    Some(Slot {
        at: At { index, generation: u32::try_from(generation).unwrap_or(u32::MAX) },
        closed: state == State::Closed,
        owner: parts.descriptor[descriptor::OWNER],
        name,
        tags: std::array::from_fn(|i| parts.descriptor[descriptor::TAGS_AT + i]),
        note: parts.descriptor[descriptor::NOTE],
        n,
        words_in: parts.in_words,
        cells,
        m,
        words_out: parts.out_words,
        troubles,
    })
}
