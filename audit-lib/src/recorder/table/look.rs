//! The reporter's side of the table: what it looks at, closes and takes out, and what is summed for people.
//!
//! Invariants: those of the table. The watermark is fixed first, then every count that began before is waited for, then
//! the lines are read; a look that a thread was too slow for is `partial`, and says neither watermark nor sums.
//!
//! Limit: the registry's lock is held for short stretches only, never while a line is waited for.

use std::sync::atomic::Ordering;

use chaperone_wal::slots::{self, At, Refused, Slot};

use super::super::registry::{Key, Look};
use super::super::slot::{Kind, Tally, line_in_flight};
use super::Table;
use crate::wire::{SlotRecord, Sum};

/// How often a thread that is in the midst of a count is waited for. Each time is some microseconds.
const BEAT_TRIES: u32 = 64;
/// The same when there is no later look.
const LAST_TRIES: u32 = 4096;

/// A slot's state as it was when the reporter looked.
#[derive(Debug, Clone)]
pub(in crate::recorder) struct Captured {
    pub(in crate::recorder) key: Key,
    pub(in crate::recorder) record: SlotRecord,
    /// How often the slot had changed; see [`Table::settle`].
    pub(in crate::recorder) changes: u64,
    /// The sink was given a state of it before.
    pub(in crate::recorder) told: bool,
}

/// All that one look at the table found.
#[derive(Debug, Default)]
pub(in crate::recorder) struct Capture {
    pub(in crate::recorder) watermark_ms: i64,
    /// Open slots that changed since they were last settled.
    pub(in crate::recorder) dirty: Vec<Captured>,
    /// Slots that this look closed.
    pub(in crate::recorder) finals: Vec<Captured>,
    /// Sums over every slot ever, exactly at this look.
    pub(in crate::recorder) sum: Sum,
    /// Attempts without any outcome at this look.
    pub(in crate::recorder) in_flight: u64,
    /// A thread was too slow to be waited for: the watermark and the sums say nothing.
    pub(in crate::recorder) partial: bool,
}

/// How to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recorder) enum How {
    /// Close the slots whose time has come.
    Beat {
        /// How long after its end a window is left open.
        grace_ms: i64,
    },
    /// Close all; nothing is counted from now on.
    Close,
}

/// Totals for [`Stats`](super::Stats).
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::recorder) struct Totals {
    pub(in crate::recorder) sum: Sum,
    pub(in crate::recorder) in_flight: u64,
    pub(in crate::recorder) in_doubt: u64,
    pub(in crate::recorder) slots: usize,
    pub(in crate::recorder) uncounted: u64,
}
impl Table {
    /// Looks at every slot. `ids` is the number that the next new slot gets.
    pub(in crate::recorder) fn capture(&self, how: How, ids: &mut u64) -> Capture {
        // Before the wait: what begins after it reads this floor and dates its arrival at or after it.
        let watermark_ms = self.now_ms();
        self.floor_ms.store(watermark_ms, Ordering::SeqCst);
        if how == How::Close {
            self.registry.lock().shut();
            self.closed.store(true, Ordering::SeqCst);
        }
        let tries = if how == How::Close { LAST_TRIES } else { BEAT_TRIES };
        let quiet = matches!(patiently(tries, || self.slots.quiesce()), Some(Ok(())));
        let mut capture = Capture { watermark_ms, partial: !quiet, ..Capture::default() };
        let (looks, freed) = {
            let mut registry = self.registry.lock();
            (registry.look(&self.slots, ids), registry.freed().sum)
        };
        capture.sum = freed;
        for look in looks {
            self.capture_slot(&look, how, tries, &mut capture);
        }
        capture.sum.slots = *ids;
        capture
    }

    fn capture_slot(&self, look: &Look, how: How, tries: u32, capture: &mut Capture) {
        if let Some(last) = &look.last {
            last.add_to(&mut capture.sum);
            return;
        }
        let Some(mut tally) = self.tally(&look.lines, tries) else {
            capture.partial = true;
            return;
        };
        let due = match how {
            How::Close => true,
            How::Beat { grace_ms } => {
                look.closing || tally.is_due(&look.purpose, capture.watermark_ms, grace_ms) && self.has_spare(look)
            }
        };
        let mut is_final = false;
        if due {
            match self.close_slot(look, how, tries) {
                Closing::Closed(last) => (tally, is_final) = (last, true),
                Closing::Busy(now) => tally = now,
                Closing::Unreadable => {
                    capture.partial = true;
                    return;
                }
            }
        }
        tally.add_to(&mut capture.sum);
        capture.in_flight += tally.in_flight(look.purpose.place.2);
        let changes = tally.changes();
        let captured = |record| Captured { key: look.key, record, changes, told: look.told };
        if is_final {
            capture.finals.push(captured(look.record(&tally, true)));
            self.registry.lock().close(look.key, tally);
        } else if changes != look.settled {
            capture.dirty.push(captured(look.record(&tally, false)));
        }
    }

