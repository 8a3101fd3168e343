//! Mapped slots: the death of the process loses no count and doubles none; the death of the machine loses at most what
//! came after the checkpoint, and says so.

use super::*;
use crate::state::flag;
use crate::wire::End;
use chaperone_wal::slots::recovery::list;
use proptest::prelude::*;

/// Where a recorder keeps its things.
struct Home {
    log: Option<tempfile::TempDir>,
    slots: tempfile::TempDir,
}

impl Home {
    fn new(logged: bool) -> Self {
        let dir = || tempfile::tempdir().expect("a directory");
        Self { log: logged.then(dir), slots: dir() }
    }
    fn config(&self) -> Config {
        let data_dir = self.log.as_ref().map(|log| log.path().to_owned());
        Config { data_dir, slots: Slots::Dir(self.slots.path().to_owned()), max_slots: 64, ..config() }
    }
    fn files(&self) -> usize {
        list(self.slots.path()).expect("listed").len()
    }
}

/// Ends of an incarnation and the sums that prove them.
fn ends(messages: &[AuditMessage], incarnation: Uuid) -> Vec<(End, Option<Sum>)> {
    let of = messages.iter().filter(|m| m.incarnation == incarnation);
    of.filter_map(|m| m.end.map(|end| (end, m.sum))).collect()
}

#[test]
fn a_dead_process_is_told_of_to_the_last_message() {
    for logged in [true, false] {
        let home = Home::new(logged);
        let bench = Bench::new(home.config());
        let (a, b) = (message("t", b"a", T0 - 5), message("t", b"bb", T0 + 1));
        bench.recorder.attempt(&a).acked();
        let _in_flight = bench.recorder.attempt(&b);
        bench.recorder.seen(&message("u", b"c", T0));
        bench.recorder.attempt(&message("t", b"a", T0 - 5)).failed();
        drop(bench.stepper);
        let mut next = Bench::new(home.config());
        next.stepper.beat();
        let messages = next.sink.messages();
        let old: Vec<_> = messages.iter().filter(|m| m.incarnation == bench.recorder.incarnation()).cloned().collect();
        assert!(old.iter().all(|m| m.watermark_ms.is_none()));
        let collector = Collector::of(&old);
        let sum = collector.sum(bench.recorder.incarnation());
        assert_eq!(ends(&messages, bench.recorder.incarnation()), [(End::Crash, Some(sum))]);
        let states: Vec<_> = collector.slots.values().collect();
        assert_eq!(states.len(), 3, "two windows of t, one of u");
        let (first, second) = (&states[0].state, &states[1].state);
        assert_eq!((first.n, first.acked, first.failed, first.is_final), (2, 1, 1, true));
        assert_eq!((first.f_in, first.f_acked), (Some(hash_of(&a).plus(hash_of(&a))), Some(hash_of(&a))));
        assert_eq!((first.min_ms, first.last_ms, first.bytes), (Some(T0 - 5), Some(T0), 2));
        assert_eq!(first.hist.as_ref().map(crate::Histogram::total), Some(2));
        assert_eq!((second.n, second.out(), second.f_in), (1, 0, Some(hash_of(&b))), "in doubt for good");
        assert!(states[2].state.flags.contains(flag::SEEN));
        assert!(states.iter().all(|s| !s.state.flags.contains(flag::CRASH)), "nothing is missing");
        assert_eq!(home.files(), 1, "the dead one's file is gone, the living one's is there");
    }
}

