//! What a tap really costs: processor time of `chaperone tap` for a million messages, all of it, librdkafka included.
//!
//! Two sizes give the two constants of `chaperone plan`: small messages cost by their number, large ones by their bytes.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, Cluster, api, eventually, figures, paths};
use tempfile::TempDir;

use crate::scene::{flush, producer, send};

const SMALL: (u64, usize) = (1_000_000, 100);
const LARGE: (u64, usize) = (40_000, 10_000);
/// For reading everything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// What Linux counts processor time in.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds that a process has used.
fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have spaces; what follows its bracket has not. User and system time are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(") ").context("a name")?;
    let ticks: u32 = rest.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// Processor seconds for one more message of this size, everything that a tap does included.
fn seconds_per_message(cluster: &Cluster, (messages, bytes): (u64, usize)) -> anyhow::Result<f64> {
    let topic = cluster.fresh_topic("plan-cores", 4, &[])?;
    let producer = producer(cluster)?;
    send(&producer, (&topic, 4), messages, bytes)?;
    flush(&producer)?;
    let dir = TempDir::with_prefix_in("plan-", paths::target())?;
    let data_dir = dir.path().join("chaperone");
    let config = dir.path().join("chaperone.toml");
    let text = format!(
        "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n\
         [kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\ngroup = {group:?}\n\
         [kafka.main.audit]\ntopic = {audit:?}\n",
        data = data_dir.to_string_lossy(),
        servers = cluster.bootstrap_plain(),
        group = format!("{topic}-tap"),
        audit = format!("{topic}-audit"),
    );
    std::fs::write(&config, text)?;
    // The store, intake and dashboard are another process: only the tap is measured.
    let mut run = programs::chaperone(&["run", "--no-taps"], &config)?;
    programs::listening(&mut run)?;
    let mut tap: Program = programs::chaperone(&["tap"], &config)?;
    eventually(PATIENCE, "everything is counted", || {
        let counted: u64 = api::stage_counts(&data_dir, &topic, "kafka:main")?.values().sum();
        ensure!(counted == messages, "{counted} of {messages}: {}", tap.output());
        Ok(())
    })?;
    let seconds = processor_seconds(tap.process.id())?;
    tap.process.terminate(Duration::from_secs(30))?;
    run.process.terminate(Duration::from_secs(30))?;
    cluster.delete_topic(&topic)?;
    println!("{messages} messages of {bytes} bytes: {seconds:.2} processor seconds");
    Ok(seconds / f64::from(u32::try_from(messages)?))
}

/// Solves seconds = messages / by number + bytes / by bytes, from the two sizes.
#[test]
fn a_core_counts_at_least_what_a_plan_says() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let (small, large) = (seconds_per_message(cluster, SMALL)?, seconds_per_message(cluster, LARGE)?);
    let sizes = (f64::from(u32::try_from(SMALL.1)?), f64::from(u32::try_from(LARGE.1)?));
    let per_byte = (large - small) / (sizes.1 - sizes.0);
    let per_message = small - per_byte * sizes.0;
    println!("{:.0} ns a message, {:.3} ns a byte", per_message * 1e9, per_byte * 1e9);
    figures::record("plan", "messages_per_core", (1.0 / per_message).round())?;
    figures::record("plan", "bytes_per_core", (1.0 / per_byte).round())
}
