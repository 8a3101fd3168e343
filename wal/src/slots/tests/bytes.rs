//! The layout is frozen, and any bytes have a reading.

use std::fmt::Write as _;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::slots::layout::{HEADER_BYTES, NoHeader};

fn header() -> Header {
    Header {
        incarnation: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        boot: *b"a boot's 16 byte",
        pid: 4711,
        pid_start: 12_345,
        pid_namespace: 4_026_531_836,
        started_ms: 1_790_000_000_000,
        schema: 3,
        geometry: SMALL,
        about: b"{\"stage\":\"producer\"}".to_vec(),
    }
}

#[test]
fn the_header_comes_back_and_every_flipped_bit_of_it_is_seen() {
    let good = header().encode();
    assert_eq!(Header::decode(&good).as_ref(), Ok(&header()));
    let immutable = (512 + ABOUT_BYTES) * 8;
    for bit in (0..17 * 64).chain(512 * 8..immutable) {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&bad).is_err(), "bit {bit}");
    }
    assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(NoHeader::Unfinished));
}

#[test]
fn another_version_is_named_whatever_else_it_changed() {
    let mut next = header().encode();
    next[8..12].copy_from_slice(&2u32.to_ne_bytes());
    next[600] ^= 1;
    assert_eq!(Header::decode(&next), Err(NoHeader::Version(2)));
}

/// A table with something in every part, as the words of its file.
fn sample() -> Vec<u64> {
    let table = heap(SMALL);
    let mut line = table.open(7, "orders", &[11, 12, 13, 14, 15, 16, 17, 18]).unwrap();
    for i in 1..=3u8 {
        line.count(|words| {
            for word in words {
                *word += u64::from(i);
            }
            i
        })
        .unwrap();
    }
    table.add(line.at(), &[1, 2, 3, 4, 5, 6, 7]).unwrap();
    table.note(line.at(), 99).unwrap();
    table.heartbeat(1_790_000_001_000).unwrap();
    table.flag(5).unwrap();
    let closed = table.open(8, "refunds", &[0; TAGS]).unwrap();
    table.close_if(closed.at(), |_| true).unwrap();
    let mut words: Vec<u64> =
        header().encode().chunks_exact(8).map(|b| u64::from_ne_bytes(b.try_into().unwrap())).collect();
    words.extend(table.core.memory[words.len()..].iter().map(|w| w.load(Ordering::Relaxed)));
    for at in [NAMES_USED, layout::HEARTBEAT, layout::FLAGS] {
        words[at] = table.core.memory[at].load(Ordering::Relaxed);
    }
    words
}

/// `word index: value` for each word that is not zero, in hex.
fn text(words: &[u64]) -> String {
    let mut text = String::new();
    for (at, word) in words.iter().enumerate().filter(|(_, w)| **w != 0) {
        writeln!(text, "{at:x}: {word:016x}").unwrap();
    }
    text
}

#[test]
#[cfg(target_endian = "little")]
fn the_layout_is_frozen() {
    let frozen = include_str!("../../../tests/fixtures/slots_v1.hex");
    let now = text(&sample());
    assert_eq!(now, frozen, "the layout changed: give it another version, or put it back\n{now}");
}

