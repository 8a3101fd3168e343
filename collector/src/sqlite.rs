//! The store in SQLite: one thread that writes, a few connections that read.
//!
//! `apply` (a batch → slots, taps, totals, reporters) → `pending` → `judge` (`facts` + totals → `gather` → the pure
//! functions [`settle`](crate::settle), [`passage`](crate::passage), [`verdict`](crate::verdict)) → `hop_window` →
//! `reader`. The schema is in `schema/`, longer statements in `sql/`; docs/SQL.md describes both.
//!
//! Invariants: every write is one `BEGIN IMMEDIATE` transaction; a database that refuses leaves everything as it was.
//! Limits: one file, one machine; a second process may claim partitions in the same file ([`SqliteView`]
//! only reads it), but only one may judge.

mod apply;
mod audit;
mod codec;
mod db;
mod facts;
mod file;
mod flags;
mod gather;
mod ids;
mod inventory;
mod judge;
mod lag;
mod life;
mod offsets;
mod owed;
mod pool;
mod processes;
mod reader;
mod reopen;
mod reporters;
mod slots;
mod standing;
mod taps;
mod totals;
mod view;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::audit::{AuditFollow, AuditLoss, AuditStand};
use crate::batch::{Applied, AuditPartition, Batch};
use crate::lag::{Bracket, LagReport, LagRound};
use crate::pipeline::Pipelines;
use crate::query::{
    ExpectedState, HopTrouble, HopWindow, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined,
    ReporterState, StageWindow, Status, TopicSummary, WindowQuery,
};
use crate::store::{Answer, Claim, ClaimRequest, Store, StoreError};
pub(crate) use db::advice;
use file::Place;
pub use view::SqliteView;

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

/// The store in SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    // Readers first: an in-memory database lives until its last connection closes, a file is checkpointed by it.
    readers: pool::Pool,
    writer: writer::Writer,
    options: Options,
    /// By stage, as the pipelines of the last judgement said.
    silence: Silence,
}

impl SqliteStore {
    /// Opens the database at `path`; makes it (readable by its owner only) and its schema if need be.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file cannot be made, is no database, or is of a later schema.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, Options::default())
    }

    /// Likewise, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        Self::start(&Place::File(path.as_ref().to_string_lossy().into_owned()), options)
    }

    /// A store in memory, gone when it is dropped.
    ///
    /// # Errors
    /// [`StoreError::Database`] when memory or threads run out.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::in_memory_with(Options::default())
    }

    /// Likewise, with options.
    ///
    /// # Errors
    /// As [`in_memory`](Self::in_memory).
    pub fn in_memory_with(options: Options) -> Result<Self, StoreError> {
        Self::start(&Place::Memory(format!("chaperone-{}", Uuid::now_v7())), options)
    }

    fn start(place: &Place, options: Options) -> Result<Self, StoreError> {
        let failed = |fault| StoreError::Database {
            path: place.path().to_owned(),
            action: "open the database",
            source: Box::new(fault),
        };
        let writer = writer::Writer::start(place, options.durable).map_err(failed)?;
        let readers = pool::Pool::open(place).map_err(failed)?;
        Ok(Self { readers, writer, options, silence: Silence::default() })
    }
}

/// How long each stage's reporters may be silent, for [`Store::reporters`].
#[derive(Debug, Clone, Default)]
struct Silence(Arc<Mutex<HashMap<String, i64>>>);

