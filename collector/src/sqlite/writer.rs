//! The one thread that writes: it owns the write connection, takes jobs in order and answers each.
//!
//! Invariants: every write is one `BEGIN IMMEDIATE` transaction; a job that fails changes nothing and the next one
//! runs; the revision is published after the commit. At most [`QUEUED`] jobs wait; further callers wait to hand over.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::file::Place;
use super::tx::LiteTx;
use crate::db::{self, Db, Done, Fault, Names};
use crate::store::{Answer, StoreError};

/// Jobs that may wait.
const QUEUED: usize = 64;

/// The only row that counts revisions.
const ONE: i64 = 1;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// What the thread owns.
pub(super) struct Session {
    conn: Connection,
    names: Names,
    revision: watch::Sender<u64>,
    /// How the database is named in error messages.
    path: Arc<str>,
}

impl Session {
    /// Runs `work` in one transaction.
    pub(super) fn transact<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Db<'_>) -> Done<T>,
    ) -> Result<T, StoreError> {
        let outcome = transact(&mut self.conn, &mut self.names, work);
        match outcome {
            Ok((value, revision)) => {
                if let Some(revision) = revision {
                    self.revision.send_replace(revision);
                }
                Ok(value)
            }
            Err(fault) => {
                self.names.forget();
                Err(match fault {
                    Fault::Moved { topic, partition, log } => StoreError::Moved { topic, partition, log },
                    Fault::Former { topic } => StoreError::Former { topic },
                    fault => StoreError::Database { path: self.path.to_string(), action, source: Box::new(fault) },
                })
            }
        }
    }
}

fn transact<T>(
    conn: &mut Connection,
    names: &mut Names,
    work: impl FnOnce(&mut Db<'_>) -> Done<T>,
) -> Done<(T, Option<u64>)> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tx = LiteTx(&transaction);
    // One writer: nobody else's marks are told from these.
    let mut db = Db::new(&tx, names, 0);
    // Dropped without a commit, the transaction is rolled back.
    let value = work(&mut db)?;
    db.finish(ONE)?;
    let revision = db.bumped();
    transaction.commit()?;
    Ok((value, revision))
}

/// The handle to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    revisions: watch::Receiver<u64>,
}

impl Writer {
    /// Opens the database and starts the thread.
    pub(super) fn start(place: &Place, durable: bool) -> Done<Self> {
        let conn = place.writer(durable)?;
        let names = Names::default();
        let now = db::revision(&LiteTx(&conn))?;
        let (revision, revisions) = watch::channel(now);
        let (jobs, mut inbox) = mpsc::channel::<Job>(QUEUED);
        let mut session = Session { conn, names, revision, path: place.path().into() };
        let work = move || {
            while let Some(job) = inbox.blocking_recv() {
                job(&mut session);
            }
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)), revisions })
    }

    /// The store's revision as it changes.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }

    /// Hands a transaction over and waits for its answer. Once handed over it runs, whether or not anybody waits.
    pub(super) fn run<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl FnOnce(&mut Db<'_>) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let job: Job = Box::new(move |session| {
                // A caller that went away does not want its answer.
                drop(reply.send(session.transact(action, work)));
            });
            let jobs = self.jobs.as_ref().ok_or(StoreError::Stopped)?;
            jobs.send(job).await.map_err(|_| StoreError::Stopped)?;
            answer.await.map_err(|_| StoreError::Stopped)?
        })
    }

    /// Runs something on the connection, outside any transaction.
    #[cfg(test)]
    pub(super) async fn outside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |session| drop(reply.send(work(&mut session.conn))));
        let jobs = self.jobs.as_ref().expect("the writer runs");
        assert!(jobs.send(job).await.is_ok(), "the writer runs");
        answer.await.expect("the writer runs")
    }
}

impl Drop for Writer {
    /// Lets the jobs that wait run, then closes the database.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}
