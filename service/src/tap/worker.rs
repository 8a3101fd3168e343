//! The thread of a tap: poll, count, report; do what the group says; notice fences, holes and lost logs.
//!
//! It blocks for at most one poll, one claim or one question at a time, all bounded. Limits: `QUEUED_WINDOWS_MAX`
//! windows wait for the audit topic, then reading pauses.

mod copies;
mod corrupt;
mod lanes;
mod ownership;
mod reports;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset};

use super::budget::Budget;
use super::claims::Claims;
use super::outlet::Outlet;
use super::partition::{Counted, Partition};
use super::reader::Reader;
use super::report::Reporting;
use super::{Membership, Settings, Shared};
use crate::exit::Failure;
use crate::ffi::batch::Arrived;
use crate::kafka::asker::{Asker, Tp};
use crate::kafka::corrupt::{Suspicion, is_corrupt};
use crate::kafka::message::look;
use crate::kafka::refusal::{self, Need};
use crate::kafka::stall::Broken;
use crate::kafka::wanted::Wanted;
use crate::metrics::meters::TapMeter;
use copies::is_outside;

/// Windows that may wait for the audit topic before reading pauses.
const QUEUED_WINDOWS_MAX: usize = 20_000;
/// Pause between two looks for intervals that may leave, between beats: each looks at every partition.
const SEND_EVERY: Duration = Duration::from_millis(20);
/// Messages counted between two looks at everything else.
const BURST: usize = 1_000;
/// The same under a cap, which is looked at between two batches.
const BURST_CAPPED: usize = 20;
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
    /// Which log of each audit partition the store stood in when it was last asked.
    audit_logs: HashMap<i32, u32>,
    /// Reports under way: which partition's interval each is; heartbeats are not kept.
    sent: HashMap<u64, Tp>,
    next_id: u64,
    beat_at: Instant,
    send_at: Instant,
    paused: bool,
    /// Something cannot be read.
    suspicion: Suspicion,
    /// Partitions that gave nothing, because this position was said to be outside their logs.
    outside: BTreeMap<Tp, Option<i64>>,
    /// How often something could not be read that their leaders can.
    unfounded: u32,
    budget: Option<Budget>,
    meter: TapMeter,
}

/// What came of a batch.
#[derive(Debug, Default)]
struct Outcome {
    /// A partition that proved to have another log.
    lost: Option<Tp>,
    /// What partitions refused.
    refused: Vec<(Tp, RDKafkaErrorCode, Option<i64>)>,
    /// The rest of the batch was not looked at.
    dropped: bool,
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
            audit_logs: HashMap::new(),
            sent: HashMap::new(),
            next_id: 0,
            beat_at: Instant::now(),
            send_at: Instant::now(),
            paused: false,
            suspicion: Suspicion::default(),
            outside: BTreeMap::new(),
            unfounded: 0,
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
        for e in self.reader.serve() {
            self.consumer_error(refusal::code_of(&e), matches!(e, KafkaError::MessageConsumptionFatal(_)))?;
        }
        let wait = if settling { Duration::from_millis(1) } else { POLL };
        let counted = self.count(wait);
        for (tp, code, offset) in counted.refused {
            if is_outside(code) {
                self.outside.insert(tp, offset);
            }
            self.consumer_error(code, false)?;
        }
        if counted.dropped {
            // The reader's positions lie behind what was dropped: it begins anew, or that would be passed over.
            self.assign()?;
        }
        self.other_logs(counted.lost.into_iter().collect())
    }

    /// Counts a batch.
    fn count(&mut self, wait: Duration) -> Outcome {
        let Self { reader, owned, shared, budget, .. } = self;
        let mut outcome = Outcome::default();
        let most = if budget.is_some() { BURST_CAPPED } else { BURST };
        let Some(mut batch) = reader.batch(wait, most) else { return outcome };
        // Messages that are there already arrived within the millisecond, and the clock costs more than the count.
        let (mut now_ms, mut turn) = (shared.clock.now_ms(), 0);
        // Messages of a partition come one after another, and finding it costs more than counting.
        let mut found: Option<((usize, i32), Option<&mut Partition>)> = None;
        while let Some(arrived) = batch.next() {
            let message = match arrived {
                Arrived::Message(message) => message,
                Arrived::Refused { topic, partition, offset, code } => {
                    let tp = (topic.to_owned(), partition);
                    found = None;
                    let spoilt = owned.get_mut(topic).filter(|_| offset.is_some()).and_then(|t| t.get_mut(&partition));
                    if let Some(spoilt) = spoilt {
                        spoilt.refused();
                    }
                    outcome.refused.push((tp, code, offset));
                    if is_corrupt(code) {
                        // What follows may come from anywhere.
                        outcome.dropped = true;
                        break;
                    }
                    continue;
                }
            };
            turn += 1;
            if turn % CLOCK_EVERY == 0 {
                now_ms = shared.clock.now_ms();
            }
            if let Some(budget) = budget {
                budget.take(
                    u64::try_from(message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len))
                        .unwrap_or(u64::MAX),
                );
            }
            let place = (message.topic_handle(), message.partition());
            if found.as_ref().is_none_or(|(known, _)| *known != place) {
                let of_topic = owned.get_mut(message.topic());
                found = Some((place, of_topic.and_then(|partitions| partitions.get_mut(&place.1))));
            }
            let Some((_, Some(partition))) = &mut found else { continue };
            let seen = look(message, partition.rule(), now_ms);
            if partition.deliver(&seen) == Counted::OtherLog {
                outcome.lost = Some((message.topic().to_owned(), place.1));
                outcome.dropped = true;
                break;
            }
        }
        outcome
    }

    fn consumer_error(&mut self, code: RDKafkaErrorCode, fatal: bool) -> Result<(), String> {
        let cluster = self.settings.cluster.name.clone();
        match code {
            _ if fatal => return Err(format!("fatal: {code}")),
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                if let Membership::Group(group) = &self.settings.membership {
                    let need = Need::ReadGroup(group.clone());
                    self.shared.problems.set(self.group_key(), refusal::sentence(&cluster, &need, code));
                }
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => self.asker.interest.probe.store(true, Ordering::SeqCst),
            // The next answer shows what lies where.
            _ if is_outside(code) => self.asker.interest.starts.store(true, Ordering::SeqCst),
            _ if is_corrupt(code) => self.suspicion.raise(Instant::now()),
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
