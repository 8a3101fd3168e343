//! Lives of a log on the simulated disk; the suite `disk` lives more of them.

use chaperone_wal::sim::history::{Mutant, Tally, run};

#[test]
fn nothing_is_lost_doubled_or_hidden() {
    let seeds: u64 = std::env::var("SEEDS").map_or(1000, |s| s.parse().unwrap());
    let first: u64 = std::env::var("FIRST").map_or(0, |s| s.parse().unwrap());
    let mut sum = Tally::default();
    for seed in first..first + seeds {
        let tally = run(seed, Mutant::Sound).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        sum.crashes += tally.crashes;
        sum.restarts += tally.restarts;
        sum.refused += tally.refused;
        sum.appended += tally.appended;
        sum.replaced += tally.replaced;
        sum.flips += tally.flips;
        sum.calls += tally.calls;
    }
    println!("{sum:?}");
}

#[test]
fn every_mutant_is_found() {
    for mutant in Mutant::ALL {
        let found = (0..2000).find_map(|seed| run(seed, mutant).err().map(|why| (seed, why)));
        println!("{mutant:?}: {found:?}");
        assert!(found.is_some(), "{mutant:?}");
    }
}
