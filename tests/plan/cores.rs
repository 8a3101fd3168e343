//! What a tap really costs: processor time of `chaperone tap` for a million messages, all of it, librdkafka included.
//!
//! Two sizes give the two constants of `chaperone plan`: small messages cost by their number, large ones by their bytes.

use anyhow::Context;
use chaperone_tests::tapped::count_once;
use chaperone_tests::{Bed, Cluster, figures};

use crate::scene::{flush, producer, send};

const SMALL: (u64, usize) = (1_000_000, 100);
const LARGE: (u64, usize) = (40_000, 10_000);
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
    let seconds = count_once(cluster, &topic, (messages, 0), processor_seconds)?;
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
