//! The seam between what the store does and the database that holds it: one transaction's view, faults, interned names,
//! the revision, and numbers as they are stored.
//!
//! [`tables`](crate::tables) is written against [`Tx`]; [`sqlite`](crate::sqlite) and [`postgres`](crate::postgres)
//! implement it.
//! Invariants: a name's number never changes and is never reused; a cached number is forgotten when the transaction
//! that made it does not commit. Counts are stored saturated at 2^63 − 1, sums modulo 2^64 as their bits.

pub(crate) mod schema;
mod tx;
mod value;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;

use chaperone_audit::Fingerprint;
use rusqlite::ErrorCode;

pub(crate) use tx::{Each, EachOf, Tx};
pub(crate) use value::{AsValue, Columns, Row, Value, params};

/// Names cached at most; beyond it the cache starts afresh.
const NAMES_CACHED: usize = 200_000;

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// SQLite's own words.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL's own words.
    #[error(transparent)]
    Postgres(#[from] crate::postgres::Refusal),
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
    /// Nobody waits for it any longer.
    #[error("nobody waits for it any longer")]
    TooLong,
    /// There is a place for it, but nobody has made the schema in it yet.
    #[error("there is no store yet")]
    NotMade,
    /// The store is of a later release that this build knows too little of.
    #[error("it has schema {found}, for releases that know schema {least} or later; this one knows {ours}")]
    LaterSchema {
        /// What it has.
        found: i64,
        /// What must be known.
        least: i64,
        /// What is known.
        ours: i64,
    },
    /// Nobody has brought the store up to date yet.
    #[error("it has schema {found}, this release reads {ours}")]
    OlderSchema {
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
    pub(crate) fn stored<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Stored { what, source: source.into() }
    }
}

/// Whoever reads before anybody wrote.
const NO_STORE: &str = "`chaperone collect` or `chaperone run` with the same store makes it";

/// A release before the last.
const NEWER: &str =
    "run the release that wrote it or a later one, or restore the backup that was made before the upgrade";
/// A page of a release later than the collector's.
const OLDER: &str = "upgrade `chaperone collect` or `chaperone run` too: its first start brings the store up to date";
/// Between releases the first schema may change.
const UNRELEASED: &str = "a build between releases made it: run that build, or begin a new store beside it";

