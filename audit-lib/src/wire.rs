//! The audit topic's message: the schema that reporters, taps and the collector share (docs/FORMATS.md).
//!
//! JSON, readable with any Kafka client. Unknown fields are ignored, absent ones take their default, an unknown major
//! version is refused. Everything in it is cumulative (slots) or guarded by a position (intervals), so that a message
//! may be lost, doubled, re-ordered or re-sent without changing any total.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fingerprint::Fingerprint;
use crate::histogram::Histogram;
use crate::rule::{Class, RuleId};
use crate::state::SlotState;
use crate::window::{Width, WindowStart};

/// Major version of the schema.
pub const VERSION: u32 = 1;
/// Default name of the audit topic.
pub const DEFAULT_TOPIC: &str = "chaperone-audit";
/// Topic under which a reporter counts what it has no slot for: totals are kept, attribution is lost.
pub const OVERFLOW_TOPIC: &str = "_chaperone.overflow";
/// The largest audit message that we write, in bytes of JSON; below every broker's default limit of 1 MiB.
pub const MAX_BYTES: usize = 900_000;

/// One message on the audit topic: one reporter, one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditMessage {
    /// Major version, [`VERSION`].
    pub v: u32,
    /// `UUIDv7` of this message; a re-send keeps it.
    pub uuid: Uuid,
    /// One life of one reporter process, a `UUIDv7`. Key of the Kafka record (taps: the data partition).
    pub incarnation: Uuid,
    /// Number of the message within the incarnation, from 0.
    pub seq: u64,
    /// Who reports.
    pub reporter: Reporter,
    /// The stage that was counted.
    pub stage: String,
    /// The Kafka cluster of the stage, empty for stages outside Kafka.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Datacenter, empty if not set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
    /// Reporter's wall clock when the message was made, ms.
    pub sent_ms: i64,
    /// Everything that arrived at this reporter before this wall time (ms) is in this message or an earlier one;
    /// valid only where the collector's sums equal [`sum`](Self::sum). Absent in recovered finals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
    /// When this incarnation began to count, ms: earlier windows of its stage are not audited by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited_since_ms: Option<i64>,
    /// States of slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotRecord>,
    /// Ids `[from, to)` of slots that no message ever told: what they counted is in wider windows' slots of this message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<(u64, u64)>,
    /// What a tap counted, run by run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Interval>,
    /// How far a tap has read each partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<PartitionMark>,
    /// How many partitions the tap's topics have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicMark>,
    /// How far a consumer has processed each partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<Position>,
    /// Sums over all slots that this incarnation ever had, at the watermark. With an end: all that it ever counted; an
    /// end that is not clean has none where counts may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Sum>,
    /// Time between this watermark and the one before it, ms: large where a reporter has much to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cadence_ms: Option<u64>,
    /// Messages that came after their window was closed, so far; they are counted in it all the same.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u64,
    /// What could not be kept, by cause; empty when nothing was dropped.
    #[serde(default, skip_serializing_if = "Dropped::is_empty")]
    pub dropped: Dropped,
    /// How the incarnation ended; absent while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// Who reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporter {
    /// Host name.
    pub host: String,
    /// Application.
    pub application: String,
    /// Name and version of the library.
    pub library: String,
    /// Process id.
    pub pid: u32,
}

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It said goodbye; nothing is in doubt that is not in its slots.
    Clean,
    /// Its process died; the finals were recovered.
    Crash,
    /// Its machine died; counts since its last checkpoint may be missing.
    Power,
}

/// One slot's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// Dense number within the incarnation, never reused.
    pub id: u64,
    /// Topic.
    pub topic: String,
    /// Start of the window.
    pub window_ms: WindowStart,
    /// Width of the window.
    #[serde(default)]
    pub width_ms: Width,
    /// Class.
    pub class: Class,
    /// Rule that found identity and time.
    pub rule: RuleId,
    /// The counts.
    #[serde(flatten)]
    pub state: SlotState,
}

/// Sums over all slots of an incarnation; equal sums prove that the collector has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sum {
    /// Slots opened so far (the highest id plus one).
    pub slots: u64,
    /// Σ n.
    pub n: u64,
    /// Σ acked.
    pub acked: u64,
    /// Σ failed.
    pub failed: u64,
    /// Σ `f_in`.
    pub f_in: Fingerprint,
}

impl Sum {
    /// Of one slot's state, but for the number of slots.
    pub(crate) fn of(state: &SlotState) -> Self {
        Self { slots: 0, n: state.n, acked: state.acked, failed: state.failed, f_in: state.f_in() }
    }
    pub(crate) const fn plus(self, o: Self) -> Self {
        Self {
            slots: self.slots.wrapping_add(o.slots),
            n: self.n.wrapping_add(o.n),
            acked: self.acked.wrapping_add(o.acked),
            failed: self.failed.wrapping_add(o.failed),
            f_in: self.f_in.plus(o.f_in),
        }
    }
    pub(crate) const fn minus(self, o: Self) -> Self {
        Self {
            slots: self.slots.wrapping_sub(o.slots),
            n: self.n.wrapping_sub(o.n),
            acked: self.acked.wrapping_sub(o.acked),
            failed: self.failed.wrapping_sub(o.failed),
            f_in: self.f_in.minus(o.f_in),
        }
    }
}

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

/// How far a consumer has processed one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// One past the last offset processed.
    pub position: i64,
}

