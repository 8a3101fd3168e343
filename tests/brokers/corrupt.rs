//! Batches that rot on a broker's disk: what cannot be read is *uncertain* with its offsets, what lies before and behind it
//! counts, and the tap goes on; also where the rot has taken the message that a claim recognises its log by. The same of the
//! audit topic: the collector says what it cannot read and goes on, and what was in it is told again or *uncertain*.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::tapped::{PATIENCE, Scene, Setup, Upstream};
use chaperone_tests::{Cluster, Spec, api, eventually, figures};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(30);
/// Of a batch's header: offset, length, epoch, magic, CRC, attributes, delta, times, producer, sequence, count.
const HEADER: u64 = 61;
/// Of a partition that has no other.
pub(crate) const FIRST_SEGMENT: &str = "00000000000000000000.log";
/// Of each batch that is sent.
const TOGETHER: u64 = 20;

/// A batch on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    at: u64,
    first: i64,
    last: i64,
}

/// The only segment of a partition, and its leader.
fn segment(scene: &Scene, topic: &str, partition: i32) -> anyhow::Result<(usize, PathBuf)> {
    let leader = *scene.cluster.leaders(topic)?.get(usize::try_from(partition)?).context("no partition")?;
    Ok((leader, scene.cluster.log_dir(leader, topic, partition)?.join(FIRST_SEGMENT)))
}

fn batches(file: &File) -> anyhow::Result<Vec<Batch>> {
    let (length, mut at, mut all) = (file.metadata()?.len(), 0, Vec::new());
    while at + HEADER <= length {
        let mut head = [0; 27];
        file.read_exact_at(&mut head, at)?;
        let first = i64::from_be_bytes(head[..8].try_into()?);
        let size = u32::from_be_bytes(head[8..12].try_into()?);
        if size == 0 {
            break;
        }
        let delta = i32::from_be_bytes(head[23..27].try_into()?);
        all.push(Batch { at, first, last: first + i64::from(delta) });
        at += 12 + u64::from(size);
    }
    Ok(all)
}

/// Stops the broker, flips a bit in the record data of each batch that holds one of `offsets`, and starts it again.
fn rot(scene: &Scene, offsets: &[i64]) -> anyhow::Result<Vec<Batch>> {
    let (leader, file) = segment(scene, &scene.topic, 0)?;
    scene.cluster.stop_broker(leader)?;
    let rotten = flip(&file, holding(offsets))?;
    scene.cluster.start_broker(leader)?;
    Ok(rotten)
}

/// Which batches hold one of these offsets.
pub(crate) fn holding(offsets: &[i64]) -> impl Fn(&Batch) -> bool {
    move |b| offsets.iter().any(|offset| b.first <= *offset && *offset <= b.last)
}

/// Flips a bit in the record data of some batches of a segment; the broker that has it is stopped.
pub(crate) fn flip(segment: &Path, which: impl Fn(&Batch) -> bool) -> anyhow::Result<Vec<Batch>> {
    let file =
        File::options().read(true).write(true).open(segment).with_context(|| format!("{}", segment.display()))?;
    let rotten: Vec<Batch> = batches(&file)?.into_iter().filter(which).collect();
    for batch in &rotten {
        let (mut byte, at) = ([0], batch.at + HEADER + 3);
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1;
        file.write_all_at(&byte, at)?;
    }
    Ok(rotten)
}

/// See the module's head.
pub(crate) fn run(_: &'static Cluster) -> anyhow::Result<()> {
    // Others need the brokers that they have; it stops with this process.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Spec::new("rotten"))?));
    let lines = "complete = [\"producer\"]\nsilent_after = \"6s\"\n";
    let scene = Setup::on(cluster).pipeline(lines).scene("corrupt", 1)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    let before = upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    tap.process.terminate(WAIT)?;
    let rotten = upstream.send_in_next_window(TOGETHER)?;
    upstream.send(TOGETHER)?;
    upstream.send(TOGETHER)?;
    let behind = upstream.send_in_next_window(TOGETHER)?;

    // The last message that was counted, by which the next claim recognises the log, and one of the second sending.
    let flipped = rot(&scene, &[99, 100 + i64::try_from(TOGETHER)? + 5])?;
    let [anchor, batch] = flipped[..] else { anyhow::bail!("{flipped:?}") };
    ensure!(anchor.last < 100 && batch.first >= 100, "{flipped:?}");
    let lost = u64::try_from(batch.last + 1 - batch.first)?;
    let mut tap = scene.tap()?;
    scene.counted(upstream.sent() - lost).with_context(|| format!("the tap says:\n{}", tap.output()))?;
    let range = format!("offsets {} to {} cannot be read", batch.first, batch.last + 1);
    tap.line("it says which offsets", WAIT, |line| line.contains(&range))?;
    upstream.send(TOGETHER)?;
    scene.counted(upstream.sent() - lost).with_context(|| tap.output())?;
    only_uncertain(&scene, rotten, &[before, behind])?;
    let counted = upstream.sent() - lost;
    audit_rots(&scene, &mut upstream, counted)?;
    drop(upstream);
    recorder.close(WAIT);
    let status = tap.process.terminate(WAIT)?;
    ensure!(status.success(), "{status}: {}", tap.output());
    figures::record("brokers", "unreadable", lost)?;
    figures::record("brokers", "unreadable_missing", scene.windows()?.iter().map(|w| w.missing_min).sum::<u64>())
}

