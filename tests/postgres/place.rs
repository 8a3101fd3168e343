//! Databases of PostgreSQL that tests work on: each a copy of one that has the schema.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chaperone_collector::postgres::{Settings, Tls};
use chaperone_collector::rebuild::Rebuild;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{PostgresStore, Store};
use chaperone_tests::postgres::server;
use parking_lot::Mutex;

/// Random histories of totals.
pub(crate) const HISTORIES: u64 = 300;

/// A database that is opened as often as a test likes.
pub(crate) struct Place {
    database: String,
}

/// Says something to a database; rows as text, NULL as `null`.
fn say(database: &str, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    server().say(database, sql)
}

pub(crate) fn settings(url: &str) -> Settings {
    Settings::new(url, None, Tls::Off, 8).expect("a good URL")
}

/// A database with the schema in it, which others are copies of.
fn template() {
    static MADE: Mutex<bool> = Mutex::new(false);
    let mut made = MADE.lock();
    if !*made {
        say("postgres", "CREATE DATABASE template_store").expect("a database");
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
    /// A database without anything in it.
    fn empty() -> Self {
        let place = Self { database: Self::name() };
        say("postgres", &format!("CREATE DATABASE {}", place.database)).expect("a database");
        place
    }

    fn name() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("store_{}", NEXT.fetch_add(1, Ordering::SeqCst))
    }

    /// A new one.
    pub(crate) fn new() -> Self {
        let database = Self::name();
        template();
        let sql = format!("CREATE DATABASE {database} TEMPLATE template_store");
        // The template's own connections take a moment to end.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while let Err(e) = say("postgres", &sql) {
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
        self.open_anew(options)
    }

    /// Likewise, to be made anew.
    pub(crate) fn open_anew(&self, options: Options) -> Arc<dyn Rebuild> {
        Arc::new(PostgresStore::open(&self.settings(), options).expect("opens"))
    }

    /// One that holds what a release with this schema left.
    pub(crate) fn of_fixture(file: &std::path::Path) -> Self {
        let place = Self::empty();
        let sql = std::fs::read_to_string(file).expect("a fixture");
        place.rows(&sql);
        place
    }

    /// Writes it as statements.
    pub(crate) fn dump(&self, file: &std::path::Path) {
        let mut command = std::process::Command::new("pg_dump");
        let output =
            command.args(["--inserts", "--no-owner", &server().url(&self.database)]).output().expect("pg_dump");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        // Comments, settings of the session and what only psql understands.
        let skipped = |line: &&str| {
            line.is_empty()
                || ["--", "\\", "SET ", "SELECT pg_catalog.set_config"].iter().any(|word| line.starts_with(word))
        };
        let lines: Vec<&str> = text.lines().filter(|line| !skipped(line)).collect();
        std::fs::write(file, lines.join("\n") + "\n").expect("written");
    }

    /// Where fixtures of this database are.
    pub(crate) fn fixtures() -> std::path::PathBuf {
        chaperone_tests::paths::root().join("tests/postgres/fixtures")
    }

    /// From now on it takes long to say how far topics are.
    pub(crate) fn drag(&self) {
        self.rows(
            "DROP VIEW v_topic;
             CREATE VIEW v_topic AS SELECT CAST(pg_sleep(50) AS TEXT) AS topic, CAST(0 AS BIGINT) AS complete_through_ms",
        );
    }

    /// Why it cannot be opened, and what to do about it.
    pub(crate) fn refused(&self) -> String {
        let refused = PostgresStore::open(&self.settings(), Options::default()).expect_err("refused");
        format!("{refused}: {}", refused.advice().unwrap_or_default())
    }

    /// What others see, as text; NULL is `null`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql).expect(sql)
    }

    /// Likewise, or what the server said against it.
    pub(crate) fn try_rows(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        say(&self.database, sql).map_err(|e| format!("{e:#}"))
    }

    /// The only value of a query.
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql).concat().into_iter().next().unwrap_or_else(|| panic!("no row: {sql}"))
    }

    /// Does away with all that was stored: a database is emptied sooner than made.
    pub(crate) fn renew(&mut self) {
        let tables = "SELECT table_name FROM information_schema.tables
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
                        AND table_name NOT IN ('meta', 'judged', 'compatible', 'operator_action', 'sweep',
                                               'refinery_schema_history')";
        let deletes: Vec<String> = self.rows(tables).concat().iter().map(|t| format!("DELETE FROM {t}")).collect();
        self.rows(&deletes.join(";"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        drop(say("postgres", &sql));
    }
}
