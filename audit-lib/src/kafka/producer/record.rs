//! Records on their way into librdkafka: time, stamp, the view that the rules take, and the opaque taken off and put on.

use rdkafka::message::{Header, OwnedHeaders, ToBytes};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;

use crate::message::{Headers, Message, NoHeaders};
use crate::rule;

/// Whether messages get an identity of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamping {
    /// Messages are left as they are: the content is the identity.
    #[default]
    Off,
    /// Messages without one get the `chaperone` header (16-byte id, 8-byte event time): for pipelines that rewrite
    /// payloads or send equal ones. A record handed back with an error keeps its stamp, so that a re-send is the same.
    On,
}

/// Sets a record's `CreateTime` where it has none, and stamps it if asked to.
pub(super) fn prepare<K, P, D>(record: &mut BaseRecord<'_, K, P, D>, stamping: Stamping, now_ms: impl FnOnce() -> i64)
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    // To librdkafka 0 is "now", decided later: decide it here, or the stages would see another time.
    let event_ms = match record.timestamp {
        Some(given) if given != 0 => given,
        _ => now_ms(),
    };
    record.timestamp = Some(event_ms);
    if stamping == Stamping::Off || as_message(record).headers.header(rule::HEADER).is_some() {
        return;
    }
    // Equal messages are told apart by their stamps: a v7 UUID is new for each.
    let id = crate::MessageId(uuid::Uuid::now_v7().as_u128());
    let stamp = rule::stamp(id, event_ms);
    let headers = record.headers.take().unwrap_or_else(|| OwnedHeaders::new_with_capacity(1));
    record.headers = Some(headers.insert(Header { key: rule::HEADER, value: Some(&stamp) }));
}

/// The record as the rules see it.
pub(super) fn as_message<'r, K, P, D>(record: &'r BaseRecord<'_, K, P, D>) -> Message<'r>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    let headers: &dyn Headers = match &record.headers {
        Some(headers) => headers,
        None => &NoHeaders,
    };
    Message {
        topic: record.topic,
        key: record.key.map(ToBytes::to_bytes),
        value: record.payload.map(ToBytes::to_bytes),
        headers,
        timestamp_ms: record.timestamp,
        broker_time: false,
    }
}

/// Takes the opaque off a record.
pub(super) fn split<K, P, D>(record: BaseRecord<'_, K, P, D>) -> (BaseRecord<'_, K, P>, D)
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    let BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque } = record;
    (BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque: () }, delivery_opaque)
}

/// Puts an opaque on a record.
pub(super) fn join<K, P, D>(record: BaseRecord<'_, K, P>, delivery_opaque: D) -> BaseRecord<'_, K, P, D>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    D: IntoOpaque,
{
    let BaseRecord { topic, partition, payload, key, timestamp, headers, .. } = record;
    BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque }
}
