//! Databases of PostgreSQL that tests work on: each a copy of one that has the schema.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chaperone_collector::postgres::{Settings, Tls};
use chaperone_collector::sqlite::Options;
use chaperone_collector::{PostgresStore, Store};
use chaperone_tests::postgres::server;
use parking_lot::Mutex;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A database that is opened as often as a test likes.
pub(crate) struct Place {
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
    let (client, connection) = tokio_postgres::connect(&server().url(database), NoTls).await?;
    let driven = tokio::spawn(connection);
    let said = client.simple_query(sql).await?;
    drop(client);
    driven.await.expect("driven")?;
    let rows = said.into_iter().filter_map(|m| match m {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).unwrap_or("null").to_owned()).collect()),
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
        let store = PostgresStore::open(&settings(&server().url("template_store")), Options::default());
        drop(store.expect("a store"));
        *made = true;
    }
}

/// A store on a database that stays as long as the server does.
pub(crate) fn memory_with(options: Options) -> Arc<dyn Store> {
    let place = Place::new();
    let store = place.open_with(options);
    std::mem::forget(place);
    store
}

/// A figure of this suite.
pub(crate) fn figure(name: &str, value: u64) {
    chaperone_tests::figures::record("postgres", name, value).expect("recorded");
}

/// What the server noticed that it should not.
pub(crate) fn deadlocks() -> usize {
    server().log().matches("deadlock detected").count()
}

impl Place {
    /// A new one.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let database = format!("store_{}", NEXT.fetch_add(1, Ordering::SeqCst));
        template();
        let sql = format!("CREATE DATABASE {database} TEMPLATE template_store");
        // The template's own connections take a moment to end.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while let Err(e) = apart(say("postgres", &sql)) {
            assert!(std::time::Instant::now() < until, "{e:?}");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        Self { database }
    }

    /// The database's URL.
    pub(crate) fn settings(&self) -> Settings {
        settings(&server().url(&self.database))
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
        Arc::new(PostgresStore::open(&self.settings(), options).expect("opens"))
    }

    /// What others see, as text; NULL is `null`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        apart(say(&self.database, sql)).expect(sql)
    }

    /// The only value of a query.
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql).concat().into_iter().next().unwrap_or_else(|| panic!("no row: {sql}"))
    }

    /// Does away with all that was stored: a database is emptied sooner than made.
    pub(crate) fn renew(&mut self) {
        let tables = "SELECT table_name FROM information_schema.tables
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
                        AND table_name NOT IN ('meta', 'judged', 'refinery_schema_history')";
        let deletes: Vec<String> = self.rows(tables).concat().iter().map(|t| format!("DELETE FROM {t}")).collect();
        self.rows(&deletes.join(";"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        drop(apart(say("postgres", &sql)));
    }
}
