//! Where a store is made anew: a file or a database in which there is no store. Until it is whole, a row in it says so.
//!
//! Invariant: what is there is never touched. A store that was not made to its end is refused by every process that would write it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chaperone_audit::{Clock, SystemClock};
use chaperone_collector::postgres::Settings;
use chaperone_collector::query::ProcessState;
use chaperone_collector::rebuild::Rebuild;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{PostgresStore, SqliteStore, SqliteView, Store, StoreError};
use uuid::Uuid;

use crate::app::unavailable;
use crate::config::Config;
use crate::exit::{Code, Failure};

/// What the process that makes a store anew is called in it. Its row is there until the store is whole.
pub const ROLE: &str = "rebuild";

/// See the module's head.
#[derive(Debug, Clone)]
pub enum Target {
    /// SQLite.
    File(PathBuf),
    /// PostgreSQL.
    Database(Box<Settings>),
}

impl Target {
    /// Of a path, or of the URL of a database that is reached as `[store]` says.
    ///
    /// # Errors
    /// [`Code::Usage`], with what is wrong.
    pub fn of(text: &str, config: &Config) -> Result<Self, Failure> {
        let usage = |why: String| Failure::new(Code::Usage, format!("--to {why}"));
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let Some(store) = &config.store else {
            let why = "a database needs a configuration with [store], which says how it is reached; allowed: a file";
            return Err(usage(why.to_owned()));
        };
        // The URL may hold a password: it is not repeated.
        store.at(text).map(|s| Self::Database(Box::new(s))).map_err(|why| usage(format!("(a URL) {why}")))
    }

    /// In words, without a password.
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Database(settings) => settings.place().to_owned(),
        }
    }

    /// Looks whether something is there.
    ///
    /// # Errors
    /// [`Code::CannotWrite`] if so, [`Code::Unavailable`] where a database does not answer.
    pub async fn is_free(&self) -> Result<(), Failure> {
        match self {
            Self::File(path) => self.refuse_file(path).await,
            Self::Database(settings) => {
                let look = || PostgresStore::look(settings).map_err(|e| unavailable(&e));
                if tokio::task::block_in_place(look)? { Err(self.refused_database(settings).await) } else { Ok(()) }
            }
        }
    }

    /// Makes an empty store there that says that it is not whole.
    ///
    /// # Errors
    /// As [`is_free`](Self::is_free), and when it cannot be made.
    pub async fn make(&self) -> Result<(Arc<dyn Rebuild>, Uuid), Failure> {
        self.is_free().await?;
        let options = Options { durable: false, ..Options::default() };
        let store: Arc<dyn Rebuild> = match self {
            Self::File(path) => Arc::new(SqliteStore::open_with(path, options).map_err(|e| cannot_write(&e))?),
            Self::Database(settings) => {
                let open = || PostgresStore::open(settings, options).map_err(|e| unavailable(&e));
                Arc::new(tokio::task::block_in_place(open)?)
            }
        };
        let me = me();
        let id = me.id;
        store.beat(me).await.map_err(|e| cannot_write(&e))?;
        Ok((store, id))
    }

    async fn refuse_file(&self, path: &Path) -> Result<(), Failure> {
        if !path.try_exists().unwrap_or(true) {
            return Ok(());
        }
        let shown = path.display();
        let words = match SqliteView::open(path) {
            Ok(view) => half_made(&view).await,
            Err(_) => None,
        };
        let advice = format!("rm -f {shown} {shown}-wal {shown}-shm");
        Err(Failure::new(
            Code::CannotWrite,
            match words {
                Some(words) => format!("--to {shown}: {words}; once no such process runs: {advice}, then run it again"),
                None => {
                    format!("--to {shown}: is there already, and is not touched; allowed: a file that is not there yet")
                }
            },
        ))
    }

    async fn refused_database(&self, settings: &Settings) -> Failure {
        let words = match PostgresStore::view(settings) {
            Ok(view) => half_made(&view).await,
            Err(_) => None,
        };
        let place = settings.place();
        Failure::new(
            Code::CannotWrite,
            match words {
                Some(words) => {
                    format!(
                        "--to {place}: {words}; once no such process runs: drop the database, make it again (dropdb, createdb), then run it again"
                    )
                }
                None => format!("--to {place}: holds a store, which is not touched; allowed: a database without one"),
            },
        )
    }

    /// What is in it is on its disk, and it is whole.
    ///
    /// # Errors
    /// [`Code::CannotWrite`].
    pub async fn complete(&self, store: Arc<dyn Rebuild>, id: Uuid) -> Result<(), Failure> {
        let Self::File(path) = self else {
            // The commit of the last word carries all before it.
            return store.farewell(id).await.map_err(|e| cannot_write(&e));
        };
        drop(store);
        let synced = || {
            std::fs::File::open(path)?.sync_all()?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::File::open(dir)?.sync_all()
        };
        synced().map_err(|e| Failure::new(Code::CannotWrite, format!("--to {}: {e}", path.display())))?;
        let store = SqliteStore::open(path).map_err(|e| cannot_write(&e))?;
        store.farewell(id).await.map_err(|e| cannot_write(&e))
    }
}

fn me() -> ProcessState {
    let now_ms = SystemClock.now_ms();
    ProcessState {
        id: Uuid::now_v7(),
        role: ROLE.to_owned(),
        clusters: String::new(),
        reads: String::new(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: now_ms,
        beat_ms: now_ms,
        problems: Vec::new(),
    }
}

fn cannot_write(e: &StoreError) -> Failure {
    let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
    Failure::new(Code::CannotWrite, format!("{e}{advice}"))
}

/// In words, if a store was not made to its end.
async fn half_made(store: &dyn Store) -> Option<String> {
    let processes = store.processes().await.ok()?;
    let maker = processes.into_iter().find(|p| p.role == ROLE)?;
    Some(format!(
        "a half-made store: `chaperone store rebuild` (process {} on {}) works on it, or was ended",
        maker.pid, maker.host
    ))
}

/// Refuses to work on a store that was not made to its end.
///
/// # Errors
/// [`Code::CannotWrite`].
pub(crate) async fn refuse_half_made(store: &dyn Store, place: &str) -> Result<(), Failure> {
    match half_made(store).await {
        Some(words) => {
            Err(Failure::new(Code::CannotWrite, format!("store {place}: {words}; it lacks what was not read yet")))
        }
        None => Ok(()),
    }
}
