//! Offsets that a tap could not read, and logs that are not the ones they were: *uncertain* in the right windows, never
//! *missing*, and everything else stays proven.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::api::Window;
use chaperone_tests::{clients, eventually};

use crate::scene::{PATIENCE, Scene, Upstream};

const WAIT: Duration = Duration::from_secs(30);

/// Exactly these windows are uncertain, and say why; all others are proven.
fn only_uncertain(rows: &[Window], uncertain: &[i64]) -> anyhow::Result<()> {
    for w in rows {
        let expected = if uncertain.contains(&w.window_ms) { "uncertain" } else { "ok" };
        ensure!(w.verdict == expected, "{uncertain:?}: {w:?}");
        // Its neighbours may say so too: what was lost may have been stamped then. Their ids prove them all the same.
        let said = w.caveats.iter().any(|caveat| caveat.contains("unaudited"));
        ensure!(said || expected == "ok", "{w:?}");
    }
    ensure!(rows.len() > uncertain.len(), "nothing was proven: {rows:?}");
    Ok(())
}

#[test]
fn what_retention_ate_before_it_was_read_is_uncertain() -> anyhow::Result<()> {
    let scene = Scene::new("gap", 1, &[])?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    tap.process.terminate(WAIT)?;
    let eaten = upstream.send_in_next_window(100)?;
    scene.cluster.delete_records(&scene.topic, 0, 150)?;
    let mut tap = scene.tap()?;
    scene.counted(150)?;
    upstream.send_in_next_window(100)?;
    scene.counted(250)?;
    only_uncertain(&scene.verdicts()?, &[eaten])?;
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

#[test]
fn a_topic_made_anew_is_uncertain_where_its_messages_went_and_counted_from_its_beginning() -> anyhow::Result<()> {
    let scene = Scene::new("anew", 1, &[])?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    tap.process.terminate(WAIT)?;
    // Nobody counts these at the broker, and nobody ever will.
    let gone = upstream.send_in_next_window(50)?;
    scene.cluster.delete_topic(&scene.topic)?;
    eventually(PATIENCE, "the topic's name is free again", || scene.cluster.create_topic(&scene.topic, 1, &[]))?;
    let mut tap = scene.tap()?;
    tap.line("the new log is noticed", PATIENCE, |line| line.contains("log=1"))?;
    upstream.send_in_next_window(30)?;
    scene.counted(130)?;
    only_uncertain(&scene.verdicts()?, &[gone])?;
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

/// Compaction removes what was counted: counts stay, and a tap that starts again is not misled.
#[test]
fn compaction_after_counting_changes_nothing() -> anyhow::Result<()> {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1000"),
        ("delete.retention.ms", "0"),
    ];
    let scene = Scene::new("compact", 1, &configs)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    // The segment in use is never compacted: a message more begins the next one.
    upstream.send_in_next_window(1)?;
    scene.counted(101)?;
    tap.process.terminate(WAIT)?;
    let mut sent = 101;
    eventually(PATIENCE, "the log is compacted", || {
        let (_, end) = scene.cluster.offsets(&scene.topic)?[0];
        let config = scene.cluster.plain_config();
        // One of each key and what is still in use; a topic that is not compacted would have them all.
        let left =
            clients::consume(&config, &scene.topic, &format!("{}-left", scene.topic), 50, Duration::from_secs(3));
        if left.is_ok() {
            upstream.send_in_next_window(1)?;
            sent += 1;
            anyhow::bail!("more than 50 of {end} are left");
        }
        Ok(())
    })?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(20)?;
    sent += 20;
    scene.counted(sent)?;
    only_uncertain(&scene.verdicts()?, &[])?;
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}
