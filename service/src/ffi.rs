//! What librdkafka can do and rdkafka's safe interface lacks: reading partitions without being anybody's group, and asking
//! about topics ([`topics`]) and for groups without being a member ([`groups`]).
//!
//! A consumer with a `group.id` looks for its group's coordinator even when partitions are assigned to it by hand, and a
//! broker that is asked for a coordinator makes `__consumer_offsets` if there is none. One without a group asks nobody,
//! creates nothing, joins nothing; but only librdkafka's simple interface lets it read. Its messages go to the client's
//! main queue, which `BaseConsumer::poll` serves as ever: everything but start and stop stays safe.
//!
//! This module and its rooms are the only ones of the crate with `unsafe`.
#![allow(unsafe_code, reason = "calls librdkafka where rdkafka has no safe call; each block says why it is sound")]

pub mod batch;
pub mod groups;
pub mod topics;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use batch::{Batch, Taken};
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

/// Reads partitions as told, without a group. The client was made without `group.id`.
pub struct Alone<C: ConsumerContext> {
    // Before the client, which must outlive its topics: fields are dropped in this order.
    topics: BTreeMap<String, Topic>,
    started: TopicPartitionList,
    taken: Taken,
    /// Where messages go, if not to the client's main queue.
    lanes: Option<[Queue; 2]>,
    /// Each partition's messages wait in a queue of its own.
    each: bool,
    consumer: BaseConsumer<C>,
}

/// Which of its queues a partition's messages go to. What waits in one keeps librdkafka from fetching for that one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Where all begin.
    First,
    /// The other.
    Second,
}

/// What a partition gave: a message's offset, or why there is none at that offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Of the message, of the batch that cannot be read, or of the log's end.
    pub offset: i64,
    /// `None`: it can be read.
    pub error: Option<RDKafkaErrorCode>,
}

impl<C: ConsumerContext> Alone<C> {
    /// Reads nothing yet.
    pub fn new(consumer: BaseConsumer<C>) -> Self {
        Self {
            topics: BTreeMap::new(),
            started: TopicPartitionList::new(),
            taken: Taken::default(),
            lanes: None,
            each: false,
            consumer,
        }
    }

    /// Reads nothing yet. The messages of each partition wait in a queue of its own, whose size librdkafka bounds, until
    /// [`of`](Self::of) takes them.
    pub fn each(consumer: BaseConsumer<C>) -> Self {
        let mut alone = Self::new(consumer);
        alone.each = true;
        alone
    }

