//! Read-only connections and the threads that use them.
//!
//! A reader never waits for the writer (WAL) and never holds it up. At most [`READERS`] queries run at once, and one that
//! nobody waits for any longer is ended within [`STEPS`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::Semaphore;

use super::file::Place;
use super::tx::LiteTx;
use crate::db::{Done, Fault, Tx};
use crate::patience::{Patience, too_long};
use crate::store::{Answer, StoreError};

/// Connections.
const READERS: usize = 4;
/// So many steps of SQLite's machine, some ten microseconds of them, are made before it is looked whether somebody still
/// waits.
const STEPS: i32 = 1_000;

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
}

struct Shared {
    place: Place,
    idle: Mutex<Vec<Connection>>,
    /// What a fresh connection must pass.
    usable: fn(&Connection) -> Done<()>,
    /// How often connections were forgotten: those in use then are not kept.
    era: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Shared {
    fn read<T>(&self, patience: &Patience, work: impl FnOnce(&dyn Tx) -> Done<T>) -> Done<T> {
        if patience.is_over() {
            return Err(Fault::TooLong);
        }
        let era = self.era.load(Ordering::SeqCst);
        let idle = self.idle.lock().pop();
        let mut conn = if let Some(conn) = idle {
            conn
        } else {
            let conn = self.place.reader()?;
            (self.usable)(&conn)?;
            conn
        };
        let asker = patience.clone();
        conn.progress_handler(STEPS, Some(move || asker.is_over()))?;
        // One transaction, so that all parts of an answer are of one moment.
        let transaction = conn.transaction()?;
        let answer = work(&LiteTx(&transaction));
        // Far fewer steps than are counted: never cut.
        transaction.finish()?;
        conn.progress_handler(0, None::<fn() -> bool>)?;
        let mut idle = self.idle.lock();
        if self.era.load(Ordering::SeqCst) == era && idle.len() < READERS {
            idle.push(conn);
        }
        answer.map_err(cut)
    }
}

/// What is interrupted is so because nobody waits: nothing else interrupts.
fn cut(fault: Fault) -> Fault {
    match fault {
        Fault::Sqlite(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Fault::TooLong,
        other => other,
    }
}

impl Pool {
    /// A pool that opens its first connection now.
    pub(super) fn open(place: &Place) -> Done<Self> {
        let first = place.reader()?;
        let pool = Self::later(place, |_| Ok(()));
        pool.shared.idle.lock().push(first);
        Ok(pool)
    }

    /// A pool that opens its first connection when somebody asks, and believes what `usable` lets pass.
    pub(super) fn later(place: &Place, usable: fn(&Connection) -> Done<()>) -> Self {
        let shared = Shared { place: place.clone(), idle: Mutex::default(), usable, era: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), free: Arc::new(Semaphore::new(READERS)) }
    }

    /// Closes what is open: the file is another.
    pub(super) fn forget(&self) {
        self.shared.era.fetch_add(1, Ordering::SeqCst);
        self.shared.idle.lock().clear();
    }

    /// Runs a short query on this thread, beyond the limit of those that wait for a connection.
    pub(super) fn read_now<T>(&self, work: impl FnOnce(&dyn Tx) -> Done<T>) -> Done<T> {
        self.shared.read(&Patience::default(), work)
    }

    /// Runs a query.
    pub(super) fn run<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl FnOnce(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let path = self.shared.place.path();
            let (patience, _waiting) = Patience::here();
            let Some(permit) = patience.wait(Arc::clone(&self.free).acquire_owned()).await else {
                return Err(too_long(path, action));
            };
            let permit = permit.map_err(|_| StoreError::Stopped)?;
            let shared = Arc::clone(&self.shared);
            let outcome = tokio::task::spawn_blocking(move || {
                let outcome = shared.read(&patience, work);
                drop(permit);
                outcome
            });
            outcome.await.map_err(|_| StoreError::Stopped)?.map_err(|fault| match fault {
                Fault::TooLong => too_long(path, action),
                fault => StoreError::Database { path: path.to_owned(), action, source: Box::new(fault) },
            })
        })
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
