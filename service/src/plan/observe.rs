//! Looks at topics without leaving a trace: ends of partitions twice, and the newest messages of some.
//!
//! Ends are offsets, so that a transaction's markers count as messages, and compaction does not matter. Event times are
//! those of the deployment's rule. Limits: [`SAMPLE_MESSAGES`] and [`SAMPLE_BYTES`] a topic from at most
//! [`SAMPLE_PARTITIONS`] partitions, [`SAMPLE_WITHIN`] a topic and [`ALL_SAMPLES_WITHIN`] a cluster, the topics with the
//! most traffic first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chaperone_audit::{Clock, Rules};
use chaperone_collector::TopicPattern;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Headers;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::estimate::{Sample, Seen, real};
use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi::batch::{Arrived, Fetched};
use crate::ffi::{Alone, Lane};
use crate::kafka::asker::Tp;
use crate::kafka::client::offsets;
use crate::kafka::ear::{Ear, Existence, existence, may_not_read, reach};
use crate::kafka::message::look;
use crate::kafka::refusal::{self, Need};
use crate::kafka::wanted::Wanted;
use crate::kafka::{asking, create, lone_consumer};

/// Messages read of one topic.
pub const SAMPLE_MESSAGES: u64 = 1_000;
/// Bytes read of one topic, give or take what a broker sends at once.
pub const SAMPLE_BYTES: u64 = 4 << 20;
/// Partitions that they come from, those with the most traffic first.
pub const SAMPLE_PARTITIONS: usize = 8;
/// How long reading a sample may take.
pub const SAMPLE_WITHIN: Duration = Duration::from_secs(10);
/// How many messages are taken from librdkafka at once.
const AT_ONCE: usize = 100;
/// How long reading the samples of a cluster may take.
pub const ALL_SAMPLES_WITHIN: Duration = Duration::from_secs(120);
/// Which of the lags counts as the disorder.
const DISORDER_PERMILLE: usize = 950;

/// What to look at on one cluster.
pub struct Target<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Names and patterns, and what is excluded.
    pub wanted: Wanted,
    /// Which messages would count.
    pub isolation: Isolation,
}

/// One cluster, connected.
pub struct Watched<'a> {
    target: Target<'a>,
    client: BaseConsumer<Ear>,
    partitions: Vec<Tp>,
    before: BTreeMap<Tp, i64>,
    at: Instant,
}

impl<'a> Watched<'a> {
    /// Connects, finds the topics, and asks for the first ends.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if nobody answers, [`Code::NotAuthorised`] for a refused login or topic, [`Code::Usage`] if
    /// there is no such topic.
    pub fn begin(target: Target<'a>) -> Result<Self, Failure> {
        let ear = Ear::default();
        let client: BaseConsumer<Ear> = create(target.cluster, &asking(target.cluster, target.isolation), ear.clone())?;
        let metadata = reach(target.cluster, &client, &ear)?;
        for pattern in &target.wanted.topics {
            let TopicPattern::Name(name) = pattern else { continue };
            named(target.cluster, &client, name, target.wanted.has(name))?;
        }
        let wanted = metadata.topics().iter().filter(|topic| target.wanted.has(topic.name()));
        let partitions: Vec<Tp> = wanted
            .flat_map(|topic| topic.partitions().iter().map(|partition| (topic.name().to_owned(), partition.id())))
            .collect();
        if partitions.is_empty() {
            let (name, seen) = (&target.cluster.name, metadata.topics().len());
            let text =
                format!("kafka.{name}: none of the {seen} topics that we may see matches the topics that you want");
            return Err(Failure::new(Code::Usage, text));
        }
        let mut watched = Self { target, client, partitions, before: BTreeMap::new(), at: Instant::now() };
        (watched.before, watched.at) = watched.ends()?;
        Ok(watched)
    }

    /// How many topics and partitions are looked at.
    pub fn size(&self) -> (usize, usize) {
        let topics: BTreeSet<&str> = self.partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        (topics.len(), self.partitions.len())
    }

    /// Ends, and the middle of the time in which they were asked for.
    fn ends(&self) -> Result<(BTreeMap<Tp, i64>, Instant), Failure> {
        let asked = Instant::now();
        let ends = offsets(&self.client, &self.partitions, Offset::End).map_err(|e| {
            let code = refusal::code_of(&e);
            let exit = if refusal::is_authorisation(code) { Code::NotAuthorised } else { Code::Unavailable };
            Failure::new(exit, refusal::sentence(&self.target.cluster.name, &Need::Ask, code))
        })?;
        Ok((ends, asked + asked.elapsed() / 2))
    }

