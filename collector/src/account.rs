//! What auditors ask beyond windows: where hops stand, by which rules was counted, what is not believed, what a day comes
//! to, and whether the auditor's own books are right. Rows as they are read; nothing here decides.

use std::collections::BTreeMap;

use chaperone_audit::{Histogram, RuleId};
use serde::Serialize;
use uuid::Uuid;

use crate::query::Quarantined;
use crate::verdict::Verdict;

/// How far a hop of a topic is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopStand {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Every window of the hop before this one is settled, ms.
    pub complete_through_ms: i64,
}

/// By which rule a stage has counted a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageRule {
    /// Topic.
    pub topic: String,
    /// Stage.
    pub stage: String,
    /// The rule.
    pub rule: RuleId,
    /// First arrival counted by it, a whole hour of broker time, ms.
    pub first_ms: i64,
    /// Last arrival, likewise.
    pub last_ms: i64,
}

/// Offsets of an audit topic that were never applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditLost {
    /// Cluster.
    pub cluster: String,
    /// Audit topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First offset that is lost.
    pub from_offset: i64,
    /// One past the last; absent: to the end of a log that is over.
    pub to_offset: Option<i64>,
    /// What is lost was appended after this, ms; absent: at any time.
    pub from_ms: Option<i64>,
    /// And before this, ms.
    pub to_ms: i64,
    /// When that was noticed, ms.
    pub at_ms: i64,
    /// Why.
    pub cause: String,
}

/// Offsets of a data topic that a tap did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unaudited {
    /// The tap's stage.
    pub stage: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from_offset: i64,
    /// One past the last; absent: not known yet.
    pub to_offset: Option<i64>,
    /// Event times that they may have had, ms; absent: any earlier.
    pub from_event_ms: Option<i64>,
    /// Likewise; absent: not known yet.
    pub to_event_ms: Option<i64>,
    /// When that was noticed, ms.
    pub at_ms: i64,
    /// Why.
    pub cause: String,
}

/// Something that an honest reporter does not say, or that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Oddity {
    /// When, ms.
    pub at_ms: i64,
    /// `divergent` (two states of one slot that cannot both be), `gaps` (too many holes in the slots' numbers), `written_off`
    /// (counts that were lost with the audit topic), `audit_lost`.
    pub kind: String,
    /// Whose word it was.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub incarnation: Option<Uuid>,
    /// What.
    pub text: String,
}

/// What is not believed, or was not counted; each list newest first, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unbelieved {
    /// Refused records of audit topics.
    pub quarantined: Vec<Quarantined>,
    /// Records of audit topics that are lost.
    pub audit_lost: Vec<AuditLost>,
    /// Offsets that taps did not count.
    pub unaudited: Vec<Unaudited>,
    /// What was odd.
    pub oddities: Vec<Oddity>,
    /// How many are kept of each, in this order.
    pub kept: [u64; 4],
}

/// One hop of a topic in a range, in sums.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HopSum {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Windows in which something was counted, by verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Of those with a verdict that says how many, how many have a caveat, or may have had one before their detail was dropped.
    pub limited: u64,
    /// At least so many missing.
    pub missing_min: u64,
    /// At least so many surplus.
    pub surplus_min: u64,
    /// Absent, not known to be lost.
    pub delayed: u64,
    /// Settled verdicts that changed afterwards, times that they did.
    pub amendments: u64,
    /// Worst verdict of each part of the range in which something was counted, by number; [`PARTS`] of equal length.
    pub parts: BTreeMap<i64, Verdict>,
}

/// Parts that a range is divided into.
pub const PARTS: i64 = 24;

