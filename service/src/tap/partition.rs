//! One partition that this tap holds a claim on: what it counts, what it has cut and not got acknowledged, and what it
//! may say about it. Pure but for the monotonic clock.
//!
//! Intervals are sent one at a time and in order: the next one leaves when the last is acknowledged, so that no hole is
//! of our making. A mark only speaks of positions whose intervals have all left. Where topics have ids, an interval leaves
//! only once the topic's id was asked for after it was read and is still the claim's: messages of a topic that was made
//! anew under the tap's eyes are never counted as the old one's, and so never twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chaperone_audit::wire::{Anchor, GapCause, Interval, PartitionMark};
use chaperone_audit::{Rule, Width};
use chaperone_collector::Claim;
use uuid::Uuid;

use super::count::PartitionCount;
use crate::kafka::asked::Asked;
use crate::kafka::message::Seen;
use crate::kafka::position::Position;
use crate::kafka::stall::Stall;
use crate::kafka::young::Young;
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

/// Whether a topic is the one that the claim is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It is, or topics have no ids.
    Same,
    /// It was deleted, and another has its name.
    Other,
    /// Nobody could say.
    Unknown,
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
    /// The topic that the claim is on.
    topic_id: Option<Uuid>,
    /// Everything below was read while the topic was that one.
    confirmed: i64,
    outbox: VecDeque<Interval>,
    in_flight: Option<(u64, Interval)>,
    retry_at: Option<Instant>,
    acked: Option<Acked>,
    asked: Asked,
    held: Option<(i64, i64)>,
    position: Position,
    /// Compaction runs on the topic.
    compacted: bool,
    young: Young,
    short: u32,
    stall: Stall,
    /// It has moved since the last cut; when, is not asked for each message.
    moved: bool,
    traffic: bool,
    /// Cut since the last heartbeat, and in all.
    counted: (u64, u64),
    in_all: (u64, u64),
}

impl Partition {
    /// A granted claim on a partition of `topic`, the audited name; reads begin at [`start`](Self::start).
    pub fn new(topic: &str, number: i32, claim: Claim, log_start: i64, rule: Rule, width: Width) -> Self {
        let readable = claim.anchor.clone().filter(|a| a.offset >= log_start && a.offset < claim.next);
        let mut partition = Self {
            topic: topic.to_owned(),
            number,
            topic_id: claim.topic_id,
            confirmed: claim.next,
            count: PartitionCount::new(topic, number, claim, rule, width),
            verify: readable.map(|a| (a, Instant::now() + VERIFY_FOR)),
            outbox: VecDeque::new(),
            in_flight: None,
            retry_at: None,
            acked: None,
            asked: Asked::default(),
            held: None,
            position: Position::default(),
            compacted: false,
            young: Young::default(),
            short: 0,
            stall: Stall::default(),
            moved: false,
            traffic: false,
            counted: (0, 0),
            in_all: (0, 0),
        };
        partition.gone_below(log_start);
        partition
    }

