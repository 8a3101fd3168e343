//! The owner's side of a slot: a count is a few stores to memory that no other thread writes.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

use std::sync::Arc;

use super::chain::{self, COUNT_MAX, Lane, Words};
use super::gate::{Barrier, Gate};
use super::memory::{Kept, Life, lives};
use super::reading::At;
use super::table::{Core, Refused};
use super::word::Word;

/// One slot's *in* line, owned: whoever has this counts, and nobody else. Dropped (a thread ends, say), it is handed
/// over: the slot goes on living without an owner until it is adopted or closed.
#[derive(Debug)]
pub struct Line {
    lane: Kept<Core, Lane>,
    cells: Kept<Core, [Word]>,
    life: Kept<Core, Life>,
    gate: Arc<Gate>,
    at: At,
    n: u64,
    last_cell: u8,
    barrier: Barrier,
}

impl Line {
    /// `None` for a slot that the table does not have.
    pub(crate) fn new(core: &Arc<Core>, gate: Arc<Gate>, at: At, n: u64) -> Option<Self> {
        let lane = Kept::new(Arc::clone(core), move |core: &Core| core.lane_in(at.index))?;
        let cells = Kept::new(Arc::clone(core), move |core: &Core| Some(core.cells(at.index)))?;
        let life = Kept::new(Arc::clone(core), |core: &Core| Some(core.life()))?;
        let last_cell = u8::try_from(core.geometry.cells.saturating_sub(1)).unwrap_or(u8::MAX);
        Some(Self { lane, cells, life, gate, at, n, last_cell, barrier: core.barrier })
    }

    /// Which slot, in which use: what a delivery report needs for [`Table::add`](super::Table::add).
    #[inline]
    pub fn at(&self) -> At {
        self.at
    }

    /// What was counted so far.
    #[inline]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Whether it counts no more: whoever has it may let it go.
    pub fn is_closed(&self) -> bool {
        self.gate.is_shut()
    }

    /// Counts one: `next` changes the words to those of n + 1 and answers the histogram's cell (one beyond the last
    /// counts in the last). Nobody sees the words of n + 1 with the n before, or the other way round, whenever the
    /// process dies. No allocation, no lock, no system call; it waits, some microseconds at most, only while the line is
    /// being closed or read under a steady fire of counts.
    ///
    /// `next` runs between two marks, so that [`Table::quiesce`](super::Table::quiesce) knows of it: what it reads
    /// there (a clock's floor) is not older than the last quiesce. It should be short; if it panics nothing is counted.
    ///
    /// # Errors
    /// [`Refused::Closed`] or [`Refused::Spent`]: not counted here, open another slot. [`Refused::Forked`].
    #[inline(always)]
    pub fn count(&mut self, next: impl FnOnce(&mut Words) -> u8) -> Result<(), Refused> {
        // Once: what is stored below might change what they are made of, as far as a compiler knows.
        let (lane, cells, n): (&Lane, &[Word], u64) = (&self.lane, &self.cells, self.n);
        if !lives(&self.life) {
            return Err(Refused::Forked);
        }
        if n >= COUNT_MAX {
            return Err(Refused::Spent);
        }
        let Some(_inside) = self.gate.enter(self.barrier) else { return Err(Refused::Closed) };
        let mut words = chain::copy(lane, n);
        let cell = next(&mut words).min(self.last_cell);
        self.n = n + 1;
        chain::publish(lane, cells, n + 1, cell, &words);
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.gate.hand_over();
    }
}
