//! A counter of one topic counts what the recorder counts, in the same slots.

use super::*;
use crate::MessageId;
use crate::fingerprint::Fingerprint;
use crate::rule::{HEADER, MAX_AHEAD_MS, MIN_EVENT_MS, TopicRule, stamp};

/// How a message is brought to the recorder.
#[derive(Debug, Clone, Copy)]
enum By {
    Recorder,
    Counter,
    Stamped,
}

/// All slots of the same messages: times near and far, attempts and sightings.
fn slots(by: By, messages: &[(i64, bool)]) -> Vec<SlotRecord> {
    let mut bench = Bench::new(config());
    let mut counter = bench.recorder.counter("orders");
    for (i, (event_ms, attempt)) in messages.iter().enumerate() {
        let id = MessageId(i as u128);
        let headers = [(HEADER, stamp(id, *event_ms))];
        let message = Message { headers: &headers, timestamp_ms: None, ..message("orders", b"value", 0) };
        let mut stamped = counter.stamped();
        let stamped = stamped.as_mut().expect("the default rule");
        match (by, attempt) {
            (By::Recorder, true) => bench.recorder.attempt(&message).acked(),
            (By::Recorder, false) => bench.recorder.seen(&message),
            (By::Counter, true) => counter.attempt(&message).acked(),
            (By::Counter, false) => counter.seen(&message),
            (By::Stamped, true) => stamped.attempt(id, *event_ms, 5).acked(),
            (By::Stamped, false) => stamped.seen(id, *event_ms, 5),
        }
        if i % 5 == 4 {
            bench.pass(1_000);
        }
    }
    bench.stepper.close(WAIT);
    let mut slots: Vec<_> =
        bench.sink.messages().into_iter().flat_map(|m| m.slots).filter(|s| s.state.is_final).collect();
    slots.sort_by_key(|s| (s.window_ms, s.class, s.state.flags.clone()));
    for slot in &mut slots {
        slot.id = 0;
    }
    slots
}

/// Long enough for a close by hand, which takes no time.
const WAIT: Duration = Duration::from_secs(5);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whoever_counts_the_slots_are_the_same(
        messages in proptest::collection::vec(
            (prop_oneof![
                T0 - 40_000..T0 + 40_000,
                T0 + MAX_AHEAD_MS - 20_000..T0 + MAX_AHEAD_MS + 20_000,
                MIN_EVENT_MS - 20_000..MIN_EVENT_MS + 20_000,
                any::<i64>(),
            ], any::<bool>()),
            0..40,
        ),
    ) {
        let by_recorder = slots(By::Recorder, &messages);
        prop_assert_eq!(by_recorder.iter().map(|s| s.state.n).sum::<u64>(), messages.len() as u64);
        prop_assert_eq!(&slots(By::Counter, &messages), &by_recorder);
        prop_assert_eq!(&slots(By::Stamped, &messages), &by_recorder);
    }
}

#[test]
fn a_message_of_another_topic_is_counted_where_it_belongs() {
    let bench = Bench::new(config());
    let mut counter = bench.recorder.counter("orders");
    counter.seen(&message("orders", b"v", T0));
    counter.seen(&message("payments", b"v", T0));
    counter.attempt(&message("payments", b"v", T0)).acked();
    bench.stepper.close(WAIT);
    let slots: Vec<_> = bench.sink.messages().into_iter().flat_map(|m| m.slots).filter(|s| s.state.is_final).collect();
    let n = |topic: &str| slots.iter().filter(|s| s.topic == topic).map(|s| s.state.n).sum::<u64>();
    assert_eq!((n("orders"), n("payments")), (1, 2));
}

#[test]
fn a_stamp_that_does_not_decide_is_not_taken() {
    let rules = vec![TopicRule::new("orders").and_then(|r| r.with(None, None, Some("content"))).expect("a rule")];
    let bench = Bench::new(Config { rules, ..config() });
    assert!(bench.recorder.counter("orders").stamped().is_none());
    assert!(bench.recorder.counter("payments").stamped().is_some());
}

#[test]
fn a_counter_that_outlives_its_recorder_counts_no_more_and_one_that_is_dropped_hands_its_line_over() {
    let bench = Bench::new(config());
    let mut first = bench.recorder.counter("orders");
    first.stamped().expect("the default rule").seen(MessageId(1), T0, 1);
    drop(first);
    let mut second = bench.recorder.counter("orders");
    second.stamped().expect("the default rule").seen(MessageId(2), T0, 1);
    let sum = bench.recorder.stats();
    assert_eq!((sum.counted, sum.slots), (2, 1));
    bench.stepper.close(WAIT);
    second.stamped().expect("the default rule").seen(MessageId(3), T0, 1);
    let ticket = second.stamped().expect("the default rule").attempt(MessageId(4), T0, 1);
    ticket.acked();
    assert_eq!((bench.recorder.stats().counted, bench.recorder.stats().uncounted), (2, 2));
    let last = bench.sink.messages().pop().and_then(|m| m.sum).expect("a goodbye");
    let both = Fingerprint::ZERO.plus(MessageId(1).hash(SEED)).plus(MessageId(2).hash(SEED));
    assert_eq!((last.n, last.f_in), (2, both));
}
