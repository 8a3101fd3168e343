//! The real `MirrorMaker` 2 between two real clusters, with its default renaming: what it has copied is `ok`, what it has
//! not copied yet is late and never missing, what it can never copy is missing to the letter, and messages with a wild
//! clock change nothing. Beside it a control: counting alone would have cried loss. `chaperone watch` compares the two as
//! well, and proposes the rename by itself.

mod mirror;
mod scene;
mod traffic;
mod truth;
mod watching;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::api::Window;
use chaperone_tests::{eventually, figures};

use mirror::Mirror;
use scene::{STAGES, Scene};
use traffic::{PARTITIONS, Traffic, WIDTH_MS, window_of};
use truth::Truth;
use watching::Watching;

/// Clean windows that must be seen before anything happens, and late ones before `MirrorMaker` may go on.
const WINDOWS: usize = 2;
/// Some windows and the reports on them, on a busy machine.
const DEADLINE: Duration = Duration::from_mins(3);
/// How much of what was produced after `MirrorMaker`'s death retention eats, ms.
const EATEN_MS: i64 = 12_000;

#[test]
fn what_mirrormaker_will_still_copy_is_late_and_what_it_never_can_is_missing() -> anyhow::Result<()> {
    let scene = Scene::start()?;
    let mut mirror = Mirror::new(scene.bed, &scene.topic, scene.dir.path())?;
    mirror.start()?;
    mirror.until("MirrorMaker makes the copy's topic", || scene.bed.agg.offsets(&scene.copy))?;
    let mut traffic = Traffic::new(&scene.bed.regional, &scene.topic)?;
    // (d) The first message of every partition has a wild clock: were it believed, all that follows would have passed.
    let ahead_ms = traffic.ahead()?;
    mirror.until("the copies of the wild clock's messages are counted", || scene.is_marked())?;
    traffic.start();
    let watching = Watching::start(&scene)?;

    let clean = clean(&scene, &mut mirror, ahead_ms)?;
    println!("clean: {} windows are ok", clean.len());
    watching.end()?;
    let late = frozen(&scene, &mirror, ahead_ms)?;
    let control = counting_alone(&scene, &late)?;
    let (late_windows, frontier_ms) = (late.len(), scene.frontier_ms()?);
    println!("frozen: {late_windows} windows are late; counting alone says that {control} messages are missing");
    ensure!(scene.counts(STAGES[1])?.contains_key(&ahead_ms), "the wild clock's messages were not copied");
    let passed = late.keys().filter(|window_ms| frontier_ms >= **window_ms + WIDTH_MS).count();
    ensure!(passed == 0, "the frontier {frontier_ms} passed {passed} windows that nobody copied");

    mirror.thaw()?;
    mirror.until("what was late is ok", || {
        let now = scene.windows()?;
        let not: Vec<_> = late.keys().filter_map(|w| now.get(w)).filter(|w| w.verdict != "ok").collect();
        ensure!(not.is_empty(), "{not:#?}");
        Ok(())
    })?;
    let cuts = eaten(&scene, &mut mirror, &traffic, ahead_ms)?;
    let produced = traffic.stop()?;
    let said = mirror.until("every window has its verdict", || finished(&scene, ahead_ms))?;
    mirror.until("MirrorMaker's own topics", || scene.bookkeeping_is_there())?;

    let truth = Truth::of(produced, &traffic::recount(&scene.bed.agg, &scene.copy)?);
    truth.check_eaten(&cuts)?;
    truth.check_counts(&scene.counts(STAGES[0])?, &scene.counts(STAGES[1])?)?;
    ensure!(scene.topics()? == [scene.topic.clone()].into(), "something else was counted: {:?}", scene.topics()?);
    scene.is_ready()?;
    let account = truth.compare(&said, &scene.ever_missing()?, ahead_ms);
    let amended = scene.were_late()?;
    ensure!(late.keys().all(|window_ms| amended.contains(window_ms)), "{amended:?} were late, and {:?}", late.keys());

    figures::record("mm2", "late_windows", late_windows)?;
    figures::record("mm2", "control_missing", control)?;
    figures::record("mm2", "false_missing", account.false_missing)?;
    figures::record("mm2", "eaten", truth.missing())?;
    figures::record("mm2", "eaten_missing", account.missing)?;
    figures::record("mm2", "eaten_difference", account.difference)?;
    figures::record("mm2", "wrong_verdicts", account.wrong)?;
    ensure!(control > 0, "the control found nothing: nothing was late");
    Ok(())
}

