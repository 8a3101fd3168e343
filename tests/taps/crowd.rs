//! Three taps share 24 partitions under load and are killed, stopped, started and frozen beyond their claims: totals by
//! window equal an exact recount.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::programs::Program;
use chaperone_tests::{api, eventually, figures, recount};
use rand::Rng;
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rustix::process::Signal;

use crate::scene::{PATIENCE, Scene};

const PARTITIONS: usize = 24;
const TAPS: usize = 3;
/// Disturbances while the traffic flows, at least; each is a kill, a clean stop, or a freeze.
const DISTURBANCES: u64 = 12;
/// A frozen tap sleeps until others have taken its partitions over: longer than its session and its claims' patience.
const FROZEN: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_micros(500);

/// How long it goes on.
pub(crate) struct Size {
    /// Of the figures.
    pub(crate) section: &'static str,
    /// So long at least.
    pub(crate) at_least: Duration,
}

fn produce(scene: &Scene, sent: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut config = scene.cluster.plain_config();
    config.set("linger.ms", "5").set("enable.idempotence", "true");
    let producer: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    let (begun, mut number) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::SeqCst) {
        let due = begun + PACE * u32::try_from(number)?;
        eventually(Duration::from_secs(60), "room in the queue", || {
            ensure!(Instant::now() >= due, "not yet");
            let (key, value) = (number.to_be_bytes(), format!("message {number}"));
            let record = BaseRecord::to(&scene.topic).key(&key[..]).payload(&value).timestamp(SystemClock.now_ms());
            producer.send(record).map_err(|(e, _)| anyhow::anyhow!(e))
        })?;
        number += 1;
        sent.store(number, Ordering::SeqCst);
    }
    producer.flush(Duration::from_secs(30)).context("flush")
}

/// What was done to taps.
#[derive(Debug, Default)]
struct Done {
    kills: u64,
    stops: u64,
    zombies: u64,
}

/// Those that have slept long enough go on, as zombies, in the crowd.
fn thaw(frozen: &mut Vec<(Instant, Program)>, taps: &mut Vec<Program>) -> anyhow::Result<()> {
    while let Some((_, zombie)) = frozen.pop_if(|(since, _)| since.elapsed() >= FROZEN) {
        zombie.process.signal(Signal::CONT)?;
        taps.push(zombie);
    }
    Ok(())
}

fn disturb(scene: &Scene, sent: &AtomicU64, size: &Size) -> anyhow::Result<(Vec<Program>, Done)> {
    let begun = Instant::now();
    let mut taps: Vec<Program> = (0..TAPS).map(|_| scene.tap()).collect::<Result<_, _>>()?;
    // The longest asleep is last.
    let mut frozen: Vec<(Instant, Program)> = Vec::new();
    let mut done = Done::default();
    for turn in 0.. {
        if turn >= DISTURBANCES && begun.elapsed() >= size.at_least {
            break;
        }
        let more = sent.load(Ordering::SeqCst) + rand::rng().random_range(500..6_000);
        eventually(PATIENCE, "traffic between two disturbances", || {
            ensure!(sent.load(Ordering::SeqCst) >= more, "not yet");
            Ok(())
        })?;
        thaw(&mut frozen, &mut taps)?;
        let mut victim = taps.swap_remove(rand::rng().random_range(0..taps.len()));
        if taps.len() < TAPS {
            taps.push(scene.tap()?);
        }
        match turn % 3 {
            0 => {
                victim.process.kill()?;
                done.kills += 1;
            }
            1 => {
                victim.process.terminate(Duration::from_secs(30))?;
                done.stops += 1;
            }
            _ => {
                victim.process.signal(Signal::STOP)?;
                frozen.insert(0, (Instant::now(), victim));
                done.zombies += 1;
            }
        }
    }
    eventually(PATIENCE, "the frozen taps' claims are others'", || {
        thaw(&mut frozen, &mut taps)?;
        ensure!(frozen.is_empty(), "not yet");
        Ok(())
    })?;
    let more = sent.load(Ordering::SeqCst) + 5_000;
    eventually(PATIENCE, "traffic for all of them", || {
        ensure!(sent.load(Ordering::SeqCst) >= more, "not yet");
        Ok(())
    })?;
    Ok((taps, done))
}

/// See the module's head.
pub(crate) fn run(size: &Size) -> anyhow::Result<()> {
    let scene = Scene::new("crowd", PARTITIONS, &[])?;
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&scene, &sent, &stop));
        let outcome = disturb(&scene, &sent, size);
        stop.store(true, Ordering::SeqCst);
        producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        outcome
    });
    let (mut taps, done) = outcome?;
    let messages = sent.load(Ordering::SeqCst);
    scene.counted(messages)?;
    let (truth, stored) = (recount::by_window(scene.cluster, &scene.topic, messages)?, scene.counts()?);
    ensure!(stored == truth, "the store says {stored:?}, the topic holds {truth:?}");
    // Whether a frozen tap had something to say that others had counted since is chance; that everything is said twice is
    // none.
    let again = recount::say_again(scene.cluster, &scene.audit)?;
    api::has_read(&scene.data_dir(), &scene.audit, &scene.cluster.offsets(&scene.audit)?)?;
    let stored = scene.counts()?;
    ensure!(stored == truth, "{again} reports again: the store says {stored:?}, the topic holds {truth:?}");
    let naive = recount::without_epochs(scene.cluster, &scene.audit)?;
    ensure!(
        naive > messages,
        "{naive} by blind adding, {messages} in truth: nothing was said twice, the run showed nothing"
    );
    println!("{messages} messages ({naive} by blind adding), {done:?}: {} windows equal", truth.len());
    for tap in &mut taps {
        tap.process.terminate(Duration::from_secs(30))?;
    }
    figures::record(size.section, "kills", done.kills + done.stops)?;
    figures::record(size.section, "zombies", done.zombies)?;
    let difference: u64 = truth.iter().map(|(w, n)| n.abs_diff(stored.get(w).copied().unwrap_or(0))).sum();
    figures::record(size.section, "diff", difference)
}
