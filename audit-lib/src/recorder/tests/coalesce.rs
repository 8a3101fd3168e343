//! Kafka away for long: the log keeps its size, windows become wider, and no count is lost.

use super::*;
use crate::Width;
use proptest::prelude::*;

const LOG_BYTES: u64 = 8 << 20;

fn small(dir: &tempfile::TempDir) -> Config {
    Config { data_dir: Some(dir.path().to_owned()), log_bytes: LOG_BYTES, max_slots: 512, ..config() }
}

/// Device flushes are not what is tested here.
fn in_memory() -> tempfile::TempDir {
    let shm = std::path::Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a directory")
}

/// What was counted.
#[derive(Default)]
struct Truth {
    n: u64,
    acked: u64,
    f_in: crate::Fingerprint,
    windows: u64,
}

/// Each topic gets a message in each of so many windows, and the reporter goes on.
fn traffic(bench: &mut Bench, truth: &mut Truth, (topics, windows, every_ms): (u64, u64, i64)) {
    for _ in 0..windows {
        let now_ms = crate::Clock::now_ms(&*bench.clock);
        for topic in 0..topics {
            let (topic, value) = (format!("topic-{topic}"), truth.windows.to_le_bytes());
            let m = message(&topic, &value, now_ms - 3);
            bench.recorder.attempt(&m).acked();
            truth.n += 1;
            truth.acked += 1;
            truth.f_in = truth.f_in.plus(hash_of(&m));
        }
        truth.windows += 1;
        bench.pass(every_ms);
    }
}

/// Two days in rounds of fifty minutes after the first hour.
const TWO_DAYS: usize = 56;

/// Kafka is away: an hour of traffic in every window, then so many rounds in one window of five minutes.
fn away(bench: &mut Bench, topics: u64, rounds: usize) -> (Truth, u64) {
    let (mut truth, mut most) = (Truth::default(), 0);
    bench.sink.set(Behaviour::Refuse);
    for (rounds, every_ms) in [(36, 10_000), (rounds, 300_000)] {
        for _ in 0..rounds {
            traffic(bench, &mut truth, (topics, 10, every_ms));
            most = most.max(bench.stepper.log_bytes());
            let stats = bench.recorder.stats();
            assert!(stats.waiting <= 64 + 512, "{stats:?}");
        }
    }
    (truth, most)
}

/// The sink is back; the reporter goes on until all is told.
fn back(bench: &mut Bench) -> Collector {
    bench.sink.reset();
    bench.clock.advance(60_000);
    // What waits in the log only is fetched when nothing waits before it.
    let mut idle = 0;
    for _ in 0..2_000 {
        bench.stepper.pass(Duration::from_secs(31));
        let stats = bench.recorder.stats();
        idle = if stats.waiting == 0 && stats.slots == 0 { idle + 1 } else { 0 };
        if idle == 3 {
            break;
        }
    }
    bench.stepper.beat();
    Collector::of(&bench.sink.messages())
}

/// The last message that says sums.
fn heartbeat(bench: &Bench) -> AuditMessage {
    let messages = bench.sink.messages().into_iter().rev();
    messages.filter(|m| m.incarnation == bench.recorder.incarnation()).find(|m| m.sum.is_some()).expect("a heartbeat")
}

