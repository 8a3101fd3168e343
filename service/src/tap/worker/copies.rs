//! Copies: where a tap reads from brokers of its own rack, what it gets there may be behind, cut short or rotten while the
//! leader has it all. What a log holds is what its leader says; a copy that will not give it is read no longer.
//!
//! librdkafka goes back to the leader by itself when a copy dies, or says that a position lies beyond its end. What is left
//! is done here: a position that was refused and lies in the log all the same, and a batch that only a copy cannot show.

use std::collections::BTreeMap;

use rdkafka::error::RDKafkaErrorCode;

use super::Worker;
use crate::kafka::asker::Tp;
use crate::tap::reader::rack_key;

/// So often something may turn out to be readable after all: the first time it may have been the network.
const UNFOUNDED_MAX: u32 = 1;

/// Whether an error means that a position was said to be outside its log. librdkafka then reads nothing more there.
pub(super) fn is_outside(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
}

impl Worker {
    /// Positions that were said to be outside their logs, and are not: they are read on from. One that lies before its
    /// log's start is moved by the answer, and one beyond its end twice in a row is another log's. What was refused may be
    /// another offset, out of a batch that was corrupt: then it says nothing against the copies.
    pub(super) fn read_on(&mut self, starts: &BTreeMap<Tp, i64>, ends: &BTreeMap<Tp, i64>) -> Result<(), String> {
        if self.outside.is_empty() {
            return Ok(());
        }
        let owned = &self.owned;
        self.outside.retain(|(topic, number), _| owned.get(topic).is_some_and(|of| of.contains_key(number)));
        let inside = self.outside.iter().find_map(|(tp, refused)| {
            let next = owned.get(&tp.0)?.get(&tp.1)?.next();
            let log = *starts.get(tp)?..=*ends.get(tp)?;
            let refused = refused.unwrap_or(next);
            log.contains(&next).then(|| (tp.clone(), refused, log.contains(&refused)))
        });
        let Some(((topic, number), refused, has)) = inside else {
            // Not all answered, or an answer was lost.
            self.asker.interest.starts.store(!self.outside.is_empty(), std::sync::atomic::Ordering::SeqCst);
            return Ok(());
        };
        if has {
            tracing::warn!(
                topic,
                partition = number,
                "offset {refused} was refused, and its leader has it: it is read on from there"
            );
            self.distrust_copies(&format!("{topic}/{number} does not have offset {refused} there"))?;
        }
        self.assign()
    }

    /// Something could not be read, and its leader can read everything.
    pub(super) fn unfounded(&mut self) -> Result<(), String> {
        self.unfounded += 1;
        if self.unfounded > UNFOUNDED_MAX { self.distrust_copies("something cannot be read there") } else { Ok(()) }
    }

    /// Reads from leaders only, from the next assignment on and until the tap starts over.
    fn distrust_copies(&mut self, why: &str) -> Result<(), String> {
        let cluster = &self.settings.cluster;
        let Some(rack) = self.reader.rack().map(str::to_owned) else { return Ok(()) };
        self.reader.by_leaders(cluster).map_err(|e| e.message)?;
        let sentence = format!(
            "kafka.{}: the copies in rack {rack} lack what their leaders have ({why}); the tap reads from leaders until it starts again",
            cluster.name
        );
        self.shared.problems.notice(rack_key(&cluster.name), sentence);
        Ok(())
    }
}
