//! Finals that the sink has, kept to be told once more: Kafka may lose what it acknowledged (an unclean election, a disk
//! of a topic without copies). The sums of the heartbeats tell the collector that something is missing, and it cannot ask.
//!
//! The same bytes under the same UUID: for a collector that has it the copy says nothing.
//!
//! Limits: at most [`BYTES`] of copies, in memory only; past it the oldest goes untold, and so does what is kept when the
//! process ends. What is lost twice, or more than [`AFTER`] after its ack, stays lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after the ack a final is told again: longer than an election takes.
pub(super) const AFTER: Duration = Duration::from_mins(1);
/// Payloads kept at most.
pub(super) const BYTES: usize = 2 << 20;

/// A message that the sink has.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) key: String,
    pub(super) payload: Arc<[u8]>,
    pub(super) records: u64,
    due: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Repeats {
    copies: VecDeque<Kept>,
    bytes: usize,
}

impl Repeats {
    /// Keeps a message that the sink has had since `now`.
    pub(super) fn keep(&mut self, key: String, payload: Arc<[u8]>, records: u64, now: Instant) {
        self.bytes += payload.len();
        self.copies.push_back(Kept { key, payload, records, due: now + AFTER });
        while self.bytes > BYTES {
            let Some(oldest) = self.copies.pop_front() else { return };
            self.bytes -= oldest.payload.len();
        }
    }

    /// The next that is due.
    pub(super) fn due(&self, now: Instant) -> Option<&Kept> {
        self.copies.front().filter(|c| c.due <= now)
    }

    /// The next has been told.
    pub(super) fn drop_first(&mut self) {
        if let Some(copy) = self.copies.pop_front() {
            self.bytes -= copy.payload.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_bounded_and_the_oldest_goes_first() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for i in 0..100u64 {
            let payload: Arc<[u8]> = vec![0; BYTES / 10].into();
            repeats.keep(i.to_string(), payload, i, start + Duration::from_secs(i));
        }
        assert!(repeats.bytes <= BYTES && repeats.copies.len() == 10);
        assert!(repeats.due(start + Duration::from_secs(149)).is_none(), "not before its time");
        let due = repeats.due(start + Duration::from_secs(150)).expect("the oldest that is kept");
        assert_eq!((due.key.as_str(), due.records), ("90", 90));
        (0..10).for_each(|_| repeats.drop_first());
        assert_eq!((repeats.bytes, repeats.copies.len()), (0, 0));
    }
}
