//! What a cluster says of topics by name: which topic of that name it is now (its id), and whether it is compacted.
//!
//! rdkafka knows no topic ids; and its admin client would be one more client with connections of its own, and would ask
//! for every key of a topic's configuration. Here a client that is there already is asked, for one key, and any broker
//! will do: librdkafka's default is the controller, which may be the one that is down. Both questions create nothing:
//! librdkafka's admin requests never allow a topic to be created. They block, for at most the timeout.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use uuid::Uuid;

/// The id of each topic, as `broker` knows it: it is never used again, by no other topic. Topics that do not exist or refuse us are absent, and
/// so are all on brokers that have no ids (before 2.8).
///
/// # Errors
/// When nobody answers in time.
pub fn ids<C: ClientContext>(
    (client, broker): (&Client<C>, i32),
    topics: &[&str],
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, Uuid>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = c_names(topics)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: as many pointers to texts as are said, alive for the call, which copies them.
    let collection = unsafe { c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let collection = Owned::new(collection, c::rd_kafka_TopicCollection_destroy)?;
    let api = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = ask((client, broker), api, timeout, |client, options, queue| {
        // SAFETY: all four are alive; the call copies topics and options and answers on the queue.
        unsafe { c::rd_kafka_DescribeTopics(client, collection.get(), options, queue) }
    })?;
    // SAFETY: the event is alive, and what the call gives is its own; null if it is of another kind.
    let result = unsafe { c::rd_kafka_event_DescribeTopics_result(event.get()) };
    if result.is_null() {
        return Err(failed(RDKafkaErrorCode::Fail));
    }
    let mut count = 0;
    // SAFETY: the result is not null and lives as long as the event; the call sets the count.
    let first = unsafe { c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
    // SAFETY: so many pointers, which live as long as the event.
    let described = unsafe { slice(first, count) };
    let mut ids = BTreeMap::new();
    for topic in described.iter().copied() {
        // SAFETY: of the list above; an error, a name and an id that live as long as the event. `error_code` takes null.
        let (code, name, id) = unsafe {
            let code = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic));
            (code, text(c::rd_kafka_TopicDescription_name(topic)), c::rd_kafka_TopicDescription_topic_id(topic))
        };
        if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || id.is_null() {
            continue;
        }
        // SAFETY: the id is not null and alive.
        let (high, low) =
            unsafe { (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id)) };
        let id = Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned());
        ids.extend(name.filter(|_| !id.is_nil()).map(|name| (name, id)));
    }
    Ok(ids)
}

/// One key of each topic's configuration, as it is in force, from `broker`. Topics that do not exist, or whose configuration we may not
/// see (`DESCRIBE_CONFIGS`), are absent.
///
/// # Errors
/// When nobody answers in time.
pub fn configs<C: ClientContext>(
    (client, broker): (&Client<C>, i32),
    topics: &[&str],
    key: &str,
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, String>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (names, key) = (c_names(topics)?, CString::new(key).map_err(KafkaError::Nul)?);
    let mut resources = Vec::new();
    for name in &names {
        let topic = c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is alive for the call, which copies it.
        let resource = unsafe { c::rd_kafka_ConfigResource_new(topic, name.as_ptr()) };
        let resource = Owned::new(resource, c::rd_kafka_ConfigResource_destroy)?;
        // SAFETY: all are alive; the texts are copied. A question sends the names of keys only: the value says nothing.
        let code = unsafe { c::rd_kafka_ConfigResource_set_config(resource.get(), key.as_ptr(), c"".as_ptr()) };
        succeeded(code)?;
        resources.push(resource);
    }
    let mut pointers: Vec<*mut c::rd_kafka_ConfigResource_t> = resources.iter().map(Owned::get).collect();
    let api = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    let event = ask((client, broker), api, timeout, |client, options, queue| {
        let (first, count) = (pointers.as_mut_ptr(), pointers.len());
        // SAFETY: all are alive, and so many resources as are said; the call copies them and answers on the queue.
        unsafe { c::rd_kafka_DescribeConfigs(client, first, count, options, queue) }
    })?;
    // SAFETY: the event is alive, and what the call gives is its own; null if it is of another kind.
    let result = unsafe { c::rd_kafka_event_DescribeConfigs_result(event.get()) };
    if result.is_null() {
        return Err(failed(RDKafkaErrorCode::Fail));
    }
    let mut count = 0;
    // SAFETY: the result is not null and lives as long as the event; the call sets the count.
    let first = unsafe { c::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count) };
    // SAFETY: so many pointers, which live as long as the event.
    let described = unsafe { slice(first, count) };
    let mut values = BTreeMap::new();
    for resource in described.iter().copied() {
        // SAFETY: of the list above; its name and its entries live as long as the event, and the call sets the count.
        let (name, entries) = unsafe {
            let mut count = 0;
            let first = c::rd_kafka_ConfigResource_configs(resource, &raw mut count);
            (text(c::rd_kafka_ConfigResource_name(resource)), slice(first, count))
        };
        for entry in entries.iter().copied() {
            // SAFETY: of the list above; texts that live as long as the event, or null.
            let (found, value) =
                unsafe { (text(c::rd_kafka_ConfigEntry_name(entry)), text(c::rd_kafka_ConfigEntry_value(entry))) };
            if let (Some(name), Some(value)) = (&name, value)
                && found.is_some_and(|found| found.as_bytes() == key.as_bytes())
            {
                values.insert(name.clone(), value);
            }
        }
    }
    Ok(values)
}

