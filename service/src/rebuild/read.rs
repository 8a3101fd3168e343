//! Reads audit topics from their beginning to where they ended at the start: assigned by hand, without a group, nothing is left on
//! the cluster.
//!
//! Each partition's records wait in a queue of its own, so that partitions can be read in step. Limits: a partition holds
//! [`RECORDS`] decoded records and what librdkafka fetches ahead, together `AHEAD_KIB` of all partitions of a topic; what cannot be
//! read ends the reading with a word that says why.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use chaperone_collector::rebuild::Source;
use chaperone_collector::{AuditPartition, Item, TopicPattern};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, Timestamp, TopicPartitionList};

use crate::config::{Audit, Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi::Alone;
use crate::ffi::batch::{Arrived, Fetched};
use crate::intake::Settings;
use crate::intake::decode::decode;
use crate::kafka::ASK_TIMEOUT;
use crate::kafka::client::Client;
use crate::kafka::ear::{Ear, may_not_read, reach};
use crate::kafka::wanted::Wanted;
use crate::kafka::{create, lone_consumer, refusal};
use crate::problems::Problems;

/// Nothing arriving for this long is a broker that does not answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// Records that are taken at once.
pub const RECORDS: usize = 1_000;
/// What librdkafka fetches ahead of a topic, KiB.
const AHEAD_KIB: usize = 131_072;

/// One audit topic and its partitions.
pub struct Topic {
    cluster: Cluster,
    audit: Audit,
    reader: Alone<Ear>,
    /// Its partitions, by number.
    pub lanes: Vec<Lane>,
}

/// One partition.
pub struct Lane {
    /// Which, and where it begins.
    pub source: Source,
    /// One past the last offset that is read.
    pub end: i64,
    read_to: i64,
    waiting: VecDeque<Item>,
    /// Records whose times are their producers'.
    pub foreign_times: bool,
}

impl Lane {
    /// When the next record was appended, ms; `None`: there is none, or it was not fetched yet.
    pub fn head_ms(&self) -> Option<i64> {
        self.waiting.front().map(|item| item.append_ms)
    }

    /// Whether everything was read and taken.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.read_to >= self.end
    }

    /// The records that wait and were appended before `until_ms`, in their order, and where to go on.
    pub fn take(&mut self, until_ms: i64) -> Option<(Vec<Item>, i64)> {
        let n = self.waiting.iter().take_while(|item| item.append_ms < until_ms).count();
        let items: Vec<Item> = self.waiting.drain(..n).collect();
        let next = match self.waiting.front() {
            Some(head) => head.offset,
            None => self.read_to,
        };
        (!items.is_empty()).then_some((items, next))
    }

    fn push(&mut self, record: &Fetched, audit: &Audit) {
        let offset = record.offset();
        if offset < self.read_to {
            return;
        }
        // What was appended since is not ours: the collector reads it.
        self.read_to = self.end.min(offset + 1);
        if offset >= self.end {
            return;
        }
        let append_ms = match record.timestamp() {
            Timestamp::LogAppendTime(ms) if ms >= 0 => ms,
            Timestamp::CreateTime(ms) if ms >= 0 => {
                self.foreign_times = true;
                ms
            }
            _ => 0,
        };
        self.source.first_ms.get_or_insert(append_ms);
        // Received when it was appended, nearly: slots are sealed by that clock as they were when the collector lived it.
        let content = decode(record.payload(), audit);
        self.waiting.push_back(Item { offset, append_ms, received_ms: append_ms, content });
    }
}

