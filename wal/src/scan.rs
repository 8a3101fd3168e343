//! What the bytes of one segment are: its header and every frame in it, wherever it stands. Total over any input.
//!
//! A file may be recycled, so behind the last frame there may be anything: bytes of its former life are not frames of
//! this one (their checksums cover another segment's number), and are passed over.

use crate::frame::{ALIGN, Frame, FrameKind, HEADER, Place, u32_at, u64_at};

/// `magic 8 | format u32 | CRC32C of both u32 | segment u64 | previous u64 | its end u64 | first u32 | CRC32C u32`.
pub(crate) const SEGMENT_HEADER: usize = 48;
const MAGIC: &[u8; 8] = b"CHAPWAL\n";
const FORMAT: u32 = 1;

/// The bytes before a segment's first frame. `previous` is the segment that was written before it, and `end` up to
/// where that one was durable; 0 and 0 if there was none. `first` is where the frames of the first write end.
pub(crate) fn segment_header(number: u64, previous: (u64, u64), first: u32) -> [u8; SEGMENT_HEADER] {
    let mut h = [0; SEGMENT_HEADER];
    h[..8].copy_from_slice(MAGIC);
    h[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    let crc = crc32c::crc32c(&h[..12]);
    h[12..16].copy_from_slice(&crc.to_le_bytes());
    h[16..24].copy_from_slice(&number.to_le_bytes());
    h[24..32].copy_from_slice(&previous.0.to_le_bytes());
    h[32..40].copy_from_slice(&previous.1.to_le_bytes());
    h[40..44].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&h[..44]);
    h[44..48].copy_from_slice(&crc.to_le_bytes());
    h
}

/// Said of the segment before when what is in doubt there could not be voided, because its copies need more than one write.
pub(crate) const UNKNOWN_END: u64 = u64::MAX;

/// What stands where the header should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// This segment's, and what it says of the one before.
    Own { previous: u64, end: u64, first: u32 },
    /// Of a segment that the file was before it got this name.
    Former,
    /// Of a release that this one does not know; the number of its format.
    Foreign(u32),
    /// Zeros.
    Blank,
    /// Anything else.
    Bad,
}

fn header(number: u64, bytes: &[u8]) -> Option<Header> {
    let head = bytes.get(..SEGMENT_HEADER)?;
    if head.iter().all(|b| *b == 0) {
        return Some(Header::Blank);
    }
    if head.get(..8)? != MAGIC || crc32c::crc32c(head.get(..12)?) != u32_at(head, 12)? {
        return Some(Header::Bad);
    }
    let format = u32_at(head, 8)?;
    if format != FORMAT {
        return Some(Header::Foreign(format));
    }
    let (own, previous, end, first) = (u64_at(head, 16)?, u64_at(head, 24)?, u64_at(head, 32)?, u32_at(head, 40)?);
    let sound = crc32c::crc32c(head.get(..44)?) == u32_at(head, 44)?;
    Some(match (sound, own == number) {
        (true, false) => Header::Former,
        (true, true) if previous < number => Header::Own { previous, end, first },
        _ => Header::Bad,
    })
}

/// One frame and where it stands.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) frame: Frame<'a>,
}

impl Found<'_> {
    /// Where the write began that it was part of. The first write of a segment begins with its header.
    pub(crate) fn batch(&self) -> u64 {
        u64::from(self.frame.batch)
    }
    pub(crate) fn is_end(&self) -> bool {
        self.frame.kind == FrameKind::End
    }
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) header: Header,
    pub(crate) frames: Vec<Found<'a>>,
    /// One past the last byte that is not zero.
    pub(crate) written: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn of(number: u64, bytes: &'a [u8]) -> Self {
        let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |p| p + 1);
        // The last frame's padding may be zeros, and its payload too.
        let mut frames = Vec::new();
        let mut at = SEGMENT_HEADER;
        while at < written && at + HEADER <= bytes.len() {
            let place = Place { segment: number, offset: at as u64 };
            match Frame::decode(bytes.get(at..).unwrap_or_default(), place) {
                Some((frame, size)) => {
                    frames.push(Found { offset: at as u64, size: size as u64, frame });
                    at += size;
                }
                None => at += ALIGN,
            }
        }
        let header = header(number, bytes).unwrap_or(if written == 0 { Header::Blank } else { Header::Bad });
        Self { number, len: bytes.len() as u64, header, frames, written: written as u64 }
    }

    /// Nothing was ever written to it under this number, as far as can be seen.
    pub(crate) fn is_unused(&self) -> bool {
        let untouched = self.header == Header::Former || (self.header == Header::Blank && self.written == 0);
        self.frames.is_empty() && untouched
    }

    pub(crate) fn has_own_header(&self) -> bool {
        matches!(self.header, Header::Own { .. })
    }

    /// The segment before it and its end, if it may be believed: `durable` says that the first write, which the header is
    /// part of, is known to be whole. Else it must be seen to be: what the header declares void may stand nowhere but in
    /// the rest of that write.
    pub(crate) fn previous(&self, durable: bool) -> Option<(u64, u64)> {
        let Header::Own { previous, end, first } = self.header else { return None };
        (durable || self.last_batch() > 0 || self.reaches(u64::from(first))).then_some((previous, end))
    }

    /// There are frames without a gap up to there. The mark that ends the first write is no proof: the second overwrites it.
    fn reaches(&self, end: u64) -> bool {
        let mut at = SEGMENT_HEADER as u64;
        for found in self.frames.iter().take_while(|f| f.offset < end) {
            if found.offset != at {
                return false;
            }
            at += found.size;
        }
        at >= end
    }

    /// Where its last write began.
    pub(crate) fn last_batch(&self) -> u64 {
        self.frames.iter().map(Found::batch).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_own_former_foreign_blank_or_bad() {
        let sound = segment_header(7, (6, 480), 152);
        assert_eq!(header(7, &sound), Some(Header::Own { previous: 6, end: 480, first: 152 }));
        assert_eq!(header(8, &sound), Some(Header::Former));
        assert_eq!(header(7, &[0; 64]), Some(Header::Blank));
        assert_eq!(header(7, &sound[..47]), None);
        assert_eq!(header(7, &segment_header(7, (7, 0), 48)), Some(Header::Bad), "it cannot come before itself");
        for bit in 0..48 * 8 {
            let mut bad = sound;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(header(7, &bad), Some(Header::Bad), "bit {bit}");
        }
    }

    #[test]
    fn the_header_is_frozen() {
        let frozen = include_str!("../tests/fixtures/header_v1.hex").trim();
        assert_eq!(segment_header(7, (6, 480), 152).map(|b| format!("{b:02x}")).concat(), frozen);
    }
}
