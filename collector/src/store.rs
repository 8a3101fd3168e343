//! The store: what every implementation promises.
//!
//! `apply` is one transaction: slots merged by `Join`, intervals guarded by (epoch, next), totals moved by the
//! difference (I1, I4), the audit partition's `next` moved with them. Nothing else writes totals. A store that cannot
//! write says so and changes nothing.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use uuid::Uuid;

use crate::account::{Account, Books, HopStand, StageRule, Unbelieved};
use crate::audit::{AuditFollow, AuditLoss, AuditStand, AuditThrough};
use crate::batch::{Applied, Batch};
use crate::lag::{Bracket, LagReport, LagRound};
use crate::pipeline::Pipelines;
use crate::query::{
    Action, BinQuery, Bins, DelayQuery, Delays, DetailQuery, ExpectedState, Glance, HopBin, HopTrouble, HopWindow,
    NumberedAction, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined, ReporterState, StageWindow,
    Status, TopicSummary, WindowDetail, WindowKey, WindowQuery,
};
use crate::retention::{Retention, Swept};
use crate::upkeep::{ExportQuery, Exported, StoreSize};
use chaperone_audit::wire::Anchor;

/// A boxed future, so that `dyn Store` is possible.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused; nothing was changed. Disk full, read-only, locked for too long, corrupt.
    #[error("store {path}: {action}: {source}")]
    Database {
        /// The database.
        path: String,
        /// What was being done.
        action: &'static str,
        /// The database's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store does not stand where the reader of this audit partition thinks: another collector began another log of it or
    /// moved it, or the store is an older one (a backup, a standby that lagged). Where it stands must be asked again.
    #[error(
        "audit partition {topic}/{partition}: log {log} is not where the store stands: another collector is at work, or the \
         store is an older one; it is read again from where the store stands"
    )]
    Moved {
        /// Audit topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The log that was read.
        log: u32,
    },
    /// The topic with that id had the name before: whoever says so looked at what brokers knew a while ago.
    #[error("audit topic {topic}: a broker tells the id of a topic that had the name before; asked again")]
    Former {
        /// Audit topic.
        topic: String,
    },
    /// Something to write was handed to a store that is only read.
    #[error("the store is open for reading only: to {action} is another process's work")]
    ReadOnly {
        /// What was asked for.
        action: &'static str,
    },
    /// Whoever asked does not wait any longer: the deadline of [`within`](crate::within) has passed.
    #[error("store {path}: {action}: took longer than whoever asked can wait")]
    TooLong {
        /// The database.
        path: String,
        /// What was being read.
        action: &'static str,
    },
    /// The writer thread has stopped.
    #[error("the store's writer has stopped; restart the process")]
    Stopped,
}

impl StoreError {
    /// What to do about it, where the database's own words do not say.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Database { source, .. } => crate::db::advice(source.as_ref()),
            _ => None,
        }
    }
}

/// A tap's wish to count a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The tap's stage.
    pub stage: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The tap process.
    pub tap: Uuid,
    /// Wall time, ms.
    pub now_ms: i64,
    /// Where to begin if nothing was ever counted here (resolved from `start` by the tap).
    pub first_next: i64,
    /// From when on the partition counts as audited if it begins now, ms; `i64::MIN` when it begins at the very start.
    pub first_since_ms: i64,
    /// Where the log begins. A partition that the topic did not have when this stage first claimed one of it was born
    /// while it was audited: it is read from here, whatever `first_next` says.
    pub log_start: i64,
    /// How many partitions the topic had when the tap first looked, if it knows.
    pub partitions: Option<i32>,
    /// The topic's id, where brokers have ids: another than the one that was counted is another log.
    pub topic_id: Option<Uuid>,
    /// The log of this number is over: it was truncated, or re-created. Says nothing once a newer one has begun.
    pub over: Option<u32>,
}

