//! Batches of the audit topic that cannot be read: given up with their offsets, and what follows is read.
//!
//! What was in them is repaired by later records (a slot's next state, a tap that counts again), or is doubted: see
//! [`logs`](super::logs). How the end of what cannot be read is found: [`kafka::corrupt`](crate::kafka::corrupt).

use std::time::Instant;

use chaperone_collector::{AuditStand, LossCause};
use rdkafka::error::RDKafkaErrorCode;

use super::{POLL, Reader};
use crate::config::Isolation;
use crate::kafka::asker::Tp;
use crate::kafka::corrupt::{Due, Finder, LOOK_FOR, readable_again};

impl Reader {
    /// Something cannot be read: reading ends until it was looked for.
    pub(super) fn suspect(&mut self) {
        self.apply(true);
        self.shut(None);
        self.suspicion.raise(Instant::now());
    }

    /// Looks, if it is time, and gives up what cannot be read. Returns whether reading must wait.
    pub(super) fn look_for_corrupt(&mut self) -> Result<bool, String> {
        match self.suspicion.due(Instant::now()) {
            Due::Nothing => return Ok(false),
            Due::Patience => {
                std::thread::park_timeout(POLL);
                return Ok(true);
            }
            Due::Look => {}
        }
        let isolation = Isolation::ReadUncommitted;
        let mut finder =
            Finder::new(&self.settings.cluster, isolation, &self.shared.problems).map_err(|e| e.message)?;
        self.give_up_corrupt(&mut finder);
        finder.close();
        self.suspicion.looked(Instant::now());
        Ok(true)
    }

    fn give_up_corrupt(&mut self, finder: &mut Finder) {
        let (cluster, topic) = (self.settings.cluster.name.clone(), self.settings.audit.topic.clone());
        let stands = match self.shared.runtime.block_on(self.shared.store.audit_stands(&cluster, &topic)) {
            Ok(stands) => stands,
            Err(e) => return self.shut(Some(&e)),
        };
        if let Err(e) = self.look_at_each(finder, &topic, stands) {
            tracing::warn!(cluster, "looking for what cannot be read: {e}");
            self.suspect();
        }
    }

    fn look_at_each(
        &mut self,
        finder: &mut Finder,
        topic: &str,
        stands: Vec<AuditStand>,
    ) -> rdkafka::error::KafkaResult<()> {
        let place = |stand: &AuditStand| -> Tp { (topic.to_owned(), stand.partition) };
        let asked: Vec<Tp> = stands.iter().filter(|s| !s.closed && self.is_mine(s.partition)).map(place).collect();
        let ends = self.asker.client.ends(&asked)?;
        let behind = |s: &&AuditStand| ends.get(&place(s)).is_some_and(|end| s.next < *end);
        let readers = stands.iter().filter(behind).map(|s| (place(s), s.next)).collect();
        let corrupt = finder.corrupt(&readers)?;
        let deadline = Instant::now() + LOOK_FOR;
        for stand in stands {
            let tp = place(&stand);
            let (Some((first, code)), Some(end)) = (corrupt.get(&tp), ends.get(&tp)) else { continue };
            let from = stand.next.max(*first);
            let to = readable_again(&mut finder.at(&tp), (from, *end), *code, deadline)?;
            self.give_up(&stand, to, *code);
        }
        Ok(())
    }

    fn give_up(&mut self, stand: &AuditStand, to: Option<i64>, code: RDKafkaErrorCode) {
        let key = self.key(&format!("read {}", stand.partition));
        let Some(to) = to else {
            let (cluster, topic) = (&self.settings.cluster.name, &self.settings.audit.topic);
            let sentence = format!(
                "kafka.{cluster}: audit topic '{topic}' partition {} cannot be read from offset {} on ({code}); it is tried again",
                stand.partition, stand.next
            );
            self.shared.problems.set(key, sentence);
            return self.suspect();
        };
        self.shared.problems.clear(&key);
        self.lose(stand, to, LossCause::Corrupt, stand.topic_id);
    }
}
