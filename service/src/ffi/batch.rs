//! What a reader takes from librdkafka at once: a run of messages, without an event, a lock and a call for each of them.
//!
//! Invariant: a message is alive from when it was taken until the next one is asked for, and given back once, also when
//! the rest of a batch is dropped. Limit: librdkafka takes a whole batch for read, so whoever drops a part of one must
//! assign its partitions anew.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, Message, Timestamp};

/// Messages that were taken and wait to be looked at.
#[derive(Debug, Default)]
pub(super) struct Taken {
    messages: Vec<*mut c::rd_kafka_message_t>,
}

// SAFETY: librdkafka's messages belong to whoever took them, on any thread; these go through `&mut` only.
unsafe impl Send for Taken {}

impl Taken {
    /// Takes at most `most` messages of a queue that is alive; returns as soon as it has as many, else after `wait`. Whether
    /// there were any.
    pub(super) fn fill(&mut self, queue: NonNull<c::rd_kafka_queue_t>, wait: Duration, most: usize) -> bool {
        self.take(wait, most, |wait_ms, room, most| {
            // SAFETY: the queue is alive; there is room for as many pointers as are asked for.
            unsafe { c::rd_kafka_consume_batch_queue(queue.as_ptr(), wait_ms, room, most) }
        })
    }

    /// Likewise of the queue that a partition of a topic that is alive has for itself.
    pub(super) fn fill_of(
        &mut self,
        topic: NonNull<c::rd_kafka_topic_t>,
        partition: i32,
        wait: Duration,
        most: usize,
    ) -> bool {
        self.take(wait, most, |wait_ms, room, most| {
            // SAFETY: the topic is alive; there is room for as many pointers as are asked for.
            unsafe { c::rd_kafka_consume_batch(topic.as_ptr(), partition, wait_ms, room, most) }
        })
    }

    /// `fetch` writes as many pointers as it returns, at most as many as it is told.
    fn take(
        &mut self,
        wait: Duration,
        most: usize,
        fetch: impl FnOnce(i32, *mut *mut c::rd_kafka_message_t, usize) -> isize,
    ) -> bool {
        debug_assert!(self.messages.is_empty(), "a batch gives everything back");
        self.messages.reserve(most);
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let room = self.messages.spare_capacity_mut();
        let taken = fetch(wait_ms, room.as_mut_ptr().cast(), room.len().min(most));
        // SAFETY: so many pointers were written; below zero is an error, and none.
        unsafe { self.messages.set_len(usize::try_from(taken).unwrap_or(0)) };
        // The oldest is taken first.
        self.messages.reverse();
        !self.messages.is_empty()
    }

    /// What was taken.
    pub(super) fn batch(&mut self) -> Batch<'_> {
        Batch { taken: self, current: None }
    }
}

/// A run of messages and errors, oldest first.
#[derive(Debug)]
pub struct Batch<'a> {
    taken: &'a mut Taken,
    current: Option<NonNull<c::rd_kafka_message_t>>,
}

/// The next of a batch.
#[derive(Debug)]
pub enum Arrived<'a> {
    /// A message.
    Message(&'a Fetched),
    /// A partition has none to give.
    Refused {
        /// The partition's topic.
        topic: &'a str,
        /// Its number.
        partition: i32,
        /// The offset that the error is about, if it is about one. librdkafka's position has passed it, as if it were a
        /// message's; it may come out of a batch that was corrupt, or from an earlier assignment.
        offset: Option<i64>,
        /// Why.
        code: RDKafkaErrorCode,
    },
}

impl Batch<'_> {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.taken.messages.is_empty() && self.current.is_none()
    }

    /// The next; the one before is given back.
    #[expect(clippy::should_implement_trait, reason = "what it gives lives until the next call, as no iterator's does")]
    pub fn next(&mut self) -> Option<Arrived<'_>> {
        self.give_back();
        let message = NonNull::new(self.taken.messages.pop()?)?;
        self.current = Some(message);
        // SAFETY: alive until `give_back`, which needs `&mut self`; nobody else has it. `Fetched` is the same in memory.
        let fetched = unsafe { message.cast::<Fetched>().as_ref() };
        Some(match fetched.0.err {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Arrived::Message(fetched),
            code => Arrived::Refused {
                topic: fetched.topic(),
                partition: fetched.0.partition,
                offset: Some(fetched.0.offset).filter(|offset| *offset >= 0),
                code: code.into(),
            },
        })
    }

    fn give_back(&mut self) {
        if let Some(message) = self.current.take() {
            // SAFETY: ours, taken once and given back once.
            unsafe { c::rd_kafka_message_destroy(message.as_ptr()) }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.give_back();
        for message in self.taken.messages.drain(..) {
            // SAFETY: as above.
            unsafe { c::rd_kafka_message_destroy(message) }
        }
    }
}

