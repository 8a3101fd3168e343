//! Taps killed, restarted and woken up as zombies: totals equal an exact recount.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::{eventually, figures, recount};
use rand::Rng;
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rustix::process::Signal;

use crate::scene::Scene;
use chaperone_tests::api;
use chaperone_tests::programs::{self, Program};

/// Kills of a tap while the traffic flows.
const KILLS: u64 = 10;
/// Messages a second, so that every life of a tap has something to count.
const MESSAGES: u64 = 100_000;

/// Counts of a stage in the store, 0 where there are none.
fn counted(scene: &Scene, stage: &str) -> u64 {
    api::stage_counts(&scene.data_dir(), &scene.topic, stage).map_or(0, |counts| counts.values().sum())
}

/// Produces until told to stop; the event time is the time of sending.
fn produce(scene: &Scene, sent: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut config = scene.bed.regional.plain_config();
    config.set("linger.ms", "5").set("enable.idempotence", "true");
    let producer: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let (key, value) = (format!("k{}", number % 100), format!("message {number}"));
        eventually(Duration::from_secs(60), "room in the queue", || {
            let record = BaseRecord::to(&scene.topic).key(&key).payload(&value).timestamp(SystemClock.now_ms());
            producer.send(record).map_err(|(e, _)| anyhow::anyhow!(e))
        })?;
        number += 1;
        sent.store(number, Ordering::SeqCst);
        if number % 200 == 0 {
            producer.flush(Duration::from_secs(30))?;
        }
    }
    producer.flush(Duration::from_secs(30)).context("flush")
}

fn tap(scene: &Scene) -> anyhow::Result<Program> {
    programs::chaperone(&["tap", "--cluster", "regional"], &scene.config(&scene.audit)?)
}

/// The store's claim numbers of the regional tap, summed: it grows with every claim.
fn epochs(scene: &Scene) -> anyhow::Result<u64> {
    let file = scene.data_dir().join("chaperone.sqlite");
    let db = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sum: i64 = db.query_row(
        "SELECT coalesce(sum(epoch), 0) FROM tap_partition p JOIN name t ON t.id = p.topic WHERE t.text = ?1",
        [&scene.topic],
        |r| r.get(0),
    )?;
    Ok(u64::try_from(sum)?)
}

#[test]
fn killed_taps_and_zombies_count_every_message_once() -> anyhow::Result<()> {
    let scene = Scene::new(false)?;
    let mut collector = programs::chaperone(&["run", "--no-taps"], &scene.config(&scene.audit)?)?;
    programs::listening(&mut collector)?;
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&scene, &sent, &stop));
        let outcome = disturb(&scene, &sent);
        stop.store(true, Ordering::SeqCst);
        producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        outcome
    });
    let (mut survivor, mut zombie, kills) = outcome?;
    let messages = sent.load(Ordering::SeqCst);
    eventually(Duration::from_secs(120), "everything is counted", || {
        let n = counted(&scene, "kafka:regional");
        ensure!(n >= messages, "{n} of {messages}");
        Ok(())
    })?;
    let truth = recount::by_window(&scene.bed.regional, &scene.topic, messages)?;
    let stored = api::stage_counts(&scene.data_dir(), &scene.topic, "kafka:regional")?;
    ensure!(stored == truth, "the store says {stored:?}, the topic holds {truth:?}");
    // Whether the zombie had something to say that others had counted since is chance; that all is said twice is none.
    let again = recount::say_again(&scene.bed.regional, &scene.audit)?;
    api::has_read(&scene.data_dir(), &scene.audit, &scene.bed.regional.offsets(&scene.audit)?)?;
    let stored = api::stage_counts(&scene.data_dir(), &scene.topic, "kafka:regional")?;
    ensure!(stored == truth, "{again} reports again: the store says {stored:?}, the topic holds {truth:?}");
    // The control: without the check of epoch and `next` the same intervals count messages twice.
    let naive = recount::without_epochs(&scene.bed.regional, &scene.audit)?;
    ensure!(
        naive > messages,
        "{naive} by blind adding, {messages} in truth: nothing was said twice, the run showed nothing"
    );
    println!("{messages} messages ({naive} by blind adding), {kills} kills, 1 zombie: {} windows equal", truth.len());
    survivor.process.terminate(Duration::from_secs(30))?;
    zombie.process.terminate(Duration::from_secs(30))?;
    figures::record("spine", "tap_kills", kills)?;
    let difference: u64 = truth.iter().map(|(w, n)| n.abs_diff(stored.get(w).copied().unwrap_or(0))).sum();
    figures::record("spine", "tap_difference", difference)
}

/// Ten kills at random moments, then a tap that sleeps past its claim and wakes up beside its successor.
fn disturb(scene: &Scene, sent: &AtomicU64) -> anyhow::Result<(Program, Program, u64)> {
    let mut current = tap(scene)?;
    let mut kills = 0;
    while kills < KILLS {
        let progress = counted(scene, "kafka:regional");
        let more: u64 = rand::rng().random_range(1..MESSAGES / 40);
        eventually(Duration::from_secs(120), "the tap counts on", || {
            ensure!(
                counted(scene, "kafka:regional") > progress,
                "after {kills} kills: still {progress}: {}",
                current.output()
            );
            Ok(())
        })?;
        let mark = sent.load(Ordering::SeqCst) + more;
        eventually(Duration::from_secs(60), "traffic between two kills", || {
            ensure!(sent.load(Ordering::SeqCst) >= mark, "not yet");
            Ok(())
        })?;
        current.process.kill()?;
        kills += 1;
        current = tap(scene)?;
    }
    let progress = counted(scene, "kafka:regional");
    eventually(Duration::from_secs(120), "the tap counts before it sleeps", || {
        ensure!(counted(scene, "kafka:regional") > progress, "still {progress}");
        Ok(())
    })?;
    let claims = epochs(scene)?;
    current.process.signal(Signal::STOP)?;
    let successor = tap(scene)?;
    eventually(Duration::from_secs(120), "the successor claims and counts", || {
        ensure!(epochs(scene)? > claims, "no claim yet: {}", successor.output());
        Ok(())
    })?;
    let progress = counted(scene, "kafka:regional");
    eventually(Duration::from_secs(120), "the successor counts on", || {
        ensure!(counted(scene, "kafka:regional") > progress, "still {progress}");
        Ok(())
    })?;
    current.process.signal(Signal::CONT)?;
    let progress = counted(scene, "kafka:regional");
    eventually(Duration::from_secs(120), "both go on", || {
        ensure!(counted(scene, "kafka:regional") > progress, "still {progress}");
        Ok(())
    })?;
    Ok((successor, current, kills))
}
