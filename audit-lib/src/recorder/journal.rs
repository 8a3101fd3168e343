//! The write-ahead log as the reporter uses it: it may be absent, and it may fail, and counting goes on.
//!
//! Invariant: nothing here blocks the host's threads; only the reporter's thread waits for the disk.

use std::path::Path;

use chaperone_wal::{Config, Entry, Error, Kind, Log, Recovered, Seq};
use uuid::Uuid;

/// At least so much log per slot, so that a checkpoint of a full table fits into one segment.
const SEGMENT_BYTES_PER_SLOT: u64 = 1 << 10;
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

pub(super) struct Journal {
    log: Option<Log>,
    checkpoint: Option<Seq>,
    /// So that a disk that stays full is one warning, not one every two seconds.
    failing: bool,
}

impl Journal {
    /// No log: finals stay in the slot table until the sink has them.
    pub(super) fn none() -> Self {
        Self { log: None, checkpoint: None, failing: false }
    }

    pub(super) fn open(dir: &Path, max_slots: usize) -> Result<(Self, Recovered), Error> {
        let wanted = (max_slots as u64).saturating_mul(SEGMENT_BYTES_PER_SLOT);
        let segment_bytes = wanted.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let max_bytes = Config::default().max_bytes.max(8 * segment_bytes);
        // The reporter's thread may wait for a segment, and the host gets no thread of the log's.
        let (log, recovered) = Log::open(dir, Config { segment_bytes, max_bytes, background: false })?;
        Ok((Self { log: Some(log), ..Self::none() }, recovered))
    }

    pub(super) fn is_none(&self) -> bool {
        self.log.is_none()
    }

    /// Makes messages durable, all or none; `None` when there is no log or it refused.
    pub(super) fn append(&mut self, entries: &[(Uuid, &[u8])]) -> Option<Vec<Seq>> {
        let result = self.log.as_ref()?.append_batch(entries);
        self.told("records", result)
    }

    /// Replaces the checkpoint.
    pub(super) fn append_checkpoint(&mut self, id: Uuid, payload: &[u8]) -> bool {
        let Some(log) = &self.log else { return false };
        let result = log.append_checkpoint(id, payload);
        let written = self.told("the checkpoint", result);
        self.checkpoint = written.or(self.checkpoint);
        written.is_some()
    }

    /// The open slots have all been made final: there is nothing to recover from the checkpoint.
    pub(super) fn drop_checkpoint(&mut self) {
        if let Some(seq) = self.checkpoint.take() {
            self.done(seq);
        }
    }

    pub(super) fn done(&mut self, seq: Seq) {
        if let Some(log) = &self.log {
            // A mark that is lost only means that the record is sent again, under the same UUID.
            let result = log.done(seq);
            self.told("a mark", result);
        }
    }

    pub(super) fn sync(&mut self) {
        if let Some(log) = &self.log {
            let result = log.sync();
            self.told("marks", result);
        }
    }

    /// Records that wait for the sink, oldest first, without the checkpoint.
    pub(super) fn pending(&self) -> impl Iterator<Item = Entry> {
        let pending = self.log.as_ref().map(Log::pending).unwrap_or_default();
        pending.into_iter().filter(|e| e.kind == Kind::Record)
    }

    fn told<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("write-ahead log works again");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot write {what}; counts are sent without the log until it works again");
                }
                None
            }
        }
    }
}
