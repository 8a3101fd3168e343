//! The bytes between a recorder and its host's agent (docs/FORMATS.md, "The agent's socket"). Pure.
//!
//! Each side begins with a [`GREETING`]. Then frames: a length u32, a kind u8, a token u64, and the rest by kind; all
//! numbers big-endian. Invariant: any bytes have a reading or are an error; nothing longer than it may be is waited for.

use super::super::SinkError;
use crate::wire::MAX_BYTES;

/// Magic and version.
pub(super) const GREETING: [u8; 8] = *b"CHAPAGT\x01";
const SEND: u8 = 1;
const REPORT: u8 = 2;
/// An incarnation as text has 36.
const KEY_MAX: usize = 64;
/// Of the words of a report; what is longer is cut.
const WORDS_MAX: usize = 256;
/// Kind and token.
const HEAD: usize = 9;
/// The longest frame of each kind, without its length.
pub(super) const SEND_MAX: usize = HEAD + 1 + KEY_MAX + MAX_BYTES;
pub(super) const REPORT_MAX: usize = HEAD + 1 + WORDS_MAX;

const STORED: u8 = 0;
const FULL: u8 = 1;
const NOT_STORED: u8 = 2;

/// A recorder hands over a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Posted {
    pub(super) token: u64,
    pub(super) key: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// The agent says what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) token: u64,
    pub(super) result: Result<(), SinkError>,
}

/// Bytes that are no frame. The connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("it does not begin as version {} of this connection does", GREETING[7])]
    Greeting,
    #[error("a frame of {length} bytes; allowed is {HEAD} to {max}")]
    Length { length: usize, max: usize },
    #[error("a frame of kind {0} where another belongs")]
    Kind(u8),
    #[error("a frame whose parts do not fit into it")]
    Parts,
}

/// Appends a message; false, and nothing appended, if it is longer than it may be.
pub(super) fn put_send(out: &mut Vec<u8>, key: &[u8], payload: &[u8], token: u64) -> bool {
    let Some(key_length) = u8::try_from(key.len()).ok().filter(|_| key.len() <= KEY_MAX && payload.len() <= MAX_BYTES)
    else {
        return false;
    };
    put(out, SEND, token, &[&[key_length], key, payload]);
    true
}

/// Appends a report.
pub(super) fn put_report(out: &mut Vec<u8>, report: &Report) {
    let (status, words) = match &report.result {
        Ok(()) => (STORED, ""),
        Err(SinkError::Full) => (FULL, ""),
        Err(SinkError::NotStored(words)) => (NOT_STORED, words.as_str()),
    };
    let words = words.get(..words.floor_char_boundary(WORDS_MAX)).unwrap_or_default();
    put(out, REPORT, report.token, &[&[status], words.as_bytes()]);
}

