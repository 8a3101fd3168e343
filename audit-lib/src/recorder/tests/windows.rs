//! Slots over their life: windows, finals, late messages, overflow, tickets.

use super::*;
use crate::rule::Class;
use crate::window::WindowStart;
use crate::wire::{End, OVERFLOW_TOPIC};
use std::time::Duration;

fn last_of(bench: &Bench) -> AuditMessage {
    bench.sink.messages().pop().expect("a message")
}

#[test]
fn the_first_beat_is_a_heartbeat_without_slots() {
    let mut bench = Bench::new(config());
    bench.stepper.beat();
    let message = last_of(&bench);
    assert_eq!(message.watermark_ms, Some(T0));
    assert_eq!(message.audited_since_ms, Some(T0));
    assert_eq!(message.sum, Some(Sum::default()));
    assert_eq!((message.seq, message.stage.as_str()), (0, "producer"));
    assert_eq!(bench.sink.stored()[0].0, bench.recorder.incarnation().to_string().into_bytes());
}

#[test]
fn an_attempt_is_in_flight_until_its_ticket_is_handed_in() {
    let mut bench = Bench::new(config());
    let (a, b, c) = (message("t", b"a", T0 - 5), message("t", b"bb", T0 - 3), message("t", b"c", T0));
    let tickets = [bench.recorder.attempt(&a), bench.recorder.attempt(&b), bench.recorder.attempt(&c)];
    bench.stepper.beat();
    let state = &last_of(&bench).slots[0].state;
    assert_eq!((state.n, state.bytes, state.acked, state.failed, state.is_final), (2, 3, 0, 0, false));
    assert_eq!((state.min_ms, state.max_ms, state.last_ms), (Some(T0 - 5), Some(T0 - 3), Some(T0)));
    assert_eq!(bench.recorder.stats().in_flight, 3);
    let [ta, tb, tc] = tickets;
    ta.acked();
    tb.failed();
    tc.acked();
    bench.stepper.beat();
    let message = last_of(&bench);
    assert_eq!(message.sum.map(|s| (s.slots, s.n, s.acked, s.failed)), Some((2, 3, 2, 1)));
    let state = &message.slots[0].state;
    assert_eq!((state.acked, state.f_acked, state.failed), (1, Some(hash_of(&a)), 1));
    assert_eq!(state.f_failed, Some(hash_of(&b)));
    assert_eq!(state.f_in, Some(hash_of(&a).plus(hash_of(&b))));
    assert_eq!(state.hist.as_ref().map(crate::Histogram::total), Some(2));
}

