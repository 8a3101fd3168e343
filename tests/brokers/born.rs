//! Partitions that are added under load, while taps run and while none does: their messages count from the first one on,
//! although taps begin at the end.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::tapped::{PATIENCE, Scene, Setup, Upstream};
use chaperone_tests::{Cluster, eventually, figures};

const WAIT: Duration = Duration::from_secs(30);

/// Sends until each partition has messages; returns what was ever called missing meanwhile.
fn send_to_all(scene: &Scene, upstream: &mut Upstream<'_>) -> anyhow::Result<u64> {
    let mut missing = 0;
    eventually(PATIENCE, "messages in every partition", || {
        upstream.send(20)?;
        missing = scene.windows()?.iter().map(|w| w.missing_min).sum::<u64>().max(missing);
        let offsets = scene.cluster.offsets(&scene.topic)?;
        ensure!(offsets.iter().all(|(_, end)| *end > 0), "{offsets:?}");
        Ok(())
    })?;
    Ok(missing)
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let scene = Setup::on(cluster).start("end").scene("born", 2)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    tap.line("both partitions are claimed", PATIENCE, |line| line.contains("claimed") && line.contains("partition=1"))?;
    let mut missing = send_to_all(&scene, &mut upstream)?;
    cluster.add_partitions(&scene.topic, 4)?;
    missing = missing.max(send_to_all(&scene, &mut upstream)?);
    scene.counted(upstream.sent())?;
    // Nobody looks while two more come into being and get messages.
    tap.process.terminate(WAIT)?;
    cluster.add_partitions(&scene.topic, 6)?;
    missing = missing.max(send_to_all(&scene, &mut upstream)?);
    let mut tap = scene.tap()?;
    scene.counted(upstream.sent())?;
    let rows = scene.verdicts()?;
    for w in &rows {
        // The window in which taps began is not audited as a whole; all that came is counted all the same.
        ensure!(w.verdict == "ok", "{w:?}");
    }
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    println!("{} messages, {} windows ok", upstream.sent(), rows.len());
    figures::record("brokers", "born_missing", missing)
}
