//! The store in SQL tables: what every database does alike.
//!
//! `apply` (a batch → slots, taps, totals, reporters) → `pending` → `judge` (`facts` + totals → `gather` → the pure
//! functions [`settle`](crate::settle), [`passage`](crate::passage), [`verdict`](crate::verdict)) → `hop_window` →
//! `reader`. Statements are in `sql/`; docs/SQL.md describes the tables.
//!
//! Whoever has an [`Engine`] has a [`Store`]. Invariants: every write is one transaction, and one that is run again, whole,
//! after it may or may not have been committed changes nothing more. Where several processes write, rows are held in
//! this order, each table's by their keys: names, groups of stages, audit partition, reporters, tapped partitions, what grows by the newest word, how far the sweep is, rules, totals, the judge's queue,
//! offsets of windows, revision.

mod account;
mod actions;
mod apply;
mod audit;
mod bequest;
mod bins;
mod codec;
mod delays;
mod facts;
mod flags;
mod gather;
mod glances;
mod groups;
mod hop_levels;
mod ids;
mod inventory;
mod judge;
mod lag;
mod late;
mod levels;
mod life;
mod manner;
mod marks;
mod offsets;
mod owed;
mod processes;
pub(crate) mod reader;
mod reopen;
mod reporters;
mod shares;
mod slots;
mod standing;
pub(crate) mod summary;
mod sums;
mod sweep;
mod taps;
mod totals;
mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use self::summary::Share;
use crate::account::{Account, Books, HopStand, StageRule, Unbelieved};
use crate::audit::{AuditFollow, AuditLoss, AuditStand, AuditThrough, LossCause};
use crate::batch::{Applied, Batch};
use crate::db::{AsValue, Db, Done, Tx, params};
use crate::lag::{Bracket, LagReport, LagRound};
use crate::pipeline::{Pipelines, Stage};
use crate::query::{
    Action, BinQuery, Bins, DelayQuery, Delays, DetailQuery, ExpectedState, Glance, HopBin, HopTrouble, HopWindow,
    NumberedAction, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined, ReporterState, StageWindow,
    Status, TopicSummary, WindowDetail, WindowKey, WindowQuery,
};
use crate::rebuild::{Bequest, GivenUp, Rebuild, Rulings};
use crate::retention::{Retention, Swept};
use crate::store::{Answer, Claim, ClaimRequest, Store};
use crate::upkeep::{ExportQuery, Exported, StoreSize};

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
            for stage in pipeline.stages.iter().flat_map(Stage::reported) {
                known.entry(stage.clone()).and_modify(|k| *k = ms.min(*k)).or_insert(ms);
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
        self.write("apply a batch", move |db| apply::apply(db, &batch, &options, None))
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

    fn audit_through(&self, through: Vec<AuditThrough>) -> Answer<'_, ()> {
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

    fn sweep(&self, now_ms: i64, retention: Retention) -> Answer<'_, Swept> {
        self.write("roll up and drop windows", move |db| sweep::step(db, now_ms, &retention))
    }

    fn hop_bins(&self, query: BinQuery) -> Answer<'_, Bins<HopBin>> {
        self.read("read verdicts in slices", move |tx| bins::hops(tx, &query))
    }

    fn stage_bins(&self, query: BinQuery) -> Answer<'_, Bins<StageWindow>> {
        self.read("read totals in slices", move |tx| bins::stages(tx, &query))
    }

    fn glances(&self, queries: Vec<BinQuery>) -> Answer<'_, Vec<Bins<Glance>>> {
        self.read("read verdicts at a glance", move |tx| glances::read(tx, &queries))
    }

    fn delays(&self, queries: Vec<DelayQuery>) -> Answer<'_, Vec<Delays>> {
        self.read("read delays", move |tx| delays::read(tx, &queries))
    }

    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>> {
        self.read("read verdicts", move |tx| reader::windows(tx, &query))
    }

    fn windows_page(&self, query: WindowQuery, after: Option<WindowKey>) -> Answer<'_, Vec<HopWindow>> {
        self.read("read a page of verdicts", move |tx| reader::windows_page(tx, &query, after.as_ref()))
    }

    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>> {
        self.read("read totals", move |tx| reader::stage_windows(tx, &query))
    }

    fn offsets(&self, query: OffsetsQuery) -> Answer<'_, Vec<Offsets>> {
        self.read("read offsets", move |tx| offsets::read(tx, &query))
    }

    fn detail(&self, query: DetailQuery) -> Answer<'_, WindowDetail> {
        self.read("read who counted a window", move |tx| shares::read(tx, &query))
    }

    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        self.read("read topics", move |tx| summary::topics(tx, &query))
    }

    fn topics_judged(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        const ACTION: &str = "read verdicts of topics";
        Box::pin(async move {
            let share = |share| {
                let query = query.clone();
                self.read(ACTION, move |tx| summary::read(tx, &query, share))
            };
            // By two readers at once: it is the first that a page of all topics waits for.
            let (middle, ends) = tokio::try_join!(share(Share::Middle), share(Share::Ends))?;
            let hops = match summary::fitting(middle, ends) {
                Some(hops) => hops,
                // A width was dropped between the two.
                None => share(Share::Whole).await?.1,
            };
            self.read(ACTION, move |tx| summary::named(tx, &query, &hops)).await
        })
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

    fn hops(&self) -> Answer<'_, Vec<HopStand>> {
        self.read("read where hops stand", account::hops)
    }

    fn rules(&self) -> Answer<'_, Vec<StageRule>> {
        self.read("read rules", account::rules)
    }

    fn unbelieved(&self, limit: u32) -> Answer<'_, Unbelieved> {
        self.read("read what is not believed", move |tx| account::unbelieved(tx, limit))
    }

    fn account(&self, query: WindowQuery, heard_before_ms: i64) -> Answer<'_, Account> {
        self.read("read a range in sums", move |tx| account::account(tx, &query, heard_before_ms))
    }

    fn books(&self) -> Answer<'_, Books> {
        self.read("read the books", account::books)
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

    fn note_action(&self, action: Action) -> Answer<'_, ()> {
        self.write("record an action", move |db| actions::note(db, &action))
    }

    fn actions(&self, before: i64, limit: u32) -> Answer<'_, Vec<NumberedAction>> {
        self.read("read actions", move |tx| actions::before(tx, before, limit))
    }

    fn complete_through(&self) -> Answer<'_, Vec<(String, Option<i64>)>> {
        self.read("read how far topics are", |tx| {
            let sql = "SELECT topic, complete_through_ms FROM v_topic ORDER BY topic";
            tx.query(sql, &[], |r| Ok((r.get(0)?, r.get(1)?)))
        })
    }

    fn size(&self) -> Answer<'_, StoreSize> {
        self.read("measure the store", upkeep::size)
    }

    fn export(&self, query: ExportQuery) -> Answer<'_, Exported> {
        self.read("export rows", move |tx| upkeep::export(tx, &query))
    }

    fn status(&self) -> Answer<'_, Status> {
        self.read("read status", reader::status)
    }

    fn revisions(&self) -> watch::Receiver<u64> {
        self.follow()
    }
}

impl<E: Engine> Rebuild for E {
    fn apply_again(&self, batch: Batch, ruled: BTreeMap<i64, Rulings>) -> Answer<'_, Applied> {
        let options = self.options();
        self.write("apply a batch again", move |db| apply::apply(db, &batch, &options, Some(&ruled)))
    }

    fn give_up(&self, all: Vec<GivenUp>, at_ms: i64) -> Answer<'_, ()> {
        self.write("give up what is reported by nobody", move |db| taps::again::give_up(db, &all, at_ms))
    }

    fn bequest(&self) -> Answer<'_, Bequest> {
        self.read("read what only this store knows", bequest::read)
    }

    fn inherit(&self, bequest: Bequest, whole: bool) -> Answer<'_, ()> {
        self.write("take over what only another store knows", move |db| bequest::take(db, &bequest, whole))
    }

    fn whole_since_ms(&self) -> Answer<'_, Option<i64>> {
        self.read("read since when the store is whole", |tx| {
            let sql = "SELECT max(to_ms) FROM audit_lost WHERE cause = ?1";
            tx.one(sql, params![LossCause::Before.as_str()], |r| r.get(0))
        })
    }
}
