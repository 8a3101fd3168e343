//! Threads that end when told, or are left behind when they do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a waiting thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `thread` has ended, at most until `deadline`.
pub fn join(name: &str, thread: JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::park_timeout(LOOK_EVERY);
    }
    if !thread.is_finished() {
        tracing::warn!("{name} did not end in time and is left behind");
    } else if thread.join().is_err() {
        tracing::error!("{name} panicked");
    }
}

/// Waits for `wait`, or until `stop`.
pub fn pause(stop: &AtomicBool, wait: Duration) {
    let until = Instant::now() + wait;
    while !stop.load(Ordering::SeqCst) && Instant::now() < until {
        std::thread::park_timeout(LOOK_EVERY);
    }
}
