//! The budget: who has little to tell tells it every two seconds, who has much takes longer, and all is told in the end.

use super::*;

const TICK_MS: i64 = 250;

/// Counts one message in each topic, and lets time pass; what was stored since, by second.
fn seconds(bench: &mut Bench, topics: usize, seconds: i64) -> (u64, u64, Vec<i64>) {
    let before = bench.sink.stored().len();
    for tick in 0..seconds * 1000 / TICK_MS {
        if tick % 4 == 0 {
            let now_ms = crate::Clock::now_ms(&*bench.clock);
            for topic in 0..topics {
                bench.recorder.seen(&message(&format!("topic-{topic}"), &now_ms.to_le_bytes(), now_ms));
            }
        }
        bench.clock.advance(TICK_MS);
        bench.stepper.pass(Duration::from_millis(TICK_MS.unsigned_abs()));
    }
    let messages: Vec<_> = bench.sink.messages().split_off(before);
    let bytes = bench.sink.stored().split_off(before).iter().map(|(_, payload)| payload.len() as u64).sum();
    let records = messages.iter().map(|m| m.slots.len() as u64).sum();
    (records, bytes, messages.iter().filter_map(|m| m.watermark_ms).collect())
}

fn all_is_told(bench: &mut Bench) {
    for _ in 0..3_000 {
        bench.clock.advance(TICK_MS);
        bench.stepper.pass(Duration::from_millis(TICK_MS.unsigned_abs()));
        if bench.recorder.stats().slots == 0 && bench.recorder.stats().waiting == 0 {
            break;
        }
    }
    bench.clock.advance(2_000);
    bench.stepper.pass(Duration::from_secs(2));
    let messages = bench.sink.messages();
    let collector = Collector::of(&messages);
    let sum = collector.sum(bench.recorder.incarnation());
    assert_eq!(sum.n, bench.recorder.stats().counted);
    assert_eq!(messages.iter().filter(|m| m.sum.is_some()).max_by_key(|m| m.seq).and_then(|m| m.sum), Some(sum));
}

#[test]
fn few_slots_are_told_every_two_seconds_and_a_final_at_once() {
    let mut bench = Bench::new(paced());
    let (_, _, watermarks) = seconds(&mut bench, 50, 60);
    let gaps: Vec<i64> = watermarks.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(watermarks.len() >= 29 && gaps.iter().all(|gap| *gap <= 2_500), "{gaps:?}");
    assert_eq!(bench.recorder.stats().cadence_ms, 2_000);
    // Width, grace, and the five seconds that are promised.
    let finals = bench.sink.messages().into_iter().flat_map(|m| {
        let sent_ms = m.sent_ms;
        m.slots.into_iter().filter(|s| s.state.is_final).map(move |s| sent_ms - s.window_ms.end_ms(s.width_ms))
    });
    let slowest = finals.max().expect("finals");
    assert!(slowest <= 10_000 + 5_000, "{slowest} ms after the window's end");
    all_is_told(&mut bench);
}

#[test]
fn many_slots_keep_to_the_budget_and_are_told_in_the_end() {
    for (budget, keeps) in [(paced(), true), (Config { slots: Slots::Heap, ..config() }, false)] {
        let wide = Config { max_slots: 20_000, width: crate::Width::ALL[2], ..budget };
        let mut bench = Bench::new(wide);
        for _ in 0..2 {
            let (records, bytes, _) = seconds(&mut bench, 5_000, 60);
            assert_eq!(records <= 60 * 50 && bytes <= 60 * (32 << 10), keeps, "{records} records, {bytes} bytes");
        }
        if keeps {
            // The second watermark comes as late as the budget makes it, and says so.
            let (.., watermarks) = seconds(&mut bench, 5_000, 120);
            let last = bench.sink.messages().into_iter().rev().find_map(|m| m.cadence_ms).expect("a cadence");
            assert!(watermarks.len() == 1 && last >= 60_000, "{watermarks:?} {last} ms");
            assert!(bench.recorder.stats().dropped.is_empty());
            bench.clock.advance(600_000);
            all_is_told(&mut bench);
        }
    }
}

#[test]
fn what_is_closed_while_a_large_snapshot_is_on_its_way_waits_for_its_end() {
    let mut bench = Bench::new(Config { max_slots: 4_096, ..paced() });
    seconds(&mut bench, 700, 40);
    all_is_told(&mut bench);
    // Every watermark is one that a collector can believe when it comes.
    let mut collector = Collector::default();
    let mut believed = 0;
    for m in bench.sink.messages() {
        collector.apply(&m);
        if let Some(said) = m.sum {
            assert_eq!(collector.sum(m.incarnation), said);
            believed += 1;
        }
    }
    assert!(believed >= 3, "{believed}");
}

#[test]
fn more_finals_than_the_budget_allows_do_not_starve_the_watermark() {
    let mut bench = Bench::new(Config { max_slots: 16_384, ..paced() });
    let (.., told) = seconds(&mut bench, 900, 300);
    let gaps: Vec<i64> = told.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(told.len() >= 4 && gaps.iter().all(|gap| *gap <= 90_000), "{gaps:?}");
    assert!(bench.recorder.stats().dropped.is_empty());
    all_is_told(&mut bench);
}
