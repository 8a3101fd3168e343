//! The thread of an intake: find or create the topic, read all its partitions, apply.
//!
//! The store decides where to read. After any fault of the store everything read and not applied is dropped, reading
//! pauses, and begins again from where the store stands: one way back for a full disk, a locked database and another
//! collector at work.

mod answers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaperone_collector::{Item, StoreError, TopicPattern};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, Timestamp};

use super::decode::decode;
use super::open::Open;
use super::skew::Skew;
use super::{ASK_EVERY, Settings};
use crate::exit::Failure;
use crate::kafka::asker::Asker;
use crate::kafka::context::Plain;
use crate::kafka::refusal;
use crate::kafka::stall::Broken;
use crate::kafka::topic::Creator;
use crate::kafka::wanted::Wanted;
use crate::kafka::{assigned_consumer, close, create};
use crate::metrics::meters::IntakeMeter;
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
    Broken(Broken),
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
    meter: IntakeMeter,
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
        let all = self.consumer.assignment().expect("an assignment");
        self.consumer.pause(&all).expect("paused");
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
        let bytes = open.bytes();
        let Some(batch) = open.batch() else { return true };
        let (next, began) = (batch.next, Instant::now());
        match self.shared.runtime.block_on(self.shared.store.apply(batch)) {
            Ok(applied) => {
                self.meter.applied(applied, bytes, began.elapsed());
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

fn item(record: &BorrowedMessage<'_>, received_ms: i64, settings: &Settings) -> Item {
    let append_ms = match record.timestamp() {
        Timestamp::LogAppendTime(ms) if ms >= 0 => ms,
        _ => received_ms,
    };
    Item { offset: record.offset(), append_ms, received_ms, content: decode(record.payload(), &settings.audit) }
}
