//! The log, its rivals and the disk itself behind one call: an append of 1 KB that is durable when it returns.
//!
//! Each rival has the settings with which its own documentation promises that, and else its defaults.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use chaperone_wal::{Config, Log};
use rusqlite::Connection;
use uuid::Uuid;

use crate::Outcome;

/// What is appended.
pub(crate) const PAYLOAD: [u8; 1024] = [0x5a; 1024];
const RAW_BYTES: u64 = 64 << 20;

/// An append; many threads may call it at once.
pub(crate) trait Engine: Sync {
    /// Durable when it returns.
    fn append(&self) -> Outcome<()>;
}

/// Opens an engine in an empty directory.
type Open = fn(&Path) -> Outcome<Box<dyn Engine>>;

/// One row of the table.
pub(crate) struct Row {
    /// By which it is called.
    pub(crate) name: &'static str,
    /// The package whose version is printed; ours and the disk have none.
    pub(crate) package: &'static str,
    /// What makes it durable.
    pub(crate) settings: &'static str,
    /// It is the limit for one appender: never more than one calls it.
    pub(crate) alone: bool,
    pub(crate) open: Open,
}

/// The disk first, ours second.
pub(crate) const ROWS: [Row; 7] = [
    Row {
        name: "raw",
        package: "",
        settings: "`pwrite` and `fdatasync` in a file of 64 MiB of zeros, one thread",
        alone: true,
        open: |dir| Raw::open(dir, true),
    },
    Row {
        name: "chaperone-wal",
        package: "",
        settings: "defaults; each append is marked done",
        alone: false,
        open: |dir| Ok(Box::new(Ours::open(dir)?)),
    },
    Row {
        name: "okaywal",
        package: "okaywal",
        settings: "defaults (`commit` waits for `sync_data`), `LogVoid`",
        alone: false,
        open: |dir| Ok(Box::new(Okay(okaywal::WriteAheadLog::recover(dir.join("okaywal"), okaywal::LogVoid)?))),
    },
    Row {
        name: "SQLite, group commit",
        package: "rusqlite",
        settings: "`journal_mode=WAL`, `synchronous=FULL`, a thread that commits all that wait in one transaction",
        alone: false,
        open: |dir| Ok(Box::new(Grouped::open(dir)?)),
    },
    Row {
        name: "SQLite",
        package: "rusqlite",
        settings: "`journal_mode=WAL`, `synchronous=FULL`, a transaction each",
        alone: false,
        open: |dir| Ok(Box::new(Sqlite(Mutex::new(sqlite(dir)?)))),
    },
    Row {
        name: "fjall",
        package: "fjall",
        settings: "a batch each, `PersistMode::SyncData` (`fdatasync`)",
        alone: false,
        open: |dir| Ok(Box::new(Fjall::open(dir)?)),
    },
    Row {
        name: "redb",
        package: "redb",
        settings: "a transaction each, `Durability::Immediate`",
        alone: false,
        open: |dir| Ok(Box::new(Redb(redb::Database::create(dir.join("redb"))?, AtomicU64::new(0)))),
    },
];

/// Writes and never syncs: the control, which the count of flushes must find out.
pub(crate) fn unsynced(dir: &Path) -> Outcome<Box<dyn Engine>> {
    Raw::open(dir, false)
}

struct Raw {
    file: File,
    offset: AtomicU64,
    sync: bool,
}

impl Raw {
    fn open(dir: &Path, sync: bool) -> Outcome<Box<dyn Engine>> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("zeros"))?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..RAW_BYTES >> 20 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        Ok(Box::new(Self { file, offset: AtomicU64::new(0), sync }))
    }
}

