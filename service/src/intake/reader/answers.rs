//! What answers about the audit topic and its ends lead to: it is created, opened, found to be another one, or found to
//! be read as far as it goes.

use std::collections::BTreeMap;
use std::time::Instant;

use chaperone_collector::AuditPartition;
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::Reader;
use crate::intake::open::Open;
use crate::kafka::asker::{Answer, Tp};
use crate::kafka::context::Plain;
use crate::kafka::stall::Broken;
use crate::kafka::topic::Creator;

impl Reader {
    pub(super) fn answer(&mut self, answer: &Answer) -> Result<(), String> {
        let topic = self.settings.audit.topic.clone();
        if answer.absent.contains(&topic) {
            self.create_topic();
            return Ok(());
        }
        let Some(partitions) = answer.topics.get(&topic).copied() else { return Ok(()) };
        self.shared.problems.clear(&self.key("create"));
        let new = (0..partitions).any(|p| !self.open.contains_key(&p));
        if new {
            self.apply(true);
            let waits = self.resume_at.is_some_and(|at| Instant::now() < at);
            return if waits { Ok(()) } else { self.open_all(partitions) };
        }
        self.note_positions();
        for ((_, partition), end) in &answer.ends {
            if let Some(open) = self.open.get_mut(partition) {
                open.answer(answer.asked_ms, *end);
            }
        }
        self.notice_other_log(answer);
        // Everything that was read lies below the ends that were reached: apply it before saying so.
        self.apply(true);
        self.tell_through();
        Ok(())
    }

    /// See [`Stall`](crate::kafka::stall::Stall).
    pub(super) fn notice_stall(&self, now: Instant) -> Result<(), Broken> {
        let behind = self.open.values().map(Open::behind).fold(0, u64::saturating_add);
        self.meter.stands(self.open.len(), behind);
        if !self.open.is_empty() && self.open.values().all(|o| !o.stall().lasts()) {
            self.shared.problems.clear(&self.key("stalled"));
        }
        let patience = self.settings.stall_patience;
        match self.open.iter().find(|(_, o)| o.stall().is_stalled(now, patience)) {
            Some((partition, _)) => Err(Broken::Stalled(format!(
                "{}/{partition} was behind and did not move for {} s",
                self.settings.audit.topic,
                patience.as_secs()
            ))),
            None => Ok(()),
        }
    }

    fn create_topic(&mut self) {
        let (cluster, audit) = (&self.settings.cluster, &self.settings.audit);
        let key = self.key("create");
        if !audit.create {
            let sentence = format!(
                "kafka.{0}: audit topic '{1}' does not exist and kafka.{0}.audit.create is false",
                cluster.name, audit.topic
            );
            self.shared.problems.set(key, sentence);
            return;
        }
        if self.creator.is_none() {
            let plain = Plain::new(&cluster.name, "create", &self.shared.problems);
            match Creator::new(cluster, plain) {
                Ok(creator) => self.creator = Some(creator),
                Err(failure) => return self.shared.problems.set(key, failure.message),
            }
        }
        let Some(creator) = &self.creator else { return };
        match self.shared.runtime.block_on(creator.create(&cluster.name, audit)) {
            Ok(()) => {
                tracing::info!(cluster = cluster.name, topic = audit.topic, "created the audit topic");
                self.creator = None;
            }
            Err(sentence) => self.shared.problems.set(key, sentence),
        }
    }

