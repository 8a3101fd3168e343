//! What intake hands over: the messages of one run of offsets of one audit partition, decoded or refused.
//!
//! Invariant (I5): every offset read is exactly one of applied, no-op, fenced, hole or quarantined.

use chaperone_audit::AuditMessage;
use serde::Serialize;

/// An audit partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditPartition {
    /// Name of the cluster in the configuration.
    pub cluster: String,
    /// Audit topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
}

/// A run of an audit partition, applied in one transaction.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where it was read.
    pub source: AuditPartition,
    /// Which log of that name: see [`AuditStand`](crate::AuditStand). Refused if the store has another.
    pub log: u32,
    /// The first offset that was not applied when it was read, where the reader knows it: up to there everything was applied.
    /// Refused if the store does not stand there any more, because it is older than what was read: a backup was restored, or a
    /// standby that lagged took over.
    pub from: Option<i64>,
    /// Its records, in offset order.
    pub items: Vec<Item>,
    /// One past the last offset read.
    pub next: i64,
}

/// One record of the audit topic.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its offset.
    pub offset: i64,
    /// Broker's append time, ms; intake's receive time where the topic has `CreateTime`.
    pub append_ms: i64,
    /// Intake's wall clock on receipt, ms.
    pub received_ms: i64,
    /// What it says.
    pub content: Content,
}

/// A record's content.
#[derive(Debug, Clone)]
pub enum Content {
    /// A message of our schema.
    Message(Box<AuditMessage>),
    /// Anything else.
    Refused(Refused),
}

/// A record that is not believed; its bytes are not kept (I9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its value, lower-case hex.
    pub sha256: String,
    /// Why it was refused.
    pub reason: String,
}

/// What became of a batch (I5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Applied {
    /// Records that changed something.
    pub applied: u64,
    /// Records that said nothing new.
    pub noop: u64,
    /// Records with an interval of another claim.
    pub fenced: u64,
    /// Records with an interval that does not begin at `next`.
    pub hole: u64,
    /// Records refused.
    pub quarantined: u64,
    /// Store revision after it.
    pub revision: u64,
}
