//! What the victim counts: known to it and to who looks at what it left, so that every word can be recomputed.
#![allow(dead_code, reason = "the victim uses one half, the test the other")]

use chaperone_wal::slots::{Slot, WORDS};

/// Busy threads.
pub(crate) const THREADS: u64 = 4;
/// Histogram cells.
pub(crate) const CELLS: u16 = 16;

type Words = [u64; WORDS];

/// Messages for one byte to the witness.
pub(crate) fn per_byte(mode: &str) -> u64 {
    if mode == "dense" { 16 } else { 1 }
}

const fn id(owner: u64, k: u64) -> u64 {
    (k << 8 | owner).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The `k`-th message of a thread: the words, and its cell.
pub(crate) fn count(words: &mut Words, owner: u64, k: u64) -> u8 {
    let id = id(owner, k);
    words[0] += 100 + id % 100;
    words[1] = words[1].wrapping_add(id);
    words[2] = words[2].wrapping_add(id.rotate_left(32));
    words[3] = if k == 1 { id } else { words[3].min(id) };
    words[4] = words[4].max(id);
    words[5] = k;
    words[6] ^= id;
    (id >> 60).to_le_bytes()[0]
}

/// What its delivery report adds.
pub(crate) fn outcome(owner: u64, k: u64) -> Words {
    let id = id(owner, k);
    let failed = u64::from(k.is_multiple_of(10));
    [1 - failed, failed, id * (1 - failed), id * failed, 1, 1, 1]
}

/// What is wrong with what a thread left, if anything.
pub(crate) fn wrong(slot: &Slot) -> Option<String> {
    if !slot.troubles.is_empty() {
        return Some(format!("{:?}", slot.troubles));
    }
    let (mut words, mut cells, mut out) = ([0; WORDS], vec![0u32; usize::from(CELLS)], [0; WORDS]);
    for k in 1..=slot.n {
        cells[usize::from(count(&mut words, slot.owner, k))] += 1;
    }
    for k in 1..=slot.m {
        for (word, addend) in out.iter_mut().zip(outcome(slot.owner, k)) {
            *word = u64::wrapping_add(*word, addend);
        }
    }
    let parts =
        [("words in", words == slot.words_in), ("cells", cells == slot.cells), ("words out", out == slot.words_out)];
    parts
        .iter()
        .find(|(_, right)| !right)
        .map(|(what, _)| format!("{what} of {} and {} do not fit: {slot:?}", slot.n, slot.m))
}
