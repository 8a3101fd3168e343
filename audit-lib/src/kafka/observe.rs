//! rdkafka's messages as the rules see them: borrowed, for producers, consumers and taps alike.
//!
//! Limit: rdkafka panics on a header whose *name* is not UTF-8 (`to_str().unwrap()` in its accessor), and anyone who
//! may write to a topic can send one. Such a header is caught and passed over: it is none of ours. With `panic=abort`
//! it cannot be caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedHeaders, Headers as KafkaHeaders, Message as KafkaMessage, OwnedHeaders, Timestamp};

use crate::message::{Headers, Message, NoHeaders};
use crate::short::same;

impl Headers for BorrowedHeaders {
    fn header(&self, name: &str) -> Option<&[u8]> {
        first(self, name)
    }
}

impl Headers for OwnedHeaders {
    fn header(&self, name: &str) -> Option<&[u8]> {
        first(self, name)
    }
}

pub(super) fn first<'a, H: KafkaHeaders>(headers: &'a H, name: &str) -> Option<&'a [u8]> {
    let get = |i| catch_unwind(AssertUnwindSafe(|| headers.try_get(i))).ok().flatten().filter(|h| same(h.key, name));
    // Our own is often the only one.
    get(0).or_else(|| (1..headers.count()).find_map(get))?.value
}

/// A message of rdkafka, borrowed, as [`Recorder`](crate::recorder::Recorder) and [`Rule`](crate::Rule) take it.
///
/// Its time is the record's own; where the topic has `LogAppendTime`, that is the broker's and is told as such.
pub fn observe_message<M>(message: &M) -> Message<'_>
where
    M: KafkaMessage,
    M::Headers: Headers + Sized,
{
    let headers: &dyn Headers = match message.headers() {
        Some(headers) => headers,
        None => &NoHeaders,
    };
    Message {
        topic: message.topic(),
        key: message.key(),
        value: message.payload(),
        headers,
        timestamp_ms: message.timestamp().to_millis(),
        broker_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
    }
}
