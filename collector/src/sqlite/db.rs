//! One transaction's view of the database: faults, interned names, the revision, and numbers as they are stored.
//!
//! Invariants: a name's number never changes and is never reused; a cached number is forgotten when the transaction
//! that made it does not commit. Counts are stored saturated at 2^63 − 1, sums modulo 2^64 as their bits.

use std::collections::HashMap;
use std::error::Error;

use chaperone_audit::Fingerprint;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

/// Names cached at most; beyond it the cache starts afresh.
const NAMES_CACHED: usize = 200_000;

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The database's own words.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("schema: {0}")]
    Schema(#[from] refinery::Error),
    /// The file could not be made.
    #[error("file: {0}")]
    File(#[from] std::io::Error),
    /// Another collector moved an audit partition, or began another log of it.
    #[error("audit partition {topic}/{partition} is not at log {log}")]
    Moved {
        /// Audit topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The log that was worked on.
        log: u32,
    },
    /// A topic that had the name before.
    #[error("audit topic {topic} of before")]
    Former {
        /// Audit topic.
        topic: String,
    },
    /// There is a file, but nobody has made the schema in it yet.
    #[error("there is no store yet")]
    NotMade,
    /// The store is of another build.
    #[error("it has schema {found}, this build reads {ours}; run the same version everywhere")]
    OtherSchema {
        /// What it has.
        found: i64,
        /// What is read.
        ours: i64,
    },
    /// Something stored is not what this build writes.
    #[error("stored {what} cannot be read: {source}")]
    Stored {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Fault {
    /// A stored value that cannot be read.
    pub(super) fn stored<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Stored { what, source: source.into() }
    }
}

/// Whoever reads before anybody wrote.
const NO_STORE: &str = "`chaperone collect` or `chaperone run` with the same data_dir makes it";

/// What to do when the database refuses, by its code; its own words name the fault, not the remedy.
pub(crate) fn advice(fault: &(dyn Error + Send + Sync + 'static)) -> Option<&'static str> {
    let code = match fault.downcast_ref::<Fault>()? {
        Fault::Sql(e) => e.sqlite_error_code()?,
        Fault::NotMade => return Some(NO_STORE),
        _ => return None,
    };
    match code {
        ErrorCode::DiskFull => Some("make room on its disk"),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            Some("it must be writable for our user: look at its rights and whether its disk is mounted read-only")
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Some("another program holds its lock: `fuser` on the file says which")
        }
        ErrorCode::SystemIoFailure => Some("its disk fails, or is full: look at the kernel's log"),
        ErrorCode::CannotOpen => Some("look at the rights of its directory, and whether it is still there"),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some("it is damaged: restore a backup"),
        _ => None,
    }
}

pub(super) type Done<T> = Result<T, Fault>;

/// Numbers of names, as far as they are known here.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, i64>);

impl Names {
    /// Forgets everything: the transaction that made some of it was rolled back.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// One transaction.
pub(super) struct Db<'a> {
    pub(super) conn: &'a Connection,
    names: &'a mut Names,
    bumped: Option<u64>,
}

impl<'a> Db<'a> {
    pub(super) fn new(conn: &'a Connection, names: &'a mut Names) -> Self {
        Self { conn, names, bumped: None }
    }

    /// The number of a topic or stage; a new one if it has none.
    pub(super) fn name(&mut self, text: &str) -> Done<i64> {
        if let Some(id) = self.names.0.get(text) {
            return Ok(*id);
        }
        let id = match find_name(self.conn, text)? {
            Some(id) => id,
            None => self
                .conn
                .prepare_cached("INSERT INTO name (text) VALUES (?1) RETURNING id")?
                .query_row([text], |r| r.get(0))?,
        };
        if self.names.0.len() >= NAMES_CACHED {
            self.names.forget();
        }
        self.names.0.insert(text.to_owned(), id);
        Ok(id)
    }

    /// The name of a number.
    pub(super) fn text(&self, id: i64) -> Done<String> {
        Ok(self.conn.prepare_cached("SELECT text FROM name WHERE id = ?1")?.query_row([id], |r| r.get(0))?)
    }

    /// The store's revision.
    pub(super) fn revision(&self) -> Done<u64> {
        let now: i64 =
            self.conn.prepare_cached("SELECT revision FROM meta WHERE one = 1")?.query_row([], |r| r.get(0))?;
        Ok(count(now))
    }

    /// Adds one to the revision, at most once a transaction.
    pub(super) fn bump(&mut self) -> Done<u64> {
        if let Some(revision) = self.bumped {
            return Ok(revision);
        }
        let sql = "UPDATE meta SET revision = revision + 1 WHERE one = 1 RETURNING revision";
        let now: i64 = self.conn.prepare_cached(sql)?.query_row([], |r| r.get(0))?;
        self.bumped = Some(count(now));
        Ok(count(now))
    }

    /// The revision if this transaction changed it.
    pub(super) fn bumped(&self) -> Option<u64> {
        self.bumped
    }

    /// Notes that something was odd; the newest 10,000 are kept.
    pub(super) fn event(&self, at_ms: i64, kind: &str, incarnation: Option<&[u8; 16]>, text: &str) -> Done<()> {
        self.conn
            .prepare_cached("INSERT INTO event (at_ms, kind, incarnation, text) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![at_ms, kind, incarnation, text])?;
        self.keep_newest("DELETE FROM event WHERE id <= ?1")
    }

    /// Bounds a log table after an insert (I7).
    pub(super) fn keep_newest(&self, delete: &'static str) -> Done<()> {
        let oldest = self.conn.last_insert_rowid() - KEPT_ROWS;
        if oldest > 0 {
            self.conn.prepare_cached(delete)?.execute([oldest])?;
        }
        Ok(())
    }
}

/// Rows kept of quarantine and events.
pub(super) const KEPT_ROWS: i64 = 10_000;

/// The number of a name, if it has one.
pub(super) fn find_name(conn: &Connection, text: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM name WHERE text = ?1")?.query_row([text], |r| r.get(0)).optional()
}

/// A count as it is stored.
pub(super) fn int(v: u64) -> i64 {
    i64::try_from(v).unwrap_or(i64::MAX)
}
/// A stored count.
pub(super) fn count(v: i64) -> u64 {
    u64::try_from(v).unwrap_or(0)
}
/// A stored fingerprint.
pub(super) fn fingerprint(bytes: [u8; 16]) -> Fingerprint {
    Fingerprint::from_bytes(bytes)
}
