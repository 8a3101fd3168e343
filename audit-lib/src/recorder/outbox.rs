//! Final states on their way: each message is repeated, under its UUID and with its bytes, until the sink has it.
//!
//! Invariants: a letter leaves only on the sink's ack (or, unlogged, with the recorder). What is in the log waits there:
//! at most [`LOADED`] logged letters are held here, and no more of the log than its outbox may take. An unlogged letter's slots stay in the slot table, so their number
//! is bounded by it. The farewell goes last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_wal::Seq;
use uuid::Uuid;

use super::journal::Batch;
use super::pace::Pace;
use super::registry::Key;
use super::sink::{Sink, SinkError};

/// Logged letters held in memory.
const LOADED: usize = 64;
/// Letters with the sink at one time; well below its queue, which the snapshots share.
const IN_FLIGHT: usize = 32;
/// A sink that reports nothing for so long is asked again.
const REPORT_TIMEOUT: Duration = Duration::from_mins(1);
/// More letters than these are no longer sent at once.
const MANY: usize = 8;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Whether anybody was told of a letter's slots before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// A sink was given one of them.
    Told,
    /// Nobody was.
    Fresh,
    /// Nobody was, and it stays in the log until its round is told.
    Held,
}

/// One encoded audit message.
#[derive(Debug)]
pub(super) struct Letter {
    /// The message's own; nil for letters that are already logged.
    pub(super) uuid: Uuid,
    /// Text of the incarnation that it is of.
    pub(super) key: String,
    pub(super) payload: Arc<[u8]>,
    /// Its place in the log.
    pub(super) seq: Option<Seq>,
    /// Slots that leave the table when the sink has it.
    pub(super) frees: Vec<Key>,
    /// How many slot states are in it.
    pub(super) records: u64,
    pub(super) news: News,
    /// Its slots.
    pub(super) batch: Batch,
    /// Sent after all others.
    pub(super) farewell: bool,
    pub(super) sent: Option<Instant>,
    /// The sink was offered it.
    pub(super) tried: bool,
}

impl Letter {
    pub(super) fn new(key: String, payload: Arc<[u8]>) -> Self {
        Self {
            uuid: Uuid::nil(),
            key,
            payload,
            seq: None,
            frees: Vec::new(),
            records: 0,
            news: News::Told,
            batch: Batch::default(),
            farewell: false,
            sent: None,
            tried: false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By token, which is their age.
    letters: BTreeMap<u64, Letter>,
    /// Bytes of logged letters that may be held: what is held cannot be made smaller in the log.
    room: u64,
    /// Logged letters that had no room here.
    pub(super) behind: bool,
    /// Many had to wait, and some of them still do.
    late: bool,
    failures: u32,
    wait_until: Option<Instant>,
}

impl Outbox {
    /// One that holds at most so many bytes of logged letters, and always one letter.
    pub(super) fn with_room(room: u64) -> Self {
        Self { room, ..Self::default() }
    }
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty() && !self.behind
    }
    /// Letters that are nowhere but here.
    pub(super) fn unlogged(&self) -> u64 {
        self.letters.values().filter(|l| l.seq.is_none()).count() as u64
    }
    pub(super) fn is_unlogged(&self, token: u64) -> bool {
        self.letters.get(&token).is_some_and(|l| l.seq.is_none())
    }
    /// Records that are nowhere but here.
    pub(super) fn unlogged_records(&self) -> u64 {
        self.letters.values().filter(|l| l.seq.is_none()).map(|l| l.records).sum()
    }
    pub(super) fn has_in_flight(&self) -> bool {
        self.letters.values().any(|l| l.sent.is_some())
    }
    pub(super) fn is_in_flight(&self, token: u64) -> bool {
        self.letters.get(&token).is_some_and(|l| l.sent.is_some())
    }
    /// All letters but the farewell.
    pub(super) fn tokens(&self) -> impl Iterator<Item = u64> {
        self.letters.iter().filter(|(_, l)| !l.farewell).map(|(token, _)| *token)
    }
    /// Letters that the sink was not offered yet.
    pub(super) fn untried(&self) -> impl Iterator<Item = u64> {
        self.letters.iter().filter(|(_, l)| !l.tried && !l.farewell).map(|(token, _)| *token)
    }
    /// After a failure, until the next attempt.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.wait_until.is_some_and(|until| now < until)
    }
    /// Logged letters, and their bytes.
    fn loaded(&self) -> (usize, u64) {
        let logged = self.letters.values().filter(|l| l.seq.is_some());
        logged.fold((0, 0), |(letters, bytes), l| (letters + 1, bytes + l.payload.len() as u64))
    }
    fn has_room_for(&self, letter: &Letter) -> bool {
        let (letters, bytes) = self.loaded();
        letters == 0 || letters < LOADED && bytes + letter.payload.len() as u64 <= self.room
    }
    /// Whether the log is to be looked through for more: not for every single letter.
    pub(super) fn wants_more(&self) -> bool {
        let (letters, bytes) = self.loaded();
        letters <= LOADED / 2 && bytes <= self.room / 2
    }
    pub(super) fn holds(&self, seq: Seq) -> bool {
        self.letters.values().any(|l| l.seq == Some(seq))
    }

