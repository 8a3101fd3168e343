//! Three taps count 24 partitions while the brokers are restarted one by one and leaders are killed, under the load of a
//! producer that every message of counts, and of one that aborts half of its transactions. Taps read the copies of one rack.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::kafka::rack;
use chaperone_tests::programs::Program;
use chaperone_tests::tapped::{PATIENCE, Scene, Setup};
use chaperone_tests::{Cluster, eventually, figures, recount};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

type Sends = ThreadedProducer<DefaultProducerContext>;

const BROKERS: usize = 3;
const PARTITIONS: usize = 24;
const TAPS: usize = 3;
const WAIT: Duration = Duration::from_secs(30);
const PACE: Duration = Duration::from_micros(500);
/// Messages of a transaction.
const TOGETHER: u64 = 20;
const BETWEEN_TRANSACTIONS: Duration = Duration::from_millis(20);

/// How hard it blows.
pub(crate) struct Size {
    /// Of the figures.
    pub(crate) section: &'static str,
    /// So long at least; each broker is restarted and one leader killed in any case.
    pub(crate) at_least: Duration,
}

fn wait_until(due: Instant) -> anyhow::Result<()> {
    eventually(WAIT, "the next one is due", || {
        ensure!(Instant::now() >= due, "not yet");
        Ok(())
    })
}

/// A steady stream; every message is acknowledged in the end.
fn steady(scene: &Scene, stop: &AtomicBool) -> anyhow::Result<u64> {
    let mut config = scene.cluster.plain_config();
    config.set("linger.ms", "5").set("enable.idempotence", "true");
    let producer = Sends::from_config(&config)?;
    let (begun, mut number) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::SeqCst) {
        let due = begun + PACE * u32::try_from(number)?;
        eventually(PATIENCE, "room in the queue", || {
            ensure!(Instant::now() >= due, "not yet");
            let (key, value) = (number.to_be_bytes(), format!("message {number}"));
            let record = BaseRecord::to(&scene.topic).key(&key[..]).payload(&value).timestamp(SystemClock.now_ms());
            producer.send(record).map_err(|(e, _)| anyhow::anyhow!(e))
        })?;
        number += 1;
    }
    producer.flush(PATIENCE).context("flush")?;
    Ok(number)
}

/// Transactions that ended as they should.
#[derive(Debug, Default)]
struct Transactions {
    committed: u64,
    aborted: u64,
}

/// Aborts every other transaction. One whose end is not known (a coordinator was killed) is nobody's business: the recount
/// knows.
fn half_aborted(scene: &Scene, stop: &AtomicBool) -> anyhow::Result<Transactions> {
    let mut config = scene.cluster.plain_config();
    config.set("transactional.id", &scene.topic).set("transaction.timeout.ms", "10000");
    let mut done = Transactions::default();
    while !stop.load(Ordering::SeqCst) {
        let producer = Sends::from_config(&config)?;
        // A coordinator that is gone: another try, by another producer.
        if producer.init_transactions(WAIT).is_err() {
            continue;
        }
        while !stop.load(Ordering::SeqCst) {
            let commit = done.committed <= done.aborted;
            if transaction(scene, &producer, commit).is_err() {
                break;
            }
            *(if commit { &mut done.committed } else { &mut done.aborted }) += 1;
            wait_until(Instant::now() + BETWEEN_TRANSACTIONS)?;
        }
    }
    Ok(done)
}

fn transaction(scene: &Scene, producer: &Sends, commit: bool) -> anyhow::Result<()> {
    producer.begin_transaction()?;
    for n in 0..TOGETHER {
        let (key, value) = (n.to_be_bytes(), format!("transaction {commit} {n}"));
        let record = BaseRecord::to(&scene.topic).key(&key[..]).payload(&value).timestamp(SystemClock.now_ms());
        producer.send(record).map_err(|(e, _)| e)?;
    }
    producer.flush(WAIT)?;
    let ended = if commit { producer.commit_transaction(WAIT) } else { producer.abort_transaction(WAIT) };
    ended.context("the transaction's end")
}

