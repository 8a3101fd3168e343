//! The chaperone process: taps, intake, store and dashboard in one binary.
//!
//! Start: configuration → store → one [`intake`] per audit topic → one [`tap`] per tapped cluster → the judge → the
//! dashboard. Stop: taps first (they send what they counted), then intake (it applies what it read), then judge and
//! dashboard. Each part runs on its own until told to stop and waits by itself for whatever does not answer; what is
//! wrong is said in one sentence ([`problems`]) in the log and by `/readyz`. SIGHUP: [`reload`].
//!
//! Invariants: nothing here decides a count twice (the store does, in one transaction); no offset is ever committed to
//! Kafka; no payload or key leaves `kafka::message` (I9).

pub mod agent;
pub mod app;
pub mod cli;
pub mod columns;
pub mod config;
pub mod demo;
mod discovery;
pub mod door;
pub mod exit;
pub mod ffi;
pub mod inspect;
pub mod intake;
pub mod kafka;
pub mod lag;
pub mod metrics;
pub mod plan;
pub mod presence;
pub mod problems;
pub mod rebuild;
pub mod recount;
pub mod reload;
pub mod share;
pub mod supervisor;
mod sweep;
pub mod tap;
pub mod taps;
pub mod telemetry;
pub mod threads;
pub mod watch;