fn write(words: &[u64]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.slots");
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn the_frozen_file_is_read() {
    let (_dir, path) = write(&sample());
    let file = recovery::SlotFile::open(&path).unwrap();
    assert_eq!((file.header(), file.life()), (&header(), recovery::Life::Dead));
    assert!(file.machine_died(), "of another boot");
    let contents = file.read(Limits::default()).unwrap();
    assert_eq!((contents.heartbeat, contents.flags, contents.cut_off, contents.busy), (1_790_000_001_000, 5, 0, 0));
    let [orders, refunds] = &contents.slots[..] else { panic!("{contents:?}") };
    assert_eq!((orders.name.as_str(), orders.n, orders.words_in), ("orders", 3, [6; WORDS]));
    assert_eq!((orders.cells.as_slice(), orders.m, orders.words_out), (&[0, 1, 1, 1][..], 1, [1, 2, 3, 4, 5, 6, 7]));
    assert_eq!((orders.tags[7], orders.note, orders.owner, orders.closed), (18, 99, 7, false));
    assert_eq!((refunds.name.as_str(), refunds.n, refunds.closed), ("refunds", 0, true));
    assert!(contents.slots.iter().all(|slot| slot.troubles.is_empty()));
}

#[test]
fn what_does_not_fit_together_is_told() {
    let at = SMALL.slot_at(0);
    let troubles = |change: &dyn Fn(&mut Vec<u64>)| {
        let mut words = sample();
        change(&mut words);
        let (_dir, path) = write(&words);
        let contents = recovery::SlotFile::open(&path).unwrap().read(Limits { count: 1000 }).unwrap();
        contents.slots.first().map(|slot| slot.troubles.clone()).unwrap_or_default()
    };
    assert_eq!(troubles(&|_| ()), []);
    assert_eq!(troubles(&|w| w[at + layout::CELLS] += 5), [Trouble::Cells { sum: 8 }]);
    assert_eq!(troubles(&|w| w[at + layout::descriptor::NAME] = u64::MAX), [Trouble::Name]);
    assert_eq!(troubles(&|w| w[at + layout::descriptor::NAME] = 1 << 20 | 6), [Trouble::Name]);
    assert_eq!(troubles(&|w| w[NAMES_USED] = 0), [Trouble::Name]);
    assert_eq!(troubles(&|w| w[at + layout::OUT] += 3), [Trouble::MoreOut]);
    assert_eq!(troubles(&|w| w[at] |= 7), [Trouble::Control], "a state that nobody writes hides no counts");
    assert_eq!(troubles(&|w| w[at + layout::IN] |= 1 << 50), [Trouble::Control]);
    let many = troubles(&|w| w[at + layout::IN] += 2000);
    assert_eq!(many, [Trouble::Cells { sum: 3 }, Trouble::Implausible]);
}

#[test]
fn a_file_that_was_cut_gives_what_is_whole() {
    let words = sample();
    for length in 0..words.len() {
        let (_dir, path) = write(&words[..length]);
        match recovery::SlotFile::open(&path) {
            Ok(file) => {
                let contents = file.read(Limits::default()).unwrap();
                let whole = length.saturating_sub(SMALL.slots_at()) / SMALL.slot_words();
                assert_eq!(contents.cut_off as usize, 3 - whole, "{length} words");
                assert_eq!(contents.slots.len(), whole.min(2));
            }
            Err(e) => assert!(length < 512 && matches!(e, Error::Unreadable { .. } | Error::Unfinished { .. }), "{e}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Behind a good header, whatever there is.
    #[test]
    fn any_words_have_a_reading(garbage in proptest::collection::vec((0usize..600, any::<u64>()), 0..200), cut in 0usize..600) {
        let mut words = sample();
        for (at, value) in garbage {
            if let Some(word) = words.get_mut(448 + at) {
                *word = value;
            }
        }
        words.truncate(448 + cut.max(64));
        let (_dir, path) = write(&words);
        let contents = recovery::SlotFile::open(&path).unwrap().read(Limits::default()).unwrap();
        for slot in &contents.slots {
            let sum: u64 = slot.cells.iter().map(|c| u64::from(*c)).sum();
            let told = slot.troubles.iter().any(|t| matches!(t, Trouble::Cells { .. }));
            prop_assert!(sum == slot.n || told);
            prop_assert!(slot.m <= slot.n || slot.troubles.contains(&Trouble::MoreOut));
        }
    }

    #[test]
    fn any_header_is_one_or_not(flips in proptest::collection::vec((0usize..HEADER_BYTES, any::<u8>()), 1..40), repair in any::<bool>()) {
        let mut bytes = header().encode();
        for (at, value) in flips {
            bytes[at] = value;
        }
        if repair && let Ok(found) = Header::decode(&bytes) {
            bytes = found.encode();
        }
        if let Ok(found) = Header::decode(&bytes) {
            prop_assert!(found.about.len() <= ABOUT_BYTES && found.geometry.check().is_ok());
        }
    }
}