impl Topic {
    /// Finds its partitions, and where they begin and end now.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when brokers do not answer or there is no such topic, [`Code::NotAuthorised`] when they refuse.
    pub fn open(settings: &Settings) -> Result<Self, Failure> {
        let (cluster, audit) = (settings.cluster.clone(), settings.audit.clone());
        let (name, topic) = (&cluster.name, &audit.topic);
        let ear = Ear::default();
        let mut config = lone_consumer(&cluster, "rebuild", Isolation::ReadUncommitted);
        config.set("enable.partition.eof", "true");
        let consumer = create::<BaseConsumer<Ear>, _>(&cluster, &config, ear.clone())?;
        let metadata = reach(&cluster, &consumer, &ear)?;
        let known = metadata.topics().iter().find(|t| t.name() == topic).filter(|t| t.error().is_none());
        let partitions = known.map_or(0, |t| t.partitions().len());
        if partitions == 0 {
            let text = format!("kafka.{name}: audit topic '{topic}' is not there, or we may not see it (DESCRIBE)");
            return Err(Failure::new(Code::Unavailable, text));
        }
        config.set("queued.max.messages.kbytes", (AHEAD_KIB / partitions).clamp(1_024, 16_384).to_string());
        let reader = Alone::each(create::<BaseConsumer<Ear>, _>(&cluster, &config, ear)?);
        let numbers = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        let tps: Vec<_> = numbers.clone().map(|p| (topic.clone(), p)).collect();
        let (problems, _) = Problems::new();
        let client = Client::new(&cluster, &problems)?;
        let failed = |e: KafkaError| unavailable(&cluster, topic, &e.to_string());
        // It learns which broker leads what.
        let wanted = Wanted { topics: vec![TopicPattern::Name(topic.clone())], ..Wanted::default() };
        client.look(&wanted).map_err(failed)?;
        let id = client.ids(&BTreeSet::from([topic.as_str()]), ASK_TIMEOUT).map_err(failed)?.get(topic).copied();
        let (starts, ends) = (client.starts(&tps).map_err(failed)?, client.ends(&tps).map_err(failed)?);
        let mut lanes = Vec::new();
        for tp in tps {
            let (Some(start), Some(end)) = (starts.get(&tp), ends.get(&tp)) else {
                return Err(unavailable(&cluster, topic, &format!("partition {} does not say where it begins", tp.1)));
            };
            let partition = AuditPartition { cluster: name.clone(), topic: tp.0, partition: tp.1 };
            let (topic_id, partitions) = (id, numbers.end);
            let source = Source { partition, topic_id, partitions, start: *start, first_ms: None };
            let waiting = VecDeque::new();
            lanes.push(Lane { source, end: *end, read_to: *start, waiting, foreign_times: false });
        }
        Ok(Self { cluster, audit, reader, lanes })
    }

    /// Reads all partitions from their beginning, again if they were read before.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        for lane in &mut self.lanes {
            lane.read_to = lane.source.start;
            lane.waiting.clear();
            if lane.source.start < lane.end {
                let (number, from) = (lane.source.partition.partition, Offset::Offset(lane.source.start));
                let added = list.add_partition_offset(&self.audit.topic, number, from);
                added.map_err(|e| unavailable(&self.cluster, &self.audit.topic, &e.to_string()))?;
            }
        }
        self.reader.assign(&list).map_err(|e| unavailable(&self.cluster, &self.audit.topic, &e.to_string()))
    }

    /// Waits until a partition has records waiting, or is at its end.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when it cannot be read, [`Code::NotAuthorised`] when we may not.
    pub fn fill(&mut self, no: usize) -> Result<(), Failure> {
        let Self { cluster, audit, reader, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(no) else { return Ok(()) };
        let (moved, number) = (Instant::now(), lane.source.partition.partition);
        let place = format!("{}/{number}", audit.topic);
        while lane.waiting.is_empty() && lane.read_to < lane.end {
            if let Some(Err(e)) = reader.poll(Duration::ZERO) {
                tracing::debug!(cluster = cluster.name, "rebuild: {e}");
            }
            let Some(mut batch) = reader.of(&audit.topic, number, POLL, RECORDS) else {
                return Err(unavailable(cluster, &place, "it is not read"));
            };
            while let Some(arrived) = batch.next() {
                match arrived {
                    Arrived::Message(record) => lane.push(record, audit),
                    // What is not shown ends a partition without a record.
                    Arrived::Refused { code: RDKafkaErrorCode::PartitionEOF, .. } => lane.read_to = lane.end,
                    Arrived::Refused { code, .. } if refusal::is_authorisation(code) => {
                        return Err(may_not_read(&cluster.name, &audit.topic, code));
                    }
                    Arrived::Refused {
                        code: RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                        ..
                    } => {
                        let why = "retention has deleted its beginning meanwhile: run it again";
                        return Err(unavailable(cluster, &place, why));
                    }
                    Arrived::Refused { code, offset, .. } => {
                        let at = offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
                        return Err(unavailable(cluster, &place, &format!("{code}{at}")));
                    }
                }
            }
            if moved.elapsed() > PATIENCE && lane.waiting.is_empty() && lane.read_to < lane.end {
                return Err(unavailable(cluster, &place, &format!("nothing arrived for {} s", PATIENCE.as_secs())));
            }
        }
        Ok(())
    }

    /// `CLUSTER/TOPIC`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.cluster.name, self.audit.topic)
    }

    /// Records between beginnings and ends; more than there are where not every offset is shown.
    pub fn offsets(&self) -> u64 {
        let each = self.lanes.iter().map(|lane| u64::try_from(lane.end - lane.source.start).unwrap_or(0));
        each.sum()
    }
}

fn unavailable(cluster: &Cluster, place: &str, why: &str) -> Failure {
    Failure::new(Code::Unavailable, format!("kafka.{}: cannot read '{place}': {why}", cluster.name))
}
