//! More topics than the budget can tell at 10 s: wider windows are told, nothing is lost, and 10 s come back.

use super::*;
use proptest::prelude::*;

/// A tenth of the default budget, so that a hundred topics are as many as a thousand.
fn tight(dir: &tempfile::TempDir) -> Config {
    Config {
        data_dir: Some(dir.path().to_owned()),
        records_per_second: 5,
        bytes_per_second: 5 << 10,
        max_slots: 4096,
        ..paced()
    }
}

fn in_memory() -> tempfile::TempDir {
    let shm = std::path::Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a directory")
}

/// What was stored, and when: (second, records, bytes).
struct Watch {
    second: i64,
    seen: usize,
    told: Vec<(i64, u64, u64)>,
}

impl Watch {
    fn new() -> Self {
        Self { second: 0, seen: 0, told: Vec::new() }
    }

    /// Each second a message in each topic.
    fn run(&mut self, bench: &mut Bench, topics: usize, seconds: i64) {
        for _ in 0..seconds {
            let now_ms = crate::Clock::now_ms(&*bench.clock);
            for topic in 0..topics {
                bench.recorder.attempt(&message(&format!("topic-{topic:03}"), &now_ms.to_le_bytes(), now_ms)).acked();
            }
            self.idle(bench, 1);
        }
    }

    fn idle(&mut self, bench: &mut Bench, seconds: i64) {
        for _ in 0..seconds {
            bench.clock.advance(1_000);
            bench.stepper.pass(Duration::from_secs(1));
            self.second += 1;
            let stored = bench.sink.stored();
            for (_, payload) in &stored[self.seen..] {
                let records = AuditMessage::decode(payload).expect("own").slots.len() as u64;
                self.told.push((self.second, records, payload.len() as u64));
            }
            self.seen = stored.len();
        }
    }

    /// Most records and bytes of any minute after `from`.
    fn worst_minute(&self, from: i64) -> (u64, u64) {
        let minute = |at: i64| {
            let of = self.told.iter().filter(|(s, ..)| (at..at + 60).contains(s));
            of.fold((0, 0), |(records, bytes), (_, r, b)| (records + r, bytes + b))
        };
        (from..self.second).map(minute).fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)))
    }
}

/// Every watermark that a collector believes when it comes, with the second half of the pair: how many it does not.
fn believed(messages: &[AuditMessage]) -> (Vec<i64>, usize) {
    let (mut collector, mut believed, mut not) = (Collector::default(), Vec::new(), 0);
    for m in messages {
        collector.apply(m);
        if let (Some(said), Some(watermark_ms)) = (m.sum, m.watermark_ms) {
            let is = collector.sum(m.incarnation) == said;
            if is { believed.push(watermark_ms) } else { not += 1 }
        }
    }
    (believed, not)
}

#[test]
fn more_topics_than_the_budget_allows_are_told_in_wider_windows_and_10_s_come_back() {
    for (topics, width) in [(100, 60_000), (400, 600_000)] {
        let dir = in_memory();
        let mut bench = Bench::new(tight(&dir));
        let mut watch = Watch::new();
        let seconds = if width == 60_000 { 300 } else { 1_300 };
        watch.run(&mut bench, topics, seconds);
        assert_eq!(bench.recorder.stats().width_ms, width);
        let (records, bytes) = watch.worst_minute(0);
        // The budget of a minute and one message.
        assert!(records <= 300 + 500 && bytes <= 60 * (5 << 10) + 250_000, "{records} records, {bytes} bytes");
        let (marks, not) = believed(&bench.sink.messages());
        assert!(not == 0 && marks.len() >= 2, "{marks:?} {not}");
        let late = crate::Clock::now_ms(&*bench.clock) - marks.last().expect("one");
        assert!(late <= 2 * i64::try_from(width).expect("small") + 90_000, "{late} ms behind");
        // A few topics go on.
        watch.run(&mut bench, 5, 400);
        assert_eq!(bench.recorder.stats().width_ms, 10_000);
        watch.run(&mut bench, 5, 60);
        let messages = bench.sink.messages();
        let (marks, _) = believed(&messages);
        let late = crate::Clock::now_ms(&*bench.clock) - marks.last().expect("one");
        assert!(late <= 2_000, "{late} ms behind at 10 s");
        watch.idle(&mut bench, 120);
        let collector = Collector::of(&bench.sink.messages());
        let sum = collector.sum(bench.recorder.incarnation());
        let stats = bench.recorder.stats();
        assert_eq!((collector.divergent, sum.n, sum.acked), (0, stats.counted, stats.counted));
        let wide = collector.slots.values().filter(|s| u64::from(u32::from(s.width_ms)) == width).count();
        assert!(wide >= topics && stats.dropped.coalesced > 0, "{wide} {stats:?}");
        assert_eq!((stats.dropped.overflow, stats.dropped.unlogged, stats.dropped.records), (0, 0, 0));
    }
}

#[test]
fn without_a_log_windows_stay_as_they_are() {
    let dir = in_memory();
    let mut bench = Bench::new(Config { data_dir: None, ..tight(&dir) });
    let mut watch = Watch::new();
    watch.run(&mut bench, 100, 120);
    assert_eq!(bench.recorder.stats().width_ms, 10_000);
    let (records, _) = watch.worst_minute(0);
    assert!(records > 600, "the control: {records} records of 300");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Load that comes and goes, faults, deaths: each count is told once, and a watermark that is believed lacks nothing.
    #[test]
    fn whatever_happens_nothing_is_lost_or_doubled(
        acts in proptest::collection::vec((0u8..8, 1usize..120, 1i64..40), 1..16), clean: bool,
    ) {
        let (dir, slots) = (in_memory(), in_memory());
        let config = || Config { slots: Slots::Dir(slots.path().to_owned()), max_slots: 1024, ..tight(&dir) };
        let mut bench = Bench::new(config());
        let mut watch = Watch::new();
        let mut n = 0;
        for (act, topics, seconds) in acts {
            match act {
                0 => bench.sink.set(Behaviour::Store),
                1 => bench.sink.set(Behaviour::Refuse),
                2 => bench.sink.set(Behaviour::Fail),
                3 => bench.sink.set(Behaviour::StoreAndFail),
                4 => bench.stepper.coalesce(crate::Width::ALL[1]),
                5 => {
                    // At any moment: what is open is in the slot file, what is held in the log.
                    let (sink, now_ms) = (bench.sink.clone(), crate::Clock::now_ms(&*bench.clock));
                    n += bench.recorder.stats().counted;
                    drop(bench.stepper);
                    bench = Bench::with(config(), sink);
                    bench.clock.advance(now_ms - T0);
                }
                6 => watch.idle(&mut bench, seconds),
                _ => watch.run(&mut bench, topics, seconds),
            }
        }
        n += bench.recorder.stats().counted;
        bench.sink.reset();
        if clean {
            prop_assert_eq!(bench.stepper.close(Duration::from_secs(20)).unsent, 0);
        } else {
            watch.idle(&mut bench, 2_000);
        }
        let messages = bench.sink.messages();
        let collector = Collector::of(&messages);
        prop_assert_eq!((collector.divergent, collector.n()), (0, n));
        let last = messages.iter().rev().find_map(|m| m.sum.filter(|_| m.incarnation == bench.recorder.incarnation()));
        prop_assert_eq!(last, Some(collector.sum(bench.recorder.incarnation())));
    }
}
