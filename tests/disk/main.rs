//! The write-ahead log on a simulated disk: 100,000 whole lives, each from a seed, and the mutants that they must find.
//!
//! `CHAPERONE_DISK_FIRST_SEED` begins elsewhere. A seed that fails is named; `chaperone_wal::sim::history::run` lives it again.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use chaperone_tests::figures;
use chaperone_wal::sim::history::{Mutant, Tally, run};

const SEEDS: u64 = 100_000;

#[test]
fn a_hundred_thousand_lives() -> anyhow::Result<()> {
    let first = std::env::var("CHAPERONE_DISK_FIRST_SEED").map_or(Ok(0), |s| s.parse::<u64>())?;
    let next = AtomicU64::new(first);
    let live = || -> Result<Tally, String> {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + SEEDS {
                return Ok(sum);
            }
            sum += run(seed, Mutant::Sound).map_err(|broken| format!("seed {seed}: {broken}"))?;
        }
    };
    let mut sum = Tally::default();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(live)).collect();
        for thread in threads {
            sum += thread.join().ok().context("a thread panicked")?.map_err(anyhow::Error::msg)?;
        }
        Ok(())
    })?;
    println!("{sum:?}");
    anyhow::ensure!(
        sum.crashes > SEEDS && sum.restarts > SEEDS / 2 && sum.replaced > SEEDS / 2 && sum.flips > SEEDS / 10
    );
    figures::record("disk", "seeds", SEEDS)?;
    figures::record("disk", "deaths", sum.crashes + sum.restarts)
}

/// The control: a log or an owner with a rule less is found out.
#[test]
fn every_mutant_is_found() -> anyhow::Result<()> {
    for mutant in Mutant::ALL {
        let found = (0..1000).filter_map(|seed| run(seed, mutant).err()).collect::<Vec<_>>();
        let first = found.first().with_context(|| format!("{mutant:?} is not found"))?;
        println!("{mutant:?}: {} of 1000 lives end badly, the first: {first}", found.len());
    }
    figures::record("disk", "mutants", Mutant::ALL.len())
}
