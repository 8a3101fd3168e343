//! The names in a slot file: append-only, each written once, published by the number of bytes in use.

use std::collections::HashMap;

use super::layout::{Geometry, HEADER, NAMES_USED, name_word};
use super::word::{Ordering, Word};

/// A name is no longer than this, in bytes.
pub(crate) const NAME_MAX: usize = 0xffff;

/// Where the known names are.
#[derive(Debug, Default)]
pub(crate) struct Index(HashMap<Box<str>, u64>);

impl Index {
    /// The place of a name, written if it is new; `None` if there is no room for it.
    pub(crate) fn place(&mut self, memory: &[Word], geometry: &Geometry, name: &str) -> Option<u64> {
        if let Some(place) = self.0.get(name) {
            return Some(*place);
        }
        let used_word = memory.get(NAMES_USED)?;
        let used = usize::try_from(used_word.load(Ordering::Relaxed)).ok()?;
        let end = used.checked_add(name.len().next_multiple_of(8))?;
        if name.len() > NAME_MAX || end > geometry.names_bytes as usize {
            return None;
        }
        let words = memory.get(HEADER + used / 8..HEADER + end / 8)?;
        for (word, chunk) in words.iter().zip(name.as_bytes().chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        used_word.store(end as u64, Ordering::Release);
        let place = name_word(used, name.len());
        self.0.insert(name.into(), place);
        Some(place)
    }
}
