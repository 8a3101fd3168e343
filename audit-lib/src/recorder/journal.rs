//! The write-ahead log as the reporter uses it: it may be absent, and it may fail, and counting goes on.
//!
//! Invariant: nothing here blocks the host's threads; only the reporter's thread waits for the disk. *Fresh* is a record
//! of this life none of whose slots, nor itself, a sink was ever given.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chaperone_wal::{Config, Entry, Error, Kind, Log, Recovered, Seq};
use uuid::Uuid;

use crate::wire::{AuditMessage, Sum};

/// At least so much log per slot, so that a checkpoint of a full table fits into one segment.
const SEGMENT_BYTES_PER_SLOT: u64 = 1 << 10;
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Segments in a log at least.
const SEGMENTS_MIN: u64 = 8;

/// The slots of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Their smallest number, and one past their largest.
    pub(super) first: u64,
    pub(super) end: u64,
    /// What they counted, and how many numbers they stand for.
    pub(super) sum: Sum,
}

impl Batch {
    pub(super) fn of(message: &AuditMessage) -> Self {
        let ids = || message.slots.iter().map(|r| r.id);
        let sum = message.slots.iter().fold(Sum::default(), |sum, r| sum.plus(Sum::of(&r.state)));
        Self { first: ids().min().unwrap_or(0), end: ids().max().map_or(0, |id| id.saturating_add(1)), sum }
    }

    fn join(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), end: self.end.max(other.end), sum: self.sum.plus(other.sum) }
    }
}

pub(super) struct Journal {
    log: Option<Log>,
    checkpoint: Option<Seq>,
    /// So that a disk that stays full is one warning, not one every two seconds.
    failing: bool,
    fresh: BTreeMap<Seq, Batch>,
    /// A replacement failed: until the log works again, a death may bring either side of it.
    in_doubt: bool,
    max_bytes: u64,
    /// Bytes of the log after it was made smaller.
    noted: u64,
}

impl Journal {
    /// No log: finals stay in the slot table until the sink has them.
    pub(super) fn none() -> Self {
        Self {
            log: None,
            checkpoint: None,
            failing: false,
            fresh: BTreeMap::new(),
            in_doubt: false,
            max_bytes: 0,
            noted: 0,
        }
    }

    pub(super) fn open(dir: &Path, max_slots: usize, log_bytes: u64) -> Result<(Self, Recovered), Error> {
        let wanted = (max_slots as u64).saturating_mul(SEGMENT_BYTES_PER_SLOT);
        let least = SEGMENT_BYTES_MIN.min(log_bytes / SEGMENTS_MIN);
        let segment_bytes = wanted.clamp(least, SEGMENT_BYTES_MAX);
        let max_bytes = log_bytes.max(SEGMENTS_MIN * segment_bytes);
        // The reporter's thread may wait for a segment, and the host gets no thread of the log's.
        let (log, recovered) = Log::open(dir, Config { segment_bytes, max_bytes, background: false })?;
        Ok((Self { log: Some(log), max_bytes, ..Self::none() }, recovered))
    }

