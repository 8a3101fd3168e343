//! One audit partition that is being read: what waits to be applied, and what may be said about how far it is. Pure but
//! for the monotonic clock. Limits: [`RECORDS_MAX`], [`BATCH_BYTES_MAX`], [`AGE_MAX`].

use std::time::{Duration, Instant};

use chaperone_collector::{AuditPartition, Batch, Item};

use super::skew::Skew;
use crate::kafka::asked::Asked;
use crate::kafka::position::Position;
use crate::kafka::stall::Stall;

/// Records in a batch.
pub const RECORDS_MAX: usize = 1_000;
/// Bytes of records in a batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// How long a record waits for others.
pub const AGE_MAX: Duration = Duration::from_millis(200);

/// See the module's head.
pub struct Open {
    source: AuditPartition,
    log: u32,
    items: Vec<Item>,
    bytes: usize,
    since: Option<Instant>,
    /// One past the last offset read.
    read_to: i64,
    /// One past the last offset applied.
    applied_to: i64,
    /// Where the store stands at least: where it stood, until something was applied. A log may begin behind that.
    stands_at: i64,
    position: Position,
    asked: Asked,
    told_ms: Option<i64>,
    skew: Skew,
    stall: Stall,
}

impl Open {
    /// Reads from `next` of that log; the store stands there, or before.
    pub fn new(source: AuditPartition, (log, next): (u32, i64), stands_at: i64, skew: Skew) -> Self {
        Self {
            source,
            log,
            items: Vec::new(),
            bytes: 0,
            since: None,
            read_to: next,
            applied_to: next,
            stands_at: stands_at.min(next),
            position: Position::default(),
            asked: Asked::default(),
            told_ms: None,
            skew,
            stall: Stall::default(),
        }
    }
    /// Where it is read.
    pub fn source(&self) -> &AuditPartition {
        &self.source
    }
    /// One past the last offset read.
    pub fn read_to(&self) -> i64 {
        self.read_to
    }
    /// See [`Skew`].
    pub fn skew(&self) -> &Skew {
        &self.skew
    }
    /// Whether positions can be believed; see [`Position`].
    pub fn is_fresh(&self) -> bool {
        self.position.is_fresh()
    }
    /// Where the store stands at least.
    pub fn stands_at(&self) -> i64 {
        self.stands_at
    }
    /// What the consumer says about its position: trailing records that are not shown are passed.
    pub fn position(&mut self, says: Option<i64>) {
        if let Some(position) = self.position.believe(says).filter(|position| *position > self.read_to) {
            self.read_to = position;
            self.stall.moved(Instant::now());
        }
    }

    /// A record of `bytes` bytes was read.
    pub fn push(&mut self, item: Item, bytes: usize, now: Instant) {
        self.position.delivered();
        if item.offset < self.read_to {
            return;
        }
        self.read_to = item.offset + 1;
        self.stall.moved(now);
        self.skew.note(item.received_ms, item.append_ms);
        self.items.push(item);
        self.bytes += bytes;
        self.since.get_or_insert(now);
    }

    /// Whether what waits should be applied now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.items.len() >= RECORDS_MAX
            || self.bytes >= BATCH_BYTES_MAX
            || self.since.is_some_and(|since| now.saturating_duration_since(since) >= AGE_MAX)
    }

    /// What waits, as a batch; `None` if nothing was read since the last.
    pub fn batch(&mut self) -> Option<Batch> {
        if self.read_to == self.applied_to {
            return None;
        }
        self.bytes = 0;
        self.since = None;
        let (source, items) = (self.source.clone(), std::mem::take(&mut self.items));
        Some(Batch { source, log: self.log, from: Some(self.stands_at), items, next: self.read_to })
    }

    /// The batch up to `next` was applied.
    pub fn applied(&mut self, next: i64) {
        self.applied_to = self.applied_to.max(next);
        self.stands_at = self.applied_to;
    }

    /// At or after `asked_ms` the partition ended at `end`.
    pub fn answer(&mut self, asked_ms: i64, end: i64) {
        self.asked.answer(asked_ms, end);
        self.stall.told(end > self.read_to, Instant::now());
    }
    /// See [`Stall`].
    pub fn stall(&self) -> &Stall {
        &self.stall
    }
    /// Records between what was read and the last end that was asked for.
    pub fn behind(&self) -> u64 {
        let behind = self.asked.newest_end().map_or(0, |end| end.saturating_sub(self.read_to));
        u64::try_from(behind).unwrap_or(0)
    }
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The latest time, by our clock, before which everything has been applied; `None` if it was told before.
    pub fn through_ms(&mut self) -> Option<i64> {
        let reached = self.asked.reach(self.applied_to)?;
        if self.told_ms.is_some_and(|told| told >= reached) {
            return None;
        }
        self.told_ms = Some(reached);
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_collector::{Content, Refused};

    fn open() -> Open {
        let source = AuditPartition { cluster: "k".into(), topic: "a".into(), partition: 0 };
        Open::new(source, (0, 5), 0, Skew::default())
    }
    fn item(offset: i64) -> Item {
        let refused = Refused { length: 0, sha256: String::new(), reason: String::new() };
        Item { offset, append_ms: 90, received_ms: 100, content: Content::Refused(refused) }
    }

    #[test]
    fn a_batch_is_what_was_read_since_the_last_and_no_offset_twice() {
        let now = Instant::now();
        let mut o = open();
        assert!(o.batch().is_none() && !o.is_due(now + AGE_MAX));
        for offset in [4, 5, 5, 7] {
            o.push(item(offset), 10, now);
        }
        assert!(!o.is_due(now) && o.is_due(now + AGE_MAX));
        let b = o.batch().expect("a batch");
        assert_eq!((b.items.iter().map(|i| i.offset).collect::<Vec<_>>(), b.next), (vec![5, 7], 8));
        assert_eq!((b.from, o.stands_at()), (Some(0), 0), "the store has not heard that the log begins behind");
        o.applied(b.next);
        assert_eq!(o.stands_at(), 8);
        assert!(o.batch().is_none());
        assert_eq!(o.skew().ms(100), Some(10));
    }

    #[test]
    fn full_batches_are_due_at_once() {
        let now = Instant::now();
        let mut o = open();
        o.push(item(5), BATCH_BYTES_MAX, now);
        assert!(o.is_due(now));
        let mut o = open();
        for offset in 0..1_005 {
            o.push(item(offset), 0, now);
        }
        assert!(o.is_due(now));
    }

    #[test]
    fn through_speaks_of_what_was_applied_not_of_what_was_read() {
        let now = Instant::now();
        let mut o = open();
        o.answer(1_000, 6);
        o.push(item(5), 1, now);
        let b = o.batch().expect("a batch");
        assert_eq!(o.through_ms(), None);
        o.applied(b.next);
        assert_eq!(o.through_ms(), Some(1_000));
        assert_eq!(o.through_ms(), None, "said once");
        o.answer(2_000, 6);
        assert_eq!(o.through_ms(), Some(2_000), "an idle partition's time moves on");
    }

    #[test]
    fn records_that_are_not_shown_are_passed_with_an_empty_batch() {
        let mut o = open();
        o.answer(1_000, 9);
        o.position(Some(50));
        assert!(o.batch().is_none(), "a position of an earlier assignment");
        o.position(None);
        o.position(Some(9));
        let b = o.batch().expect("a batch");
        assert_eq!((b.items.len(), b.next), (0, 9));
        o.applied(9);
        assert_eq!(o.through_ms(), Some(1_000));
    }
}
