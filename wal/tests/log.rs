//! The log call by call: what is told of damage, limits, flushes, the real disk. Whole lives are in `lives.rs`.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::sync::Arc;

use chaperone_wal::sim::SimDisk;
use chaperone_wal::{Config, Error, Log, Recovered, Seq, Standing, inspect, inspect_dir};
use proptest::prelude::*;
use uuid::Uuid;

const SMALL: Config = Config { segment_bytes: 4096, max_bytes: 64 * 4096, background: false };
const FIRST: &str = "0000000000000001.wal";

fn open(disk: &SimDisk) -> (Log, Recovered) {
    Log::open_with(Arc::new(disk.clone()), SMALL).unwrap()
}

fn id(n: u64) -> Uuid {
    Uuid::from_u64_pair(7, n)
}

#[test]
fn a_checkpoint_that_failed_does_not_supersede_the_one_before() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    log.append_checkpoint(id(1), b"first").unwrap();
    for n in 1..=8 {
        disk.fail_call(n);
    }
    assert!(log.append_checkpoint(id(2), b"second").is_err());
    drop(log);
    disk.crash();
    assert_eq!(&*open(&disk).1.entries[0].payload, b"first");
}

#[test]
fn every_torn_tail_keeps_all_before_it() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    log.append(id(1), b"kept").unwrap();
    log.append(id(2), b"torn away").unwrap();
    drop(log);
    // 48 header + 48 first frame; the second is 44 + 9 bytes.
    for cut in 97..96 + 53 {
        let torn = SimDisk::new(1);
        let (log, _) = open(&torn);
        log.append(id(1), b"kept").unwrap();
        log.append(id(2), b"torn away").unwrap();
        drop(log);
        torn.zero_from(FIRST, cut);
        let (_, recovered) = open(&torn);
        assert_eq!(recovered.entries.len(), 1, "cut {cut}");
        assert!(recovered.corrupt.is_empty());
        assert_eq!(recovered.torn.iter().map(|s| s.from).collect::<Vec<_>>(), [96], "cut {cut}");
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_its_neighbours_are_kept() {
    for bit in (104 * 8..156 * 8).step_by(3) {
        let disk = SimDisk::new(1);
        let (log, _) = open(&disk);
        for n in 1..=3 {
            log.append(id(n), b"payload!").unwrap();
        }
        drop(log);
        disk.flip(FIRST, bit);
        let (_, recovered) = open(&disk);
        let ids: Vec<Uuid> = recovered.entries.iter().map(|e| e.id).collect();
        assert_eq!(ids, [id(1), id(3)], "bit {bit}");
        assert_eq!(recovered.corrupt.len(), 1);
        assert_eq!((recovered.corrupt[0].from, recovered.corrupt[0].to), (104, 160));
        assert!(recovered.torn.is_empty());
    }
}

#[test]
fn a_full_log_refuses_and_goes_on_when_entries_are_done() {
    let disk = SimDisk::new(3);
    let (log, _) = Log::open_with(Arc::new(disk), Config { max_bytes: 4 * 4096, ..SMALL }).unwrap();
    let mut seqs = Vec::new();
    let full = loop {
        match log.append(id(1), &[7; 1000]) {
            Ok(seq) => seqs.push(seq),
            Err(e) => break e,
        }
    };
    assert!(matches!(full, Error::Full { .. }), "{full}");
    assert_eq!(log.pending_count(), seqs.len());
    assert!(log.bytes() <= 4 * 4096);
    for seq in seqs {
        log.done(seq).unwrap();
    }
    log.append(id(2), &[7; 1000]).unwrap();
    assert!(matches!(log.append(id(2), &[7; 5000]), Err(Error::TooLarge { .. })));
}

#[test]
fn one_old_pending_entry_does_not_pin_the_log() {
    let disk = SimDisk::new(4);
    let (log, _) = Log::open_with(Arc::new(disk.clone()), Config { max_bytes: 4 * 4096, ..SMALL }).unwrap();
    log.append(id(1), b"the old one").unwrap();
    for n in 0..500 {
        log.append_checkpoint(id(1000 + n), &[1; 900]).unwrap();
    }
    drop(log);
    disk.crash();
    let payloads: Vec<usize> = open(&disk).1.entries.iter().map(|e| e.payload.len()).collect();
    assert_eq!(payloads, [11, 900]);
}

#[test]
fn concurrent_appends_share_flushes_and_a_batch_is_one() {
    let disk = SimDisk::new(5);
    let (log, _) = Log::open_with(Arc::new(disk.clone()), Config::default()).unwrap();
    let batch: Vec<(Uuid, &[u8])> = (0..100).map(|n| (id(n), b"x".as_slice())).collect();
    log.append_batch(&batch).unwrap();
    assert_eq!(disk.syncs(), 1, "the first of a segment, too");
    std::thread::scope(|s| {
        for t in 0..8 {
            let log = &log;
            s.spawn(move || (0..200).for_each(|n| assert!(log.append(id(t * 1000 + n), b"y").is_ok())));
        }
    });
    assert_eq!(log.pending_count(), 100 + 1600);
    assert!(disk.syncs() <= 1601);
}

#[test]
fn the_real_disk_keeps_entries_and_the_lock_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Config::default()).unwrap();
    let done = log.append(id(1), b"one").unwrap();
    log.append(id(2), b"two").unwrap();
    assert!(matches!(Log::open(dir.path(), Config::default()), Err(Error::Locked { .. })));
    log.done(done).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, recovered) = Log::open(dir.path(), Config::default()).unwrap();
    assert_eq!(recovered.entries.len(), 1);
    assert_eq!((recovered.entries[0].id, &*recovered.entries[0].payload), (id(2), b"two".as_slice()));
    assert_eq!(log.pending_count(), 1);
}

