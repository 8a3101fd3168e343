//! `chaperone inspect count`: the real recorder at work, for whoever kills it and counts after it.
//!
//! Each message is counted, its outcome is entered as a producer's would be (acked, now and then failed, and the last
//! ones of a killed process still in flight), and then one byte is written: whoever reads the bytes knows of at least so
//! many messages. Nothing is sent anywhere: all that was counted stays in the directory for `chaperone recover`. Or, where
//! it is asked for, it is handed to the host's agent, and what that confirms leaves the directory.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chaperone_audit::message::{Message, NoHeaders};
use chaperone_audit::recorder::{AgentSink, Config, Nowhere, Recorder, Sink, Slots};
use chaperone_audit::{Clock, SystemClock};

use crate::exit::{Code, Failure};

const TOPICS: [&str; 4] = ["orders", "payments", "refunds", "clicks"];
/// One message in so many is refused.
const FAILED_EVERY: u64 = 64;
const CLOSE_DEADLINE: Duration = Duration::from_millis(100);

/// What to count, and where.
#[derive(Debug, Clone)]
pub struct Work {
    /// Where log and slots are.
    pub dir: PathBuf,
    /// Slots in the process's own memory.
    pub heap: bool,
    /// Threads that count.
    pub threads: u64,
    /// How many messages all together; none: until killed.
    pub messages: Option<u64>,
    /// Writes nothing.
    pub quiet: bool,
    /// The directory that the host's agent serves; none: nothing is sent.
    pub agent: Option<PathBuf>,
}

/// Counts until done or killed.
///
/// # Errors
/// The directory cannot be used, or nobody reads what is written.
pub fn run(work: &Work) -> Result<(), Failure> {
    let slots = if work.heap { Slots::Heap } else { Slots::Dir(work.dir.clone()) };
    let config = Config { data_dir: Some(work.dir.clone()), slots, ..Config::new("inspect-count", "chaperone") };
    let sink: Box<dyn Sink> = match &work.agent {
        Some(dir) => Box::new(AgentSink::new(dir)),
        None => Box::new(Nowhere),
    };
    let recorder = Recorder::start(config, sink, Arc::new(SystemClock))
        .map_err(|e| Failure::new(Code::CannotWrite, e.to_string()))?;
    let left = AtomicU64::new(work.messages.unwrap_or(u64::MAX));
    let written = std::thread::scope(|scope| {
        let (recorder, left) = (&recorder, &left);
        let threads: Vec<_> = (0..work.threads.max(1))
            .map(|thread| scope.spawn(move || count(recorder, left, thread, work.quiet)))
            .collect();
        // A thread that panicked has said so.
        let ends: Vec<_> = threads.into_iter().map(|t| t.join().unwrap_or(Ok(()))).collect();
        ends.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    });
    recorder.close(CLOSE_DEADLINE);
    written.map_err(|e| Failure::new(Code::Unavailable, format!("cannot write to standard output: {e}")))
}

fn count(recorder: &Recorder, left: &AtomicU64, thread: u64, quiet: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let mut in_flight = None;
    for i in 0u64.. {
        let one_less = |left: u64| left.checked_sub(1);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            break;
        }
        let value = (thread << 48 | i).to_le_bytes();
        let topic = TOPICS.get(usize::try_from(i % 4).unwrap_or(0)).copied().unwrap_or("orders");
        let ticket = recorder.attempt(&Message {
            topic,
            key: None,
            value: Some(&value),
            headers: &NoHeaders,
            timestamp_ms: Some(SystemClock.now_ms()),
            broker_time: false,
        });
        // The report of a message comes when the next one is already under way.
        if let Some(before) = in_flight.replace(ticket) {
            if i % FAILED_EVERY == 0 { before.failed() } else { before.acked() }
        }
        if !quiet {
            // Standard output is behind a lock and a buffer; a byte that is only in a buffer is no witness.
            out.write_all(b".")?;
            out.flush()?;
        }
    }
    if let Some(last) = in_flight {
        last.acked();
    }
    Ok(())
}