fn put(out: &mut Vec<u8>, kind: u8, token: u64, parts: &[&[u8]]) {
    let length = HEAD + parts.iter().map(|p| p.len()).sum::<usize>();
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(kind);
    out.extend(token.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Takes the greeting off the front. `None`: more is needed.
pub(super) fn take_greeting(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let n = bytes.len().min(GREETING.len());
    if bytes.get(..n) != GREETING.get(..n) {
        return Err(FrameError::Greeting);
    }
    Ok((n == GREETING.len()).then_some(n))
}

/// The message at the front, and how many bytes it takes. `None`: more is needed.
pub(super) fn take_send(bytes: &[u8]) -> Result<Option<(Posted, usize)>, FrameError> {
    let Some((token, rest, size)) = take(bytes, SEND, SEND_MAX)? else { return Ok(None) };
    let (key_length, rest) = rest.split_first().ok_or(FrameError::Parts)?;
    let key_length = usize::from(*key_length);
    let (key, payload) = rest.split_at_checked(key_length).ok_or(FrameError::Parts)?;
    if key_length > KEY_MAX || payload.len() > MAX_BYTES {
        return Err(FrameError::Parts);
    }
    Ok(Some((Posted { token, key: key.to_vec(), payload: payload.to_vec() }, size)))
}

/// The report at the front, and how many bytes it takes. `None`: more is needed.
pub(super) fn take_report(bytes: &[u8]) -> Result<Option<(Report, usize)>, FrameError> {
    let Some((token, rest, size)) = take(bytes, REPORT, REPORT_MAX)? else { return Ok(None) };
    let result = match rest.split_first().ok_or(FrameError::Parts)? {
        (&STORED, []) => Ok(()),
        (&FULL, []) => Err(SinkError::Full),
        (&NOT_STORED, words) => Err(SinkError::NotStored(String::from_utf8_lossy(words).into_owned())),
        _ => return Err(FrameError::Parts),
    };
    Ok(Some((Report { token, result }, size)))
}

/// Token and rest of a frame, and the bytes that all of it takes.
type Part<'a> = (u64, &'a [u8], usize);

/// The frame at the front.
fn take(bytes: &[u8], kind: u8, max: usize) -> Result<Option<Part<'_>>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(HEAD..=max).contains(&length) {
        return Err(FrameError::Length { length, max });
    }
    if let Some(found) = rest.first().filter(|found| **found != kind) {
        return Err(FrameError::Kind(*found));
    }
    let Some(frame) = rest.get(1..length) else { return Ok(None) };
    let (token, rest) = frame.split_first_chunk::<8>().ok_or(FrameError::Parts)?;
    Ok(Some((u64::from_be_bytes(*token), rest, 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// docs/FORMATS.md shows these bytes: they never change.
    #[test]
    fn the_bytes_are_frozen() {
        let mut bytes = GREETING.to_vec();
        assert!(put_send(&mut bytes, b"k", b"{}", 7));
        put_report(&mut bytes, &Report { token: 7, result: Ok(()) });
        put_report(&mut bytes, &Report { token: 8, result: Err(SinkError::Full) });
        put_report(&mut bytes, &Report { token: 9, result: Err(SinkError::NotStored("no".to_owned())) });
        let fixture = include_str!("../../../tests/fixtures/agent_v1.hex").split_whitespace().collect::<String>();
        assert_eq!(hex::encode(bytes), fixture);
    }

    proptest! {
        #[test]
        fn what_was_put_is_taken_wherever_it_is_cut(
            key in proptest::collection::vec(any::<u8>(), 0..KEY_MAX), payload in proptest::collection::vec(any::<u8>(), 0..300),
            token: u64, words in "\\PC{0,300}", status in 0u8..3, cut in 0usize..400
        ) {
            let mut bytes = Vec::new();
            prop_assert!(put_send(&mut bytes, &key, &payload, token));
            let whole = take_send(&bytes).expect("sound");
            prop_assert_eq!(whole, Some((Posted { token, key, payload }, bytes.len())));
            prop_assert_eq!(take_send(&bytes[..cut.min(bytes.len() - 1)]), Ok(None));
            let result = [Ok(()), Err(SinkError::Full), Err(SinkError::NotStored(words))][usize::from(status)].clone();
            let mut bytes = Vec::new();
            put_report(&mut bytes, &Report { token, result: result.clone() });
            prop_assert!(bytes.len() <= 4 + REPORT_MAX);
            let (report, size) = take_report(&bytes).expect("sound").expect("whole");
            prop_assert_eq!((report.token, report.result.is_ok(), size), (token, result.is_ok(), bytes.len()));
            prop_assert_eq!(take_report(&bytes[..cut.min(bytes.len() - 1)]), Ok(None));
        }

        #[test]
        fn any_bytes_have_a_reading(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            // A length that is allowed, so that the rest is looked at.
            for lead in [None, Some([0u8, 0, 0, 24, 1]), Some([0, 0, 0, 24, 2])] {
                let bytes = [lead.map(Vec::from).unwrap_or_default(), bytes.clone()].concat();
                if let Ok(Some((_, size))) = take_send(&bytes) {
                    prop_assert!(size <= bytes.len());
                }
                if let Ok(Some((_, size))) = take_report(&bytes) {
                    prop_assert!(size <= bytes.len());
                }
            }
            prop_assert!(take_greeting(&bytes).is_ok_and(|n| n.is_some()) == bytes.starts_with(&GREETING));
        }
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_not_put_and_not_waited_for() {
        let mut out = Vec::new();
        assert!(!put_send(&mut out, &[0; KEY_MAX + 1], b"", 1) && !put_send(&mut out, b"", &vec![0; MAX_BYTES + 1], 1));
        assert!(out.is_empty());
        assert_eq!(take_send(&[0xff; 5]), Err(FrameError::Length { length: 0xffff_ffff, max: SEND_MAX }));
        assert_eq!(take_report(&[0, 0, 0, 10, 1]), Err(FrameError::Kind(1)));
    }
}
