//! What readers ask and get: named rows, the same for page, API, CSV and SQL.

use std::collections::BTreeMap;

use chaperone_audit::wire::Dropped;
use chaperone_audit::{Fingerprint, Histogram, RuleId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::caveat::Caveat;
use crate::checkins::CheckIns;
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

/// A place in the order of [`Store::windows_page`](crate::Store::windows_page): after this row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowKey {
    /// Its window, ms.
    pub window_ms: i64,
    /// Its topic.
    pub topic: String,
    /// Its upstream stage.
    pub from_stage: String,
    /// Its downstream stage.
    pub to_stage: String,
}

/// One hop in one window: the rows of `GET /api/v1/windows`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub verdict: Verdict,
    /// At least so many missing.
    pub missing_min: u64,
    /// At least so many surplus.
    pub surplus_min: u64,
    /// Absent, not known to be lost.
    pub delayed: u64,
    /// What limits it.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
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

/// A range of event time in slices of one width.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BinQuery {
    /// Topic, range and number of rows. The range is widened to whole slices.
    pub range: WindowQuery,
    /// Width of the slices, one of [`BINS_MS`](crate::retention::BINS_MS); `None`: the narrowest that is kept for the
    /// whole range and gives at most [`at_most`](Self::at_most) slices.
    pub width_ms: Option<i64>,
    /// Slices, where no width is asked for; `None`: 400.
    pub at_most: Option<i64>,
}

/// An answer in slices of one width.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bins<T> {
    /// Width of the slices, ms; rows that were counted in wider windows have theirs.
    pub width_ms: i64,
    /// Start of the first slice, ms.
    pub from_ms: i64,
    /// End of the last, ms.
    pub to_ms: i64,
    /// Rows, newest first.
    pub rows: Vec<T>,
}

/// A hop of a topic in a slice, or in a window, as much of it as is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Start, ms.
    pub window_ms: i64,
    /// Width, ms.
    pub width_ms: i64,
    /// Windows that it stands for.
    pub windows: u64,
    /// How many of them have each verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Of a window; a slice has none.
    pub caveats: Vec<Caveat>,
    /// Sum of lower bounds.
    pub missing_min: u64,
    /// Likewise.
    pub surplus_min: u64,
    /// Messages that are on their way.
    pub delayed: u64,
}

/// How long messages of a topic took, in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayQuery {
    /// Of a topic; without one the answer is empty.
    pub range: WindowQuery,
    /// Its stages in order; the last of them that counted something is the one that is told of.
    pub stages: Vec<String>,
    /// Whether anything is on its way: then where it is looked up too.
    pub delayed: bool,
}

/// From event time to a stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delays {
    /// Which one; `None`: nobody counted anything.
    pub stage: Option<String>,
    /// Of what arrived there.
    pub hist: Histogram,
    /// What is on its way at any hop: how many, and when their slice of event time ends, ms.
    pub absent: Vec<(u64, i64)>,
}

/// One hop in one slice of event time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HopBin {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Place of the hop in its pipeline, from 0.
    pub hop: i64,
    /// Start of the slice, ms.
    pub window_ms: i64,
    /// Its width, ms.
    pub width_ms: i64,
    /// The worst verdict in it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub worst: Verdict,
    /// How many windows it stands for.
    pub windows: u64,
    /// How many of them have each verdict; others have none.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Σ of what at least is missing.
    pub missing_min: u64,
    /// Σ surplus.
    pub surplus_min: u64,
    /// Σ delayed.
    pub delayed: u64,
    /// Σ amendments.
    pub amendments: u64,
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

/// One window of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailQuery {
    /// Topic.
    pub topic: String,
    /// Stages that reporters count at.
    pub stages: Vec<String>,
    /// Start of the window, ms; finer windows that begin in it are part of it.
    pub from_ms: i64,
    /// Its end, ms, exclusive.
    pub to_ms: i64,
}

