//! What travels with a message through librdkafka, and the boxes that it travels in.
//!
//! A box is made by the thread that sends and let go by the one that hears the delivery report, which is what allocators
//! like least; so a box comes back: the hearing thread puts it down, and a sending thread that has none left takes all that
//! lie there.
//!
//! Invariants: a box that lies there holds nothing. At most [`LYING`] boxes lie with a producer, and as many with a thread
//! that sends.

use std::any::Any;
use std::cell::RefCell;

use parking_lot::Mutex;

use crate::recorder::{Stub, Ticket};

/// Some 80 bytes each.
const LYING: usize = 1 << 14;

/// What travels with a message through librdkafka: our ticket and the host's own opaque.
pub struct Pending<D> {
    /// No ticket: what is written over need not be read before, while the other thread's cache has it.
    ticket: Stub,
    host: Option<D>,
}

type Empty = Box<dyn Any + Send>;

thread_local! {
    static AT_HAND: RefCell<Vec<Empty>> = const { RefCell::new(Vec::new()) };
}

impl<D: Send + 'static> Pending<D> {
    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is used again")]
    pub(super) fn new(ticket: Option<Ticket>, host: D, boxes: &Boxes) -> Box<Self> {
        let ticket = Stub::of(ticket);
        if let Some(mut pending) = boxes.take::<Self>() {
            pending.ticket = ticket;
            pending.host = Some(host);
            return pending;
        }
        Box::new(Self { ticket, host: Some(host) })
    }

    /// What it holds, and it holds nothing. The host's part is there but for the second time.
    pub(super) fn empty(&mut self) -> (Option<Ticket>, Option<D>) {
        (self.ticket.take(), self.host.take())
    }
}

/// Whoever drops it did not hear the report.
impl<D> Drop for Pending<D> {
    fn drop(&mut self) {
        drop(self.ticket.take());
    }
}

/// Those of one producer.
#[derive(Default)]
pub(super) struct Boxes(Mutex<Vec<Empty>>);

impl Boxes {
    /// One that lies with this thread, or after a walk to where they are put down.
    fn take<T: 'static>(&self) -> Option<Box<T>> {
        let at_hand = AT_HAND.try_with(|at_hand| {
            let mut at_hand = at_hand.try_borrow_mut().ok()?;
            if at_hand.is_empty() {
                std::mem::swap(&mut *at_hand, &mut *self.0.try_lock()?);
            }
            at_hand.pop()
        });
        // Of another kind of producer: let go.
        at_hand.ok()??.downcast().ok()
    }

    /// Puts one down that is empty.
    pub(super) fn put<D: Send + 'static>(&self, pending: Box<Pending<D>>) {
        let mut lying = self.0.lock();
        if lying.len() < LYING {
            lying.push(pending);
        }
    }
}
