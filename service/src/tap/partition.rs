//! One partition that this tap holds a claim on: what it counts, what it has cut and not got acknowledged, and what it
//! may say about it. Pure but for the monotonic clock.
//!
//! Intervals are sent one at a time and in order: the next one leaves when the last is acknowledged, so that no hole is
//! of our making. A mark only speaks of positions whose intervals have all left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chaperone_audit::wire::{Anchor, Interval, PartitionMark};
use chaperone_audit::{Rule, Width};
use chaperone_collector::Claim;

use super::count::PartitionCount;
use crate::kafka::asked::Asked;
use crate::kafka::message::Seen;
use crate::kafka::position::Position;
use crate::kafka::stall::Stall;
use crate::metrics::meters::TopicBeat;

/// How long a claim waits for the message that it recognises the log by; compaction may have removed it.
const VERIFY_FOR: Duration = Duration::from_secs(15);
/// Pause after an interval could not be sent.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of a delivered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It counts.
    Yes,
    /// It was counted before, or only proves which log this is.
    No,
    /// It is not the message that was counted at its offset: the log was truncated or re-created.
    OtherLog,
}

/// Where the last acknowledged interval went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Where the interval ended.
    pub to: i64,
    /// Partition of the audit topic.
    pub audit_partition: i32,
    /// Offset there.
    pub audit_offset: i64,
}

/// See the module's head.
pub struct Partition {
    topic: String,
    number: i32,
    count: PartitionCount,
    verify: Option<(Anchor, Instant)>,
    outbox: VecDeque<Interval>,
    in_flight: Option<(u64, Interval)>,
    retry_at: Option<Instant>,
    acked: Option<Acked>,
    asked: Asked,
    held: Option<(i64, i64)>,
    position: Position,
    short: u32,
    stall: Stall,
    traffic: bool,
    /// Cut since the last heartbeat.
    counted: (u64, u64),
}

impl Partition {
    /// A granted claim on a partition of `topic`, the audited name; reads begin at [`start`](Self::start).
    pub fn new(topic: &str, number: i32, claim: Claim, log_start: i64, rule: Rule, width: Width) -> Self {
        let readable = claim.anchor.clone().filter(|a| a.offset >= log_start && a.offset < claim.next);
        let mut partition = Self {
            topic: topic.to_owned(),
            number,
            count: PartitionCount::new(topic, number, claim, rule, width),
            verify: readable.map(|a| (a, Instant::now() + VERIFY_FOR)),
            outbox: VecDeque::new(),
            in_flight: None,
            retry_at: None,
            acked: None,
            asked: Asked::default(),
            held: None,
            position: Position::default(),
            short: 0,
            stall: Stall::default(),
            traffic: false,
            counted: (0, 0),
        };
        partition.gone_below(log_start);
        partition
    }

    /// Where the consumer reads from: the message to recognise the log by, else the next that counts.
    pub fn start(&self) -> i64 {
        self.verify.as_ref().map_or(self.count.next(), |(anchor, _)| anchor.offset)
    }
    /// The topic's audited name.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The claim's number.
    pub fn epoch(&self) -> u64 {
        self.count.claim().epoch
    }
    /// The next offset that counts.
    pub fn next(&self) -> i64 {
        self.count.next()
    }
    /// The last acknowledged interval.
    pub fn acked(&self) -> Option<Acked> {
        self.acked
    }
    /// Windows that wait to be sent.
    pub fn queued_windows(&self) -> usize {
        self.outbox.iter().chain(self.in_flight.iter().map(|(_, i)| i)).map(|i| i.windows.len()).sum()
    }
    /// Whether there was traffic since the last call.
    pub fn take_traffic(&mut self) -> bool {
        std::mem::take(&mut self.traffic)
    }

    /// The consumer was assigned anew; see [`Position`].
    pub fn assigned(&mut self) {
        self.position.assigned();
    }
    /// Whether positions can be believed.
    pub fn is_fresh(&self) -> bool {
        self.position.is_fresh()
    }
    /// What the consumer says about its position.
    pub fn position(&mut self, says: Option<i64>) {
        if let Some(position) = self.position.believe(says) {
            let before = self.count.next();
            self.count.pass(position);
            self.note_progress(before);
        }
    }

    /// A delivered message.
    pub fn deliver(&mut self, seen: &Seen) -> Counted {
        self.position.delivered();
        if let Some((anchor, _)) = &self.verify {
            if seen.offset < anchor.offset {
                return Counted::No;
            }
            // A hash made under another rule (another seed) cannot be compared; the message's time still can.
            let comparable = anchor.rule.is_none_or(|rule| rule == self.count.rule());
            let same = anchor.time_ms == seen.time_ms && (anchor.hash == seen.content || !comparable);
            if seen.offset == anchor.offset && !same {
                return Counted::OtherLog;
            }
            // Either recognised, or compacted away and passed.
            self.verify = None;
        }
        let before = self.count.next();
        if !self.count.count(seen) {
            return Counted::No;
        }
        self.traffic = true;
        self.note_progress(before);
        if self.count.is_full() {
            self.cut();
        }
        Counted::Yes
    }

