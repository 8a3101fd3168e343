//! What the segments of a directory say together: a pure reading of bytes, total over any input.
//!
//! Each segment's header names the one before it and up to where that one was durable. So, from the newest whose first
//! write is whole backwards, every segment but the last has a known end; what stands beyond it, and segments that no
//! header names, were refused to their callers or written again elsewhere, and are passed over. In the last one the
//! frames say which write they were part of, and a write began only when all before it was durable.
//!
//! | no frame where one should be | reading |
//! |---|---|
//! | before the segment's known end | corrupt span, reported; reading goes on at the next frame |
//! | before a frame of a later write | the same |
//! | in the last write of the last segment | torn tail: what was being written when the machine died |
//! | behind the mark that ends a write, and no frame further on | clean end |
//! | end not known, not the last segment (a damaged header) | corrupt span |
//!
//! A segment that another one names, missing between present ones, is a corrupt span with no bytes. The last write may
//! have been seen in the page cache only: what it says is read, but is *in doubt* until it is written again. The same
//! sequence number may stand twice (a copy forward, or a retry on a new segment): the first wins, they are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::frame::{FrameKind, Kind, replaced, seqs};
use crate::scan::{Found, SEGMENT_HEADER, Scan, UNKNOWN_END};
use crate::state::{Entry, Held, Seq};

/// Bytes that could not be read as frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Segment number.
    pub segment: u64,
    /// First byte.
    pub from: u64,
    /// One past the last byte; `from` if it is not known how many.
    pub to: u64,
}

/// What opening found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Entries that are pending, in order.
    pub entries: Vec<Entry>,
    /// In the last write, where the machine died: nothing that was durable is lost by it, unless that write was damaged
    /// afterwards, which cannot be told apart.
    pub torn: Vec<Span>,
    /// Damage. Entries may be lost by it; those around it are kept.
    pub corrupt: Vec<Span>,
    /// The last write may not have been durable, and the disk refused to write it again: act on no entry before a call of
    /// the log that writes has returned `Ok`.
    pub in_doubt: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) recovered: Recovered,
    pub(crate) next_seq: u64,
    /// By pending entry.
    pub(crate) held: BTreeMap<Seq, Held>,
    /// The newest segment, and up to where it is durable beyond doubt.
    pub(crate) durable: (u64, u64),
    /// The newest segment.
    pub(crate) last: u64,
    /// Segments of which nothing counts.
    pub(crate) void: Vec<u64>,
    /// Pending entries that are in doubt.
    pub(crate) doubtful: Vec<Seq>,
    /// Entries that are pending no more, but only what is in doubt says so.
    pub(crate) doubtful_done: Vec<u64>,
}

/// How one segment is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View {
    /// No header names it: all in it was refused.
    pub(crate) void: bool,
    /// Up to where it was durable, as the next one says.
    end: Option<u64>,
    /// Nothing later is known to be durable, so what is amiss in its last write was torn.
    open: bool,
}

impl View {
    pub(crate) fn counts(&self, found: &Found<'_>) -> bool {
        !self.void && self.end.is_none_or(|end| found.offset < end)
    }
}

