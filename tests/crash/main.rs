//! Processes that die while they count. An outside witness, the bytes that they wrote to a pipe, knows of at least so many
//! messages; a thread may have counted one more. So of every life: told ≤ counted ≤ told + threads, and no more
//! outcomes than messages.
//!
//! Two kinds: `chaperone inspect count`, whose sink is away (what it counted is in its directory), and a process whose
//! windows close every 10 ms and whose sink stores, refuses and forgets (what it counted is with the sink in the end).
//! Several lives follow each other in a directory, each taking over from the dead one, and die in the midst of that too.

mod forked;
mod life;
mod oom;
mod small;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use chaperone_tests::figures;
use life::{Dice, Tally, closing, staying};

/// At one time: two for each core, for they also wait.
const WORKERS: u64 = 4;
/// One directory in so many is on a disk.
const DISK_EVERY: u64 = 16;

/// Kills at least so many, and answers what was wrong.
fn kill(kills: u64, seed: u64) -> anyhow::Result<Tally> {
    let left = AtomicU64::new(kills);
    let one_worker = |worker: u64| -> anyhow::Result<Tally> {
        let mut dice = Dice::new(seed << 8 | worker);
        let (mut all, mut story) = (Tally::default(), 0);
        while left.load(Ordering::Relaxed) > 0 {
            let on_disk = story % DISK_EVERY == worker;
            let told = if dice.up_to(2) == 1 { staying(&mut dice, on_disk)? } else { closing(&mut dice, on_disk)? };
            let died = told.kills;
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(died))).ok();
            all.add(&told);
            story += 1;
        }
        Ok(all)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || one_worker(worker))).collect();
        let mut all = Tally::default();
        for worker in workers {
            all.add(&worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??);
        }
        Ok(all)
    })
}

fn killed(section: &str, kills: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let all = kill(kills, 1)?;
    println!("{all:#?} in {:.1} s", began.elapsed().as_secs_f64());
    figures::record(section, "kills", all.kills)?;
    figures::record(section, "witnessed", all.witnessed)?;
    figures::record(section, "lost", all.lost)?;
    figures::record(section, "doubled", all.doubled)?;
    figures::record(section, "contradictions", all.contradictions)?;
    figures::record(section, "before_the_first_message", all.before_first)?;
    figures::record(section, "resent", all.resent)?;
    anyhow::ensure!(all.is_right(), "{all:#?}");
    Ok(())
}

/// The slots on the heap, the control: nearly every death loses.
fn control(section: &str) -> anyhow::Result<()> {
    let lost = (0..20).map(life::heap_loses).collect::<anyhow::Result<Vec<bool>>>()?;
    figures::record(section, "control_lost_runs", lost.iter().filter(|lost| **lost).count())
}

/// By another signal, by their own hand, and by becoming another program.
fn others(section: &str, each: u64) -> anyhow::Result<()> {
    let mut dice = Dice::new(2);
    let mut all = Tally::default();
    for _ in 0..each {
        for end in ["abort", "exec", "SEGV", "ABRT"] {
            all.add(&life::otherwise(&mut dice, end)?);
        }
    }
    figures::record(section, "other_deaths", all.kills)?;
    anyhow::ensure!(all.is_right(), "{all:#?}");
    Ok(())
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_doubled() -> anyhow::Result<()> {
    killed("crash", 2000)
}

#[test]
fn the_control_on_the_heap_loses() -> anyhow::Result<()> {
    control("crash")
}

#[test]
fn other_deaths_lose_nothing_either() -> anyhow::Result<()> {
    others("crash", 10)
}

/// Closes well after many forks, and is killed while one of its children lives on.
fn forked(section: &str, each: u64) -> anyhow::Result<()> {
    const FORKS: u64 = 36;
    let mut dice = Dice::new(3);
    let (mut all, mut forks) = (Tally::default(), 0);
    for _ in 0..each {
        for end in ["close", "heap"] {
            all.add(&forked::closes(FORKS, end)?);
        }
        all.add(&forked::is_outlived(FORKS / 6, std::time::Duration::from_millis(dice.up_to(50)))?);
        forks += 2 * FORKS + FORKS / 6 + 1;
    }
    println!("{forks} forks: {all:#?}");
    figures::record(section, "forks", forks)?;
    figures::record(section, "outlived", each)?;
    anyhow::ensure!(all.is_right(), "{all:#?}");
    Ok(())
}

#[test]
fn forks_double_nothing_and_keep_nobody_out() -> anyhow::Result<()> {
    forked("crash", 2)
}

#[test]
fn full_size_forked() -> anyhow::Result<()> {
    forked("crash_full", 30)
}

#[test]
fn small_disks_that_are_full_lose_nothing_that_was_taken() -> anyhow::Result<()> {
    small::full("crash", 187, 4)
}

#[test]
fn full_size_small_disks() -> anyhow::Result<()> {
    small::full("crash_full", 0, 200)
}

#[test]
fn full_size() -> anyhow::Result<()> {
    killed("crash_full", 10_000)?;
    control("crash_full")?;
    others("crash_full", 100)?;
    Ok(())
}

#[test]
fn full_size_out_of_memory() -> anyhow::Result<()> {
    let oom = oom::killed_for_memory(20).context("a memory cgroup, as root")?;
    figures::record("crash_full", "oom_kills", oom.kills)?;
    anyhow::ensure!(oom.is_right(), "{oom:#?}");
    Ok(())
}
