//! The store of other processes, read only: it opens when there is one, follows its revision, and writes nothing.
//!
//! Until the file is there and has this build's schema every question is answered with what is the matter; from then on
//! readers see what the writer committed. A file that another took the place of is left for the new one.
//! Invariant: no connection here can write. Limit: SQLite keeps two helper files beside the store (`-wal`, `-shm`) that
//! every reader of a WAL database needs to be able to make, so the directory must be writable for this process too.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;
use uuid::Uuid;

use super::db::{Done, Fault, count};
use super::file::{Place, SCHEMA};
use super::pool::Pool;
use super::{Silence, audit, inventory, lag, offsets, processes, reader};
use crate::audit::{AuditFollow, AuditLoss, AuditStand};
use crate::batch::{Applied, AuditPartition, Batch};
use crate::lag::{Bracket, LagReport, LagRound};
use crate::pipeline::Pipelines;
use crate::query::{
    ExpectedState, HopTrouble, HopWindow, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined,
    ReporterState, StageWindow, Status, TopicSummary, WindowQuery,
};
use crate::store::{Answer, Claim, ClaimRequest, Store, StoreError};

/// How often another process's revision is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// See the module's head.
#[derive(Debug)]
pub struct SqliteView {
    readers: Arc<Pool>,
    silence: Silence,
    revisions: watch::Receiver<u64>,
    stop: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

impl SqliteView {
    /// Follows the store at `path`, whether or not it is there yet.
    ///
    /// # Errors
    /// [`StoreError::Database`] when no thread can be started.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, StoreError> {
        let place = Place::File(path.as_ref().to_string_lossy().into_owned());
        let readers = Arc::new(Pool::later(&place, usable));
        let (revision, revisions) = watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let follow = Follower { place: place.clone(), readers: Arc::clone(&readers), file: None, revision };
        let stopped = Arc::clone(&stop);
        let follower = std::thread::Builder::new()
            .name("store-follower".into())
            .spawn(move || follow.run(&stopped))
            .map_err(|e| StoreError::Database {
                path: place.path().to_owned(),
                action: "follow the database",
                source: Box::new(Fault::File(e)),
            })?;
        Ok(Self { readers, silence: Silence::default(), revisions, stop, follower: Some(follower) })
    }

    /// How long reporters may be silent is said by these.
    pub fn follow(&self, pipelines: &Pipelines) {
        self.silence.note(pipelines);
    }
}

impl Drop for SqliteView {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(follower) = self.follower.take() {
            follower.thread().unpark();
            if follower.join().is_err() {
                tracing::error!("the store's follower ended by a panic");
            }
        }
    }
}

/// Whether a store can be read by this build.
fn usable(conn: &Connection) -> Done<()> {
    let made = conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'")?.exists([])?;
    let version: Option<i64> =
        if made { conn.query_row("SELECT max(version) FROM refinery_schema_history", [], |r| r.get(0))? } else { None };
    match version {
        Some(version) if version == SCHEMA => Ok(()),
        Some(version) => Err(Fault::OtherSchema { found: version, ours: SCHEMA }),
        None => Err(Fault::NotMade),
    }
}

struct Follower {
    place: Place,
    readers: Arc<Pool>,
    /// Device and inode of what the readers have open.
    file: Option<(u64, u64)>,
    revision: watch::Sender<u64>,
}

impl Follower {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.notice_another_file();
            let revision =
                self.readers.read_now(|conn| Ok(conn.query_row("SELECT revision FROM meta", [], |r| r.get(0))?));
            // What is wrong is said to whoever asks the store.
            if let Ok(revision) = revision {
                let revision = count(revision);
                self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    fn notice_another_file(&mut self) {
        let now = std::fs::metadata(self.place.path()).ok().map(|m| (m.dev(), m.ino()));
        if now != self.file {
            self.readers.forget();
            self.file = now;
        }
    }
}

fn refuse<'a, T: Send + 'a>(action: &'static str) -> Answer<'a, T> {
    Box::pin(async move { Err(StoreError::ReadOnly { action }) })
}

impl Store for SqliteView {
    fn apply(&self, _: Batch) -> Answer<'_, Applied> {
        refuse("applying a batch")
    }
    fn audit_stands<'a>(&'a self, cluster: &'a str, topic: &'a str) -> Answer<'a, Vec<AuditStand>> {
        let (cluster, topic) = (cluster.to_owned(), topic.to_owned());
        self.readers.run("read audit positions", move |conn| audit::stands(conn, &cluster, &topic))
    }
    fn audit_follow(&self, _: AuditFollow) -> Answer<'_, Vec<AuditStand>> {
        refuse("following an audit topic")
    }
    fn audit_lost(&self, _: AuditLoss) -> Answer<'_, AuditStand> {
        refuse("noting what is lost of an audit topic")
    }
    fn audit_through(&self, _: Vec<(AuditPartition, i64)>) -> Answer<'_, ()> {
        refuse("noting audit progress")
    }
    fn claim(&self, _: ClaimRequest) -> Answer<'_, Claim> {
        refuse("claiming a partition")
    }
    fn partitions<'a>(&'a self, stage: &'a str) -> Answer<'a, Vec<PartitionState>> {
        let stage = stage.to_owned();
        self.readers.run("read partitions", move |conn| reader::partitions(conn, &stage))
    }
    fn judge<'a>(&'a self, _: i64, _: &'a Pipelines) -> Answer<'a, u64> {
        refuse("judging")
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
    fn note_lag(&self, _: LagRound) -> Answer<'_, ()> {
        refuse("noting the lag of groups")
    }
    fn arrivals<'a>(&'a self, cluster: &'a str, asked: Vec<(String, i32, i64)>) -> Answer<'a, Vec<Bracket>> {
        let cluster = cluster.to_owned();
        self.readers.run("read when offsets arrived", move |conn| lag::arrivals(conn, &cluster, &asked))
    }
    fn lag(&self, since_ms: i64) -> Answer<'_, LagReport> {
        self.readers.run("read the lag of groups", move |conn| lag::report(conn, since_ms))
    }
    fn beat(&self, _: ProcessState) -> Answer<'_, ()> {
        refuse("noting that a process works")
    }
    fn farewell(&self, _: Uuid) -> Answer<'_, ()> {
        refuse("noting that a process has ended")
    }
    fn processes(&self) -> Answer<'_, Vec<ProcessState>> {
        self.readers.run("read processes", processes::all)
    }
    fn status(&self) -> Answer<'_, Status> {
        self.readers.run("read status", reader::status)
    }
    fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
