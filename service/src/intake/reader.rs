//! The thread of an intake: find or create the topic, read all its partitions, apply.
//!
//! The store decides where to read. After any fault of the store everything read and not applied is dropped, reading
//! pauses, and begins again from where the store stands: one way back for a full disk, a locked database and another
//! collector at work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaperone_collector::{AuditPartition, Item, StoreError, TopicPattern};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};

use super::decode::decode;
use super::open::Open;
use super::skew::Skew;
use super::{ASK_EVERY, Settings};
use crate::exit::Failure;
use crate::kafka::asker::{Answer, Asker, Tp};
use crate::kafka::context::Plain;
use crate::kafka::refusal;
use crate::kafka::topic::Creator;
use crate::kafka::wanted::Wanted;
use crate::kafka::{assigned_consumer, close, create};
use crate::tap::Shared;

/// How long a poll waits for a record.
const POLL: Duration = Duration::from_millis(50);
/// Records read between two looks at everything else.
const BURST: usize = 1_000;
/// Pause after the store's first fault; doubled with each, up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// How a reader ended.
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its consumer is of no more use.
    Failed(String),
}

/// See the module's head.
pub struct Reader {
    settings: Settings,
    shared: Shared,
    consumer: BaseConsumer<Plain>,
    asker: Asker,
    creator: Option<Creator>,
    open: BTreeMap<i32, Open>,
    /// Skews outlive what they were seen on.
    skews: BTreeMap<i32, Skew>,
    /// Not before this after a fault of the store.
    resume_at: Option<Instant>,
    back_off: Duration,
    create_time_noted: bool,
    short: BTreeMap<i32, u32>,
    /// Partitions that were made anew, and up to where the store ignores them.
    ignored_below: BTreeMap<i32, i64>,
}