impl HopSum {
    /// Windows in which something was counted.
    pub fn windows(&self) -> u64 {
        self.verdicts.values().sum()
    }
    /// Windows of one verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }
    /// Windows whose verdict stands.
    pub fn settled(&self) -> u64 {
        let waits = [Verdict::Open, Verdict::Settling, Verdict::NoReport].map(|verdict| self.of(verdict));
        self.windows().saturating_sub(waits.into_iter().sum())
    }
    /// Windows whose verdict says how many, and could be limited by a caveat.
    pub fn countable(&self) -> u64 {
        use Verdict::{Delayed, Missing, Overdue, Surplus};
        [Missing, Surplus, Delayed, Overdue].map(|verdict| self.of(verdict)).into_iter().sum()
    }
    /// Whether its numbers are bounds from above, too: no window is without a verdict that says how many.
    pub fn is_bounded(&self) -> bool {
        use Verdict::{Mixed, NoReport, Open, Partial, Settling, Uncertain, Unproven};
        let unknown = [Mixed, NoReport, Open, Partial, Settling, Uncertain, Unproven];
        self.limited == 0 && unknown.into_iter().all(|verdict| self.of(verdict) == 0)
    }
}

/// One stage of a topic in a range, in sums.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSum {
    /// Topic.
    pub topic: String,
    /// Stage.
    pub stage: String,
    /// Messages with a time of their own.
    pub n: u64,
    /// Messages without.
    pub untimed: u64,
    /// Key and value bytes of those with.
    pub bytes: u64,
    /// Their delay from event time.
    pub delay: Histogram,
}

/// A settled verdict that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amended {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Window start, ms.
    pub window_ms: i64,
    /// When, ms.
    pub at_ms: i64,
    /// Verdict before.
    pub old_verdict: String,
    /// Verdict after.
    pub new_verdict: String,
    /// Missing before and after.
    pub missing: (u64, u64),
    /// Why.
    pub cause: String,
}

/// A reporter that fell silent without an end and was not heard again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silenced {
    /// Stage.
    pub stage: String,
    /// Application.
    pub application: String,
    /// Host.
    pub host: String,
    /// When it was last heard, ms (append time).
    pub last_ms: i64,
}

/// A range of event time, in sums: what an auditor's report is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Account {
    /// By topic and place in the pipeline.
    pub hops: Vec<HopSum>,
    /// By topic and stage.
    pub stages: Vec<StageSum>,
    /// Newest first, the first [`AMENDED_MAX`].
    pub amended: Vec<Amended>,
    /// Last heard in the range; by stage, application, host.
    pub silent: Vec<Silenced>,
    /// Ranges of audit topics that were lost and appended in the range.
    pub audit_lost: u64,
    /// Ranges of offsets that taps did not count and that may hold messages of the range.
    pub unaudited: u64,
    /// Retention has taken what the range would be summed from.
    pub gone: bool,
    /// There are more topics than one answer has rows for: sums are those of the others.
    pub truncated: bool,
}

/// Amendments that an account lists.
pub const AMENDED_MAX: u32 = 200;

/// One audit partition's books: invariant I5.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Book {
    /// Cluster.
    pub cluster: String,
    /// Audit topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Which topic of that name.
    pub log: u32,
    /// The topic that has the name now has no such partition.
    pub closed: bool,
    /// Next offset to read.
    pub next: i64,
    /// Everything before this has been applied, broker time, ms.
    pub applied_through_ms: Option<i64>,
    /// Records read.
    pub read: u64,
    /// Applied.
    pub applied: u64,
    /// Without news.
    pub noop: u64,
    /// Fenced.
    pub fenced: u64,
    /// Left a hole.
    pub hole: u64,
    /// Quarantined.
    pub quarantined: u64,
}

impl Book {
    /// Records read less those whose fate is known: 0, or the books are wrong.
    pub fn difference(&self) -> i128 {
        let known = [self.applied, self.noop, self.fenced, self.hole, self.quarantined];
        i128::from(self.read) - known.into_iter().map(i128::from).sum::<i128>()
    }
}

/// The audit of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Books {
    /// By cluster, topic, partition.
    pub partitions: Vec<Book>,
    /// Size of the database, bytes.
    pub store_bytes: u64,
    /// Stages whose windows hold counts that lost their attribution: their table was full.
    pub overflowed: Vec<String>,
    /// What was odd, by kind.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub oddities: BTreeMap<String, u64>,
}
