//! End-to-end suites on real components: the bed (real Apache Kafka), the runner, the promises.
//!
//! A suite is a test binary of this package and a row of [`suites::SUITES`]; `tests/run` runs them.
//! It gets its brokers from [`Bed::get`], waits with [`eventually`] only, and hands its results to
//! [`figures::record`], where `tests/promises.toml` is checked against them. docs/TESTING.md has the rest.

#![forbid(unsafe_code)]
#![allow(
    clippy::missing_errors_doc,
    reason = "in a harness every error is the end of the test and says itself what failed"
)]

pub mod api;
pub mod axe;
pub mod batches;
pub mod bed;
pub mod clients;
pub mod demo;
mod eventually;
pub mod evidence;
pub mod figures;
pub mod kafka;
pub mod many_windows;
pub mod paths;
pub mod performance;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod promises;
pub mod proxy;
pub mod recount;
pub mod runner;
pub mod suites;
pub mod tapped;
pub mod witness;

pub use bed::Bed;
pub use eventually::eventually;
pub use kafka::{Acl, Cluster, Spec};

/// True when the environment says that this is the CI machine: what is missing is installed, and a skip is a failure.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that `what` is skipped and why; in CI this is an error.
pub fn skip(what: &str, why: &str) -> anyhow::Result<()> {
    anyhow::ensure!(!in_ci(), "{what} may not be skipped in CI: {why}");
    println!("SKIPPED {what}: {why}");
    Ok(())
}
