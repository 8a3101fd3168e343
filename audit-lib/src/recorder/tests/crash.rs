//! The write-ahead log: what a crash leaves is sent again, under the same UUID, and nothing is counted twice.

use super::*;
use crate::rule::Class;
use crate::wire::End;
use proptest::prelude::*;

fn logged(dir: &tempfile::TempDir) -> Config {
    Config { data_dir: Some(dir.path().to_owned()), ..config() }
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn a_final_that_was_not_stored_is_sent_again_with_its_bytes() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    bench.recorder.attempt(&message("t", b"a", T0)).acked();
    bench.sink.set(Behaviour::StoreAndFail);
    bench.pass(30_000);
    let sent = bench.sink.stored();
    assert_eq!(sent.len(), 1, "the snapshot's end waits for the final");
    assert_eq!(bench.recorder.stats().slots, 0, "logged, so it has left the table");
    drop(bench.stepper);
    let mut next = Bench::new(logged(&dir));
    next.stepper.beat();
    assert!(next.sink.stored().contains(&sent[0]), "same key, same UUID, same bytes");
    let messages = next.sink.messages();
    let crash = messages.iter().find(|m| m.end == Some(End::Crash)).expect("the end of the dead incarnation");
    assert_eq!(crash.incarnation, bench.recorder.incarnation());
    assert!(crash.slots.is_empty(), "nothing was open");
    // Marks are durable with the next commit, here the checkpoint's.
    next.stepper.pass(Duration::from_secs(10));
    drop(next.stepper);
    let mut third = Bench::new(logged(&dir));
    third.stepper.beat();
    assert!(!third.sink.stored().contains(&sent[0]), "it was stored and is done");
}

#[test]
fn a_final_that_kafka_acknowledged_and_lost_is_told_by_the_next_life() {
    // Acknowledged and gone; the process dies before it can tell it again, or after.
    for (lose, again) in [(true, false), (false, false), (false, true)] {
        let dir = dir();
        let mut bench = Bench::new(logged(&dir));
        bench.recorder.attempt(&message("t", b"a", T0)).acked();
        bench.sink.script(lose.then_some(Behaviour::Lose));
        bench.pass(30_000);
        let n = |sink: &MemorySink| Collector::of(&sink.messages()).n();
        assert_eq!(n(&bench.sink), u64::from(!lose));
        if again {
            // Told again, and the mark made durable by the checkpoint.
            bench.stepper.pass(Duration::from_mins(1));
            bench.stepper.pass(Duration::from_secs(10));
            assert_eq!(bench.recorder.stats().repeated, 1);
        }
        drop(bench.stepper);
        let mut next = Bench::with(logged(&dir), MemorySink::new());
        next.stepper.beat();
        assert_eq!(n(&next.sink), u64::from(!again), "by the next life, but not a third time");
        next.stepper.pass(Duration::from_secs(10));
        drop(next.stepper);
        let mut third = Bench::with(logged(&dir), MemorySink::new());
        third.stepper.beat();
        assert_eq!(n(&third.sink), 0);
    }
}

#[test]
fn a_crash_costs_at_most_what_came_after_the_checkpoint_and_says_so() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    bench.recorder.attempt(&message("t", b"a", T0)).acked();
    bench.stepper.pass(Duration::from_secs(10));
    let _in_flight = bench.recorder.attempt(&message("t", b"b", T0));
    drop(bench.stepper);
    let mut next = Bench::new(logged(&dir));
    next.stepper.beat();
    let messages = next.sink.messages();
    let crash = messages.iter().find(|m| m.end == Some(End::Crash)).expect("the end");
    assert_eq!((crash.watermark_ms, crash.sum), (None, None));
    let state = &crash.slots[0].state;
    assert_eq!((state.n, state.acked, state.is_final), (1, 1, true));
    assert!(state.flags.contains("crash"));
}

#[test]
fn a_slot_with_a_final_is_not_among_the_last_words() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.pass(Duration::from_secs(10));
    bench.pass(30_000);
    // The next final's append makes the mark of the first one durable, so that its record does not come back.
    bench.recorder.seen(&message("u", b"a", T0));
    bench.pass(30_000);
    assert!(Collector::of(&bench.sink.messages()).states().all(|s| s.is_final));
    drop(bench.stepper);
    let mut next = Bench::new(logged(&dir));
    next.stepper.beat();
    let states: Vec<_> = next.sink.messages().into_iter().flat_map(|m| m.slots).collect();
    assert!(states.iter().all(|s| !s.state.flags.contains("crash")), "the final was whole: {states:?}");
}

