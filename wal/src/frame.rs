//! The bytes of one frame: 40 bytes of header, the payload, zeros up to a multiple of 8.
//!
//! `length u32 | kind u32 | seq u64 | id 16 | payload CRC32C u32 | header CRC32C u32`, little-endian. The header's
//! checksum also covers the segment's number and the frame's offset, so that bytes of another place (a payload that
//! contains a frame, a recycled block) are never taken for a frame of this one. Decoding is total: any bytes are a
//! frame, blank, or not a frame.

use uuid::Uuid;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 40;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stands until it is done.
    Record,
    /// Stands until the next checkpoint, or until it is done.
    Checkpoint,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Entry(Kind),
    /// The payload is the sequence number of the entry that is done.
    Done,
}

impl FrameKind {
    const fn code(self) -> u32 {
        match self {
            Self::Entry(Kind::Record) => 1,
            Self::Entry(Kind::Checkpoint) => 2,
            Self::Done => 3,
        }
    }
    const fn of(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Entry(Kind::Record)),
            2 => Some(Self::Entry(Kind::Checkpoint)),
            3 => Some(Self::Done),
            _ => None,
        }
    }
}

/// Where a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) seq: u64,
    pub(crate) id: Uuid,
    pub(crate) payload: &'a [u8],
}

/// Bytes that a frame with this payload takes.
pub(crate) const fn size(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGN)
}

fn header_crc(head: &[u8], place: Place) -> u32 {
    let crc = crc32c::crc32c(&place.segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &place.offset.to_le_bytes());
    crc32c::crc32c_append(crc, head)
}

impl<'a> Frame<'a> {
    /// Appends the frame's bytes for `place` to `out`. Payloads are bounded by the segment's size, far below 4 GiB.
    pub(crate) fn encode(&self, place: Place, out: &mut Vec<u8>) {
        let start = out.len();
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.kind.code().to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&crc32c::crc32c(self.payload).to_le_bytes());
        let crc = header_crc(out.get(start..).unwrap_or_default(), place);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(self.payload);
        out.resize(start + size(self.payload.len()), 0);
    }

    /// The frame at the start of `bytes`, which stand at `place`, and its size; `None` if there is none.
    pub(crate) fn decode(bytes: &'a [u8], place: Place) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_at_checked(HEADER)?;
        let (covered, crc) = head.split_at_checked(HEADER - 4)?;
        if header_crc(covered, place) != u32_at(crc, 0)? {
            return None;
        }
        let length = usize::try_from(u32_at(head, 0)?).ok()?;
        let payload = rest.get(..length)?;
        if crc32c::crc32c(payload) != u32_at(head, 32)? {
            return None;
        }
        let kind = FrameKind::of(u32_at(head, 4)?)?;
        let seq = u64_at(head, 8)?;
        let id = Uuid::from_slice(head.get(16..32)?).ok()?;
        Some((Self { kind, seq, id, payload }, size(length)))
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place = Place { segment: 7, offset: 32 };

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        Frame { kind: FrameKind::Entry(Kind::Record), seq: 5, id, payload: b"window" }.encode(AT, &mut out);
        out
    }

    #[test]
    fn every_flipped_bit_of_header_and_payload_is_seen() {
        let good = sample();
        assert!(Frame::decode(&good, AT).is_some());
        for bit in 0..(HEADER + 6) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&bad, AT).is_none(), "bit {bit}");
        }
        for cut in 0..HEADER + 6 {
            assert!(Frame::decode(&good[..cut], AT).is_none(), "cut {cut}");
        }
    }

    #[test]
    fn a_frame_of_another_place_is_no_frame_here() {
        assert!(Frame::decode(&sample(), Place { offset: 40, ..AT }).is_none());
        assert!(Frame::decode(&sample(), Place { segment: 8, ..AT }).is_none());
    }

    #[test]
    fn the_format_is_frozen() {
        let frozen = include_str!("../tests/fixtures/frame_v1.hex").trim();
        let byte = |at: usize| u8::from_str_radix(frozen.get(at..at + 2).unwrap_or_default(), 16).expect("hex");
        let frozen: Vec<u8> = (0..frozen.len()).step_by(2).map(byte).collect();
        assert_eq!(sample(), frozen);
    }
}
