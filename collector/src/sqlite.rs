//! The store in SQLite: one thread that writes, a few connections that read.
//!
//! What it does is in `tables`; here is the file, its schema (`schema/`), the thread and the pool.
//!
//! Invariants: every write is one `BEGIN IMMEDIATE` transaction; a database that refuses leaves everything as it was.
//! Limits: one file, one machine; a second process may claim partitions in the same file ([`SqliteView`]
//! only reads it), but only one may judge.

mod file;
mod pool;
mod tx;
mod view;
mod writer;

use std::path::Path;

use tokio::sync::watch;
use uuid::Uuid;

use crate::db::{Db, Done, Tx};
use crate::pipeline::Pipelines;
use crate::store::{Answer, StoreError};
pub use crate::tables::Options;
use crate::tables::{Engine, Silence, deliberate, pronounce, tidy};
use crate::upkeep::Vacuumed;
use file::Place;
pub use view::SqliteView;

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

    /// Gives the room of dropped rows back to the file system. Blocks, and writers wait meanwhile; nobody may have the store
    /// open.
    ///
    /// # Errors
    /// [`StoreError::Database`]: it is in use, there is no room for a second copy, or it cannot be written.
    pub fn vacuum(path: impl AsRef<Path>) -> Result<Vacuumed, StoreError> {
        let path = path.as_ref();
        let failed = |fault| StoreError::Database {
            path: path.to_string_lossy().into_owned(),
            action: "give room back",
            source: Box::new(fault),
        };
        file::vacuum(path).map_err(failed)
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

impl Engine for SqliteStore {
    fn options(&self) -> Options {
        self.options
    }

    fn silence(&self) -> &Silence {
        &self.silence
    }

    fn write<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&mut Db<'_>) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        self.writer.run(action, work)
    }

    fn read<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        self.readers.run(action, work)
    }

    fn court(&self, now_ms: i64, pipelines: Pipelines) -> Answer<'_, u64> {
        let options = self.options;
        self.writer.run("judge windows", move |db| {
            tidy(db, now_ms, &pipelines, &options)?;
            let found = deliberate(db.tx, now_ms, &pipelines, &options)?;
            if found.is_empty() { Ok(0) } else { pronounce(db, &found) }
        })
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.writer.revisions()
    }
}

#[cfg(test)]
#[path = "sqlite/faults_tests.rs"]
mod faults_tests;

#[cfg(test)]
#[path = "sqlite/growth_tests.rs"]
mod growth_tests;