/// What a reporter could not keep, by cause. All zero in health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Messages counted in the stage's overflow slot: totals kept, attribution lost.
    pub overflow: u64,
    /// Records that could not be written to the write-ahead log and were sent without it.
    pub unlogged: u64,
    /// Records that could neither be logged nor sent.
    pub records: u64,
    /// Slots whose counts went into a wider window's, while the write-ahead log was short of room or finals alone would have
    /// exceeded the budget: resolution lost, no count.
    pub coalesced: u64,
}

impl Dropped {
    /// Nothing was dropped.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why a text is not an audit message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It is not JSON of this shape.
    #[error("not an audit message: {0}")]
    Shape(String),
    /// Its major version is unknown here.
    #[error("audit message of version {found}; this build reads {VERSION}")]
    Version {
        /// The version it says.
        found: u32,
    },
    /// A field has a value that no honest reporter writes.
    #[error("audit message field {field}: {problem}")]
    Implausible {
        /// The field.
        field: &'static str,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
}

/// Counts above this in one slot or interval window are not believed (10^9 messages/s for a window of 600 s).
pub const MAX_COUNT: u64 = 600_000_000_000;

impl AuditMessage {
    /// The JSON text.
    ///
    /// # Errors
    /// Only if a map key cannot be text, which this schema has none of.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        serde_json::to_vec(self).map_err(|e| WireError::Shape(e.to_string()))
    }

    /// Reads and checks a message.
    ///
    /// # Errors
    /// See [`WireError`]. Hostile input is refused with the field at fault; nothing panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let m: Self = serde_json::from_slice(bytes).map_err(|e| WireError::Shape(e.to_string()))?;
        m.check()?;
        Ok(m)
    }

    /// Checks version and plausibility, for callers with a parser of their own.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        if self.v != VERSION {
            return Err(WireError::Version { found: self.v });
        }
        name("stage", &self.stage)?;
        name("reporter.host", &self.reporter.host)?;
        self.slots.iter().try_for_each(check_slot)?;
        if let Some((from, to)) = self.merged.iter().find(|(from, to)| from >= to) {
            return Err(implausible("merged", format!("{from} to {to}; allowed is a smaller, then a larger id")));
        }
        self.intervals.iter().try_for_each(check_interval)?;
        for m in &self.marks {
            topic_name(&m.topic)?;
            at_least("marks.position", m.position, 0)?;
        }
        self.positions.iter().try_for_each(|p| topic_name(&p.topic))?;
        self.topics.iter().try_for_each(|t| topic_name(&t.topic))
    }
}

fn implausible(field: &'static str, problem: impl Into<String>) -> WireError {
    WireError::Implausible { field, problem: problem.into() }
}

fn at_least(field: &'static str, value: i64, least: i64) -> Result<(), WireError> {
    if value < least { Err(implausible(field, format!("{value}; allowed is {least} or more"))) } else { Ok(()) }
}

fn count(field: &'static str, value: u64) -> Result<(), WireError> {
    if value > MAX_COUNT { Err(implausible(field, format!("{value}; allowed is at most {MAX_COUNT}"))) } else { Ok(()) }
}

pub(crate) fn name(field: &'static str, text: &str) -> Result<(), WireError> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(implausible(field, "must be 1 to 255 bytes without control characters"));
    }
    Ok(())
}

/// Kafka's own rule for topic names.
pub(crate) fn topic_name(text: &str) -> Result<(), WireError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > 249 || !text.bytes().all(legal) {
        return Err(implausible("topic", "must be 1 to 249 characters of A-Z a-z 0-9 . _ -"));
    }
    Ok(())
}

/// Whether a slot can be an honest reporter's.
pub(crate) fn check_slot(s: &SlotRecord) -> Result<(), WireError> {
    topic_name(&s.topic)?;
    count("slots.n", s.state.n)?;
    count("slots.acked", s.state.acked)?;
    count("slots.failed", s.state.failed)?;
    count("slots.bytes / 2^30", s.state.bytes >> 30)?;
    if s.window_ms != s.width_ms.window_of(s.window_ms.0) {
        return Err(implausible("slots.window_ms", format!("{} is not a multiple of the width", s.window_ms.0)));
    }
    Ok(())
}

fn check_interval(i: &Interval) -> Result<(), WireError> {
    topic_name(&i.topic)?;
    at_least("intervals.partition", i.partition.into(), 0)?;
    at_least("intervals.from", i.from, i.claim_from.max(0))?;
    at_least("intervals.to", i.to, i.from)?;
    let mut n = 0u64;
    if let Some(g) = &i.gaps {
        let offsets = u64::try_from(g.to.saturating_sub(g.from)).unwrap_or(0);
        if g.from < i.from || g.to > i.to || g.offsets == 0 || g.offsets > offsets {
            return Err(implausible("intervals.gaps", "must be offsets within the interval"));
        }
        n = g.offsets;
    }
    for w in &i.windows {
        count("intervals.windows.n", w.n)?;
        n = n.saturating_add(w.n);
        if w.window_ms != w.width_ms.window_of(w.window_ms.0) {
            return Err(implausible(
                "intervals.windows.window_ms",
                format!("{} is not a multiple of the width", w.window_ms.0),
            ));
        }
        if w.min_offset < i.from || w.max_offset >= i.to || w.min_offset > w.max_offset {
            return Err(implausible("intervals.windows.max_offset", "offsets must lie within the interval"));
        }
    }
    if i128::from(n) > i128::from(i.to) - i128::from(i.from) {
        return Err(implausible("intervals.windows.n", format!("{n} messages in {} offsets", i.to - i.from)));
    }
    Ok(())
}