impl Engine for Raw {
    fn append(&self) -> Outcome<()> {
        let offset = self.offset.fetch_add(PAYLOAD.len() as u64, Ordering::Relaxed) % RAW_BYTES;
        self.file.write_all_at(&PAYLOAD, offset)?;
        if self.sync {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

struct Ours(Log);

impl Ours {
    fn open(dir: &Path) -> Outcome<Self> {
        let (log, _) = Log::open(&dir.join("log"), Config::default())?;
        // The first segments are made before: it is their reuse that goes on for ever.
        log.append(Uuid::nil(), &PAYLOAD).and_then(|seq| log.done(seq)).and_then(|()| log.tend())?;
        Ok(Self(log))
    }
}

impl Engine for Ours {
    fn append(&self) -> Outcome<()> {
        Ok(self.0.append(Uuid::nil(), &PAYLOAD).and_then(|seq| self.0.done(seq))?)
    }
}

struct Okay(okaywal::WriteAheadLog);

impl Engine for Okay {
    fn append(&self) -> Outcome<()> {
        let mut entry = self.0.begin_entry()?;
        entry.write_chunk(&PAYLOAD)?;
        entry.commit()?;
        Ok(())
    }
}

fn sqlite(dir: &Path) -> Outcome<Connection> {
    let connection = Connection::open(dir.join("sqlite"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch("CREATE TABLE entries (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)")?;
    Ok(connection)
}

fn insert(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT INTO entries (payload) VALUES (?1)")?.execute([&PAYLOAD[..]]).map(drop)
}

struct Sqlite(Mutex<Connection>);

impl Engine for Sqlite {
    fn append(&self) -> Outcome<()> {
        Ok(insert(&self.0.lock().unwrap_or_else(PoisonError::into_inner))?)
    }
}

/// Whether it went well.
type Reply = SyncSender<rusqlite::Result<()>>;

struct Grouped {
    requests: Option<Sender<Reply>>,
    writer: Option<JoinHandle<()>>,
}

impl Grouped {
    fn open(dir: &Path) -> Outcome<Self> {
        let mut connection = sqlite(dir)?;
        let (requests, inbox) = channel();
        let writer = std::thread::spawn(move || {
            while let Some((callers, done)) = Self::round(&mut connection, &inbox) {
                for caller in callers {
                    // The error itself goes to nobody: that there was one ends the bench.
                    let reply = if done { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) };
                    caller.send(reply).ok();
                }
            }
        });
        Ok(Self { requests: Some(requests), writer: Some(writer) })
    }

    /// All that wait, in one transaction; none when nobody will come.
    fn round(connection: &mut Connection, inbox: &Receiver<Reply>) -> Option<(Vec<Reply>, bool)> {
        let mut callers = vec![inbox.recv().ok()?];
        callers.extend(inbox.try_iter());
        let written = connection.transaction().and_then(|transaction| {
            callers.iter().try_for_each(|_| insert(&transaction))?;
            transaction.commit()
        });
        Some((callers, written.is_ok()))
    }
}

impl Engine for Grouped {
    fn append(&self) -> Outcome<()> {
        let (reply, answer) = sync_channel(1);
        self.requests.as_ref().ok_or("closed")?.send(reply)?;
        Ok(answer.recv()??)
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            writer.join().ok();
        }
    }
}

struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
    next: AtomicU64,
}

impl Fjall {
    fn open(dir: &Path) -> Outcome<Self> {
        let database = fjall::Database::builder(dir.join("fjall")).open()?;
        let keyspace = database.keyspace("entries", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace, next: AtomicU64::new(0) })
    }
}

impl Engine for Fjall {
    fn append(&self) -> Outcome<()> {
        let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        batch.insert(&self.keyspace, &key[..], &PAYLOAD[..]);
        Ok(batch.commit()?)
    }
}

struct Redb(redb::Database, AtomicU64);

impl Engine for Redb {
    fn append(&self) -> Outcome<()> {
        const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("entries");
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        transaction.open_table(TABLE)?.insert(self.1.fetch_add(1, Ordering::Relaxed), &PAYLOAD[..])?;
        Ok(transaction.commit()?)
    }
}