/// What is known of a window beyond its totals and verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct WindowDetail {
    /// Who counted what, by stage, host and application. Their sum is at most the stage's total; less where it is not known
    /// any more who counted the rest.
    pub shares: Vec<ReporterShare>,
    /// What became of settled verdicts, newest first; the newest 200.
    pub amendments: Vec<Amendment>,
    /// More slots are at hand than one answer looks through: shares lack some.
    pub cut: bool,
}

/// What one reporter counted of a window, and how far it can be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReporterShare {
    /// Stage.
    pub stage: String,
    /// Incarnation.
    pub incarnation: Uuid,
    /// Host.
    pub host: String,
    /// Application.
    pub application: String,
    /// Datacenter; empty: none.
    pub datacenter: String,
    /// Library name and version.
    pub library: String,
    /// Attempted or seen.
    pub n: u64,
    /// Acked.
    pub acked: u64,
    /// Failed.
    pub failed: u64,
    /// Key and value bytes.
    pub bytes: u64,
    /// Last arrival by its own clock, ms.
    pub last_ms: Option<i64>,
    /// It may still grow: not all of its slots are final.
    pub open: bool,
    /// Everything that arrived there before this has been reported, broker time, ms.
    pub watermark_ms: Option<i64>,
    /// When it was last heard, broker time, ms.
    pub heard_ms: i64,
    /// Sequence number of its last message.
    pub last_seq: u64,
    /// Slot ids below its largest that no record has told: a gap in its reports, of any of its windows.
    pub untold: u64,
    /// `clean`, `crash` or `power`, once it has ended.
    pub ended: Option<String>,
}

/// A settled verdict that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amendment {
    /// When, ms.
    pub at_ms: i64,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// What stood there.
    pub old_verdict: Verdict,
    /// What stands there since.
    pub new_verdict: Verdict,
    /// At least so many missing before.
    pub old_missing: u64,
    /// And since.
    pub new_missing: u64,
    /// At least so many surplus before.
    pub old_surplus: u64,
    /// And since.
    pub new_surplus: u64,
    /// A late record, or new evidence, and the reason.
    pub cause: String,
}

/// One topic at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopicSummary {
    /// Topic.
    pub topic: String,
    /// Its pipeline's stages in order, as judged.
    pub stages: Vec<String>,
    /// Worst verdict in the range.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
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
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReporterState {
    /// Incarnation.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
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
    /// First heard, ms (append time).
    pub first_ms: i64,
    /// Process id on its host.
    pub pid: u32,
    /// Datacenter; empty: none.
    pub datacenter: String,
    /// It counts as silent after so long, ms.
    pub silent_after_ms: i64,
    /// Broker's clock less its own, at the least of one to two hours, ms: the way of its quickest message is in it.
    pub skew_ms: i64,
    /// Messages that came after their window was closed there; they count all the same.
    pub late: u64,
    /// Messages counted without an event time.
    pub no_time: u64,
    /// Messages counted with an event time that cannot be read.
    pub malformed: u64,
    /// Messages counted with an event time before 2000 or more than a day ahead.
    pub out_of_range: u64,
    /// What it could not keep as it was, by cause; absent: nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub dropped: Option<Dropped>,
    /// Counts that it told are not here, since then, ms (append time).
    pub lacking_since_ms: Option<i64>,
    /// When it was heard in the last hour.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub checkins: CheckIns,
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// Audit topics that it reads, `CLUSTER/TOPIC`, separated by commas: it shares them with the others that do.
    pub reads: String,
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

/// Something that somebody did, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Action {
    /// When, ms.
    pub at_ms: i64,
    /// By whom, as the configuration or a proxy calls them; empty where nobody is known.
    pub who: String,
    /// With which role; empty where none was had.
    pub role: String,
    /// From which address; empty if it did not come by a connection.
    pub address: String,
    /// What: `log in`, `log out`, `reload`, ….
    pub action: String,
    /// On what, in words.
    pub what: String,
    /// `done` or `refused`.
    pub outcome: String,
}

/// An action as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NumberedAction {
    /// Later ones have greater numbers.
    pub number: i64,
    /// The action.
    #[serde(flatten)]
    pub action: Action,
}

/// The store's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
