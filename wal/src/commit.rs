//! Group commit: how many callers share one write and one device flush, and what happens when the disk refuses.
//!
//! Callers queue entries under a lock. The first that finds nobody writing writes and syncs for all that are queued: a
//! lone caller pays no thread hop, and there is no thread to start, stop or fork. While it is at it the others queue for
//! the next round. When a round is over, those whom it served come back at once; who writes next waits for as many as
//! there were lately, at most for half of the time of the last write, so that rounds are not half empty by turns.
//!
//! A segment whose write or sync failed is never written or synced again: the round goes to a new segment, once; only if
//! that fails too do the callers hear of it. The header of the next segment says up to where the failed one was durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use uuid::Uuid;

use crate::error::Error;
use crate::frame::{FrameKind, size};
use crate::log::{Inner, usable};
use crate::state::{Book, Held, Seq};
use crate::storage::File;

mod writer;

pub(crate) use writer::Writer;

/// Nobody waits longer for company, however slow the disk is.
const COMPANY_MAX: Duration = Duration::from_millis(1);
/// Sequence numbers in one frame of marks.
const MARKS: usize = 256;

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) book: Book,
    next_seq: u64,
    /// Of the next segment.
    pub(crate) next_number: u64,
    pub(crate) queue: Vec<Queued>,
    /// Entries that are done and whose marks are not written.
    pub(crate) dones: Vec<u64>,
    /// A round failed: the next commit must say where certainty ends, even if it has nothing else to say.
    fence: bool,
    /// What was in doubt at opening is not written again yet: until it is, nothing that it took the place of may go, and
    /// it is not refused for want of room.
    pub(crate) doubt: bool,
    /// Segments of an earlier life that do not count any more once a round of this one is durable; and those that do not.
    pub(crate) to_void: Vec<u64>,
    pub(crate) void: Vec<u64>,
    /// Segments made ahead of need, oldest first.
    pub(crate) prepared: VecDeque<(u64, Box<dyn File>)>,
    /// The last round that was begun; the queue is of the one after it.
    round: u64,
    /// Rounds that failed, kept until their callers have read of it.
    failed: Vec<(u64, Arc<Error>)>,
    /// Taken out by the one who writes.
    writer: Option<Writer>,
    /// How many callers there were lately, and how long to wait for them.
    company: usize,
    patience: Duration,
    /// For which segment, and which half of it, tending has been asked for.
    tended: (u64, bool),
}

impl Shared {
    pub(crate) fn new(book: Book, next_seq: u64, next_number: u64, writer: Writer) -> Self {
        Self { book, next_seq, next_number, writer: Some(writer), ..Self::default() }
    }
    pub(crate) fn take_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        Seq(seq)
    }
    pub(crate) fn has_work(&self) -> bool {
        self.fence || !self.queue.is_empty() || !self.dones.is_empty()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) held: Held,
    pub(crate) crc: u32,
    /// A copy forward of an entry that may be done by the time it is written.
    pub(crate) copy: bool,
}

#[derive(Default)]
struct Batch {
    queue: Vec<Queued>,
    dones: Vec<u64>,
    next_seq: u64,
}

/// Bytes of the frames.
pub(crate) fn sizes<'a>(queue: &'a [Queued], dones: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    let marks = dones.chunks(MARKS).map(|c| size(c.len() * 8) as u64);
    marks.chain(queue.iter().map(Queued::bytes))
}

impl Batch {
    /// Nothing in it takes space for good.
    fn may_use_all(&self) -> bool {
        self.queue.iter().all(|q| q.copy || !q.held.replaces.is_empty())
    }
    fn sizes(&self) -> impl Iterator<Item = u64> {
        sizes(&self.queue, &self.dones)
    }
}

