//! The store in PostgreSQL, or a database that speaks like it: several processes may write at once.
//!
//! What it does is in `tables`; here are connections, the schema (`schema/`), statements as PostgreSQL
//! takes them, and what is tried again.
//!
//! Invariants: every write is one transaction in READ COMMITTED that holds what it changes before it reads it, in one
//! order for everybody; every read is of one moment. Work whose COMMIT was not answered is run again, and changes
//! nothing if it had been committed. The judge reads one moment, and writes only if nobody judged since.
//! Limits: nothing is used that only PostgreSQL itself has: no COPY, temporary table, advisory lock or notification. Another
//! process's revision is seen within `LOOK_EVERY`.

mod pool;
mod refusal;
mod session;
mod text;
mod tx;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::db::{Db, Done, Fault, Tx};
use crate::patience::Patience;
use crate::pipeline::Pipelines;
use crate::store::{Answer, StoreError};
use crate::tables::{Engine, Options, Silence, deliberate, pronounce, tidy};
use pool::{For, Pool};
pub(crate) use refusal::Refusal;
use session::Session;

/// How often the revision is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long an answer is tried for, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether and how the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// In the clear.
    Off,
    /// Encrypted.
    On {
        /// The server's certificate and name are checked.
        verify: bool,
        /// Who signed it (PEM); else whom the system trusts.
        ca_file: Option<PathBuf>,
        /// Our own certificate and its key (PEM).
        identity: Option<(PathBuf, PathBuf)>,
    },
}

/// Where the database is, and how it is reached.
#[derive(Clone)]
pub struct Settings {
    config: Config,
    tls: Tls,
    connections: u32,
    /// How long an answer is tried for.
    patience: Duration,
    /// In words, without the password.
    place: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("place", &self.place).field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl Settings {
    /// Of a URL (`postgres://user@host:port/database`), a password if the URL has none, and so many connections at
    /// most.
    ///
    /// # Errors
    /// What is wrong with the URL, in words; never its password.
    pub fn new(url: &str, password: Option<&str>, tls: Tls, connections: u32) -> Result<Self, String> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err("must begin with postgres:// or postgresql://".into());
        }
        let mut config = Config::from_str(url).map_err(|e| {
            // Its own words may quote the URL.
            let cause = std::error::Error::source(&e).map(|c| format!(": {c}")).unwrap_or_default();
            format!("cannot be read{cause}")
        })?;
        if config.get_hosts().is_empty() {
            return Err("names no host".into());
        }
        let Some(database) = config.get_dbname().map(str::to_owned) else {
            return Err("names no database: postgres://user@host:port/database".into());
        };
        if let Some(password) = password {
            if config.get_password().is_some() {
                return Err("has a password, and there is another: one of them must go".into());
            }
            config.password(password);
        }
        config.ssl_mode(match tls {
            Tls::Off => tokio_postgres::config::SslMode::Disable,
            Tls::On { .. } => tokio_postgres::config::SslMode::Require,
        });
        let hosts: Vec<String> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let ports: Vec<String> = config.get_ports().iter().map(|p| format!(":{p}")).collect();
        let place = format!("postgres://{}{}/{database}", hosts.join(","), ports.join(","));
        Ok(Self { config, tls, connections, patience: PATIENCE, place })
    }

    /// How long what fails is tried again; ten seconds where nothing is said.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Another database, reached in the same way: with our password, if its URL has none.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn at(&self, url: &str) -> Result<Self, String> {
        let apart = Self::new(url, None, self.tls.clone(), self.connections)?;
        let ours = self.config.get_password().filter(|_| apart.config.get_password().is_none());
        match ours.map(std::str::from_utf8) {
            Some(Ok(password)) => Self::new(url, Some(password), self.tls.clone(), self.connections),
            _ => Ok(apart),
        }
    }

    /// In words, without user or password.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// The store in PostgreSQL.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    options: Options,
    silence: Silence,
    reads_only: bool,
    revision: Arc<watch::Sender<u64>>,
    stop: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

impl PostgresStore {
    /// Connects, and makes the schema if need be. Waits for the database for ten seconds at most; blocks.
    ///
    /// # Errors
    /// [`StoreError::Database`] when it cannot be reached, refuses us, or has a later schema.
    pub fn open(settings: &Settings, options: Options) -> Result<Self, StoreError> {
        let store = Self::new(settings, options, false)?;
        // On a thread of its own: the caller may be one that must not wait for another runtime.
        let made = std::thread::scope(|scope| scope.spawn(|| store.pool.first(&Session::migrate)).join());
        made.map_err(|_| StoreError::Stopped)?.map_err(|fault| pool::told(settings, "open the database", fault))?;
        Ok(store)
    }

