//! The log itself: group commit, segments, and what happens when the disk refuses.
//!
//! Callers queue frames under a lock; the first of them writes and syncs for all that are queued (leader and
//! followers), so that concurrent appends share one device flush and a lone one pays no thread hop. A segment whose
//! write or sync failed is never written or synced again: its unsynced frames go to a new segment, once; only if that
//! fails too do the callers hear of it.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use uuid::Uuid;

use crate::error::Error;
use crate::frame::{Frame, FrameKind, Kind, Place, size};
use crate::recovery::{self, Recovered, SEGMENT_HEADER, segment_header};
use crate::state::{Book, Config, Entry, Segment, Seq};
use crate::storage::{Disk, File, Storage};

/// A durable log. `&Log` may be used from many threads.
pub struct Log {
    storage: Arc<dyn Storage>,
    config: Config,
    shared: Mutex<Shared>,
    committed: Condvar,
}

struct Shared {
    book: Book,
    next_seq: u64,
    queue: Vec<Queued>,
    /// Every round of group commit has a number; `results` keeps the failed ones until their callers have read them.
    round: u64,
    finished: u64,
    failed: Vec<(u64, Arc<Error>)>,
    writer: Option<Writer>,
}

/// Taken out by the leader while it writes.
struct Writer {
    file: Option<Box<dyn File>>,
    number: u64,
    offset: u64,
}

#[derive(Clone)]
struct Queued {
    kind: FrameKind,
    seq: u64,
    id: Uuid,
    payload: Arc<[u8]>,
    /// A copy forward of an entry that may be done by the time it is written.
    copy: bool,
}

impl Log {
    /// Opens the log in `dir` on the real disk.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::UnknownFormat`] or [`Error::Storage`].
    pub fn open(dir: &Path, config: Config) -> Result<(Self, Recovered), Error> {
        Self::open_with(Arc::new(Disk::open(dir)?), config)
    }

    /// Opens the log on any storage.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] or [`Error::Storage`].
    pub fn open_with(storage: Arc<dyn Storage>, config: Config) -> Result<(Self, Recovered), Error> {
        let config = Config { segment_bytes: config.segment_bytes.max(4096), ..config };
        let mut segments = Vec::new();
        for name in storage.list().map_err(Error::storage("listing segments"))? {
            let Some(number) = number_of(&name) else { continue };
            let bytes = storage.read(&name).map_err(Error::storage("reading a segment"))?;
            segments.push((number, name, bytes));
        }
        segments.sort_by_key(|s| s.0);
        let reading = recovery::read(&segments)?;
        let mut book = Book::default();
        book.segments.extend(segments.iter().map(|s| Segment { number: s.0, live: 0 }));
        for e in &reading.recovered.entries {
            book.add(e.clone(), reading.home.get(&e.seq).copied().unwrap_or(0));
        }
        // Never append to a segment of an earlier life: its tail may be torn.
        let number = segments.last().map_or(1, |s| s.0 + 1);
        let shared = Shared {
            book,
            next_seq: reading.next_seq,
            queue: Vec::new(),
            round: 1,
            finished: 0,
            failed: Vec::new(),
            writer: Some(Writer { file: None, number, offset: 0 }),
        };
        let log = Self { storage, config, shared: Mutex::new(shared), committed: Condvar::new() };
        Ok((log, reading.recovered))
    }

    /// Appends an entry; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`] (nothing written) or [`Error::Storage`] (not durable).
    pub fn append(&self, id: Uuid, payload: &[u8]) -> Result<Seq, Error> {
        self.append_all(&[(id, payload)], Kind::Record).map(|seqs| seqs.first().copied().unwrap_or(Seq(0)))
    }

    /// Appends entries with one write and one device flush.
    ///
    /// # Errors
    /// As [`append`](Self::append); all of them or none.
    pub fn append_batch(&self, entries: &[(Uuid, &[u8])]) -> Result<Vec<Seq>, Error> {
        self.append_all(entries, Kind::Record)
    }

