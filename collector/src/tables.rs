//! The store in SQL tables: what every database does alike.
//!
//! `apply` (a batch → slots, taps, totals, reporters) → `pending` → `judge` (`facts` + totals → `gather` → the pure
//! functions [`settle`](crate::settle), [`passage`](crate::passage), [`verdict`](crate::verdict)) → `hop_window` →
//! `reader`. Statements are in `sql/`; docs/SQL.md describes the tables.
//!
//! Whoever has an [`Engine`] has a [`Store`]. Invariants: every write is one transaction, and one that is run again, whole,
//! after it may or may not have been committed changes nothing more. Where several processes write, rows are held in
//! this order, each table's by their keys: names, audit partition, reporters, tapped partitions, what grows by the newest word, rules, totals, the judge's queue,
//! offsets of windows, revision.

mod apply;
mod audit;
mod codec;
mod facts;
mod flags;
mod gather;
mod ids;
mod inventory;
mod judge;
mod lag;
mod life;
mod marks;
mod offsets;
mod owed;
mod processes;
pub(crate) mod reader;
mod reopen;
mod reporters;
mod slots;
mod standing;
mod taps;
mod totals;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::audit::{AuditFollow, AuditLoss, AuditStand};
use crate::batch::{Applied, AuditPartition, Batch};
use crate::db::{Db, Done, Tx};
use crate::lag::{Bracket, LagReport, LagRound};
use crate::pipeline::Pipelines;
use crate::query::{
    ExpectedState, HopTrouble, HopWindow, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined,
    ReporterState, StageWindow, Status, TopicSummary, WindowQuery,
};
use crate::store::{Answer, Claim, ClaimRequest, Store};

pub(crate) use judge::{deliberate, pronounce, tidy};

/// A reporter is silent after this where no pipeline says otherwise.
const SILENT_AFTER_MS: i64 = 30_000;

/// What may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A slot's state is dropped this long after it became final here; its id is kept. Longer than any report of it can
    /// be under way.
    pub seal_after_ms: i64,
    /// Windows judged per call.
    pub judge_at_most: u32,
    /// What is committed survives power loss. Off only where the database can be made again: a process's death loses
    /// nothing either way.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seal_after_ms: 900_000, judge_at_most: 5_000, durable: true }
    }
}

/// How long each stage's reporters may be silent, for [`Store::reporters`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence(Arc<Mutex<HashMap<String, i64>>>);

impl Silence {
    /// As these pipelines say.
    pub(crate) fn note(&self, pipelines: &Pipelines) {
        let mut known = self.0.lock();
        known.clear();
        for pipeline in &pipelines.list {
            let ms = gather::millis(pipeline.silent_after);
            for stage in &pipeline.stages {
                known.entry(stage.name.clone()).and_modify(|k| *k = ms.min(*k)).or_insert(ms);
            }
        }
    }

    fn known(&self) -> HashMap<String, i64> {
        self.0.lock().clone()
    }
}

/// A database at work.
pub(crate) trait Engine: Send + Sync {
    /// What was set.
    fn options(&self) -> Options;
    /// How long reporters may be silent.
    fn silence(&self) -> &Silence;
    /// Runs `work` in one transaction that writes, again if it cannot be known whether it was committed.
    fn write<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&mut Db<'_>) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T>;
    /// Runs `work` on one moment of the store.
    fn read<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T>;
    /// [`tidy`], [`deliberate`] and [`pronounce`].
    fn court(&self, now_ms: i64, pipelines: Pipelines) -> Answer<'_, u64>;
    /// See [`Store::revisions`].
    fn follow(&self) -> watch::Receiver<u64>;
}

