//! Finals that the sink has, to be told once more: Kafka may lose what it acknowledged (an unclean election, a disk
//! of a topic without copies). The sums of the heartbeats tell the collector that something is missing, and it cannot ask.
//!
//! The same bytes under the same UUID: for a collector that has it the copy says nothing. Where there is a log, a final is
//! done in it only when the sink has acknowledged the second telling, so if the process dies in between, whoever takes its
//! log over tells it again.
//!
//! Limits: what could not be told again for [`GIVE_UP`], because the budget or the sink had no room, is done, and so is
//! all when the log is short of room and at a close. Without a log copies are kept in memory, [`BYTES`] at most, the
//! oldest go first. What is lost twice, or later than its second telling, stays lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_wal::Seq;

/// How long after the ack a final is told again: longer than an election takes.
pub(super) const AFTER: Duration = Duration::from_mins(1);
/// How long it is kept for that.
pub(super) const GIVE_UP: Duration = Duration::from_hours(1);
/// Payloads kept in memory at most.
pub(super) const BYTES: usize = 2 << 20;

/// Where a message's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Memory(Arc<[u8]>),
    Log(Seq),
}

/// A message that the sink has.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) records: u64,
    acked: Instant,
    due: Instant,
}

impl Kept {
    fn bytes(&self) -> usize {
        match &self.place {
            Place::Memory(payload) => payload.len(),
            Place::Log(_) => 0,
        }
    }
    fn seq(&self) -> Option<Seq> {
        match self.place {
            Place::Memory(_) => None,
            Place::Log(seq) => Some(seq),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Repeats {
    waiting: VecDeque<Kept>,
    /// With the sink, by token.
    sent: BTreeMap<u64, Kept>,
    /// Of those in memory that wait.
    bytes: usize,
    /// Records of the log.
    logged: BTreeSet<Seq>,
}

impl Repeats {
    /// Keeps a message that the sink has had since `now`.
    pub(super) fn keep(&mut self, key: String, place: Place, records: u64, now: Instant) {
        self.push(Kept { key, place, records, acked: now, due: now + AFTER });
    }

    fn push(&mut self, kept: Kept) {
        self.logged.extend(kept.seq());
        self.bytes += kept.bytes();
        self.waiting.push_back(kept);
        while self.bytes > BYTES {
            let Some(at) = self.waiting.iter().position(|k| k.bytes() > 0) else { return };
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) -> Option<Kept> {
        let kept = self.waiting.remove(at)?;
        self.bytes -= kept.bytes();
        if let Some(seq) = kept.seq() {
            self.logged.remove(&seq);
        }
        Some(kept)
    }

    /// The next that is due.
    pub(super) fn due(&self, now: Instant) -> Option<&Kept> {
        self.waiting.front().filter(|kept| kept.due <= now)
    }

    /// The next is with the sink.
    pub(super) fn sent(&mut self, token: u64) {
        if let Some(kept) = self.remove(0) {
            self.logged.extend(kept.seq());
            self.sent.insert(token, kept);
        }
    }

    /// The next cannot be told any more.
    pub(super) fn drop_first(&mut self) {
        self.remove(0);
    }

    /// Whether the sink was given it under this token.
    pub(super) fn has(&self, token: u64) -> bool {
        self.sent.contains_key(&token)
    }

    /// Enters a delivery report; the record of the log that is done.
    pub(super) fn report(&mut self, token: u64, stored: bool, now: Instant) -> Option<Seq> {
        let kept = self.sent.remove(&token)?;
        if stored {
            let seq = kept.seq()?;
            self.logged.remove(&seq);
            return Some(seq);
        }
        self.push(Kept { due: now + AFTER, ..kept });
        None
    }

    /// Records of the log that have waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Seq> {
        let is_late = |kept: &Kept| now.saturating_duration_since(kept.acked) >= GIVE_UP;
        let mut late = Vec::new();
        while self.waiting.front().is_some_and(is_late) {
            late.extend(self.remove(0).and_then(|kept| kept.seq()));
        }
        late.extend(self.sent.extract_if(.., |_, kept| is_late(kept)).filter_map(|(_, kept)| kept.seq()));
        for seq in &late {
            self.logged.remove(seq);
        }
        late
    }

    /// Nothing is told again; records of the log that are done by that.
    pub(super) fn give_up(&mut self) -> BTreeSet<Seq> {
        self.waiting.retain(|kept| kept.seq().is_none());
        self.sent.retain(|_, kept| kept.seq().is_none());
        std::mem::take(&mut self.logged)
    }

    /// Whether a record of the log waits here.
    pub(super) fn holds(&self, seq: Seq) -> bool {
        self.logged.contains(&seq)
    }

    /// Records of the log that wait here.
    pub(super) fn held(&self) -> usize {
        self.logged.len()
    }

    /// A record stands elsewhere in the log.
    pub(super) fn moved(&mut self, from: Seq, to: Seq) {
        if !self.logged.remove(&from) {
            return;
        }
        self.logged.insert(to);
        for kept in self.waiting.iter_mut().chain(self.sent.values_mut()).filter(|kept| kept.seq() == Some(from)) {
            kept.place = Place::Log(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_in_memory_are_bounded_and_the_oldest_goes_first() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        repeats.keep("log".to_owned(), Place::Log(Seq(7)), 1, start);
        for i in 0..100u64 {
            let payload: Arc<[u8]> = vec![0; BYTES / 10].into();
            repeats.keep(i.to_string(), Place::Memory(payload), i, start + Duration::from_secs(i));
        }
        assert!(repeats.bytes <= BYTES && repeats.waiting.len() == 11 && repeats.holds(Seq(7)));
        assert!(repeats.due(start + Duration::from_secs(59)).is_none(), "not before its time");
        assert_eq!(repeats.due(start + AFTER).map(|k| k.key.as_str()), Some("log"));
        repeats.sent(1);
        assert!(repeats.holds(Seq(7)) && repeats.has(1), "until it is reported on");
        let due = repeats.due(start + Duration::from_secs(150)).expect("the oldest that is kept");
        assert_eq!((due.key.as_str(), due.records), ("90", 90));
        (0..10).for_each(|_| repeats.drop_first());
        assert_eq!((repeats.bytes, repeats.waiting.len()), (0, 0));
        assert_eq!(repeats.report(1, true, start), Some(Seq(7)));
    }

    #[test]
    fn what_was_refused_comes_again_and_is_given_up_in_the_end() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        repeats.keep("log".to_owned(), Place::Log(Seq(7)), 1, start);
        repeats.sent(1);
        assert_eq!(repeats.report(1, false, start + AFTER), None);
        assert!(repeats.due(start + AFTER).is_none() && repeats.due(start + 2 * AFTER).is_some());
        repeats.moved(Seq(7), Seq(9));
        assert!(repeats.expired(start + GIVE_UP / 2).is_empty());
        assert_eq!(repeats.expired(start + GIVE_UP), [Seq(9)]);
        assert_eq!(repeats.held(), 0);
    }
}
