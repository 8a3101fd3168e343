//! What answers about the audit topic and its ends lead to: it is created, opened, found to be another one (see
//! [`logs`](super::logs)), or found to be read as far as it goes.
//!
//! How far it was read is told in the brokers' time, and a record read says by how much our clock is ahead of that. Who shares a
//! topic may have partitions without any record: then what others told before we asked for the ends is the time that the
//! brokers' clock had certainly passed. What is appended after the question is appended later than that.

use std::time::Instant;

use chaperone_collector::AuditThrough;

use super::Reader;
use crate::intake::open::Open;
use crate::kafka::asker::Answer;
use crate::kafka::context::Plain;
use crate::kafka::stall::Broken;
use crate::kafka::topic::Creator;

/// A time that the brokers' clock had passed when ours showed `known_ms`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    known_ms: i64,
    broker_ms: i64,
}

/// Whether brokers' time is known by what others told.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Never,
    By(Option<Passed>),
}

impl Reader {
    pub(super) fn answer(&mut self, answer: &Answer) -> Result<(), String> {
        let topic = self.settings.audit.topic.clone();
        if answer.absent.contains(&topic) {
            self.create_topic();
            return Ok(());
        }
        let Some(partitions) = answer.topics.get(&topic).copied() else { return Ok(()) };
        self.shared.problems.clear(&self.key("create"));
        self.stop_saying(Instant::now());
        if self.suspicion.is_raised() {
            return Ok(());
        }
        self.divide(partitions);
        if !self.open.is_empty() && !self.is_ours(answer, partitions) {
            return Ok(());
        }
        let new = (0..partitions).any(|p| self.is_mine(p) && !self.open.contains_key(&p));
        if new {
            self.apply(true);
            let waits = self.resume_at.is_some_and(|at| Instant::now() < at);
            return if waits { Ok(()) } else { self.open_all(partitions) };
        }
        self.note_positions();
        for (tp, end) in &answer.ends {
            // An end before what had been read is of another log.
            let short = answer.floors.get(tp).is_some_and(|floor| end < floor);
            if let Some(open) = self.open.get_mut(&tp.1).filter(|_| !short) {
                open.answer(answer.asked_ms, *end);
            }
        }
        self.watch();
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

    /// Takes note of what is ours. Where that has changed, all is read anew from where the store stands.
    fn divide(&mut self, partitions: i32) {
        let now = self.shared.share.borrow().part(&self.settings.source());
        if now != self.part {
            self.apply(true);
            self.shut(None);
            self.part = now;
        }
        if !(0..partitions).any(|p| self.is_mine(p)) {
            // More collectors than partitions: a spare one has nothing to say.
            self.shared.problems.clear(&self.key("read"));
        }
    }

    pub(super) fn is_mine(&self, partition: i32) -> bool {
        self.part.holds(&self.settings.source(), partition)
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

    /// Tells the store up to which broker time everything has been applied.
    fn tell_through(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        // A partition without records of its own is taken to be as far off as the worst of the others.
        let worst = self.open.values().filter_map(|o| o.skew().ms(now_ms)).max();
        let guess = if worst.is_none() && self.part.is_shared() { Guess::By(self.passed) } else { Guess::Never };
        let mut through = Vec::new();
        for open in self.open.values_mut() {
            let (next, source) = (Some(open.stands_at()), open.source().clone());
            let Some(reached_ms) = open.through_ms() else { continue };
            let ahead_ms = open.skew().ms(now_ms).or(worst).unwrap_or(0);
            let through_ms = match guess {
                Guess::Never => reached_ms.saturating_sub(ahead_ms),
                Guess::By(Some(passed)) if passed.known_ms <= reached_ms => passed.broker_ms,
                Guess::By(_) => continue,
            };
            through.push(AuditThrough { source, next, through_ms });
        }
        if matches!(guess, Guess::By(_)) {
            self.ask_what_passed();
        }
        if through.is_empty() {
            return;
        }
        if let Err(e) = self.shared.runtime.block_on(self.shared.store.audit_through(through)) {
            self.shut(Some(&e));
        }
    }
    /// The latest broker time that anybody told of this topic.
    fn ask_what_passed(&mut self) {
        let (cluster, topic) = (&self.settings.cluster.name, &self.settings.audit.topic);
        let Ok(stands) = self.shared.runtime.block_on(self.shared.store.audit_stands(cluster, topic)) else { return };
        let told = stands.iter().filter(|stand| !stand.closed).filter_map(|stand| stand.through_ms).max();
        self.passed = told.map(|broker_ms| Passed { known_ms: self.shared.clock.now_ms(), broker_ms });
    }
}
