//! The clock as a parameter, so that every decision about time can be tested without waiting.
//!
//! Wall time in milliseconds since 1970 (UTC). Timers use the monotonic clock of the thread that waits, never this one.

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of wall time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC; negative before.
    fn now_ms(&self) -> i64;

    /// Whether it is a `CoarseClock`, which can be read without asking for what clock this is.
    #[doc(hidden)]
    fn is_coarse(&self) -> bool {
        false
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// The machine's clock as of its last tick: 4 ms steps on most kernels (10 at 100 Hz), never ahead, and a fifth of the cost.
/// The clock for recorders: a delay is then too small by a step at most.
#[cfg(feature = "recorder")]
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseClock;

#[cfg(feature = "recorder")]
impl Clock for CoarseClock {
    #[inline]
    fn now_ms(&self) -> i64 {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
            // 64 bits of milliseconds are enough for ever.
            now.tv_sec.wrapping_mul(1_000).wrapping_add(now.tv_nsec / 1_000_000)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        SystemClock.now_ms()
    }

    fn is_coarse(&self) -> bool {
        true
    }
}

/// A clock that stands still until it is told otherwise: for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self(now_ms.into())
    }
    /// Sets the time shown, in milliseconds since 1970.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, std::sync::atomic::Ordering::SeqCst);
    }
    /// Moves the time shown by `by_ms`.
    pub fn advance(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(all(test, feature = "recorder"))]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_behind_by_a_step_and_never_ahead() {
        let (before, coarse, after) = (SystemClock.now_ms(), CoarseClock.now_ms(), SystemClock.now_ms());
        assert!(coarse <= after, "{coarse} {after}");
        assert!(coarse >= before - 50, "{before} {coarse}");
    }
}