impl Silence {
    /// As these pipelines say.
    fn note(&self, pipelines: &Pipelines) {
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

impl Store for SqliteStore {
    fn apply(&self, batch: Batch) -> Answer<'_, Applied> {
        let options = self.options;
        self.writer.run("apply a batch", move |db| apply::apply(db, &batch, &options))
    }

    fn audit_stands<'a>(&'a self, cluster: &'a str, topic: &'a str) -> Answer<'a, Vec<AuditStand>> {
        let (cluster, topic) = (cluster.to_owned(), topic.to_owned());
        self.readers.run("read audit positions", move |conn| audit::stands(conn, &cluster, &topic))
    }

    fn audit_follow(&self, follow: AuditFollow) -> Answer<'_, Vec<AuditStand>> {
        self.writer.run("follow an audit topic", move |db| audit::follow(db, &follow))
    }

    fn audit_lost(&self, loss: AuditLoss) -> Answer<'_, AuditStand> {
        self.writer.run("note what is lost of an audit topic", move |db| audit::lost(db, &loss))
    }

    fn audit_through(&self, through: Vec<(AuditPartition, i64)>) -> Answer<'_, ()> {
        self.writer.run("note audit progress", move |db| apply::through(db, &through))
    }

    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claim> {
        self.writer.run("claim a partition", move |db| taps::claim(db, &request))
    }

    fn partitions<'a>(&'a self, stage: &'a str) -> Answer<'a, Vec<PartitionState>> {
        let stage = stage.to_owned();
        self.readers.run("read partitions", move |conn| reader::partitions(conn, &stage))
    }

    fn judge<'a>(&'a self, now_ms: i64, pipelines: &'a Pipelines) -> Answer<'a, u64> {
        self.silence.note(pipelines);
        let (pipelines, options) = (pipelines.clone(), self.options);
        self.writer.run("judge windows", move |db| judge::judge(db, now_ms, &pipelines, &options))
    }

    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>> {
        self.readers.run("read verdicts", move |conn| reader::windows(conn, &query))
    }

    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>> {
        self.readers.run("read totals", move |conn| reader::stage_windows(conn, &query))
    }

    fn offsets(&self, query: OffsetsQuery) -> Answer<'_, Vec<Offsets>> {
        self.readers.run("read offsets", move |conn| offsets::read(conn, &query))
    }

    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        self.readers.run("read topics", move |conn| reader::topics(conn, &query))
    }

    fn trouble(&self, from_ms: i64) -> Answer<'_, Vec<HopTrouble>> {
        self.readers.run("read hops in trouble", move |conn| inventory::trouble(conn, from_ms))
    }

    fn expected(&self) -> Answer<'_, Vec<ExpectedState>> {
        self.readers.run("read who is expected", inventory::expected)
    }

    fn reporters(&self, now_ms: i64) -> Answer<'_, Vec<ReporterState>> {
        let silence = self.silence.known();
        self.readers.run("read reporters", move |conn| reader::reporters(conn, now_ms, &silence))
    }

    fn quarantined(&self, limit: u32) -> Answer<'_, Vec<Quarantined>> {
        self.readers.run("read quarantine", move |conn| reader::quarantined(conn, limit))
    }

    fn note_lag(&self, round: LagRound) -> Answer<'_, ()> {
        self.writer.run("note the lag of groups", move |db| lag::note(db, &round))
    }

    fn arrivals<'a>(&'a self, cluster: &'a str, asked: Vec<(String, i32, i64)>) -> Answer<'a, Vec<Bracket>> {
        let cluster = cluster.to_owned();
        self.readers.run("read when offsets arrived", move |conn| lag::arrivals(conn, &cluster, &asked))
    }

    fn lag(&self, since_ms: i64) -> Answer<'_, LagReport> {
        self.readers.run("read the lag of groups", move |conn| lag::report(conn, since_ms))
    }

    fn beat(&self, process: ProcessState) -> Answer<'_, ()> {
        self.writer.run("note that a process works", move |db| processes::beat(db, &process))
    }

    fn farewell(&self, id: Uuid) -> Answer<'_, ()> {
        self.writer.run("note that a process has ended", move |db| processes::farewell(db, id))
    }

    fn processes(&self) -> Answer<'_, Vec<ProcessState>> {
        self.readers.run("read processes", processes::all)
    }

    fn status(&self) -> Answer<'_, Status> {
        self.readers.run("read status", reader::status)
    }

    fn revisions(&self) -> watch::Receiver<u64> {
        self.writer.revisions()
    }
}

#[cfg(test)]
#[path = "sqlite/faults_tests.rs"]
mod faults_tests;

#[cfg(test)]
#[path = "sqlite/growth_tests.rs"]
mod growth_tests;
