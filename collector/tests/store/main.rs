//! The store's promises, on SQLite and on PostgreSQL: exactly-once totals, watermarks, claims, verdicts, faults.
//!
//! `sim` plays reporters, Kafka logs and taps with a clock of its own; everything here is decided by seeds.

mod account;
mod actions;
mod claims;
mod clocks;
mod deadline;
mod early;
mod evidence;
mod fan_in;
mod five_stages;
mod flow;
mod groups;
mod lag;
mod lost;
mod model;
mod offsets;
mod passage;
mod place;
mod readers;
mod rebuild;
mod retention;
mod rules;
mod shares;
mod sim;
mod sources;
mod stamped;
mod upgrade;
mod views;
mod watermark;
mod way;