#[test]
fn unchanged_slots_are_not_sent_again() {
    let mut bench = Bench::new(config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.beat();
    bench.stepper.beat();
    let slots: Vec<_> = bench.sink.messages().iter().map(|m| m.slots.len()).collect();
    assert_eq!(slots, [1, 0]);
}

#[test]
fn a_dropped_ticket_is_in_doubt_and_never_failed() {
    let mut bench = Bench::new(config());
    drop(bench.recorder.attempt(&message("t", b"a", T0)));
    bench.recorder.attempt(&message("t", b"b", T0)).acked();
    assert_eq!(bench.recorder.stats().in_doubt, 1);
    bench.pass(30_000);
    let collector = Collector::of(&bench.sink.messages());
    let state = collector.states().next().expect("a slot");
    assert_eq!((state.n, state.acked, state.failed, state.is_final), (2, 1, 0, true));
    assert_eq!(bench.stepper.close(Duration::from_secs(1)), Closed { in_doubt: 1, unsent: 0 });
}

#[test]
fn a_slot_is_final_after_grace_and_only_with_nothing_in_flight() {
    let mut bench = Bench::new(config());
    let ticket = bench.recorder.attempt(&message("t", b"a", T0));
    bench.pass(10_000 + 9_999);
    assert!(Collector::of(&bench.sink.messages()).states().all(|s| !s.is_final), "within grace");
    bench.pass(1);
    assert!(Collector::of(&bench.sink.messages()).states().all(|s| !s.is_final), "in flight");
    ticket.acked();
    bench.pass(2_000);
    assert!(Collector::of(&bench.sink.messages()).states().all(|s| s.is_final && s.acked == 1));
    assert_eq!(bench.recorder.stats().slots, 0);
}

#[test]
fn a_late_message_opens_another_slot() {
    let mut bench = Bench::new(config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.pass(20_000);
    bench.recorder.seen(&message("t", b"late", T0));
    bench.pass(20_000);
    let collector = Collector::of(&bench.sink.messages());
    let slots: Vec<_> = collector.slots.values().map(|s| (s.id, s.window_ms, s.state.n, s.state.is_final)).collect();
    assert_eq!(slots, [(0, WindowStart(T0), 1, true), (1, WindowStart(T0), 1, true)]);
    assert_eq!(collector.divergent, 0);
}

#[test]
fn a_backlog_does_not_close_a_slot_at_every_beat() {
    let mut bench = Bench::new(config());
    for _ in 0..10 {
        bench.recorder.seen(&message("t", b"old", T0 - 3_600_000));
        bench.pass(2_000);
    }
    assert_eq!(Collector::of(&bench.sink.messages()).slots.len(), 1);
}

#[test]
fn seen_and_attempted_have_slots_of_their_own() {
    let mut bench = Bench::new(config());
    bench.recorder.seen(&message("t", b"a", T0));
    let _in_flight = bench.recorder.attempt(&message("t", b"a", T0));
    bench.stepper.beat();
    let flags: Vec<_> = last_of(&bench).slots.into_iter().map(|s| (s.state.n, s.state.flags)).collect();
    assert_eq!(flags.len(), 2);
    assert!(flags[0].1.is_disjoint(&flags[1].1) || flags[0].1 != flags[1].1);
    assert_eq!(flags.iter().filter(|f| f.1.contains("seen")).count(), 1);
    assert!(flags.iter().all(|f| f.1.contains("no_wal")), "no data_dir was set");
}

#[test]
fn messages_without_event_time_count_in_the_arrivals_window() {
    let mut bench = Bench::new(config());
    bench.clock.advance(25_000);
    bench.recorder.seen(&Message { timestamp_ms: None, ..message("t", b"a", T0) });
    bench.recorder.seen(&message("t", b"b", 5));
    bench.stepper.beat();
    let slots = last_of(&bench).slots;
    let classes: Vec<_> = slots.iter().map(|s| (s.class, s.window_ms.0, s.state.hist.is_none())).collect();
    assert_eq!(classes, [(Class::NoTime, T0 + 20_000, true), (Class::OutOfRange, T0 + 20_000, true)]);
}

#[test]
fn a_full_table_counts_into_overflow_and_conserves_totals() {
    let mut bench = Bench::new(Config { max_slots: 3, ..config() });
    let mut tickets = Vec::new();
    for i in 0..100 {
        tickets.push(bench.recorder.attempt(&message(&format!("t{i}"), b"x", T0)));
        bench.recorder.seen(&message(&format!("t{i}"), b"y", T0));
    }
    bench.recorder.seen(&message("not a topic name!", b"x", T0));
    tickets.into_iter().for_each(Ticket::acked);
    bench.stepper.beat();
    let message = last_of(&bench);
    assert_eq!(message.sum.map(|s| (s.n, s.acked)), Some((201, 100)));
    assert_eq!(message.dropped.overflow, 201 - 3);
    let overflow: Vec<_> = message.slots.iter().filter(|s| s.topic == OVERFLOW_TOPIC).collect();
    assert_eq!(overflow.iter().map(|s| s.state.n).sum::<u64>(), 198);
    assert!(overflow.iter().all(|s| s.state.flags.contains("overflow") && s.state.hist.is_none()));
    assert!(bench.recorder.stats().slots <= 3 + 2);
}

#[test]
fn overflow_slots_are_bounded_while_the_sink_is_away() {
    let mut bench = Bench::new(Config { max_slots: 1, ..config() });
    bench.sink.set(Behaviour::Refuse);
    for round in 0..200 {
        for topic in ["a", "b", "c"] {
            bench.recorder.attempt(&message(topic, b"x", T0 + round * 30_000)).acked();
            bench.recorder.seen(&message(topic, b"x", T0 + round * 30_000));
        }
        bench.pass(30_000);
    }
    assert!(bench.recorder.stats().slots <= 1 + 8, "{:?}", bench.recorder.stats());
    bench.sink.set(Behaviour::Store);
    bench.stepper.pass(Duration::from_mins(1));
    bench.pass(60_000);
    assert_eq!(Collector::of(&bench.sink.messages()).n(), 1200);
}

#[test]
fn closing_makes_all_slots_final_and_says_goodbye_last() {
    let bench = Bench::new(config());
    let _in_flight = bench.recorder.attempt(&message("t", b"a", T0));
    bench.recorder.seen(&message("u", b"b", T0 + 60_000));
    assert_eq!(bench.stepper.close(Duration::from_secs(1)), Closed { in_doubt: 1, unsent: 0 });
    let messages = bench.sink.messages();
    assert!(Collector::of(&messages).states().all(|s| s.is_final));
    let goodbye = messages.last().expect("goodbye");
    assert_eq!((goodbye.end, goodbye.watermark_ms), (Some(End::Clean), Some(T0)));
    assert_eq!(goodbye.sum, Some(Collector::of(&messages).sum(bench.recorder.incarnation())));
    bench.recorder.seen(&message("u", b"too late", T0));
    assert_eq!(bench.recorder.stats().uncounted, 1);
}

#[test]
fn a_watermark_is_sent_only_after_all_parts_are_stored() {
    let mut bench = Bench::new(config());
    for i in 0..1_200 {
        bench.recorder.seen(&message(&format!("topic-{i}"), b"a", T0));
    }
    bench.sink.script([Behaviour::Store, Behaviour::Fail]);
    bench.stepper.beat();
    assert!(bench.sink.messages().iter().all(|m| m.watermark_ms.is_none()), "a part is missing");
    bench.stepper.pass(Duration::from_secs(10));
    let messages = bench.sink.messages();
    let last = messages.last().expect("a message");
    assert_eq!(last.sum, Some(Collector::of(&messages).sum(bench.recorder.incarnation())));
    assert_eq!((messages.len(), last.watermark_ms), (3, Some(T0)), "only what was not stored was sent again");
    assert!(bench.sink.stored().iter().all(|(_, payload)| payload.len() <= crate::wire::MAX_BYTES));
}

#[test]
fn positions_come_with_the_watermark_until_they_are_stored() {
    let mut bench = Bench::new(config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.recorder.position("t", 3, 42);
    bench.sink.script([Behaviour::Fail]);
    bench.stepper.beat();
    bench.stepper.beat();
    bench.stepper.beat();
    let positions: Vec<_> = bench.sink.messages().into_iter().map(|m| m.positions.len()).collect();
    assert_eq!(positions, [1, 0]);
}

#[test]
fn time_never_runs_behind_a_watermark() {
    let mut bench = Bench::new(config());
    bench.stepper.beat();
    bench.clock.advance(-3_600_000);
    bench.recorder.seen(&message("t", b"a", T0 - 3_600_000));
    bench.stepper.beat();
    let message = last_of(&bench);
    assert_eq!(message.watermark_ms, Some(T0));
    assert_eq!(message.slots[0].state.last_ms, Some(T0));
}

#[test]
fn wrong_settings_are_named() {
    for (field, config) in [
        ("stage", Config { stage: String::new(), ..config() }),
        ("host", Config { host: "a\nb".to_owned(), ..config() }),
        ("heartbeat", Config { heartbeat: Duration::ZERO, ..config() }),
        ("max_slots", Config { max_slots: 0, ..config() }),
    ] {
        let clock = Arc::new(ManualClock::new(T0));
        let error = Recorder::start(config, Box::new(MemorySink::new()), clock).expect_err(field);
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn a_final_that_kafka_acknowledged_and_lost_is_told_again() {
    for lose in [true, false] {
        let mut bench = Bench::new(config());
        bench.recorder.attempt(&message("t", b"a", T0)).acked();
        // The final goes first, then the heartbeat of the same look.
        bench.sink.script(lose.then_some(Behaviour::Lose));
        bench.pass(30_000);
        let sums = |bench: &Bench| {
            let collector = Collector::of(&bench.sink.messages());
            (last_of(bench).sum, collector.sum(bench.recorder.incarnation()), collector.divergent)
        };
        let (said, here, _) = sums(&bench);
        assert_eq!(said != Some(here), lose, "the control: without the repetition the sums never fit");
        bench.stepper.pass(Duration::from_mins(1));
        bench.stepper.beat();
        let (said, here, divergent) = sums(&bench);
        assert_eq!((said, here.n, divergent), (Some(here), 1, 0));
        let finals: Vec<_> =
            bench.sink.messages().into_iter().filter(|m| !m.slots.is_empty()).map(|m| m.uuid).collect();
        assert_eq!(finals.len(), if lose { 1 } else { 2 });
        assert!(finals.iter().all(|uuid| *uuid == finals[0]), "under its own UUID");
        assert_eq!(bench.recorder.stats().repeated, 1);
        bench.stepper.pass(Duration::from_mins(10));
        assert_eq!(bench.recorder.stats().repeated, 1, "once");
    }
}