#[test]
fn a_final_logged_after_the_checkpoint_takes_its_slot_out_of_the_last_words() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    for topic in ["t", "u"] {
        bench.recorder.seen(&message(topic, b"a", T0));
    }
    bench.stepper.beat();
    let checkpoint = bench.sink.messages().pop().expect("a message");
    let finished = AuditMessage { slots: checkpoint.slots[..1].to_vec(), ..checkpoint.clone() };
    // The crash came between the two appends: the final's, then the checkpoint's that would have left it out.
    let entry = |seq, kind, m: &AuditMessage| chaperone_wal::Entry {
        seq: chaperone_wal::Seq(seq),
        id: m.uuid,
        kind,
        payload: m.encode().expect("encoded").into(),
    };
    let entries =
        [entry(1, chaperone_wal::Kind::Checkpoint, &checkpoint), entry(2, chaperone_wal::Kind::Record, &finished)];
    let (words, unreadable) = super::super::recover::last_words(&entries, [0; 16], |_| false);
    let ids: Vec<_> = words.iter().flat_map(|m| &m.slots).map(|s| s.id).collect();
    assert_eq!((ids, unreadable), (vec![checkpoint.slots[1].id], 0));
}

#[test]
fn a_heartbeat_after_the_checkpoint_keeps_its_counts_without_alarm() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.pass(Duration::from_secs(10));
    bench.recorder.seen(&message("t", b"b", T0));
    bench.stepper.beat();
    let sink = bench.sink.clone();
    drop(bench.stepper);
    let mut next = Bench::with(logged(&dir), sink);
    next.stepper.beat();
    let collector = Collector::of(&next.sink.messages());
    assert_eq!((collector.n(), collector.divergent), (2, 0));
    assert!(collector.states().all(|s| s.is_final));
}

#[test]
fn a_clean_close_leaves_nothing_to_recover() {
    let dir = dir();
    let bench = Bench::new(logged(&dir));
    bench.recorder.seen(&message("t", b"a", T0));
    assert_eq!(bench.stepper.close(Duration::from_secs(1)).unsent, 0);
    let mut next = Bench::new(logged(&dir));
    next.stepper.beat();
    let messages = next.sink.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].incarnation, next.recorder.incarnation());
}

#[test]
fn a_close_without_the_sink_is_finished_by_the_next_start() {
    let dir = dir();
    let bench = Bench::new(logged(&dir));
    bench.recorder.seen(&message("t", b"a", T0));
    bench.sink.set(Behaviour::Refuse);
    assert_eq!(bench.stepper.close(Duration::ZERO).unsent, 2, "the final and the goodbye");
    let mut next = Bench::new(logged(&dir));
    next.stepper.beat();
    let old: Vec<_> =
        next.sink.messages().into_iter().filter(|m| m.incarnation == bench.recorder.incarnation()).collect();
    assert_eq!(old.last().and_then(|m| m.end), Some(End::Clean));
    assert_eq!(Collector::of(&old).n(), 1);
    assert!(old.iter().all(|m| m.end != Some(End::Crash)), "it did not crash");
}

#[test]
fn finals_wait_in_the_log_while_the_sink_is_away_and_none_is_lost() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    bench.sink.set(Behaviour::Fail);
    for round in 0..150 {
        bench.recorder.seen(&message("t", b"a", T0 + round * 30_000));
        bench.pass(30_000);
    }
    assert!(bench.recorder.stats().waiting <= 64, "{:?}", bench.recorder.stats());
    assert_eq!(bench.recorder.stats().slots, 0);
    bench.sink.reset();
    for _ in 0..20 {
        bench.stepper.pass(Duration::from_secs(31));
    }
    let collector = Collector::of(&bench.sink.messages());
    assert_eq!((collector.slots.len(), collector.n(), bench.recorder.stats().waiting), (150, 150, 0));
    assert_eq!(bench.sink.messages().last().and_then(|m| m.sum), Some(collector.sum(bench.recorder.incarnation())));
}

#[test]
fn a_log_that_fails_costs_durability_and_no_count() {
    let dir = dir();
    let mut bench = Bench::new(logged(&dir));
    // The log cannot make its next segment once its directory is gone; the one that is open goes on.
    let mut round = 0;
    std::fs::remove_dir_all(dir.path()).expect("removed");
    while bench.recorder.stats().dropped.unlogged == 0 && round < 2_000 {
        for i in 0..40 {
            bench.recorder.seen(&message(&format!("{}{i}", "t".repeat(240)), b"a", T0 + round * 30_000));
        }
        bench.pass(30_000);
        round += 1;
    }
    let stats = bench.recorder.stats();
    assert!(stats.dropped.unlogged > 0, "{stats:?}");
    assert_eq!((Collector::of(&bench.sink.messages()).n(), stats.slots), (u64::try_from(round).unwrap_or(0) * 40, 0));
    let newest = bench.sink.messages().into_iter().max_by_key(|m| m.seq);
    assert_eq!(newest.map(|m| m.dropped), Some(stats.dropped));
}

