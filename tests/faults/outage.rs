//! Kafka stopped for a minute, beside a control without the library.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_tests::{Cluster, Spec, api, eventually, figures};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::scene::Scene;

/// How long the broker is away.
const OUTAGE: Duration = Duration::from_secs(60);
/// One call each.
const PACE: Duration = Duration::from_millis(2);
/// Fills up during the outage, so that queue-full is seen by both.
const QUEUE: u64 = 10_000;

/// What a producer's calls did.
#[derive(Debug, Default)]
struct Calls {
    accepted: u64,
    queue_full: u64,
    other: Vec<String>,
    /// Durations, ns.
    took: Vec<u64>,
}

impl Calls {
    fn note(&mut self, outcome: Result<(), KafkaError>, took: Duration) {
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => self.queue_full += 1,
            Err(e) => self.other.push(e.to_string()),
        }
        self.took.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
    fn quantile(&self, permille: usize) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
        Duration::from_nanos(sorted.get(at).copied().unwrap_or(0))
    }
}

fn config(cluster: &Cluster) -> ClientConfig {
    let mut config = cluster.plain_config();
    config.set("queue.buffering.max.messages", QUEUE.to_string()).set("message.timeout.ms", "180000");
    config.set("enable.idempotence", "true").set("linger.ms", "5");
    config
}

/// Calls `send` at a steady pace until told to stop.
fn call(
    stop: &AtomicBool,
    progress: &AtomicU64,
    send: impl Fn(u64) -> Result<(), KafkaError>,
) -> anyhow::Result<Calls> {
    let (begun, mut calls) = (Instant::now(), Calls::default());
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let due = begun + PACE * u32::try_from(number)?;
        eventually(Duration::from_secs(60), "the next call is due", || {
            ensure!(Instant::now() >= due, "not yet");
            Ok(())
        })?;
        let before = Instant::now();
        let outcome = send(number);
        calls.note(outcome, before.elapsed());
        progress.store(number + 1, Ordering::SeqCst);
    }
    Ok(calls)
}

#[test]
fn a_producers_calls_behave_the_same_and_all_counts_arrive_afterwards() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Spec::new("outage"))?;
    let scene = Scene::new(&cluster, &[])?;
    let (mut program, url) = scene.run()?;
    let recorder = scene.recorder()?;
    let audited = AuditedProducer::new(&config(&cluster), recorder.clone())?;
    let plain: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config(&cluster))?;
    let control_topic = cluster.fresh_topic("control", 2, &[])?;
    let (stop, with, without) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let value = |n: u64| format!("message {n:08} {:0100}", 0);
    let (audited_calls, control_calls, away) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let audited_calls = scope.spawn(|| {
            call(&stop, &with, |n| {
                audited.send(BaseRecord::to(&scene.topic).key(&n.to_string()).payload(&value(n))).map_err(|(e, _)| e)
            })
        });
        let control_calls = scope.spawn(|| {
            call(&stop, &without, |n| {
                plain.send(BaseRecord::to(&control_topic).key(&n.to_string()).payload(&value(n))).map_err(|(e, _)| e)
            })
        });
        let outcome = stop_and_start(&cluster, &with);
        stop.store(true, Ordering::SeqCst);
        let join = |calls: std::thread::ScopedJoinHandle<'_, anyhow::Result<Calls>>| {
            calls.join().map_err(|_| anyhow::anyhow!("a producer panicked"))?
        };
        let (audited_calls, control_calls) = (join(audited_calls)?, join(control_calls)?);
        outcome.map(|away| (audited_calls, control_calls, away))
    })?;
    compare(&audited_calls, &control_calls)?;
    audited.flush(Duration::from_secs(120)).context("the audited producer flushes")?;
    plain.flush(Duration::from_secs(120)).context("the control flushes")?;
    arrived(&scene, &url, &mut program, &audited_calls)?;
    let closed = recorder.close(Duration::from_secs(20));
    ensure!(closed.unsent == 0, "not everything was reported: {closed:?}");
    program.process.terminate(Duration::from_secs(30)).context("a clean stop")?;
    let counted: u64 = api::stage_counts(&scene.data_dir(), &scene.topic, "producer")?.values().sum();
    figures::record("faults", "outage_seconds", away.as_secs())?;
    figures::record("faults", "outage_counts_lost", audited_calls.accepted.abs_diff(counted))
}

/// Stops the broker for [`OUTAGE`] amid the traffic, and lets the traffic go on after it; says how long it was away.
fn stop_and_start(cluster: &Cluster, sent: &AtomicU64) -> anyhow::Result<Duration> {
    let more = |calls: u64| {
        let mark = sent.load(Ordering::SeqCst) + calls;
        eventually(Duration::from_secs(60), "more calls", || {
            ensure!(sent.load(Ordering::SeqCst) >= mark, "not yet");
            Ok(())
        })
    };
    more(1000)?;
    cluster.stop_broker(1)?;
    let stopped = Instant::now();
    eventually(OUTAGE * 2, "the outage", || {
        ensure!(stopped.elapsed() >= OUTAGE, "not yet");
        Ok(())
    })?;
    cluster.start_broker(1)?;
    let away = stopped.elapsed();
    more(1000)?;
    Ok(away)
}

/// The same outcomes, in about the same time.
fn compare(audited: &Calls, control: &Calls) -> anyhow::Result<()> {
    for (name, calls) in [("audited", audited), ("control", control)] {
        let [p50, p99, max] = [500, 990, 1000].map(|q| calls.quantile(q));
        println!(
            "{name}: {} accepted, {} queue full, p50 {p50:?}, p99 {p99:?}, max {max:?}",
            calls.accepted, calls.queue_full
        );
        ensure!(calls.other.is_empty(), "{name}: {:?}", calls.other.first());
        ensure!(calls.queue_full > 0, "{name}: the queue never filled; the outage showed nothing");
    }
    // A busy machine: 5 % of calls may fall on another side of the outage's edges.
    let near = |a: u64, b: u64| a.abs_diff(b) * 20 <= a.max(b);
    ensure!(near(audited.accepted, control.accepted), "accepted: {} and {}", audited.accepted, control.accepted);
    ensure!(
        near(audited.queue_full, control.queue_full),
        "queue full: {} and {}",
        audited.queue_full,
        control.queue_full
    );
    let extra = audited.quantile(990).saturating_sub(control.quantile(990));
    ensure!(extra < Duration::from_millis(5), "p99 of a call is {extra:?} longer than the control's");
    Ok(())
}

/// Every accepted message is acked, stored, and counted at both stages; every refused one is failed.
fn arrived(
    scene: &Scene<'_>,
    url: &str,
    program: &mut chaperone_tests::programs::Program,
    calls: &Calls,
) -> anyhow::Result<()> {
    eventually(Duration::from_secs(120), "all counts arrive", || {
        for stage in ["producer", "kafka:main"] {
            let n: u64 = api::stage_counts(&scene.data_dir(), &scene.topic, stage)?.values().sum();
            ensure!(n == calls.accepted, "{stage}: {n} of {}: {}", calls.accepted, program.output());
        }
        Ok(())
    })?;
    eventually(Duration::from_secs(120), "every window is ok", || {
        let windows = api::windows_by(url, &format!("topic={}&from=now-1h&to=now%2B1m", scene.topic))?;
        ensure!(!windows.is_empty(), "no window");
        let bad = windows.iter().find(|w| w.verdict != "ok");
        ensure!(bad.is_none(), "{bad:?}");
        Ok(())
    })
}
