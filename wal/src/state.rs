//! The log's small types and what it remembers of its entries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::frame::{Kind, size};

/// Sizes.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Size of a segment file in bytes, allocated when it is made. Default 4 MiB, at least 4 KiB.
    pub segment_bytes: u64,
    /// Size of all segments together. Default 64 MiB; beyond it appends are refused until entries are done.
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20, max_bytes: 64 << 20 }
    }
}

/// Number of an entry; grows by one with each, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: Seq,
    /// Its id, the caller's.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub payload: Arc<[u8]>,
}

/// Pending entries and the segments that hold them, oldest first; the last one is being written.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) pending: BTreeMap<Seq, (Entry, u64)>,
    pub(crate) segments: VecDeque<Segment>,
    checkpoint: Option<Seq>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Bytes of frames of pending entries.
    pub(crate) live: u64,
}

impl Book {
    pub(crate) fn add(&mut self, entry: Entry, segment: u64) {
        if entry.kind == Kind::Checkpoint {
            if let Some(old) = self.checkpoint.filter(|old| *old < entry.seq) {
                self.remove(old);
            }
            self.checkpoint = Some(entry.seq);
        }
        let bytes = size(entry.payload.len()) as u64;
        // A copy forward replaces the entry's former home.
        self.remove_keeping_checkpoint(entry.seq);
        self.pending.insert(entry.seq, (entry, segment));
        if let Some(s) = self.segments.iter_mut().find(|s| s.number == segment) {
            s.live += bytes;
        }
    }

    pub(crate) fn remove(&mut self, seq: Seq) -> bool {
        if self.checkpoint == Some(seq) {
            self.checkpoint = None;
        }
        self.remove_keeping_checkpoint(seq)
    }

    fn remove_keeping_checkpoint(&mut self, seq: Seq) -> bool {
        let Some((entry, home)) = self.pending.remove(&seq) else { return false };
        if let Some(s) = self.segments.iter_mut().find(|s| s.number == home) {
            s.live = s.live.saturating_sub(size(entry.payload.len()) as u64);
        }
        true
    }

    /// The oldest segment if nothing pending is in it and it is not the one being written. Only a prefix may go: a
    /// `done` frame must not go before the entry that it speaks of.
    pub(crate) fn spent(&mut self) -> Option<u64> {
        let first = self.segments.front().filter(|s| s.live == 0)?.number;
        (self.segments.len() > 1).then(|| {
            self.segments.pop_front();
            first
        })
    }

    /// Entries of the oldest segment, if it is mostly dead weight (less than half of `segment_bytes` is pending).
    pub(crate) fn mostly_dead(&self, segment_bytes: u64) -> Option<Vec<Entry>> {
        let oldest = self.segments.front().filter(|s| self.segments.len() > 1 && s.live < segment_bytes / 2)?;
        Some(self.pending.values().filter(|(_, home)| *home == oldest.number).map(|(e, _)| e.clone()).collect())
    }
}
