//! Batches that rot on a broker's disk: what cannot be read is *uncertain* with its offsets, what lies before and behind it
//! counts, and the tap goes on; also where the rot has taken the message that a claim recognises its log by.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::tapped::{Scene, Setup, Upstream};
use chaperone_tests::{Cluster, figures};

const WAIT: Duration = Duration::from_secs(30);
/// Of a batch's header: offset, length, epoch, magic, CRC, attributes, delta, times, producer, sequence, count.
const HEADER: u64 = 61;
/// Of each batch that is sent.
const TOGETHER: u64 = 20;

/// A batch on disk.
#[derive(Clone, Copy, Debug)]
struct Batch {
    at: u64,
    first: i64,
    last: i64,
}

/// The only segment of the topic's only partition.
fn segment(scene: &Scene) -> anyhow::Result<(usize, PathBuf)> {
    let leader = *scene.cluster.leaders(&scene.topic)?.first().context("no partition")?;
    Ok((leader, scene.cluster.log_dir(leader, &scene.topic, 0)?.join("00000000000000000000.log")))
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

/// Stops the broker, flips a bit in the record data of the batch that holds `offset`, and starts it again.
fn rot(scene: &Scene, offset: i64) -> anyhow::Result<Batch> {
    let (leader, file) = segment(scene)?;
    scene.cluster.stop_broker(leader)?;
    let file = File::options().read(true).write(true).open(&file).with_context(|| format!("{}", file.display()))?;
    let batch = batches(&file)?.into_iter().find(|b| b.first <= offset && offset <= b.last).context("no such batch")?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, batch.at + HEADER + 3)?;
    byte[0] ^= 1;
    file.write_all_at(&byte, batch.at + HEADER + 3)?;
    scene.cluster.start_broker(leader)?;
    Ok(batch)
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let setup = Setup::on(cluster).replication(1).topic(&[("min.insync.replicas", "1")]);
    let scene = setup.scene("corrupt", 1)?;
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

    let batch = rot(&scene, 100 + i64::try_from(TOGETHER)? + 5)?;
    let lost = u64::try_from(batch.last + 1 - batch.first)?;
    let mut tap = scene.tap()?;
    scene.counted(upstream.sent() - lost)?;
    let range = format!("offsets {} to {} cannot be read", batch.first, batch.last + 1);
    tap.line("it says which offsets", WAIT, |line| line.contains(&range))?;
    only_uncertain(&scene, rotten, &[before, behind])?;

    // The last message that was counted is how the next claim recognises the log.
    tap.process.terminate(WAIT)?;
    let counted = upstream.sent();
    upstream.send_in_next_window(TOGETHER)?;
    rot(&scene, i64::try_from(counted)? - 1)?;
    let mut tap = scene.tap()?;
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
