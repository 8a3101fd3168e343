//! A life in one thread that makes the same system calls each time: all that a recorder's reporter, log and slots do,
//! and what its successor does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::clock::{Clock, ManualClock, SystemClock};
use chaperone_audit::recorder::{Config, Recorder, Stepper};
use rustix::process::{Signal, getpid, kill_process};

use crate::sink::FileSink;
use crate::{Witness, config, message};

const ROUNDS: u64 = 8;
const MESSAGES: u64 = 5;
const TOPICS: [&str; 3] = ["orders", "payments", "refunds"];
const CHECKPOINT: Duration = Duration::from_secs(10);
/// Beyond every back-off.
const LONG: Duration = Duration::from_secs(31);

fn start(dir: &Path, sink: &Path, faulty: bool) -> anyhow::Result<(Recorder, Stepper, Arc<ManualClock>)> {
    let config = Config { grace: Duration::ZERO, checkpoint: CHECKPOINT, max_slots: 32, ..config(dir) };
    let clock = Arc::new(ManualClock::new(SystemClock.now_ms().div_euclid(10_000) * 10_000));
    let sink = Box::new(FileSink::open(sink, faulty).context("the sink's file")?);
    let (recorder, stepper) = Recorder::stepped(config, sink, Arc::clone(&clock) as Arc<dyn Clock>)?;
    Ok((recorder, stepper, clock))
}

/// Windows are counted, reported, checkpointed, closed, refused and stored; then a close, or (`die`) SIGKILL.
pub(crate) fn run(dir: &Path, sink: &Path, end: &str) -> anyhow::Result<()> {
    let witness = Witness::new()?;
    let (recorder, mut stepper, clock) = start(dir, sink, true)?;
    let mut in_flight = None;
    for round in 0..ROUNDS {
        for i in 0..MESSAGES {
            let value = (round * MESSAGES + i).to_le_bytes();
            let topic = TOPICS.get(usize::try_from(i % 3).unwrap_or(0)).copied().unwrap_or("orders");
            let ticket = recorder.attempt(&message(topic, &value, clock.now_ms()));
            if let Some(before) = in_flight.replace(ticket) {
                if i == 2 { before.failed() } else { before.acked() }
            }
            witness.tell(".")?;
        }
        stepper.beat();
        if round % 2 == 1 {
            stepper.pass(CHECKPOINT);
        }
        clock.advance(11_000);
        stepper.beat();
    }
    if end == "die" {
        kill_process(getpid(), Signal::KILL)?;
    }
    in_flight.into_iter().for_each(chaperone_audit::recorder::Ticket::acked);
    stepper.close(Duration::from_millis(50));
    Ok(())
}

/// Counts nothing and sends all that is there.
pub(crate) fn rest(dir: &Path, sink: &Path) -> anyhow::Result<()> {
    let (recorder, mut stepper, _) = start(dir, sink, false)?;
    for _ in 0..64 {
        stepper.pass(LONG);
        let stats = recorder.stats();
        if stats.waiting == 0 && stats.slots == 0 {
            break;
        }
    }
    let closed = stepper.close(Duration::from_secs(5));
    anyhow::ensure!(closed.unsent == 0, "{closed:?}");
    Ok(())
}
