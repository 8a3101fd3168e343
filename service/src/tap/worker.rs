//! The thread of a tap: poll, count, report; do what the group says; notice fences, holes and lost logs.
//!
//! It blocks for at most one poll, one claim or one question at a time, all bounded. Limits: `QUEUED_WINDOWS_MAX`
//! windows wait for the audit topic, then reading pauses.

mod corrupt;
mod ownership;
mod reports;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset};

use super::budget::Budget;
use super::claims::Claims;
use super::corrupt::is_corrupt;
use super::outlet::Outlet;
use super::partition::{Counted, Partition};
use super::reader::Reader;
use super::report::Reporting;
use super::{Membership, Settings, Shared};
use crate::exit::Failure;
use crate::kafka::asker::{Asker, Tp};
use crate::kafka::message::look;
use crate::kafka::refusal::{self, Need};
use crate::kafka::stall::Broken;
use crate::kafka::wanted::Wanted;
use crate::metrics::meters::TapMeter;

/// Windows that may wait for the audit topic before reading pauses.
const QUEUED_WINDOWS_MAX: usize = 20_000;
/// Pause between two looks for intervals that may leave, between beats: each looks at every partition.
const SEND_EVERY: Duration = Duration::from_millis(20);
/// Messages counted between two looks at everything else.
const BURST: usize = 1_000;
/// Messages of a burst between two looks at the clock.
const CLOCK_EVERY: usize = 64;
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(50);
/// How long the last reports may take, at a revocation or at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);
/// How long the question may take before that, whether the topics are still the same.
const IDENTIFY_DEADLINE: Duration = Duration::from_secs(1);
/// A topic that was not seen for this long is unsubscribed.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How a worker ended.
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its consumer is of no more use.
    Broken(Broken),
}

/// See the module's head.
pub struct Worker {
    settings: Settings,
    shared: Shared,
    reader: Reader,
    asker: Asker,
    outlet: Outlet,
    reporting: Reporting,
    claims: Claims,
    /// By Kafka's names, as everything here that Kafka is asked or told; a [`Partition`] knows its audited one.
    owned: HashMap<String, BTreeMap<i32, Partition>>,
    /// Topics of the last answer.
    topics: BTreeMap<String, i32>,
    topics_asked_ms: i64,
    /// Those of them that compaction runs on.
    compacted: BTreeSet<String>,
    /// Wanted topics that do not exist.
    absent: Vec<String>,
    /// Wanted topics whose name in the pipelines is not certain.
    unclear: BTreeSet<String>,
    /// Topics that we are subscribed to, and when each was last seen.
    subscribed: BTreeMap<String, Instant>,
    /// Reports under way: which partition's interval each is; heartbeats are not kept.
    sent: HashMap<u64, Tp>,
    next_id: u64,
    beat_at: Instant,
    send_at: Instant,
    paused: bool,
    /// Something cannot be read: when it is looked for, and when it last was.
    look_at: Option<Instant>,
    looked_at: Option<Instant>,
    budget: Option<Budget>,
    meter: TapMeter,
}

