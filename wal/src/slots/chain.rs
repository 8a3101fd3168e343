//! The two chains of a slot: how they are written so that a kill at any instruction tears nothing, and read while they
//! are written.
//!
//! A line is a control word and two copies of [`WORDS`] words. The control word holds the count; its parity says which
//! copy is valid. The copy for count + 1 is written before count + 1 is published, so whatever the writer had done when
//! it died, the published count has its own copy, whole.
//!
//! *In* is written by its one owner: copy, count (Release), then the histogram's cell; the control word names the cell
//! of the last count, so a reader that finds the cells one short knows which. *Out* is written by any thread that has
//! *taken* it: a bit of its control word, set by compare-and-swap together with a check of the slot's generation.
//!
//! Invariants: a copy is written only while the other one is published. Between the publication of a count and the
//! next write of a copy stands a release fence (for *in*: [`Barrier::light`](super::gate::Barrier::light), on entry), so
//! who sees a word of a later copy also sees that the count has moved.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

use super::layout::{LINE, STRIDE, WORDS};
use super::mutant::{self, Mutant};
use super::word::{Ordering, Word, fence, pause};

/// A control word and two copies.
pub(crate) type Lane = [Word; LINE];
/// What one copy holds.
pub type Words = [u64; WORDS];

const COUNT_BITS: u32 = 32;
/// So that no 32-bit cell can overflow.
pub(crate) const COUNT_MAX: u64 = (1 << COUNT_BITS) - 2;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TAKEN: u64 = 1 << COUNT_BITS;
const SHUT: u64 = 1 << (COUNT_BITS + 1);
const GENERATION_SHIFT: u32 = COUNT_BITS + 2;
/// Generations are 1 to this and begin anew.
pub(crate) const GENERATION_MAX: u64 = (1 << (64 - GENERATION_SHIFT)) - 1;
/// How often a thread looks at a line that another has taken; each 64th time it yields the processor.
const TAKE_TURNS: u32 = if cfg!(loom) {
    2
} else if cfg!(miri) {
    1000
} else {
    1 << 20
};

/// A line's count.
pub(crate) const fn count_of(control: u64) -> u64 {
    control & COUNT_MASK
}

/// The cell of the last count.
pub(crate) const fn cell_of(control: u64) -> u8 {
    (control >> COUNT_BITS & 0xff) as u8
}

const fn in_control(n: u64, cell: u8) -> u64 {
    n | (cell as u64) << COUNT_BITS
}

/// Bits of an *in* control word that no writer sets.
pub(crate) const fn in_excess(control: u64) -> u64 {
    control >> (COUNT_BITS + 8)
}

pub(crate) const fn generation_of(out_control: u64) -> u64 {
    out_control >> GENERATION_SHIFT
}

pub(crate) const fn out_control(generation: u64) -> u64 {
    generation << GENERATION_SHIFT
}

/// Where the copy of a count begins.
#[inline]
pub(crate) fn copy_at(count: u64) -> usize {
    1 + if count % 2 == 1 && !mutant::on(Mutant::OneCopy) { STRIDE } else { 0 }
}

/// The published copy of `count`.
#[inline(always)]
pub(crate) fn copy(lane: &Lane, count: u64) -> Words {
    let at = copy_at(count);
    let mut words = [0; WORDS];
    for (i, word) in words.iter_mut().enumerate() {
        *word = lane[at + i].load(Ordering::Relaxed);
    }
    words
}

#[inline(always)]
fn write_copy(lane: &Lane, count: u64, words: &Words) {
    let at = copy_at(count);
    for (i, value) in words.iter().enumerate() {
        lane[at + i].store(*value, Ordering::Relaxed);
    }
}

