//! Consumer groups from outside: which there are, and what they have committed. Joins nothing, and one client asks for
//! all of them, where rdkafka's safe interface needs a client per group.
//!
//! Every question goes to a queue of its own and librdkafka answers each within its timeout; what has not been answered
//! a moment later is left to it, since a queue that is given back takes its late answers with it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

/// Questions that are under way at once.
const AT_ONCE: usize = 64;
/// By how much an answer may be later than its timeout.
const LATE: Duration = Duration::from_secs(1);

/// What a group has committed, by topic and partition.
pub type Committed = BTreeMap<(String, i32), i64>;

/// The groups of a cluster, as far as its brokers answer.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Their names.
    pub groups: Vec<String>,
    /// Some broker did not answer: there may be more.
    pub partial: bool,
}

/// Which consumer groups there are: those that we may describe.
///
/// # Errors
/// When no broker answers.
pub fn list<C: ConsumerContext>(client: &BaseConsumer<C>, timeout: Duration) -> KafkaResult<Listed> {
    let rk = client.client().native_ptr();
    let queue = Queue::new(rk)?;
    let options = Options::new(rk, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, timeout, 0)?;
    // SAFETY: client, options and queue are alive for the call; the client copies the options and keeps a reference to
    // the queue until it has answered.
    unsafe { c::rd_kafka_ListConsumerGroups(rk, options.0.as_ptr(), queue.0.as_ptr()) };
    let event = queue.next(Instant::now() + timeout + LATE).ok_or_else(timed_out)?;
    event.succeeded()?;
    // SAFETY: the event is alive; the result is part of it, null if it is another's answer.
    let result = unsafe { c::rd_kafka_event_ListConsumerGroups_result(event.0.as_ptr()) };
    if result.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail));
    }
    let mut listed = Listed::default();
    let mut count = 0;
    // SAFETY: the result is alive as long as the event; the call gives an array of `count` pointers that live as long.
    let groups = unsafe { c::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count) };
    // SAFETY: as the call above says.
    for group in unsafe { array(groups, count) } {
        // SAFETY: an element of the array; its name is a C string that lives as long as the event.
        listed.groups.extend(unsafe { text(c::rd_kafka_ConsumerGroupListing_group_id(*group)) });
    }
    // SAFETY: the result is alive; only the number of errors is looked at.
    unsafe { c::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut count) };
    listed.partial = count > 0;
    Ok(listed)
}

/// What each of these groups has committed; a group of which nobody knows has committed nothing. In the order of `groups`.
/// `client` must have a `group.id`, though nobody joins it: librdkafka 2.12 asks that group's coordinator again whenever one
/// of these has moved, and follows a null pointer where there is none.
pub fn committed<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    groups: &[String],
    timeout: Duration,
) -> Vec<KafkaResult<Committed>> {
    let mut answers = Vec::with_capacity(groups.len());
    for some in groups.chunks(AT_ONCE) {
        match ask(client, some, timeout) {
            Ok(some) => answers.extend(some),
            Err(e) => answers.extend(some.iter().map(|_| Err(e.clone()))),
        }
    }
    answers
}

fn ask<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    groups: &[String],
    timeout: Duration,
) -> KafkaResult<Vec<KafkaResult<Committed>>> {
    let rk = client.client().native_ptr();
    let queue = Queue::new(rk)?;
    let mut answers: Vec<Option<KafkaResult<Committed>>> = groups.iter().map(|_| None).collect();
    for (number, (group, answer)) in groups.iter().zip(&mut answers).enumerate() {
        if let Err(e) = submit(rk, &queue, group, number, timeout) {
            *answer = Some(Err(e));
        }
    }
    let deadline = Instant::now() + timeout + LATE;
    while answers.iter().any(Option::is_none) {
        let Some(event) = queue.next(deadline) else { break };
        if let Some(answer) = answers.get_mut(event.number()) {
            *answer = Some(event.committed());
        }
    }
    Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(timed_out()))).collect())
}

fn submit(rk: *mut c::rd_kafka_t, queue: &Queue, group: &str, number: usize, timeout: Duration) -> KafkaResult<()> {
    let api = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let options = Options::new(rk, api, timeout, number)?;
    let name = CString::new(group).map_err(KafkaError::Nul)?;
    // SAFETY: the name is alive for the call, which copies it; no list of partitions means all that it has committed.
    let mut wanted = unsafe { c::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), std::ptr::null()) };
    // SAFETY: client, options and queue are alive for the call, `wanted` is an array of one; all are copied, and the
    // client keeps a reference to the queue until it has answered.
    unsafe { c::rd_kafka_ListConsumerGroupOffsets(rk, &raw mut wanted, 1, options.0.as_ptr(), queue.0.as_ptr()) };
    // SAFETY: ours, made above and given back once.
    unsafe { c::rd_kafka_ListConsumerGroupOffsets_destroy(wanted) };
    Ok(())
}

