//! Counting the messages of one topic, by whoever knows the topic beforehand.
//!
//! [`Recorder`](super::Recorder) finds the rule and the line of each message anew, for any thread. A counter has both at
//! hand, so a count costs little more than the hash of the identity. What is counted where is the same.
//!
//! Invariants: those of the recorder. A message of another topic is counted where it belongs, by the recorder.
//!
//! Limits: one thread at a time; a counter has lines in the table beside those of its thread (one for each window and class
//! that it counts in), which it hands over when it is dropped.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

use std::fmt;
use std::sync::Arc;

use chaperone_wal::slots::At;

use super::lines::{Arrival, Brief, Mine};
use super::slot::{Addition, Kind};
use super::table::Table;
use super::ticket::Ticket;
use crate::fingerprint::{Fingerprint, MessageId};
use crate::message::Message;
use crate::rule::Rule;
use crate::short::same;

/// Counts the messages of one topic: [`Recorder::counter`](super::Recorder::counter). Counts until the recorder is closed.
pub struct Counter {
    topic: Arc<str>,
    rule: Rule,
    table: Arc<Table>,
    lines: Mine,
}

/// Counts messages of one topic by what their stamps say: [`Counter::stamped`].
pub struct Stamped<'a> {
    topic: &'a str,
    seed: u64,
    table: &'a Table,
    lines: &'a mut Mine,
}

impl Counter {
    pub(super) fn new(table: &Arc<Table>, topic: &str) -> Self {
        let rule = table.rule_of(topic).clone();
        Self { topic: topic.into(), rule, table: Arc::clone(table), lines: Mine::new(table) }
    }

    /// As [`Recorder::attempt`](super::Recorder::attempt).
    pub fn attempt(&mut self, message: &Message<'_>) -> Ticket {
        let table = &self.table;
        if !same(message.topic, &self.topic) {
            return Ticket::new(table.attempt(message));
        }
        let a = table.observe_by(&self.rule, message, Kind::Attempted);
        let counted = self.lines.count_or_miss(&a);
        Ticket::new(counted.map(|(at, hash)| self.table.counted(at, hash)))
    }

    /// As [`Recorder::seen`](super::Recorder::seen).
    pub fn seen(&mut self, message: &Message<'_>) {
        let table = &self.table;
        if !same(message.topic, &self.topic) {
            return table.seen(message);
        }
        let a = table.observe_by(&self.rule, message, Kind::Seen);
        self.lines.count_or_miss(&a);
    }

    /// For messages that carry the header [`HEADER`](crate::rule::HEADER), by whoever has its two parts at hand: a producer
    /// that [stamps](crate::rule::stamp) by itself, say. `None` where a rule of the topic's own takes time or identity from
    /// elsewhere, so that the stamp does not decide.
    pub fn stamped(&mut self) -> Option<Stamped<'_>> {
        let Self { topic, rule, table, lines } = self;
        rule.is_default().then_some(Stamped { topic, seed: rule.seed(), table, lines })
    }
}

impl Stamped<'_> {
    /// Counts a message that is about to be handed to Kafka with this stamp; `bytes` are those of its key and its value.
    #[inline]
    pub fn attempt(&mut self, id: MessageId, event_ms: i64, bytes: u64) -> Ticket {
        let counted = self.count(Kind::Attempted, id, event_ms, bytes);
        Ticket::new(counted.map(|(at, hash)| self.table.counted(at, hash)))
    }

    /// Counts a message that was processed and had this stamp; `bytes` are those of its key and its value.
    #[inline]
    pub fn seen(&mut self, id: MessageId, event_ms: i64, bytes: u64) {
        self.count(Kind::Seen, id, event_ms, bytes);
    }

    #[inline(always)]
    fn count(&mut self, kind: Kind, id: MessageId, event_ms: i64, bytes: u64) -> Option<(At, Fingerprint)> {
        let hash = id.hash(self.seed);
        let b = Brief { kind, addition: Addition { bytes, hash, event_ms }, now_ms: self.table.clock_ms() };
        match self.lines.count_brief(&b, |_| true) {
            Some(at) => Some((at, hash)),
            None => self.count_slowly(b),
        }
    }

    /// Another window, a time out of range, a line that is new, closed or shared.
    #[cold]
    #[inline(never)]
    fn count_slowly(&mut self, b: Brief) -> Option<(At, Fingerprint)> {
        self.lines.count_or_miss(&self.table.complete(self.topic, &b))
    }
}

impl Mine {
    #[inline(always)]
    fn count_or_miss(&mut self, a: &Arrival<'_>) -> Option<(At, Fingerprint)> {
        match self.count_of_topic(a) {
            Ok(at) => Some((at, a.addition.hash)),
            Err(missed) => self.table().miss(*a, missed),
        }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stamped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamped").field("topic", &self.topic).finish_non_exhaustive()
    }
}
