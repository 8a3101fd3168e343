//! Transactions: a delivery report says that a message is in the log, the transaction's end says whether anyone will see
//! it. Tickets of delivered messages are held until then; the table is at [`Audited`](super::Audited).
//!
//! Invariants: a message is acked only by a commit that succeeded, and failed only by an abort that did or by an error
//! that proves that it was never persisted; both return only when all delivery reports of the transaction have run
//! through the callback, so none comes after its end; `hold` takes the lock for a push and nothing else.
//!
//! Limits: the tickets held are as many as the messages of the transaction, some dozens of bytes each, beside what librdkafka
//! keeps of it. The windows of a transaction stay open, and unjudged downstream, until it ends.

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::recorder::Ticket;

/// The transactions of one producer, one at a time.
#[derive(Default)]
pub(super) struct Transactions {
    held: Mutex<Held>,
    /// Begin, commit and abort take turns, so that none settles what another began.
    turns: Mutex<()>,
}

#[derive(Default)]
struct Held {
    delivered: Vec<Ticket>,
    /// Whether an abort would not tell how the transaction ended.
    blurred: bool,
    /// After a fatal error.
    dead: bool,
}

/// How a transaction ended, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    Aborted,
    Unknown,
}

impl Transactions {
    /// Keeps the ticket of a delivered message until the end of the transaction.
    pub(super) fn hold(&self, ticket: Ticket) {
        let mut held = self.held.lock();
        if !held.dead {
            held.delivered.push(ticket);
        }
    }

    /// The producer is not good for another transaction.
    pub(super) fn die(&self) {
        self.held.lock().dead = true;
        self.settle(End::Unknown);
    }

    /// Begins one. What is still held then was ended past the wrapper.
    pub(super) fn begin(&self, begin: impl FnOnce() -> KafkaResult<()>) -> KafkaResult<()> {
        let _turn = self.turns.lock();
        let result = begin();
        match &result {
            Ok(()) => self.settle(End::Unknown),
            Err(error) => self.failed(error),
        }
        result
    }

    /// Commits by `commit`.
    pub(super) fn commit(&self, commit: impl FnOnce() -> KafkaResult<()>) -> KafkaResult<()> {
        let _turn = self.turns.lock();
        let result = commit();
        match &result {
            Ok(()) => self.settle(End::Committed),
            Err(error) => {
                if forgotten(error) {
                    self.held.lock().blurred = true;
                }
                self.failed(error);
            }
        }
        result
    }

    /// Aborts by `abort`.
    pub(super) fn abort(&self, abort: impl FnOnce() -> KafkaResult<()>) -> KafkaResult<()> {
        let _turn = self.turns.lock();
        let result = abort();
        match &result {
            Ok(()) => self.settle(End::Aborted),
            Err(error) => self.failed(error),
        }
        result
    }

    /// Any other call of a transaction.
    pub(super) fn step(&self, result: &KafkaResult<()>) {
        if let Err(error) = result {
            self.failed(error);
        }
    }

    fn failed(&self, error: &KafkaError) {
        if matches!(error, KafkaError::Transaction(error) if error.is_fatal()) {
            self.die();
        }
    }

    fn settle(&self, end: End) {
        let mut held = self.held.lock();
        let delivered = std::mem::take(&mut held.delivered);
        let blurred = std::mem::take(&mut held.blurred);
        // Handing in may take its time: not while delivery reports wait.
        drop(held);
        match end {
            End::Committed => delivered.into_iter().for_each(Ticket::acked),
            End::Aborted if !blurred => delivered.into_iter().for_each(Ticket::failed),
            End::Aborted | End::Unknown => {}
        }
    }
}

/// Whether the coordinator says that it does not know this producer: an earlier attempt of the same commit may have
/// succeeded before it forgot.
fn forgotten(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnknownProducerId | RDKafkaErrorCode::InvalidProducerIdMapping)
    )
}
