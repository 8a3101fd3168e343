//! The log against a model, on a disk that lies, and on the real one.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use chaperone_wal::sim::SimDisk;
use chaperone_wal::{Config, Error, Kind, Log, Recovered, Seq};
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

#[derive(Debug, Clone)]
enum Step {
    Append { sizes: Vec<usize> },
    Checkpoint { size: usize },
    Done { nth: usize },
    Sync,
    FailCall { n: u64 },
    Reopen { crash: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => proptest::collection::vec(0usize..900, 1..4).prop_map(|sizes| Step::Append { sizes }),
        1 => (0usize..900).prop_map(|size| Step::Checkpoint { size }),
        4 => (0usize..50).prop_map(|nth| Step::Done { nth }),
        1 => Just(Step::Sync),
        1 => (1u64..6).prop_map(|n| Step::FailCall { n }),
        1 => any::<bool>().prop_map(|crash| Step::Reopen { crash }),
    ];
    proptest::collection::vec(one, 1..60)
}

/// What must be recovered, and what may be.
#[derive(Default)]
struct Model {
    must: BTreeMap<Seq, (Uuid, Vec<u8>, Kind)>,
    /// Done but not synced, or refused by a failing disk: may come back.
    may: BTreeMap<Uuid, Vec<u8>>,
    ids: u64,
}

impl Model {
    fn appended(&mut self, seq: Seq, id: Uuid, payload: Vec<u8>, kind: Kind) {
        if kind == Kind::Checkpoint {
            let old: Vec<Seq> = self.must.iter().filter(|(_, e)| e.2 == Kind::Checkpoint).map(|(s, _)| *s).collect();
            for s in old {
                self.must.remove(&s);
            }
        }
        self.must.insert(seq, (id, payload, kind));
    }

    /// Checkpoints before `newest` are no longer promised.
    fn supersede(&mut self, newest: Option<Seq>) {
        let old = |seq: &Seq, kind: Kind| kind == Kind::Checkpoint && newest.is_some_and(|n| *seq < n);
        let gone: Vec<Seq> = self.must.iter().filter(|(seq, e)| old(seq, e.2)).map(|(seq, _)| *seq).collect();
        for (id, payload, _) in gone.iter().filter_map(|seq| self.must.remove(seq)) {
            self.may.insert(id, payload);
        }
    }

    fn check(&self, recovered: &Recovered) -> Result<(), TestCaseError> {
        let mut left = self.must.clone();
        for e in &recovered.entries {
            if let Some((id, payload, kind)) = left.remove(&e.seq) {
                prop_assert_eq!((e.id, e.payload.to_vec(), e.kind), (id, payload, kind));
            } else {
                prop_assert_eq!(self.may.get(&e.id).map(Vec::as_slice), Some(&*e.payload), "invented");
            }
        }
        // A checkpoint whose append failed may be there all the same, and then it supersedes the one before.
        let newest = recovered.entries.iter().filter(|e| e.kind == Kind::Checkpoint).map(|e| e.seq).max();
        left.retain(|seq, e| e.2 == Kind::Record || newest.is_none_or(|n| n < *seq));
        prop_assert!(left.is_empty(), "lost {:?}", left.keys());
        Ok(())
    }
}

fn run(seed: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let disk = SimDisk::new(seed);
    let (mut log, _) = open(&disk);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append { sizes } => {
                let batch: Vec<(Uuid, Vec<u8>)> = sizes
                    .iter()
                    .map(|size| {
                        model.ids += 1;
                        (id(model.ids), vec![u8::try_from(model.ids % 251).unwrap() + 1; *size])
                    })
                    .collect();
                let borrowed: Vec<(Uuid, &[u8])> = batch.iter().map(|(i, p)| (*i, p.as_slice())).collect();
                match log.append_batch(&borrowed) {
                    Ok(seqs) => {
                        for (seq, (i, p)) in seqs.into_iter().zip(batch) {
                            model.appended(seq, i, p, Kind::Record);
                        }
                    }
                    Err(_) => model.may.extend(batch),
                }
            }
            Step::Checkpoint { size } => {
                model.ids += 1;
                let (i, p) = (id(model.ids), vec![9; size]);
                match log.append_checkpoint(i, &p) {
                    Ok(seq) => model.appended(seq, i, p, Kind::Checkpoint),
                    Err(_) => drop(model.may.insert(i, p)),
                }
            }
            Step::Done { nth } => {
                if let Some(seq) = model.must.keys().nth(nth).copied() {
                    log.done(seq).unwrap();
                    let (i, p, _) = model.must.remove(&seq).unwrap();
                    model.may.insert(i, p);
                }
            }
            Step::Sync => drop(log.sync()),
            Step::FailCall { n } => disk.fail_call(n),
            Step::Reopen { crash } => {
                drop(log);
                if crash {
                    disk.crash();
                }
                let (again, recovered) = open(&disk);
                model.check(&recovered)?;
                log = again;
                // What came back beyond that is pending in the log too, but was never promised to be durable.
                let newest = recovered.entries.iter().filter(|e| e.kind == Kind::Checkpoint).map(|e| e.seq).max();
                model.supersede(newest);
            }
        }
    }
    drop(log);
    disk.crash();
    model.check(&open(&disk).1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_appended_and_not_done_is_recovered_exactly_once(seed in any::<u64>(), steps in steps()) {
        run(seed, steps)?;
    }
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
        assert_eq!(recovered.torn_tail.map(|s| s.from), Some(96), "cut {cut}");
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
        assert!(recovered.torn_tail.is_none());
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
    assert_eq!(disk.syncs(), 1);
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
