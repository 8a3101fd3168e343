//! The weather of `taps` and `brokers` for as long as it takes: three minutes of taps killed, stopped, started and frozen
//! beyond their sessions; three minutes of brokers restarted and killed under transactions that abort.

#[path = "../taps/crowd.rs"]
mod crowd;
#[path = "../brokers/rolling.rs"]
mod rolling;

use std::time::Duration;

use chaperone_tests::tapped as scene;
use chaperone_tests::{Cluster, Spec};

const LONG: Duration = Duration::from_mins(3);

#[test]
fn a_crowd_of_taps_for_three_minutes() -> anyhow::Result<()> {
    crowd::run(&crowd::Size { section: "storm_taps", at_least: LONG })
}

#[test]
fn restarted_and_killed_brokers_for_three_minutes() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Spec::new("storm").brokers(3).config("min.insync.replicas", "2").racks())?;
    // As the shared bed: it stops with this process.
    rolling::run(Box::leak(Box::new(cluster)), &rolling::Size { section: "storm_brokers", at_least: LONG })
}
