//! Who may write an *in* line, and how it is taken from a thread that may be about to write it.
//!
//! A line has one owner, who writes with plain stores. The reporter must nevertheless be able to stop it: to shut a
//! line whose window is over while its owner sleeps in a poll for hours, or to read one that is never quiet. So the
//! owner says that it is *inside*, then looks at the *door*; the reporter puts its hand on the door, then looks whether
//! the owner is inside. One of them sees the other, because between the two steps stands a full barrier: on the owner's
//! side it is bought by the reporter (`membarrier`, a system call a hold), so that a count pays nothing for it. Where
//! the kernel has none, both sides pay.
//!
//! Invariants: who holds the door and saw nobody inside has the line for itself until the door is let go; [`Gate::end`]
//! says whether that was so all the time. A gate belongs to one use of one slot and is never used again: an owner that
//! wakes up late finds its own gate shut, whatever the slot is used for now. Waiting is bounded on both sides; an owner
//! that finds the door held for long takes it back.

use super::mutant::{self, Mutant};
use super::word::{Ordering, Word, fence, pause};

/// Turns that the owner waits at a held door before it takes the door back: some microseconds.
const OWNER_TURNS: u32 = if cfg!(loom) {
    1
} else if cfg!(miri) {
    100
} else {
    2_000
};
/// Turns that the reporter waits for an owner inside.
const HOLDER_TURNS: u32 = if cfg!(loom) {
    2
} else if cfg!(miri) {
    300
} else {
    5_000
};

const OPEN: u64 = 0;
const SHUT: u64 = 1;
/// Doors from here on are held, each time by another number.
pub(crate) const FIRST_TOKEN: u64 = 2;

/// How the two sides see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// `membarrier` on the rare side.
    #[cfg_attr(any(loom, miri), allow(dead_code, reason = "neither knows the system call"))]
    Asymmetric,
    /// Fences on both.
    Full,
}

impl Barrier {
    /// The best that the kernel has.
    pub(crate) fn new() -> Self {
        // Miri has no system calls.
        #[cfg(not(any(loom, miri)))]
        {
            use rustix::thread::{MembarrierCommand, membarrier};
            if membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok() {
                return Self::Asymmetric;
            }
        }
        Self::Full
    }

    /// The owner's side. Also the release fence that `chain` asks for between two writes.
    #[inline]
    pub(crate) fn light(self) {
        if mutant::on(Mutant::NoFence) {
            return;
        }
        match self {
            Self::Asymmetric => {
                fence(Ordering::Release);
                std::sync::atomic::compiler_fence(Ordering::SeqCst);
            }
            Self::Full => fence(Ordering::SeqCst),
        }
    }

    /// The other side; `false` if it could not be had.
    pub(crate) fn heavy(self) -> bool {
        fence(Ordering::SeqCst);
        match self {
            #[cfg(not(loom))]
            Self::Asymmetric => {
                use rustix::thread::{MembarrierCommand, membarrier};
                membarrier(MembarrierCommand::PrivateExpedited).is_ok()
            }
            #[cfg(loom)]
            Self::Asymmetric => false,
            Self::Full => true,
        }
    }
}

/// Between a line's owner and the others. In memory of the process, never in the file.
#[derive(Debug)]
pub(crate) struct Gate {
    door: Word,
    inside: Word,
    owned: Word,
}

/// The owner is inside; it leaves when this is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.inside.store(0, Ordering::Release);
    }
}

impl Gate {
    /// An open gate whose line has an owner.
    pub(crate) fn new() -> Self {
        Self { door: Word::new(OPEN), inside: Word::new(0), owned: Word::new(1) }
    }

    /// For the owner: goes in, unless the door is shut for good.
    #[inline]
    pub(crate) fn enter(&self, barrier: Barrier) -> Option<Inside<'_>> {
        match self.try_enter(barrier) {
            Some(inside) => Some(inside),
            None => self.enter_slowly(barrier),
        }
    }

    #[inline]
    fn try_enter(&self, barrier: Barrier) -> Option<Inside<'_>> {
        if mutant::on(Mutant::LookThenEnter) {
            let open = self.door.load(Ordering::Acquire) == OPEN;
            self.inside.store(1, Ordering::Relaxed);
            let inside = Inside(self);
            return open.then_some(inside);
        }
        self.inside.store(1, Ordering::Relaxed);
        let inside = Inside(self);
        barrier.light();
        (self.door.load(Ordering::Acquire) == OPEN).then_some(inside)
    }

    #[cold]
    fn enter_slowly(&self, barrier: Barrier) -> Option<Inside<'_>> {
        for turn in 0.. {
            match self.door.load(Ordering::Acquire) {
                SHUT => return None,
                OPEN => {
                    if let Some(inside) = self.try_enter(barrier) {
                        return Some(inside);
                    }
                }
                // Whoever holds it is slow, or a thread that no longer exists: it will see that the door is not its own.
                held if turn >= OWNER_TURNS => {
                    self.door.swap_if(held, OPEN, Ordering::AcqRel);
                }
                _ => pause(turn),
            }
        }
        None
    }

    /// Whether the door is shut for good.
    pub(crate) fn is_shut(&self) -> bool {
        self.door.load(Ordering::Relaxed) == SHUT
    }

    /// For the others: puts a hand on the door and waits until the owner is outside. `false`: shut, held by somebody
    /// else, or the owner did not come out in time; then nothing is held.
    pub(crate) fn hold(&self, barrier: Barrier, token: u64) -> bool {
        if !self.door.swap_if(OPEN, token, Ordering::AcqRel) {
            return false;
        }
        if mutant::on(Mutant::NoWait) {
            return true;
        }
        if barrier.heavy() {
            for turn in 0..HOLDER_TURNS {
                if self.inside.load(Ordering::Acquire) == 0 {
                    return true;
                }
                pause(turn);
            }
        }
        self.end(token, false);
        false
    }

    /// Lets the door go, shut for good or open. `false`: the owner took it back meanwhile, so what was seen may be torn
    /// and nothing was shut.
    pub(crate) fn end(&self, token: u64, shut: bool) -> bool {
        self.door.swap_if(token, if shut { SHUT } else { OPEN }, Ordering::AcqRel)
    }

    /// Whether the owner is outside, or comes out in time. After a heavy barrier: whatever it begins from now on comes
    /// after the barrier.
    pub(crate) fn comes_out(&self) -> bool {
        (0..HOLDER_TURNS).any(|turn| {
            let out = self.inside.load(Ordering::Acquire) == 0;
            if !out {
                pause(turn);
            }
            out
        })
    }

    /// The owner gives the line up; it may be adopted.
    pub(crate) fn hand_over(&self) {
        self.owned.store(0, mutant::order(Mutant::RelaxedHandOver, Ordering::Release));
    }

    /// Whether the line had no owner, and is now the caller's.
    pub(crate) fn adopt(&self) -> bool {
        if mutant::on(Mutant::AdoptWithoutSwap) {
            let free = self.owned.load(Ordering::Acquire) == 0;
            self.owned.store(1, Ordering::Relaxed);
            return free;
        }
        self.owned.swap_if(0, 1, Ordering::Acquire)
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.owned.load(Ordering::Relaxed) != 0
    }
}