/// Verdicts that are judged, without the window of the wild clock.
fn judged(scene: &Scene, ahead_ms: i64) -> anyhow::Result<BTreeMap<i64, Window>> {
    let mut windows = scene.windows()?;
    windows.retain(|window_ms, row| *window_ms != ahead_ms && !row.is_pending());
    Ok(windows)
}

/// (a) While it runs, every settled window is ok.
fn clean(scene: &Scene, mirror: &mut Mirror, ahead_ms: i64) -> anyhow::Result<BTreeMap<i64, Window>> {
    mirror.until("clean windows", || {
        let windows = judged(scene, ahead_ms)?;
        ensure!(windows.len() >= WINDOWS && windows.values().all(|w| w.verdict == "ok"), "{windows:#?}");
        Ok(windows)
    })
}

/// (b) Frozen: windows that began after it are late, and nothing is missing anywhere.
fn frozen(scene: &Scene, mirror: &Mirror, ahead_ms: i64) -> anyhow::Result<BTreeMap<i64, Window>> {
    mirror.freeze()?;
    let from_ms = window_of(SystemClock.now_ms()) + WIDTH_MS;
    eventually(DEADLINE, "windows of a frozen MirrorMaker", || {
        let windows = judged(scene, ahead_ms)?;
        let late: BTreeMap<_, _> = windows.into_iter().filter(|(window_ms, _)| *window_ms >= from_ms).collect();
        ensure!(late.len() >= WINDOWS, "{} windows", late.len());
        Ok(late)
    })
    .and_then(|late| {
        ensure!(late.values().all(|w| w.is_late() && w.missing_min == 0 && w.delayed > 0), "{late:#?}");
        Ok(late)
    })
}

/// The control: what comparing the two stages' totals says is missing in these windows.
fn counting_alone(scene: &Scene, late: &BTreeMap<i64, Window>) -> anyhow::Result<u64> {
    let (up, down) = (scene.counts(STAGES[0])?, scene.counts(STAGES[1])?);
    let of = |counts: &BTreeMap<i64, u64>, window_ms: &i64| counts.get(window_ms).copied().unwrap_or(0);
    Ok(late.keys().map(|window_ms| of(&up, window_ms).saturating_sub(of(&down, window_ms))).sum())
}

/// (c) Killed, and before it comes back the source deletes more than it had copied, of each partition another share.
/// Returns what each partition begins with after that, once the windows of what is gone have their verdicts.
fn eaten(scene: &Scene, mirror: &mut Mirror, traffic: &Traffic, ahead_ms: i64) -> anyhow::Result<Vec<i64>> {
    mirror.kill()?;
    let killed_ms = SystemClock.now_ms();
    let mut cuts = Vec::new();
    for partition in 0..PARTITIONS {
        let cut = traffic.offset_at(partition, killed_ms + EATEN_MS + i64::from(partition) * 1_500)?;
        scene.bed.regional.delete_records(&scene.topic, partition, cut)?;
        cuts.push(cut);
    }
    let until_ms = SystemClock.now_ms();
    mirror.start()?;
    mirror.until("verdicts on what retention has eaten", || {
        let windows = scene.windows()?;
        let eaten: Vec<&Window> =
            windows.values().filter(|w| (window_of(killed_ms)..until_ms).contains(&w.window_ms)).collect();
        let open = eaten.iter().filter(|w| w.window_ms != ahead_ms && (w.is_pending() || w.is_late())).count();
        ensure!(open == 0 && eaten.iter().any(|w| w.verdict == "missing"), "{eaten:#?}");
        Ok(())
    })?;
    Ok(cuts)
}

/// All verdicts, once none of them is waiting for anything but the window of the wild clock, which is still open.
fn finished(scene: &Scene, ahead_ms: i64) -> anyhow::Result<BTreeMap<i64, Window>> {
    let windows = scene.windows()?;
    let ahead = windows.get(&ahead_ms).context("the window of the wild clock is not there")?;
    ensure!(ahead.verdict == "open", "{ahead:#?}");
    let others = windows.values().filter(|w| w.window_ms != ahead_ms);
    let open: Vec<_> = others.filter(|w| w.is_pending() || w.is_late()).collect();
    ensure!(open.is_empty(), "{open:#?}");
    Ok(windows)
}