#[test]
fn an_unknown_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut header = [0u8; 64];
    header[..8].copy_from_slice(b"CHAPWAL\n");
    header[8] = 9;
    let crc = crc32c::crc32c(&header[..12]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(dir.path().join(FIRST), header).unwrap();
    let refused = Log::open(dir.path(), Config::default()).map(|_| ());
    assert!(matches!(refused, Err(Error::UnknownFormat { found: 9, .. })), "{refused:?}");
    assert!(dir.path().join(FIRST).exists());
}

#[test]
fn appends_into_recycled_segments_are_one_flush_each_and_what_a_file_held_before_is_not_read() {
    let disk = SimDisk::new(6);
    let (log, _) = open(&disk);
    for n in 0..1000 {
        let seq = log.append(id(n), &[8; 500]).unwrap();
        log.done(seq).unwrap();
        if n % 3 == 0 {
            log.tend().unwrap();
        }
    }
    assert_eq!(disk.syncs(), 1000);
    log.append(id(1000), b"last").unwrap();
    drop(log);
    disk.crash();
    assert!(disk.files().len() <= 5, "{:?}", disk.files().len());
    let (_, recovered) = open(&disk);
    assert!(recovered.torn.is_empty() && recovered.corrupt.is_empty(), "{recovered:?}");
    let ids: Vec<u64> = recovered.entries.iter().map(|e| e.id.as_u64_pair().1).collect();
    assert_eq!(ids, [1000]);
}

#[test]
fn a_replacement_takes_the_place_of_pending_records_only() {
    let disk = SimDisk::new(7);
    let (log, _) = open(&disk);
    let one = log.append(id(1), b"one").unwrap();
    let two = log.append(id(2), b"two").unwrap();
    let checkpoint = log.append_checkpoint(id(3), b"checkpoint").unwrap();
    let three = log.replace(&[one, two], id(4), b"three").unwrap();
    for gone in [one, checkpoint, Seq(77)] {
        let refused = log.replace(&[three, gone], id(5), b"no");
        assert!(matches!(refused, Err(Error::NotPending { seq }) if seq == gone), "{refused:?}");
    }
    drop(log);
    disk.crash();
    let (_, recovered) = open(&disk);
    let payloads: Vec<&[u8]> = recovered.entries.iter().map(|e| &*e.payload).collect();
    assert_eq!(payloads, [b"checkpoint".as_slice(), b"three"]);
}

#[test]
fn a_full_log_becomes_smaller_by_a_replacement() {
    let disk = SimDisk::new(8);
    let (log, _) = Log::open_with(Arc::new(disk.clone()), Config { max_bytes: 4 * 4096, ..SMALL }).unwrap();
    let mut seqs = Vec::new();
    while let Ok(seq) = log.append(id(seqs.len() as u64), &[7; 1000]) {
        seqs.push(seq);
    }
    log.replace(&seqs, id(100), &[9; 1000]).unwrap();
    log.append(id(101), &[7; 1000]).unwrap();
    assert_eq!(log.pending_count(), 2);
    assert!(log.bytes() <= 4 * 4096);
}

