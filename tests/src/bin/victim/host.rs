//! What counting costs the threads of the host: calls to the system, allocations, delays, memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chaperone_audit::recorder::{Config, Recorder};
use chaperone_audit::{Clock, SystemClock};

use crate::sink::Nowhere;
use crate::{Witness, config, message};

const MESSAGES: u64 = 200_000;
const TOPICS: [&str; 4] = ["orders", "payments", "refunds", "clicks"];
const VALUE: &[u8] = br#"{"id":"0123456789","at":1700000000000}"#;

fn count(recorder: &Recorder, messages: u64, at_ms: i64, mut each: impl FnMut()) {
    for i in 0..messages {
        let topic = TOPICS.get(usize::try_from(i % 4).unwrap_or(0)).copied().unwrap_or("orders");
        let message = message(topic, VALUE, at_ms);
        recorder.attempt(&message).acked();
        recorder.seen(&message);
        each();
    }
}

/// Between `begin` and `end` on standard output one thread counts with the system's clock and makes no system call;
/// between `control` and `over` it tells each message. Then tells the allocations of both, the control with new topics.
pub(crate) fn calls(dir: &Path) -> anyhow::Result<()> {
    let recorder = Recorder::start(config(dir), Box::new(Nowhere), Arc::new(SystemClock))?;
    let witness = Witness::new()?;
    let at_ms = SystemClock.now_ms();
    count(&recorder, 1000, at_ms, || {});
    witness.tell("begin\n")?;
    count(&recorder, MESSAGES, at_ms, || {});
    witness.tell("end\n")?;
    witness.tell("control\n")?;
    count(&recorder, 100, at_ms, || drop(witness.tell(".\n")));
    witness.tell("over\n")?;
    let known = allocation_counter::measure(|| count(&recorder, MESSAGES, at_ms, || {}));
    let names: Vec<String> = (0..100).map(|i| format!("topic-{i}")).collect();
    let control = allocation_counter::measure(|| {
        for topic in &names {
            recorder.attempt(&message(topic, VALUE, at_ms)).acked();
        }
    });
    witness.tell(&format!("allocations {}\nallocations_control {}\n", known.count_total, control.count_total))?;
    Ok(())
}

/// Counts for some seconds while checkpoints are written all the time, and tells quantiles of what a count and its report
/// take, in nanoseconds, and how many checkpoints were written.
pub(crate) fn stall(dir: &Path, seconds: u64) -> anyhow::Result<()> {
    const BIN_NS: u128 = 5;
    let tick = Duration::from_millis(5);
    let config = Config { heartbeat: tick, checkpoint: tick, ..config(dir) };
    let recorder = Recorder::start(config, Box::new(Nowhere), Arc::new(SystemClock))?;
    let witness = Witness::new()?;
    let at_ms = SystemClock.now_ms();
    count(&recorder, 1000, at_ms, || {});
    let mut bins = vec![0u64; 20_000];
    let (began, mut last) = (Instant::now(), Instant::now());
    witness.tell("begin\n")?;
    while began.elapsed() < Duration::from_secs(seconds) {
        count(&recorder, 1000, at_ms, || {
            let now = Instant::now();
            let bin = usize::try_from((now - last).as_nanos() / BIN_NS).unwrap_or(usize::MAX);
            last = now;
            let bin = bin.min(bins.len() - 1);
            bins.get_mut(bin).into_iter().for_each(|n| *n += 1);
        });
    }
    witness.tell("end\n")?;
    let all: u64 = bins.iter().sum();
    // Of which one in so many is slower.
    let quantile = |one_in: u64| {
        let mut left = all / one_in;
        let above = bins.iter().rposition(|n| {
            let here = *n > left;
            left = left.saturating_sub(*n);
            here
        });
        above.unwrap_or(0) as u128 * BIN_NS
    };
    witness.tell(&format!("counted {all}\np50 {}\np99 {}\np999 {}\n", quantile(2), quantile(100), quantile(1000)))?;
    // A close would wait for the disk.
    std::process::exit(0)
}

/// A thousand topics, three windows, four threads, Kafka away: tells by how many KiB memory grew that is not the slots'
/// file, how many slots there are, and what was counted.
pub(crate) fn memory(dir: &Path, max_slots: usize) -> anyhow::Result<()> {
    const TURNS: u64 = 10;
    let config = Config { max_slots, heartbeat: Duration::from_millis(50), ..config(dir) };
    let recorder = Recorder::start(config, Box::new(Nowhere), Arc::new(SystemClock))?;
    let witness = Witness::new()?;
    let topics: Vec<String> = (0..1000).map(|i| format!("topic-of-some-length-{i}")).collect();
    let at_ms = SystemClock.now_ms();
    let before = anonymous_kib()?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..3 * TURNS {
                    let at_ms = at_ms - 10_000 * i64::try_from(turn % 3).unwrap_or(0);
                    for topic in &topics {
                        recorder.attempt(&message(topic, VALUE, at_ms)).acked();
                    }
                }
            });
        }
    });
    // Some heartbeats, whose snapshots are the largest things in memory.
    let (mut most, until) = (anonymous_kib()?, Instant::now() + Duration::from_secs(1));
    while Instant::now() < until {
        most = most.max(anonymous_kib()?);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let stats = recorder.stats();
    let (grown, overflow) = (most.saturating_sub(before), stats.dropped.overflow);
    witness
        .tell(&format!("grown_kib {grown}\nslots {}\ncounted {}\noverflow {overflow}\n", stats.slots, stats.counted))?;
    Ok(())
}

fn anonymous_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    line.split_whitespace().next().context("no number")?.parse().context("RssAnon")
}