    /// Reads only what others write; whether or not there is anything yet.
    ///
    /// # Errors
    /// [`StoreError::Database`] when no thread can be started.
    pub fn view(settings: &Settings) -> Result<Self, StoreError> {
        Self::new(settings, Options::default(), true)
    }

    /// Looks whether there is a database, and whether this build could work on it; makes nothing. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Database`], likewise.
    pub fn look(settings: &Settings) -> Result<bool, StoreError> {
        let look = || Session::connect(settings, For::Reading, true).and_then(|session| session.usable());
        let found = std::thread::scope(|scope| scope.spawn(look).join());
        match found.map_err(|_| StoreError::Stopped)? {
            // An older schema is brought up to date by the next start.
            Ok(()) | Err(Fault::OlderSchema { .. }) => Ok(true),
            Err(Fault::NotMade) => Ok(false),
            Err(fault) => Err(pool::told(settings, "look at the database", fault)),
        }
    }

    fn new(settings: &Settings, options: Options, reads_only: bool) -> Result<Self, StoreError> {
        let pool = Pool::new(settings.clone(), options.durable, reads_only);
        let revision = Arc::new(watch::channel(0).0);
        let stop = Arc::new(AtomicBool::new(false));
        let mut looks = settings.clone();
        looks.config.application_name("chaperone revision");
        let follower = Follower { settings: looks, revision: Arc::clone(&revision), stop: Arc::clone(&stop) };
        let follower = std::thread::Builder::new()
            .name("store-follower".into())
            .spawn(move || follower.run())
            .map_err(|e| pool::told(settings, "follow the database", Fault::File(e)))?;
        let silence = Silence::default();
        Ok(Self { pool, options, silence, reads_only, revision, stop, follower: Some(follower) })
    }

    /// How long reporters may be silent is said by these.
    pub fn follow_pipelines(&self, pipelines: &Pipelines) {
        self.silence.note(pipelines);
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(follower) = self.follower.take() {
            // Not waited for: it may be waiting for a server that is gone.
            follower.thread().unpark();
        }
    }
}

/// Looks at the revision.
struct Follower {
    settings: Settings,
    revision: Arc<watch::Sender<u64>>,
    stop: Arc<AtomicBool>,
}

impl Follower {
    fn run(self) {
        let mut session: Option<Session> = None;
        while !self.stop.load(Ordering::SeqCst) {
            if session.is_none() {
                // What is wrong is said to whoever asks the store.
                session = Session::connect(&self.settings, For::Reading, true).ok();
            }
            if let Some(open) = &mut session {
                match open.revision() {
                    Ok(now) => publish(&self.revision, now),
                    Err(_) => session = None,
                }
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

fn publish(revision: &watch::Sender<u64>, now: u64) {
    revision.send_if_modified(|known| std::mem::replace(known, now) != now);
}

impl Engine for PostgresStore {
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
        if self.reads_only {
            return Box::pin(async move { Err(StoreError::ReadOnly { action }) });
        }
        let revision = Arc::clone(&self.revision);
        self.pool.write(action, move |session| {
            let (value, now) = session.write(&work)?;
            if let Some(now) = now {
                publish(&revision, now);
            }
            Ok(value)
        })
    }

    fn read<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        self.pool.read(action, work)
    }

    fn court(&self, now_ms: i64, pipelines: Pipelines) -> Answer<'_, u64> {
        const ACTION: &str = "judge windows";
        if self.reads_only {
            return Box::pin(async { Err(StoreError::ReadOnly { action: ACTION }) });
        }
        let (options, revision) = (self.options, Arc::clone(&self.revision));
        self.pool.write(ACTION, move |session| {
            session.write(&|db| tidy(db, now_ms, &pipelines, &options))?;
            let found = session.read(&Patience::default(), &|tx| deliberate(tx, now_ms, &pipelines, &options))?;
            if found.is_empty() {
                return Ok(0);
            }
            let (changed, now) = session.write(&|db| pronounce(db, &found))?;
            if let Some(now) = now {
                publish(&revision, now);
            }
            Ok(changed)
        })
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}