impl Inner {
    /// Waits until everything queued so far is durable; writes it itself if nobody else is at it.
    pub(crate) fn commit<'a>(&'a self, mut shared: MutexGuard<'a, Shared>) -> Result<(), Error> {
        let round = shared.round + 1;
        self.callers.fetch_add(1, Ordering::Relaxed);
        while self.finished.load(Ordering::Acquire) < round {
            if let Some(writer) = shared.writer.take() {
                self.lead(&mut shared, writer);
                continue;
            }
            let gate = self.gate(round);
            let ticket = gate.ticket();
            drop(shared);
            gate.wait(ticket);
            if self.finished.load(Ordering::Acquire) >= round && self.failures.load(Ordering::Acquire) == 0 {
                return Ok(());
            }
            shared = self.shared.lock();
        }
        let found = shared.failed.iter().find(|f| f.0 == round);
        found.map_or(Ok(()), |(_, e)| Err(copy_of(e)))
    }

    fn gate(&self, round: u64) -> &crate::gate::Gate {
        let [even, odd] = &self.gates;
        if round.is_multiple_of(2) { even } else { odd }
    }

    /// Writes the round that is queued and tells its callers.
    fn lead(&self, shared: &mut MutexGuard<'_, Shared>, mut writer: Writer) {
        let (company, patience) = (shared.company, shared.patience);
        if self.callers.load(Ordering::Relaxed) < company {
            MutexGuard::unlocked(shared, || self.await_company(company, patience));
        }
        shared.round += 1;
        let round = shared.round;
        let callers = self.callers.swap(0, Ordering::Relaxed);
        let batch = Batch {
            queue: std::mem::take(&mut shared.queue),
            dones: std::mem::take(&mut shared.dones),
            next_seq: shared.next_seq,
        };
        let began = Instant::now();
        let written = MutexGuard::unlocked(shared, || self.write(&mut writer, &batch));
        shared.patience = (began.elapsed() / 2).min(COMPANY_MAX);
        shared.company = callers + self.callers.load(Ordering::Relaxed);
        match written {
            Ok(homes) => {
                (shared.fence, shared.doubt) = (false, false);
                let voided = std::mem::take(&mut shared.to_void);
                shared.void.extend(voided);
                shared.enter(batch.queue, &homes);
            }
            Err(e) => {
                shared.fence = true;
                // Marks, and entries whose first copy is in doubt, go with the next round, before all else.
                let copies = batch.queue.into_iter().filter(|q| q.copy);
                shared.queue.splice(0..0, copies);
                shared.dones.splice(0..0, batch.dones);
                // A follower may wake up after the next round.
                shared.failed.retain(|f| f.0 + 1024 > round);
                shared.failed.push((round, Arc::new(e)));
                self.failures.fetch_add(1, Ordering::Release);
            }
        }
        shared.book.close_all_but(writer.file.as_ref().map(|_| writer.number));
        self.ask_for_tending(shared, &writer);
        shared.writer = Some(writer);
        self.finished.store(round, Ordering::Release);
        self.gate(round).open();
        let waiting = self.callers.load(Ordering::Relaxed) > 0;
        if waiting {
            self.gate(round + 1).open();
        }
        MutexGuard::unlocked(shared, || {
            if callers > 1 {
                self.gate(round).wake(u32::MAX >> 1);
            }
            if waiting {
                self.gate(round + 1).wake(1);
            }
        });
    }

    fn await_company(&self, company: usize, patience: Duration) {
        let began = Instant::now();
        while self.callers.load(Ordering::Relaxed) < company && began.elapsed() < patience {
            std::thread::yield_now();
        }
    }

    fn ask_for_tending(&self, shared: &mut Shared, writer: &Writer) {
        let now = (writer.number, writer.offset > self.config.segment_bytes / 2);
        let due = shared.book.is_spent() || !shared.void.is_empty() || (now.1 && shared.prepared.is_empty());
        if due && shared.tended != now {
            shared.tended = now;
            self.wants_tending.store(true, Ordering::Relaxed);
        }
    }

    /// Writes and syncs the batch, on a new segment if the current one fails; returns each entry's segment.
    fn write(&self, writer: &mut Writer, batch: &Batch) -> Result<Vec<u64>, Error> {
        self.make_room(writer, batch)?;
        self.put(writer, batch)
    }

    fn put(&self, writer: &mut Writer, batch: &Batch) -> Result<Vec<u64>, Error> {
        let durable = writer.durable;
        let mut result = self.try_put(writer, batch);
        for again in [true, false] {
            if result.is_ok() {
                break;
            }
            // What this round wrote is void: the next header will say so.
            writer.durable = durable;
            if let Some(number) = writer.leave() {
                self.distrust(number, durable.0 == number);
            }
            if again {
                result = self.try_put(writer, batch);
            }
        }
        result
    }

    fn try_put(&self, writer: &mut Writer, batch: &Batch) -> Result<Vec<u64>, Error> {
        let mut homes = Vec::with_capacity(batch.queue.len());
        if self.moves_on(writer, batch) {
            writer.leave();
        }
        // Marks and copies first: after an opening they must be in one write with the header that voids their former places.
        for marks in batch.dones.chunks(MARKS) {
            let payload: Vec<u8> = marks.iter().flat_map(|seq| seq.to_le_bytes()).collect();
            self.reach(writer, size(payload.len()) as u64, batch.next_seq)?;
            writer.frame(FrameKind::Done, 0, Uuid::nil(), &payload, crc32c::crc32c(&payload));
        }
        for q in &batch.queue {
            self.reach(writer, q.bytes(), batch.next_seq)?;
            writer.entry(q);
            homes.push(writer.number);
        }
        self.reach(writer, 0, batch.next_seq)?;
        writer.flush(batch.next_seq)?;
        Ok(homes)
    }

    /// A batch that would straddle the segment's end, and fits into one, goes to the next as a whole: one device flush.
    fn moves_on(&self, writer: &Writer, batch: &Batch) -> bool {
        let bytes: u64 = batch.sizes().sum();
        writer.file.is_some() && bytes > writer.room(self.config.segment_bytes) && bytes <= usable(&self.config)
    }

    /// Makes the writer stand where so many bytes have room, with the mark after them.
    fn reach(&self, writer: &mut Writer, bytes: u64, next_seq: u64) -> Result<(), Error> {
        if writer.file.is_some() && writer.room(self.config.segment_bytes) < bytes {
            // What stands before is durable already, unless this round has put something there.
            if !writer.buffer.is_empty() {
                writer.flush(next_seq)?;
            }
            writer.leave();
        }
        if writer.file.is_none() {
            let (number, file) = self.next_segment()?;
            writer.begin(number, file);
        }
        Ok(())
    }

    /// Refuses what would pass the limit, after dead weight at the log's old end has been copied forward.
    fn make_room(&self, writer: &mut Writer, batch: &Batch) -> Result<(), Error> {
        loop {
            let needed = self.segments_for(writer, batch);
            let limit = self.config.max_segments() - u64::from(!batch.may_use_all());
            let shared = self.shared.lock();
            let used = shared.book.segments.len() as u64;
            if needed == 0 || used + needed <= limit || (shared.doubt && batch.may_use_all()) {
                return Ok(());
            }
            let full = || Error::Full { bytes: used * self.config.segment_bytes, max_bytes: self.config.max_bytes };
            if shared.doubt {
                return Err(full());
            }
            if shared.book.is_spent() || !shared.void.is_empty() {
                drop(shared);
                self.retire()?;
                continue;
            }
            let alive = shared.book.mostly_dead().ok_or_else(full)?;
            let next_seq = shared.next_seq;
            drop(shared);
            let queue = alive.iter().map(Queued::copy_of).collect();
            let copies = Batch { queue, dones: Vec::new(), next_seq };
            if used + self.segments_for(writer, &copies) > self.config.max_segments() {
                return Err(full());
            }
            let homes = self.put(writer, &copies)?;
            let mut shared = self.shared.lock();
            shared.enter(copies.queue, &homes);
            if !shared.book.is_spent() {
                return Err(full());
            }
        }
    }

    /// How many segments the batch needs beyond the one being written.
    fn segments_for(&self, writer: &Writer, batch: &Batch) -> u64 {
        if self.moves_on(writer, batch) {
            return 1;
        }
        let mut free = if writer.file.is_some() { writer.room(self.config.segment_bytes) } else { 0 };
        let mut segments = u64::from(writer.file.is_none() && batch.sizes().next().is_none());
        for bytes in batch.sizes() {
            if bytes > free {
                segments += 1;
                free = usable(&self.config);
            }
            free = free.saturating_sub(bytes);
        }
        segments
    }
}

impl Shared {
    /// Enters what became durable.
    fn enter(&mut self, queue: Vec<Queued>, homes: &[u64]) {
        for (q, home) in queue.into_iter().zip(homes) {
            if !q.copy || self.book.pending.contains_key(&q.held.entry.seq) {
                self.book.add(Held { home: *home, ..q.held });
            }
        }
    }
}

/// One failure, told to each caller of its round.
fn copy_of(e: &Error) -> Error {
    match e {
        Error::Storage { action, source } => {
            Error::Storage { action, source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        Error::Full { bytes, max_bytes } => Error::Full { bytes: *bytes, max_bytes: *max_bytes },
        other => Error::Storage { action: "committing", source: std::io::Error::other(other.to_string()) },
    }
}
