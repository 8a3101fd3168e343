//! `chaperone store rebuild` on a history with takeovers, a zombie and reports that were said twice: the new store is the old one, and
//! the collector goes on from it. Nothing is counted twice, nothing is left out.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_tests::{api, figures, paths, programs, recount};
use rustix::process::Signal;
use serde_json::Value;

use chaperone_tests::tapped::{STAGE, Scene, Upstream};

const WAIT: Duration = Duration::from_secs(60);
const PARTITIONS: usize = 6;
/// Messages in each of the windows.
const MESSAGES: u64 = 300;
/// How the new store is put in place, as documented.
const SWAP: &str =
    "mv chaperone.sqlite old.sqlite; rm -f chaperone.sqlite-wal chaperone.sqlite-shm; mv new.sqlite chaperone.sqlite";

/// Runs it to a file; exit code and what it says.
fn rebuild(scene: &Scene, to: &Path) -> anyhow::Result<(Option<i32>, Value, String)> {
    let to = to.to_string_lossy();
    let mut program = scene.verb(&["store", "rebuild", "--json", "--to", &to])?;
    let status = program.process.wait(WAIT)?;
    let output = program.whole_output()?;
    let line = output.lines().find(|line| line.starts_with("{\"actions\"")).unwrap_or("null");
    Ok((status.code(), serde_json::from_str(line)?, output))
}

/// One tap counts, is frozen and taken over, wakes up; the other is killed, and taken over too.
fn lived(scene: &Scene) -> anyhow::Result<u64> {
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(scene, &recorder)?;
    let mut first = scene.tap()?;
    upstream.send_in_next_window(MESSAGES)?;
    scene.counted(upstream.sent())?;
    let mut second = scene.tap()?;
    first.process.signal(Signal::STOP)?;
    upstream.send_in_next_window(MESSAGES)?;
    scene.counted(upstream.sent())?;
    first.process.signal(Signal::CONT)?;
    upstream.send_in_next_window(MESSAGES)?;
    scene.counted(upstream.sent())?;
    second.process.kill()?;
    upstream.send_in_next_window(MESSAGES)?;
    scene.counted(upstream.sent())?;
    recorder.close(WAIT);
    // Without a tap no window would settle any more.
    scene.verdicts()?;
    first.process.terminate(WAIT)?;
    recount::say_again(scene.cluster, &scene.audit)?;
    api::has_read(&scene.data_dir(), &scene.audit, &scene.cluster.offsets(&scene.audit)?)?;
    Ok(upstream.sent())
}

#[test]
fn a_store_made_anew_equals_the_old_one_and_goes_on_from_there() -> anyhow::Result<()> {
    let mut scene = Scene::new("rebuild", PARTITIONS, &[])?;
    let sent = lived(&scene)?;
    let before = scene.verdicts()?;
    ensure!(before.iter().all(|w| w.verdict == "ok"), "{before:?}");
    scene.run.process.terminate(WAIT)?;
    let naive = recount::without_epochs(scene.cluster, &scene.audit)?;
    ensure!(naive > sent, "nothing was said twice: the run shows nothing");

    let data = scene.data_dir();
    let began = Instant::now();
    let (code, said, output) = rebuild(&scene, &data.join("new.sqlite"))?;
    let took = began.elapsed();
    ensure!(said.is_object(), "{code:?}: {output}");
    let compared = &said["compared"];
    let count = |what: &str, name: &str| compared[what][name].as_u64().context("a number");
    let mut difference = 0;
    for what in ["totals", "verdicts"] {
        for name in ["differ", "only_old", "only_new"] {
            difference += count(what, name)?;
        }
        ensure!(count(what, "equal")? >= 4, "{said}");
    }
    ensure!(code == Some(0) && difference == 0 && said["whole_since_ms"].is_null(), "{code:?}: {output}");

    // A second time it does not touch what it made; and no group was made.
    let (code, _, output) = rebuild(&scene, &data.join("new.sqlite"))?;
    ensure!(code == Some(73) && output.contains("is there already"), "{code:?}: {output}");

    // The control: a store that says something else.
    scene.tamper(
        "UPDATE stage_window SET bytes = bytes + 1 WHERE stage = (SELECT id FROM name WHERE text = 'kafka:main')",
    )?;
    let (code, said, _) = rebuild(&scene, &data.join("control.sqlite"))?;
    ensure!(code == Some(1) && said["compared"]["totals"]["differ"].as_u64() >= Some(1), "{code:?}: {said}");

    let documented = std::fs::read_to_string(paths::root().join("docs/OPERATIONS.md"))?.contains(SWAP);
    ensure!(documented, "docs/OPERATIONS.md does not say: {SWAP}");
    ensure!(Command::new("sh").args(["-ec", SWAP]).current_dir(&data).status()?.success(), "{SWAP}");
    scene.run = scene.verb(&["run", "--no-taps"])?;
    scene.url = programs::listening(&mut scene.run)?;
    let mut tap = scene.tap()?;
    let recorder = scene.recorder_by("later", Vec::new())?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    upstream.send_in_next_window(MESSAGES)?;
    let messages = sent + upstream.sent();
    scene.counted(messages)?;
    let (truth, stored) = (recount::by_window(scene.cluster, &scene.topic, messages)?, scene.counts()?);
    ensure!(stored == truth, "the store says {stored:?}, the topic holds {truth:?}");
    recorder.close(WAIT);
    let after = scene.verdicts()?;
    ensure!(after.len() > before.len() && after.iter().all(|w| w.verdict == "ok"), "{after:?}");
    ensure!(api::unaudited(&data, &scene.topic, STAGE)?.is_empty(), "something was given up");
    tap.process.terminate(WAIT)?;
    println!("{messages} messages, {naive} by blind adding; made anew in {took:?}");
    figures::record("taps", "rebuild_difference", difference)?;
    figures::record("taps", "rebuild_blindly", naive - sent)
}