/// Nothing of what is reported while the collector stands still can be read but the last record of each partition.
fn audit_rots(scene: &Scene, upstream: &mut Upstream<'_>, counted: u64) -> anyhow::Result<()> {
    scene.run.process.signal(Signal::STOP)?;
    let stood = api::audit_next(&scene.data_dir(), &scene.audit)?;
    let told = upstream.send_in_next_window(TOGETHER)?;
    // The window's end, grace, and the reports of it.
    let later = upstream.send_in_next_window(TOGETHER)?;
    eventually(PATIENCE, "the last word about the window is on the audit topic", || {
        ensure!(SystemClock.now_ms() > later + 5_000, "not yet");
        Ok(())
    })?;
    let files = (0..3).map(|partition| segment(scene, &scene.audit, partition));
    let files: Vec<(usize, PathBuf)> = files.collect::<Result<_, _>>()?;
    scene.cluster.stop_broker(files[0].0)?;
    let mut rotten = 0;
    for (partition, (_, file)) in (0..).zip(&files) {
        let last = batches(&File::open(file)?)?.last().map_or(0, |b| b.last);
        let from = stood.get(&partition).copied().unwrap_or(0);
        rotten += flip(file, |b| b.first >= from && b.last < last)?.len();
    }
    ensure!(rotten > 0, "nothing was written while the collector stood still: {stood:?}");
    scene.cluster.start_broker(files[0].0)?;
    scene.run.process.signal(Signal::CONT)?;
    let sent = 2 * TOGETHER;
    scene.counted(counted + sent)?;
    let proven = eventually(PATIENCE, "a window of later is proven", || {
        upstream.send(1)?;
        let rows = scene.windows()?;
        let proven = rows.iter().find(|w| w.verdict == "ok" && w.window_ms > later).map(|w| w.window_ms);
        proven.with_context(|| format!("{rows:#?}\n{}", scene.run.output()))
    })?;
    let rows = scene.windows()?;
    let red = rows.iter().filter(|w| w.missing_min > 0 || w.surplus_min > 0 || w.verdict == "mixed").count();
    let doubted = |w: &&api::Window| w.caveats.iter().any(|c| c == "audit log lost upstream");
    let lost = rows.iter().filter(|w| w.window_ms >= told && w.window_ms < proven).filter(doubted).count();
    ensure!(lost > 0, "{rows:#?}");
    let said = api::audit_lost(&scene.data_dir(), &scene.audit)?;
    ensure!(!said.is_empty() && said.iter().all(|l| l.1 == 0 && l.3.contains("corrupt")), "{said:?}");
    println!("{rotten} rotten batches of the audit topic, {} ranges, {lost} windows in doubt", said.len());
    figures::record("brokers", "unreadable_reports", rotten)?;
    figures::record("brokers", "unreadable_reports_red", red)
}

/// That window is uncertain and says why; the others are proven.
fn only_uncertain(scene: &Scene, rotten: i64, others: &[i64]) -> anyhow::Result<()> {
    let rows = scene.verdicts()?;
    for w in &rows {
        let expected = if w.window_ms == rotten { "uncertain" } else { "ok" };
        ensure!(w.verdict == expected, "{rotten}: {w:?}");
        ensure!(expected == "ok" || w.caveats.iter().any(|c| c == "unaudited range downstream"), "{w:?}");
    }
    ensure!(others.iter().all(|other| rows.iter().any(|w| w.window_ms == *other)), "{rows:#?}");
    Ok(())
}