#[test]
fn a_segment_that_is_missing_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let config = SMALL;
    let (log, _) = Log::open(dir.path(), config).unwrap();
    for n in 0..12 {
        log.append(id(n), &[1; 1000]).unwrap();
    }
    drop(log);
    std::fs::remove_file(dir.path().join("0000000000000002.wal")).unwrap();
    let (_, recovered) = Log::open(dir.path(), config).unwrap();
    assert_eq!(recovered.corrupt.iter().map(|s| (s.segment, s.from, s.to)).collect::<Vec<_>>(), [(2, 0, 0)]);
    assert_eq!(recovered.entries.len(), 9);
}

#[test]
fn a_live_log_is_inspected_without_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Config::default()).unwrap();
    let one = log.append(id(1), b"one").unwrap();
    log.append_checkpoint(id(2), b"two").unwrap();
    log.append_checkpoint(id(3), b"three").unwrap();
    let four = log.append(id(4), b"four").unwrap();
    let five = log.append(id(5), b"five").unwrap();
    log.replace(&[four, five], id(6), b"nine").unwrap();
    log.done(one).unwrap();
    log.sync().unwrap();
    std::fs::create_dir(dir.path().join("00000000000000ff.wal")).unwrap();
    std::fs::write(dir.path().join("readme.wal"), b"not a segment").unwrap();
    let found = inspect_dir(dir.path()).unwrap();
    let standing: Vec<(u64, Standing)> = found.entries.iter().map(|e| (e.id.as_u64_pair().1, e.standing)).collect();
    assert_eq!(
        standing,
        [
            (1, Standing::Done),
            (2, Standing::Superseded),
            (3, Standing::Pending),
            (4, Standing::Replaced),
            (5, Standing::Replaced),
            (6, Standing::Pending)
        ]
    );
    assert_eq!(found.entries[5].replaces, [four, five]);
    assert!(found.corrupt.is_empty() && found.torn.is_empty());
    assert_eq!(found.segments.iter().filter(|s| !s.unused).count(), 1);
}

/// A whole segment as it was written when the format was frozen: the same calls give the same bytes, and they are read.
#[test]
fn the_format_of_a_segment_is_frozen() {
    let frozen = include_str!("fixtures/segment_v1.hex");
    let bytes: Vec<u8> = frozen.split_whitespace().flat_map(hex).collect();
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    let one = log.append(id(1), b"one").unwrap();
    let two = log.append_batch(&[(id(2), b"two".as_slice()), (id(3), b"three".as_slice())]).unwrap();
    log.append_checkpoint(id(4), b"checkpoint").unwrap();
    log.done(one).unwrap();
    log.replace(&two, id(5), b"five").unwrap();
    let (_, mut written) = disk.files().into_iter().find(|f| f.0 == FIRST).unwrap();
    written.truncate(bytes.len());
    assert_eq!(written, bytes);
    let mut file = bytes;
    file.resize(4096, 0);
    let found = inspect(&[(FIRST.to_owned(), file)]);
    let pending: Vec<Uuid> = found.entries.iter().filter(|e| e.standing == Standing::Pending).map(|e| e.id).collect();
    assert_eq!(pending, [id(4), id(5)]);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_can_be_inspected_and_opened(
        files in proptest::collection::vec((1u64..6, proptest::collection::vec(any::<u8>(), 0..300)), 0..4),
        keep in 0usize..400,
    ) {
        // A sound beginning, garbage after it.
        let disk = SimDisk::new(1);
        let (log, _) = open(&disk);
        log.append(id(1), b"one").unwrap();
        log.append(id(2), b"two").unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (number, garbage) in files {
            let (_, mut bytes) = disk.files().into_iter().next().unwrap();
            bytes.truncate(keep);
            bytes.extend(garbage);
            std::fs::write(dir.path().join(format!("{number:016x}.wal")), bytes).unwrap();
        }
        let found = inspect_dir(dir.path()).unwrap();
        let pending = found.entries.iter().filter(|e| e.standing == Standing::Pending).count();
        let (log, recovered) = Log::open(dir.path(), SMALL).unwrap();
        prop_assert_eq!(pending, recovered.entries.len());
        log.append(id(3), b"three").unwrap();
    }
}