#[test]
fn numbers_that_were_told_are_kept_and_the_others_follow() {
    let home = Home::new(true);
    let mut bench = Bench::new(home.config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.beat();
    bench.pass(30_000);
    bench.recorder.seen(&message("u", b"b", T0 + 30_000));
    bench.stepper.beat();
    bench.recorder.seen(&message("u", b"c", T0 + 30_000));
    bench.recorder.seen(&message("v", b"d", T0 + 30_000));
    let sink = bench.sink.clone();
    drop(bench.stepper);
    let mut next = Bench::with(home.config(), sink);
    next.stepper.beat();
    let collector = Collector::of(&next.sink.messages());
    let told: Vec<_> = collector.slots.values().map(|s| (s.id, s.topic.as_str(), s.state.n)).collect();
    assert_eq!(told, [(0, "t", 1), (1, "u", 2), (2, "v", 1)]);
    assert!(collector.states().all(|s| s.is_final));
    assert_eq!(collector.divergent, 0);
}

#[test]
fn without_a_log_the_file_stays_until_the_sink_has_all_of_it() {
    let home = Home::new(false);
    let bench = Bench::new(home.config());
    bench.recorder.seen(&message("t", b"a", T0));
    drop(bench.stepper);
    let mut second = Bench::new(home.config());
    second.sink.set(Behaviour::StoreAndFail);
    second.stepper.beat();
    assert_eq!(home.files(), 2, "nobody has said that it is stored");
    let told = second.sink.stored();
    drop(second.stepper);
    let mut third = Bench::new(home.config());
    third.stepper.beat();
    assert!(third.sink.stored().contains(&told[0]), "the same message again, byte for byte");
    assert_eq!(home.files(), 1);
}

#[test]
fn a_close_that_could_not_tell_all_leaves_the_file() {
    let home = Home::new(false);
    let bench = Bench::new(home.config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.sink.set(Behaviour::Refuse);
    assert!(bench.stepper.close(Duration::ZERO).unsent > 0);
    assert_eq!(home.files(), 1);
    let mut next = Bench::new(home.config());
    next.stepper.beat();
    assert_eq!(Collector::of(&next.sink.messages()).n(), 1);
    assert!(next.stepper.close(Duration::from_secs(1)).unsent == 0);
    assert_eq!(home.files(), 0, "a clean end leaves nothing");
}

#[test]
fn a_process_that_died_as_it_made_its_table_counted_nothing_for_sure() {
    use chaperone_wal::slots::recovery::SlotFile;
    use chaperone_wal::slots::{Geometry, Limits, Start, TAGS, Table};
    let home = Home::new(false);
    let geometry = Geometry { slots: 8, cells: 16, names_bytes: 256 };
    let table = Table::create(home.slots.path(), &Start::default(), geometry).expect("a table");
    // The line that keeps a name's place, in which nothing is ever counted, had not been freed yet.
    let line = table.open(0, crate::wire::OVERFLOW_TOPIC, &[u64::MAX; TAGS]).expect("a line");
    let contents = || {
        let path = list(home.slots.path()).expect("listed").remove(0);
        SlotFile::open(&path).expect("a file").read(Limits::default()).expect("read")
    };
    let found = super::super::remains::found(&contents());
    assert_eq!((found.records.len(), found.refused, found.sum), (0, 0, Sum::default()));
    // The same line with a count in it has lost what it was for, and is not trusted.
    let mut line = line;
    line.count(|words| {
        words[0] += 1;
        0
    })
    .expect("counted");
    assert_eq!(super::super::remains::found(&contents()).refused, 1);
}

#[test]
fn anothers_counts_are_left_to_the_other() {
    let home = Home::new(false);
    let bench = Bench::new(Config { stage: "proxy".to_owned(), ..home.config() });
    bench.recorder.seen(&message("t", b"a", T0));
    let living = Bench::new(home.config());
    living.recorder.seen(&message("t", b"b", T0));
    drop(bench.stepper);
    let mut next = Bench::new(home.config());
    next.stepper.beat();
    assert_eq!(Collector::of(&next.sink.messages()).n(), 0);
    assert_eq!(home.files(), 3);
}

#[test]
fn the_death_of_the_machine_costs_at_most_what_came_after_the_checkpoint() {
    let home = Home::new(true);
    let mut bench = Bench::new(home.config());
    bench.recorder.attempt(&message("t", b"a", T0)).acked();
    bench.stepper.pass(Duration::from_secs(10));
    bench.recorder.attempt(&message("t", b"b", T0)).acked();
    let dead = bench.recorder.incarnation();
    drop(bench.stepper);
    // What was in memory is gone, and the machine says another boot.
    for file in list(home.slots.path()).expect("listed") {
        std::fs::remove_file(file).expect("removed");
    }
    let sink = MemorySink::new();
    let clock = Arc::new(ManualClock::new(T0 + 60_000));
    let (_recorder, mut stepper) =
        Recorder::stepped_in(home.config(), Box::new(sink.clone()), clock, [7; 16]).expect("started");
    stepper.beat();
    let messages = sink.messages();
    assert_eq!(ends(&messages, dead), [(End::Power, None)]);
    let collector = Collector::of(&messages);
    assert_eq!(collector.n(), 1, "never over-counted");
    assert!(collector.states().all(|s| s.is_final && s.flags.contains(flag::CRASH)));
}

#[test]
fn a_slot_file_that_somebody_removes_is_told_with_the_counts() {
    let home = Home::new(true);
    let mut bench = Bench::new(home.config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.beat();
    for file in list(home.slots.path()).expect("listed") {
        std::fs::remove_file(file).expect("removed");
    }
    bench.stepper.pass(Duration::from_secs(10));
    bench.recorder.seen(&message("t", b"b", T0));
    bench.stepper.beat();
    let collector = Collector::of(&bench.sink.messages());
    assert!(collector.states().all(|s| s.flags.contains(flag::NO_CRASH_RECOVERY)));
    let heap = Bench::new(config());
    heap.recorder.seen(&message("t", b"a", T0));
    heap.stepper.close(Duration::from_secs(1));
    assert!(Collector::of(&heap.sink.messages()).states().all(|s| s.flags.contains(flag::NO_CRASH_RECOVERY)));
}

#[test]
fn where_no_mapping_can_be_had_the_host_starts_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, b"no directory").expect("written");
    let bench = Bench::new(Config { slots: Slots::Dir(file), ..config() });
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.close(Duration::from_secs(1));
    assert!(Collector::of(&bench.sink.messages()).states().all(|s| s.flags.contains(flag::NO_CRASH_RECOVERY)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_lives_loses_or_doubles_a_count(
        lives in proptest::collection::vec(life(14, 40), 1..6), logged: bool
    ) {
        let home = Home::new(logged);
        let sink = MemorySink::new();
        let (mut counted, mut acked) = (0u64, 0u64);
        for life in &lives {
            sink.set([Behaviour::Store, Behaviour::Fail, Behaviour::StoreAndFail][usize::from(life.fault)]);
            let mut bench = Bench::with(home.config(), sink.clone());
            let mut open = Vec::new();
            for act in &life.acts {
                match act {
                    10 => bench.pass(12_000),
                    11 => bench.stepper.pass(Duration::from_secs(10)),
                    12 => bench.pass(2_000),
                    13 => if let Some(ticket) = open.pop() {
                        Ticket::acked(ticket);
                        acked += 1;
                    },
                    topic => {
                        let now_ms = crate::Clock::now_ms(&*bench.clock);
                        let m = message(["a", "b", "c"][usize::from(topic % 3)], b"x", now_ms);
                        counted += 1;
                        if *topic < 4 { bench.recorder.seen(&m) } else { open.push(bench.recorder.attempt(&m)) }
                    }
                }
            }
            if life.clean {
                bench.stepper.close(Duration::ZERO);
            } else {
                drop(bench.stepper);
            }
            open.into_iter().for_each(drop);
        }
        sink.reset();
        let mut last = Bench::with(home.config(), sink.clone());
        (0..5).for_each(|_| last.stepper.pass(Duration::from_secs(31)));
        let messages = sink.messages();
        let collector = Collector::of(&messages);
        prop_assert_eq!((collector.n(), collector.states().map(|s| s.acked).sum::<u64>()), (counted, acked));
        prop_assert_eq!(collector.divergent, 0);
        prop_assert!(collector.states().all(|s| s.is_final));
        for m in messages.iter().filter(|m| m.end.is_some()) {
            prop_assert_eq!(m.sum, Some(collector.sum(m.incarnation)), "an end that proves that all is there");
        }
        prop_assert_eq!(home.files(), 1, "only the living one's");
    }
}
