//! How far a consumer has processed each partition.
//!
//! Invariant: the reporter takes the positions *before* it looks at the slots, and consumers count before they move a
//! position, so whatever lies below a reported position is in the counts reported with it.
//!
//! Limits: at most [`ENTRIES_MAX`] partitions; further ones are not kept, and their hop is judged without positions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::wire::{self, Position};

const ENTRIES_MAX: usize = 65_536;
/// JSON around a position's topic: names, punctuation, two numbers.
const POSITION_BYTES: usize = 80;

#[derive(Debug, Default)]
pub(super) struct Positions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    topics: HashMap<Arc<str>, BTreeMap<i32, Entry>>,
    entries: usize,
}

#[derive(Debug)]
struct Entry {
    position: i64,
    dirty: bool,
}

impl Positions {
    /// Notes a position as told: a consumer that seeks back is back there.
    pub(super) fn set(&self, topic: &str, partition: i32, position: i64) {
        let mut known = self.0.lock();
        if let Some(entry) = known.topics.get_mut(topic).and_then(|t| t.get_mut(&partition)) {
            entry.dirty |= entry.position != position;
            entry.position = position;
            return;
        }
        if known.entries >= ENTRIES_MAX || wire::topic_name(topic).is_err() {
            return;
        }
        known.entries += 1;
        let entry = Entry { position, dirty: true };
        if let Some(partitions) = known.topics.get_mut(topic) {
            partitions.insert(partition, entry);
        } else {
            known.topics.insert(Arc::from(topic), BTreeMap::from([(partition, entry)]));
        }
    }

    /// Positions that changed since they were settled, as many as fit into `bytes`.
    pub(super) fn changed(&self, bytes: usize) -> Vec<Position> {
        let known = self.0.lock();
        let mut room = bytes;
        let mut changed = Vec::new();
        for (topic, partitions) in &known.topics {
            for (partition, entry) in partitions.iter().filter(|(_, e)| e.dirty) {
                let Some(left) = room.checked_sub(topic.len() + POSITION_BYTES) else { return changed };
                room = left;
                changed.push(Position { topic: topic.to_string(), partition: *partition, position: entry.position });
            }
        }
        changed
    }

    /// The sink has these.
    pub(super) fn settle(&self, reported: &[Position]) {
        let mut known = self.0.lock();
        for p in reported {
            if let Some(entry) = known.topics.get_mut(p.topic.as_str()).and_then(|t| t.get_mut(&p.partition)) {
                entry.dirty &= entry.position != p.position;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_reported_until_it_is_settled_and_again_when_it_moves() {
        let positions = Positions::default();
        positions.set("t", 0, 5);
        let first = positions.changed(1000);
        assert_eq!(first, [Position { topic: "t".to_owned(), partition: 0, position: 5 }]);
        positions.set("t", 0, 6);
        positions.settle(&first);
        assert_eq!(positions.changed(1000).len(), 1, "it moved after it was taken");
        positions.settle(&positions.changed(1000));
        assert!(positions.changed(1000).is_empty());
    }

    #[test]
    fn what_does_not_fit_waits_for_the_next_message() {
        let positions = Positions::default();
        (0..10).for_each(|p| positions.set("topic", p, 1));
        let room = 4 * ("topic".len() + POSITION_BYTES);
        let first = positions.changed(room);
        assert_eq!(first.len(), 4);
        positions.settle(&first);
        let rest = positions.changed(usize::MAX);
        assert_eq!(rest.len(), 6);
        assert!(rest.iter().all(|p| !first.contains(p)));
    }
}
