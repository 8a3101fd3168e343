//! Reads runs of offsets of one topic again: assigned by hand, without a group, nothing is left on the cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::{Again, Reach, Run};
use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi::Alone;
use crate::kafka::client::offsets;
use crate::kafka::ear::{Ear, may_not_read};
use crate::kafka::message::look;
use crate::kafka::{asking, create, lone_consumer, refusal};

/// Nothing arriving for this long is a broker that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);

/// Where to read.
pub struct Source<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The topic, by Kafka's name.
    pub topic: &'a str,
    /// Which messages the tap counts.
    pub isolation: Isolation,
}

/// Counts the runs into `again`; returns how far each partition's log reaches.
///
/// # Errors
/// [`Code::Unavailable`] when brokers do not answer, [`Code::NotAuthorised`] when they refuse.
pub fn read(
    source: &Source<'_>,
    runs: &BTreeMap<i32, Run>,
    again: &mut Again,
    clock: &dyn Clock,
) -> Result<BTreeMap<i32, Reach>, Failure> {
    if runs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut reach = bounds(source, runs)?;
    let mut config = lone_consumer(source.cluster, "recount", source.isolation);
    config.set("enable.partition.eof", "true");
    let mut reader = Alone::new(create::<BaseConsumer<Ear>, _>(source.cluster, &config, Ear::default())?);
    let mut open: BTreeMap<i32, Run> = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for (partition, run) in runs {
        let Some(reach) = reach.get(partition) else { continue };
        let run = Run { from: run.from.max(reach.start), to: run.to.min(reach.end) };
        if run.from < run.to {
            let from = Offset::Offset(run.from);
            list.add_partition_offset(source.topic, *partition, from).map_err(|e| unavailable(source, &e))?;
            open.insert(*partition, run);
        }
    }
    reader.assign(&list).map_err(|e| unavailable(source, &e))?;
    run_through(source, &mut reader, &mut open, again, clock)?;
    // The log is as long as it must be for what was asked for; longer does not matter.
    for (partition, reach) in &mut reach {
        reach.end = reach.end.min(runs.get(partition).map_or(reach.end, |run| run.to));
    }
    Ok(reach)
}

/// Where the logs of these partitions begin and end; partitions that are not there are absent.
fn bounds(source: &Source<'_>, runs: &BTreeMap<i32, Run>) -> Result<BTreeMap<i32, Reach>, Failure> {
    let config = asking(source.cluster, Isolation::ReadUncommitted);
    let client = create::<BaseConsumer<Ear>, _>(source.cluster, &config, Ear::default())?;
    let tps: Vec<_> = runs.keys().map(|partition| (source.topic.to_owned(), *partition)).collect();
    let ask = |at| offsets(&client, &tps, at).map_err(|e| unavailable(source, &e));
    let (starts, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    let both = starts.iter().filter_map(|(tp, start)| Some((tp.1, Reach { start: *start, end: *ends.get(tp)? })));
    Ok(both.collect())
}

fn run_through(
    source: &Source<'_>,
    reader: &mut Alone<Ear>,
    open: &mut BTreeMap<i32, Run>,
    again: &mut Again,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let mut moved = Instant::now();
    while !open.is_empty() {
        match reader.poll(POLL) {
            Some(Ok(message)) => {
                moved = Instant::now();
                let (partition, offset) = (message.partition(), message.offset());
                let Some(run) = open.get(&partition).copied() else { continue };
                if offset >= run.from && offset < run.to {
                    let seen = look(&message, again.rule(), clock.now_ms());
                    again.count(partition, &seen);
                }
                if offset + 1 >= run.to {
                    open.remove(&partition);
                }
            }
            // Markers of transactions and compacted messages end a run without a message.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(e)) if refusal::is_authorisation(refusal::code_of(&e)) => {
                return Err(may_not_read(&source.cluster.name, source.topic, refusal::code_of(&e)));
            }
            // Retention moved on meanwhile: what it took is behind the log's start at the next try.
            Some(Err(e)) if refusal::code_of(&e) == RDKafkaErrorCode::AutoOffsetReset => {
                return Err(unavailable(source, &e));
            }
            Some(Err(e)) => tracing::debug!(cluster = source.cluster.name, "recount: {e}"),
            None if moved.elapsed() > PATIENCE => {
                let (cluster, topic, left) = (&source.cluster.name, source.topic, open.len());
                let text = format!(
                    "kafka.{cluster}: nothing of '{topic}' arrived for {} s, {left} partitions are left to read",
                    PATIENCE.as_secs()
                );
                return Err(Failure::new(Code::Unavailable, text));
            }
            None => {}
        }
    }
    Ok(())
}

fn unavailable(source: &Source<'_>, e: &KafkaError) -> Failure {
    Failure::new(Code::Unavailable, format!("kafka.{}: cannot read '{}': {e}", source.cluster.name, source.topic))
}
