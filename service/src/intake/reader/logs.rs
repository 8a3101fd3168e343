//! Which log of the audit topic is read, from where, and what of it is gone.
//!
//! A topic that was deleted and made anew has another id; where brokers have no ids, a log that ends before what was read
//! of it tells, looked at twice. Either way reading begins again at the new log's beginning, by itself: `Join` and the claim
//! chain make it safe to read anything twice. What was appended to the old one and not read is unknown for ever: the store
//! records it, and doubts what it may have said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chaperone_collector::{AuditFollow, AuditLoss, AuditPartition, AuditStand, LossCause};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::Reader;
use crate::intake::open::Open;
use crate::kafka::ASK_TIMEOUT;
use crate::kafka::asker::{Answer, Tp};

/// How often in a row a log must end before what was read of it to be taken for another.
const SHORT: u32 = 2;
/// How long it is said that something was lost; the store's events keep it.
const SAY_FOR: Duration = Duration::from_mins(10);

/// Where a partition is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// From here on.
    From(i64),
    /// From here on, and what lies before it is lost.
    Lost(i64, LossCause),
    /// To be looked at again.
    Unsure,
}

/// What is to be done about a partition of the topic of this id that holds `[start, end)`. `sure`: its end was seen there
/// more than once.
fn reading(stand: &AuditStand, id: Option<Uuid>, (start, end): (i64, i64), sure: bool) -> Reading {
    let another = matches!((stand.topic_id, id), (Some(was), Some(is)) if was != is);
    let begun = stand.next > 0 || stand.log > 0;
    match stand.next {
        _ if another || stand.closed => Reading::Lost(start, LossCause::Recreated),
        next if end < next && !sure => Reading::Unsure,
        next if end < next => Reading::Lost(start, LossCause::Truncated),
        next if start > next && begun => Reading::Lost(start, LossCause::Gone),
        next => Reading::From(next.max(start)),
    }
}

impl Reader {
    /// Reads all partitions from where the store stands.
    pub(super) fn open_all(&mut self, partitions: i32) -> Result<(), String> {
        let topic = self.settings.audit.topic.clone();
        let tps: Vec<Tp> = (0..partitions).map(|p| (topic.clone(), p)).collect();
        let Ok(Some((id, starts, ends))) = self.look(&topic, &tps) else { return Ok(()) };
        let (cluster, now_ms) = (self.settings.cluster.name.clone(), self.broker_now_ms());
        let follow = AuditFollow { cluster: cluster.clone(), topic: topic.clone(), topic_id: id, partitions, now_ms };
        let stands = match self.shared.runtime.block_on(self.shared.store.audit_follow(follow)) {
            Ok(stands) => stands,
            Err(e) => {
                self.shut(Some(&e));
                return Ok(());
            }
        };
        let mut list = TopicPartitionList::new();
        let mut open = BTreeMap::new();
        for stand in stands.into_iter().filter(|s| s.partition < partitions) {
            if !self.is_mine(stand.partition) {
                continue;
            }
            let tp = (topic.clone(), stand.partition);
            let (Some(start), Some(end)) = (starts.get(&tp), ends.get(&tp)) else { continue };
            let short = self.short.entry(tp.1).or_default();
            let (place, stands_at) = match reading(&stand, id, (*start, *end), *short >= SHORT) {
                Reading::From(next) => ((stand.log, next), stand.next),
                Reading::Unsure => {
                    *short += 1;
                    return Ok(());
                }
                Reading::Lost(resumes, cause) => {
                    let Some(stand) = self.lose(&stand, resumes, cause, id) else { return Ok(()) };
                    ((stand.log, stand.next), stand.next)
                }
            };
            self.short.remove(&tp.1);
            list.add_partition_offset(&topic, tp.1, Offset::Offset(place.1)).map_err(|e| format!("assign: {e}"))?;
            let source = AuditPartition { cluster: cluster.clone(), topic: topic.clone(), partition: tp.1 };
            let skew = self.open.get(&tp.1).map(|o| o.skew().clone()).or_else(|| self.skews.remove(&tp.1));
            open.insert(tp.1, Open::new(source, place, stands_at, skew.unwrap_or_default()));
        }
        if open.is_empty() {
            return Ok(());
        }
        self.open = open;
        self.topic_id = id;
        self.resume_at = None;
        self.consumer.assign(&list).map_err(|e| format!("assign: {e}"))?;
        self.watch();
        tracing::info!(cluster, topic, partitions = self.open.len(), "reading the audit topic");
        self.shared.problems.clear(&self.key("read"));
        Ok(())
    }

    /// Where the partitions begin and end, and of which topic that is; `None` if it was made anew while we asked.
    #[expect(clippy::type_complexity, reason = "three answers of one look")]
    fn look(
        &self,
        topic: &str,
        tps: &[Tp],
    ) -> KafkaResult<Option<(Option<Uuid>, BTreeMap<Tp, i64>, BTreeMap<Tp, i64>)>> {
        let client = &self.asker.client;
        let id = || client.ids(&BTreeSet::from([topic]), ASK_TIMEOUT).map(|ids| ids.get(topic).copied());
        let before = id()?;
        let (starts, ends) = (client.starts(tps)?, client.ends(tps)?);
        Ok((id()? == before).then_some((before, starts, ends)))
    }

