//! The thread of an intake: find or create the topic, read all its partitions, apply.
//!
//! The store decides where to read. After any fault of the store everything read and not applied is dropped, reading
//! pauses, and begins again from where the store stands: one way back for a full disk, a locked database, another
//! collector at work, a topic that was made anew and a batch that cannot be read.
//!
//! Where several collectors share a store, each reads its [part](crate::share) of the partitions.
//!
//! It reads without a group: nobody commits, so a group would show nothing; and librdkafka 2.12 ends the whole process by
//! an assertion when a topic is deleted while partitions of it are assigned to a member of a group.

mod answers;
mod corrupt;
mod logs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaperone_collector::{Item, StoreError, TopicPattern};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, Timestamp};
use uuid::Uuid;

use super::decode::decode;
use super::open::Open;
use super::skew::Skew;
use super::{ASK_EVERY, Settings};
use crate::config::Isolation;
use crate::exit::{Code, Failure};
use crate::ffi::batch::{Arrived, Fetched};
use crate::ffi::{Alone, Lane};
use crate::kafka::asker::Asker;
use crate::kafka::context::Plain;
use crate::kafka::corrupt::{Suspicion, is_corrupt};
use crate::kafka::refusal;
use crate::kafka::stall::Broken;
use crate::kafka::topic::Creator;
use crate::kafka::wanted::Wanted;
use crate::kafka::{close, create, lone_consumer};
use crate::metrics::meters::IntakeMeter;
use crate::share::Part;
use crate::tap::Shared;
use answers::Passed;

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
    Broken(Broken),
}

