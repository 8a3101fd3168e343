//! The thread of a tap: poll, count, report; do what the group says; notice fences, holes and lost logs.
//!
//! It blocks for at most one poll, one claim or one question at a time, all bounded. Limits: [`QUEUED_WINDOWS_MAX`]
//! windows wait for the audit topic, then reading pauses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaperone_audit::wire::{AuditMessage, End, PartitionMark, TopicMark};
use chaperone_collector::query::PartitionState;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::claims::{Candidate, Claims, STORE_KEY};
use super::partition::{Counted, Partition};
use super::report::Reporting;
use super::sender::Sender;
use super::{HEARTBEAT_LARGE, MANY_PARTITIONS, Settings, Shared};
use crate::config::Isolation;
use crate::exit::Failure;
use crate::kafka::asker::{Answer, Asker, Tp, Wanted, read_key};
use crate::kafka::context::{Member, Plain, Rebalance};
use crate::kafka::message::look;
use crate::kafka::refusal::{self, Need};
use crate::kafka::{close, create, tap_consumer};

/// Windows that may wait for the audit topic before reading pauses.
const QUEUED_WINDOWS_MAX: usize = 20_000;
/// Messages counted between two looks at everything else.
const BURST: usize = 1_000;
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(50);
/// How long the last reports may take, at a revocation or at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);
/// A reader that is behind and does not move for this long gets a new consumer (C5).
const STALL_PATIENCE: Duration = Duration::from_secs(60);

/// A topic that was not seen for this long is unsubscribed.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How a worker ended.
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its consumer is of no more use.
    Failed(String),
}

/// See the module's head.
pub struct Worker {
    settings: Settings,
    shared: Shared,
    consumer: BaseConsumer<Member>,
    asker: Asker,
    sender: Sender,
    reporting: Reporting,
    claims: Claims,
    owned: HashMap<String, BTreeMap<i32, Partition>>,
    /// Topics of the last answer.
    topics: BTreeMap<String, i32>,
    topics_asked_ms: i64,
    /// Wanted topics that do not exist.
    absent: Vec<String>,
    /// Topics that we are subscribed to, and when each was last seen.
    subscribed: BTreeMap<String, Instant>,
    /// Reports under way: which partition's interval each is; heartbeats are not kept.
    sent: HashMap<u64, Tp>,
    next_id: u64,
    beat_at: Instant,
    paused: bool,
}