/// Publishes count `n` of the *in* line. The caller owns the line, its count is `n - 1`, and a release fence stands
/// since that was published.
#[inline(always)]
pub(crate) fn publish(lane: &Lane, cells: &[Word], n: u64, cell: u8, words: &Words) {
    let remembered = if mutant::on(Mutant::NoPendingCell) { 0 } else { cell };
    let publish = || lane[0].store(in_control(n, remembered), mutant::order(Mutant::RelaxedPublish, Ordering::Release));
    if mutant::on(Mutant::CellFirst) {
        count_cell(cells, cell);
    }
    if mutant::on(Mutant::CountFirst) {
        publish();
        write_copy(lane, n, words);
    } else {
        write_copy(lane, n, words);
        publish();
    }
    if !mutant::on(Mutant::CellFirst) {
        count_cell(cells, cell);
    }
}

/// Two cells to a word. Release keeps the cell behind the publication of its count.
#[inline(always)]
fn count_cell(cells: &[Word], cell: u8) {
    if let Some(word) = cells.get(usize::from(cell / 2)) {
        let one = 1 << (u32::from(cell % 2) * 32);
        word.store(word.load(Ordering::Relaxed).wrapping_add(one), Ordering::Release);
    }
}

/// What a line held at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) control: u64,
    pub(crate) words: Words,
    /// Two cells each; empty for *out*.
    pub(crate) cells: Vec<u64>,
}

/// One look at a line that may be being written; `None` if it moved meanwhile.
pub(crate) fn look(lane: &Lane, cells: &[Word]) -> Option<Seen> {
    // Allocated before: the look is short, so that it is seldom in vain.
    let mut copied = Vec::with_capacity(cells.len());
    let control = lane[0].load(Ordering::Acquire);
    let words = copy(lane, count_of(control));
    copied.extend(cells.iter().map(|w| w.load(Ordering::Relaxed)));
    fence(Ordering::Acquire);
    let again = lane[0].load(Ordering::Relaxed);
    let same = count_of(again) == count_of(control) && generation_of(again) == generation_of(control);
    (same || mutant::on(Mutant::NoSecondLook)).then_some(Seen { control, words, cells: copied })
}

/// Why an *out* line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The slot has another generation.
    Gone,
    /// It takes no more.
    Shut,
    /// Who took it does not give it back.
    Stuck,
}

/// Takes the *out* line of this generation; answers its control word. The line must be given back with [`give_back`].
#[inline]
pub(crate) fn take(lane: &Lane, generation: u64) -> Result<u64, NotTaken> {
    for turn in 0..TAKE_TURNS {
        let control = lane[0].load(Ordering::Relaxed);
        if generation_of(control) != generation && !mutant::on(Mutant::NoGeneration) {
            return Err(NotTaken::Gone);
        }
        if control & SHUT != 0 {
            return Err(NotTaken::Shut);
        }
        let free = control & TAKEN == 0 || mutant::on(Mutant::NoTake);
        if free && (mutant::on(Mutant::NoTake) || lane[0].swap_if(control, control | TAKEN, Ordering::Acquire)) {
            // Who sees a copy that we write also sees that the line was taken, or what came after.
            fence(Ordering::Release);
            return Ok(control);
        }
        pause(turn);
    }
    Err(NotTaken::Stuck)
}

/// Adds to a line that the caller has taken, and gives it back.
#[inline]
pub(crate) fn add(lane: &Lane, taken: u64, addends: &Words) {
    let m = count_of(taken) + 1;
    let mut words = copy(lane, m - 1);
    for (word, addend) in words.iter_mut().zip(addends) {
        *word = word.wrapping_add(*addend);
    }
    if mutant::on(Mutant::CountFirst) {
        lane[0].store(taken + 1, Ordering::Release);
    }
    write_copy(lane, m, &words);
    lane[0].store(taken + 1, mutant::order(Mutant::RelaxedPublish, Ordering::Release));
}

/// Gives a taken line back, shut for good or not.
pub(crate) fn give_back(lane: &Lane, taken: u64, shut: bool) {
    lane[0].store(if shut { taken | SHUT } else { taken }, Ordering::Release);
}
