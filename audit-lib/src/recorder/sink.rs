//! Where audit messages go. The recorder knows no transport: Kafka's is `kafka::KafkaSink`.
//!
//! Law: `send` takes a message or refuses it at once; a message that was taken is reported by `poll` once, under its
//! token, as stored or as not known to be stored. The reporter repeats what failed, under the same UUID, so a sink may
//! store a message twice but must never report one as stored that is not.

use std::time::Duration;

/// Why a message was not stored, as far as the sink knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The sink has no room now; the reporter backs off and repeats.
    #[error("the sink's queue is full; it is repeated with back-off")]
    Full,
    /// Delivery failed or is not known to have succeeded; the reporter backs off and repeats.
    #[error("audit message was not stored: {0}; it is repeated with back-off")]
    NotStored(String),
}

/// Transport of audit messages, owned by the reporter's thread.
pub trait Sink: Send {
    /// Takes a message. Must not block: what cannot be queued is refused.
    ///
    /// # Errors
    /// The message was not taken; its token will not be reported.
    fn send(&mut self, key: &[u8], payload: &[u8], token: u64) -> Result<(), SinkError>;

    /// Delivery reports, waiting at most `timeout` for the first.
    fn poll(&mut self, timeout: Duration) -> Vec<(u64, Result<(), SinkError>)>;

    /// Pushes out what is queued, for at most `deadline`; the reports come from [`poll`](Self::poll).
    fn flush(&mut self, deadline: Duration);
}

/// Takes nothing, as if Kafka were away for good: what is counted stays in the log and the slots.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn send(&mut self, _key: &[u8], _payload: &[u8], _token: u64) -> Result<(), SinkError> {
        Err(SinkError::Full)
    }
    fn poll(&mut self, _timeout: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        Vec::new()
    }
    fn flush(&mut self, _deadline: Duration) {}
}

#[cfg(any(test, feature = "testing"))]
pub use memory::{Behaviour, MemorySink};

#[cfg(any(test, feature = "testing"))]
mod memory {
    //! A sink in memory whose faults are chosen by the test.

    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::{Sink, SinkError};
    use crate::wire::AuditMessage;

    /// What a [`MemorySink`] does with a message.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Behaviour {
        /// Stores it and says so.
        #[default]
        Store,
        /// Refuses it.
        Refuse,
        /// Takes it, does not store it and reports the failure.
        Fail,
        /// Stores it, and reports a failure all the same: a lost acknowledgement.
        StoreAndFail,
        /// Takes it and says that it is stored, but loses it: what a broker must not do and may.
        Lose,
        /// Takes it and reports nothing.
        Hold,
    }

    #[derive(Default)]
    struct State {
        behaviour: Behaviour,
        script: VecDeque<Behaviour>,
        stored: Vec<(Vec<u8>, Vec<u8>)>,
        reports: Vec<(u64, Result<(), SinkError>)>,
        flushes: u64,
    }

    /// Keeps what it is sent; clones share the memory.
    #[derive(Clone, Default)]
    pub struct MemorySink(Arc<Mutex<State>>);

    impl MemorySink {
        /// A sink that stores everything.
        pub fn new() -> Self {
            Self::default()
        }
        /// What is done with messages from now on.
        pub fn set(&self, behaviour: Behaviour) {
            self.0.lock().behaviour = behaviour;
        }
        /// What is done with the next messages, one each; then [`set`](Self::set) holds again.
        pub fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
            self.0.lock().script.extend(behaviours);
        }
        /// From now on stores everything; the rest of a script is forgotten.
        pub fn reset(&self) {
            let mut state = self.0.lock();
            state.script.clear();
            state.behaviour = Behaviour::Store;
        }
        /// Keys and payloads stored, in order.
        pub fn stored(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
            self.0.lock().stored.clone()
        }
        /// The messages stored, in order.
        ///
        /// # Panics
        /// When one is not an audit message.
        pub fn messages(&self) -> Vec<AuditMessage> {
            let decode = |(_, payload): &(_, Vec<u8>)| AuditMessage::decode(payload).expect("own message");
            self.0.lock().stored.iter().map(decode).collect()
        }
        /// How often it was flushed.
        pub fn flushes(&self) -> u64 {
            self.0.lock().flushes
        }
    }

    impl Sink for MemorySink {
        fn send(&mut self, key: &[u8], payload: &[u8], token: u64) -> Result<(), SinkError> {
            let mut state = self.0.lock();
            let behaviour = state.script.pop_front().unwrap_or(state.behaviour);
            if behaviour == Behaviour::Refuse {
                return Err(SinkError::Full);
            }
            if matches!(behaviour, Behaviour::Store | Behaviour::StoreAndFail) {
                state.stored.push((key.to_vec(), payload.to_vec()));
            }
            match behaviour {
                Behaviour::Store | Behaviour::Lose => state.reports.push((token, Ok(()))),
                Behaviour::Fail | Behaviour::StoreAndFail => {
                    state.reports.push((token, Err(SinkError::NotStored("scripted".to_owned()))));
                }
                Behaviour::Refuse | Behaviour::Hold => {}
            }
            Ok(())
        }
        fn poll(&mut self, _timeout: Duration) -> Vec<(u64, Result<(), SinkError>)> {
            std::mem::take(&mut self.0.lock().reports)
        }
        fn flush(&mut self, _deadline: Duration) {
            self.0.lock().flushes += 1;
        }
    }
}
