//! Databases of SQLite that tests work on. The suite `postgres` has the same tests, and a module like this one.

use std::sync::Arc;

use chaperone_collector::rebuild::Rebuild;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{SqliteStore, Store};

/// Random histories of totals.
pub(crate) const HISTORIES: u64 = 1_000;

/// A database that is opened as often as a test likes.
pub(crate) struct Place(tempfile::TempDir);

/// A store in memory.
pub(crate) fn memory_with(options: Options) -> Arc<dyn Store> {
    Arc::new(SqliteStore::in_memory_with(options).expect("store"))
}

/// Nothing is promised of SQLite here.
pub(crate) fn figure(_: &str, _: u64) {}

/// There is one writer: nobody waits in a circle.
pub(crate) fn deadlocks() -> usize {
    0
}

impl Place {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Does away with all that was stored.
    pub(crate) fn renew(&mut self) {
        *self = Self::new();
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("s.sqlite")
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
        Arc::new(SqliteStore::open_with(self.path(), options).expect("opens"))
    }

    /// One that holds what a release with this schema left.
    pub(crate) fn of_fixture(file: &std::path::Path) -> Self {
        let place = Self::new();
        let sql = std::fs::read_to_string(file).expect("a fixture");
        let conn = rusqlite::Connection::open(place.path()).expect("opens");
        conn.execute_batch("PRAGMA page_size = 8192; PRAGMA journal_mode = wal;").expect("set");
        conn.execute_batch(&sql).expect("the fixture");
        place
    }

    /// Writes it as statements.
    pub(crate) fn dump(&self, file: &std::path::Path) {
        let mut sql = String::new();
        let made =
            "SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 'sqlite_sequence' ORDER BY rowid";
        let order = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence' ORDER BY rowid";
        let (tables, schema) = (self.rows(order).concat(), self.rows(made).concat());
        for table in tables {
            let columns =
                self.rows(&format!("SELECT name FROM pragma_table_xinfo('{table}') WHERE hidden = 0 ORDER BY cid"));
            let columns = columns.concat().join(", ");
            let quoted: Vec<String> = columns.split(", ").map(|c| format!("quote({c})")).collect();
            let rows = self.rows(&format!("SELECT {} FROM {table} ORDER BY 1", quoted.join(" || ', ' || ")));
            // Names must have their numbers before anything else does.
            sql.extend(rows.concat().iter().map(|row| format!("INSERT INTO {table} ({columns}) VALUES ({row});\n")));
        }
        std::fs::write(file, format!("{}\n{sql}", schema.join("\n"))).expect("written");
    }

    /// Where fixtures of this database are.
    pub(crate) fn fixtures() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/fixtures")
    }

    /// From now on it takes hours to say how far topics are.
    pub(crate) fn drag(&self) {
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000)
                       SELECT 'x' AS topic, count(*) AS complete_through_ms FROM n";
        self.rows("DROP VIEW v_topic");
        self.rows(&format!("CREATE VIEW v_topic AS {endless}"));
    }

    /// Why it cannot be opened, and what to do about it.
    pub(crate) fn refused(&self) -> String {
        let refused = SqliteStore::open(self.path()).expect_err("refused");
        format!("{refused}: {}", refused.advice().unwrap_or_default())
    }

    /// What others see, as text; NULL is `null`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql).expect(sql)
    }

    /// Likewise, or what was said against it.
    pub(crate) fn try_rows(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let refused = |e: rusqlite::Error| e.to_string();
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let conn = rusqlite::Connection::open_with_flags(self.path(), flags).expect("opens");
        let mut statement = conn.prepare(sql).map_err(refused)?;
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
        statement.query_map([], read).and_then(Iterator::collect).map_err(refused)
    }

    /// The only value of a query.
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql).concat().into_iter().next().unwrap_or_else(|| panic!("no row: {sql}"))
    }
}
