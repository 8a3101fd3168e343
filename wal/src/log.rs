//! The log as its owner sees it: entries go in, are pending, and are done.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::commit::{Queued, Shared, Writer, sizes};
use crate::error::Error;
use crate::frame::{END, HEADER, Kind, size};
use crate::gate::Gate;
use crate::recovery::{self, Recovered};
use crate::scan::{Header, SEGMENT_HEADER, Scan, UNKNOWN_END};
use crate::segments::{self, Yard};
use crate::state::{Book, Config, Entry, Held, Segment, Seq};
use crate::storage::{Disk, Storage};

/// A durable log. `&Log` may be used from many threads.
pub struct Log {
    inner: Arc<Inner>,
    /// The thread that makes or recycles a segment, while there is one.
    tender: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Inner {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) config: Config,
    pub(crate) shared: Mutex<Shared>,
    /// Whoever makes, renames or removes segments holds it, never while holding `shared`.
    pub(crate) yard: Mutex<Yard>,
    /// Of rounds with even and with odd numbers: at most one is being written and one queued.
    pub(crate) gates: [Gate; 2],
    /// The last round that was written, well or not.
    pub(crate) finished: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// How many wait for the round that is queued.
    pub(crate) callers: AtomicUsize,
    pub(crate) wants_tending: AtomicBool,
}

impl Log {
    /// Opens the log in `dir` on the real disk.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::UnknownFormat`] or [`Error::Storage`].
    pub fn open(dir: &Path, config: Config) -> Result<(Self, Recovered), Error> {
        Self::open_with(Arc::new(Disk::open(dir)?), config)
    }

    /// Opens the log on any storage. What is recovered has been written again if it was in doubt whether it is durable.
    /// If the disk refuses that, the log opens all the same, and the next commit writes it.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] or [`Error::Storage`].
    pub fn open_with(storage: Arc<dyn Storage>, config: Config) -> Result<(Self, Recovered), Error> {
        let config = config.checked();
        let mut files = Vec::new();
        for name in storage.list().map_err(Error::storage("listing segments"))? {
            let Some(number) = segments::number_of(&name) else { continue };
            files.push((number, name.clone(), storage.read(&name).map_err(Error::storage("reading a segment"))?));
        }
        files.sort_by_key(|f| f.0);
        let mut scans = Vec::new();
        for (number, name, bytes) in &files {
            let scan = Scan::of(*number, bytes);
            if let Header::Foreign(found) = scan.header {
                return Err(Error::UnknownFormat { name: name.clone(), found });
            }
            scans.push(scan);
        }
        // Never append to a segment of an earlier life, and never use its number again.
        let next_number = scans.last().map_or(1, |s| s.number + 1);
        let (unused, used): (Vec<_>, Vec<_>) = scans.into_iter().partition(Scan::is_unused);
        let reading = recovery::read(&used);
        let mut book = Book::default();
        let corrupt = &reading.recovered.corrupt;
        book.segments = used
            .iter()
            .map(|s| Segment {
                number: s.number,
                len: s.len,
                live: 0,
                sound: !corrupt.iter().any(|c| c.segment == s.number),
                open: false,
            })
            .collect();
        let book_numbers: Vec<u64> = used.iter().map(|s| s.number).collect();
        for held in reading.held.into_values() {
            book.add(held);
        }
        let queue: Vec<Queued> =
            reading.doubtful.iter().filter_map(|seq| book.pending.get(seq)).map(Queued::copy_of).collect();
        let doubt = !queue.is_empty() || !reading.doubtful_done.is_empty();
        let mut recovered = reading.recovered;
        // What does not fit into one write with the header stays valid where it is; copied it is all the same.
        let fits = sizes(&queue, &reading.doubtful_done).sum::<u64>() <= usable(&config);
        let durable = if fits { reading.durable } else { (reading.last, UNKNOWN_END) };
        let mut shared = Shared::new(book, reading.next_seq, next_number, Writer::new(durable));
        let voided = book_numbers.into_iter().filter(|n| reading.void.contains(n) || (fits && *n > reading.durable.0));
        shared.to_void = voided.collect();
        (shared.queue, shared.dones, shared.doubt) = (queue, reading.doubtful_done, doubt);
        let spares = unused.iter().map(|s| (s.number, s.len)).collect();
        let log = Self::of(storage, config, shared, Yard::new(spares));
        recovered.in_doubt = doubt && log.sync().is_err();
        // Or a process that dies again and again would leave a segment each time. What cannot be removed now stays listed.
        log.inner.retire().ok();
        Ok((log, recovered))
    }

