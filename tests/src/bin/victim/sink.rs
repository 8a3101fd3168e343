//! A sink whose store survives: a file, a line for each message stored.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::Path;
use std::time::Duration;

use chaperone_audit::recorder::{Sink, SinkError};

type Report = (u64, Result<(), SinkError>);

/// Kafka with bad manners, or with good ones.
pub(crate) struct FileSink {
    file: File,
    /// Of eight messages one is refused, one lost and said to be, one stored and said to be lost.
    faulty: bool,
    turn: u64,
    reports: VecDeque<Report>,
    /// Told at the next look: until then a message is stored and nobody knows.
    late: VecDeque<Report>,
}

impl FileSink {
    pub(crate) fn open(path: &Path, faulty: bool) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, faulty, turn: 0, reports: VecDeque::new(), late: VecDeque::new() })
    }
}

impl Sink for FileSink {
    fn send(&mut self, _key: &[u8], payload: &[u8], token: u64) -> Result<(), SinkError> {
        self.turn += 1;
        let fate = if self.faulty { self.turn % 8 } else { 7 };
        if fate == 1 {
            return Err(SinkError::Full);
        }
        // The line break comes first: what a death cut off spoils no line but its own.
        let stored = fate != 2 && self.file.write_vectored(&[IoSlice::new(b"\n"), IoSlice::new(payload)]).is_ok();
        let result = if stored && fate != 0 { Ok(()) } else { Err(SinkError::NotStored("as was told".to_owned())) };
        self.late.push_back((token, result));
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Vec<Report> {
        if self.reports.is_empty() && self.late.is_empty() {
            std::thread::park_timeout(timeout);
        }
        let told = self.reports.drain(..).collect();
        self.reports.append(&mut self.late);
        told
    }

    fn flush(&mut self, _deadline: Duration) {}
}

/// Kafka is away.
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn send(&mut self, _key: &[u8], _payload: &[u8], _token: u64) -> Result<(), SinkError> {
        Err(SinkError::Full)
    }
    fn poll(&mut self, timeout: Duration) -> Vec<Report> {
        std::thread::park_timeout(timeout);
        Vec::new()
    }
    fn flush(&mut self, _deadline: Duration) {}
}
