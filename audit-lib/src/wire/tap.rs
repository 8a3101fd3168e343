//! What a tap says on the audit topic: the intervals that it counted, and how far it has read.
//!
//! Every interval is guarded by its claim and its offsets, so applying one twice changes nothing.

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::histogram::Histogram;
use crate::rule::{Class, RuleId};
use crate::window::{Width, WindowStart};

/// What a tap counted in one run of offsets `[from, to)` of one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Which log of that name: grows when a truncated or re-created one is found.
    #[serde(default)]
    pub log: u32,
    /// The claim under which it was read.
    pub epoch: u64,
    /// Where that claim began to read.
    pub claim_from: i64,
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
    /// Rule that found identity and time.
    pub rule: RuleId,
    /// Whether the run was counted.
    #[serde(default)]
    pub kind: IntervalKind,
    /// Why it was not counted, where it was not.
    #[serde(default, skip_serializing_if = "GapCause::is_gone")]
    pub cause: GapCause,
    /// The last counted message, to recognise the log by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// Offsets in it that held nothing and may have held messages that compaction removed before they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<Gaps>,
    /// Counts by window and class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<IntervalWindow>,
}

/// What an interval says about its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalKind {
    /// Every message in it was counted.
    #[default]
    Counted,
    /// It could not be read ([`GapCause`] says why): the windows it touched are uncertain.
    Unaudited,
}

/// Offsets of a compacted topic that held nothing when they were read: the windows around them are uncertain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// The first of them.
    pub from: i64,
    /// One past the last of them; between the two there may be messages that were counted.
    pub to: i64,
    /// How many they are: at most so many messages were removed.
    pub offsets: u64,
    /// Smallest event time of the messages last counted before them, ms; absent if the claim had counted none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
}

/// Why a run of offsets was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// It was gone before it could be read (retention, truncation).
    #[default]
    Gone,
    /// It is there, but corrupt.
    Corrupt,
    /// A cause that this build does not know.
    #[serde(other)]
    Other,
}

impl GapCause {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_gone(&self) -> bool {
        *self == Self::Gone
    }
}

/// The last counted message of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Its offset.
    pub offset: i64,
    /// XXH3-128 over its key and value.
    pub hash: Fingerprint,
    /// Its timestamp, ms; -1 if none.
    pub time_ms: i64,
    /// The rule whose seed the hash was made with: under another the hash says nothing. Absent in old records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
}

/// One window of an interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalWindow {
    /// Start of the window.
    pub window_ms: WindowStart,
    /// Width of the window.
    #[serde(default)]
    pub width_ms: Width,
    /// Class.
    pub class: Class,
    /// Messages.
    pub n: u64,
    /// Key and value bytes.
    pub bytes: u64,
    /// Σ of hashed ids.
    pub f: Fingerprint,
    /// Delay at the broker (append time where the topic has it, else the tap's arrival) minus event time.
    pub hist: Histogram,
    /// Smallest event time.
    pub min_ms: i64,
    /// Largest event time.
    pub max_ms: i64,
    /// Wall time of the last arrival at the tap.
    pub last_ms: i64,
    /// Smallest offset.
    pub min_offset: i64,
    /// Largest offset.
    pub max_offset: i64,
}

/// A tap's word on one partition: everything appended before `asked_ms` lies below `position`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMark {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Log.
    #[serde(default)]
    pub log: u32,
    /// Claim.
    pub epoch: u64,
    /// Next offset that will be read; the intervals up to it were sent before.
    pub position: i64,
    /// Tap's wall clock at which a high watermark ≤ `position` was asked for.
    pub asked_ms: i64,
    /// 5th percentile of the event times last read, the largest so far; absent before the first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontier_ms: Option<i64>,
    /// The last stable offset lay behind the high watermark since this wall time: an open transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since_ms: Option<i64>,
}

/// A tap's word on a topic: how many partitions it had when asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicMark {
    /// Topic.
    pub topic: String,
    /// Partitions.
    pub partitions: i32,
    /// Tap's wall clock of the metadata answer.
    pub asked_ms: i64,
}
