//! A recorder without a thread, so that tests decide when the reporter works, and simulated crashes.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::report::{Command, Reporter};
use super::start::build;
use super::{Closed, Config, Recorder, Sink, StartError};
use crate::clock::Clock;

/// The reporter of a [`Recorder::stepped`], worked by hand. Dropping it is a crash: nothing more is written or sent.
pub struct Stepper {
    reporter: Reporter,
    now: Instant,
}

impl Stepper {
    /// Lets one heartbeat pass and does what is due.
    pub fn beat(&mut self) {
        let heartbeat = self.reporter.timing.heartbeat;
        self.pass(heartbeat);
    }

    /// Lets monotonic time pass, which the recorder's own clock does not show, and does what is due.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.reporter.step(self.now);
    }

    /// From now on the log is not made smaller: the control of tests that fill it.
    pub fn never_coalesce(&mut self) {
        self.reporter.coalescing = false;
    }

    /// Makes windows of the log wider, however much room there is.
    pub fn coalesce(&mut self, width: crate::Width) {
        self.reporter.coalesce(width, true, |_| true);
    }

    /// Bytes of the write-ahead log's files.
    pub fn log_bytes(&self) -> u64 {
        self.reporter.dispatch.journal.bytes()
    }

    /// As [`Recorder::close`].
    pub fn close(mut self, deadline: Duration) -> Closed {
        self.reporter.close(Instant::now() + deadline)
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.reporter.shared.table.abandon();
    }
}

impl Recorder {
    /// A recorder whose reporter works only when its [`Stepper`] is told to.
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn stepped(config: Config, sink: Box<dyn Sink>, clock: Arc<dyn Clock>) -> Result<(Self, Stepper), StartError> {
        Self::stepped_in(config, sink, clock, chaperone_wal::slots::boot_id())
    }

    /// The same on a machine that was booted as `boot` says.
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn stepped_in(
        config: Config,
        sink: Box<dyn Sink>,
        clock: Arc<dyn Clock>,
        boot: [u8; 16],
    ) -> Result<(Self, Stepper), StartError> {
        let (recorder, reporter, _) = build(config, sink, clock, boot)?;
        let now = Instant::now();
        Ok((recorder, Stepper { reporter, now }))
    }

    /// Ends the reporter like a process that is killed: no final states, no goodbye, the log is left as it is.
    pub fn abandon(&self) {
        let (reply, answer) = mpsc::sync_channel(1);
        if self.handle.commands.send(Command::Abandon { reply }).is_ok() {
            answer.recv_timeout(Duration::from_secs(10)).ok();
        }
        *self.handle.closed.lock() = Some(Closed::default());
    }
}
