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

use super::file::{Place, SCHEMA, is_made};
use super::pool::Pool;
use super::tx::LiteTx;
use crate::db::schema::readable;
use crate::db::{self, Db, Done, Fault, Tx};
use crate::pipeline::Pipelines;
use crate::store::{Answer, StoreError};
use crate::tables::{Engine, Options, Silence};

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
    if is_made(conn)? { readable(&LiteTx(conn), SCHEMA) } else { Err(Fault::NotMade) }
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
            let revision = self.readers.read_now(db::revision);
            // What is wrong is said to whoever asks the store.
            if let Ok(revision) = revision {
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

impl Engine for SqliteView {
    fn options(&self) -> Options {
        Options::default()
    }

    fn silence(&self) -> &Silence {
        &self.silence
    }

    fn write<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        _: impl Fn(&mut Db<'_>) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        Box::pin(async move { Err(StoreError::ReadOnly { action }) })
    }

    fn read<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        self.readers.run(action, work)
    }

    fn court(&self, _: i64, _: Pipelines) -> Answer<'_, u64> {
        Box::pin(async { Err(StoreError::ReadOnly { action: "judge windows" }) })
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
