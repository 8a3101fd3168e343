//! Under a cap: partitions that are far behind are read apart from those that keep up.
//!
//! What is fetched ahead is bounded, for all partitions of a lane together. A reader that takes less than one partition has to
//! give finds its lane always full, and librdkafka then fetches for whichever partition it looks at in the moment that
//! there is room: often the same few, while others wait for as long as the backlog lasts. Without a cap a full lane is
//! empty again within milliseconds, and one is enough.

use super::Worker;
use crate::kafka::asker::Tp;

/// From so many offsets on a partition is far behind: a tenth of what a lane takes.
const FAR_OFFSETS: u64 = 1_000;
/// Or from this part of what the cap lets through in a second.
const FAR_PART: u64 = 4;
/// It has caught up at this part of either.
const NEAR_PART: u64 = 10;

/// Whether a partition with this backlog (offsets, bytes) is to be read apart, which it is already or not.
fn is_far((offsets, bytes): (u64, u64), apart: bool, bytes_per_second: u64) -> bool {
    let part = if apart { NEAR_PART } else { 1 };
    offsets >= FAR_OFFSETS / part || bytes >= (bytes_per_second / FAR_PART / part).max(1)
}

impl Worker {
    /// Moves those that fell behind, and those that have caught up.
    pub(super) fn part_lanes(&mut self) -> Result<(), String> {
        let Some(cap) = self.settings.tap.max_bytes_per_second.filter(|_| !self.paused) else { return Ok(()) };
        for (topic, partitions) in &mut self.owned {
            for (number, partition) in partitions {
                let tp: Tp = (topic.clone(), *number);
                let (was, backlog) = (self.reader.is_apart(&tp), partition.backlog());
                let far = is_far(backlog, was, cap);
                if far == was {
                    continue;
                }
                tracing::debug!(topic, partition = number, apart = far, offsets = backlog.0, "changes the lane");
                partition.assigned();
                let moved = self.reader.apart(&tp, partition.start(), far);
                moved.map_err(|e| format!("read {topic}/{number} by another lane: {e}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_far_behind_by_offsets_or_bytes_until_it_has_nearly_caught_up() {
        let cap = 1_000_000;
        assert!(!is_far((999, 0), false, cap) && is_far((1_000, 0), false, cap));
        assert!(!is_far((10, 249_999), false, cap) && is_far((10, 250_000), false, cap));
        assert!(is_far((100, 0), true, cap) && is_far((10, 25_000), true, cap) && !is_far((99, 24_999), true, cap));
        assert!(!is_far((0, 0), false, 1) && !is_far((0, 0), true, 1), "nothing waits");
    }
}
