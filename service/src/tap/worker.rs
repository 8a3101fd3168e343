//! The thread of a tap: poll, count, report; do what the group says; notice fences, holes and lost logs.
//!
//! It blocks for at most one poll, one claim or one question at a time, all bounded. Limits: `QUEUED_WINDOWS_MAX`
//! windows wait for the audit topic, then reading pauses.

mod ownership;
mod reports;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset};

use super::claims::Claims;
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
/// Messages counted between two looks at everything else.
const BURST: usize = 1_000;
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(50);
/// How long the last reports may take, at a revocation or at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);
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
    paused: bool,
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
            absent: Vec::new(),
            unclear: BTreeSet::new(),
            subscribed: BTreeMap::new(),
            sent: HashMap::new(),
            next_id: 0,
            beat_at: Instant::now(),
            paused: false,
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
        // While positions of an earlier assignment may still show, look at them between any two polls.
        let settling = self.partitions().any(|p| !p.is_fresh());
        if settling {
            self.note_positions();
        }
        let first_wait = if settling { Duration::from_millis(1) } else { POLL };
        for turn in 0..BURST {
            let wait = if turn == 0 { first_wait } else { Duration::ZERO };
            match self.reader.poll(wait) {
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
                if let Membership::Group(group) = &self.settings.membership {
                    let need = Need::ReadGroup(group.clone());
                    self.shared.problems.set(self.group_key(), refusal::sentence(cluster, &need, code));
                }
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
