//! Opening the database: file, pragmas, schema.
//!
//! WAL journal, synchronous=FULL: a committed batch survives power loss. A second process may write to the same file
//! (a separate tap claims), so writers wait up to ten seconds for each other. The file is readable by its owner only.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::tx::LiteTx;
use crate::db::{Done, Fault, schema};
use crate::upkeep::Vacuumed;

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(10);
/// Statements kept prepared per connection.
const STATEMENTS: usize = 128;
/// Attempts to open the file, should two processes make it at once; the wait grows by [`STEP`] each time.
const ATTEMPTS: u32 = 20;
const STEP: Duration = Duration::from_millis(20);

mod migrations {
    refinery::embed_migrations!("src/sqlite/schema");
}

/// The newest schema in `schema/`; a test holds it to the files.
pub(super) const SCHEMA: i64 = 1;

/// Where the database is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In a file.
    File(String),
    /// In memory, shared by this process's connections under a name.
    Memory(String),
}

impl Place {
    /// For error messages.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::Memory(_) => ":memory:",
        }
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let conn = match self {
            Self::File(path) => Connection::open_with_flags(path, flags),
            Self::Memory(name) => {
                Connection::open_with_flags(format!("file:/{name}?vfs=memdb"), flags | OpenFlags::SQLITE_OPEN_URI)
            }
        }?;
        // On a file that somebody ran ANALYZE on, a statement would be planned anew for each value that it is given.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(conn)
    }

    /// The connection that writes, with the schema up to date. `durable`: what is committed survives power loss.
    pub(super) fn writer(&self, durable: bool) -> Done<Connection> {
        if let Self::File(path) = self {
            create_private(Path::new(path))?;
        }
        let mut attempt = 1;
        loop {
            match self.try_writer(durable) {
                // SQLite does not wait while the journal mode changes, and of two who make the schema one fails; the
                // next attempt finds the other's work done.
                Err(fault) if attempt < ATTEMPTS && is_contention(&fault) => std::thread::sleep(STEP * attempt),
                outcome => return outcome,
            }
            attempt += 1;
        }
    }

    fn try_writer(&self, durable: bool) -> Done<Connection> {
        let no_mutex = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | no_mutex)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        // The page size counts only while the file is empty.
        conn.execute_batch("PRAGMA page_size = 8192; PRAGMA foreign_keys = OFF;")?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
        conn.execute_batch("PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;")?;
        conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
        if !is_made(&conn)? || schema::is_due(&LiteTx(&conn), SCHEMA)? {
            migrations::migrations::runner().run(&mut conn)?;
        }
        Ok(conn)
    }

    /// A connection that cannot write.
    pub(super) fn reader(&self) -> Done<Connection> {
        if let Self::File(path) = self
            && std::fs::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        {
            return Err(Fault::NotMade);
        }
        let flags = match self {
            Self::File(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            // The memory of a name lives as long as it is open; opened read-only it could not be shared.
            Self::Memory(_) => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let conn = self.connect(flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;")?;
        Ok(conn)
    }
}

/// Writes the database anew without what is free in it. Refuses while anybody else has it open: of a database that nobody
/// has, the journal can be switched off.
pub(super) fn vacuum(path: &Path) -> Done<Vacuumed> {
    let size = || Done::Ok(std::fs::metadata(path)?.len());
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.busy_timeout(Duration::ZERO)?;
    conn.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get::<_, String>(0))?;
    let before = size()?;
    let done = conn.execute_batch("PRAGMA synchronous = FULL; VACUUM");
    conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    done?;
    Ok(Vacuumed { before, after: size()? })
}

/// Whether anybody has made the schema.
pub(super) fn is_made(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'")?.exists([])?
        && conn.prepare("SELECT 1 FROM refinery_schema_history")?.exists([])?)
}

/// Makes the file, readable by its owner only, unless it is there.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn is_contention(fault: &Fault) -> bool {
    match fault {
        Fault::Sqlite(e) => {
            matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
        }
        Fault::Schema(e) => {
            let text = format!("{e:?}");
            text.contains("locked") || text.contains("already exists") || text.contains("UNIQUE")
        }
        Fault::Postgres(_)
        | Fault::File(_)
        | Fault::Stored { .. }
        | Fault::Moved { .. }
        | Fault::Former { .. }
        | Fault::TooLong
        | Fault::NotMade
        | Fault::LaterSchema { .. }
        | Fault::OlderSchema { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::db::schema::rule_of;

    #[test]
    fn the_newest_schema_is_the_one_that_readers_expect_and_each_only_adds() {
        let runner = super::migrations::migrations::runner();
        let newest = runner.get_migrations().iter().map(refinery::Migration::version).max();
        assert_eq!(newest.map(i64::from), Some(super::SCHEMA));
        for m in runner.get_migrations() {
            assert_eq!(rule_of(m.version().into(), m.name(), m.sql().unwrap_or_default()), Ok(()));
        }
    }
}
