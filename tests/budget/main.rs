//! A reporter with more topics than its budget can tell, and one whose Kafka is away for days: on a clock of the test's,
//! into a sink that does what a collector does. Every message is told once, and no minute has more than the budget.

mod sink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::clock::ManualClock;
use chaperone_audit::message::{Message, NoHeaders};
use chaperone_audit::recorder::{Config, Recorder, Slots, Stepper};
use chaperone_tests::figures;
use sink::Books;

/// A multiple of every width.
const T0: i64 = 1_790_000_400_000;
/// What a reporter has by default, in a minute.
const RECORDS: u64 = 60 * 50;
const BYTES: u64 = 60 * (32 << 10);

struct Bench {
    recorder: Recorder,
    stepper: Stepper,
    clock: Arc<ManualClock>,
    books: Books,
    names: Vec<String>,
    second: u64,
    log_most: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// With the defaults but for the room for slots and in the log.
    fn new(topics: usize, max_slots: usize, log_bytes: Option<u64>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir_in("/dev/shm")?;
        let clock = Arc::new(ManualClock::new(T0));
        let books = Books::default();
        let mut config = Config { seed: 7, slots: Slots::Heap, max_slots, ..Config::new("producer", "test") };
        config.data_dir = log_bytes.map(|_| dir.path().to_owned());
        config.log_bytes = log_bytes.unwrap_or(config.log_bytes);
        let (recorder, stepper) = Recorder::stepped(config, Box::new(books.clone()), Arc::clone(&clock) as _)?;
        let names = (0..topics).map(|topic| format!("topic-{topic:04}")).collect();
        Ok(Self { recorder, stepper, clock, books, names, second: 0, log_most: 0, _dir: dir })
    }

