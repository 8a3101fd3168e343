//! Where callers wait for the round that carries their entries.
//!
//! A count that only grows: who wants to wait takes a ticket while it holds the log's lock, and sleeps until the count
//! is another. All are woken by one system call and need no lock to see that they are done; with a condition variable
//! each of 64 would have to take it.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU32);

impl Gate {
    pub(crate) fn ticket(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Returns when the gate has been opened since the ticket was taken, and sometimes before.
    pub(crate) fn wait(&self, ticket: u32) {
        // An interruption and a count that has moved on are no errors here: the caller looks again.
        futex::wait(&self.0, futex::Flags::PRIVATE, ticket, None).ok();
    }

    /// Makes all tickets old. Whoever holds one and sleeps must be woken by [`wake`](Self::wake).
    pub(crate) fn open(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn wake(&self, at_most: u32) {
        futex::wake(&self.0, futex::Flags::PRIVATE, at_most).ok();
    }
}