    /// Offsets below `log_start` are gone: what was not counted of them is said to be unaudited. Returns whether the
    /// consumer must be told to read on from there.
    pub fn gone_below(&mut self, log_start: i64) -> bool {
        if log_start <= self.count.next() {
            return false;
        }
        self.cut();
        let gone = self.count.skip(log_start);
        if let Some(gone) = &gone {
            tracing::error!(
                topic = self.topic,
                partition = self.number,
                "offsets {} to {} were gone before they could be counted (retention); their windows are uncertain",
                gone.from,
                gone.to
            );
        }
        self.outbox.extend(gone);
        true
    }

    /// Cuts what was counted.
    pub fn cut(&mut self) {
        let interval = self.count.cut();
        for window in interval.iter().flat_map(|i| &i.windows) {
            self.counted.0 += window.n;
            self.counted.1 = self.counted.1.saturating_add(window.bytes);
        }
        self.outbox.extend(interval);
    }

    /// At or after `asked_ms` the log ended at `end`; before that, everything below `floor` had been read. Returns `true`
    /// when it ended before that for the second time in a row: a single answer may come from a leader that has just taken
    /// over.
    pub fn answer(&mut self, asked_ms: i64, (end, floor): (i64, i64), stable: Option<i64>) -> bool {
        self.short = if end < floor { self.short + 1 } else { 0 };
        if self.short > 0 {
            return self.short >= 2;
        }
        self.asked.answer(asked_ms, end);
        self.stall.told(end > self.count.next(), Instant::now());
        self.held = match stable {
            Some(lso) if lso < end => match self.held {
                Some((before, since_ms)) if before == lso => Some((before, since_ms)),
                _ => Some((lso, asked_ms)),
            },
            Some(_) => None,
            None => self.held.filter(|(lso, _)| *lso < end && self.count.next() < end),
        };
        false
    }

    /// Whether the reader is behind an end that was asked for at or before `ms`.
    pub fn is_behind_since(&self, ms: i64) -> bool {
        self.asked.waits_since(ms)
    }
    /// Whether the reader is behind and does not move, and no open transaction explains it; see [`Stall`].
    pub fn is_stalled(&self, now: Instant, patience: Duration) -> bool {
        self.held.is_none() && self.stall.is_stalled(now, patience)
    }
    /// See [`Stall::lasts`].
    pub fn stall_lasts(&self) -> bool {
        self.stall.lasts()
    }
    /// How it stands, and what was counted since the last call.
    pub fn take_beat(&mut self) -> TopicBeat {
        let (messages, bytes) = std::mem::take(&mut self.counted);
        let behind = self.asked.newest_end().map_or(0, |end| end.saturating_sub(self.count.next()));
        TopicBeat { messages, bytes, partitions: 1, behind: u64::try_from(behind).unwrap_or(0) }
    }

    /// What can be said of this partition now. Call after [`cut`](Self::cut).
    pub fn mark(&mut self, now: Instant) -> Option<PartitionMark> {
        if self.verify.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.verify = None;
        }
        if self.verify.is_some() {
            return None;
        }
        let position = self.count.cut_to();
        let asked_ms = self.asked.reach(position)?;
        Some(PartitionMark {
            topic: self.topic.clone(),
            partition: self.number,
            log: self.count.claim().log,
            epoch: self.epoch(),
            position,
            asked_ms,
            frontier_ms: self.count.frontier_ms(),
            held_since_ms: self.held.map(|(_, since_ms)| since_ms),
        })
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub fn is_settled(&self) -> bool {
        self.outbox.is_empty() && self.in_flight.is_none()
    }

    /// The interval to send now as `id`, and whether it is the last that waits; `None` while one is in flight.
    pub fn depart(&mut self, id: u64, now: Instant) -> Option<(Interval, bool)> {
        if self.in_flight.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let interval = self.outbox.pop_front()?;
        self.in_flight = Some((id, interval.clone()));
        Some((interval, self.outbox.is_empty()))
    }

    /// The interval sent as `id` is on the audit topic.
    pub fn arrived(&mut self, id: u64, audit_partition: i32, audit_offset: i64) {
        if let Some((_, interval)) = self.in_flight.take_if(|(sent, _)| *sent == id) {
            self.acked = Some(Acked { to: interval.to, audit_partition, audit_offset });
            self.retry_at = None;
        }
    }

    /// The interval sent as `id` did not arrive, or may not have: it leaves again as it is.
    pub fn returned(&mut self, id: u64, now: Instant) {
        if let Some((_, interval)) = self.in_flight.take_if(|(sent, _)| *sent == id) {
            self.outbox.push_front(interval);
            self.retry_at = Some(now + RETRY_AFTER);
        }
    }

    fn note_progress(&mut self, before: i64) {
        if self.count.next() != before {
            self.stall.moved(Instant::now());
        }
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
