//! Taps in every weather, on real Kafka: odd messages, codecs and transactions; compaction, retention and re-creation;
//! many taps on many partitions that are killed, stopped, started and frozen.
//!
//! The witness is always independent: what was produced, or an exact recount of the topic.

mod cap;
mod crowd;
mod gaps;
mod rebuild;
mod recount;
mod rules;
mod thousand;
mod weather;

use std::time::Duration;

use chaperone_tests::tapped as scene;

#[test]
fn a_crowd_of_taps_counts_every_message_once() -> anyhow::Result<()> {
    crowd::run(&crowd::Size { section: "taps", at_least: Duration::ZERO })
}