    /// The next messages and errors of a partition, at most `most`: as soon as there are as many, else after `wait`. Only of
    /// [`each`](Self::each); `None`: it is not read.
    pub fn of(&mut self, topic: &str, partition: i32, wait: Duration, most: usize) -> Option<Batch<'_>> {
        let topic = self.topics.get(topic).filter(|_| self.each)?;
        self.taken.fill_of(topic.0, partition, wait, most);
        Some(self.taken.batch())
    }

    /// Reads nothing yet. Its messages do not come by [`poll`](Self::poll), which serves what concerns the whole client, but
    /// by [`batch`](Self::batch) or, as what [`look`](Self::look) says of them.
    ///
    /// # Errors
    /// When librdkafka makes no queue.
    pub fn apart(consumer: BaseConsumer<C>) -> KafkaResult<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive; a queue is given back once, by `Queue`, which is dropped before the client.
        let lane = || NonNull::new(unsafe { c::rd_kafka_queue_new(client) }).map(Queue).ok_or_else(last_error);
        let lanes = Some([lane()?, lane()?]);
        Ok(Self {
            topics: BTreeMap::new(),
            started: TopicPartitionList::new(),
            taken: Taken::default(),
            lanes,
            each: false,
            consumer,
        })
    }

    /// What the next message or error is; rdkafka's errors do not say which partition they are about. Only of
    /// [`apart`](Self::apart), and of the first lane.
    pub fn look(&self, wait: Duration) -> Option<Sight> {
        let [queue, _] = self.lanes.as_ref()?;
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive. The message is ours until it is given back below, once.
        let message = NonNull::new(unsafe { c::rd_kafka_consume_queue(queue.0.as_ptr(), wait_ms) })?;
        // SAFETY: alive until it is given back; nobody writes to it.
        let seen = unsafe { message.as_ref() };
        let sight = (!seen.rkt.is_null()).then(|| {
            // SAFETY: the topic lives as long as the message that names it; its name ends with a NUL and is copied.
            let topic = unsafe { CStr::from_ptr(c::rd_kafka_topic_name(seen.rkt)) }.to_string_lossy().into_owned();
            let error = (seen.err != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| seen.err.into());
            Sight { topic, partition: seen.partition, offset: seen.offset, error }
        });
        // SAFETY: ours, and not used any more.
        unsafe { c::rd_kafka_message_destroy(message.as_ptr()) };
        sight
    }

    /// The next messages and errors of any partition, at most `most`: of the first of these lanes that has any, as soon as
    /// it has as many, else after its wait. Only of [`apart`](Self::apart).
    pub fn batch(&mut self, from: &[(Lane, Duration)], most: usize) -> Option<Batch<'_>> {
        let [first, second] = self.lanes.as_ref()?;
        for (lane, wait) in from {
            let queue = if *lane == Lane::First { first } else { second };
            if self.taken.fill(queue.0, *wait, most) {
                break;
            }
        }
        Some(self.taken.batch())
    }

    /// The next message of any partition, or what concerns the client.
    pub fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
    }

    /// Reads these partitions from these offsets (or so many before their ends), and no others. Messages of an earlier
    /// assignment that wait in the queue are not delivered any more.
    ///
    /// # Errors
    /// When librdkafka refuses a partition; what was started before it is read.
    pub fn assign(&mut self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.assign_to(list, |_, _| Lane::First)
    }

    /// The same by lanes. Only of [`apart`](Self::apart).
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub fn assign_to(&mut self, list: &TopicPartitionList, lane: impl Fn(&str, i32) -> Lane) -> KafkaResult<()> {
        self.stop()?;
        for element in list.elements() {
            let from = element.offset();
            let known = matches!(from, Offset::Offset(_) | Offset::OffsetTail(_));
            let Some(offset) = from.to_raw().filter(|_| known) else {
                return Err(KafkaError::Subscription(format!("{}: no offset to read from", element.topic())));
            };
            let lane = lane(element.topic(), element.partition());
            self.start(element.topic(), element.partition(), offset, lane)?;
            self.started.add_partition_offset(element.topic(), element.partition(), element.offset())?;
        }
        Ok(())
    }

    /// Reads a partition, one of those assigned, from this offset on by this lane. What waits of it is not delivered any
    /// more.
    ///
    /// # Errors
    /// When librdkafka refuses; the partition is not read then.
    pub fn restart(&mut self, name: &str, partition: i32, offset: i64, lane: Lane) -> KafkaResult<()> {
        if let Some(topic) = self.topics.get(name) {
            // SAFETY: as of `stop`.
            succeeded(unsafe { c::rd_kafka_consume_stop(topic.0.as_ptr(), partition) })?;
        }
        self.start(name, partition, offset, lane)
    }

    /// Reads nothing any more.
    ///
    /// # Errors
    /// When librdkafka knows nothing of a partition that it was reading; the others are stopped all the same.
    pub fn stop(&mut self) -> KafkaResult<()> {
        let started = std::mem::replace(&mut self.started, TopicPartitionList::new());
        let mut outcome = Ok(());
        for element in started.elements() {
            let Some(topic) = self.topics.get(element.topic()) else { continue };
            // SAFETY: the handle is alive (`Topic` owns it) and was started on this partition. The call returns when
            // librdkafka's own thread has stopped the partition; no broker is waited for.
            let stopped = unsafe { c::rd_kafka_consume_stop(topic.0.as_ptr(), element.partition()) };
            // Whatever becomes of one, all are stopped: a partition must not be started twice.
            outcome = outcome.and(succeeded(stopped));
        }
        outcome
    }

    /// Where each partition stands: one past the last message delivered or passed; [`Offset::Invalid`] before that.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn positions(&self) -> KafkaResult<TopicPartitionList> {
        let list = self.started.clone();
        // SAFETY: client and list are alive for the call, which writes an offset and an error into each element of the
        // list, a copy that nobody else has.
        let code = unsafe { c::rd_kafka_position(self.consumer.client().native_ptr(), list.ptr()) };
        if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(list)
        } else {
            Err(KafkaError::MetadataFetch(code.into()))
        }
    }

    /// Stops fetching until [`resume`](Self::resume).
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn pause(&self) -> KafkaResult<()> {
        self.consumer.pause(&self.started)
    }

    /// Fetches again.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn resume(&self) -> KafkaResult<()> {
        self.consumer.resume(&self.started)
    }

    fn start(&mut self, topic: &str, partition: i32, offset: i64, lane: Lane) -> KafkaResult<()> {
        let client = self.consumer.client().native_ptr();
        if !self.topics.contains_key(topic) {
            let name = CString::new(topic).map_err(KafkaError::Nul)?;
            // SAFETY: client and name are alive for the call, which copies the name; without a configuration the
            // client's own defaults apply.
            let handle = unsafe { c::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()) };
            self.topics.insert(topic.to_owned(), Topic(NonNull::new(handle).ok_or_else(last_error)?));
        }
        let Some(topic) = self.topics.get(topic) else { return Err(last_error()) };
        if self.each {
            // SAFETY: the topic is alive, the partition is not being read (`stop` came first).
            return succeeded(unsafe { c::rd_kafka_consume_start(topic.0.as_ptr(), partition, offset) });
        }
        let main;
        let queue = if let Some([first, second]) = &self.lanes {
            if lane == Lane::First { first } else { second }
        } else {
            // SAFETY: the client is alive. The call gives a reference to its main queue, which `Queue` gives back when
            // this function ends; librdkafka keeps references of its own for what it forwards there.
            main = Queue(NonNull::new(unsafe { c::rd_kafka_queue_get_main(client) }).ok_or_else(last_error)?);
            &main
        };
        // SAFETY: topic and queue are alive and of the same client, the partition is not being read (`stop` came first).
        succeeded(unsafe { c::rd_kafka_consume_start_queue(topic.0.as_ptr(), partition, offset, queue.0.as_ptr()) })
    }
}

impl<C: ConsumerContext> Drop for Alone<C> {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            tracing::debug!("stopping a reader: {e}");
        }
    }
}

/// A topic handle of a client that outlives it.
struct Topic(NonNull<c::rd_kafka_topic_t>);

// SAFETY: librdkafka's handles may be used by any thread ("The librdkafka API is thread-safe", rdkafka.h); this one is
// used by one thread at a time, since all calls go through `&mut Alone`.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: ours alone and given back once; the client is dropped after it.
        unsafe { c::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

/// A reference to a queue of a client that outlives it.
struct Queue(NonNull<c::rd_kafka_queue_t>);

// SAFETY: as of `Topic`.
unsafe impl Send for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: ours alone and given back once; the client is dropped after it.
        unsafe { c::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

fn succeeded(code: i32) -> KafkaResult<()> {
    if code == 0 { Ok(()) } else { Err(last_error()) }
}

/// What this thread's last call of librdkafka said.
fn last_error() -> KafkaError {
    // SAFETY: reads a number of this thread.
    let code = unsafe { c::rd_kafka_last_error() };
    KafkaError::Subscription(RDKafkaErrorCode::from(code).to_string())
}
