//! Truth at rest: merges what reporters and taps counted and judges every hop.
//!
//! `batch` (what intake hands over) → `store` (one transaction) → `settle`, `passage`, `verdict` (pure) → rows that page, API and SQL read.
//! No Kafka, no HTTP. Invariants: applying anything twice, late or out of order changes nothing (I1, I4, I5); a settled
//! verdict satisfies all three conditions of "settled" (I6).

#![forbid(unsafe_code)]

pub mod account;
pub mod audit;
pub mod batch;
pub mod caveat;
pub mod checkins;
mod db;
pub mod discover;
pub mod interval;
pub mod lag;
pub mod passage;
mod patience;
pub mod pipeline;
pub mod postgres;
pub mod query;
pub mod rebuild;
pub mod retention;
pub mod settle;
pub mod sqlite;
pub mod store;
mod tables;
pub mod upkeep;
pub mod verdict;

pub use audit::{AuditFollow, AuditLoss, AuditStand, AuditThrough, LossCause};
pub use batch::{Applied, AuditPartition, Batch, Content, Item, Refused};
pub use caveat::{Caveat, CaveatKind, Doubt};
pub use chaperone_audit::TopicPattern;
pub use patience::within;
pub use pipeline::{AuditSource, Counting, Expected, Hop, Pipeline, Pipelines, Presence, Stage, StageKind};
pub use postgres::PostgresStore;
pub use retention::{Retention, Swept};
pub use sqlite::{SqliteStore, SqliteView};
pub use store::{Claim, ClaimRequest, Store, StoreError};
pub use verdict::{Evidence, Expect, Judgement, LeftOut, Members, Passage, Progress, Verdict, judge};