    /// Appends a checkpoint, which supersedes the one before it.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_checkpoint(&self, id: Uuid, payload: &[u8]) -> Result<Seq, Error> {
        self.append_all(&[(id, payload)], Kind::Checkpoint).map(|seqs| seqs.first().copied().unwrap_or(Seq(0)))
    }

    /// Marks an entry done. The mark is durable with the next commit; until then a crash brings the entry back.
    ///
    /// # Errors
    /// None today; the result leaves room for storages that refuse marks.
    pub fn done(&self, seq: Seq) -> Result<(), Error> {
        let mut shared = self.shared.lock();
        if shared.book.remove(seq) {
            let own = shared.next_seq;
            shared.next_seq += 1;
            let payload: Arc<[u8]> = seq.0.to_le_bytes().as_slice().into();
            shared.queue.push(Queued { kind: FrameKind::Done, seq: own, id: Uuid::nil(), payload, copy: false });
        }
        Ok(())
    }

    /// Makes all marks durable.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn sync(&self) -> Result<(), Error> {
        let shared = self.shared.lock();
        self.commit(shared)
    }

    /// All pending entries, in order.
    pub fn pending(&self) -> Vec<Entry> {
        self.shared.lock().book.pending.values().map(|(e, _)| e.clone()).collect()
    }

    /// How many entries are pending.
    pub fn pending_count(&self) -> usize {
        self.shared.lock().book.pending.len()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().book.segments.len() as u64 * self.config.segment_bytes
    }

    fn append_all(&self, entries: &[(Uuid, &[u8])], kind: Kind) -> Result<Vec<Seq>, Error> {
        let max = self.config.segment_bytes - (SEGMENT_HEADER + size(0) + size(8)) as u64;
        if let Some(bytes) = entries.iter().map(|e| e.1.len() as u64).find(|b| *b > max) {
            return Err(Error::TooLarge { bytes, max });
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut shared = self.make_room(entries.iter().map(|e| size(e.1.len()) as u64).sum())?;
        let mut seqs = Vec::with_capacity(entries.len());
        for (id, payload) in entries {
            let seq = shared.next_seq;
            shared.next_seq += 1;
            shared.queue.push(Queued {
                kind: FrameKind::Entry(kind),
                seq,
                id: *id,
                payload: (*payload).into(),
                copy: false,
            });
            seqs.push(Seq(seq));
        }
        self.commit(shared)?;
        Ok(seqs)
    }

    /// Refuses what would pass the limit, after dead weight at the log's old end has been copied forward.
    fn make_room(&self, bytes: u64) -> Result<MutexGuard<'_, Shared>, Error> {
        let mut shared = self.shared.lock();
        let needed = |s: &Shared| {
            let queued: u64 = s.queue.iter().map(|q| size(q.payload.len()) as u64).sum();
            let usable = self.config.segment_bytes - SEGMENT_HEADER as u64;
            let free = s
                .writer
                .as_ref()
                .map_or(0, |w| if w.file.is_some() { self.config.segment_bytes - w.offset } else { 0 });
            let segments = (queued + bytes).saturating_sub(free).div_ceil(usable / 2);
            (s.book.segments.len() as u64 + segments) * self.config.segment_bytes
        };
        while needed(&shared) > self.config.max_bytes {
            let Some(alive) = shared.book.mostly_dead(self.config.segment_bytes) else {
                let bytes = shared.book.segments.len() as u64 * self.config.segment_bytes;
                return Err(Error::Full { bytes, max_bytes: self.config.max_bytes });
            };
            let before = shared.book.segments.front().map(|s| s.number);
            for e in alive {
                shared.queue.push(Queued {
                    kind: FrameKind::Entry(e.kind),
                    seq: e.seq.0,
                    id: e.id,
                    payload: e.payload,
                    copy: true,
                });
            }
            self.commit(shared)?;
            shared = self.shared.lock();
            if shared.book.segments.front().map(|s| s.number) == before {
                let bytes = shared.book.segments.len() as u64 * self.config.segment_bytes;
                return Err(Error::Full { bytes, max_bytes: self.config.max_bytes });
            }
        }
        Ok(shared)
    }

    /// Waits until everything queued so far is durable; writes it itself if nobody else is at it.
    fn commit(&self, mut shared: MutexGuard<'_, Shared>) -> Result<(), Error> {
        if shared.queue.is_empty() {
            return Ok(());
        }
        let round = shared.round;
        while shared.finished < round {
            let Some(mut writer) = shared.writer.take() else {
                self.committed.wait(&mut shared);
                continue;
            };
            let mine = shared.round;
            shared.round += 1;
            let queue = std::mem::take(&mut shared.queue);
            let written = MutexGuard::unlocked(&mut shared, || self.write(&mut writer, &queue));
            shared.writer = Some(writer);
            match written {
                Ok(homes) => self.book(&mut shared, queue, &homes),
                Err(e) => shared.failed.push((mine, Arc::new(e))),
            }
            shared.finished = mine;
            self.committed.notify_all();
        }
        // Failures are kept for a while: a follower may wake up after the next round.
        let keep = shared.finished.saturating_sub(1024);
        shared.failed.retain(|f| f.0 >= keep);
        match shared.failed.iter().find(|f| f.0 == round) {
            None => Ok(()),
            Some((_, e)) => Err(copy_of(e)),
        }
    }

    /// Enters what became durable and removes segments that nothing needs any more.
    fn book(&self, shared: &mut Shared, queue: Vec<Queued>, homes: &[u64]) {
        for home in homes {
            if shared.book.segments.back().is_none_or(|s| s.number < *home) {
                shared.book.segments.push_back(Segment { number: *home, live: 0 });
            }
        }
        for (q, home) in queue.into_iter().zip(homes) {
            let gone = q.copy && !shared.book.pending.contains_key(&Seq(q.seq));
            if let (FrameKind::Entry(kind), false) = (q.kind, gone) {
                shared.book.add(Entry { seq: Seq(q.seq), id: q.id, kind, payload: q.payload }, *home);
            }
        }
        while let Some(number) = shared.book.spent() {
            // A segment that cannot be removed costs space only; the next opening reads it as done.
            drop(self.storage.remove(&name_of(number)));
        }
    }

    /// Writes and syncs the queue, on a new segment if the current one fails; returns each frame's segment.
    fn write(&self, writer: &mut Writer, queue: &[Queued]) -> Result<Vec<u64>, Error> {
        let first = self.try_write(writer, queue);
        if first.is_ok() {
            return first;
        }
        writer.abandon();
        let second = self.try_write(writer, queue);
        if second.is_err() {
            writer.abandon();
        }
        second
    }

    fn try_write(&self, writer: &mut Writer, queue: &[Queued]) -> Result<Vec<u64>, Error> {
        let mut homes = Vec::with_capacity(queue.len());
        let mut buffer = Vec::new();
        for q in queue {
            let bytes = size(q.payload.len()) as u64;
            if writer.file.is_some() && writer.offset + buffer.len() as u64 + bytes > self.config.segment_bytes {
                writer.flush(&mut buffer)?;
                writer.abandon();
            }
            if writer.file.is_none() {
                writer.begin(&*self.storage, self.config.segment_bytes)?;
            }
            let place = Place { segment: writer.number, offset: writer.offset + buffer.len() as u64 };
            Frame { kind: q.kind, seq: q.seq, id: q.id, payload: &q.payload }.encode(place, &mut buffer);
            homes.push(writer.number);
        }
        writer.flush(&mut buffer)?;
        Ok(homes)
    }
}