    /// Asks for the ends again and reads the samples. `stages` says how many stages a topic has, and how many are taps.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn end(
        self,
        rules: &Rules,
        clock: &dyn Clock,
        stages: impl Fn(&str) -> (u32, u32),
    ) -> Result<Vec<Seen>, Failure> {
        let (after, at) = self.ends()?;
        let seconds = at.saturating_duration_since(self.at).as_secs_f64();
        let mut topics: BTreeMap<&str, Topic> = BTreeMap::new();
        for tp in &self.partitions {
            let topic = topics.entry(&tp.0).or_default();
            // A partition that answered once tells nothing; one that was made anew begins again.
            match (self.before.get(tp), after.get(tp)) {
                (Some(before), Some(end)) => {
                    topic.partitions.push((tp.1, *end, u64::try_from(end - before).unwrap_or(0)));
                }
                _ => topic.unanswered += 1,
            }
        }
        let mut topics: Vec<(&str, Topic)> = topics.into_iter().collect();
        topics.sort_by_key(|(_, topic)| std::cmp::Reverse(topic.arrived()));
        let mut sampler = Sampler::new(self.target.cluster, self.target.isolation, rules, clock)?;
        let until = Instant::now() + ALL_SAMPLES_WITHIN;
        let mut seen = Vec::new();
        for (name, topic) in topics {
            let (stages, taps) = stages(name);
            let in_time = Instant::now() < until;
            seen.push(Seen {
                cluster: self.target.cluster.name.clone(),
                topic: name.to_owned(),
                arrived: topic.partitions.iter().map(|(_, _, arrived)| *arrived).collect(),
                unanswered: topic.unanswered,
                seconds,
                sample: if in_time { sampler.read(&self.client, name, topic.partitions)? } else { None },
                stages,
                taps,
            });
        }
        seen.sort_by(|a, b| a.topic.cmp(&b.topic));
        Ok(seen)
    }
}

/// What two looks at a topic showed.
#[derive(Default)]
struct Topic {
    /// Number, end, and how many messages arrived.
    partitions: Vec<(i32, i64, u64)>,
    unanswered: usize,
}

impl Topic {
    fn arrived(&self) -> u64 {
        self.partitions.iter().map(|(_, _, arrived)| *arrived).sum()
    }
}

/// A topic that was named must be there and may be seen.
fn named(cluster: &Cluster, client: &BaseConsumer<Ear>, topic: &str, may_be_counted: bool) -> Result<(), Failure> {
    let name = &cluster.name;
    let wrong = |what: &str| Err(Failure::new(Code::Usage, format!("kafka.{name}: topic '{topic}': {what}")));
    match existence(client, topic) {
        Existence::There(_) if may_be_counted => Ok(()),
        Existence::There(_) => wrong("is Kafka's or our own, which is never counted"),
        Existence::Absent => wrong("does not exist"),
        Existence::Refused(code) => Err(may_not_read(name, topic, code)),
        Existence::Untold(code) => {
            Err(Failure::new(Code::Unavailable, format!("kafka.{name}: topic '{topic}': {code}")))
        }
    }
}

/// Reads samples without a group: a cluster that no consumer has seen stays so.
struct Sampler<'a> {
    cluster: &'a Cluster,
    reader: Alone<Ear>,
    rules: &'a Rules,
    clock: &'a dyn Clock,
}

/// What was read so far.
#[derive(Default)]
struct Pile {
    messages: u64,
    bytes: u64,
    without_time: u64,
    newest: BTreeMap<i32, i64>,
    lags: Vec<i64>,
}

impl<'a> Sampler<'a> {
    fn new(
        cluster: &'a Cluster,
        isolation: Isolation,
        rules: &'a Rules,
        clock: &'a dyn Clock,
    ) -> Result<Self, Failure> {
        let mut config = lone_consumer(cluster, "plan", isolation);
        // The end is an answer as well; and no more is fetched ahead than is looked at.
        config
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1024")
            .set("fetch.message.max.bytes", "262144")
            .set("fetch.wait.max.ms", "100");
        let reader = Alone::apart(create(cluster, &config, Ear::default())?)
            .map_err(|e| Failure::new(Code::Software, format!("kafka.{}: {e}", cluster.name)))?;
        Ok(Self { cluster, reader, rules, clock })
    }

