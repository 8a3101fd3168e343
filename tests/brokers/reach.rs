//! A broker that taps cannot reach while everybody else can: what it leads is waited for and said, what the others lead is
//! judged as ever, and when it is back everything is *ok*.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::api::{self, Window};
use chaperone_tests::tapped::{PATIENCE, Scene, Setup, Upstream, group};
use chaperone_tests::{Cluster, eventually, figures};

use crate::PROXIES;

const WAIT: Duration = Duration::from_secs(30);
const BROKERS: usize = 3;
const PARTITIONS: usize = BROKERS;
/// Scenes that are made until there is a broker to cut off.
const SCENES: usize = 5;
/// Windows beside it that must be proven meanwhile.
const JUDGED_BESIDE: usize = 1;

/// A broker that leads part of the topic, and neither what lies beside it nor the group.
fn victim(scene: &Scene) -> anyhow::Result<usize> {
    let mut needed = scene.cluster.leaders(&scene.beside)?;
    needed.push(scene.cluster.coordinator(&group(&scene.topic))?);
    let leaders = scene.cluster.leaders(&scene.topic)?;
    leaders.iter().copied().find(|broker| !needed.contains(broker)).with_context(|| format!("{leaders:?}, {needed:?}"))
}

/// A scene with such a broker. One that was too busy to say that it lives leads nothing of a topic for minutes, but may of
/// the next one.
fn placed(cluster: &'static Cluster) -> anyhow::Result<(Scene, usize)> {
    let mut left = SCENES;
    loop {
        let setup = Setup::on(cluster).tap_user("admin").beside().within();
        let mut scene = setup.scene("reach", PARTITIONS)?;
        let claimed = |line: &str| line.contains("claimed") && line.contains("reach-beside");
        scene.run.line("what lies beside it is claimed", PATIENCE, claimed)?;
        left -= 1;
        match victim(&scene) {
            Ok(victim) => return Ok((scene, victim)),
            Err(why) if left == 0 => return Err(why),
            Err(why) => println!("nobody can be cut off: {why:#}"),
        }
    }
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let (scene, victim) = placed(cluster)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut beside = Upstream::to(&scene, &recorder, &scene.beside)?;
    upstream.send(100)?;
    scene.counted(100)?;

    let proxies = PROXIES.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.sever(victim)?;
    let problem = format!("kafka.main: broker {victim} at ");
    let (mut missing, mut waiting) = (0, 0);
    let severed_ms = beside.send_in_next_window(10)?;
    eventually(PATIENCE, "it is said, and the others' windows are judged", || {
        upstream.send(20)?;
        beside.send(5)?;
        let (rows, others) = (scene.windows()?, scene.windows_of(&scene.beside)?);
        missing = rows.iter().chain(&others).map(|w| w.missing_min).sum::<u64>().max(missing);
        let (_, ready) = api::get(&format!("{}/readyz", scene.url))?;
        ensure!(ready.contains(&problem) && ready.contains("does not answer"), "{ready}");
        let proven = |w: &&Window| w.window_ms >= severed_ms && w.verdict == "ok";
        ensure!(others.iter().filter(proven).count() >= JUDGED_BESIDE, "{others:#?}");
        waiting = rows.iter().filter(|w| w.window_ms >= severed_ms && w.verdict == "settling").count();
        ensure!(waiting > 0 && !rows.iter().any(|w| proven(&w)), "{rows:#?}");
        Ok(())
    })?;
    cluster.mend(victim)?;
    drop(proxies);
    scene.counted(upstream.sent())?;
    let rows = scene.verdicts()?;
    for w in &rows {
        ensure!(w.verdict == "ok", "{w:?}");
    }
    eventually(WAIT, "the problem is over", || {
        let (status, ready) = api::get(&format!("{}/readyz", scene.url))?;
        ensure!(status == 200 && !ready.contains(&problem), "{ready}");
        Ok(())
    })?;
    recorder.close(WAIT);
    println!("{} messages, {waiting} windows waited, {} are ok", upstream.sent(), rows.len());
    figures::record("brokers", "unreached_missing", missing)?;
    figures::record("brokers", "unreached_waited", waiting)
}