/// A queue of answers.
struct Queue(NonNull<c::rd_kafka_queue_t>);

impl Queue {
    fn new(rk: *mut c::rd_kafka_t) -> KafkaResult<Self> {
        // SAFETY: the client is alive.
        let queue = unsafe { c::rd_kafka_queue_new(rk) };
        NonNull::new(queue).map(Self).ok_or_else(timed_out)
    }
    /// The next answer, if one comes by then.
    fn next(&self, deadline: Instant) -> Option<Event> {
        let left = deadline.saturating_duration_since(Instant::now());
        // SAFETY: the queue is alive; the event that is given is ours.
        let event = unsafe { c::rd_kafka_queue_poll(self.0.as_ptr(), millis(left)) };
        NonNull::new(event).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: ours and given back once.
        unsafe { c::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// How a question is asked.
struct Options(NonNull<c::rd_kafka_AdminOptions_t>);

impl Options {
    /// `number` comes back with the answer.
    fn new(rk: *mut c::rd_kafka_t, api: c::rd_kafka_admin_op_t, timeout: Duration, number: usize) -> KafkaResult<Self> {
        // SAFETY: the client is alive.
        let options = unsafe { c::rd_kafka_AdminOptions_new(rk, api) };
        let options = NonNull::new(options).map(Self).ok_or_else(timed_out)?;
        let mut words: [c_char; 256] = [0; 256];
        // SAFETY: the options are alive; the words are a buffer of the size that is told.
        let set = unsafe {
            c::rd_kafka_AdminOptions_set_request_timeout(
                options.0.as_ptr(),
                millis(timeout),
                words.as_mut_ptr(),
                words.len(),
            )
        };
        if set != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::AdminOp(set.into()));
        }
        // SAFETY: the options are alive; what they carry is a number, never used as a pointer.
        unsafe { c::rd_kafka_AdminOptions_set_opaque(options.0.as_ptr(), std::ptr::without_provenance_mut(number)) };
        Ok(options)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours and given back once.
        unsafe { c::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

/// An answer.
struct Event(NonNull<c::rd_kafka_event_t>);

impl Event {
    fn succeeded(&self) -> KafkaResult<()> {
        // SAFETY: the event is alive.
        let code = unsafe { c::rd_kafka_event_error(self.0.as_ptr()) };
        if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(())
        } else {
            Err(KafkaError::AdminOp(code.into()))
        }
    }

    /// The number of the question.
    fn number(&self) -> usize {
        // SAFETY: the event is alive; its opaque is the number that the question was given.
        let number: *mut c_void = unsafe { c::rd_kafka_event_opaque(self.0.as_ptr()) };
        number.addr()
    }

    fn committed(&self) -> KafkaResult<Committed> {
        self.succeeded()?;
        // SAFETY: the event is alive; the result is part of it, null if it is another's answer.
        let result = unsafe { c::rd_kafka_event_ListConsumerGroupOffsets_result(self.0.as_ptr()) };
        if result.is_null() {
            return Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail));
        }
        let mut count = 0;
        // SAFETY: the result is alive as long as the event; the call gives an array of `count` pointers that live as long.
        let groups = unsafe { c::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count) };
        let mut committed = Committed::new();
        // SAFETY: as the call above says.
        for group in unsafe { array(groups, count) } {
            // SAFETY: an element of the array; its error is null or lives as long as the event.
            let error = unsafe { c::rd_kafka_group_result_error(*group) };
            if !error.is_null() {
                // SAFETY: not null, and alive as long as the event.
                let code = unsafe { c::rd_kafka_error_code(error) };
                return Err(KafkaError::AdminOp(code.into()));
            }
            // SAFETY: an element of the array; its list is null or lives as long as the event.
            let list = unsafe { c::rd_kafka_group_result_partitions(*group).as_ref() };
            let Some(list) = list else { continue };
            let elements = usize::try_from(list.cnt).unwrap_or(0);
            // SAFETY: a list has `cnt` elements one behind the other, and lives as long as the event.
            for element in unsafe { array(list.elems.cast_const(), elements) } {
                let known = element.err == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && element.offset >= 0;
                // SAFETY: an element's topic is a C string that lives as long as the list.
                let topic = unsafe { text(element.topic) };
                committed.extend(topic.filter(|_| known).map(|topic| ((topic, element.partition), element.offset)));
            }
        }
        Ok(committed)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours and given back once.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// What librdkafka gives as a pointer and a count; a null pointer is nothing.
///
/// # Safety
/// `first` is null or begins `count` elements that live as long as they are used.
unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// A C string as text; null is nothing.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

fn timed_out() -> KafkaError {
    KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)
}
