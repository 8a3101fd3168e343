//! The reporter's life: taking over what the dead left, running, checkpoints, the close.
//!
//! Invariants: an incarnation that ends says how: `clean` by itself, `crash` by the next one that opens its log. The
//! first checkpoint is written before the first message is counted, so even a very short life is told of.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use chaperone_wal::Entry;

use super::Closed;
use super::message::POSITION_BYTES;
use super::outbox::Letter;
use super::recover;
use super::report::{Command, POLL_BUSY, Reporter};
use super::table::Look;
use crate::wire::End;

/// One turn of waiting for the sink while closing.
const FLUSH_SLICE: Duration = Duration::from_millis(100);

impl Reporter {
    /// Takes over what earlier incarnations left in the log, then writes a checkpoint of its own.
    pub(super) fn recover(&mut self, entries: &[Entry], now: Instant) {
        let (words, unreadable) = recover::last_words(entries);
        self.shared.counters.records.fetch_add(unreadable, Ordering::Relaxed);
        let letters = words.iter().filter_map(|m| self.letter(m, Vec::new())).collect();
        // The log must hold the last words before the next checkpoint supersedes the one that they were made from.
        self.log_letters(letters);
        // What the log holds is fetched from there, oldest first.
        self.outbox.behind |= !self.journal.is_none();
        self.fetch();
        self.write_checkpoint(now);
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            self.step(Instant::now());
            match commands.recv_timeout(self.idle()) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Close { deadline, reply }) => {
                    let closed = self.close(deadline);
                    // The log's lock and the sink's threads are gone before the caller goes on.
                    drop(self);
                    reply.send(closed).ok();
                    return;
                }
                #[cfg(any(test, feature = "testing"))]
                Ok(Command::Abandon { reply }) => {
                    drop(self);
                    reply.send(()).ok();
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Closes the books: all slots final, goodbye, and what can be sent until the deadline.
    pub(super) fn close(&mut self, deadline: Instant) -> Closed {
        self.snapshot = None;
        let positions = self.shared.positions.changed(POSITION_BYTES);
        let capture = self.shared.table.capture(Look::Close, &mut self.ids);
        let in_doubt = self.shared.table.totals().in_doubt + capture.in_flight;
        let mut letters = self.final_letters(capture.finals);
        let mut goodbye = self.message(Vec::new());
        goodbye.watermark_ms = Some(capture.watermark_ms);
        goodbye.sum = Some(capture.sum);
        goodbye.positions = positions;
        goodbye.end = Some(End::Clean);
        letters.extend(self.letter(&goodbye, Vec::new()).map(|l| Letter { farewell: true, ..l }));
        self.log_letters(letters);
        self.outbox.hurry();
        loop {
            let now = Instant::now();
            self.post(now);
            let left = deadline.saturating_duration_since(now);
            self.sink.flush(left.min(FLUSH_SLICE));
            self.collect(Duration::ZERO, now);
            if self.outbox.is_empty() || left.is_zero() {
                break;
            }
            if self.outbox.due().is_some_and(|due| due > Instant::now()) {
                std::thread::sleep(left.min(POLL_BUSY));
            }
        }
        let lost = self.outbox.unlogged_records();
        self.shared.counters.records.fetch_add(lost, Ordering::Relaxed);
        if lost == 0 {
            self.journal.drop_checkpoint();
        }
        self.journal.sync();
        let unlogged = self.outbox.unlogged();
        Closed { in_doubt, unsent: self.journal.pending().count() as u64 + unlogged }
    }

    pub(super) fn write_checkpoint(&mut self, now: Instant) {
        self.checkpoint_at = now + self.timing.checkpoint;
        if self.journal.is_none() {
            return;
        }
        let slots = self.shared.table.copy(&mut self.ids);
        // A checkpoint is not sent, so it takes no number of the sequence.
        let message = self.head.message(self.seq, self.shared.table.now_ms(), slots);
        if let Ok(bytes) = message.encode() {
            self.journal.append_checkpoint(message.uuid, &bytes);
        }
    }
}