impl Worker {
    /// Makes the clients; connects later.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, shared: &Shared) -> Result<Self, Failure> {
        let cluster = &settings.cluster;
        let wanted = Wanted::of_tap(&settings.tap, settings.excluded.clone());
        let period = settings.heartbeat / 2;
        let reporting = Reporting::new(&settings.tap.stage, &cluster.name, &cluster.datacenter);
        Ok(Self {
            reader: Reader::new(settings, &shared.problems)?,
            asker: Asker::start(cluster, wanted, Arc::clone(&shared.clock), &shared.problems, period)?,
            outlet: Outlet::new(settings, shared)?,
            claims: Claims::new(reporting.incarnation()),
            reporting,
            settings: settings.clone(),
            shared: shared.clone(),
            owned: HashMap::new(),
            topics: BTreeMap::new(),
            topics_asked_ms: 0,
            compacted: BTreeSet::new(),
            absent: Vec::new(),
            unclear: BTreeSet::new(),
            subscribed: BTreeMap::new(),
            sent: HashMap::new(),
            next_id: 0,
            beat_at: Instant::now(),
            send_at: Instant::now(),
            paused: false,
            look_at: None,
            looked_at: None,
            budget: settings.tap.max_bytes_per_second.map(|cap| Budget::new(cap, Instant::now())),
            meter: shared.meters.tap(&cluster.name),
        })
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
        self.finish();
        ended
    }

    /// What it reads with.
    #[cfg(test)]
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn turn(&mut self) -> Result<(), Broken> {
        self.read()?;
        for said in self.reader.said() {
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
        Ok(self.balance_queues()?)
    }

    /// Counts what is there, up to a burst; waits a moment if nothing is.
    fn read(&mut self) -> Result<(), String> {
        if self.look_for_corrupt()? {
            return Ok(());
        }
        // While positions of an earlier assignment may still show, look at them between any two polls.
        let settling = self.partitions().any(|p| !p.is_fresh());
        if settling {
            self.note_positions();
        }
        // Who is not polled stops fetching once its queue is full: nothing is fetched in vain, as it is after a pause.
        if let Some(wait) = self.budget.as_mut().and_then(|budget| budget.wait(Instant::now())) {
            std::thread::park_timeout(wait.min(POLL));
            return Ok(());
        }
        let first_wait = if settling { Duration::from_millis(1) } else { POLL };
        // Messages that are there already arrive within the millisecond, and the clock costs more than the count.
        let mut looked_ms = None;
        for turn in 0..BURST {
            let wait = if turn == 0 { first_wait } else { Duration::ZERO };
            match self.reader.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if turn % CLOCK_EVERY == 0 {
                        looked_ms = None;
                    }
                    let now_ms = *looked_ms.get_or_insert_with(|| self.shared.clock.now_ms());
                    if let Some(budget) = &mut self.budget {
                        budget.take(u64::try_from(message.key_len() + message.payload_len()).unwrap_or(u64::MAX));
                    }
                    let found = deliver(&mut self.owned, &self.settings, now_ms, &message);
                    if let Some(tp) = found {
                        drop(message);
                        self.other_logs(vec![tp])?;
                        break;
                    }
                }
                Some(Err(e)) => {
                    self.consumer_error(&e)?;
                    if self.look_at.is_some() {
                        // What follows may come from anywhere.
                        break;
                    }
                }
            }
            if self.budget.as_ref().is_some_and(Budget::is_short) {
                break;
            }
        }
        Ok(())
    }

    fn consumer_error(&mut self, e: &KafkaError) -> Result<(), String> {
        let code = refusal::code_of(e);
        let cluster = self.settings.cluster.name.clone();
        match code {
            _ if matches!(e, KafkaError::MessageConsumptionFatal(_)) => return Err(format!("fatal: {code}")),
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                if let Membership::Group(group) = &self.settings.membership {
                    let need = Need::ReadGroup(group.clone());
                    self.shared.problems.set(self.group_key(), refusal::sentence(&cluster, &need, code));
                }
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => self.asker.interest.probe.store(true, Ordering::SeqCst),
            // A position outside its log: the next answer shows which.
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                self.asker.interest.starts.store(true, Ordering::SeqCst);
            }
            _ if is_corrupt(code) => self.suspect(),
            _ => tracing::debug!(cluster, "consumer: {code}"),
        }
        Ok(())
    }

    fn group_key(&self) -> String {
        format!("kafka.{} group", self.settings.cluster.name)
    }

    fn note_positions(&mut self) {
        let Ok(positions) = self.reader.positions() else { return };
        for element in positions.elements() {
            let of_topic = self.owned.get_mut(element.topic());
            let Some(partition) = of_topic.and_then(|t| t.get_mut(&element.partition())) else { continue };
            partition.position(match element.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            });
        }
    }
}

/// Counts a message; returns its partition if it proves that the log is another one.
fn deliver(
    owned: &mut HashMap<String, BTreeMap<i32, Partition>>,
    settings: &Settings,
    now_ms: i64,
    message: &BorrowedMessage<'_>,
) -> Option<Tp> {
    let partition = owned.get_mut(message.topic())?.get_mut(&message.partition())?;
    let seen = look(message, &settings.rule, now_ms);
    match partition.deliver(&seen) {
        Counted::Yes | Counted::No => None,
        Counted::OtherLog => Some((message.topic().to_owned(), message.partition())),
    }
}