    /// The newest messages of the partitions with the most traffic; `None` where nothing arrived or nothing is left.
    fn read(
        &mut self,
        client: &BaseConsumer<Ear>,
        topic: &str,
        mut partitions: Vec<(i32, i64, u64)>,
    ) -> Result<Option<Sample>, Failure> {
        partitions.retain(|(_, _, arrived)| *arrived > 0);
        partitions.sort_by_key(|(_, _, arrived)| std::cmp::Reverse(*arrived));
        partitions.truncate(SAMPLE_PARTITIONS);
        if partitions.is_empty() {
            return Ok(None);
        }
        let name = &self.cluster.name;
        let failed =
            |e: KafkaError| Failure::new(Code::Unavailable, format!("kafka.{name}: cannot read '{topic}': {e}"));
        let share = i64::try_from(SAMPLE_MESSAGES).unwrap_or(i64::MAX) / i64::try_from(partitions.len()).unwrap_or(1);
        let tps: Vec<Tp> = partitions.iter().map(|(number, ..)| (topic.to_owned(), *number)).collect();
        let starts = offsets(client, &tps, Offset::Beginning).map_err(failed)?;
        let mut list = TopicPartitionList::new();
        for (tp, (number, end, _)) in tps.iter().zip(&partitions) {
            let from = (end - share).max(starts.get(tp).copied().unwrap_or(0));
            list.add_partition_offset(topic, *number, Offset::Offset(from)).map_err(failed)?;
        }
        self.reader.assign(&list).map_err(failed)?;
        let ends = partitions.iter().map(|(number, end, _)| (*number, *end)).collect();
        let pile = self.pile(topic, ends);
        self.reader.stop().map_err(failed)?;
        Ok(pile?.sample())
    }

    fn pile(&mut self, wanted: &str, mut ends: BTreeMap<i32, i64>) -> Result<Pile, Failure> {
        let Self { cluster, reader, rules, clock } = self;
        let mut pile = Pile::default();
        let until = Instant::now() + SAMPLE_WITHIN;
        while !ends.is_empty() && pile.bytes < SAMPLE_BYTES && Instant::now() < until {
            // What concerns the whole client, which the ear hears.
            drop(reader.poll(Duration::ZERO));
            let Some(mut batch) = reader.batch(&[(Lane::First, Duration::from_millis(100))], AT_ONCE) else { break };
            while let Some(arrived) = batch.next() {
                match arrived {
                    // What was fetched for the topic before may still arrive.
                    Arrived::Message(message) if message.topic() == wanted => {
                        let Some(end) = ends.get(&message.partition()).copied() else { continue };
                        if message.offset() < end && pile.bytes < SAMPLE_BYTES {
                            pile.add(message, rules, clock.now_ms());
                        }
                        if message.offset() + 1 >= end {
                            ends.remove(&message.partition());
                        }
                    }
                    Arrived::Refused { topic, partition, code: RDKafkaErrorCode::PartitionEOF, .. }
                        if topic == wanted =>
                    {
                        ends.remove(&partition);
                    }
                    Arrived::Refused { topic, code: code @ RDKafkaErrorCode::TopicAuthorizationFailed, .. }
                        if topic == wanted =>
                    {
                        return Err(may_not_read(&cluster.name, wanted, code));
                    }
                    _ => {}
                }
            }
        }
        Ok(pile)
    }
}

impl Pile {
    fn add(&mut self, message: &Fetched, rules: &Rules, now_ms: i64) {
        let seen = look(message, rules.of(message.topic()), now_ms);
        let headers = message
            .headers()
            .map_or(0, |headers| headers.iter().map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len)).sum::<usize>());
        self.messages += 1;
        self.bytes += seen.bytes + u64::try_from(headers).unwrap_or(0);
        let Some(event_ms) = seen.observation.event_ms else {
            self.without_time += 1;
            return;
        };
        let newest = self.newest.entry(message.partition()).or_insert(event_ms);
        self.lags.push(newest.saturating_sub(event_ms).max(0));
        *newest = event_ms.max(*newest);
    }

    fn sample(mut self) -> Option<Sample> {
        if self.messages == 0 {
            return None;
        }
        self.lags.sort_unstable();
        let at = self.lags.len().saturating_sub(1) * DISORDER_PERMILLE / 1_000;
        Some(Sample {
            messages: self.messages,
            mean_bytes: real(self.bytes) / real(self.messages),
            without_time: self.without_time,
            disorder_ms: self.lags.get(at).copied().unwrap_or(0),
        })
    }
}
