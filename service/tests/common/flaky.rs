//! A store that misbehaves while it is told to: refuses to write like one on a full disk, or loses records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chaperone_collector::query::{
    HopWindow, PartitionState, ProcessState, Quarantined, ReporterState, StageWindow, Status, TopicSummary, WindowQuery,
};
use chaperone_collector::store::Answer;
use chaperone_collector::{
    Applied, AuditPartition, Batch, Claim, ClaimRequest, Pipelines, SqliteStore, Store, StoreError,
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
    fn audit_next<'a>(&'a self, cluster: &'a str, topic: &'a str) -> Answer<'a, Vec<(i32, i64)>> {
        self.store.audit_next(cluster, topic)
    }
    fn audit_through(&self, through: Vec<(AuditPartition, i64)>) -> Answer<'_, ()> {
        self.write("note audit progress", self.store.audit_through(through))
    }
    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claim> {
        if self.refuses.load(Ordering::SeqCst) {
            let none = Claim { log: 0, epoch: 0, next: 0, anchor: None };
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
    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>> {
        self.store.windows(query)
    }
    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>> {
        self.store.stage_windows(query)
    }
    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        self.store.topics(query)
    }
    fn reporters(&self, now_ms: i64) -> Answer<'_, Vec<ReporterState>> {
        self.store.reporters(now_ms)
    }
    fn quarantined(&self, limit: u32) -> Answer<'_, Vec<Quarantined>> {
        self.store.quarantined(limit)
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
    fn status(&self) -> Answer<'_, Status> {
        self.store.status()
    }
    fn revisions(&self) -> watch::Receiver<u64> {
        self.store.revisions()
    }
}
