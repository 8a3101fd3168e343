//! The table: opening, reading, shutting and freeing slots. What a count costs is in [`Line`](super::Line).
//!
//! A slot is *free*, is *opened* by the thread that will own its *in* line, is *live*, is *closed* when the caller finds
//! it quiet, and *freed* when the caller has it in a safe place; then its generation grows. An [`At`] of an earlier
//! generation finds nothing: a late report is recognised and never added to another slot.
//!
//! Invariants: fields first, then the state (Release); a slot that is free or being opened has counted nothing. A closed
//! slot does not change. *Out* is read before *in*, so no reading shows more outcomes than attempts.
//!
//! Limits: opening takes two locks that threads share (names, free slots); counting takes none. What a forked child
//! does to a table that it inherited is refused.

use std::sync::Arc;

use super::chain::{self, COUNT_MAX, GENERATION_MAX, Lane, NotTaken, Seen, Words};
use super::gate::{Barrier, FIRST_TOKEN, Gate};
use super::layout::{CELLS, FLAGS, Geometry, HEADER, HEARTBEAT, IN, LINE, NAMES_USED, OUT, State, TAGS, descriptor};
use super::line::Line;
use super::memory::{ForkGuard, Life, Memory, lives};
use super::mutant::{self, Mutant};
use super::names::Index;
use super::reading::{self, At, Limits, Parts, Slot};
use super::word::{Mutex, Ordering, Word, fence};

/// Looks at a line that is being written before its owner is asked to wait.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 16 };

/// Why a table did not do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No slot is free.
    #[error("all slots are in use")]
    Full,
    /// No room for another name.
    #[error("there is no room for another name")]
    NamesFull,
    /// The slot is closed, or is another's by now.
    #[error("the slot counts no more")]
    Closed,
    /// The line holds as many counts as it can: open another slot.
    #[error("the slot holds as many counts as it can")]
    Spent,
    /// Another thread is at it and did not finish in time; try later.
    #[error("another thread holds the slot")]
    Busy,
    /// This process is a child that was forked after the table was made; the table is its parent's.
    #[error("the table belongs to the process that this one was forked from")]
    Forked,
}

/// What a closing looks at: two numbers that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Counts of the *in* line.
    pub n: u64,
    /// Its words.
    pub words_in: Words,
    /// Additions to the *out* line.
    pub m: u64,
    /// Its words.
    pub words_out: Words,
}

/// All that threads share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) memory: Memory,
    pub(crate) geometry: Geometry,
    pub(crate) barrier: Barrier,
    guard: Option<ForkGuard>,
    /// In place of the guard's word where there is none.
    unguarded: Life,
    gates: Box<[Mutex<Option<Arc<Gate>>>]>,
    free: Mutex<Vec<u32>>,
    names: Mutex<Index>,
    tokens: Word,
}