/// A message that was taken.
#[derive(Debug)]
#[repr(transparent)]
pub struct Fetched(c::rd_kafka_message_t);

impl Fetched {
    /// Where it comes from, as a number that is the same for messages of one topic while their reader lives.
    pub fn topic_handle(&self) -> usize {
        self.0.rkt as usize
    }
}

/// What lies at an address; null is absent.
///
/// # Safety
/// So many bytes must be there, unchanged, for as long as what is returned is used.
unsafe fn bytes<'a>(at: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), length) })
}

impl Message for Fetched {
    type Headers = FetchedHeaders;

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka keeps so many bytes there while the message lives.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }
    fn payload(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        unsafe { bytes(self.0.payload, self.0.len) }
    }
    unsafe fn payload_mut(&mut self) -> Option<&mut [u8]> {
        None
    }
    fn topic(&self) -> &str {
        if self.0.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic lives as long as the message that names it; its name ends with a NUL.
        let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name(self.0.rkt)) };
        // Kafka's names are ASCII.
        name.to_str().unwrap_or_default()
    }
    fn partition(&self) -> i32 {
        self.0.partition
    }
    fn offset(&self) -> i64 {
        self.0.offset
    }
    fn timestamp(&self) -> Timestamp {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; the kind is written.
        let ms = unsafe { c::rd_kafka_message_timestamp(&raw const self.0, &raw mut kind) };
        match kind {
            _ if ms == -1 => Timestamp::NotAvailable,
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => Timestamp::NotAvailable,
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Timestamp::CreateTime(ms),
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Timestamp::LogAppendTime(ms),
        }
    }
    fn headers(&self) -> Option<&FetchedHeaders> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive. Its headers, if it has any, belong to it and are read at the first call; no other
        // thread has it.
        let code = unsafe { c::rd_kafka_message_headers(&raw const self.0, &raw mut headers) };
        if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: alive as long as the message; `FetchedHeaders` only stands for the address.
        NonNull::new(headers).map(|headers| unsafe { headers.cast::<FetchedHeaders>().as_ref() })
    }
}

/// A message's headers: stands for librdkafka's list, at whose address it is.
#[derive(Debug)]
#[repr(C)]
pub struct FetchedHeaders {
    _opaque: [u8; 0],
    /// Not to be sent to other threads.
    _here: PhantomData<*mut c::rd_kafka_headers_t>,
}

impl FetchedHeaders {
    fn list(&self) -> *const c::rd_kafka_headers_t {
        std::ptr::from_ref(self).cast()
    }
}

impl chaperone_audit::message::Headers for FetchedHeaders {
    fn header(&self, name: &str) -> Option<&[u8]> {
        (0..self.count()).filter_map(|at| self.try_get(at)).find(|header| header.key == name)?.value
    }
}

impl Headers for FetchedHeaders {
    fn count(&self) -> usize {
        // SAFETY: the list is alive while this is borrowed.
        unsafe { c::rd_kafka_header_cnt(self.list()) }
    }

    fn try_get(&self, at: usize) -> Option<Header<'_, &[u8]>> {
        let (mut name, mut value, mut length): (*const c_char, *const c_void, usize) =
            (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the list is alive; name, value and length are written where there is such a header.
        let code =
            unsafe { c::rd_kafka_header_get_all(self.list(), at, &raw mut name, &raw mut value, &raw mut length) };
        if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        // SAFETY: the name ends with a NUL and lives as long as the list. A name that is no text is nobody's that is looked for.
        let key = unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default();
        // SAFETY: so many bytes are there while the list lives.
        let value = unsafe { bytes(value, length) };
        Some(Header { key, value })
    }
}
