//! Opening the database: file, pragmas, schema.
//!
//! WAL journal, synchronous=FULL: a committed batch survives power loss. A second process may write to the same file
//! (a separate tap claims), so writers wait up to ten seconds for each other. The file is readable by its owner only.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::db::{Done, Fault};

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(10);
/// Statements kept prepared per connection.
const STATEMENTS: usize = 128;
/// Attempts to bring the schema up to date, should two processes try at once.
const SCHEMA_ATTEMPTS: u32 = 4;

mod schema {
    refinery::embed_migrations!("src/sqlite/schema");
}

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
        match self {
            Self::File(path) => Connection::open_with_flags(path, flags),
            Self::Memory(name) => {
                Connection::open_with_flags(format!("file:/{name}?vfs=memdb"), flags | OpenFlags::SQLITE_OPEN_URI)
            }
        }
    }

    /// The connection that writes, with the schema up to date. `durable`: what is committed survives power loss.
    pub(super) fn writer(&self, durable: bool) -> Done<Connection> {
        if let Self::File(path) = self {
            create_private(Path::new(path))?;
        }
        let no_mutex = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | no_mutex)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        // The page size counts only while the file is empty.
        conn.execute_batch("PRAGMA page_size = 8192; PRAGMA foreign_keys = OFF;")?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
        conn.execute_batch("PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;")?;
        conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
        migrate(&mut conn)?;
        Ok(conn)
    }

    /// A connection that cannot write.
    pub(super) fn reader(&self) -> Done<Connection> {
        let flags = match self {
            Self::File(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            // The memory of a name lives as long as it is open; opened read-only it could not be shared.
            Self::Memory(_) => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let conn = self.connect(flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;")?;
        Ok(conn)
    }
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

fn migrate(conn: &mut Connection) -> Done<()> {
    let mut attempt = 1;
    loop {
        match schema::migrations::runner().run(conn) {
            Ok(_) => return Ok(()),
            Err(fault) if attempt >= SCHEMA_ATTEMPTS => return Err(Fault::Schema(fault)),
            // Another process may have been faster; the next attempt finds its work done.
            Err(_) => std::thread::sleep(Duration::from_millis(50) * attempt),
        }
        attempt += 1;
    }
}