/// What was done to brokers.
#[derive(Debug, Default)]
struct Done {
    restarts: u64,
    kills: u64,
}

/// Restarts each broker, kills one, and so on; the next only when all copies have caught up.
fn blow(cluster: &Cluster, topic: &str, size: &Size) -> anyhow::Result<Done> {
    let (begun, mut done) = (Instant::now(), Done::default());
    for turn in 0.. {
        if turn > BROKERS && begun.elapsed() >= size.at_least {
            break;
        }
        let broker = turn % BROKERS + 1;
        if turn % (BROKERS + 1) == BROKERS {
            cluster.kill_broker(broker)?;
            done.kills += 1;
        } else {
            cluster.stop_broker(broker)?;
            done.restarts += 1;
        }
        cluster.start_broker(broker)?;
        eventually(PATIENCE, "all copies have caught up", || {
            let in_sync = cluster.in_sync(topic)?;
            ensure!(in_sync.iter().all(|copies| *copies == BROKERS), "{in_sync:?}");
            Ok(())
        })?;
    }
    Ok(done)
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster, size: &Size) -> anyhow::Result<()> {
    // A third of the partitions is read from leaders, the others from copies that go and come back.
    let rack = format!("client_rack = {:?}\n", rack(BROKERS));
    let scene = Setup::on(cluster).tap(&rack).scene("rolling", PARTITIONS)?;
    let taps: Vec<Program> = (0..TAPS).map(|_| scene.tap()).collect::<Result<_, _>>()?;
    let (stop, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    let (done, sent, transactions) = std::thread::scope(|scope| {
        let steady = scope.spawn(|| steady(&scene, &stop));
        let half = scope.spawn(|| half_aborted(&scene, &stop));
        let done = eventually(PATIENCE, "the taps count", || {
            counted.store(scene.counts()?.values().sum(), Ordering::SeqCst);
            ensure!(counted.load(Ordering::SeqCst) > 1_000, "{counted:?}");
            Ok(())
        })
        .and_then(|()| blow(cluster, &scene.topic, size));
        stop.store(true, Ordering::SeqCst);
        let panicked = || anyhow::anyhow!("a producer panicked");
        let steady = steady.join().map_err(|_| panicked())??;
        anyhow::Ok((done?, steady, half.join().map_err(|_| panicked())??))
    })?;
    let truth = recount::committed(cluster, &scene.topic)?;
    let messages: u64 = truth.values().sum();
    ensure!(messages >= sent + transactions.committed * TOGETHER, "{messages} of {sent} and {transactions:?}");
    scene.counted(messages)?;
    let stored = scene.counts()?;
    let difference: u64 = truth.iter().map(|(w, n)| n.abs_diff(stored.get(w).copied().unwrap_or(0))).sum();
    ensure!(stored == truth, "the store says {stored:?}, the topic holds {truth:?}");
    // The control: offsets count what was aborted, and the markers.
    let offsets: i64 = cluster.offsets(&scene.topic)?.iter().map(|(from, to)| to - from).sum();
    let wrong = u64::try_from(offsets)? - messages;
    ensure!(wrong >= transactions.aborted * TOGETHER, "offsets give {wrong} more: the run showed nothing");
    println!("{messages} messages in {} windows, by offsets {wrong} more; {done:?}, {transactions:?}", truth.len());
    for mut tap in taps {
        let status = tap.process.terminate(WAIT)?;
        ensure!(status.success(), "{status}: {}", tap.output());
    }
    figures::record(size.section, "restarts", done.restarts)?;
    figures::record(size.section, "leader_kills", done.kills)?;
    figures::record(size.section, "aborted", transactions.aborted)?;
    figures::record(size.section, "offsets_difference", wrong)?;
    figures::record(size.section, "difference", difference)
}
