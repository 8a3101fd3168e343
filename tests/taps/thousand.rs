//! A tap on a thousand partitions: what it takes when nothing happens, and whether one hot partition holds up the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::programs::Program;
use chaperone_tests::{Bed, eventually, figures};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rusqlite::{Connection, OpenFlags};

use crate::cap::fill;
use crate::scene::{PATIENCE, Scene, Setup};

const PARTITIONS: i32 = 1_000;
/// Partitions of them that have a message now and then: fewer than a large tap's.
const TRICKLE: i32 = 50;
/// The hot partition's backlog, 24 MB, at this cap lasts for 24 s.
const BACKLOG: u64 = 6_000;
const CAP: &str = "max_bytes_per_second = 1000000\n";
/// How long the lag is looked at, and how long the idle tap.
const LOOK: Duration = Duration::from_secs(16);
const WAIT: Duration = Duration::from_secs(30);

/// Resident memory, MiB, and processor seconds.
fn usage(tap: &Program) -> anyhow::Result<(f64, f64)> {
    let pid = tap.process.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").trim().parse()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a name")?;
    let ticks: u32 = rest.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok((f64::from(kib) / 1024.0, f64::from(ticks) / 100.0))
}

/// How many partitions of a topic have a watermark, the least of them, and the sum of what was counted.
fn standing(scene: &Scene, topic: &str) -> anyhow::Result<(i32, i64, u64)> {
    let file = scene.data_dir().join("chaperone.sqlite");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(WAIT)?;
    let sql = "SELECT count(watermark_ms), coalesce(min(watermark_ms), 0), coalesce(sum(counted), 0) FROM tap_partition \
               JOIN name ON id = topic WHERE text = ?1";
    Ok(db.query_row(sql, [topic], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)?.cast_unsigned())))?)
}

fn is_covered(scene: &Scene, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let (known, _, _) = standing(scene, topic)?;
    ensure!(known == partitions, "{known} of {partitions} partitions have a watermark");
    Ok(())
}

/// Waits for so long.
fn pass(time: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    eventually(time * 2, "time passes", || {
        ensure!(begun.elapsed() >= time, "not yet");
        Ok(())
    })
}

fn trickle(scene: &Scene, stop: &AtomicBool) -> anyhow::Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ThreadedProducer::from_config(&scene.cluster.exact_config())?;
    while !stop.load(Ordering::SeqCst) {
        for partition in 0..TRICKLE {
            let record = BaseRecord::<[u8], [u8]>::to(&scene.topic).partition(partition * (PARTITIONS / TRICKLE));
            producer.send(record.payload(b"now and then")).map_err(|(e, _)| e)?;
        }
        pass(Duration::from_millis(500))?;
    }
    Ok(producer.flush(WAIT)?)
}

/// The largest lag of the cold topic's watermark while the hot one is behind, ms.
fn largest_lag(scene: &Scene, hot: &str) -> anyhow::Result<i64> {
    let (begun, mut largest) = (Instant::now(), 0);
    while begun.elapsed() < LOOK {
        let (_, least_ms, _) = standing(scene, &scene.topic)?;
        largest = largest.max(SystemClock.now_ms() - least_ms);
        pass(Duration::from_millis(200))?;
    }
    let (_, _, counted) = standing(scene, hot)?;
    ensure!(counted < BACKLOG, "the hot partition did not lag: the run showed nothing");
    Ok(largest)
}

#[test]
fn a_thousand_partitions_cost_little_and_a_hot_one_holds_up_nobody() -> anyhow::Result<()> {
    let small = Scene::new("one", 1, &[])?;
    let mut tap = small.tap()?;
    eventually(PATIENCE, "the one partition is covered", || is_covered(&small, &small.topic, 1))?;
    pass(Duration::from_secs(4))?;
    let (baseline_mib, _) = usage(&tap)?;
    tap.process.terminate(WAIT)?;
    drop(small);

    let hot = Bed::get()?.regional.fresh_topic("hot", 1, &[])?;
    let scene = Setup::on(&Bed::get()?.regional).also(&hot).tap(CAP).scene("cold", usize::try_from(PARTITIONS)?)?;
    let mut tap = scene.tap()?;
    eventually(PATIENCE, "all partitions are covered", || is_covered(&scene, &scene.topic, PARTITIONS))?;
    let (_, before) = usage(&tap)?;
    pass(LOOK)?;
    let (mib, after) = usage(&tap)?;
    let idle_percent = (after - before) / LOOK.as_secs_f64() * 100.0;
    println!("idle: {idle_percent:.1} % of a core, {mib:.1} MiB resident, {baseline_mib:.1} with one partition");

    fill(&scene, &hot, BACKLOG)?;
    let stop = AtomicBool::new(false);
    let lag_ms = std::thread::scope(|scope| {
        let producer = scope.spawn(|| trickle(&scene, &stop));
        let lag = largest_lag(&scene, &hot);
        stop.store(true, Ordering::SeqCst);
        producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        lag
    })?;
    let (busy_mib, _) = usage(&tap)?;
    println!("with a hot partition: {busy_mib:.1} MiB resident, the others' watermarks lag by at most {lag_ms} ms");
    figures::record("thousand", "idle_cpu_percent", (idle_percent * 10.0).round() / 10.0)?;
    figures::record("thousand", "memory_mib", (mib.max(busy_mib) - baseline_mib).round())?;
    figures::record("thousand", "cold_lag_ms", lag_ms)?;
    tap.process.terminate(WAIT)?;
    Ok(())
}
