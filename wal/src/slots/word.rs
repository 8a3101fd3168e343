//! One aligned 8-byte word of a slot file, and the fences around it.
//!
//! Everything shared is made of these words: loads and stores of 8 aligned bytes cannot be torn by the death of the
//! process. Under `--cfg loom` they are loom's; in unit tests a fuse may cut a thread's stores short, as a kill does.

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;

#[cfg(loom)]
pub(crate) use loom::{
    sync::{Mutex, atomic::fence},
    thread::yield_now,
};
#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::{sync::atomic::fence, thread::yield_now};

pub(crate) use std::sync::atomic::Ordering;

/// Waits a moment for another thread: a hint first, then the processor.
pub(crate) fn pause(turn: u32) {
    if cfg!(loom) || turn % 64 == 63 {
        yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// Eight bytes that threads and, after death, another process read.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    #[inline]
    pub(crate) fn store(&self, value: u64, order: Ordering) {
        #[cfg(all(test, not(loom)))]
        if fuse::burnt() {
            return;
        }
        self.0.store(value, order);
    }

    /// Whether the word was `from` and is now `to`.
    #[inline]
    pub(crate) fn swap_if(&self, from: u64, to: u64, order: Ordering) -> bool {
        #[cfg(all(test, not(loom)))]
        if fuse::burnt() {
            return true;
        }
        self.0.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }

    /// The value, and one more for who asks next.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn or(&self, bits: u64) {
        self.0.fetch_or(bits, Ordering::AcqRel);
    }
}

/// Lets this thread's next stores through and swallows those after them: memory as a kill leaves it.
#[cfg(all(test, not(loom)))]
pub(crate) mod fuse {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// `None`: no fuse.
    pub(crate) fn set(stores: Option<u64>) {
        LEFT.set(stores);
    }

    pub(crate) fn left() -> Option<u64> {
        LEFT.get()
    }

    pub(super) fn burnt() -> bool {
        match LEFT.get() {
            None => false,
            Some(0) => true,
            Some(left) => {
                LEFT.set(Some(left - 1));
                false
            }
        }
    }
}
