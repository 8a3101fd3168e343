//! Where a store is that a test works on: SQLite, or PostgreSQL if `CHAPERONE_TEST_STORE` says so. Every test here runs on
//! both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chaperone_collector::postgres::{Settings, Tls};
use chaperone_collector::sqlite::Options;
use chaperone_collector::{PostgresStore, SqliteStore, Store};
use parking_lot::Mutex;
use tokio_postgres::{NoTls, SimpleQueryMessage};

#[path = "../../../tests/src/postgres.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with suites that use more of it")]
pub(crate) mod server;

/// Which store is tested.
pub(crate) fn on_postgres() -> bool {
    if env!("CARGO_CRATE_NAME") == "postgres" {
        return true;
    }
    match std::env::var("CHAPERONE_TEST_STORE").as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(_) => false,
        Ok(other) => panic!("CHAPERONE_TEST_STORE is {other}: sqlite or postgres"),
    }
}

/// A database that is opened as often as a test likes.
pub(crate) struct Place {
    /// Of SQLite.
    dir: Option<tempfile::TempDir>,
    /// Of PostgreSQL.
    database: String,
}

/// Runs `work` where a runtime may be waited for.
fn apart<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}

/// Says something to a database; rows as text, NULL as `null`.
async fn say(database: &str, sql: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&server::server().url(database), NoTls).await?;
    let driven = tokio::spawn(connection);
    let said = client.simple_query(sql).await?;
    drop(client);
    driven.await.expect("driven")?;
    let rows = said.into_iter().filter_map(|m| match m {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or("null").to_owned()).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

pub(crate) fn settings(url: &str) -> Settings {
    Settings::new(url, None, Tls::Off, 8).expect("a good URL")
}

/// A database with the schema in it, which others are copies of.
fn template() {
    static MADE: Mutex<bool> = Mutex::new(false);
    let mut made = MADE.lock();
    if !*made {
        apart(say("postgres", "CREATE DATABASE template_store")).expect("a database");
        let store = PostgresStore::open(&settings(&server::server().url("template_store")), Options::default());
        drop(store.expect("a store"));
        *made = true;
    }
}

impl Place {
    /// A new one.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !on_postgres() {
            return Self { dir: Some(tempfile::tempdir().expect("a directory")), database: String::new() };
        }
        let database = format!("store_{}", NEXT.fetch_add(1, Ordering::SeqCst));
        template();
        let sql = format!("CREATE DATABASE {database} TEMPLATE template_store");
        // The template's own connections take a moment to end.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while let Err(e) = apart(say("postgres", &sql)) {
            assert!(std::time::Instant::now() < until, "{e:?}");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        Self { dir: None, database }
    }

    /// Stays when this is dropped.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    fn path(&self) -> Option<std::path::PathBuf> {
        Some(self.dir.as_ref()?.path().join("s.sqlite"))
    }

    /// The database's URL.
    pub(crate) fn settings(&self) -> Settings {
        settings(&server::server().url(&self.database))
    }

    /// Its name.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// A store on it.
    pub(crate) fn open(&self) -> Arc<dyn Store> {
        self.open_with(Options::default())
    }

    /// Likewise.
    pub(crate) fn open_with(&self, options: Options) -> Arc<dyn Store> {
        match self.path() {
            Some(path) => Arc::new(SqliteStore::open_with(path, options).expect("opens")),
            None => Arc::new(PostgresStore::open(&self.settings(), options).expect("opens")),
        }
    }

    /// What others see, as text; NULL is `null`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let Some(path) = self.path() else { return apart(say(&self.database, sql)).expect(sql) };
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let conn = rusqlite::Connection::open_with_flags(path, flags).expect("opens");
        let mut statement = conn.prepare(sql).expect(sql);
        let columns = statement.column_count();
        let read = |r: &rusqlite::Row<'_>| -> rusqlite::Result<Vec<String>> {
            let text = |i| {
                Ok(match r.get_ref(i)? {
                    rusqlite::types::ValueRef::Null => "null".to_owned(),
                    rusqlite::types::ValueRef::Integer(v) => v.to_string(),
                    rusqlite::types::ValueRef::Real(v) => v.to_string(),
                    rusqlite::types::ValueRef::Text(v) | rusqlite::types::ValueRef::Blob(v) => {
                        String::from_utf8_lossy(v).into_owned()
                    }
                })
            };
            (0..columns).map(text).collect()
        };
        statement.query_map([], read).expect(sql).collect::<Result<_, _>>().expect(sql)
    }

    /// The only value of a query.
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql).concat().into_iter().next().unwrap_or_else(|| panic!("no row: {sql}"))
    }

    /// Does away with all that was stored: a database of PostgreSQL is emptied sooner than made.
    pub(crate) fn renew(&mut self) {
        if self.dir.is_some() {
            *self = Self::new();
            return;
        }
        let tables = "SELECT table_name FROM information_schema.tables
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
                        AND table_name NOT IN ('meta', 'judged', 'refinery_schema_history')";
        let deletes: Vec<String> = self.rows(tables).concat().iter().map(|t| format!("DELETE FROM {t}")).collect();
        self.rows(&deletes.join(";"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.dir.is_none() {
            let sql = format!("DROP DATABASE {} WITH (FORCE)", self.database);
            drop(apart(say("postgres", &sql)));
        }
    }
}