    /// Bytes that it may take; zero without a log.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn is_none(&self) -> bool {
        self.log.is_none()
    }

    /// Makes messages durable, all or none; `None` when there is no log or it refused.
    pub(super) fn append(&mut self, entries: &[(Uuid, &[u8])]) -> Option<Vec<Seq>> {
        let result = self.log.as_ref()?.append_batch(entries);
        self.in_doubt &= result.is_err();
        self.told("records", result)
    }

    /// Puts one record in the place of others: after a death it is there or they are. It is fresh if all of them are.
    pub(super) fn replace(&mut self, olds: &[Seq], id: Uuid, payload: &[u8]) -> Option<Seq> {
        let result = self.log.as_ref()?.replace(olds, id, payload);
        self.in_doubt |= matches!(result, Err(Error::Storage { .. }));
        let seq = self.told("a smaller form of records", result)?;
        let fresh: Vec<Batch> = olds.iter().filter_map(|old| self.fresh.remove(old)).collect();
        if fresh.len() == olds.len()
            && let Some(all) = fresh.into_iter().reduce(Batch::join)
        {
            self.fresh.insert(seq, all);
        }
        Some(seq)
    }

    /// Enters a record that no sink was given, nor a state of one of its slots.
    pub(super) fn add_fresh(&mut self, seq: Seq, batch: Batch) {
        self.fresh.insert(seq, batch);
    }
    /// The sink is given it.
    pub(super) fn hand_out(&mut self, seq: Seq) {
        self.fresh.remove(&seq);
    }
    /// What is in a fresh record; `None` if it is none.
    pub(super) fn fresh(&self, seq: Seq) -> Option<&Batch> {
        self.fresh.get(&seq)
    }
    pub(super) fn has_fresh(&self, which: impl Fn(&Batch) -> bool) -> bool {
        self.fresh.values().any(which)
    }
    /// What nobody was told of yet.
    pub(super) fn fresh_sums(&self) -> impl Iterator<Item = Sum> {
        self.fresh.values().map(|batch| batch.sum)
    }
    /// Whether what waits may be handed out.
    pub(super) fn is_certain(&self) -> bool {
        !self.in_doubt
    }

    /// Bytes of its segments.
    pub(super) fn bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::bytes)
    }
    /// Whether half of its room is taken, and an eighth since it was last made smaller.
    pub(super) fn is_short(&mut self) -> bool {
        let bytes = self.bytes();
        self.noted = self.noted.min(bytes);
        self.log.is_some() && bytes >= self.max_bytes / 2 && bytes >= self.noted + self.max_bytes / SEGMENTS_MIN
    }
    /// Removes segments that nothing pending is in; the bytes that are left.
    pub(super) fn tend(&mut self) -> u64 {
        let result = self.log.as_ref().map(Log::tend);
        result.and_then(|result| self.told("segments", result));
        self.bytes()
    }
    /// It is as small now as it can be made.
    pub(super) fn note_size(&mut self) {
        self.noted = self.bytes();
    }

    /// Replaces the checkpoint.
    pub(super) fn append_checkpoint(&mut self, id: Uuid, payload: &[u8]) -> bool {
        let Some(log) = &self.log else { return false };
        let result = log.append_checkpoint(id, payload);
        self.in_doubt &= result.is_err();
        let written = self.told("the checkpoint", result);
        self.checkpoint = written.or(self.checkpoint);
        written.is_some()
    }

    /// The open slots have all been made final: there is nothing to recover from the checkpoint.
    pub(super) fn drop_checkpoint(&mut self) {
        if let Some(seq) = self.checkpoint.take() {
            self.done(seq);
        }
    }

    pub(super) fn done(&mut self, seq: Seq) {
        self.fresh.remove(&seq);
        if let Some(log) = &self.log {
            // A mark that is lost only means that the record is sent again, under the same UUID.
            let result = log.done(seq);
            self.told("a mark", result);
        }
    }

    pub(super) fn sync(&mut self) {
        if let Some(log) = &self.log {
            let result = log.sync();
            self.told("marks", result);
        }
    }

    /// Records that wait for the sink, oldest first, without the checkpoint.
    pub(super) fn pending(&self) -> impl Iterator<Item = Entry> {
        let pending = self.log.as_ref().map(Log::pending).unwrap_or_default();
        pending.into_iter().filter(|e| e.kind == Kind::Record)
    }

    /// The bytes of a record that is pending.
    pub(super) fn payload(&self, seq: Seq) -> Option<Arc<[u8]>> {
        self.log.as_ref()?.entry(seq).map(|entry| entry.payload)
    }

    fn told<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("write-ahead log works again");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot write {what}; counts are sent without the log until it works again");
                }
                None
            }
        }
    }
}
