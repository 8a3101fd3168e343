//! A tap with `client_rack` reads from the broker of its rack, and one without (the control) from the leaders: told by what
//! each broker gives to clients. Its counts are those of a recount, nothing is called missing meanwhile, and a copy that is
//! rotten where the leader's is not makes nothing uncertain.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::kafka::rack;
use chaperone_tests::programs::Program;
use chaperone_tests::tapped::{PATIENCE, Scene, Setup, Upstream};
use chaperone_tests::{Cluster, eventually, figures, recount};

use crate::PROXIES;
use crate::corrupt::{FIRST_SEGMENT, flip, holding};

const WAIT: Duration = Duration::from_secs(30);
const BROKERS: usize = 3;
/// Each broker leads one, and has copies of the others.
const PARTITIONS: i32 = 3;
/// The tap's broker.
const NEAR: usize = 2;
/// To each partition.
const MESSAGES: u64 = 200;
const BYTES: usize = 10_000;

/// What brokers have given to clients: that of the tap's rack, and the others.
fn given(cluster: &Cluster) -> anyhow::Result<(u64, u64)> {
    let others = (1..=BROKERS).filter(|broker| *broker != NEAR);
    Ok((cluster.given(NEAR)?, others.map(|broker| cluster.given(broker)).sum::<anyhow::Result<u64>>()?))
}

/// What a tap read.
struct Read<'a> {
    tap: Program,
    upstream: Upstream<'a>,
    /// Of the bytes of all messages, how much the broker of the rack and the others gave.
    near: f64,
    elsewhere: f64,
    /// Messages ever called missing.
    missing: u64,
}

/// Sends to each partition, and sees from whom the tap takes it.
fn read<'a>(scene: &'a Scene, mut upstream: Upstream<'a>) -> anyhow::Result<Read<'a>> {
    let tap = scene.tap()?;
    for partition in 0..PARTITIONS {
        upstream.send_large(partition, 1, 1)?;
    }
    // It knows now whom to ask.
    scene.counted(upstream.sent())?;
    let alone = PROXIES.lock().unwrap_or_else(PoisonError::into_inner);
    let before = given(scene.cluster)?;
    let mut missing = 0;
    for partition in 0..PARTITIONS {
        upstream.send_large(partition, MESSAGES, BYTES)?;
        missing = scene.windows()?.iter().map(|w| w.missing_min).sum::<u64>().max(missing);
    }
    eventually(PATIENCE, "all is counted", || {
        missing = scene.windows()?.iter().map(|w| w.missing_min).sum::<u64>().max(missing);
        let n: u64 = scene.counts()?.values().sum();
        ensure!(n == upstream.sent(), "{n} of {}", upstream.sent());
        Ok(())
    })?;
    let after = given(scene.cluster)?;
    drop(alone);
    let bytes = MESSAGES * u64::try_from(PARTITIONS)? * u64::try_from(BYTES)?;
    let share = |bytes_given: u64| f64::from(u32::try_from(bytes_given * 1_000 / bytes).unwrap_or(u32::MAX)) / 1_000.0;
    Ok(Read { tap, upstream, near: share(after.0 - before.0), elsewhere: share(after.1 - before.1), missing })
}

/// Messages come while no tap runs, and the copy in the rack of one of their batches rots: the leader's is counted.
fn rot_a_copy(scene: &Scene, Read { tap, upstream, .. }: &mut Read<'_>) -> anyhow::Result<()> {
    tap.process.terminate(WAIT)?;
    let leaders = scene.cluster.leaders(&scene.topic)?;
    let copied = leaders.iter().position(|leader| *leader != NEAR).context("one that is led elsewhere")?;
    let partition = i32::try_from(copied)?;
    upstream.send_large(partition, 10, BYTES)?;
    let (_, end) = *scene.cluster.offsets(&scene.topic)?.get(copied).context("its end")?;
    let segment = scene.cluster.log_dir(NEAR, &scene.topic, partition)?.join(FIRST_SEGMENT);
    let rotten = flip(&segment, holding(&[end - 1]))?;
    ensure!(rotten.len() == 1, "{rotten:?}");
    *tap = scene.tap()?;
    tap.line("it says that copies are not believed", PATIENCE, |line| line.contains("lack what their leaders have"))?;
    scene.counted(upstream.sent())?;
    ensure!(scene.unaudited()?.is_empty(), "{:?}", scene.unaudited()?);
    Ok(())
}

/// By how much the counts differ from the topic's; all windows are proven.
fn difference(scene: &Scene, tap: &mut Program) -> anyhow::Result<u64> {
    for w in scene.verdicts()? {
        ensure!(w.verdict == "ok", "{w:?}");
    }
    let status = tap.process.terminate(WAIT)?;
    ensure!(status.success(), "{status}: {}", tap.output());
    let (truth, stored) = (recount::committed(scene.cluster, &scene.topic)?, scene.counts()?);
    ensure!(stored == truth, "the store says {stored:?}, the topic holds {truth:?}");
    Ok(truth.iter().map(|(w, n)| n.abs_diff(stored.get(w).copied().unwrap_or(0))).sum())
}

/// The share of the partitions that brokers of other racks lead: another suite's restarts may have moved some.
fn led_elsewhere(scene: &Scene) -> anyhow::Result<f64> {
    let leaders = scene.cluster.leaders(&scene.topic)?;
    let elsewhere = leaders.iter().filter(|leader| **leader != NEAR).count();
    ensure!(elsewhere > 0 && !leaders.is_empty(), "the broker of the rack leads all: {leaders:?}");
    Ok(f64::from(u32::try_from(elsewhere)?) / f64::from(u32::try_from(leaders.len())?))
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let line = format!("client_rack = {:?}\n", rack(NEAR));
    let plain = Setup::on(cluster).tap_user("admin");
    let (near, control) = (plain.clone().tap(&line).scene("rack", 3)?, plain.scene("no-rack", 3)?);
    let (recorder, of_control) = (near.recorder()?, control.recorder()?);
    let mut by_rack = read(&near, Upstream::new(&near, &recorder)?)?;
    let mut by_leaders = read(&control, Upstream::new(&control, &of_control)?)?;
    // Of what is led elsewhere.
    by_leaders.elsewhere /= led_elsewhere(&control)?;
    rot_a_copy(&near, &mut by_rack)?;
    let difference = difference(&near, &mut by_rack.tap)? + difference(&control, &mut by_leaders.tap)?;
    recorder.close(WAIT);
    of_control.close(WAIT);
    let Read { near, elsewhere, missing, .. } = by_rack;
    println!(
        "of the bytes of all messages its rack gave {near}, others {elsewhere}; without a rack {}",
        by_leaders.elsewhere
    );
    ensure!(near >= 1.0, "the broker of the rack gave {near} of the messages");
    figures::record("brokers", "rack_elsewhere", elsewhere)?;
    figures::record("brokers", "rack_elsewhere_without", by_leaders.elsewhere)?;
    figures::record("brokers", "rack_missing", missing.max(by_leaders.missing))?;
    figures::record("brokers", "rack_difference", difference)
}
