//! The log's small types and what it remembers of its entries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::frame::{Kind, size};

/// Sizes.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Size of a segment file in bytes, written with zeros when it is made. Default 4 MiB; 4 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// Size of all segments together. Default 64 MiB, at least three segments; beyond it, less one segment that is kept
    /// for marks and replacements, appends are refused until entries are done. Only what is in doubt after a death is
    /// written again in any case.
    pub max_bytes: u64,
    /// Segments are made and recycled ahead of need by a thread that lives for one such task. Default true; without it
    /// the caller that needs one waits, unless [`Log::tend`](crate::Log::tend) was called in time.
    pub background: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20, max_bytes: 64 << 20, background: true }
    }
}

impl Config {
    pub(crate) fn checked(self) -> Self {
        let segment_bytes = self.segment_bytes.clamp(4096, 1 << 30);
        Self { segment_bytes, max_bytes: self.max_bytes.max(3 * segment_bytes), ..self }
    }
    pub(crate) fn max_segments(&self) -> u64 {
        self.max_bytes / self.segment_bytes
    }
}

/// Number of an entry; grows with each, never reused.
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

/// A pending entry.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    /// The segment of its frame.
    pub(crate) home: u64,
    /// Those that it stands for.
    pub(crate) replaces: Arc<[u64]>,
}

impl Held {
    fn bytes(&self) -> u64 {
        size(self.entry.payload.len() + self.replaces.len() * 8) as u64
    }
}

/// Pending entries and the segments that hold them, oldest first; the last one is being written.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) pending: BTreeMap<Seq, Held>,
    pub(crate) segments: VecDeque<Segment>,
    checkpoint: Option<Seq>,
}

#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) len: u64,
    /// Bytes of frames of pending entries.
    pub(crate) live: u64,
    /// The file may be used again: nothing on it failed.
    pub(crate) sound: bool,
    /// It is being written, or was in the round that is being written: what it holds is not entered yet.
    pub(crate) open: bool,
}

impl Book {
    pub(crate) fn add(&mut self, held: Held) {
        let seq = held.entry.seq;
        if held.entry.kind == Kind::Checkpoint {
            if let Some(old) = self.checkpoint.filter(|old| *old < seq) {
                self.remove(old);
            }
            self.checkpoint = Some(seq);
        }
        // A copy forward replaces the entry's former home.
        self.take(seq);
        if let Some(s) = self.segment(held.home) {
            s.live += held.bytes();
        }
        for old in held.replaces.iter() {
            self.take(Seq(*old));
        }
        self.pending.insert(seq, held);
    }

    pub(crate) fn remove(&mut self, seq: Seq) -> bool {
        if self.checkpoint == Some(seq) {
            self.checkpoint = None;
        }
        self.take(seq)
    }

    fn take(&mut self, seq: Seq) -> bool {
        let Some(held) = self.pending.remove(&seq) else { return false };
        if let Some(s) = self.segment(held.home) {
            s.live = s.live.saturating_sub(held.bytes());
        }
        true
    }

    /// From the newest: that is the one which is asked for most.
    pub(crate) fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().rev().find(|s| s.number == number)
    }

    /// A round is over; this segment is still being written.
    pub(crate) fn close_all_but(&mut self, current: Option<u64>) {
        self.segments.iter_mut().for_each(|s| s.open = Some(s.number) == current);
    }

    /// Whether nothing pending is in the oldest segment and it is not the one being written. Only the oldest may go: a
    /// mark must not go before the entry that it speaks of.
    pub(crate) fn is_spent(&self) -> bool {
        self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.live == 0 && !s.open)
    }

    /// Entries of the oldest segment, if it is mostly dead weight (less than half of it is pending).
    pub(crate) fn mostly_dead(&self) -> Option<Vec<Held>> {
        let oldest = self.segments.front().filter(|s| !s.open && s.live < s.len / 2)?;
        Some(self.pending.values().filter(|h| h.home == oldest.number).cloned().collect())
    }
}