#[test]
fn a_large_checkpoint_becomes_several_messages_that_stay_the_same() {
    let dir = dir();
    let large = || Config { max_slots: 4096, ..logged(&dir) };
    let mut bench = Bench::new(large());
    for i in 0..1_200 {
        bench.recorder.seen(&message(&format!("topic-{i}"), b"a", T0));
    }
    bench.sink.set(Behaviour::Refuse);
    bench.stepper.pass(Duration::from_secs(10));
    drop(bench.stepper);
    // It crashes again while recovering: the first attempt stores all and hears nothing.
    let second = Bench::new(large());
    let (sink, mut stepper) = (second.sink, second.stepper);
    sink.set(Behaviour::StoreAndFail);
    stepper.beat();
    drop(stepper);
    let mut third = Bench::new(large());
    third.stepper.beat();
    let words = |sink: &MemorySink| {
        let mut of: Vec<_> =
            sink.messages().into_iter().filter(|m| m.incarnation == bench.recorder.incarnation()).collect();
        of.sort_by_key(|m| (m.uuid, m.slots.len()));
        of
    };
    let (first, again) = (words(&sink), words(&third.sink));
    assert_eq!(first.len(), 3);
    assert_eq!(first, again);
    assert_eq!(Collector::of(&first).n(), 1_200);
    assert_eq!(first.iter().filter(|m| m.end == Some(End::Crash)).count(), 1);
    assert!(first.iter().all(|m| m.slots.iter().all(|s| s.class == Class::Bare)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_lives_loses_what_was_checkpointed_or_counts_twice(
        lives in proptest::collection::vec(life(12, 30), 1..5)
    ) {
        let dir = dir();
        let sink = MemorySink::new();
        let (mut counted, mut exposed, mut incarnations) = (0u64, 0u64, Vec::new());
        for life in &lives {
            sink.set([Behaviour::Store, Behaviour::Fail, Behaviour::StoreAndFail][usize::from(life.fault)]);
            let mut bench = Bench::with(logged(&dir), sink.clone());
            incarnations.push(bench.recorder.incarnation());
            let mut unsafe_n = 0;
            for act in &life.acts {
                match act {
                    10 => bench.pass(12_000),
                    11 => {
                        bench.stepper.pass(Duration::from_secs(10));
                        unsafe_n = 0;
                    }
                    topic => {
                        let now_ms = crate::Clock::now_ms(&*bench.clock);
                        let m = message(["a", "b", "c"][usize::from(topic % 3)], b"x", now_ms);
                        if *topic < 5 { bench.recorder.seen(&m) } else { bench.recorder.attempt(&m).acked() }
                        counted += 1;
                        unsafe_n += 1;
                    }
                }
            }
            if life.clean {
                bench.stepper.close(Duration::ZERO);
                unsafe_n = 0;
            }
            exposed += unsafe_n;
        }
        sink.reset();
        let mut last = Bench::with(logged(&dir), sink.clone());
        (0..5).for_each(|_| last.stepper.pass(Duration::from_secs(31)));
        let messages = sink.messages();
        let collector = Collector::of(&messages);
        prop_assert!(collector.n() <= counted, "{} of {counted}", collector.n());
        prop_assert!(collector.n() >= counted - exposed, "{} of {counted}, {exposed} exposed", collector.n());
        prop_assert_eq!(collector.divergent, 0);
        // A slot that a heartbeat showed and no checkpoint knew stays as it was shown: the end of its incarnation ends it.
        let crashed = |i: Uuid| messages.iter().any(|m| m.incarnation == i && m.end == Some(End::Crash));
        prop_assert!(collector.slots.iter().all(|((i, _), s)| s.state.is_final || crashed(*i)));
        for i in incarnations {
            prop_assert!(messages.iter().any(|m| m.incarnation == i && m.end.is_some()), "an end without a word");
        }
    }
}

#[test]
fn two_recorders_cannot_share_a_directory() {
    let dir = dir();
    let _first = Bench::new(logged(&dir));
    let clock = Arc::new(ManualClock::new(T0));
    let error = Recorder::start(logged(&dir), Box::new(MemorySink::new()), clock).expect_err("in use");
    assert!(matches!(error, StartError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains(&dir.path().display().to_string()) && text.contains("data_dir of its own"), "{text}");
}