impl Reader {
    /// Makes the clients; connects later.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, shared: &Shared) -> Result<Self, Failure> {
        let (cluster, topic) = (&settings.cluster, &settings.audit.topic);
        let plain = Plain::new(&cluster.name, "intake", &shared.problems);
        let wanted = Wanted { topics: vec![TopicPattern::Name(topic.clone())], ..Wanted::default() };
        let reader = Self {
            consumer: create(cluster, &assigned_consumer(cluster, "intake"), plain)?,
            asker: Asker::start(cluster, wanted, Arc::clone(&shared.clock), &shared.problems, ASK_EVERY)?,
            creator: None,
            open: BTreeMap::new(),
            skews: BTreeMap::new(),
            resume_at: None,
            back_off: BACK_OFF,
            create_time_noted: false,
            short: BTreeMap::new(),
            ignored_below: BTreeMap::new(),
            settings: settings.clone(),
            shared: shared.clone(),
        };
        let sentence = format!("kafka.{}: audit topic '{topic}' is not read yet", cluster.name);
        shared.problems.set(reader.key("read"), sentence);
        Ok(reader)
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
        self.apply(true);
        close(&format!("intake-{}", self.settings.cluster.name), self.consumer);
        ended
    }

    fn key(&self, what: &str) -> String {
        format!("intake {} {what}", self.settings.cluster.name)
    }

    fn turn(&mut self) -> Result<(), String> {
        self.read()?;
        self.apply(false);
        for answer in self.asker.take() {
            self.answer(&answer)?;
        }
        Ok(())
    }

    // Reading.

    fn read(&mut self) -> Result<(), String> {
        let settling = self.open.values().any(|o| !o.is_fresh());
        if settling {
            self.note_positions();
        }
        let first_wait = if settling { Duration::from_millis(1) } else { POLL };
        for turn in 0..BURST {
            let polled = self.consumer.poll(if turn == 0 { first_wait } else { Duration::ZERO });
            match polled {
                None => break,
                Some(Err(e)) => {
                    self.consumer_error(&e)?;
                    break;
                }
                Some(Ok(record)) => {
                    let received_ms = self.shared.clock.now_ms();
                    let Some(open) = self.open.get_mut(&record.partition()) else { continue };
                    if matches!(record.timestamp(), Timestamp::CreateTime(_)) && !self.create_time_noted {
                        self.create_time_noted = true;
                        tracing::warn!(
                            cluster = self.settings.cluster.name,
                            "audit topic '{}' has CreateTime: broker clocks cannot be compared; set message.timestamp.type=LogAppendTime",
                            self.settings.audit.topic
                        );
                    }
                    let item = item(&record, received_ms, &self.settings);
                    open.push(item, record.payload_len(), Instant::now());
                }
            }
        }
        Ok(())
    }

    fn consumer_error(&mut self, e: &KafkaError) -> Result<(), String> {
        let code = refusal::code_of(e);
        match code {
            _ if matches!(e, KafkaError::MessageConsumptionFatal(_)) => return Err(format!("fatal: {code}")),
            RDKafkaErrorCode::TopicAuthorizationFailed => self.asker.interest.probe.store(true, Ordering::SeqCst),
            // The next answer finds the log's start and says what is gone.
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => self.shut(None),
            // Nobody joins the group; whether we might does not matter.
            RDKafkaErrorCode::GroupAuthorizationFailed => {}
            _ => tracing::debug!(cluster = self.settings.cluster.name, "intake: {code}"),
        }
        Ok(())
    }

    fn note_positions(&mut self) {
        let Ok(positions) = self.consumer.position() else { return };
        for element in positions.elements() {
            let Some(open) = self.open.get_mut(&element.partition()) else { continue };
            open.position(match element.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            });
        }
    }

    // Applying.

    /// Applies what is due, or all of it.
    fn apply(&mut self, all: bool) {
        let now = Instant::now();
        let due: Vec<i32> = self.open.iter().filter(|(_, o)| all || o.is_due(now)).map(|(p, _)| *p).collect();
        for partition in due {
            if !self.apply_one(partition) {
                return;
            }
        }
    }

    fn apply_one(&mut self, partition: i32) -> bool {
        let Some(open) = self.open.get_mut(&partition) else { return true };
        let Some(batch) = open.batch() else { return true };
        let next = batch.next;
        match self.shared.runtime.block_on(self.shared.store.apply(batch)) {
            Ok(_) => {
                open.applied(next);
                if self.ignored_below.get(&partition).is_some_and(|below| next > *below) {
                    self.ignored_below.remove(&partition);
                    self.shared.problems.clear(&self.key(&format!("other log {partition}")));
                }
                self.back_off = BACK_OFF;
                self.shared.problems.clear(&self.key("store"));
                true
            }
            Err(e) => {
                self.shut(Some(&e));
                false
            }
        }
    }

    /// Stops reading and drops what was not applied; reading begins again from where the store stands.
    fn shut(&mut self, fault: Option<&StoreError>) {
        for (partition, open) in std::mem::take(&mut self.open) {
            self.skews.insert(partition, open.skew().clone());
        }
        self.asker.interest.partitions.lock().clear();
        if let Err(e) = self.consumer.unassign() {
            tracing::debug!("unassign: {e}");
        }
        match fault {
            None => {}
            Some(StoreError::Moved { .. }) => tracing::warn!("{}", fault.map(ToString::to_string).unwrap_or_default()),
            Some(e) => {
                self.shared.problems.set(self.key("store"), format!("{e}; intake waits and goes on by itself"));
                self.resume_at = Some(Instant::now() + self.back_off);
                self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }

    // Answers about the topic and its ends.

    fn answer(&mut self, answer: &Answer) -> Result<(), String> {
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

fn item(record: &BorrowedMessage<'_>, received_ms: i64, settings: &Settings) -> Item {
    let append_ms = match record.timestamp() {
        Timestamp::LogAppendTime(ms) if ms >= 0 => ms,
        _ => received_ms,
    };
    Item { offset: record.offset(), append_ms, received_ms, content: decode(record.payload(), &settings.audit) }
}