/// A granted claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Which log of that name.
    pub log: u32,
    /// The claim's number.
    pub epoch: u64,
    /// Where to read from.
    pub next: i64,
    /// The topic that this is, as far as is known.
    pub topic_id: Option<Uuid>,
    /// The last counted message, if any.
    #[serde(skip)]
    pub anchor: Option<Anchor>,
}

/// Truth at rest.
pub trait Store: Send + Sync {
    /// Applies a batch in one transaction. Offsets below the store's `next` are no-ops; a batch of another log than the
    /// store's, or that begins behind its `next`, is [`Moved`](StoreError::Moved).
    fn apply(&self, batch: Batch) -> Answer<'_, Applied>;
    /// Where each partition of an audit topic stands, by number; absent partitions at the beginning.
    fn audit_stands<'a>(&'a self, cluster: &'a str, topic: &'a str) -> Answer<'a, Vec<AuditStand>>;
    /// This topic has the name now: adds its partitions, takes its id where none is known, and closes what it does not
    /// have. Where partitions stand in another topic's log, the caller says so by [`audit_lost`](Self::audit_lost).
    fn audit_follow(&self, follow: AuditFollow) -> Answer<'_, Vec<AuditStand>>;
    /// Moves a partition to where it can be read and records what is lost before it, if it stands where the caller saw it;
    /// else [`Moved`](StoreError::Moved).
    fn audit_lost(&self, loss: AuditLoss) -> Answer<'_, AuditStand>;
    /// Everything appended to these partitions before the given broker time (ms) has been applied. Where the store stands
    /// before what was applied, nothing is noted, and it is [`Moved`](StoreError::Moved).
    fn audit_through(&self, through: Vec<AuditThrough>) -> Answer<'_, ()>;
    /// Claims a partition: epoch += 1, in one transaction.
    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claim>;
    /// Where the partitions of a stage stand.
    fn partitions<'a>(&'a self, stage: &'a str) -> Answer<'a, Vec<PartitionState>>;
    /// Judges every window that is open, settling or changed; returns how many verdicts changed.
    fn judge<'a>(&'a self, now_ms: i64, pipelines: &'a Pipelines) -> Answer<'a, u64>;
    /// One step of rolling up and of dropping what was kept for its time; a short transaction, to be called again while
    /// there is [more](Swept::more).
    fn sweep(&self, now_ms: i64, retention: Retention) -> Answer<'_, Swept>;
    /// Verdicts, by topic, hop, window.
    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>>;
    /// Verdicts by window, newest first, then topic and hop by name, from after that row on. The order has no ties and a row
    /// keeps its place in it, so that pages neither repeat nor leave out a row that was there all the time.
    fn windows_page(&self, query: WindowQuery, after: Option<WindowKey>) -> Answer<'_, Vec<HopWindow>>;
    /// Totals by stage and window (classes with a time, summed).
    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>>;
    /// Verdicts in slices of one width: the worst, how many windows have which, and sums of their bounds.
    fn hop_bins(&self, query: BinQuery) -> Answer<'_, Bins<HopBin>>;
    /// Likewise, of a topic for each question, without names: as much as a page of many topics draws of each. A question
    /// without a topic has no rows.
    fn glances(&self, queries: Vec<BinQuery>) -> Answer<'_, Vec<Bins<Glance>>>;
    /// How long messages of a topic took, for each question; the range is widened as [`topics`](Self::topics) widens it.
    fn delays(&self, queries: Vec<DelayQuery>) -> Answer<'_, Vec<Delays>>;
    /// Totals in slices of one width (classes with a time, summed).
    fn stage_bins(&self, query: BinQuery) -> Answer<'_, Bins<StageWindow>>;
    /// Which offsets of each partition hold the windows of a tapped stage, by window and partition. Offsets of windows
    /// that are proven are forgotten after a week.
    fn offsets(&self, query: OffsetsQuery) -> Answer<'_, Vec<Offsets>>;
    /// Who counted what of a window, and what became of its verdicts. Who counted a *proven* window is forgotten a quarter
    /// of an hour after the last report of it.
    fn detail(&self, query: DetailQuery) -> Answer<'_, WindowDetail>;
    /// Topics known, with their worst verdict in the range.
    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>>;
    /// Likewise, but for [how far](Self::complete_through) each is complete, which costs a look at each of them.
    fn topics_judged(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>>;
    /// Hops with windows from `from_ms` on that are not *ok*, by verdict; ordered by topic and hop.
    fn trouble(&self, from_ms: i64) -> Answer<'_, Vec<HopTrouble>>;
    /// Who is expected to report, and who does, by stage and application.
    fn expected(&self) -> Answer<'_, Vec<ExpectedState>>;
    /// Reporters and taps.
    fn reporters(&self, now_ms: i64) -> Answer<'_, Vec<ReporterState>>;
    /// Refused records, newest first.
    fn quarantined(&self, limit: u32) -> Answer<'_, Vec<Quarantined>>;
    /// How far each hop is settled, by topic and place in the pipeline; of topics that were judged.
    fn hops(&self) -> Answer<'_, Vec<HopStand>>;
    /// By which rules stages have counted, by topic and stage.
    fn rules(&self) -> Answer<'_, Vec<StageRule>>;
    /// What is not believed or was not counted, at most `limit` of each kind.
    fn unbelieved(&self, limit: u32) -> Answer<'_, Unbelieved>;
    /// A range of event time in sums, of all topics (`topic` and `limit` say nothing here). A reporter that was last heard
    /// in it and before `heard_before_ms` (broker time, ms) is silent.
    fn account(&self, query: WindowQuery, heard_before_ms: i64) -> Answer<'_, Account>;
    /// The auditor's own books: what became of every record that was read, and which limits were hit.
    fn books(&self) -> Answer<'_, Books>;
    /// Replaces what is known of the lag of a cluster's groups, and adds to the index of where partitions ended.
    fn note_lag(&self, round: LagRound) -> Answer<'_, ()>;
    /// When these offsets of (topic, partition) arrived, as far as the index knows; in the same order. Topics by Kafka's
    /// names.
    fn arrivals<'a>(&'a self, cluster: &'a str, asked: Vec<(String, i32, i64)>) -> Answer<'a, Vec<Bracket>>;
    /// The lag of groups in the clusters that were looked at since then, ms.
    fn lag(&self, since_ms: i64) -> Answer<'_, LagReport>;
    /// A process works on this store: when it wrote here last, and what is wrong with it. Replaces what it said before.
    fn beat(&self, process: ProcessState) -> Answer<'_, ()>;
    /// A process that said [`beat`](Self::beat) has ended as it should.
    fn farewell(&self, id: Uuid) -> Answer<'_, ()>;
    /// The processes that work on this store, or did until they fell silent; newest first.
    fn processes(&self) -> Answer<'_, Vec<ProcessState>>;
    /// Records what somebody did. Nothing of it can be changed or removed afterwards.
    fn note_action(&self, action: Action) -> Answer<'_, ()>;
    /// What people did before the action of that number, newest first; `i64::MAX` for the newest of all.
    fn actions(&self, before: i64, limit: u32) -> Answer<'_, Vec<NumberedAction>>;
    /// Topics that run through a pipeline, by name, and the time before which every window of theirs is settled, ms.
    fn complete_through(&self) -> Answer<'_, Vec<(String, Option<i64>)>>;
    /// How large the store is; looks at all of it.
    fn size(&self) -> Answer<'_, StoreSize>;
    /// Rows of a view as they are; as many as there are in the range.
    fn export(&self, query: ExportQuery) -> Answer<'_, Exported>;
    /// Health.
    fn status(&self) -> Answer<'_, Status>;
    /// The store's revision; changes whenever a verdict or a total does.
    fn revisions(&self) -> tokio::sync::watch::Receiver<u64>;
}
