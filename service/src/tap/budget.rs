//! How many bytes a tap may take from its cluster: a token bucket. Pure but for the monotonic clock that callers pass.
//!
//! What was taken too much is a debt, and nothing is taken until it is paid: over any time the sum is at most the cap times
//! the time, and a quarter of a second's worth and the last message on top. Unused time is kept for as long only.

use std::time::{Duration, Instant};

/// The smallest cap: the largest usual message, 10 MiB, then takes 160 s, and a member of a group must poll every 300 s.
pub const LEAST: u64 = 65_536;
/// A quarter of a second's worth is kept.
const KEPT: i128 = 4;
const NANOS: i128 = 1_000_000_000;

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Budget {
    bytes_per_second: u64,
    /// In bytes × 10⁹; below zero it is a debt.
    left: i128,
    at: Instant,
}

impl Budget {
    /// A cap of so many bytes a second, from now on.
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), left: 0, at: now }
    }

    /// So many bytes were taken.
    pub fn take(&mut self, bytes: u64) {
        self.left -= i128::from(bytes) * NANOS;
    }

    /// How long nothing may be taken.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        let rate = i128::from(self.bytes_per_second);
        let elapsed = i128::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(i128::MAX / rate);
        self.at = self.at.max(now);
        self.left = self.left.saturating_add(elapsed.saturating_mul(rate)).min(rate * NANOS / KEPT);
        // Rounded up: after the wait there is something.
        let nanos = u64::try_from((-self.left) / rate + 1).unwrap_or(u64::MAX);
        (self.left < 0).then(|| Duration::from_nanos(nanos))
    }

    /// Whether there is a debt.
    pub fn is_short(&self) -> bool {
        self.left < 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_is_taken_than_the_cap_and_a_quarter_second() {
        let begun = Instant::now();
        let mut b = Budget::new(1_000_000, begun);
        let (mut now, mut taken) = (begun, 0_u64);
        while now < begun + Duration::from_secs(10) {
            match b.wait(now) {
                None => {
                    b.take(1_500);
                    taken += 1_500;
                    now += Duration::from_micros(1);
                }
                Some(wait) => now += wait,
            }
        }
        assert!((9_990_000..=10_252_000).contains(&taken), "{taken}");
        // A pause is not made up for.
        now += Duration::from_secs(100);
        let mut burst = 0;
        while b.wait(now).is_none() {
            b.take(1_500);
            burst += 1_500;
        }
        assert!((250_000..=251_500).contains(&burst), "{burst}");
    }

    #[test]
    fn a_message_larger_than_the_cap_passes_and_is_paid_for() {
        let begun = Instant::now();
        let mut b = Budget::new(LEAST, begun);
        assert_eq!(b.wait(begun), None);
        b.take(10 << 20);
        assert!(b.is_short());
        let wait = b.wait(begun).expect("a debt");
        assert!(wait > Duration::from_secs(159) && wait < Duration::from_secs(161), "{wait:?}");
        assert_eq!(b.wait(begun + wait), None);
    }
}
