//! The segment that is being written: frames are gathered in memory, then written and synced at once.
//!
//! Invariant: what is `durable` was synced, and what was not synced is written nowhere else under the same place.

use uuid::Uuid;

use super::Queued;
use crate::error::Error;
use crate::frame::{END, Frame, FrameKind, Kind, Place, replacement};
use crate::scan::{SEGMENT_HEADER, segment_header};
use crate::storage::File;

/// The segment being written.
pub(crate) struct Writer {
    pub(super) file: Option<Box<dyn File>>,
    pub(super) number: u64,
    /// Where the next write begins, and what it writes.
    pub(super) offset: u64,
    pub(super) buffer: Vec<u8>,
    /// The newest segment that holds anything durable, and up to where.
    pub(super) durable: (u64, u64),
}

impl Writer {
    pub(crate) fn new(durable: (u64, u64)) -> Self {
        Self { file: None, number: 0, offset: 0, buffer: Vec::new(), durable }
    }

    pub(super) fn begin(&mut self, number: u64, file: Box<dyn File>) {
        // Room for the header, which is known when the first write is.
        self.buffer.resize(SEGMENT_HEADER, 0);
        (self.file, self.number, self.offset) = (Some(file), number, 0);
    }

    /// Leaves the current segment for good; the next frame begins another.
    pub(super) fn leave(&mut self) -> Option<u64> {
        self.buffer.clear();
        self.file.take().map(|_| self.number)
    }

    /// Bytes that frames may still take.
    pub(super) fn room(&self, segment_bytes: u64) -> u64 {
        segment_bytes.saturating_sub(self.offset + (self.buffer.len() + END) as u64)
    }

    pub(super) fn entry(&mut self, q: &Queued) {
        let entry = &q.held.entry;
        let kind = FrameKind::Entry(entry.kind);
        if q.held.replaces.is_empty() {
            self.frame(kind, entry.seq.0, entry.id, &entry.payload, q.crc);
        } else {
            debug_assert_eq!(entry.kind, Kind::Record);
            let payload = replacement(&q.held.replaces, &entry.payload);
            self.frame(FrameKind::Replacement, entry.seq.0, entry.id, &payload, crc32c::crc32c(&payload));
        }
    }

    pub(super) fn frame(&mut self, kind: FrameKind, seq: u64, id: Uuid, payload: &[u8], crc: u32) {
        let place = Place { segment: self.number, offset: self.offset + self.buffer.len() as u64 };
        // A segment has at most 1 GiB.
        let batch = u32::try_from(self.offset).unwrap_or(u32::MAX);
        Frame { kind, seq, id, batch, payload }.encode(place, crc, &mut self.buffer);
    }

    /// One write and one device flush.
    pub(super) fn flush(&mut self, next_seq: u64) -> Result<(), Error> {
        let bytes = self.buffer.len() as u64;
        if let (0, Some(head)) = (self.offset, self.buffer.get_mut(..SEGMENT_HEADER)) {
            let first = u32::try_from(bytes).unwrap_or(u32::MAX);
            head.copy_from_slice(&segment_header(self.number, self.durable, first));
        }
        self.frame(FrameKind::End, next_seq, Uuid::nil(), &[], crc32c::crc32c(&[]));
        if let Some(file) = &self.file {
            file.write_at(self.offset, &self.buffer).map_err(Error::storage("writing"))?;
            file.sync().map_err(Error::storage("syncing"))?;
        }
        self.offset += bytes;
        self.durable = (self.number, self.offset);
        self.buffer.clear();
        Ok(())
    }
}
