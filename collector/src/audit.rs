//! Where the collector stands in audit topics, and what of them nobody will ever apply.
//!
//! A name may stand for one topic after another: each is a *log* of its own, told apart by the topic's id where brokers
//! have ids. What is lost of a log (it was deleted before it was read, retention or rot was faster) is recorded with its
//! offsets and the times between which it was appended: what it may have said is doubted, never guessed.

use uuid::Uuid;

use crate::batch::AuditPartition;

/// Where an audit partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditStand {
    /// Partition.
    pub partition: i32,
    /// Which log of that name; grows by one with each.
    pub log: u32,
    /// Where to read from.
    pub next: i64,
    /// The id of the topic, as far as is known.
    pub topic_id: Option<Uuid>,
    /// The topic that has the name now has no such partition.
    pub closed: bool,
    /// Everything appended before this broker time (ms) has been applied; `None` while nothing has.
    pub through_ms: Option<i64>,
}

/// Up to which time an audit partition has been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditThrough {
    /// The partition.
    pub source: AuditPartition,
    /// One past the last offset that was applied, where the reader knows it. Refused if the store stands before it: it is older
    /// than what was read.
    pub next: Option<i64>,
    /// Everything that was appended before this broker time (ms) has been applied.
    pub through_ms: i64,
}

impl From<(AuditPartition, i64)> for AuditThrough {
    fn from((source, through_ms): (AuditPartition, i64)) -> Self {
        Self { source, next: None, through_ms }
    }
}

/// The topic that has an audit topic's name now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFollow {
    /// Name of the cluster in the configuration.
    pub cluster: String,
    /// The topic.
    pub topic: String,
    /// Its id, where brokers have ids.
    pub topic_id: Option<Uuid>,
    /// How many partitions it has.
    pub partitions: i32,
    /// Broker time, ms.
    pub now_ms: i64,
}

/// Why records were never applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// The topic was deleted and made anew.
    Recreated,
    /// The log ends before what was read of it: truncated, or made anew by brokers without ids.
    Truncated,
    /// They were gone before they were read.
    Gone,
    /// Their batches are corrupt.
    Corrupt,
    /// They were deleted before this store was made anew from the topic: it begins behind them.
    Before,
}

impl LossCause {
    /// The words in store and event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recreated => "the topic was deleted and made anew",
            Self::Truncated => "the log was truncated or made anew",
            Self::Gone => "they were deleted before they were read",
            Self::Corrupt => "their batches are corrupt and cannot be read",
            Self::Before => "they were deleted before the store was made anew",
        }
    }
    /// Whether another log begins.
    pub const fn begins_a_log(self) -> bool {
        matches!(self, Self::Recreated | Self::Truncated)
    }
}

/// Records between where a partition stands and where it can be read again are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLoss {
    /// Where.
    pub source: AuditPartition,
    /// The log that the store stands in, as the caller saw it.
    pub log: u32,
    /// Where the store stands, as the caller saw it.
    pub next: i64,
    /// The first offset that can be read: of the new log, if one begins.
    pub resumes: i64,
    /// Why.
    pub cause: LossCause,
    /// The id of the topic that is read now.
    pub topic_id: Option<Uuid>,
    /// Broker time now, ms: nothing that is lost was appended later.
    pub now_ms: i64,
}
