//! The reporter's life: taking over what the dead left, running, checkpoints, the close.
//!
//! Invariants: an incarnation that ends says how: `clean` by itself, `crash` or `power` by the next one that finds its log
//! or its slot file. A slot file is removed when what it tells is in the log, or with the sink. The
//! first checkpoint is written before the first message is counted, so even a very short life is told of.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Closed;
use super::message::POSITION_BYTES;
use super::outbox::Letter;
use super::recover;
use super::report::{Command, POLL_BUSY, Reporter};
use super::start::Left;
use super::table::How;
use crate::wire::End;

/// One turn of waiting for the sink while closing.
const FLUSH_SLICE: Duration = Duration::from_millis(100);

impl Reporter {
    /// Takes over what earlier incarnations left, then writes a checkpoint of its own.
    pub(super) fn recover(&mut self, left: Left, now: Instant) {
        self.dispatch.take_over(left, self.boot);
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
                    self.shared.table.abandon();
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
        self.dispatch.pace.lift();
        let positions = self.shared.positions.changed(POSITION_BYTES);
        let capture = self.capture(How::Close);
        let in_doubt = self.shared.table.totals().in_doubt + capture.in_flight;
        let capture_partial = capture.partial;
        self.release(self.stretch.width());
        self.dispatch.released = u64::MAX;
        let mut letters = self.final_letters(capture.finals, false);
        let mut goodbye = self.message(Vec::new());
        if !capture_partial {
            goodbye.watermark_ms = Some(capture.watermark_ms);
            goodbye.sum = Some(capture.sum);
        }
        goodbye.positions = positions;
        goodbye.end = Some(End::Clean);
        letters.extend(self.dispatch.letter(&goodbye, Vec::new()).map(|l| Letter { farewell: true, ..l }));
        self.log(letters);
        self.dispatch.outbox.hurry();
        loop {
            let now = Instant::now();
            self.post(now);
            let left = deadline.saturating_duration_since(now);
            self.dispatch.sink.flush(left.min(FLUSH_SLICE));
            self.collect(Duration::ZERO, now);
            if self.dispatch.outbox.is_empty() || left.is_zero() {
                break;
            }
            if self.dispatch.outbox.due().is_some_and(|due| due > Instant::now()) {
                std::thread::sleep(left.min(POLL_BUSY));
            }
        }
        self.dispatch.give_up_repeats();
        let lost = self.dispatch.outbox.unlogged_records();
        self.shared.counters.records.fetch_add(lost, Ordering::Relaxed);
        if lost == 0 {
            self.dispatch.journal.drop_checkpoint();
        }
        self.dispatch.journal.sync();
        let unlogged = self.dispatch.outbox.unlogged();
        self.leave_slots(unlogged == 0 && !capture_partial);
        Closed { in_doubt, unsent: self.dispatch.unsent() as u64 + unlogged }
    }

    /// Leaves the slot file to the next, or removes it if all that is in it is in a safe place.
    fn leave_slots(&self, safe: bool) {
        let slots = self.shared.table.slots();
        if safe && let Err(error) = slots.remove() {
            tracing::warn!(%error, "a slot file that is not needed any more");
        }
        slots.unlock();
    }

    pub(super) fn write_checkpoint(&mut self, now: Instant) {
        self.checkpoint_at = now + self.timing.checkpoint;
        self.look_for_slot_file();
        if self.dispatch.journal.is_none() {
            return;
        }
        // A thread in the midst of a count for long: the next checkpoint is soon.
        let Some(slots) = self.shared.table.copy(&mut self.ids) else { return };
        // A checkpoint is not sent, so it takes no number of the sequence.
        let message = self.head.message(self.seq, self.shared.table.now_ms(), slots);
        let table = self.shared.table.slots();
        let file = table.path().filter(|_| table.survives());
        if let Some(bytes) = recover::checkpoint(&message, self.boot, file) {
            self.dispatch.journal.append_checkpoint(message.uuid, &bytes);
        }
    }

    /// Somebody may have removed the slot file: then nobody would find the counts after this process's death.
    fn look_for_slot_file(&self) {
        let slots = self.shared.table.slots();
        if slots.survives() && !slots.is_reachable() && !self.shared.counters.unreachable.swap(true, Ordering::Relaxed)
        {
            let path = slots.path().map(|p| p.display().to_string()).unwrap_or_default();
            tracing::warn!(
                path,
                "the slot file was removed: counting goes on, but the death of this process would lose what it counted since the last checkpoint"
            );
        }
    }
}