    /// Where the consumer reads from: the message to recognise the log by, else the next that counts.
    pub fn start(&self) -> i64 {
        self.verify.as_ref().map_or(self.count.next(), |(anchor, _)| anchor.offset)
    }
    /// How its messages' time and identity are found.
    pub fn rule(&self) -> &Rule {
        self.count.rule()
    }
    /// The topic's audited name.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The claim's number.
    pub fn epoch(&self) -> u64 {
        self.count.claim().epoch
    }
    /// The log that the claim is on.
    pub fn log(&self) -> u32 {
        self.count.claim().log
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
    /// The consumer gave an error about an offset; see [`Position`].
    pub fn refused(&mut self) {
        self.position.refused();
    }
    /// Whether positions will not be believed until the consumer is assigned anew.
    pub fn is_spoilt(&self) -> bool {
        self.position.is_spoilt()
    }
    /// What the consumer says about its position.
    pub fn position(&mut self, says: Option<i64>) {
        if let Some(position) = self.position.believe(says) {
            let before = self.count.next();
            self.note_gap(position);
            self.count.pass(position);
            self.note_progress(before);
        }
    }

    /// Whether compaction runs on the topic; asked before the partition is read.
    pub fn compacted(&mut self, compacted: bool) {
        self.compacted = compacted;
    }

    /// The log ended at `end` when it was asked, which was not before `asked_at`.
    pub fn ended(&mut self, end: i64, asked_at: Instant) {
        self.young.ended(end, asked_at);
    }

    /// Nothing was delivered from the next offset up to `to`. On a compacted topic that may have been messages, unless
    /// they are too young: then they are transaction markers or aborted, as on any topic.
    fn note_gap(&mut self, to: i64) {
        if !self.compacted || to <= self.count.next() || self.young.is(self.count.next(), Instant::now()) {
            return;
        }
        if self.count.is_clean() {
            self.cut();
        }
        self.count.removed(to);
    }

    /// A delivered message.
    pub fn deliver(&mut self, seen: &Seen) -> Counted {
        self.position.delivered();
        if let Some((anchor, _)) = &self.verify {
            if seen.offset < anchor.offset {
                return Counted::No;
            }
            // A hash made under another rule (another seed) cannot be compared; the message's time still can.
            let comparable = anchor.rule.is_none_or(|rule| rule == self.count.rule().id());
            let same = anchor.time_ms == seen.time_ms && (anchor.hash == seen.content || !comparable);
            if seen.offset == anchor.offset && !same {
                return Counted::OtherLog;
            }
            // Either recognised, or compacted away and passed.
            self.verify = None;
        }
        let before = self.count.next();
        if seen.offset > before {
            self.note_gap(seen.offset);
        }
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
        let gone = self.count.skip(log_start, GapCause::Gone);
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

    /// The message that the log was to be recognised by cannot be read: it is not recognised, and read on from what counts
    /// next. `false` if nothing was to be recognised any more.
    pub fn give_up_recognising(&mut self) -> bool {
        self.verify.take().is_some()
    }

    /// From `first` on the log is corrupt, and can be read again from `to` on: what lies between is said to be unaudited.
    /// Returns it. Below `first` there was nothing more to count.
    pub fn skip_corrupt(&mut self, first: i64, to: i64) -> Option<(i64, i64)> {
        self.count.pass(first.min(to));
        self.cut();
        let gap = self.count.skip(to, GapCause::Corrupt)?;
        let range = (gap.from, gap.to);
        self.outbox.push_back(gap);
        self.stall.moved(Instant::now());
        Some(range)
    }

    /// Cuts what was counted.
    pub fn cut(&mut self) {
        if std::mem::take(&mut self.moved) {
            self.stall.moved(Instant::now());
        }
        let run = self.count.cut();
        if let Some(gaps) = run.as_ref().and_then(|run| run.gaps) {
            tracing::warn!(
                topic = self.topic,
                partition = self.number,
                "{} offsets from {} to {} hold nothing: compaction may have removed messages before they were counted; their windows are uncertain",
                gaps.offsets,
                gaps.from,
                gaps.to
            );
        }
        for window in run.iter().flat_map(|i| &i.windows) {
            self.counted.0 += window.n;
            self.counted.1 = self.counted.1.saturating_add(window.bytes);
            self.in_all.0 += window.n;
            self.in_all.1 = self.in_all.1.saturating_add(window.bytes);
        }
        self.outbox.extend(run);
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

    /// The topic has the id `is`, asked for when everything below `floor` had been read.
    pub fn identify(&mut self, is: Option<Uuid>, floor: i64) -> Identity {
        match (self.topic_id, is) {
            (Some(was), Some(is)) if was != is => return Identity::Other,
            (Some(_), None) => return Identity::Unknown,
            // From now on it is known.
            _ => self.topic_id = is,
        }
        self.confirmed = self.confirmed.max(floor);
        Identity::Same
    }

    /// Whether the reader is behind an end that was asked for at or before `ms`.
    pub fn is_behind_since(&self, ms: i64) -> bool {
        self.asked.waits_since(ms)
    }
    /// Whether its leader is out of our reach.
    pub fn reach(&mut self, out_of_reach: bool, now: Instant) {
        self.stall.reach(out_of_reach, now);
    }
    /// Whether the reader is behind and does not move, and neither an open transaction nor a leader out of reach explains
    /// it; see [`Stall`].
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
        TopicBeat { messages, bytes, partitions: 1, behind: self.behind() }
    }
    /// Offsets between the reader and the last end that it has not reached.
    fn behind(&self) -> u64 {
        let behind = self.asked.newest_end().map_or(0, |end| end.saturating_sub(self.count.next()));
        u64::try_from(behind).unwrap_or(0)
    }
    /// How much the reader has before it, at most: offsets, and bytes if messages are as large as they were.
    pub fn backlog(&self) -> (u64, u64) {
        let (offsets, (messages, bytes)) = (self.behind(), self.in_all);
        (offsets, offsets.saturating_mul(bytes.checked_div(messages).unwrap_or(0)))
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
        // A transaction that was open before there was a watermark must be told of too: everything of 1970 is read.
        let asked_ms = self.asked.reach(position).or(self.held.map(|_| 0))?;
        Some(PartitionMark {
            topic: self.topic.clone(),
            partition: self.number,
            log: self.count.claim().log,
            epoch: self.epoch(),
            position,
            asked_ms,
            frontier_ms: self.count.frontier_ms(asked_ms),
            held_since_ms: self.held.map(|(_, since_ms)| since_ms),
        })
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub fn is_settled(&self) -> bool {
        self.outbox.is_empty() && self.in_flight.is_none()
    }
    /// Whether something is on its way, or may leave.
    pub fn is_sending(&self) -> bool {
        self.in_flight.is_some() || self.outbox.front().is_some_and(|interval| self.may_leave(interval))
    }
    fn may_leave(&self, interval: &Interval) -> bool {
        self.topic_id.is_none() || interval.to <= self.confirmed
    }

    /// The interval to send now as `id`, and whether it is the last that waits; `None` while one is in flight.
    pub fn depart(&mut self, id: u64, now: Instant) -> Option<(Interval, bool)> {
        if self.in_flight.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.outbox.front().filter(|interval| self.may_leave(interval))?;
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
        self.moved |= self.count.next() != before;
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
