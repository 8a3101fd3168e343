//! The bytes of one frame: 44 bytes of header, the payload, zeros up to a multiple of 8.
//!
//! `length u32 | kind u32 | seq u64 | id 16 | batch u32 | payload CRC32C u32 | header CRC32C u32`, little-endian. The
//! header's checksum also covers the segment's number and the frame's offset, so that bytes of another place (a payload
//! that contains a frame, what a recycled file held before) are never taken for a frame of this one. `batch` is the
//! offset at which the write began that the frame is part of: all before it had been synced. Decoding is total: any
//! bytes are a frame or not a frame.

use uuid::Uuid;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 44;
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
    /// The payload is the sequence numbers of entries that are done.
    Done,
    /// A record that stands for others: the payload is their number, their sequence numbers, and then its own bytes.
    Replacement,
    /// Ends a batch; the next batch overwrites it. The sequence number is the next one.
    End,
}

impl FrameKind {
    const fn code(self) -> u32 {
        match self {
            Self::Entry(Kind::Record) => 1,
            Self::Entry(Kind::Checkpoint) => 2,
            Self::Done => 3,
            Self::Replacement => 4,
            Self::End => 5,
        }
    }
    const fn of(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Entry(Kind::Record)),
            2 => Some(Self::Entry(Kind::Checkpoint)),
            3 => Some(Self::Done),
            4 => Some(Self::Replacement),
            5 => Some(Self::End),
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
    /// Where its batch begins.
    pub(crate) batch: u32,
    pub(crate) payload: &'a [u8],
}

/// Bytes of the mark that ends a batch.
pub(crate) const END: usize = size(0);

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
    pub(crate) fn encode(&self, place: Place, payload_crc: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.kind.code().to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.batch.to_le_bytes());
        out.extend_from_slice(&payload_crc.to_le_bytes());
        let crc = header_crc(out.get(start..).unwrap_or_default(), place);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(self.payload);
        out.resize(start + size(self.payload.len()), 0);
    }

    /// The frame at the start of `bytes`, which stand at `place`, and its size; `None` if there is none.
    pub(crate) fn decode(bytes: &'a [u8], place: Place) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_at_checked(HEADER)?;
        let length = usize::try_from(u32_at(head, 0)?).ok()?;
        // Both are cheaper than the checksum, and most probes end here.
        let payload = rest.get(..length)?;
        let kind = FrameKind::of(u32_at(head, 4)?)?;
        let (covered, crc) = head.split_at_checked(HEADER - 4)?;
        if header_crc(covered, place) != u32_at(crc, 0)? || crc32c::crc32c(payload) != u32_at(head, 36)? {
            return None;
        }
        let seq = u64_at(head, 8)?;
        let id = Uuid::from_slice(head.get(16..32)?).ok()?;
        Some((Self { kind, seq, id, batch: u32_at(head, 32)?, payload }, size(length)))
    }
}

/// The payload of a replacement, and back.
pub(crate) fn replacement(olds: &[u64], own: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(4 + olds.len() * 8 + own.len());
    payload.extend_from_slice(&u32::try_from(olds.len()).unwrap_or(u32::MAX).to_le_bytes());
    payload.extend(olds.iter().flat_map(|seq| seq.to_le_bytes()));
    payload.extend_from_slice(own);
    payload
}

pub(crate) fn replaced(payload: &[u8]) -> Option<(Vec<u64>, &[u8])> {
    let olds = usize::try_from(u32_at(payload, 0)?).ok()?.checked_mul(8)?;
    let (olds, own) = payload.get(4..)?.split_at_checked(olds)?;
    Some((seqs(olds), own))
}

/// The sequence numbers of a `Done` frame; a remainder is ignored.
pub(crate) fn seqs(payload: &[u8]) -> Vec<u64> {
    payload.chunks_exact(8).filter_map(|c| u64_at(c, 0)).collect()
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

    const AT: Place = Place { segment: 7, offset: 48 };

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        let frame = Frame { kind: FrameKind::Entry(Kind::Record), seq: 5, id, batch: 48, payload: b"window" };
        frame.encode(AT, crc32c::crc32c(b"window"), &mut out);
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
        assert!(Frame::decode(&sample(), Place { offset: 56, ..AT }).is_none());
        assert!(Frame::decode(&sample(), Place { segment: 8, ..AT }).is_none());
    }

    #[test]
    fn a_replacement_gives_back_what_it_stands_for_and_other_bytes_give_nothing() {
        assert_eq!(replaced(&replacement(&[3, 4], b"sum")), Some((vec![3, 4], b"sum".as_slice())));
        assert_eq!(replaced(&replacement(&[], b"")), Some((vec![], b"".as_slice())));
        assert_eq!(replaced(b"\x02\0\0\0 too short"), None);
        assert_eq!(replaced(b"\xff\xff\xff\xff"), None);
        assert_eq!(replaced(b"abc"), None);
    }

    #[test]
    fn the_format_is_frozen() {
        let frozen = include_str!("../tests/fixtures/frame_v1.hex").trim();
        let byte = |at: usize| u8::from_str_radix(frozen.get(at..at + 2).unwrap_or_default(), 16).expect("hex");
        let frozen: Vec<u8> = (0..frozen.len()).step_by(2).map(byte).collect();
        assert_eq!(sample(), frozen);
    }
}
