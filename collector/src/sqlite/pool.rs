//! Read-only connections and the threads that use them.
//!
//! A reader never waits for the writer (WAL) and never holds it up. At most [`READERS`] queries run at once.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::db::Done;
use super::file::Place;
use crate::store::{Answer, StoreError};

/// Connections.
const READERS: usize = 4;

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    idle: Mutex<Vec<Connection>>,
}

impl Shared {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Done<T>) -> Done<T> {
        let idle = self.idle.lock().pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => self.place.reader()?,
        };
        // One transaction, so that all parts of an answer are of one moment.
        let transaction = conn.transaction()?;
        let answer = work(&transaction);
        transaction.finish()?;
        self.idle.lock().push(conn);
        answer
    }
}

impl Pool {
    /// A pool that opens its first connection now.
    pub(super) fn open(place: &Place) -> Done<Self> {
        let first = place.reader()?;
        let shared = Shared { place: place.clone(), idle: Mutex::new(vec![first]) };
        Ok(Self { shared: Arc::new(shared), free: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs a query.
    pub(super) fn run<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
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
