//! Four threads that count as fast as they can while windows close every 10 ms: time runs a thousand times as fast.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_audit::recorder::{Config, Recorder};
use chaperone_audit::{Clock, SystemClock};

use crate::sink::FileSink;
use crate::{Witness, config, message};

const THREADS: u64 = 4;
const TOPICS: [&str; 4] = ["orders", "payments", "refunds", "clicks"];
/// What `eat` takes at most, so that a machine without the limit survives it.
const EATEN_MIB: usize = 256;
const FAILED_EVERY: u64 = 64;

pub(crate) struct Fast {
    began: Instant,
    began_ms: i64,
}

impl Fast {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), began_ms: SystemClock.now_ms() })
    }
}

impl Clock for Fast {
    fn now_ms(&self) -> i64 {
        self.began_ms + i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// What goes with that clock.
pub(crate) fn hasty(dir: &Path) -> Config {
    Config {
        grace: Duration::ZERO,
        heartbeat: Duration::from_millis(2),
        checkpoint: Duration::from_millis(5),
        max_slots: 1024,
        ..config(dir)
    }
}

/// Counts until killed or, once the first thread has counted `after` messages, until it ends as `end` says: by `abort`,
/// by `exec` of another program, by eating memory until the kernel has enough of it, or not at all.
pub(crate) fn run(dir: &Path, sink: &Path, end: &str, after: u64) -> anyhow::Result<()> {
    let clock = Fast::new();
    let sink = Box::new(FileSink::open(sink, true)?);
    let recorder = Recorder::start(hasty(dir), sink, Arc::clone(&clock) as Arc<dyn Clock>)?;
    let witness = Witness::new()?;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (recorder, witness, clock) = (&recorder, &witness, &clock);
            scope.spawn(move || {
                // Nobody listens any more: the test is over.
                count(recorder, witness, clock, |i| {
                    if thread == 0 && i == after {
                        die(end);
                    }
                    thread << 48 | i
                })
                .ok();
            });
        }
    });
    Ok(())
}

fn count(recorder: &Recorder, witness: &Witness, clock: &Fast, value: impl Fn(u64) -> u64) -> std::io::Result<()> {
    let mut in_flight = None;
    for i in 0u64.. {
        let value = value(i).to_le_bytes();
        let topic = TOPICS.get(usize::try_from(i % 4).unwrap_or(0)).copied().unwrap_or("orders");
        let ticket = recorder.attempt(&message(topic, &value, clock.now_ms()));
        if let Some(before) = in_flight.replace(ticket) {
            if i % FAILED_EVERY == 0 { before.failed() } else { before.acked() }
        }
        witness.tell(".")?;
    }
    Ok(())
}

fn die(end: &str) {
    match end {
        "abort" => std::process::abort(),
        "exec" => eprintln!("{}", Command::new("true").exec()),
        "eat" => {
            let mut eaten = Vec::new();
            for _ in 0..EATEN_MIB {
                // Not zeros, or no page would be touched.
                eaten.push(vec![1u8; 1 << 20]);
            }
            std::hint::black_box(eaten);
        }
        _ => {}
    }
}