/// See the module's head.
pub struct Reader {
    settings: Settings,
    shared: Shared,
    consumer: Alone<Plain>,
    asker: Asker,
    creator: Option<Creator>,
    open: BTreeMap<i32, Open>,
    /// Skews outlive what they were seen on.
    skews: BTreeMap<i32, Skew>,
    /// Not before this after a fault of the store.
    resume_at: Option<Instant>,
    back_off: Duration,
    create_time_noted: bool,
    /// The topic that is read, where brokers have ids.
    topic_id: Option<Uuid>,
    /// How often in a row a partition ended before what had been read of it.
    short: BTreeMap<i32, u32>,
    /// What was said of partitions of which something is lost, and until when.
    said: BTreeMap<i32, Instant>,
    suspicion: Suspicion,
    meter: IntakeMeter,
    /// Which partitions are ours.
    part: Part,
    /// What the brokers' clock had passed, and when we knew it: see [`answers`].
    passed: Option<Passed>,
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
        // Uncommitted: reports are idempotent, and nobody's open transaction may hold them up.
        let consumer = create(cluster, &lone_consumer(cluster, "intake", Isolation::ReadUncommitted), plain)?;
        let failed = |e| Failure::new(Code::Software, format!("kafka.{}: cannot read: {e}", cluster.name));
        let reader = Self {
            consumer: Alone::apart(consumer).map_err(failed)?,
            asker: Asker::start(cluster, wanted, Arc::clone(&shared.clock), &shared.problems, ASK_EVERY)?,
            creator: None,
            open: BTreeMap::new(),
            skews: BTreeMap::new(),
            resume_at: None,
            back_off: BACK_OFF,
            create_time_noted: false,
            topic_id: None,
            short: BTreeMap::new(),
            said: BTreeMap::new(),
            suspicion: Suspicion::default(),
            part: shared.share.borrow().part(&settings.source()),
            passed: None,
            meter: shared.meters.intake(&cluster.name, topic),
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
                break Ended::Broken(why);
            }
        };
        self.apply(true);
        close(&format!("intake-{}", self.settings.cluster.name), self.consumer);
        ended
    }

    fn key(&self, what: &str) -> String {
        format!("intake {} {what}", self.settings.cluster.name)
    }

    /// Its client stops fetching, and nobody is told.
    #[cfg(test)]
    pub(crate) fn stand_still(&self) {
        self.consumer.pause().expect("paused");
    }

    pub(crate) fn turn(&mut self) -> Result<(), Broken> {
        self.read()?;
        self.apply(false);
        for answer in self.asker.take() {
            self.answer(&answer)?;
            self.notice_stall(Instant::now())?;
        }
        Ok(())
    }

    // Reading.

    fn read(&mut self) -> Result<(), String> {
        if self.look_for_corrupt()? {
            return Ok(());
        }
        let settling = self.open.values().any(|o| !o.is_fresh());
        if settling {
            self.note_positions();
        }
        if let Some(Err(e)) = self.consumer.poll(Duration::ZERO) {
            if matches!(e, KafkaError::MessageConsumptionFatal(_)) {
                return Err(format!("fatal: {}", refusal::code_of(&e)));
            }
            self.refused(refusal::code_of(&e), false);
        }
        for (code, offset) in self.take(if settling { Duration::from_millis(1) } else { POLL }) {
            self.refused(code, offset.is_some());
        }
        Ok(())
    }

    /// Takes what is there; returns the errors in it, and the offset that each is about.
    fn take(&mut self, wait: Duration) -> Vec<(RDKafkaErrorCode, Option<i64>)> {
        let Self { consumer, open, settings, shared, create_time_noted, .. } = self;
        let mut refused = Vec::new();
        let Some(mut batch) = consumer.batch(&[(Lane::First, wait)], BURST) else { return refused };
        while let Some(arrived) = batch.next() {
            let record = match arrived {
                Arrived::Message(record) => record,
                Arrived::Refused { code, offset, .. } => {
                    refused.push((code, offset));
                    if is_corrupt(code) {
                        // What follows may come from anywhere.
                        break;
                    }
                    continue;
                }
            };
            let received_ms = shared.clock.now_ms();
            let Some(open) = open.get_mut(&record.partition()) else { continue };
            if matches!(record.timestamp(), Timestamp::CreateTime(_)) && !*create_time_noted {
                *create_time_noted = true;
                tracing::warn!(
                    cluster = settings.cluster.name,
                    "audit topic '{}' has CreateTime: broker clocks cannot be compared; set message.timestamp.type=LogAppendTime",
                    settings.audit.topic
                );
            }
            open.push(item(record, received_ms, settings), record.payload().map_or(0, <[u8]>::len), Instant::now());
        }
        refused
    }

    fn refused(&mut self, code: RDKafkaErrorCode, at_offset: bool) {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => self.asker.interest.probe.store(true, Ordering::SeqCst),
            // The next answer finds where the log begins and ends, and says what is gone.
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => self.shut(None),
            _ if is_corrupt(code) => self.suspect(),
            // Positions cannot be believed after it; see `kafka::position`.
            _ if at_offset => self.shut(None),
            _ => tracing::debug!(cluster = self.settings.cluster.name, "intake: {code}"),
        }
    }

    fn note_positions(&mut self) {
        let Ok(positions) = self.consumer.positions() else { return };
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
        let bytes = open.bytes();
        let Some(batch) = open.batch() else { return true };
        let (next, began) = (batch.next, Instant::now());
        match self.shared.runtime.block_on(self.shared.store.apply(batch)) {
            Ok(applied) => {
                self.meter.applied(applied, bytes, began.elapsed());
                open.applied(next);
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
        if let Err(e) = self.consumer.stop() {
            tracing::debug!("stop: {e}");
        }
        match fault {
            None => {}
            Some(e @ (StoreError::Moved { .. } | StoreError::Former { .. })) => tracing::warn!("{e}"),
            Some(e) => {
                self.meter.refused();
                let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
                let sentence = format!("{e}{advice}; intake waits, Kafka keeps the reports, and it goes on by itself");
                self.shared.problems.set(self.key("store"), sentence);
                self.resume_at = Some(Instant::now() + self.back_off);
                self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

fn item(record: &Fetched, received_ms: i64, settings: &Settings) -> Item {
    let append_ms = match record.timestamp() {
        Timestamp::LogAppendTime(ms) if ms >= 0 => ms,
        _ => received_ms,
    };
    Item { offset: record.offset(), append_ms, received_ms, content: decode(record.payload(), &settings.audit) }
}
