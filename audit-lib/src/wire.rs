//! The audit topic's message: the schema that reporters, taps and the collector share (docs/FORMATS.md).
//!
//! JSON, readable with any Kafka client. Unknown fields are ignored, absent ones take their default, an unknown major
//! version is refused. Everything in it is cumulative (slots) or guarded by a position (intervals), so that a message
//! may be lost, doubled, re-ordered or re-sent without changing any total.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fingerprint::Fingerprint;
use crate::rule::{Class, RuleId};
use crate::state::SlotState;
use crate::window::{Width, WindowStart};

mod check;
mod tap;

pub use check::{MAX_COUNT, WireError};
pub(crate) use check::{check_slot, name, topic_name};
pub use tap::{Anchor, GapCause, Gaps, Interval, IntervalKind, IntervalWindow, PartitionMark, TopicMark};

use check::{at_least, check_interval, implausible};

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

#[cfg(any(test, feature = "recorder"))]
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