impl Core {
    pub(crate) fn new(memory: Memory, geometry: Geometry, guard: Option<ForkGuard>) -> Self {
        Self {
            memory,
            geometry,
            barrier: Barrier::new(),
            guard,
            unguarded: Life::new(1),
            gates: (0..geometry.slots).map(|_| Mutex::new(None)).collect(),
            free: Mutex::new((0..geometry.slots).rev().collect()),
            names: Mutex::new(Index::default()),
            tokens: Word::new(FIRST_TOKEN),
        }
    }

    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        !lives(self.life())
    }

    /// Of a line's owner, who asks at every count.
    #[inline]
    pub(crate) fn life(&self) -> &Life {
        self.guard.as_ref().and_then(ForkGuard::life).unwrap_or(&self.unguarded)
    }

    /// A part of a slot, by its offset.
    #[inline]
    fn part<const N: usize>(&self, index: u32, offset: usize) -> Option<&[Word; N]> {
        let at = self.geometry.slot_at(index) + offset;
        self.memory.get(at..at + N)?.first_chunk()
    }

    #[inline]
    pub(crate) fn lane_in(&self, index: u32) -> Option<&Lane> {
        self.part::<LINE>(index, IN)
    }

    #[inline]
    pub(crate) fn lane_out(&self, index: u32) -> Option<&Lane> {
        self.part::<LINE>(index, OUT)
    }

    #[inline]
    pub(crate) fn cells(&self, index: u32) -> &[Word] {
        let at = self.geometry.slot_at(index) + CELLS;
        self.memory.get(at..at + self.geometry.cell_words()).unwrap_or_default()
    }

    pub(crate) fn descriptor(&self, index: u32) -> Option<&[Word; descriptor::WORDS]> {
        self.part(index, 0).filter(|_| index < self.geometry.slots)
    }

    /// The gate of a slot that is in this use.
    pub(crate) fn gate(&self, at: At) -> Result<Arc<Gate>, Refused> {
        let gate = self.gates.get(at.index as usize).and_then(|gate| lock(gate).clone());
        // The generation after the gate: a gate of a later use comes with a later generation.
        self.state(at).and(gate.ok_or(Refused::Closed))
    }

    fn state(&self, at: At) -> Result<State, Refused> {
        let word = self.descriptor(at.index).ok_or(Refused::Closed)?[descriptor::STATE].load(Ordering::Acquire);
        match State::of(word) {
            Some((state @ (State::Live | State::Closed), generation)) if generation == u64::from(at.generation) => {
                Ok(state)
            }
            _ => Err(Refused::Closed),
        }
    }

    #[inline]
    fn check_fork(&self) -> Result<(), Refused> {
        if self.is_child() { Err(Refused::Forked) } else { Ok(()) }
    }

    pub(crate) fn open(self: &Arc<Self>, owner: u64, name: &str, tags: &[u64; TAGS]) -> Result<Line, Refused> {
        self.check_fork()?;
        let index = lock(&self.free).pop().ok_or(Refused::Full)?;
        let Some(place) = lock(&self.names).place(&self.memory, &self.geometry, name) else {
            lock(&self.free).push(index);
            return Err(Refused::NamesFull);
        };
        let (Some(d), Some(out)) = (self.descriptor(index), self.lane_out(index)) else { return Err(Refused::Full) };
        let used = d[descriptor::STATE].load(Ordering::Relaxed) >> 3;
        let generation = used % GENERATION_MAX + 1;
        d[descriptor::STATE].store(State::Init.word(generation), Ordering::Relaxed);
        fence(Ordering::Release);
        d[descriptor::OWNER].store(owner, Ordering::Relaxed);
        d[descriptor::NAME].store(place, Ordering::Relaxed);
        d[descriptor::NOTE].store(0, Ordering::Relaxed);
        for (word, tag) in d[descriptor::TAGS_AT..].iter().zip(tags) {
            word.store(*tag, Ordering::Relaxed);
        }
        out[0].store(chain::out_control(generation), Ordering::Release);
        let gate = Arc::new(Gate::new());
        if let Some(place) = self.gates.get(index as usize) {
            *lock(place) = Some(Arc::clone(&gate));
        }
        d[descriptor::STATE].store(State::Live.word(generation), Ordering::Release);
        let at = At { index, generation: u32::try_from(generation).unwrap_or(u32::MAX) };
        Line::new(self, gate, at, 0).ok_or(Refused::Full)
    }

    pub(crate) fn adopt(self: &Arc<Self>, at: At, owner: u64) -> Result<Line, Refused> {
        self.check_fork()?;
        let gate = self.gate(at)?;
        let (Some(lane), Some(d)) = (self.lane_in(at.index), self.descriptor(at.index)) else {
            return Err(Refused::Closed);
        };
        if !gate.adopt() {
            return Err(Refused::Busy);
        }
        d[descriptor::OWNER].store(owner, Ordering::Relaxed);
        let n = chain::count_of(lane[0].load(Ordering::Relaxed));
        Line::new(self, gate, at, n).ok_or(Refused::Closed)
    }

    #[inline]
    pub(crate) fn add(&self, at: At, addends: &Words) -> Result<(), Refused> {
        self.check_fork()?;
        let lane = self.lane_out(at.index).ok_or(Refused::Closed)?;
        let taken = take(lane, at)?;
        if chain::count_of(taken) >= COUNT_MAX {
            chain::give_back(lane, taken, false);
            return Err(Refused::Spent);
        }
        chain::add(lane, taken, addends);
        Ok(())
    }

    /// The *out* line at one instant: by looking, else by taking it.
    fn see_out(&self, at: At) -> Result<Seen, Refused> {
        let lane = self.lane_out(at.index).ok_or(Refused::Closed)?;
        if let Some(seen) = (0..LOOKS).find_map(|_| chain::look(lane, &[])) {
            return Ok(seen);
        }
        match take(lane, at) {
            Ok(taken) => {
                let words = chain::copy(lane, chain::count_of(taken));
                chain::give_back(lane, taken, false);
                Ok(Seen { control: taken, words, cells: Vec::new() })
            }
            // Closed lines do not change.
            Err(Refused::Closed) => chain::look(lane, &[]).ok_or(Refused::Busy),
            Err(refused) => Err(refused),
        }
    }

    /// The *in* line at one instant: by looking, else by holding its door.
    fn see_in(&self, at: At, gate: &Gate) -> Result<Seen, Refused> {
        let lane = self.lane_in(at.index).ok_or(Refused::Closed)?;
        let look = || chain::look(lane, self.cells(at.index));
        if let Some(seen) = (0..LOOKS).find_map(|_| look()) {
            return Ok(seen);
        }
        let hand = self.tokens.next();
        if !gate.hold(self.barrier, hand) {
            return look().ok_or(Refused::Busy);
        }
        let seen = look();
        if gate.end(hand, false) { seen.ok_or(Refused::Busy) } else { Err(Refused::Busy) }
    }

    pub(crate) fn read(&self, at: At) -> Result<Slot, Refused> {
        self.check_fork()?;
        let gate = self.gate(at)?;
        let early = if mutant::on(Mutant::InBeforeOut) { Some(self.see_in(at, &gate)?) } else { None };
        let out = self.see_out(at)?;
        let within = match early {
            Some(seen) => seen,
            None => self.see_in(at, &gate)?,
        };
        self.slot_of(at, &within, &out)
    }

    fn slot_of(&self, at: At, within: &Seen, out: &Seen) -> Result<Slot, Refused> {
        let d = self.descriptor(at.index).ok_or(Refused::Closed)?;
        let parts = Parts {
            descriptor: std::array::from_fn(|i| d[i].load(Ordering::Relaxed)),
            in_control: within.control,
            in_words: within.words,
            cells: &within.cells,
            out_control: out.control,
            out_words: out.words,
        };
        let name = self.name(parts.descriptor[descriptor::NAME]);
        // What was read is of this use only if it is so still.
        fence(Ordering::Acquire);
        self.state(at)?;
        reading::slot(&parts, at.index, name, Limits::default()).ok_or(Refused::Closed)
    }

    fn name(&self, place: u64) -> Option<String> {
        let used = self.word(NAMES_USED)?.load(Ordering::Acquire);
        let words = self.memory.get(HEADER..HEADER + self.geometry.names_words())?;
        reading::name(place, used, self.geometry.names_words(), |at| words.get(at).map(|w| w.load(Ordering::Relaxed)))
    }

    fn word(&self, at: usize) -> Option<&Word> {
        self.memory.get(at)
    }

    pub(crate) fn close_if(&self, at: At, quiet: impl FnOnce(&Standing) -> bool) -> Result<Option<Slot>, Refused> {
        self.check_fork()?;
        if self.state(at)? == State::Closed {
            return Err(Refused::Closed);
        }
        let gate = self.gate(at)?;
        let (Some(lane_in), Some(lane_out), Some(d)) =
            (self.lane_in(at.index), self.lane_out(at.index), self.descriptor(at.index))
        else {
            return Err(Refused::Closed);
        };
        let hand = self.tokens.next();
        if !gate.hold(self.barrier, hand) {
            return Err(Refused::Busy);
        }
        let mut held = Held { gate: &gate, hand, out: None };
        let taken = take(lane_out, at)?;
        held.out = Some((lane_out, taken));
        let Some(within) = chain::look(lane_in, self.cells(at.index)) else { return Err(Refused::Busy) };
        let m = chain::count_of(taken);
        let words_out = chain::copy(lane_out, m);
        let n = chain::count_of(within.control);
        if !quiet(&Standing { n, words_in: within.words, m, words_out }) {
            return Ok(None);
        }
        if !held.shut() {
            return Err(Refused::Busy);
        }
        d[descriptor::STATE].store(State::Closed.word(at.generation.into()), Ordering::Release);
        let out = Seen { control: taken, words: words_out, cells: Vec::new() };
        self.slot_of(at, &within, &out).map(Some)
    }

    pub(crate) fn free(&self, at: At) -> Result<(), Refused> {
        self.check_fork()?;
        if self.state(at)? != State::Closed {
            return Err(Refused::Busy);
        }
        let Some(d) = self.descriptor(at.index) else { return Err(Refused::Closed) };
        let generation = u64::from(at.generation);
        // Whoever else frees it at the same time loses here.
        let (closed, free) = (State::Closed.word(generation), State::Free.word(generation));
        if !d[descriptor::STATE].swap_if(closed, free, Ordering::AcqRel) {
            return Err(Refused::Closed);
        }
        // Who sees a zero that follows also sees that the slot is free.
        fence(Ordering::Release);
        if let Some(place) = self.gates.get(at.index as usize) {
            *lock(place) = None;
        }
        let from = self.geometry.slot_at(at.index);
        for word in self.memory.get(from + IN..from + self.geometry.slot_words()).unwrap_or_default() {
            word.store(0, Ordering::Relaxed);
        }
        fence(Ordering::Release);
        lock(&self.free).push(at.index);
        Ok(())
    }

    pub(crate) fn note(&self, at: At, value: u64) -> Result<(), Refused> {
        self.check_fork()?;
        self.state(at)?;
        let d = self.descriptor(at.index).ok_or(Refused::Closed)?;
        d[descriptor::NOTE].store(value, Ordering::Release);
        Ok(())
    }

    pub(crate) fn uses(&self) -> impl Iterator<Item = (At, bool)> + '_ {
        (0..self.geometry.slots).filter_map(|index| {
            let word = self.descriptor(index)?[descriptor::STATE].load(Ordering::Acquire);
            let (state, generation) = State::of(word)?;
            let at = At { index, generation: u32::try_from(generation).ok()? };
            matches!(state, State::Live | State::Closed).then_some((at, state == State::Closed))
        })
    }

    pub(crate) fn quiesce(&self) -> Result<(), Refused> {
        self.check_fork()?;
        if !self.barrier.heavy() {
            return Err(Refused::Busy);
        }
        let out = |(at, _): (At, bool)| self.gate(at).map_or(true, |gate| gate.comes_out());
        if self.uses().all(out) { Ok(()) } else { Err(Refused::Busy) }
    }

    pub(crate) fn heartbeat(&self, value: u64) -> Result<(), Refused> {
        self.check_fork()?;
        if let Some(word) = self.word(HEARTBEAT) {
            word.store(value, Ordering::Release);
        }
        Ok(())
    }

    pub(crate) fn flag(&self, bits: u64) -> Result<(), Refused> {
        self.check_fork()?;
        if let Some(word) = self.word(FLAGS) {
            word.or(bits);
        }
        Ok(())
    }

    pub(crate) fn free_slots(&self) -> usize {
        lock(&self.free).len()
    }
}

#[inline]
fn take(lane: &Lane, at: At) -> Result<u64, Refused> {
    chain::take(lane, at.generation.into()).map_err(|why| match why {
        NotTaken::Gone | NotTaken::Shut => Refused::Closed,
        NotTaken::Stuck => Refused::Busy,
    })
}

#[cfg(loom)]
fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
#[cfg(not(loom))]
fn lock<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    mutex.lock()
}

/// Both lines of a slot, given back when dropped.
struct Held<'a> {
    gate: &'a Gate,
    hand: u64,
    out: Option<(&'a Lane, u64)>,
}

impl Held<'_> {
    /// Shuts both, if the *in* line was held all the time.
    fn shut(&mut self) -> bool {
        let shut = self.gate.end(self.hand, true);
        if let Some((lane, taken)) = self.out.take_if(|_| shut) {
            chain::give_back(lane, taken, true);
        }
        shut
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some((lane, taken)) = self.out.take() {
            chain::give_back(lane, taken, false);
        }
        // After `shut` the door is not ours any more, and this changes nothing.
        self.gate.end(self.hand, false);
    }
}
