//! Letters on their way: encoded messages are logged, handed to the sink, repeated until it has them, and marked done.
//!
//! Invariants: a letter is logged before it is sent, where there is a log that takes it. What a dead process left is
//! removed when all of its last words are in the log, or with the sink. Of what the log holds fresh, only what is
//! *released* is sent; a record that the sink has stays in the log until it was told again (`repeats`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chaperone_wal::Seq;
use chaperone_wal::slots::recovery::SlotFile;
use uuid::Uuid;

use super::journal::{Batch, Journal};
use super::outbox::{Letter, News, Outbox};
use super::pace::Pace;
use super::recover;
use super::registry::Key;
use super::repeats::{Place, Repeats};
use super::report::Counters;
use super::sink::{Sink, SinkError};
use super::start::Left;
use crate::wire::AuditMessage;

/// Of the log, what the outbox may hold at a time.
const OUTBOX_SHARE: u64 = 8;

pub(super) struct Dispatch {
    pub(super) sink: Box<dyn Sink>,
    pub(super) journal: Journal,
    pub(super) outbox: Outbox,
    repeats: Repeats,
    /// Fresh records whose slots have smaller numbers may be sent.
    pub(super) released: u64,
    /// The last record of earlier lives.
    old: Option<Seq>,
    pub(super) pace: Pace,
    counters: Arc<Counters>,
    /// Slot files of the dead, until their last words are in a safe place: the tokens of those that are not.
    remains: Vec<(BTreeSet<u64>, SlotFile)>,
    token: u64,
}

impl Dispatch {
    pub(super) fn new(sink: Box<dyn Sink>, journal: Journal, pace: Pace, counters: Arc<Counters>) -> Self {
        Self {
            outbox: Outbox::with_room(journal.max_bytes() / OUTBOX_SHARE),
            sink,
            journal,
            repeats: Repeats::default(),
            released: u64::MAX,
            old: None,
            pace,
            counters,
            remains: Vec::new(),
            token: 0,
        }
    }

    /// Takes over what dead incarnations left. `boot`: the machine's boot.
    pub(super) fn take_over(&mut self, left: Left, boot: [u8; 16]) {
        let Left { entries, remains } = left;
        self.old = entries.iter().map(|e| e.seq).max();
        let told: BTreeSet<Uuid> = remains.iter().filter(|r| r.words_count()).map(|r| r.incarnation).collect();
        let (words, unreadable) = recover::last_words(&entries, boot, |incarnation| told.contains(&incarnation));
        let ended: BTreeSet<Uuid> = words.iter().map(|m| m.incarnation).collect();
        self.counters.records.fetch_add(unreadable, Ordering::Relaxed);
        let letters = words.iter().filter_map(|m| self.letter(m, Vec::new())).collect();
        // The log must hold the last words before the next checkpoint supersedes the one that they were made from.
        self.log(letters);
        for dead in remains {
            self.counters.records.fetch_add(dead.refused, Ordering::Relaxed);
            // After the machine's death the checkpoint speaks, if there is one.
            let words = if dead.words_count() || !ended.contains(&dead.incarnation) { dead.words } else { Vec::new() };
            let letters = words.iter().filter_map(|m| self.letter(m, Vec::new())).collect();
            let mut tokens = self.log(letters).tokens;
            tokens.retain(|token| self.outbox.is_unlogged(*token));
            self.remains.push((tokens, dead.file));
        }
        // A number that no letter has: for those that wait for nothing.
        self.bury(0);
        // What the log holds is fetched from there, oldest first.
        self.outbox.behind |= !self.journal.is_none();
        self.fetch();
    }

    /// A letter is in a safe place: removes the files whose last words all are.
    fn bury(&mut self, token: u64) {
        for (tokens, _) in &mut self.remains {
            tokens.remove(&token);
        }
        for (_, file) in self.remains.extract_if(.., |(tokens, _)| tokens.is_empty()) {
            if let Err(error) = file.remove() {
                // It is told again by the next, which changes nothing.
                tracing::warn!(%error, "a slot file that is not needed any more");
            }
        }
    }

    /// Hands due letters to the sink, after fetching more from the log if there is room.
    /// `gate`: letters with larger numbers wait.
    pub(super) fn post(&mut self, now: Instant, gate: Option<u64>) {
        self.fetch();
        let paced = self.released != u64::MAX;
        self.outbox.send_due(&mut *self.sink, &mut self.pace, (gate, paced), now);
    }

    /// Tells finals that the sink has once more, when their time has come and nothing else waits.
    pub(super) fn repeat(&mut self, now: Instant) {
        for seq in self.repeats.expired(now) {
            self.journal.done(seq);
        }
        while self.outbox.is_empty()
            && let Some(copy) = self.repeats.due(now)
        {
            let payload = match &copy.place {
                Place::Memory(payload) => Some(Arc::clone(payload)),
                Place::Log(seq) => self.journal.payload(*seq),
            };
            let Some(payload) = payload else {
                self.repeats.drop_first();
                continue;
            };
            if !self.pace.allows(copy.records, payload.len(), now) {
                return;
            }
            self.token += 1;
            if self.sink.send(copy.key.as_bytes(), &payload, self.token).is_err() {
                return;
            }
            self.pace.spend(copy.records, payload.len(), now);
            self.counters.repeated.fetch_add(1, Ordering::Relaxed);
            self.repeats.sent(self.token);
        }
    }