    fn of(storage: Arc<dyn Storage>, config: Config, shared: Shared, yard: Yard) -> Self {
        let inner = Inner {
            storage,
            config,
            shared: Mutex::new(shared),
            yard: Mutex::new(yard),
            gates: [Gate::default(), Gate::default()],
            finished: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            callers: AtomicUsize::new(0),
            wants_tending: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), tender: Mutex::new(None) }
    }

    /// Appends an entry; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`] (nothing written) or [`Error::Storage`]: not durable, but a crash may still
    /// bring it back.
    pub fn append(&self, id: Uuid, payload: &[u8]) -> Result<Seq, Error> {
        self.append_all(&[(id, payload)], Kind::Record).map(|seqs| seqs.first().copied().unwrap_or(Seq(0)))
    }

    /// Appends entries with one write and one device flush; those that do not fit into one segment with one of each a
    /// segment.
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

    /// Puts one record in the place of pending ones: after a crash it is there and they are not, or the other way round;
    /// never both and never neither. It may use the space that appends may not, so a full log can be made smaller.
    ///
    /// # Errors
    /// [`Error::NotPending`], [`Error::Full`], [`Error::TooLarge`]: nothing is changed. [`Error::Storage`]: the old ones are
    /// pending, but until a later call of this log returned `Ok`, a crash may bring the new one instead.
    pub fn replace(&self, olds: &[Seq], id: Uuid, payload: &[u8]) -> Result<Seq, Error> {
        self.check_size(payload.len() + 4 + olds.len() * 8)?;
        let mut shared = self.inner.shared.lock();
        let is_record = |seq: &Seq| shared.book.pending.get(seq).is_some_and(|h| h.entry.kind == Kind::Record);
        if let Some(seq) = olds.iter().find(|seq| !is_record(seq)) {
            return Err(Error::NotPending { seq: *seq });
        }
        let seq = shared.take_seq();
        let entry = Entry { seq, id, kind: Kind::Record, payload: payload.into() };
        shared.queue.push(Queued::new(entry, olds.iter().map(|s| s.0).collect()));
        self.inner.commit(shared)?;
        self.tend_if_due();
        Ok(seq)
    }

    /// Marks an entry done. The mark is durable with the next commit; until then a crash brings the entry back.
    ///
    /// # Errors
    /// None today; the result leaves room for storages that refuse marks.
    pub fn done(&self, seq: Seq) -> Result<(), Error> {
        let mut shared = self.inner.shared.lock();
        if shared.book.remove(seq) {
            shared.dones.push(seq.0);
        }
        Ok(())
    }

    /// Makes all marks durable.
    ///
    /// # Errors
    /// [`Error::Storage`], or [`Error::Full`] when not even marks have room: they are kept for the next commit.
    pub fn sync(&self) -> Result<(), Error> {
        let shared = self.inner.shared.lock();
        if shared.has_work() {
            self.inner.commit(shared)?;
            self.tend_if_due();
        }
        Ok(())
    }

    /// Makes or recycles a segment ahead of need, and removes what is not needed. For owners that have a thread of their
    /// own for it and set [`Config::background`] to false.
    ///
    /// # Errors
    /// [`Error::Storage`]; nothing is lost, it is tried again when a segment is needed.
    pub fn tend(&self) -> Result<(), Error> {
        self.inner.tend()
    }

    /// All pending entries, in order.
    pub fn pending(&self) -> Vec<Entry> {
        self.inner.shared.lock().book.pending.values().map(|h| h.entry.clone()).collect()
    }

    /// A pending entry.
    pub fn entry(&self, seq: Seq) -> Option<Entry> {
        self.inner.shared.lock().book.pending.get(&seq).map(|h| h.entry.clone())
    }

    /// How many entries are pending.
    pub fn pending_count(&self) -> usize {
        self.inner.shared.lock().book.pending.len()
    }

    /// Bytes of all segments, those made ahead of need included.
    pub fn bytes(&self) -> u64 {
        let yard = self.inner.yard.lock();
        let shared = self.inner.shared.lock();
        shared.book.segments.iter().map(|s| s.len).sum::<u64>()
            + (shared.prepared.len() as u64 + yard.kept()) * self.inner.config.segment_bytes
    }

    fn check_size(&self, bytes: usize) -> Result<(), Error> {
        let max = usable(&self.inner.config) / 8 * 8 - HEADER as u64;
        if bytes as u64 > max { Err(Error::TooLarge { bytes: bytes as u64, max }) } else { Ok(()) }
    }

    fn append_all(&self, entries: &[(Uuid, &[u8])], kind: Kind) -> Result<Vec<Seq>, Error> {
        for (_, payload) in entries {
            self.check_size(payload.len())?;
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        // Copied and checksummed before the lock is taken.
        let mut queued: Vec<Queued> = entries
            .iter()
            .map(|(id, payload)| Entry { seq: Seq(0), id: *id, kind, payload: (*payload).into() })
            .map(|entry| Queued::new(entry, Arc::default()))
            .collect();
        let mut shared = self.inner.shared.lock();
        // Until it is settled what a death left in doubt, nothing is retired; and that may use room which entries may not.
        let again = shared.doubt.then(|| queued.clone());
        let (mut seqs, mut result) = self.commit_all(shared, &mut queued);
        if let (Err(Error::Full { .. }), Some(mut queued)) = (&result, again)
            && self.sync().is_ok()
        {
            shared = self.inner.shared.lock();
            (seqs, result) = self.commit_all(shared, &mut queued);
        }
        result?;
        self.tend_if_due();
        Ok(seqs)
    }

    fn commit_all(
        &self,
        mut shared: MutexGuard<'_, Shared>,
        queued: &mut Vec<Queued>,
    ) -> (Vec<Seq>, Result<(), Error>) {
        for q in &mut *queued {
            q.held.entry.seq = shared.take_seq();
        }
        let seqs = queued.iter().map(|q| q.held.entry.seq).collect();
        shared.queue.append(queued);
        (seqs, self.inner.commit(shared))
    }

    fn tend_if_due(&self) {
        if !self.inner.wants_tending.load(Ordering::Relaxed) || !self.inner.config.background {
            return;
        }
        let mut tender = self.tender.lock();
        if tender.as_ref().is_some_and(|t| !t.is_finished()) || !self.inner.wants_tending.swap(false, Ordering::Relaxed)
        {
            return;
        }
        if let Some(before) = tender.take() {
            before.join().ok();
        }
        let inner = Arc::clone(&self.inner);
        // No thread, or a disk that refuses: the caller that needs a segment makes it and hears of it.
        let started = std::thread::Builder::new().name("wal-tend".to_owned()).spawn(move || drop(inner.tend()));
        *tender = started.ok();
    }
}

/// Bytes of frames that fit into an empty segment.
pub(crate) fn usable(config: &Config) -> u64 {
    config.segment_bytes - (SEGMENT_HEADER + END) as u64
}

impl Queued {
    pub(crate) fn new(entry: Entry, replaces: Arc<[u64]>) -> Self {
        // A replacement's checksum covers the others' numbers too, and is taken when it is written.
        let crc = if replaces.is_empty() { crc32c::crc32c(&entry.payload) } else { 0 };
        Self { held: Held { entry, home: 0, replaces }, crc, copy: false }
    }
    pub(crate) fn copy_of(held: &Held) -> Self {
        Self { copy: true, ..Self::new(held.entry.clone(), Arc::clone(&held.replaces)) }
    }
    /// Bytes of its frame.
    pub(crate) fn bytes(&self) -> u64 {
        let olds = if self.held.replaces.is_empty() { 0 } else { 4 + self.held.replaces.len() * 8 };
        size(self.held.entry.payload.len() + olds) as u64
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The directory's lock is gone when this returns.
        if let Some(tender) = self.tender.lock().take() {
            tender.join().ok();
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("pending", &self.pending_count()).finish_non_exhaustive()
    }
}