    /// Each of the first `topics` gets a message every `every` seconds; the reporter is looked after every `step`.
    fn run(&mut self, topics: usize, seconds: u64, (every, step): (u64, u64)) {
        for second in 0..seconds / step {
            if (second * step).is_multiple_of(every) {
                let now_ms = T0 + i64::try_from(self.second * 1000).unwrap_or(0);
                for topic in self.names.iter().take(topics) {
                    let message = Message {
                        topic,
                        key: None,
                        value: Some(&now_ms.to_le_bytes()),
                        headers: &NoHeaders,
                        timestamp_ms: Some(now_ms),
                        broker_time: false,
                    };
                    self.recorder.attempt(&message).acked();
                }
            }
            self.pass(step);
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.second += seconds;
        self.books.at(self.second);
        self.clock.advance(i64::try_from(seconds * 1000).unwrap_or(0));
        self.stepper.pass(Duration::from_secs(seconds));
        self.log_most = self.log_most.max(self.stepper.log_bytes());
    }

    /// Nothing is counted any more; until all is told.
    fn rest(&mut self, patience_s: u64) -> anyhow::Result<u64> {
        let from = self.second;
        loop {
            self.pass(10);
            let counted = self.recorder.stats().counted;
            if self.books.sum(self.recorder.incarnation()).n == counted && self.recorder.stats().slots == 0 {
                return Ok(self.second - from);
            }
            ensure!(
                self.second - from < patience_s,
                "{counted} counted: {:?}",
                self.books.sum(self.recorder.incarnation())
            );
        }
    }
}

/// Busy topics for so many minutes, then a few: the width that they are told in, and the worst minute.
fn busy(section: &str, topics: usize, minutes: u64, width_ms: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut bench = Bench::new(topics, 4 * topics, Some(64 << 20))?;
    bench.run(topics, minutes * 60, (5, 1));
    let width = bench.recorder.stats().width_ms;
    let (records, bytes) = bench.books.worst(60);
    let (ten_records, ten_bytes) = bench.books.worst(600);
    let behind = bench.second - bench.books.believed_through(T0).context("no watermark was believed")?;
    bench.run(10, 420, (5, 1));
    let after = bench.recorder.stats().width_ms;
    bench.rest(3_600)?;
    let stats = bench.recorder.stats();
    let told = bench.books.sum(bench.recorder.incarnation());
    println!(
        "{topics} topics for {minutes} min: {width} ms wide, {records} records and {bytes} bytes in the worst minute, {ten_records} \
         and {ten_bytes} in the worst ten, watermark {behind} s behind, {after} ms wide afterwards; {} counted in {:.1} s",
        stats.counted,
        started.elapsed().as_secs_f64()
    );
    ensure!(width == width_ms && after == 10_000, "{width} {after}");
    ensure!((told.n, told.acked) == (stats.counted, stats.counted), "{told:?} {stats:?}");
    ensure!(stats.dropped.overflow + stats.dropped.unlogged + stats.dropped.records == 0, "{stats:?}");
    ensure!(bench.books.doubted() == 0, "{} watermarks could not be believed", bench.books.doubted());
    figures::record(section, &format!("topics_{topics}_records_a_minute"), records)?;
    figures::record(section, &format!("topics_{topics}_bytes_a_minute"), bytes)?;
    figures::record(section, &format!("topics_{topics}_records_ten_minutes"), ten_records)?;
    figures::record(section, &format!("topics_{topics}_behind_s"), behind)?;
    figures::record(section, &format!("topics_{topics}_lost"), stats.counted - told.n)
}

/// The control: without a log windows are told as they are counted.
#[test]
fn without_a_log_finals_exceed_the_budget() -> anyhow::Result<()> {
    let mut bench = Bench::new(1_000, 4_000, None)?;
    bench.run(1_000, 120, (5, 1));
    let (records, bytes) = bench.books.worst(60);
    ensure!(records > 2 * RECORDS && bytes > BYTES, "{records} records, {bytes} bytes");
    figures::record("budget", "control_records_a_minute", records)
}

#[test]
fn a_thousand_busy_topics() -> anyhow::Result<()> {
    busy("budget", 1_000, 5, 60_000)
}

#[test]
fn full_size_a_thousand_busy_topics() -> anyhow::Result<()> {
    busy("budget_full", 1_000, 30, 60_000)
}

#[test]
fn full_size_two_thousand_busy_topics() -> anyhow::Result<()> {
    busy("budget_full", 2_000, 30, 60_000)
}

#[test]
fn full_size_four_thousand_busy_topics() -> anyhow::Result<()> {
    busy("budget_full", 4_000, 60, 600_000)
}

/// Kafka is away for so many hours, with a message in each topic every minute; the reporter is looked after every `step` seconds.
fn away(section: &str, topics: usize, hours: u64, step: u64, log_bytes: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut bench = Bench::new(topics, 4 * topics, Some(log_bytes))?;
    bench.run(topics, 60, (60, step));
    let before = resident()?;
    bench.books.away(true);
    let mut most = 0;
    for _ in 0..hours {
        bench.run(topics, 3_600, (60, step));
        most = most.max(resident()?);
    }
    bench.books.away(false);
    let back_at = bench.second;
    let waited = bench.rest(48 * 3_600)?;
    let stats = bench.recorder.stats();
    let told = bench.books.sum(bench.recorder.incarnation());
    let (records, bytes) = bench.books.worst_after(back_at, 60);
    let memory = most.saturating_sub(before);
    println!(
        "{topics} topics for {hours} h without Kafka: log {} of {log_bytes} bytes, {memory} bytes of memory more, {} of {} counted told \
         in {waited} s, {records} records and {bytes} bytes in the worst minute, {} in the overflow slot, {} without the log; {:.1} s",
        bench.log_most,
        told.n,
        stats.counted,
        stats.dropped.overflow,
        stats.dropped.unlogged,
        started.elapsed().as_secs_f64()
    );
    ensure!((told.n, told.acked) == (stats.counted, stats.counted), "{told:?} {stats:?}");
    figures::record(section, "away_lost", stats.counted - told.n)?;
    figures::record(section, "away_log_share", to_f64(bench.log_most) / to_f64(log_bytes))?;
    figures::record(section, "away_memory_share", to_f64(memory) / to_f64(log_bytes))?;
    figures::record(section, "away_records_a_minute", records)?;
    figures::record(section, "away_bytes_a_minute", bytes)?;
    figures::record(section, "away_overflow", stats.dropped.overflow)
}

#[test]
fn hours_without_kafka() -> anyhow::Result<()> {
    away("budget", 60, 6, 20, 8 << 20)
}

#[test]
fn full_size_three_days_without_kafka() -> anyhow::Result<()> {
    away("budget_full", 1_000, 72, 30, 256 << 20)
}

fn to_f64(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Memory of this process, bytes.
fn resident() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
