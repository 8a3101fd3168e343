//! A few lives of a log on the simulated disk; the suite `disk` lives 100,000 and the mutants.

use chaperone_wal::sim::history::{Mutant, Tally, run};

#[test]
fn nothing_is_lost_doubled_or_hidden() {
    let mut sum = Tally::default();
    for seed in 1_000_000..1_001_000 {
        sum += run(seed, Mutant::Sound).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    assert!(sum.crashes > 1000 && sum.replaced > 100 && sum.flips > 100, "{sum:?}");
}

#[test]
fn a_log_that_does_not_sync_is_found_out() {
    assert!((0..100).any(|seed| run(seed, Mutant::NoSync).is_err()));
}
