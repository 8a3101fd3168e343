//! A store that misbehaves while it is told to: refuses to write like one on a full disk, or loses records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chaperone_collector::account::{Account, Books, HopStand, StageRule, Unbelieved};
use chaperone_collector::lag::{Bracket, LagReport, LagRound};
use chaperone_collector::query::{
    Action, BinQuery, Bins, DelayQuery, Delays, DetailQuery, ExpectedState, Glance, HopBin, HopTrouble, HopWindow,
    NumberedAction, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined, ReporterState, StageWindow,
    Status, TopicSummary, WindowDetail, WindowKey, WindowQuery,
};
use chaperone_collector::store::Answer;
use chaperone_collector::upkeep::{ExportQuery, Exported, StoreSize};
use chaperone_collector::{
    Applied, AuditFollow, AuditLoss, AuditStand, AuditThrough, Batch, Claim, ClaimRequest, Pipelines, Retention,
    SqliteStore, Store, StoreError, Swept,
};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) struct Flaky {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) refuses: AtomicBool,
    /// Records vanish as if Kafka had lost them: the position moves, nothing is applied.
    pub(crate) loses: AtomicBool,
}

impl Flaky {
    fn write<'a, T: Send + 'a>(&'a self, action: &'static str, answer: Answer<'a, T>) -> Answer<'a, T> {
        if !self.refuses.load(Ordering::SeqCst) {
            return answer;
        }
        let source = std::io::Error::from_raw_os_error(28).into();
        Box::pin(async move { Err(StoreError::Database { path: "test".into(), action, source }) })
    }
}

impl Store for Flaky {
    fn apply(&self, mut batch: Batch) -> Answer<'_, Applied> {
        if self.loses.load(Ordering::SeqCst) {
            batch.items.clear();
        }
        if self.refuses.load(Ordering::SeqCst) {
            return self.write("apply a batch", Box::pin(async { Ok(Applied::default()) }));
        }
        self.store.apply(batch)
    }
    fn audit_stands<'a>(&'a self, cluster: &'a str, topic: &'a str) -> Answer<'a, Vec<AuditStand>> {
        self.store.audit_stands(cluster, topic)
    }
    fn audit_follow(&self, follow: AuditFollow) -> Answer<'_, Vec<AuditStand>> {
        self.write("follow an audit topic", self.store.audit_follow(follow))
    }
    fn audit_lost(&self, loss: AuditLoss) -> Answer<'_, AuditStand> {
        self.write("note what is lost of an audit topic", self.store.audit_lost(loss))
    }
    fn audit_through(&self, through: Vec<AuditThrough>) -> Answer<'_, ()> {
        self.write("note audit progress", self.store.audit_through(through))
    }
    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claim> {
        if self.refuses.load(Ordering::SeqCst) {
            let none = Claim { log: 0, epoch: 0, next: 0, topic_id: None, anchor: None };
            return self.write("claim a partition", Box::pin(async { Ok(none) }));
        }
        self.store.claim(request)
    }
    fn partitions<'a>(&'a self, stage: &'a str) -> Answer<'a, Vec<PartitionState>> {
        self.store.partitions(stage)
    }
    fn judge<'a>(&'a self, now_ms: i64, pipelines: &'a Pipelines) -> Answer<'a, u64> {
        self.store.judge(now_ms, pipelines)
    }
    fn sweep(&self, now_ms: i64, retention: Retention) -> Answer<'_, Swept> {
        self.write("roll up and drop windows", self.store.sweep(now_ms, retention))
    }
    fn hop_bins(&self, query: BinQuery) -> Answer<'_, Bins<HopBin>> {
        self.store.hop_bins(query)
    }
    fn delays(&self, queries: Vec<DelayQuery>) -> Answer<'_, Vec<Delays>> {
        self.store.delays(queries)
    }
    fn glances(&self, queries: Vec<BinQuery>) -> Answer<'_, Vec<Bins<Glance>>> {
        self.store.glances(queries)
    }
    fn stage_bins(&self, query: BinQuery) -> Answer<'_, Bins<StageWindow>> {
        self.store.stage_bins(query)
    }
    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>> {
        self.store.windows(query)
    }
    fn windows_page(&self, query: WindowQuery, after: Option<WindowKey>) -> Answer<'_, Vec<HopWindow>> {
        self.store.windows_page(query, after)
    }
    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>> {
        self.store.stage_windows(query)
    }
    fn detail(&self, query: DetailQuery) -> Answer<'_, WindowDetail> {
        self.store.detail(query)
    }
    fn offsets(&self, query: OffsetsQuery) -> Answer<'_, Vec<Offsets>> {
        self.store.offsets(query)
    }
    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        self.store.topics(query)
    }
    fn topics_judged(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        self.store.topics_judged(query)
    }
    fn trouble(&self, from_ms: i64) -> Answer<'_, Vec<HopTrouble>> {
        self.store.trouble(from_ms)
    }
    fn expected(&self) -> Answer<'_, Vec<ExpectedState>> {
        self.store.expected()
    }
    fn reporters(&self, now_ms: i64) -> Answer<'_, Vec<ReporterState>> {
        self.store.reporters(now_ms)
    }
    fn quarantined(&self, limit: u32) -> Answer<'_, Vec<Quarantined>> {
        self.store.quarantined(limit)
    }
    fn hops(&self) -> Answer<'_, Vec<HopStand>> {
        self.store.hops()
    }
    fn rules(&self) -> Answer<'_, Vec<StageRule>> {
        self.store.rules()
    }
    fn unbelieved(&self, limit: u32) -> Answer<'_, Unbelieved> {
        self.store.unbelieved(limit)
    }
    fn account(&self, query: WindowQuery, heard_before_ms: i64) -> Answer<'_, Account> {
        self.store.account(query, heard_before_ms)
    }
    fn books(&self) -> Answer<'_, Books> {
        self.store.books()
    }
    fn note_lag(&self, round: LagRound) -> Answer<'_, ()> {
        self.write("note the lag of groups", self.store.note_lag(round))
    }
    fn arrivals<'a>(&'a self, cluster: &'a str, asked: Vec<(String, i32, i64)>) -> Answer<'a, Vec<Bracket>> {
        self.store.arrivals(cluster, asked)
    }
    fn lag(&self, since_ms: i64) -> Answer<'_, LagReport> {
        self.store.lag(since_ms)
    }
    fn beat(&self, process: ProcessState) -> Answer<'_, ()> {
        self.write("note that a process works", self.store.beat(process))
    }
    fn farewell(&self, id: Uuid) -> Answer<'_, ()> {
        self.write("note that a process has ended", self.store.farewell(id))
    }
    fn processes(&self) -> Answer<'_, Vec<ProcessState>> {
        self.store.processes()
    }
    fn note_action(&self, action: Action) -> Answer<'_, ()> {
        self.write("record an action", self.store.note_action(action))
    }
    fn actions(&self, before: i64, limit: u32) -> Answer<'_, Vec<NumberedAction>> {
        self.store.actions(before, limit)
    }
    fn complete_through(&self) -> Answer<'_, Vec<(String, Option<i64>)>> {
        self.store.complete_through()
    }
    fn size(&self) -> Answer<'_, StoreSize> {
        self.store.size()
    }
    fn export(&self, query: ExportQuery) -> Answer<'_, Exported> {
        self.store.export(query)
    }
    fn status(&self) -> Answer<'_, Status> {
        self.store.status()
    }
    fn revisions(&self) -> watch::Receiver<u64> {
        self.store.revisions()
    }
}
