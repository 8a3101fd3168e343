//! What a kill leaves, cut after every single store; uses of slots; hostile bytes. Threads and schedules: `models`.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

mod bytes;
mod cuts;
mod forks;
mod uses;

use super::layout::NAMES_USED;
use super::*;
use super::{reading, word::Ordering};

pub(super) const SMALL: Geometry = Geometry { slots: 3, cells: 4, names_bytes: 64 };

pub(super) fn heap(geometry: Geometry) -> Table {
    Table::heap(&Start::default(), geometry).unwrap()
}

/// What recovery would read of a table's memory now.
pub(super) fn recovered(table: &Table) -> Vec<Slot> {
    let geometry = table.geometry();
    let words: Vec<u64> = table.core.memory.iter().map(|w| w.load(Ordering::Relaxed)).collect();
    let slot = |index: u32| {
        let parts = reading::parts(&words[geometry.slot_at(index)..], &geometry).unwrap();
        let place = parts.descriptor[layout::descriptor::NAME];
        let name = |at: usize| words[layout::HEADER..].get(at).copied();
        let name = reading::name(place, words[NAMES_USED], geometry.names_words(), name);
        reading::slot(&parts, index, name, Limits::default())
    };
    (0..geometry.slots).filter_map(slot).collect()
}