impl Writer {
    /// Leaves the current segment for good; the next frame begins another.
    fn abandon(&mut self) {
        if self.file.take().is_some() {
            self.number += 1;
        }
    }
    fn begin(&mut self, storage: &dyn Storage, len: u64) -> Result<(), Error> {
        let file = match storage.create(&name_of(self.number), len) {
            Ok(file) => file,
            Err(e) => {
                self.number += 1;
                return Err(Error::storage("making a segment")(e));
            }
        };
        let written = file.write_at(0, &segment_header(self.number));
        self.file = Some(file);
        self.offset = SEGMENT_HEADER as u64;
        written.map_err(Error::storage("writing a segment's header"))
    }
    fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_at(self.offset, buffer).map_err(Error::storage("writing"))?;
        file.sync().map_err(Error::storage("syncing"))?;
        self.offset += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }
}

/// One failure, told to each caller of its round.
fn copy_of(e: &Error) -> Error {
    match e {
        Error::Storage { action, source } => {
            Error::Storage { action, source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        other => Error::Storage { action: "committing", source: std::io::Error::other(other.to_string()) },
    }
}

fn name_of(number: u64) -> String {
    format!("{number:016x}.wal")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|d| d.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("pending", &self.pending_count()).finish_non_exhaustive()
    }
}
