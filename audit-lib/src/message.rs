//! A message as the recorder sees it: borrowed, never copied, never stored.

use crate::short::same;

/// Looks a header up by name; the first one wins, at every stage.
pub trait Headers {
    /// The value of the first header called `name`; `None` if there is none or its value is null.
    fn header(&self, name: &str) -> Option<&[u8]>;
}

/// No headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| same(n.as_ref(), name)).map(|(_, v)| v.as_ref())
    }
}
impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.as_slice().header(name)
    }
}
impl<N: AsRef<str>, V: AsRef<[u8]>, const K: usize> Headers for [(N, V); K] {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.as_slice().header(name)
    }
}

/// One message at one stage.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Kafka topic (after the stage's renames).
    pub topic: &'a str,
    /// Key, `None` for null.
    pub key: Option<&'a [u8]>,
    /// Value, `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a dyn Headers,
    /// The record's own timestamp in milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// The timestamp is the broker's (`LogAppendTime`): when it was appended here, not when it happened.
    pub broker_time: bool,
}

impl Message<'_> {
    /// Bytes counted: key and value, uncompressed.
    #[inline]
    pub fn bytes(&self) -> u64 {
        (self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)) as u64
    }
}
