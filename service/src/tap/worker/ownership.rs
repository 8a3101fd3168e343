//! What the tap holds: assignments of the group, claims, the store's view of them, and what the cluster answers about
//! topics and ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chaperone_collector::query::PartitionState;
use rdkafka::{Offset, TopicPartitionList};

use super::{FORGET_AFTER, Worker};
use crate::config::Isolation;
use crate::kafka::asker::{Answer, Tp};
use crate::kafka::context::Rebalance;
use crate::metrics::meters::Lost;
use crate::tap::claims::{Candidate, STORE_KEY};
use crate::tap::partition::{Identity, Partition};

impl Worker {
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.owned.values().flat_map(BTreeMap::values)
    }

    pub(super) fn rebalance(&mut self, said: Rebalance) -> Result<(), String> {
        match said {
            Rebalance::Assign(list) => {
                self.shared.problems.clear(&self.group_key());
                tracing::info!(cluster = self.settings.cluster.name, partitions = list.len(), "assigned");
                for tp in list {
                    self.claims.add(tp, Candidate::now());
                }
                // The group waits for an answer; partitions are added as their claims are granted.
                self.assign()
            }
            Rebalance::Revoke => {
                tracing::info!(cluster = self.settings.cluster.name, "revoked");
                self.hand_over();
                self.owned.clear();
                self.claims.clear();
                self.watch();
                self.reader.unassign().map_err(|e| format!("unassign: {e}"))
            }
        }
    }

    /// Tells the consumer what to read and from where: all of it, since the group's protocol is eager.
    pub(super) fn assign(&mut self) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in &mut self.owned {
            for (number, partition) in partitions {
                partition.assigned();
                list.add_partition_offset(topic, *number, Offset::Offset(partition.start()))
                    .map_err(|e| format!("assign {topic}/{number}: {e}"))?;
            }
        }
        self.reader.assign(&list).map_err(|e| format!("assign: {e}"))?;
        self.outside.clear();
        if std::mem::take(&mut self.paused) {
            self.reader.resume().map_err(|e| format!("resume: {e}"))?;
        }
        self.watch();
        Ok(())
    }

    /// Tells the asker whose ends to ask for, and how far each has been read.
    pub(super) fn watch(&self) {
        let each =
            self.owned.iter().flat_map(|(topic, ps)| ps.iter().map(move |(n, p)| ((topic.clone(), *n), p.next())));
        *self.asker.interest.partitions.lock() = each.collect();
    }

    pub(super) fn serve_claims(&mut self) -> Result<(), String> {
        let granted = self.claims.serve(Instant::now(), &self.asker.client, &self.settings, &self.shared);
        if granted.is_empty() {
            return Ok(());
        }
        self.meter.claimed(granted.len());
        for ((topic, number), mut partition) in granted {
            partition.compacted(self.compacted.contains(&topic));
            self.owned.entry(topic).or_default().insert(number, partition);
        }
        self.assign()
    }

    /// Gives up a claim that is of no more use and asks for another.
    pub(super) fn drop_claim(&mut self, (topic, number): Tp, candidate: Candidate) {
        if let Some(partitions) = self.owned.get_mut(&topic) {
            partitions.remove(&number);
        }
        self.sent.retain(|_, tp| (tp.0.as_str(), tp.1) != (topic.as_str(), number));
        self.claims.add((topic, number), candidate);
    }

    /// What was counted of these and has not left is forgotten with their claims: nobody knows whose it was.
    pub(super) fn other_logs(&mut self, tps: Vec<Tp>) -> Result<(), String> {
        if tps.is_empty() {
            return Ok(());
        }
        for tp in tps {
            tracing::error!(topic = tp.0, partition = tp.1, "the log was truncated or re-created; a new one begins");
            self.meter.lost(Lost::OtherLog);
            let over = self.owned.get(&tp.0).and_then(|partitions| partitions.get(&tp.1)).map(Partition::log);
            self.drop_claim(tp, over.map_or_else(Candidate::now, Candidate::other_log));
        }
        self.assign()
    }

    pub(super) fn answer(&mut self, answer: Answer) -> Result<(), String> {
        self.claims.look(&answer);
        if answer.absent != self.absent {
            for topic in &answer.absent {
                tracing::warn!(cluster = self.settings.cluster.name, topic, "does not exist yet; it is waited for");
            }
            self.absent = answer.absent;
        }
        self.topics_asked_ms = answer.asked_ms;
        self.topics = answer.topics;
        self.compacted = answer.compacted;
        self.unclear = answer.unclear.into_keys().collect();
        self.subscribe()?;
        let mut lost = Vec::new();
        let mut moved = false;
        let ago_ms = u64::try_from(self.shared.clock.now_ms() - answer.asked_ms).unwrap_or(0);
        let asked_at = Instant::now().checked_sub(Duration::from_millis(ago_ms));
        for (topic, partitions) in &mut self.owned {
            let compacted = self.compacted.contains(topic);
            for (number, partition) in partitions {
                let tp = (topic.clone(), *number);
                partition.reach(answer.unanswered.contains(&tp), Instant::now());
                partition.compacted(compacted);
                let floor = answer.floors.get(&tp).copied().unwrap_or(0);
                match partition.identify(answer.ids.get(topic).copied(), floor) {
                    Identity::Same => {}
                    Identity::Unknown => continue,
                    Identity::Other => {
                        lost.push(tp);
                        continue;
                    }
                }
                if let (Some(end), Some(asked_at)) = (answer.ends.get(&tp), asked_at) {
                    partition.ended(*end, asked_at);
                }
                if let Some(start) = answer.starts.get(&tp) {
                    moved |= partition.gone_below(*start);
                }
                if let (Some(end), Some(floor)) = (answer.ends.get(&tp), answer.floors.get(&tp))
                    && partition.answer(answer.asked_ms, (*end, *floor), answer.stable.get(&tp).copied())
                {
                    lost.push(tp);
                }
            }
        }
        // Only a reader that stays behind can be held by a transaction.
        let patience_ms = i64::try_from(self.settings.heartbeat.as_millis()).unwrap_or(2_000);
        let behind = self.partitions().any(|p| p.is_behind_since(answer.asked_ms - patience_ms));
        if behind && self.settings.tap.isolation == Isolation::ReadCommitted {
            self.asker.interest.stable.store(true, Ordering::SeqCst);
        }
        self.other_logs(lost)?;
        if moved {
            self.assign()?;
        }
        self.read_on(&answer.starts, &answer.ends)?;
        self.part_lanes()?;
        // What waited for the topics' ids.
        self.send_intervals(Instant::now());
        if self.paused {
            self.watch();
            self.asker.nudge();
        }
        Ok(())
    }

    /// Follows the topics that there are. One that is missing from an answer is kept for a while: every change of the
    /// subscription is a rebalance for all taps of the group. One whose name is no longer certain is dropped at once.
    pub(super) fn subscribe(&mut self) -> Result<(), String> {
        let changed = self.follow(Instant::now());
        if self.reader.is_alone() {
            return self.take_all(changed);
        }
        if !changed {
            return Ok(());
        }
        let names: Vec<&str> = self.subscribed.keys().map(String::as_str).collect();
        tracing::info!(cluster = self.settings.cluster.name, topics = names.len(), "subscribing");
        self.reader.subscribe(&names).map_err(|e| format!("subscribe: {e}"))
    }

    /// Which topics to follow, as of `now`; whether they are others than before. However long there was no answer: what
    /// the first one shows is still there.
    fn follow(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for topic in self.topics.keys() {
            changed |= self.subscribed.insert(topic.clone(), now).is_none();
        }
        let before = self.subscribed.len();
        let unclear = &self.unclear;
        self.subscribed
            .retain(|topic, seen| now.saturating_duration_since(*seen) < FORGET_AFTER && !unclear.contains(topic));
        changed || self.subscribed.len() != before
    }

    /// Without a group: every partition of every topic is ours; those of topics that are gone no longer.
    fn take_all(&mut self, topics_changed: bool) -> Result<(), String> {
        for (topic, partitions) in &self.topics {
            for number in 0..*partitions {
                let tp = (topic.clone(), number);
                let ours = self.owned.get(topic).is_some_and(|owned| owned.contains_key(&number));
                if !ours && !self.claims.has(&tp) {
                    self.claims.add(tp, Candidate::now());
                }
            }
        }
        if !topics_changed {
            return Ok(());
        }
        let subscribed = &self.subscribed;
        self.claims.forget(|topic| !subscribed.contains_key(topic));
        let before = self.owned.len();
        self.owned.retain(|topic, _| subscribed.contains_key(topic));
        if self.owned.len() == before { Ok(()) } else { self.assign() }
    }

    /// Fenced partitions are dropped; an interval that intake has passed without applying it is a hole, and what was not
    /// applied is read again.
    pub(super) fn compare_with_store(&mut self) -> Result<(), String> {
        let Some((passed, states)) = self.ask_store() else { return Ok(()) };
        let states: BTreeMap<(&str, i32), &PartitionState> =
            states.iter().map(|s| ((s.topic.as_str(), s.partition), s)).collect();
        self.claims.heartbeat(&self.settings.tap.names, &states);
        let mut dropped = Vec::new();
        for (topic, partitions) in &self.owned {
            for (number, partition) in partitions {
                let Some(state) = states.get(&(partition.topic(), *number)) else { continue };
                let lost = partition.acked().is_some_and(|a| {
                    a.to > state.next && passed.get(&a.audit_partition).is_some_and(|next| *next > a.audit_offset)
                });
                if state.epoch > partition.epoch() {
                    self.meter.lost(Lost::Fenced);
                    dropped.push(((topic.clone(), *number), Candidate::fenced((*state).clone())));
                } else if lost {
                    self.meter.lost(Lost::Hole);
                    dropped.push(((topic.clone(), *number), Candidate::now()));
                }
            }
        }
        if dropped.is_empty() {
            return Ok(());
        }
        for (tp, candidate) in dropped {
            tracing::warn!(topic = tp.0, partition = tp.1, ?candidate, "the claim is of no more use");
            self.drop_claim(tp, candidate);
        }
        self.assign()
    }

    /// How far intake has read the audit topic, and then where partitions stand: in this order, so that what intake has
    /// passed shows in the answer.
    pub(super) fn ask_store(&self) -> Option<(HashMap<i32, i64>, Vec<PartitionState>)> {
        let store = &self.shared.store;
        let (cluster, topic) = self.settings.reports.source(&self.settings.tap.stage);
        let answered = self.shared.runtime.block_on(async {
            let passed = store.audit_next(&cluster, &topic).await?;
            Ok::<_, chaperone_collector::StoreError>((passed, store.partitions(&self.settings.tap.stage).await?))
        });
        match answered {
            Ok((passed, states)) => {
                self.shared.problems.clear(STORE_KEY);
                Some((passed.into_iter().collect(), states))
            }
            Err(e) => {
                self.shared.problems.set(STORE_KEY, format!("{e}; taps wait and try again"));
                None
            }
        }
    }
}