impl Worker {
    /// Makes the clients; connects later.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, shared: &Shared) -> Result<Self, Failure> {
        let cluster = &settings.cluster;
        let context = Member::new(Plain::new(&cluster.name, "tap", &shared.problems));
        let config = tap_consumer(cluster, &settings.tap.group, settings.tap.isolation);
        let wanted = Wanted { topics: settings.tap.topics.clone(), excluded: settings.excluded.clone() };
        let period = settings.heartbeat / 2;
        let reporting = Reporting::new(&settings.tap.stage, &cluster.name, &cluster.datacenter);
        Ok(Self {
            consumer: create(cluster, &config, context)?,
            asker: Asker::start(cluster, wanted, Arc::clone(&shared.clock), &shared.problems, period)?,
            sender: Sender::new(&settings.audit_cluster, &settings.audit.topic, &shared.problems)?,
            claims: Claims::new(reporting.incarnation()),
            reporting,
            settings: settings.clone(),
            shared: shared.clone(),
            owned: HashMap::new(),
            topics: BTreeMap::new(),
            topics_asked_ms: 0,
            absent: Vec::new(),
            subscribed: BTreeMap::new(),
            sent: HashMap::new(),
            next_id: 0,
            beat_at: Instant::now(),
            paused: false,
        })
    }

    /// Works until `stop`.
    pub fn run(mut self, stop: &AtomicBool) -> Ended {
        let ended = loop {
            if stop.load(Ordering::SeqCst) {
                break Ended::Stopped;
            }
            if let Err(why) = self.turn() {
                break Ended::Failed(why);
            }
        };
        self.finish();
        ended
    }

    fn turn(&mut self) -> Result<(), String> {
        self.read()?;
        for said in self.consumer.context().take() {
            self.rebalance(said)?;
        }
        for answer in self.asker.take() {
            self.answer(answer)?;
        }
        self.serve_claims()?;
        self.note_deliveries();
        let now = Instant::now();
        if now >= self.beat_at {
            self.beat(now)?;
        }
        self.balance_queues()
    }

    // Reading.

    /// Counts what is there, up to a burst; waits a moment if nothing is.
    fn read(&mut self) -> Result<(), String> {
        // While positions of an earlier assignment may still show, look at them between any two polls.
        let settling = self.partitions().any(|p| !p.is_fresh());
        if settling {
            self.note_positions();
        }
        let first_wait = if settling { Duration::from_millis(1) } else { POLL };
        for turn in 0..BURST {
            let wait = if turn == 0 { first_wait } else { Duration::ZERO };
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let found = deliver(&mut self.owned, &self.settings, &self.shared, &message);
                    if let Some(tp) = found {
                        drop(message);
                        self.other_log(tp)?;
                        break;
                    }
                }
                Some(Err(e)) => self.consumer_error(&e)?,
            }
        }
        Ok(())
    }

    fn consumer_error(&self, e: &KafkaError) -> Result<(), String> {
        let code = refusal::code_of(e);
        let cluster = &self.settings.cluster.name;
        match code {
            _ if matches!(e, KafkaError::MessageConsumptionFatal(_)) => return Err(format!("fatal: {code}")),
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                let need = Need::ReadGroup(self.settings.tap.group.clone());
                self.shared.problems.set(self.group_key(), refusal::sentence(cluster, &need, code));
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => self.asker.interest.probe.store(true, Ordering::SeqCst),
            // A position outside its log: the next answer shows which.
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                self.asker.interest.starts.store(true, Ordering::SeqCst);
            }
            _ => tracing::debug!(cluster, "consumer: {code}"),
        }
        Ok(())
    }

    fn group_key(&self) -> String {
        format!("kafka.{} group", self.settings.cluster.name)
    }

    fn note_positions(&mut self) {
        let Ok(positions) = self.consumer.position() else { return };
        for element in positions.elements() {
            let of_topic = self.owned.get_mut(element.topic());
            let Some(partition) = of_topic.and_then(|t| t.get_mut(&element.partition())) else { continue };
            partition.position(match element.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            });
        }
    }

    // Ownership.

    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.owned.values().flat_map(BTreeMap::values)
    }

    fn rebalance(&mut self, said: Rebalance) -> Result<(), String> {
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
                self.consumer.unassign().map_err(|e| format!("unassign: {e}"))
            }
        }
    }

    /// Tells the consumer what to read and from where: all of it, since the group's protocol is eager.
    fn assign(&mut self) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in &mut self.owned {
            for (number, partition) in partitions {
                partition.assigned();
                list.add_partition_offset(topic, *number, Offset::Offset(partition.start()))
                    .map_err(|e| format!("assign {topic}/{number}: {e}"))?;
            }
        }
        self.consumer.assign(&list).map_err(|e| format!("assign: {e}"))?;
        if std::mem::take(&mut self.paused) {
            self.consumer.resume(&list).map_err(|e| format!("resume: {e}"))?;
        }
        self.watch();
        Ok(())
    }

    /// Tells the asker whose ends to ask for, and how far each has been read.
    fn watch(&self) {
        let each =
            self.owned.iter().flat_map(|(topic, ps)| ps.iter().map(move |(n, p)| ((topic.clone(), *n), p.next())));
        *self.asker.interest.partitions.lock() = each.collect();
    }

    fn serve_claims(&mut self) -> Result<(), String> {
        let granted = self.claims.serve(Instant::now(), &self.asker.client, &self.settings, &self.shared);
        if granted.is_empty() {
            return Ok(());
        }
        for ((topic, number), partition) in granted {
            self.owned.entry(topic).or_default().insert(number, partition);
        }
        self.assign()
    }

    /// Gives up a claim that is of no more use and asks for another.
    fn drop_claim(&mut self, (topic, number): Tp, candidate: Candidate) {
        if let Some(partitions) = self.owned.get_mut(&topic) {
            partitions.remove(&number);
        }
        self.sent.retain(|_, tp| (tp.0.as_str(), tp.1) != (topic.as_str(), number));
        self.claims.add((topic, number), candidate);
    }

    fn other_log(&mut self, tp: Tp) -> Result<(), String> {
        tracing::error!(topic = tp.0, partition = tp.1, "the log was truncated or re-created; a new one begins");
        self.drop_claim(tp, Candidate::other_log());
        self.assign()
    }

    // Answers about ends and topics.

    fn answer(&mut self, answer: Answer) -> Result<(), String> {
        self.claims.look(&answer);
        if answer.absent != self.absent {
            for topic in &answer.absent {
                tracing::warn!(cluster = self.settings.cluster.name, topic, "does not exist yet; it is waited for");
            }
            self.absent = answer.absent;
        }
        self.topics_asked_ms = answer.asked_ms;
        self.topics = answer.topics;
        self.subscribe()?;
        let mut lost = Vec::new();
        let mut moved = false;
        for (topic, partitions) in &mut self.owned {
            for (number, partition) in partitions {
                let tp = (topic.clone(), *number);
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
        for tp in lost {
            self.other_log(tp)?;
        }
        if moved { self.assign() } else { Ok(()) }
    }

    /// Follows the topics that there are. One that is missing from an answer is kept for a while: every change of the
    /// subscription is a rebalance for all taps of the group.
    fn subscribe(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let before = self.subscribed.len();
        self.subscribed.retain(|_, seen| now.saturating_duration_since(*seen) < FORGET_AFTER);
        let mut changed = self.subscribed.len() != before;
        for topic in self.topics.keys() {
            changed |= self.subscribed.insert(topic.clone(), now).is_none();
        }
        if !changed {
            return Ok(());
        }
        let names: Vec<&str> = self.subscribed.keys().map(String::as_str).collect();
        tracing::info!(cluster = self.settings.cluster.name, topics = names.len(), "subscribing");
        if names.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        self.consumer.subscribe(&names).map_err(|e| format!("subscribe: {e}"))
    }

    // Reporting.

    fn beat(&mut self, now: Instant) -> Result<(), String> {
        self.note_positions();
        let mut busy = 0;
        for partition in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            partition.cut();
            busy += usize::from(partition.take_traffic());
        }
        self.send_intervals(now);
        let marks = self.idle_marks(now);
        self.send_heartbeat(&marks, None);
        let period = if busy > MANY_PARTITIONS { HEARTBEAT_LARGE } else { self.settings.heartbeat };
        self.beat_at = now + period;
        let ask_ms = u64::try_from(period.as_millis() / 2).unwrap_or(1_000);
        self.asker.interest.period_ms.store(ask_ms, Ordering::Relaxed);
        self.compare_with_store()?;
        self.watch();
        self.notice_stall(now)
    }

    /// A lost wake-up inside the client looks like this; a topic that refuses us does too, and a new client would not
    /// help.
    fn notice_stall(&self, now: Instant) -> Result<(), String> {
        let cluster = &self.settings.cluster.name;
        for (topic, partitions) in &self.owned {
            let stalled = partitions.iter().find(|(_, p)| p.is_stalled(now, STALL_PATIENCE));
            let Some((number, _)) = stalled.filter(|_| !self.paused) else { continue };
            if !self.shared.problems.has(&read_key(cluster, topic)) {
                let seconds = STALL_PATIENCE.as_secs();
                return Err(format!("{topic}/{number} is behind and has not moved for {seconds} s"));
            }
        }
        Ok(())
    }

    /// One interval of each partition leaves, with the partition's mark if no other waits behind it.
    fn send_intervals(&mut self, now: Instant) {
        let sent_ms = self.shared.clock.now_ms();
        for (topic, partitions) in &mut self.owned {
            for (number, partition) in partitions {
                let id = self.next_id;
                let Some((interval, last)) = partition.depart(id, now) else { continue };
                self.next_id += 1;
                let mark = if last { partition.mark(now) } else { None };
                let message = self.reporting.interval(sent_ms, interval, mark);
                // The data partition is the key: its intervals stay in order on one audit partition.
                if send(&mut self.sender, id, &format!("{topic}/{number}"), &message) {
                    self.sent.insert(id, (topic.clone(), *number));
                } else {
                    partition.returned(id, now);
                }
            }
        }
    }

    fn idle_marks(&mut self, now: Instant) -> Vec<PartitionMark> {
        let partitions = self.owned.values_mut().flat_map(BTreeMap::values_mut);
        partitions.filter(|p| p.is_settled()).filter_map(|p| p.mark(now)).collect()
    }

    fn send_heartbeat(&mut self, marks: &[PartitionMark], end: Option<End>) {
        let asked_ms = self.topics_asked_ms;
        let topic_mark = |(topic, n): (&String, &i32)| TopicMark { topic: topic.clone(), partitions: *n, asked_ms };
        let topics: Vec<TopicMark> = self.topics.iter().map(topic_mark).collect();
        let key = self.reporting.incarnation().to_string();
        for message in self.reporting.heartbeat(self.shared.clock.now_ms(), marks, &topics, end) {
            // A heartbeat that does not leave is followed by the next.
            let id = self.next_id;
            self.next_id += 1;
            send(&mut self.sender, id, &key, &message);
        }
    }

    fn note_deliveries(&mut self) {
        let now = Instant::now();
        for (id, result) in self.sender.poll() {
            self.delivered(id, result, now);
        }
    }

    fn delivered(&mut self, id: u64, result: Result<(i32, i64), RDKafkaErrorCode>, now: Instant) {
        let Some((topic, number)) = self.sent.remove(&id) else { return };
        let Some(partition) = self.owned.get_mut(&topic).and_then(|t| t.get_mut(&number)) else { return };
        match result {
            Ok((audit_partition, audit_offset)) => partition.arrived(id, audit_partition, audit_offset),
            Err(code) => {
                tracing::debug!(topic, partition = number, "report not delivered: {code}");
                partition.returned(id, now);
            }
        }
    }

    /// Too much waits for the audit topic: reading pauses until half of it has left.
    fn balance_queues(&mut self) -> Result<(), String> {
        let queued: usize = self.partitions().map(Partition::queued_windows).sum();
        if queued > 0 {
            self.send_intervals(Instant::now());
        }
        let pause = if self.paused { queued > QUEUED_WINDOWS_MAX / 2 } else { queued > QUEUED_WINDOWS_MAX };
        if pause == self.paused {
            return Ok(());
        }
        let all = self.consumer.assignment().map_err(|e| format!("assignment: {e}"))?;
        let done = if pause { self.consumer.pause(&all) } else { self.consumer.resume(&all) };
        done.map_err(|e| format!("pause or resume: {e}"))?;
        tracing::warn!(cluster = self.settings.cluster.name, pause, queued, "reports wait for the audit topic");
        self.paused = pause;
        Ok(())
    }

    // The store's view.

    /// Fenced partitions are dropped; an interval that intake has passed without applying it is a hole, and what was not
    /// applied is read again.
    fn compare_with_store(&mut self) -> Result<(), String> {
        let Some((passed, states)) = self.ask_store() else { return Ok(()) };
        let states: BTreeMap<(&str, i32), &PartitionState> =
            states.iter().map(|s| ((s.topic.as_str(), s.partition), s)).collect();
        self.claims.heartbeat(&states);
        let mut dropped = Vec::new();
        for (topic, partitions) in &self.owned {
            for (number, partition) in partitions {
                let Some(state) = states.get(&(topic.as_str(), *number)) else { continue };
                let lost = partition.acked().is_some_and(|a| {
                    a.to > state.next && passed.get(&a.audit_partition).is_some_and(|next| *next > a.audit_offset)
                });
                if state.epoch > partition.epoch() {
                    dropped.push(((topic.clone(), *number), Candidate::fenced((*state).clone())));
                } else if lost {
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
    fn ask_store(&self) -> Option<(HashMap<i32, i64>, Vec<PartitionState>)> {
        let store = &self.shared.store;
        let (cluster, topic) = (&self.settings.audit_cluster.name, &self.settings.audit.topic);
        let answered = self.shared.runtime.block_on(async {
            let passed = store.audit_next(cluster, topic).await?;
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

    // The end.

    /// Sends what was counted, as far as it goes within the deadline. What does not get through is read again by
    /// whoever claims next.
    fn hand_over(&mut self) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        self.note_positions();
        for partition in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            partition.cut();
        }
        while self.partitions().any(|p| !p.is_settled()) && Instant::now() < deadline {
            self.send_intervals(Instant::now());
            let left = deadline.saturating_duration_since(Instant::now());
            let now = Instant::now();
            for (id, result) in self.sender.flush(left.min(Duration::from_millis(200))) {
                self.delivered(id, result, now);
            }
        }
    }

    fn finish(mut self) {
        self.hand_over();
        let marks = self.idle_marks(Instant::now());
        self.send_heartbeat(&marks, Some(End::Clean));
        self.sender.flush(FLUSH_DEADLINE);
        self.consumer.context().closing();
        if let Err(e) = self.consumer.unassign() {
            tracing::debug!("unassign at the end: {e}");
        }
        close(&format!("tap-{}", self.settings.cluster.name), self.consumer);
    }
}

fn send(sender: &mut Sender, id: u64, key: &str, message: &AuditMessage) -> bool {
    match message.encode() {
        Ok(payload) => sender.send(id, key, &payload),
        Err(e) => {
            tracing::error!("a report cannot be written: {e}");
            false
        }
    }
}

/// Counts a message; returns its partition if it proves that the log is another one.
fn deliver(
    owned: &mut HashMap<String, BTreeMap<i32, Partition>>,
    settings: &Settings,
    shared: &Shared,
    message: &BorrowedMessage<'_>,
) -> Option<Tp> {
    let partition = owned.get_mut(message.topic())?.get_mut(&message.partition())?;
    let seen = look(message, &settings.rule, shared.clock.now_ms());
    match partition.deliver(&seen) {
        Counted::Yes | Counted::No => None,
        Counted::OtherLog => Some((message.topic().to_owned(), message.partition())),
    }
}