    fn has_spare(&self, look: &Look) -> bool {
        !look.purpose.overflow || self.registry.lock().overflow_has_spare(look.purpose.place.2)
    }

    /// Closes all lines of a slot, each when nothing of it is in flight.
    fn close_slot(&self, look: &Look, how: How, tries: u32) -> Closing {
        let lines = self.registry.lock().unlist(look.key);
        let seen = look.purpose.place.2 == Kind::Seen;
        let (mut last, mut closed) = (Tally::default(), true);
        for at in lines.iter().copied() {
            let quiet = |line: &slots::Standing| how == How::Close || seen || line_in_flight(line) == 0;
            match patiently(tries, || self.slots.close_if(at, quiet)) {
                Some(Ok(Some(line))) => last.add(&line),
                // Closed at an earlier look.
                Some(Err(Refused::Closed)) => match self.slots.read(at) {
                    Ok(line) => last.add(&line),
                    Err(_) => closed = false,
                },
                _ => closed = false,
            }
        }
        if closed {
            return Closing::Closed(last);
        }
        self.tally(&lines, tries).map_or(Closing::Unreadable, Closing::Busy)
    }

    fn tally(&self, lines: &[At], tries: u32) -> Option<Tally> {
        let mut tally = Tally::default();
        for at in lines {
            tally.add(&self.read(*at, tries)?);
        }
        Some(tally)
    }

    fn read(&self, at: At, tries: u32) -> Option<Slot> {
        patiently(tries, || self.slots.read(at))?.ok()
    }

    /// The state of every slot in the table, for a checkpoint. `None`: one could not be read.
    pub(in crate::recorder) fn copy(&self, ids: &mut u64) -> Option<Vec<SlotRecord>> {
        let looks = self.registry.lock().look(&self.slots, ids);
        let record = |look: &Look| match &look.last {
            Some(last) => Some(look.record(last, true)),
            None => Some(look.record(&self.tally(&look.lines, BEAT_TRIES)?, false)),
        };
        looks.iter().map(record).collect()
    }

    /// The sink is given these states: from now on somebody may know the slots by their ids.
    pub(in crate::recorder) fn tell(&self, told: &[(Key, u64)]) {
        let mut registry = self.registry.lock();
        for (key, _) in told {
            registry.tell(*key);
        }
    }

    /// The sink has these states: slots that have not changed since are no longer dirty.
    pub(in crate::recorder) fn settle(&self, reported: &[(Key, u64)]) {
        let mut registry = self.registry.lock();
        for (key, changes) in reported {
            registry.settle(*key, *changes);
        }
    }

    /// Takes closed slots out of the table.
    pub(in crate::recorder) fn free(&self, slots: &[Key]) {
        if !slots.is_empty() {
            let mut registry = self.registry.lock();
            for key in slots {
                registry.free(&self.slots, *key);
            }
        }
    }

    pub(in crate::recorder) fn totals(&self) -> Totals {
        if self.is_forked() {
            return Totals { uncounted: self.uncounted.load(Ordering::Relaxed), ..Totals::default() };
        }
        let (open, last, freed, slots) = {
            let registry = self.registry.lock();
            let (open, last) = registry.lines();
            (open, last, registry.freed(), registry.slots())
        };
        let uncounted = self.uncounted.load(Ordering::Relaxed);
        let mut totals = Totals { sum: freed.sum, in_doubt: freed.in_doubt, slots, uncounted, ..Totals::default() };
        for tally in &last {
            tally.add_to(&mut totals.sum);
            totals.in_doubt += tally.in_doubt;
        }
        for (kind, lines) in open {
            // A line that is closed and freed meanwhile is missing from this one answer.
            let mut tally = Tally::default();
            lines.iter().filter_map(|at| self.read(*at, BEAT_TRIES)).for_each(|line| tally.add(&line));
            tally.add_to(&mut totals.sum);
            totals.in_doubt += tally.in_doubt;
            totals.in_flight += tally.in_flight(kind);
        }
        totals
    }
}

enum Closing {
    /// For good.
    Closed(Tally),
    /// A line still has something in flight: it counts on, and so does the slot.
    Busy(Tally),
    Unreadable,
}

/// Tries while a thread is in the midst of something; `None` if it is so all the time.
fn patiently<T>(tries: u32, mut f: impl FnMut() -> Result<T, Refused>) -> Option<Result<T, Refused>> {
    for turn in 0..tries {
        match f() {
            Err(Refused::Busy) if turn % 4 == 3 => std::thread::yield_now(),
            Err(Refused::Busy) => {}
            done => return Some(done),
        }
    }
    None
}
