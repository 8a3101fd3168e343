//! I1: whatever the transport does, what is joined is what was counted, and a valid watermark proves it.

use super::*;
use proptest::prelude::*;

/// What the host and the world do.
#[derive(Debug, Clone)]
enum Act {
    Attempt { topic: u8, value: u8, age_ms: i64 },
    Seen { topic: u8, value: u8, age_ms: i64 },
    Resolve { which: usize, outcome: u8 },
    Pass(i64),
    Fault(u8),
}

/// `faults` as [`fault`] numbers them; a held report stalls a close until its deadline, so that one is left out there.
fn act(faults: u8) -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u8..4, 0u8..3, 0i64..60_000).prop_map(|(topic, value, age_ms)| Act::Attempt { topic, value, age_ms }),
        2 => (0u8..4, 0u8..3, 0i64..60_000).prop_map(|(topic, value, age_ms)| Act::Seen { topic, value, age_ms }),
        4 => (any::<usize>(), 0u8..4).prop_map(|(which, outcome)| Act::Resolve { which, outcome }),
        2 => (0i64..15_000).prop_map(Act::Pass),
        1 => (0..faults).prop_map(Act::Fault),
    ]
}

fn fault(n: u8) -> Behaviour {
    match n {
        0 => Behaviour::Refuse,
        1 => Behaviour::Fail,
        2 => Behaviour::StoreAndFail,
        3 => Behaviour::Lose,
        _ => Behaviour::Hold,
    }
}

/// What the host knows to be true.
#[derive(Debug, Default, PartialEq)]
struct Truth {
    attempted: u64,
    n: u64,
    acked: u64,
    failed: u64,
    f_in: crate::Fingerprint,
}

fn play(acts: &[Act], bench: &mut Bench) -> Truth {
    const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
    let (mut truth, mut open) = (Truth::default(), Vec::new());
    for act in acts {
        match *act {
            Act::Attempt { topic, value, age_ms } | Act::Seen { topic, value, age_ms } => {
                let event_ms = crate::Clock::now_ms(&*bench.clock) - age_ms;
                let value = [value];
                let m = message(TOPICS[usize::from(topic)], &value, event_ms);
                truth.n += 1;
                truth.f_in = truth.f_in.plus(hash_of(&m));
                match act {
                    Act::Attempt { .. } => {
                        truth.attempted += 1;
                        open.push(bench.recorder.attempt(&m));
                    }
                    _ => bench.recorder.seen(&m),
                }
            }
            Act::Resolve { which, outcome } if !open.is_empty() => {
                let ticket = open.swap_remove(which % open.len());
                match outcome {
                    0 => {
                        truth.failed += 1;
                        ticket.failed();
                    }
                    1 => drop(ticket),
                    _ => {
                        truth.acked += 1;
                        ticket.acked();
                    }
                }
            }
            Act::Resolve { .. } => {}
            Act::Pass(ms) => bench.pass(ms),
            Act::Fault(n) => bench.sink.script([fault(n)]),
        }
    }
    truth
}

/// Doubles and shuffles, as at-least-once transport may.
fn mangle(messages: &[AuditMessage], order: &[usize]) -> Vec<AuditMessage> {
    let mut mangled = messages.to_vec();
    for (i, o) in order.iter().enumerate() {
        if let Some(twin) = messages.get(o % messages.len().max(1)) {
            mangled.insert(i % mangled.len().max(1), twin.clone());
        }
    }
    let len = mangled.len().max(1);
    for (i, o) in order.iter().enumerate() {
        mangled.swap(i % len, o % len);
    }
    mangled
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_joined_is_what_was_counted(
        acts in proptest::collection::vec(act(4), 1..120),
        max_slots in 1usize..12,
        order in proptest::collection::vec(any::<usize>(), 0..30),
    ) {
        let mut bench = Bench::new(Config { max_slots, ..config() });
        let truth = play(&acts, &mut bench);
        let (recorder, sink) = (bench.recorder.clone(), bench.sink.clone());
        sink.reset();
        let closed = bench.stepper.close(Duration::from_secs(5));
        prop_assert_eq!(closed.in_doubt, truth.attempted - truth.acked - truth.failed);
        let messages = sink.messages();
        let collector = Collector::of(&mangle(&messages, &order));
        let sum = collector.sum(recorder.incarnation());
        let goodbye = messages.iter().find(|m| m.end.is_some());
        // A final that the broker lost after acknowledging it is gone, and the goodbye's sums say so.
        let lossy = acts.iter().any(|a| matches!(a, Act::Fault(3)));
        if !lossy {
            prop_assert_eq!((sum.n, sum.acked, sum.failed, sum.f_in), (truth.n, truth.acked, truth.failed, truth.f_in));
            prop_assert_eq!(goodbye.and_then(|m| m.sum), Some(sum));
            prop_assert!(collector.states().all(|s| s.is_final));
        } else if let Some(said) = goodbye.and_then(|m| m.sum) {
            prop_assert_eq!((said.n, said.acked, said.failed, said.f_in), (truth.n, truth.acked, truth.failed, truth.f_in));
        }
        prop_assert_eq!(collector.divergent, 0);
    }

    #[test]
    fn a_watermark_with_equal_sums_has_everything_before_it(acts in proptest::collection::vec(act(5), 1..120)) {
        let mut bench = Bench::new(config());
        let mut arrivals: Vec<i64> = Vec::new();
        let mut collector = Collector::default();
        let mut read = 0;
        for act in &acts {
            if matches!(act, Act::Attempt { .. } | Act::Seen { .. }) {
                arrivals.push(crate::Clock::now_ms(&*bench.clock));
            }
            play(std::slice::from_ref(act), &mut bench);
            let messages = bench.sink.messages();
            for m in messages.iter().skip(read) {
                collector.apply(m);
                let (Some(watermark), Some(said)) = (m.watermark_ms, m.sum) else { continue };
                if collector.sum(m.incarnation) == said {
                    let before = arrivals.iter().filter(|a| **a < watermark).count() as u64;
                    prop_assert!(said.n >= before, "{} of {before} before {watermark}", said.n);
                }
            }
            read = messages.len();
        }
    }
}