#[test]
fn days_without_kafka_fit_into_the_log_and_no_count_is_lost() {
    let dir = in_memory();
    let mut bench = Bench::new(small(&dir));
    let (truth, most) = away(&mut bench, 30, TWO_DAYS);
    let stats = bench.recorder.stats();
    assert!(most <= LOG_BYTES, "{most} bytes");
    assert!(stats.dropped.coalesced > 0, "{stats:?}");
    assert_eq!((stats.dropped.overflow, stats.dropped.unlogged, stats.dropped.records), (0, 0, 0), "{stats:?}");
    let collector = back(&mut bench);
    let sum = collector.sum(bench.recorder.incarnation());
    assert_eq!((sum.n, sum.acked, sum.f_in), (truth.n, truth.acked, truth.f_in));
    let last = heartbeat(&bench);
    assert_eq!(last.sum, Some(sum), "the collector can believe the watermark");
    assert!(last.watermark_ms.is_some());
    let total = |s: &SlotState| s.hist.as_ref().map(crate::Histogram::total);
    assert!(collector.states().all(|s| s.is_final && total(s) == Some(s.n) && s.f_acked == s.f_in));
    assert!(collector.slots.values().any(|s| s.width_ms > Width::TEN_SECONDS));
    assert!(collector.slots.values().all(|s| s.window_ms == s.width_ms.window_of(s.state.min_ms.unwrap_or(0))));
}

/// What the sink was offered cannot be folded, so it must not be most of a log.
#[test]
fn hours_without_kafka_fit_into_the_smallest_log_that_a_table_may_have() {
    let dir = in_memory();
    let config = Config { log_bytes: 4 << 20, ..small(&dir) };
    let mut bench = Bench::new(config);
    let (truth, most) = away(&mut bench, 60, 8);
    let stats = bench.recorder.stats();
    assert!(most <= 4 << 20, "{most} bytes");
    assert_eq!((stats.dropped.overflow, stats.dropped.unlogged, stats.dropped.records), (0, 0, 0), "{stats:?}");
    let sum = back(&mut bench).sum(bench.recorder.incarnation());
    assert_eq!((sum.n, sum.acked, sum.f_in), (truth.n, truth.acked, truth.f_in));
}

#[test]
fn without_it_the_same_days_do_not_fit() {
    let dir = in_memory();
    let mut bench = Bench::new(small(&dir));
    bench.stepper.never_coalesce();
    let (truth, _) = away(&mut bench, 30, TWO_DAYS);
    let stats = bench.recorder.stats();
    assert!(stats.dropped.overflow > 0 && stats.dropped.unlogged > 0, "{stats:?}");
    assert_eq!(stats.counted, truth.n, "totals are kept even so");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Wider windows at any time, deaths at any time: each count is told once and the sums fit.
    #[test]
    fn whatever_is_merged_when_the_sums_are_the_collectors(
        acts in proptest::collection::vec((0u8..8, 1u64..6, 1u64..90), 1..14),
    ) {
        let dir = in_memory();
        let mut bench = Bench::new(small(&dir));
        let mut truth = Truth::default();
        let mut dead = Vec::new();
        for (act, topics, windows) in acts {
            match act {
                0 => bench.sink.set(Behaviour::Store),
                1 => bench.sink.set(Behaviour::Refuse),
                2 => bench.sink.set(Behaviour::Fail),
                3 => bench.sink.set(Behaviour::StoreAndFail),
                4 => bench.stepper.coalesce(Width::ALL[1]),
                5 => bench.stepper.coalesce(Width::ALL[2]),
                6 => {
                    // All is in the log or in the checkpoint, then the process dies.
                    bench.stepper.pass(Duration::from_secs(10));
                    let (sink, clock) = (bench.sink.clone(), Arc::clone(&bench.clock));
                    dead.push((bench.recorder.incarnation(), crate::Clock::now_ms(&*clock)));
                    drop(bench.stepper);
                    bench = Bench::with(small(&dir), sink);
                    bench.clock.advance(crate::Clock::now_ms(&*clock) - T0);
                }
                _ => traffic(&mut bench, &mut truth, (topics, windows, 10_000)),
            }
        }
        let collector = back(&mut bench);
        prop_assert_eq!(collector.divergent, 0);
        prop_assert_eq!(collector.n(), truth.n);
        let f_in = collector.states().fold(crate::Fingerprint::ZERO, |f, s| f.plus(s.f_in()));
        prop_assert_eq!(f_in, truth.f_in);
        let last = heartbeat(&bench);
        prop_assert_eq!(last.sum, Some(collector.sum(bench.recorder.incarnation())));
    }
}
