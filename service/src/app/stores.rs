//! The store of a process: which database it is, and whether this process writes to it or only reads what others write.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use chaperone_collector::rebuild::Rebuild;
use chaperone_collector::{Pipelines, PostgresStore, SqliteStore, SqliteView, Store, StoreError};

use crate::config::Config;
use crate::exit::{Code, Failure};

/// Opens the store, making its directory if need be.
///
/// # Errors
/// [`Code::CannotWrite`], naming what cannot be written; [`Code::Unavailable`] where a database does not answer.
pub fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    make_private(&config.data_dir)?;
    if let Some(settings) = &config.store {
        let store = PostgresStore::open(settings, chaperone_collector::sqlite::Options::default());
        return Ok(Arc::new(store.map_err(|e| unavailable(&e))?));
    }
    let store = SqliteStore::open(config.store_path());
    Ok(Arc::new(store.map_err(|e| Failure::new(Code::CannotWrite, e.to_string()))?))
}

/// A database that does not do what it is asked, with what to do about it.
pub(crate) fn unavailable(e: &StoreError) -> Failure {
    let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
    Failure::new(Code::Unavailable, format!("{e}{advice}"))
}

/// A store that others write.
#[derive(Debug, Clone)]
pub enum View {
    /// In a file.
    Sqlite(Arc<SqliteView>),
    /// In a database.
    Postgres(Arc<PostgresStore>),
}

impl View {
    /// As any other store.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(view) => Arc::<SqliteView>::clone(view),
            Self::Postgres(view) => Arc::<PostgresStore>::clone(view),
        }
    }

    /// For what only it knows.
    pub fn bequeaths(&self) -> Arc<dyn Rebuild> {
        match self {
            Self::Sqlite(view) => Arc::<SqliteView>::clone(view),
            Self::Postgres(view) => Arc::<PostgresStore>::clone(view),
        }
    }

    /// How long reporters may be silent is said by these.
    pub(super) fn follow(&self, pipelines: &Pipelines) {
        match self {
            Self::Sqlite(view) => view.follow(pipelines),
            Self::Postgres(view) => view.follow_pipelines(pipelines),
        }
    }
}

/// The store of another process, whether or not it is there yet.
///
/// # Errors
/// [`Code::Software`] when no thread can be started.
pub fn open_view(config: &Config) -> Result<View, Failure> {
    let failed = |e: StoreError| Failure::new(Code::Software, e.to_string());
    Ok(match &config.store {
        Some(settings) => View::Postgres(Arc::new(PostgresStore::view(settings).map_err(failed)?)),
        None => View::Sqlite(Arc::new(SqliteView::open(config.store_path()).map_err(failed)?)),
    })
}

fn make_private(dir: &Path) -> Result<(), Failure> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|e| Failure::new(Code::CannotWrite, format!("data_dir {}: cannot make it: {e}", dir.display())))
}
