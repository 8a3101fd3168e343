//! What the tap does when something that it fetched cannot be read: nothing that follows is counted until it is known which
//! partition it was and where that can be read again.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

use super::{POLL, Worker};
use crate::kafka::asker::Tp;
use crate::kafka::corrupt::{Due, Finder, LOOK_FOR, readable_again};
use crate::tap::partition::Partition;

/// Partitions looked at together.
const TOGETHER: usize = 256;

impl Worker {
    /// Looks, if it is time, and skips what cannot be read; then everything is read anew from what counts next. Returns
    /// whether reading must wait.
    pub(super) fn look_for_corrupt(&mut self) -> Result<bool, String> {
        match self.suspicion.due(Instant::now()) {
            Due::Nothing => return Ok(false),
            Due::Patience => {
                std::thread::park_timeout(POLL);
                return Ok(true);
            }
            Due::Look => {}
        }
        let isolation = self.settings.tap.isolation;
        let mut finder =
            Finder::new(&self.settings.cluster, isolation, &self.shared.problems).map_err(|e| e.message)?;
        let found = self.skip_corrupt(&mut finder);
        finder.close();
        match found {
            Ok(true) => {}
            Ok(false) => self.unfounded()?,
            Err(e) => {
                tracing::warn!(cluster = self.settings.cluster.name, "looking for what cannot be read: {e}");
                self.suspicion.raise(Instant::now());
            }
        }
        self.suspicion.looked(Instant::now());
        self.assign()?;
        Ok(true)
    }

    /// Returns whether anything was found that cannot be read.
    fn skip_corrupt(&mut self, finder: &mut Finder) -> KafkaResult<bool> {
        let owned = self.owned.iter().flat_map(|(topic, ps)| ps.keys().map(|number| (topic.clone(), *number)));
        let owned: Vec<Tp> = owned.collect();
        let ends: Vec<(Tp, i64)> = self.asker.client.ends(&owned)?.into_iter().collect();
        let deadline = Instant::now() + LOOK_FOR;
        let mut any = false;
        for some in ends.chunks(TOGETHER) {
            let mut corrupt = finder.corrupt(&self.starts(some))?;
            any |= !corrupt.is_empty();
            // Where only the message that the log was to be recognised by cannot be read, all that counts may be.
            let unrecognised: Vec<(Tp, i64)> = some
                .iter()
                .filter(|(tp, _)| corrupt.contains_key(tp) && self.held(tp).is_some_and(Partition::give_up_recognising))
                .cloned()
                .collect();
            if !unrecognised.is_empty() {
                corrupt.retain(|tp, _| unrecognised.iter().all(|(other, _)| other != tp));
                corrupt.extend(finder.corrupt(&self.starts(&unrecognised))?);
            }
            for (tp, end) in some {
                let Some((first, code)) = corrupt.get(tp) else { continue };
                let next = self.held(tp).map_or(*first, |p| p.next());
                let to = readable_again(&mut finder.at(tp), (next.max(*first), *end), *code, deadline)?;
                self.skip(tp, *first, to, *code);
            }
        }
        Ok(any)
    }

    fn held(&mut self, (topic, number): &Tp) -> Option<&mut Partition> {
        self.owned.get_mut(topic)?.get_mut(number)
    }

    /// Where the readers stand of those that are not at their ends.
    fn starts(&mut self, ends: &[(Tp, i64)]) -> BTreeMap<Tp, i64> {
        let start = |(tp, end): &(Tp, i64)| {
            let at = self.held(tp)?.start();
            (at < *end).then(|| (tp.clone(), at))
        };
        ends.iter().filter_map(start).collect()
    }

    fn skip(&mut self, tp: &Tp, first: i64, to: Option<i64>, code: RDKafkaErrorCode) {
        let key = format!("kafka.{} read {}/{}", self.settings.cluster.name, tp.0, tp.1);
        let place = format!("kafka.{}: {}/{}", self.settings.cluster.name, tp.0, tp.1);
        let Some(to) = to else {
            let sentence = format!("{place} cannot be read from offset {first} on ({code}); it is tried again");
            self.shared.problems.set(key, sentence);
            self.suspicion.raise(Instant::now());
            return;
        };
        if let Some((from, to)) = self.held(tp).and_then(|p| p.skip_corrupt(first, to)) {
            let sentence = format!(
                "{place}: offsets {from} to {to} cannot be read ({code}); their windows are uncertain, what follows counts"
            );
            self.shared.problems.notice(key, sentence);
        }
    }
}
