//! What readers ask and get: named rows, the same for page, API, CSV and SQL.

use chaperone_audit::{Fingerprint, Histogram, RuleId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::caveat::Caveat;
use crate::pipeline::Presence;
use crate::verdict::Verdict;

/// A range of event time, optionally of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowQuery {
    /// Only this topic.
    pub topic: Option<String>,
    /// First window start, ms, inclusive.
    pub from_ms: i64,
    /// End, ms, exclusive.
    pub to_ms: i64,
    /// At most this many rows (the reader's cap applies as well).
    pub limit: Option<u32>,
}

/// One hop in one window: the rows of `GET /api/v1/windows`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HopWindow {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Window start, ms.
    pub window_ms: i64,
    /// Window width, ms.
    pub width_ms: i64,
    /// Verdict.
    pub verdict: Verdict,
    /// At least so many missing.
    pub missing_min: u64,
    /// At least so many surplus.
    pub surplus_min: u64,
    /// Absent, not known to be lost.
    pub delayed: u64,
    /// What limits it.
    pub caveats: Vec<Caveat>,
    /// The rule that matched, in one sentence.
    pub why: String,
    /// When it was first settled, ms.
    #[serde(skip)]
    pub settled_ms: Option<i64>,
    /// How often it changed after that.
    #[serde(skip)]
    pub amendments: u32,
}

/// One stage in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct StageWindow {
    /// Topic.
    pub topic: String,
    /// Stage.
    pub stage: String,
    /// Window start, ms.
    pub window_ms: i64,
    /// Width, ms.
    pub width_ms: i64,
    /// Attempted or seen.
    pub n: u64,
    /// Acked.
    pub acked: u64,
    /// Failed.
    pub failed: u64,
    /// Key and value bytes.
    pub bytes: u64,
    /// Σ of ids in.
    pub f_in: Fingerprint,
    /// Delay from event time.
    pub hist: Histogram,
    /// Last arrival, ms.
    pub last_ms: i64,
    /// The rule that all of it was counted by; `None` if there were several.
    pub rule: Option<RuleId>,
}

/// Windows of one topic at one tapped stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsQuery {
    /// Topic.
    pub topic: String,
    /// Stage.
    pub stage: String,
    /// First window start, ms, inclusive.
    pub from_ms: i64,
    /// End, ms, exclusive.
    pub to_ms: i64,
}

/// What a tap counted of one partition in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offsets {
    /// Window start, ms.
    pub window_ms: i64,
    /// Width, ms.
    pub width_ms: i64,
    /// Partition.
    pub partition: i32,
    /// Which log of that name.
    pub log: u32,
    /// Messages.
    pub n: u64,
    /// Offset of the first.
    pub first: i64,
    /// Offset of the last; other windows' messages may lie between.
    pub last: i64,
}

/// One topic at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicSummary {
    /// Topic.
    pub topic: String,
    /// Its pipeline's stages in order, as judged.
    pub stages: Vec<String>,
    /// Worst verdict in the range.
    pub worst: Verdict,
    /// Σ missing in the range.
    pub missing_min: u64,
    /// Σ surplus in the range.
    pub surplus_min: u64,
    /// Σ delayed in the range.
    pub delayed: u64,
    /// Every window before this one is settled, ms; absent before the first.
    pub complete_through_ms: Option<i64>,
}

/// Windows of one hop with one verdict, which is not *ok*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopTrouble {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Their verdict.
    pub verdict: Verdict,
    /// How many windows.
    pub windows: u64,
    /// Σ missing.
    pub missing_min: u64,
    /// Σ surplus.
    pub surplus_min: u64,
    /// Σ delayed.
    pub delayed: u64,
}

/// An application that is expected to report at a stage, as of the last judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedState {
    /// Stage.
    pub stage: String,
    /// Application.
    pub application: String,
    /// So many of its reporters are expected at least.
    pub at_least: u32,
    /// So many live.
    pub live: u32,
    /// What that means.
    pub state: Presence,
    /// Since when it has meant that, ms.
    pub since_ms: i64,
}

/// A reporter or a tap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReporterState {
    /// Incarnation.
    pub incarnation: Uuid,
    /// Stage.
    pub stage: String,
    /// Host.
    pub host: String,
    /// Application.
    pub application: String,
    /// Library name and version.
    pub library: String,
    /// `live`, `goodbye`, `ended` (it died and what was left was recovered) or `gone`.
    pub state: String,
    /// Effective watermark, ms.
    pub watermark_ms: Option<i64>,
    /// Last heard, ms (append time).
    pub last_ms: i64,
}

/// Where a tap stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionState {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Log.
    pub log: u32,
    /// Claim.
    pub epoch: u64,
    /// Next offset to count.
    pub next: i64,
    /// Watermark of the partition, ms.
    pub watermark_ms: Option<i64>,
}

/// A refused record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Cluster.
    pub cluster: String,
    /// Audit topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When it was received, ms.
    pub received_ms: i64,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256, hex.
    pub sha256: String,
    /// Why.
    pub reason: String,
}

/// A process that works on the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessState {
    /// Its life.
    pub id: Uuid,
    /// What it does: its verb.
    pub role: String,
    /// Clusters whose taps or intakes it has, separated by commas.
    pub clusters: String,
    /// Where it runs.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it began, ms.
    pub started_ms: i64,
    /// When it last wrote to the store, ms.
    pub beat_ms: i64,
    /// What is wrong with it.
    pub problems: Vec<Trouble>,
}

/// What is wrong with a process, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The sentence.
    pub text: String,
    /// What is shown is right and recent all the same.
    pub notice: bool,
}

/// The store's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Status {
    /// Store revision.
    pub revision: u64,
    /// Records read from audit topics (I5).
    pub read: u64,
    /// Of those applied.
    pub applied: u64,
    /// Of those without news.
    pub noop: u64,
    /// Of those fenced.
    pub fenced: u64,
    /// Of those that left a hole.
    pub hole: u64,
    /// Of those quarantined.
    pub quarantined: u64,
    /// Windows not settled.
    pub pending: u64,
    /// Everything before this broker time has been applied on every audit partition, ms.
    pub applied_through_ms: Option<i64>,
}