    /// A letter's record stands elsewhere in the log.
    pub(super) fn moved(&mut self, from: Seq, to: Seq) {
        for letter in self.letters.values_mut().filter(|l| l.seq == Some(from)) {
            letter.seq = Some(to);
        }
    }

    /// Takes a letter, unless it is logged and there are many: then it is fetched from the log in its turn.
    pub(super) fn push(&mut self, token: u64, letter: Letter) -> bool {
        if letter.seq.is_some() && (self.behind || !self.has_room_for(&letter)) {
            self.behind = true;
            return false;
        }
        self.letters.insert(token, letter);
        true
    }

    /// When there is next something to do, if anything waits.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.letters.values().all(|l| l.sent.is_some()) { None } else { self.wait_until }
    }

    /// Hands letters to the sink, oldest first, as far as it takes them; none with a number larger than `gate`. Where many
    /// wait, or with `paced`, no faster than the budget allows.
    pub(super) fn send_due(
        &mut self,
        sink: &mut dyn Sink,
        pace: &mut Pace,
        (gate, paced): (Option<u64>, bool),
        now: Instant,
    ) {
        if self.wait_until.is_some_and(|until| now < until) {
            return;
        }
        let alone = self.letters.len() == 1 && !self.behind;
        self.late = !self.letters.is_empty() && (self.late || self.behind || self.letters.len() > MANY);
        let paced = paced || self.late;
        let silent = |sent: Instant| now.saturating_duration_since(sent) > REPORT_TIMEOUT;
        let mut in_flight = self.letters.values().filter(|l| l.sent.is_some_and(|s| !silent(s))).count();
        let mut refused = None;
        for (token, letter) in &mut self.letters {
            if in_flight >= IN_FLIGHT || gate.is_some_and(|gate| *token > gate) {
                break;
            }
            if letter.sent.is_some_and(|sent| !silent(sent)) || (letter.farewell && !alone) {
                continue;
            }
            if paced && !pace.allows(letter.records, letter.payload.len(), now) {
                break;
            }
            letter.tried = true;
            match sink.send(letter.key.as_bytes(), &letter.payload, *token) {
                Ok(()) => {
                    pace.spend(letter.records, letter.payload.len(), now);
                    letter.sent = Some(now);
                }
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
            in_flight += 1;
        }
        if let Some(error) = refused {
            self.back_off(&error, now);
        }
    }

    pub(super) fn has(&self, token: u64) -> bool {
        self.letters.contains_key(&token)
    }

    /// Enters a delivery report; returns the letter if it is done with.
    pub(super) fn report(&mut self, token: u64, result: &Result<(), SinkError>, now: Instant) -> Option<Letter> {
        let letter = self.letters.get_mut(&token)?;
        match result {
            Ok(()) => {
                self.failures = 0;
                self.wait_until = None;
                self.letters.remove(&token)
            }
            Err(error) => {
                letter.sent = None;
                self.back_off(error, now);
                None
            }
        }
    }

    /// The next attempt is now.
    pub(super) fn hurry(&mut self) {
        self.wait_until = None;
        self.failures = 0;
    }

    fn back_off(&mut self, error: &SinkError, now: Instant) {
        // Failures of letters that were sent together are one.
        if self.wait_until.is_some_and(|until| now < until) {
            return;
        }
        if self.failures == 0 {
            tracing::warn!(%error, "audit records wait for the sink");
        }
        let wait = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.wait_until = Some(now + wait);
    }
}
