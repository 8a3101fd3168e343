//! Batches that rot on a broker's disk: what cannot be read is *uncertain* with its offsets, what lies before and behind it
//! counts, and the tap goes on; also where the rot has taken the message that a claim recognises its log by.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::tapped::{Scene, Setup, Upstream};
use chaperone_tests::{Cluster, Spec, figures};

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

/// The only segment of the topic's only partition.
fn segment(scene: &Scene) -> anyhow::Result<(usize, PathBuf)> {
    let leader = *scene.cluster.leaders(&scene.topic)?.first().context("no partition")?;
    Ok((leader, scene.cluster.log_dir(leader, &scene.topic, 0)?.join(FIRST_SEGMENT)))
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
    let (leader, file) = segment(scene)?;
    scene.cluster.stop_broker(leader)?;
    let rotten = flip(&file, offsets)?;
    scene.cluster.start_broker(leader)?;
    Ok(rotten)
}

/// Flips a bit in the record data of each batch of a segment that holds one of `offsets`.
pub(crate) fn flip(segment: &Path, offsets: &[i64]) -> anyhow::Result<Vec<Batch>> {
    let file =
        File::options().read(true).write(true).open(segment).with_context(|| format!("{}", segment.display()))?;
    let all = batches(&file)?;
    let holding = |offset: &i64| all.iter().copied().find(|b| b.first <= *offset && *offset <= b.last);
    let rotten: Vec<Batch> = offsets.iter().filter_map(holding).collect();
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
    let scene = Setup::on(cluster).scene("corrupt", 1)?;
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
    scene.counted(upstream.sent() - lost)?;
    only_uncertain(&scene, rotten, &[before, behind])?;
    recorder.close(WAIT);
    let status = tap.process.terminate(WAIT)?;
    ensure!(status.success(), "{status}: {}", tap.output());
    figures::record("brokers", "unreadable", lost)?;
    figures::record("brokers", "unreadable_missing", scene.windows()?.iter().map(|w| w.missing_min).sum::<u64>())
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