impl<E: Engine> Store for E {
    fn apply(&self, batch: Batch) -> Answer<'_, Applied> {
        let options = self.options();
        self.write("apply a batch", move |db| apply::apply(db, &batch, &options))
    }

    fn audit_stands<'a>(&'a self, cluster: &'a str, topic: &'a str) -> Answer<'a, Vec<AuditStand>> {
        let (cluster, topic) = (cluster.to_owned(), topic.to_owned());
        self.read("read audit positions", move |tx| audit::stands(tx, &cluster, &topic))
    }

    fn audit_follow(&self, follow: AuditFollow) -> Answer<'_, Vec<AuditStand>> {
        self.write("follow an audit topic", move |db| audit::follow(db, &follow))
    }

    fn audit_lost(&self, loss: AuditLoss) -> Answer<'_, AuditStand> {
        self.write("note what is lost of an audit topic", move |db| audit::lost(db, &loss))
    }

    fn audit_through(&self, through: Vec<(AuditPartition, i64)>) -> Answer<'_, ()> {
        self.write("note audit progress", move |db| apply::through(db, &through))
    }

    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claim> {
        self.write("claim a partition", move |db| taps::claim(db, &request))
    }

    fn partitions<'a>(&'a self, stage: &'a str) -> Answer<'a, Vec<PartitionState>> {
        let stage = stage.to_owned();
        self.read("read partitions", move |tx| reader::partitions(tx, &stage))
    }

    fn judge<'a>(&'a self, now_ms: i64, pipelines: &'a Pipelines) -> Answer<'a, u64> {
        self.silence().note(pipelines);
        self.court(now_ms, pipelines.clone())
    }

    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>> {
        self.read("read verdicts", move |tx| reader::windows(tx, &query))
    }

    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>> {
        self.read("read totals", move |tx| reader::stage_windows(tx, &query))
    }

    fn offsets(&self, query: OffsetsQuery) -> Answer<'_, Vec<Offsets>> {
        self.read("read offsets", move |tx| offsets::read(tx, &query))
    }

    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        self.read("read topics", move |tx| reader::topics(tx, &query))
    }

    fn trouble(&self, from_ms: i64) -> Answer<'_, Vec<HopTrouble>> {
        self.read("read hops in trouble", move |tx| inventory::trouble(tx, from_ms))
    }

    fn expected(&self) -> Answer<'_, Vec<ExpectedState>> {
        self.read("read who is expected", inventory::expected)
    }

    fn reporters(&self, now_ms: i64) -> Answer<'_, Vec<ReporterState>> {
        let silence = self.silence().known();
        self.read("read reporters", move |tx| reader::reporters(tx, now_ms, &silence))
    }

    fn quarantined(&self, limit: u32) -> Answer<'_, Vec<Quarantined>> {
        self.read("read quarantine", move |tx| reader::quarantined(tx, limit))
    }

    fn note_lag(&self, round: LagRound) -> Answer<'_, ()> {
        self.write("note the lag of groups", move |db| lag::note(db, &round))
    }

    fn arrivals<'a>(&'a self, cluster: &'a str, asked: Vec<(String, i32, i64)>) -> Answer<'a, Vec<Bracket>> {
        let cluster = cluster.to_owned();
        self.read("read when offsets arrived", move |tx| lag::arrivals(tx, &cluster, &asked))
    }

    fn lag(&self, since_ms: i64) -> Answer<'_, LagReport> {
        self.read("read the lag of groups", move |tx| lag::report(tx, since_ms))
    }

    fn beat(&self, process: ProcessState) -> Answer<'_, ()> {
        self.write("note that a process works", move |db| processes::beat(db, &process))
    }

    fn farewell(&self, id: Uuid) -> Answer<'_, ()> {
        self.write("note that a process has ended", move |db| processes::farewell(db, id))
    }

    fn processes(&self) -> Answer<'_, Vec<ProcessState>> {
        self.read("read processes", processes::all)
    }

    fn status(&self) -> Answer<'_, Status> {
        self.read("read status", reader::status)
    }

    fn revisions(&self) -> watch::Receiver<u64> {
        self.follow()
    }
}
