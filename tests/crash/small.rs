//! A disk of a MiB that is full to the last page again and again, for a log and a recorder: a mount namespace with a tmpfs of
//! its own, which any user may have.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::witness::{in_memory, victim};
use chaperone_tests::{figures, programs, skip};

use super::life::text;

const DISK: &str = "1m";
const PATIENCE: Duration = Duration::from_secs(120);

/// So many stories from a seed on, each on a disk of its own.
pub(crate) fn full(section: &str, first: u64, stories: u64) -> anyhow::Result<()> {
    if let Err(why) = programs::may_have_small_disk() {
        return skip("a disk that is full", &format!("{why:#}"));
    }
    let (mut sum, mut wrong) = (BTreeMap::<String, u64>::new(), Vec::new());
    for seed in first..first + stories {
        let place = in_memory()?;
        let arguments = ["full", text(place.path())?, &seed.to_string()];
        let mut program = programs::on_small_disk(&victim(), &arguments, place.path(), DISK)?;
        let status = program.process.wait(PATIENCE)?;
        let output = program.whole_output()?;
        if !status.success() {
            wrong.push(format!("story {seed}: {status:?}: {output}"));
            continue;
        }
        for line in output.lines() {
            let (name, number) = line.split_once(' ').with_context(|| format!("no figure: {line}"))?;
            *sum.entry(name.to_owned()).or_default() += number.parse::<u64>().context("a number")?;
        }
    }
    println!("{stories} stories: {sum:?}");
    figures::record(section, "full_disk_stories", stories)?;
    figures::record(section, "full_disk_wrong", wrong.len())?;
    ensure!(wrong.is_empty(), "{wrong:#?}");
    // Else the disk was never full where it matters.
    for name in ["refused", "torn", "unlogged", "control_lost"] {
        ensure!(sum.get(name).is_some_and(|n| *n > 0), "{name} is never seen: {sum:?}");
        figures::record(section, &format!("full_disk_{name}"), sum.get(name).copied().unwrap_or(0))?;
    }
    Ok(())
}