    /// Whether a token is of a repetition.
    pub(super) fn is_repeat(&self, token: u64) -> bool {
        self.repeats.has(token)
    }

    /// Enters a repetition's delivery report.
    pub(super) fn report_repeat(&mut self, token: u64, stored: bool, now: Instant) {
        if let Some(seq) = self.repeats.report(token, stored, now) {
            self.journal.done(seq);
        }
    }

    /// What was told once is done with; whether there was any.
    pub(super) fn give_up_repeats(&mut self) -> bool {
        let given_up = self.repeats.give_up();
        for seq in &given_up {
            self.journal.done(*seq);
        }
        !given_up.is_empty()
    }

    /// Records of the log that wait for the sink.
    pub(super) fn unsent(&self) -> usize {
        self.journal.pending().count().saturating_sub(self.repeats.held())
    }

    /// A record stands elsewhere in the log.
    pub(super) fn moved(&mut self, from: Seq, to: Seq) {
        self.outbox.moved(from, to);
        self.repeats.moved(from, to);
    }

    /// Fetches letters from the log, oldest first.
    fn fetch(&mut self) {
        if !self.outbox.behind || !self.outbox.wants_more() || !self.journal.is_certain() {
            return;
        }
        self.outbox.behind = false;
        let known = |seq| self.outbox.holds(seq) || self.repeats.holds(seq);
        let held = |seq| self.journal.fresh(seq).is_some_and(|batch| batch.end > self.released);
        let pending: Vec<_> = self.journal.pending().filter(|e| !known(e.seq) && !held(e.seq)).collect();
        for entry in pending {
            let Some((key, records)) = recover::key_of(&entry.payload) else {
                // Not ours, or damaged past its checksum: it can never be sent.
                self.counters.records.fetch_add(1, Ordering::Relaxed);
                self.journal.done(entry.seq);
                continue;
            };
            let token = self.next_token();
            if !self.outbox.push(token, Letter { seq: Some(entry.seq), records, ..Letter::new(key, entry.payload) }) {
                break;
            }
            self.journal.hand_out(entry.seq);
        }
    }

    pub(super) fn letter(&self, message: &AuditMessage, frees: Vec<Key>) -> Option<Letter> {
        let records = message.slots.len() as u64;
        let Ok(payload) = message.encode() else {
            self.counters.records.fetch_add(records, Ordering::Relaxed);
            return None;
        };
        Some(Letter {
            uuid: message.uuid,
            frees,
            records,
            batch: Batch::of(message),
            ..Letter::new(message.incarnation.to_string(), payload.into())
        })
    }

    /// Logs letters with one device flush and puts them into the outbox.
    pub(super) fn log(&mut self, letters: Vec<Letter>) -> Logged {
        let entries: Vec<_> = letters.iter().map(|l| (l.uuid, &*l.payload)).collect();
        let seqs = self.journal.append(&entries);
        if seqs.is_none() && !self.journal.is_none() {
            let records = letters.iter().map(|l| l.records).sum();
            self.counters.unlogged.fetch_add(records, Ordering::Relaxed);
        }
        let mut seqs = seqs.into_iter().flatten();
        let mut logged = Logged::default();
        for mut letter in letters {
            letter.seq = seqs.next();
            if letter.seq.is_some() {
                logged.frees.append(&mut letter.frees);
            }
            let fresh = letter.seq.filter(|_| letter.news != News::Told).map(|seq| (seq, letter.batch));
            if letter.news == News::Held
                && let Some((seq, batch)) = fresh
            {
                self.journal.add_fresh(seq, batch);
                continue;
            }
            let token = self.next_token();
            if self.outbox.push(token, letter) {
                logged.tokens.insert(token);
            } else if let Some((seq, batch)) = fresh {
                self.journal.add_fresh(seq, batch);
            }
        }
        logged
    }

    /// Enters a delivery report; the letter if it is done with.
    pub(super) fn report(&mut self, token: u64, result: &Result<(), SinkError>, now: Instant) -> Option<Letter> {
        let letter = self.outbox.report(token, result, now)?;
        // What an earlier life left may have been told before.
        let stays = letter.seq.filter(|seq| !letter.farewell && Some(*seq) > self.old);
        if stays.is_none() {
            letter.seq.into_iter().for_each(|seq| self.journal.done(seq));
        }
        self.bury(token);
        if !letter.farewell {
            let place = stays.map_or_else(|| Place::Memory(Arc::clone(&letter.payload)), Place::Log);
            self.repeats.keep(letter.key.clone(), place, letter.records, now);
        }
        Some(letter)
    }

    /// Sends a message that is not repeated; its token, if the sink took it.
    pub(super) fn send(&mut self, message: &AuditMessage) -> Option<u64> {
        let payload = message.encode().ok()?;
        self.send_payload(message, &payload)
    }

    /// The same for a message that is encoded already.
    pub(super) fn send_payload(&mut self, message: &AuditMessage, payload: &[u8]) -> Option<u64> {
        let token = self.next_token();
        self.sink.send(message.incarnation.to_string().as_bytes(), payload, token).ok()?;
        Some(token)
    }

    /// The number that was given last.
    pub(super) fn last_token(&self) -> u64 {
        self.token
    }

    fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }
}

/// What became of letters that were logged.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// Of those that are in the outbox.
    pub(super) tokens: BTreeSet<u64>,
    /// Slots whose states are in the log: they may leave the table.
    pub(super) frees: Vec<Key>,
}