/// What to do when the database refuses, by its code; its own words name the fault, not the remedy.
pub(crate) fn advice(fault: &(dyn Error + Send + Sync + 'static)) -> Option<&'static str> {
    let code = match fault.downcast_ref::<Fault>()? {
        Fault::Sqlite(e) => e.sqlite_error_code()?,
        Fault::Postgres(refusal) => return refusal.advice(),
        Fault::NotMade => return Some(NO_STORE),
        Fault::LaterSchema { .. } => return Some(NEWER),
        Fault::OlderSchema { .. } => return Some(OLDER),
        Fault::Schema(e) if matches!(e.kind(), refinery::error::Kind::DivergentVersion(..)) => return Some(UNRELEASED),
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
        ErrorCode::SystemIoFailure => Some("its disk fails, is full, or was made read-only: look at the kernel's log"),
        ErrorCode::CannotOpen => Some("look at the rights of its directory, and whether it is still there"),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some("it is damaged: restore a backup"),
        _ => None,
    }
}

pub(crate) type Done<T> = Result<T, Fault>;

/// Numbers of names, as far as they are known here.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, i64>);

impl Names {
    /// Forgets everything: the transaction that made some of it was rolled back.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A window in the judge's queue: topic, start, width.
pub(crate) type Window = (i64, i64, i64);

/// Why a window is put into the judge's queue.
#[derive(Debug, Clone, Copy, Default)]
struct Again {
    /// Its counts moved.
    touched: bool,
    /// Nothing about it is settled.
    unsettled: bool,
}

/// One transaction.
pub(crate) struct Db<'a> {
    pub(crate) tx: &'a dyn Tx,
    names: &'a mut Names,
    /// Set apart for each transaction, where several write at once.
    mark: i64,
    bumps: bool,
    revision: Option<u64>,
    again: RefCell<BTreeMap<Window, Again>>,
}

impl<'a> Db<'a> {
    /// `mark` tells this transaction's entries in the judge's queue from every other's.
    pub(crate) fn new(tx: &'a dyn Tx, names: &'a mut Names, mark: i64) -> Self {
        Self { tx, names, mark, bumps: false, revision: None, again: RefCell::default() }
    }

    /// The number of a topic or stage; a new one if it has none.
    pub(crate) fn name(&mut self, text: &str) -> Done<i64> {
        if let Some(id) = self.names.0.get(text) {
            return Ok(*id);
        }
        let insert = "INSERT INTO name (text) VALUES (?1) ON CONFLICT (text) DO NOTHING";
        let id = if let Some(id) = find_name(self.tx, text)? {
            id
        } else {
            self.tx.execute(insert, params![text])?;
            find_name(self.tx, text)?.ok_or_else(|| Fault::stored("name")("it was made and is not there"))?
        };
        self.remember(text, id);
        Ok(id)
    }

    fn remember(&mut self, text: &str, id: i64) {
        if self.names.0.len() >= NAMES_CACHED {
            self.names.forget();
        }
        self.names.0.insert(text.to_owned(), id);
    }

    /// Makes sure that these names have numbers, and that the numbers are known here.
    pub(crate) fn intern<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Done<()> {
        let unknown: BTreeSet<&str> = names.into_iter().filter(|n| !self.names.0.contains_key(*n)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let keys: Vec<Value<'_>> = unknown.iter().map(AsValue::value).collect();
        let find = |tx: &dyn Tx, keys: &[Value<'_>]| tx.first_many(FIND_NAME, 1, keys, |r| r.get::<i64>(0));
        let mut found = find(self.tx, &keys)?;
        if found.iter().any(Option::is_none) {
            let missing = keys.iter().zip(&found).filter(|(_, id)| id.is_none());
            let missing: Vec<Value<'_>> = missing.map(|(name, _)| *name).collect();
            let insert = "INSERT INTO name (text) VALUES (?1) ON CONFLICT (text) DO NOTHING";
            self.tx.execute_many(insert, 1, &missing)?;
            found = find(self.tx, &keys)?;
        }
        for (name, id) in unknown.into_iter().zip(found) {
            if let Some(id) = id {
                self.remember(name, id);
            }
        }
        Ok(())
    }

    /// The name of a number.
    pub(crate) fn text(&self, id: i64) -> Done<String> {
        self.tx.one("SELECT text FROM name WHERE id = ?1", params![id], |r| r.get(0))
    }

    /// The store's revision, as it will be when this transaction is over.
    pub(crate) fn revision(&self) -> Done<u64> {
        Ok(revision(self.tx)?.saturating_add(u64::from(self.bumps)))
    }

    /// Adds one to the revision, at most once a transaction.
    pub(crate) fn bump(&mut self) {
        self.bumps = true;
    }

    /// The revision if this transaction changed it.
    pub(crate) fn bumped(&self) -> Option<u64> {
        self.revision
    }

    /// Puts a window whose counts moved into the judge's queue, when the transaction ends.
    pub(crate) fn touch(&self, window: Window) {
        *self.again.borrow_mut().entry(window).or_default() = Again { touched: true, unsettled: true };
    }

    /// Likewise one whose counts did not move.
    pub(crate) fn reopen(&self, window: Window, unsettled: bool) {
        self.again.borrow_mut().entry(window).or_default().unsettled |= unsettled;
    }

    /// Writes the judge's queue: after what was counted, so that nobody who waits for it holds that up.
    pub(crate) fn queue(&self) -> Done<()> {
        let queued = self.again.take();
        let mut values = Vec::with_capacity(queued.len() * 6);
        for ((topic, window_ms, width_ms), again) in &queued {
            values.extend(params![topic, window_ms, width_ms, again.touched, again.unsettled, self.mark]);
        }
        self.tx.execute_many(include_str!("tables/sql/pending_put.sql"), 6, &values)?;
        Ok(())
    }

    /// What comes last in every transaction that writes: the judge's queue, if it is not written yet, and the revision,
    /// which everybody writes.
    pub(crate) fn finish(&mut self, shard: i64) -> Done<()> {
        self.queue()?;
        if self.bumps {
            let sql = "UPDATE meta SET revision = revision + 1 WHERE one = ?1";
            self.tx.execute(sql, params![shard])?;
            self.revision = Some(revision(self.tx)?);
        }
        Ok(())
    }

    /// Notes that something was odd; the newest 10,000 are kept.
    pub(crate) fn event(&self, at_ms: i64, kind: &str, incarnation: Option<&[u8; 16]>, text: &str) -> Done<()> {
        let sql = "INSERT INTO event (at_ms, kind, incarnation, text) VALUES (?1, ?2, ?3, ?4) RETURNING id";
        self.note(sql, params![at_ms, kind, incarnation, text], "DELETE FROM event WHERE id <= ?1")
    }

    /// Inserts a row that returns its number, and bounds the table (I7).
    pub(crate) fn note(&self, insert: &'static str, params: &[Value<'_>], delete: &'static str) -> Done<()> {
        let Some(id) = self.tx.first(insert, params, |r| r.get::<i64>(0))? else { return Ok(()) };
        if id > KEPT_ROWS {
            self.tx.execute(delete, params![id - KEPT_ROWS])?;
        }
        Ok(())
    }
}

/// Rows kept of quarantine and events.
pub(crate) const KEPT_ROWS: i64 = 10_000;

const FIND_NAME: &str = "SELECT id FROM name WHERE text = ?1";

/// The number of a name, if it has one.
pub(crate) fn find_name(tx: &dyn Tx, text: &str) -> Done<Option<i64>> {
    tx.first(FIND_NAME, params![text], |r| r.get(0))
}

const NAME_OF: &str = "SELECT text FROM name WHERE id = ?1";

/// Texts of names: looked up once each, where a statement that gives many rows would for each of them.
pub(crate) struct Texts(HashMap<i64, String>);

impl Texts {
    /// Those of these numbers, however often each is among them.
    pub(crate) fn of_all(tx: &dyn Tx, ids: impl IntoIterator<Item = i64>) -> Done<Self> {
        let ids: BTreeSet<i64> = ids.into_iter().collect();
        let keys: Vec<Value<'_>> = ids.iter().copied().map(Value::Int).collect();
        let texts = tx.first_many(NAME_OF, 1, &keys, |r| r.get(0))?;
        Ok(Self(ids.into_iter().zip(texts).filter_map(|(id, text)| Some((id, text?))).collect()))
    }

    /// The text of one.
    pub(crate) fn of(&self, id: i64) -> Done<String> {
        self.0.get(&id).cloned().ok_or_else(|| Fault::stored("name")(format!("number {id} has none")))
    }
}

/// The store's revision.
pub(crate) fn revision(tx: &dyn Tx) -> Done<u64> {
    tx.one("SELECT CAST(sum(revision) AS BIGINT) FROM meta", params![], |r| Ok(count(r.get(0)?)))
}

/// A count as it is stored.
pub(crate) fn int(v: u64) -> i64 {
    i64::try_from(v).unwrap_or(i64::MAX)
}
/// A stored count.
pub(crate) fn count(v: i64) -> u64 {
    u64::try_from(v).unwrap_or(0)
}
/// A stored fingerprint.
pub(crate) fn fingerprint(bytes: [u8; 16]) -> Fingerprint {
    Fingerprint::from_bytes(bytes)
}