/// Asks, and waits for the one answer.
fn ask<C: ClientContext>(
    (client, broker): (&Client<C>, i32),
    api: c::rd_kafka_admin_op_t,
    timeout: Duration,
    question: impl FnOnce(*mut c::rd_kafka_t, *const c::rd_kafka_AdminOptions_t, *mut c::rd_kafka_queue_t),
) -> KafkaResult<Owned<c::rd_kafka_event_t>> {
    let client = client.native_ptr();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive: the caller has a reference to it until we return.
    let (queue, options) = unsafe { (c::rd_kafka_queue_new(client), c::rd_kafka_AdminOptions_new(client, api)) };
    let queue = Owned::new(queue, c::rd_kafka_queue_destroy)?;
    let options = Owned::new(options, c::rd_kafka_AdminOptions_destroy)?;
    let mut words: [c_char; 256] = [0; 256];
    // SAFETY: the options are alive, and the buffer is as large as is said.
    let code = unsafe {
        c::rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms, words.as_mut_ptr(), words.len())
    };
    succeeded(code)?;
    // SAFETY: as above.
    let code = unsafe { c::rd_kafka_AdminOptions_set_broker(options.get(), broker, words.as_mut_ptr(), words.len()) };
    succeeded(code)?;
    question(client, options.get(), queue.get());
    // librdkafka answers by the timeout, with an error if need be; a moment more, so that it is its answer that we get.
    // SAFETY: the queue is alive; what the call gives is ours.
    let event = unsafe { c::rd_kafka_queue_poll(queue.get(), timeout_ms.saturating_add(1_000)) };
    let event =
        Owned::new(event, c::rd_kafka_event_destroy).map_err(|_| failed(RDKafkaErrorCode::OperationTimedOut))?;
    // SAFETY: the event is alive.
    succeeded(unsafe { c::rd_kafka_event_error(event.get()) })?;
    Ok(event)
}

/// Something of librdkafka's that is ours alone, given back once.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> KafkaResult<Self> {
        let pointer = NonNull::new(pointer).ok_or_else(|| failed(RDKafkaErrorCode::Fail))?;
        Ok(Self { pointer, destroy })
    }
    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: ours alone (each is made from a call that gives it away) and given back once, by its own kind's call.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

fn c_names(topics: &[&str]) -> KafkaResult<Vec<CString>> {
    topics.iter().map(|topic| CString::new(*topic).map_err(KafkaError::Nul)).collect()
}

/// `count` elements from `first` on; none if it is null.
///
/// # Safety
/// There are so many, and they live for `'a`.
unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise, and the pointer is not null.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// # Safety
/// Null, or a text that ends in a zero and lives for the call.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise, and the pointer is not null.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn succeeded(code: c::rd_kafka_resp_err_t) -> KafkaResult<()> {
    if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(failed(code.into())) }
}

fn failed(code: RDKafkaErrorCode) -> KafkaError {
    KafkaError::AdminOp(code)
}