    /// Reads all partitions from where the store stands.
    fn open_all(&mut self, partitions: i32) -> Result<(), String> {
        let (cluster, topic) = (self.settings.cluster.name.clone(), self.settings.audit.topic.clone());
        let tps: Vec<Tp> = (0..partitions).map(|p| (topic.clone(), p)).collect();
        let stands = match self.shared.runtime.block_on(self.shared.store.audit_next(&cluster, &topic)) {
            Ok(stands) => stands.into_iter().collect::<BTreeMap<i32, i64>>(),
            Err(e) => {
                self.shut(Some(&e));
                return Ok(());
            }
        };
        let client = &self.asker.client;
        let Ok((starts, ends)) = client.starts(&tps).and_then(|s| Ok((s, client.ends(&tps)?))) else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        let mut open = BTreeMap::new();
        for tp in tps {
            let (Some(start), Some(end)) = (starts.get(&tp), ends.get(&tp)) else { continue };
            let from = self.read_from(tp.1, stands.get(&tp.1).copied(), *start, *end);
            list.add_partition_offset(&topic, tp.1, Offset::Offset(from)).map_err(|e| format!("assign: {e}"))?;
            let source = AuditPartition { cluster: cluster.clone(), topic: topic.clone(), partition: tp.1 };
            let skew = self.open.get(&tp.1).map(|o| o.skew().clone()).or_else(|| self.skews.remove(&tp.1));
            open.insert(tp.1, Open::new(source, from, skew.unwrap_or_default()));
        }
        if open.is_empty() {
            return Ok(());
        }
        self.open = open;
        self.resume_at = None;
        self.consumer.assign(&list).map_err(|e| format!("assign: {e}"))?;
        self.watch();
        tracing::info!(cluster, topic, partitions = self.open.len(), "reading the audit topic");
        self.shared.problems.clear(&self.key("read"));
        Ok(())
    }

    fn read_from(&mut self, partition: i32, stands: Option<i64>, start: i64, end: i64) -> i64 {
        let next = stands.unwrap_or(0);
        if end < next {
            self.ignored_below.insert(partition, next);
            self.say_other_log(partition, next, end);
            return start;
        }
        if start > next && stands.is_some_and(|s| s > 0) {
            tracing::error!(
                cluster = self.settings.cluster.name,
                topic = self.settings.audit.topic,
                partition,
                "reports {next} to {start} were deleted before they were read; slots that change again and taps repair what they can"
            );
        }
        start.max(next)
    }

    fn watch(&self) {
        let topic = &self.settings.audit.topic;
        let watched = self.open.iter().map(|(p, o)| ((topic.clone(), *p), o.read_to())).collect();
        *self.asker.interest.partitions.lock() = watched;
    }

    /// An end below what had been read before the question, twice in a row: the topic was deleted and made anew.
    fn notice_other_log(&mut self, answer: &Answer) {
        let mut other = false;
        for (tp, end) in &answer.ends {
            let floor = answer.floors.get(tp).copied().unwrap_or(0);
            let short = self.short.entry(tp.1).or_default();
            *short = if *end < floor { *short + 1 } else { 0 };
            other |= *short >= 2;
        }
        self.watch();
        if other {
            self.short.clear();
            self.shut(None);
        }
    }

    fn say_other_log(&self, partition: i32, next: i64, end: i64) {
        let (cluster, topic) = (&self.settings.cluster.name, &self.settings.audit.topic);
        self.shared.problems.set(
            self.key(&format!("other log {partition}")),
            format!(
                "kafka.{cluster}: audit topic '{topic}' partition {partition} ends at {end} and was read up to {next}: it was deleted and made anew; its reports do not count until it passes {next}; give the new one another name"
            ),
        );
    }

    /// Tells the store up to which broker time everything has been applied.
    fn tell_through(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        // A partition without records of its own is taken to be as far off as the worst of the others.
        let worst = self.open.values().filter_map(|o| o.skew().ms(now_ms)).max().unwrap_or(0);
        let mut through = Vec::new();
        for open in self.open.values_mut() {
            if let Some(reached_ms) = open.through_ms() {
                let ahead_ms = open.skew().ms(now_ms).unwrap_or(worst);
                through.push((open.source().clone(), reached_ms.saturating_sub(ahead_ms)));
            }
        }
        if through.is_empty() {
            return;
        }
        if let Err(e) = self.shared.runtime.block_on(self.shared.store.audit_through(through)) {
            self.shut(Some(&e));
        }
    }
}
