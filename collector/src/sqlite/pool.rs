//! Read-only connections and the threads that use them.
//!
//! A reader never waits for the writer (WAL) and never holds it up. At most [`READERS`] queries run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::file::Place;
use super::tx::LiteTx;
use crate::db::{Done, Tx};
use crate::store::{Answer, StoreError};

/// Connections.
const READERS: usize = 4;

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
    fn read<T>(&self, work: impl FnOnce(&dyn Tx) -> Done<T>) -> Done<T> {
        let era = self.era.load(Ordering::SeqCst);
        let idle = self.idle.lock().pop();
        let mut conn = if let Some(conn) = idle {
            conn
        } else {
            let conn = self.place.reader()?;
            (self.usable)(&conn)?;
            conn
        };
        // One transaction, so that all parts of an answer are of one moment.
        let transaction = conn.transaction()?;
        let answer = work(&LiteTx(&transaction));
        transaction.finish()?;
        let mut idle = self.idle.lock();
        if self.era.load(Ordering::SeqCst) == era && idle.len() < READERS {
            idle.push(conn);
        }
        answer
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
        self.shared.read(work)
    }

    /// Runs a query.
    pub(super) fn run<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl FnOnce(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
            let shared = Arc::clone(&self.shared);
            let outcome = tokio::task::spawn_blocking(move || {
                let outcome = shared.read(work);
                drop(permit);
                outcome
            });
            let path = self.shared.place.path();
            outcome.await.map_err(|_| StoreError::Stopped)?.map_err(|fault| StoreError::Database {
                path: path.to_owned(),
                action,
                source: Box::new(fault),
            })
        })
    }
}
