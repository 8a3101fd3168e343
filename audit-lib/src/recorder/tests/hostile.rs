//! A slot file is read as hostile input: whatever its bytes, recovery neither panics nor tells what cannot be.

use super::super::remains::dead_in;
use super::*;
use chaperone_wal::slots::recovery::list;
use proptest::prelude::*;

/// The bytes of the file of a dead process that counted 30 messages, 20 of them acked.
fn file() -> (String, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { slots: Slots::Dir(dir.path().to_owned()), max_slots: 4, ..config() };
    let mut bench = Bench::new(config);
    for i in 0..30u8 {
        let ticket = bench.recorder.attempt(&message(["a", "b"][usize::from(i) % 2], &[i], T0));
        if i < 20 {
            ticket.acked();
        } else {
            std::mem::forget(ticket);
        }
        if i == 10 {
            bench.stepper.beat();
        }
    }
    drop(bench.stepper);
    let path = list(dir.path()).expect("listed").remove(0);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    (name, std::fs::read(path).expect("read"))
}

fn recovered(name: &str, bytes: &[u8]) -> Vec<AuditMessage> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join(name), bytes).expect("written");
    dead_in(dir.path(), |_| true).into_iter().flat_map(|r| r.words).collect()
}

#[test]
fn an_honest_file_is_told_whole() {
    let (name, bytes) = file();
    let words = recovered(&name, &bytes);
    let sum = Collector::of(&words).sum(words[0].incarnation);
    assert_eq!((sum.n, sum.acked), (30, 20));
    assert_eq!(words.last().and_then(|m| m.sum), Some(sum));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_leaves_messages_that_a_collector_accepts(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        word in proptest::option::of((any::<prop::sample::Index>(), any::<u64>())),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        near in any::<bool>(),
    ) {
        static FILE: std::sync::OnceLock<(String, Vec<u8>)> = std::sync::OnceLock::new();
        let (name, honest) = FILE.get_or_init(file);
        let mut bytes = honest.clone();
        // Most of a file is empty slots and names: aim at what is used every other time.
        let from = if near { bytes.len() - 13 * 1344 } else { 0 };
        let room = bytes.len() - from;
        for (at, value) in &damage {
            bytes[from + at.index(room)] ^= value;
        }
        if let Some((at, value)) = word {
            let at = from + at.index(room / 8) * 8;
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        for m in recovered(name, &bytes) {
            let encoded = m.encode().expect("encoded");
            prop_assert!(AuditMessage::decode(&encoded).is_ok(), "{:?}", AuditMessage::decode(&encoded));
            prop_assert!(m.slots.iter().all(|s| s.state.out() <= s.state.n));
        }
    }
}