    /// Gives up what cannot be read; `None` if the store does not stand there, or cannot write.
    pub(super) fn lose(
        &mut self,
        stand: &AuditStand,
        resumes: i64,
        cause: LossCause,
        topic_id: Option<Uuid>,
    ) -> Option<AuditStand> {
        let (cluster, topic) = (self.settings.cluster.name.clone(), self.settings.audit.topic.clone());
        let place = format!("kafka.{cluster}: audit topic '{topic}' partition {}", stand.partition);
        let source = AuditPartition { cluster, topic, partition: stand.partition };
        let (log, next, now_ms) = (stand.log, stand.next, self.broker_now_ms());
        let loss = AuditLoss { source, log, next, resumes, cause, topic_id, now_ms };
        match self.shared.runtime.block_on(self.shared.store.audit_lost(loss)) {
            Ok(new) => {
                let why = cause.as_str();
                let what = if cause.begins_a_log() {
                    format!(
                        "{place} was read up to {next}, and {why}: what was not read of it is lost, and it is read from its beginning"
                    )
                } else {
                    format!("{place}: reports {next} to {resumes} are lost, {why}; it is read from there on")
                };
                let sentence = format!("{what}; windows that they may have told of are uncertain");
                self.shared.problems.notice(self.lost_key(stand.partition), sentence);
                self.said.insert(stand.partition, Instant::now() + SAY_FOR);
                Some(new)
            }
            Err(e) => {
                self.shut(Some(&e));
                None
            }
        }
    }

    fn lost_key(&self, partition: i32) -> String {
        self.key(&format!("lost {partition}"))
    }

    /// What was said long enough is said no more.
    pub(super) fn stop_saying(&mut self, now: Instant) {
        let over: Vec<i32> = self.said.iter().filter(|(_, until)| **until <= now).map(|(p, _)| *p).collect();
        for partition in over {
            self.said.remove(&partition);
            self.shared.problems.clear(&self.lost_key(partition));
        }
    }

    /// Not before the brokers' time, as far as is known.
    fn broker_now_ms(&self) -> i64 {
        let now_ms = self.shared.clock.now_ms();
        let skews = self.open.values().map(Open::skew).chain(self.skews.values());
        let behind_ms = skews.filter_map(|skew| skew.ms(now_ms)).min().unwrap_or(0).min(0);
        now_ms.saturating_sub(behind_ms)
    }

    pub(super) fn watch(&self) {
        let topic = &self.settings.audit.topic;
        let watched = self.open.iter().map(|(p, o)| ((topic.clone(), *p), o.read_to())).collect();
        *self.asker.interest.partitions.lock() = watched;
    }

    /// Whether the answer speaks of the topic that is read. If it speaks of another, or a log ends, twice in a row, before
    /// what had been read of it before the question, reading ends, and begins again with the next answer.
    pub(super) fn is_ours(&mut self, answer: &Answer, partitions: i32) -> bool {
        let id = answer.ids.get(&self.settings.audit.topic).copied();
        let another = matches!((self.topic_id, id), (Some(is), Some(now)) if is != now);
        let mut short = false;
        for partition in self.open.keys() {
            let tp = (self.settings.audit.topic.clone(), *partition);
            let floor = answer.floors.get(&tp).copied().unwrap_or(0);
            let is_short = match answer.ends.get(&tp) {
                Some(end) => *end < floor,
                // Brokers with ids know better.
                None => *partition >= partitions && id.is_none(),
            };
            let seen = self.short.entry(*partition).or_default();
            *seen = if is_short { *seen + 1 } else { 0 };
            short |= *seen >= SHORT;
        }
        if another || short {
            // What was read is applied: it is of the log of before, or read again.
            self.apply(true);
            self.shut(None);
            return false;
        }
        self.topic_id.is_none() || self.topic_id == id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_partition_is_read_and_what_is_lost() {
        let (a, b) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let stand =
            |log, next, topic_id| AuditStand { partition: 0, log, next, topic_id, closed: false, through_ms: None };
        let table = [
            (stand(0, 0, a), a, (0, 0), Reading::From(0)),
            (stand(0, 0, a), a, (7, 9), Reading::From(7)),
            (stand(0, 8, a), a, (7, 9), Reading::From(8)),
            (stand(0, 9, a), a, (7, 9), Reading::From(9)),
            (stand(0, 6, a), a, (7, 9), Reading::Lost(7, LossCause::Gone)),
            (stand(1, 0, a), a, (7, 9), Reading::Lost(7, LossCause::Gone)),
            (stand(0, 10, a), a, (7, 9), Reading::Unsure),
            (stand(0, 10, None), b, (7, 9), Reading::Unsure),
            (stand(0, 8, a), None, (7, 9), Reading::From(8)),
            (stand(0, 8, a), b, (0, 9), Reading::Lost(0, LossCause::Recreated)),
            (stand(0, 8, a), b, (0, 3), Reading::Lost(0, LossCause::Recreated)),
            (AuditStand { closed: true, ..stand(0, 8, None) }, None, (0, 9), Reading::Lost(0, LossCause::Recreated)),
        ];
        for (stand, id, log, expected) in table {
            assert_eq!(reading(&stand, id, log, false), expected, "{stand:?} {id:?} {log:?}");
        }
        assert_eq!(reading(&stand(0, 10, a), a, (7, 9), true), Reading::Lost(7, LossCause::Truncated));
    }
}
