//! The receipt for an attempt, to be handed in with the delivery report.

use std::fmt;

use super::table::{Counted, Outcome};

/// One attempted message that waits for its delivery report.
///
/// Dropped without [`acked`](Self::acked) or [`failed`](Self::failed), the message is *in doubt*: it counts neither as
/// persisted nor as proven lost, and is never sent as failed. A ticket that is neither dropped nor handed in (leaked)
/// keeps its slot open until the recorder closes.
#[must_use = "a ticket that is dropped puts its message in doubt; call acked() or failed() with the delivery report"]
pub struct Ticket {
    /// `None` when handed in, or when the recorder was closed before the attempt.
    counted: Option<Counted>,
}

impl Ticket {
    #[inline]
    pub(super) fn new(counted: Option<Counted>) -> Self {
        Self { counted }
    }

    /// The message is persisted.
    pub fn acked(mut self) {
        self.hand_in(Outcome::Acked);
    }

    /// The message is proven not persisted. For any error that leaves doubt (a timeout, a lost connection), drop the
    /// ticket instead.
    pub fn failed(mut self) {
        self.hand_in(Outcome::Failed);
    }

    fn hand_in(&mut self, outcome: Outcome) {
        if let Some(counted) = self.counted.take() {
            counted.resolve(outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.hand_in(Outcome::InDoubt);
    }
}

/// A ticket that is put away: dropped, it says nothing, so it must be taken out again.
#[cfg(feature = "kafka")]
pub(crate) struct Stub(Option<Counted>);

#[cfg(feature = "kafka")]
impl Stub {
    #[inline]
    pub(crate) fn of(ticket: Option<Ticket>) -> Self {
        Self(ticket.and_then(|mut ticket| ticket.counted.take()))
    }

    /// The ticket, once.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Ticket> {
        self.0.take().map(|counted| Ticket::new(Some(counted)))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("counted", &self.counted).finish_non_exhaustive()
    }
}
