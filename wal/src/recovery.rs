//! What the segments of a directory say: a pure reading of bytes, total over any input.
//!
//! | at this offset | after it | reading |
//! |---|---|---|
//! | a frame | – | taken |
//! | zeros to the end | – | clean end |
//! | no frame | a frame further on | corrupt span, reported; reading goes on at that frame |
//! | no frame | no frame, last segment | torn tail: what was being written when the machine died |
//! | no frame | no frame, other segment | corrupt span |
//!
//! A missing segment number between two present ones is a corrupt span of that segment with no bytes. The same
//! sequence number may stand twice (a copy forward, or a retry on a new segment): the first reading wins, they are equal.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::frame::{ALIGN, Frame, FrameKind, HEADER, Kind, Place, u32_at, u64_at};
use crate::state::{Entry, Seq};

/// `magic 8 | format u32 | zero u32 | segment u64 | CRC32C u32 | zero u32`.
pub(crate) const SEGMENT_HEADER: usize = 32;
const MAGIC: &[u8; 8] = b"CHAPWAL\n";
const FORMAT: u32 = 1;

/// Bytes that could not be read as frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Segment number.
    pub segment: u64,
    /// First byte.
    pub from: u64,
    /// One past the last byte.
    pub to: u64,
}

/// What opening found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Entries that are pending, in order.
    pub entries: Vec<Entry>,
    /// The end of the last segment, where the machine died while writing. Nothing that was durable is lost by it.
    pub torn_tail: Option<Span>,
    /// Damage. Entries may be lost by it; those around it are kept.
    pub corrupt: Vec<Span>,
}

#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) recovered: Recovered,
    pub(crate) next_seq: u64,
    /// By pending entry: the segment of its frame.
    pub(crate) home: BTreeMap<Seq, u64>,
}

pub(crate) fn segment_header(number: u64) -> [u8; SEGMENT_HEADER] {
    let mut h = [0; SEGMENT_HEADER];
    h[..8].copy_from_slice(MAGIC);
    h[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    h[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&h[..24]);
    h[24..28].copy_from_slice(&crc.to_le_bytes());
    h
}

/// The format number of another release's segment, if `bytes` are one.
fn foreign_format(bytes: &[u8]) -> Option<u32> {
    let head = bytes.get(..SEGMENT_HEADER)?;
    let format = u32_at(head, 8)?;
    let sound = head.get(..8)? == MAGIC && crc32c::crc32c(head.get(..24)?) == u32_at(head, 24)?;
    (sound && format != FORMAT).then_some(format)
}

/// Reads all segments, in the order of their numbers.
pub(crate) fn read(segments: &[(u64, String, Vec<u8>)]) -> Result<Reading, Error> {
    let mut found = Found::default();
    let last = segments.last().map(|s| s.0);
    let mut expected = None;
    for (number, name, bytes) in segments {
        if let Some(format) = foreign_format(bytes) {
            return Err(Error::UnknownFormat { name: name.clone(), found: format });
        }
        for missing in expected.unwrap_or(*number)..*number {
            found.corrupt.push(Span { segment: missing, from: 0, to: 0 });
        }
        expected = Some(number + 1);
        found.read_segment(*number, bytes, last == Some(*number));
    }
    Ok(found.finish())
}

#[derive(Default)]
struct Found {
    entries: BTreeMap<u64, (Entry, u64)>,
    done: BTreeSet<u64>,
    max_seq: Option<u64>,
    torn_tail: Option<Span>,
    corrupt: Vec<Span>,
}

impl Found {
    fn read_segment(&mut self, number: u64, bytes: &[u8], is_last: bool) {
        let mut at = SEGMENT_HEADER;
        let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |p| p + 1);
        let header_is_sound =
            u64_at(bytes, 16) == Some(number) && bytes.get(..SEGMENT_HEADER) == Some(&segment_header(number));
        if !header_is_sound && written > 0 {
            self.corrupt.push(Span { segment: number, from: 0, to: SEGMENT_HEADER as u64 });
        }
        while at < written {
            let tail = bytes.get(at..).unwrap_or_default();
            if let Some((frame, size)) = Frame::decode(tail, Place { segment: number, offset: at as u64 }) {
                self.take(frame, number);
                at += size;
                continue;
            }
            let next = next_frame(bytes, number, at + ALIGN);
            let span = Span { segment: number, from: at as u64, to: next.unwrap_or(written) as u64 };
            if next.is_none() && is_last {
                self.torn_tail = Some(span);
            } else {
                self.corrupt.push(span);
            }
            at = next.unwrap_or(written);
        }
    }

    fn take(&mut self, frame: Frame<'_>, segment: u64) {
        self.max_seq = self.max_seq.max(Some(frame.seq));
        match frame.kind {
            FrameKind::Done => {
                if let Some(seq) = u64_at(frame.payload, 0) {
                    self.done.insert(seq);
                }
            }
            FrameKind::Entry(kind) => {
                let entry = Entry { seq: Seq(frame.seq), id: frame.id, kind, payload: frame.payload.into() };
                // A copy forward moves the entry's home: its first segment may go.
                self.entries.entry(frame.seq).and_modify(|e| e.1 = e.1.max(segment)).or_insert((entry, segment));
            }
        }
    }

    fn finish(mut self) -> Reading {
        let last_checkpoint =
            self.entries.values().filter(|(e, _)| e.kind == Kind::Checkpoint).map(|(e, _)| e.seq.0).max();
        let done = self.done;
        self.entries
            .retain(|seq, (e, _)| !done.contains(seq) && (e.kind == Kind::Record || last_checkpoint == Some(*seq)));
        Reading {
            home: self.entries.values().map(|(e, segment)| (e.seq, *segment)).collect(),
            recovered: Recovered {
                entries: self.entries.into_values().map(|(e, _)| e).collect(),
                torn_tail: self.torn_tail,
                corrupt: self.corrupt,
            },
            next_seq: self.max_seq.map_or(0, |s| s + 1),
        }
    }
}

/// Frames begin at multiples of [`ALIGN`]; the header's own checksum makes each probe cheap.
fn next_frame(bytes: &[u8], number: u64, from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(HEADER)).step_by(ALIGN).find(|at| {
        let tail = bytes.get(*at..).unwrap_or_default();
        Frame::decode(tail, Place { segment: number, offset: *at as u64 }).is_some()
    })
}