/// Reads segments that were written to, in the order of their numbers.
pub(crate) fn read(segments: &[Scan<'_>]) -> Reading {
    let (views, missing) = chain(segments);
    let mut recovered = Recovered { corrupt: missing, ..Recovered::default() };
    for (scan, view) in segments.iter().zip(&views).filter(|(_, view)| !view.void) {
        damage(scan, view, &mut recovered);
    }
    recovered.corrupt.sort_by_key(|s| (s.segment, s.from));
    let durable = durable(segments, &views);
    let all = taken(segments, &views, |_, _, _| true);
    // Where the end is not known, the last write is in doubt.
    let certain = taken(segments, &views, |s, view, f| view.end.is_some() || f.offset < s.last_batch());
    let kept = pending(&certain);
    let of = |(seq, pending): (Seq, Kept<'_>)| {
        // Its home is where it is beyond doubt, or the segment may go before the doubt has.
        let home = kept.get(&seq).map_or(pending.home, |sure| sure.home);
        (seq, Held { home, ..pending.held(seq) })
    };
    let held: BTreeMap<Seq, Held> = pending(&all).into_iter().map(of).collect();
    recovered.entries = held.values().map(|h| h.entry.clone()).collect();
    Reading {
        next_seq: segments.iter().flat_map(|s| &s.frames).map(next_seq).max().unwrap_or(0),
        durable,
        last: segments.iter().zip(&views).rfind(|(_, view)| !view.void).map_or(0, |(s, _)| s.number),
        void: segments.iter().zip(&views).filter(|(_, view)| view.void).map(|(s, _)| s.number).collect(),
        doubtful: held.keys().filter(|seq| !kept.contains_key(seq)).copied().collect(),
        doubtful_done: kept.keys().filter(|seq| !held.contains_key(seq)).map(|seq| seq.0).collect(),
        held,
        recovered,
    }
}

fn next_seq(found: &Found<'_>) -> u64 {
    if found.is_end() { found.frame.seq } else { found.frame.seq.saturating_add(1) }
}

/// How each segment is to be read, and segments that are missing.
pub(crate) fn chain(segments: &[Scan<'_>]) -> (Vec<View>, Vec<Span>) {
    let mut views = vec![View { void: true, ..View::default() }; segments.len()];
    let mut missing = Vec::new();
    let mut next = segments.len().checked_sub(1);
    let (mut end, mut open) = (None, true);
    while let Some((at, scan)) = next.and_then(|at| Some((at, segments.get(at)?))) {
        if let Some(view) = views.get_mut(at) {
            *view = View { void: false, end, open };
        }
        if let Some((previous, previous_end)) = scan.previous(end.is_some()) {
            let older = segments.partition_point(|s| s.number <= previous);
            next = older.checked_sub(1);
            open = previous_end == UNKNOWN_END;
            end = (!open).then_some(previous_end);
            if let Some(found) = next.and_then(|p| segments.get(p)).filter(|s| s.number != previous) {
                // If its end is not known, it may have been seen in the page cache only.
                if !open && previous > found.number {
                    missing.push(Span { segment: previous, from: 0, to: 0 });
                }
                end = None;
            }
        } else {
            next = at.checked_sub(1);
            open &= scan.last_batch() == 0;
            end = None;
        }
    }
    (views, missing)
}

/// Reports what of a segment should be frames and is not.
fn damage(scan: &Scan<'_>, view: &View, recovered: &mut Recovered) {
    let end = view.end.unwrap_or(u64::MAX);
    let mut gaps = Vec::new();
    let mut at = if scan.has_own_header() { SEGMENT_HEADER as u64 } else { 0 };
    let mut ended = false;
    for found in scan.frames.iter().filter(|f| f.offset < end) {
        if found.offset > at {
            gaps.push((at, found.offset));
        }
        ended = found.is_end();
        // The next write overwrites the mark that ends this one.
        at = found.offset + if ended { 0 } else { found.size };
    }
    match view.end {
        Some(end) if at < end => gaps.push((at, end)),
        None if !ended => gaps.push((at, scan.written.max(at))),
        _ => {}
    }
    for (from, to) in gaps {
        let later = |f: &Found<'_>| f.offset >= to && f.batch() > from;
        let torn = view.end.is_none() && view.open && !scan.frames.iter().any(later);
        let spans = if torn { &mut recovered.torn } else { &mut recovered.corrupt };
        spans.push(Span { segment: scan.number, from, to });
    }
}

/// The last write that was followed by another is durable; where the one after it begins is the end of certainty.
fn durable(segments: &[Scan<'_>], views: &[View]) -> (u64, u64) {
    for (scan, view) in segments.iter().zip(views).rev().filter(|(_, view)| !view.void) {
        if let Some(end) = view.end {
            return (scan.number, end);
        }
        let last = scan.last_batch();
        if last > 0 {
            return (scan.number, last);
        }
        if let Some(previous) = scan.previous(false).filter(|(_, end)| *end != UNKNOWN_END) {
            return previous;
        }
    }
    (0, 0)
}

/// Frames that count and that `wanted` picks, with their segment's number.
fn taken<'a, 'b>(
    segments: &'b [Scan<'a>],
    views: &[View],
    wanted: impl Fn(&Scan<'_>, &View, &Found<'_>) -> bool,
) -> Vec<(u64, &'b Found<'a>)> {
    let mut taken = Vec::new();
    for (scan, view) in segments.iter().zip(views) {
        let counts = |f: &&Found<'_>| view.counts(f) && wanted(scan, view, f);
        taken.extend(scan.frames.iter().filter(counts).map(|f| (scan.number, f)));
    }
    taken
}

/// A pending entry whose bytes are still those of its segment: only what is pending in the end is copied.
struct Kept<'a> {
    id: Uuid,
    kind: Kind,
    payload: &'a [u8],
    home: u64,
    replaces: Vec<u64>,
}

impl Kept<'_> {
    fn held(self, seq: Seq) -> Held {
        let entry = Entry { seq, id: self.id, kind: self.kind, payload: self.payload.into() };
        let replaces = if self.replaces.is_empty() { Arc::default() } else { self.replaces.into() };
        Held { entry, home: self.home, replaces }
    }
}

/// What of the frames is pending.
fn pending<'a>(frames: &[(u64, &Found<'a>)]) -> BTreeMap<Seq, Kept<'a>> {
    let mut kept: BTreeMap<Seq, Kept<'a>> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for (home, found) in frames {
        let frame = &found.frame;
        let (kind, replaces, payload) = match frame.kind {
            FrameKind::End => continue,
            FrameKind::Done => {
                gone.extend(seqs(frame.payload));
                continue;
            }
            FrameKind::Entry(kind) => (kind, Vec::new(), frame.payload),
            FrameKind::Replacement => {
                let Some((olds, own)) = replaced(frame.payload) else { continue };
                gone.extend(olds.iter().copied());
                (Kind::Record, olds, own)
            }
        };
        let new = Kept { id: frame.id, kind, payload, home: *home, replaces };
        // A copy forward moves the entry's home: its first segment may go.
        kept.entry(Seq(frame.seq)).and_modify(|k| k.home = k.home.max(*home)).or_insert(new);
    }
    let newest = kept.iter().filter(|(_, k)| k.kind == Kind::Checkpoint).map(|(seq, _)| *seq).max();
    kept.retain(|seq, k| !gone.contains(&seq.0) && (k.kind == Kind::Record || newest == Some(*seq)));
    kept
}
