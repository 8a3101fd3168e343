//! How far a partition's event times have come: the running maximum of the 5th percentile of the last messages.
//!
//! The last messages are those that came within `LOOK_BACK_MS`, so that a busy and a slow partition are both as far
//! behind as that and no further, and never fewer than `FEW` while there are any: one early or late message does not
//! move the frontier, not even if it is the first that is seen. Limit: `SAMPLES_MAX` times are kept of each
//! `SLICE_MS`, evenly spread, so that a burst of one wild clock's does not stand for all of it.
//!
//! Once nothing has come for `LOOK_BACK_MS` it is that of the last `FEW` messages, in the order of the log: how fast a tap
//! read them no longer matters, and the taps of two clusters that hold the same messages stand at the same time. A clock
//! that is wrong may have sent all of these: such a frontier is never later than the last message arrived.

use std::collections::VecDeque;

/// How far it looks back, by the tap's clock, ms.
const LOOK_BACK_MS: i64 = 4_000;
/// How finely it forgets, ms.
const SLICE_MS: i64 = 500;
/// Times kept of one slice.
const SAMPLES_MAX: usize = 128;
/// So many are looked at even if they came before.
const FEW: usize = 20;

/// Before so many messages there is no frontier: what a single clock says may be wild, and the frontier never goes back.
const FEWEST: usize = 2;

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    slices: VecDeque<Slice>,
    stale: bool,
    highest: Option<i64>,
    /// The last [`FEW`], in the order of the log.
    last: VecDeque<i64>,
    last_arrival_ms: i64,
    last_came_ms: i64,
}

/// What came within one step of time.
#[derive(Debug, Clone)]
struct Slice {
    number: i64,
    times: Vec<i64>,
    /// One of so many messages is kept.
    stride: u64,
    came: u64,
}

impl Slice {
    fn new(number: i64) -> Self {
        Self { number, times: Vec::new(), stride: 1, came: 0 }
    }

    fn push(&mut self, event_ms: i64) {
        let kept = self.came.is_multiple_of(self.stride);
        self.came += 1;
        if !kept {
            return;
        }
        if self.times.len() == SAMPLES_MAX {
            let mut odd = false;
            self.times.retain(|_| {
                odd = !odd;
                odd
            });
            self.stride *= 2;
        }
        self.times.push(event_ms);
    }
}

impl Frontier {
    /// One more message, that arrived in its partition at `arrival_ms` and was read at `now_ms`.
    pub fn push(&mut self, event_ms: i64, arrival_ms: i64, now_ms: i64) {
        if self.last.len() == FEW {
            self.last.pop_front();
        }
        self.last.push_back(event_ms);
        (self.last_arrival_ms, self.last_came_ms) = (arrival_ms, now_ms);
        let number = now_ms.div_euclid(SLICE_MS);
        match self.slices.back_mut() {
            // A clock that was set back stays in the newest slice.
            Some(newest) if newest.number >= number => newest.push(event_ms),
            _ => {
                let mut newest = Slice::new(number);
                newest.push(event_ms);
                self.slices.push_back(newest);
                self.forget(number - LOOK_BACK_MS / SLICE_MS);
            }
        }
        self.stale = true;
    }

    /// Drops what came before slice `oldest`, but not what is needed for [`FEW`].
    fn forget(&mut self, oldest: i64) {
        let mut kept: usize = self.slices.iter().map(|s| s.times.len()).sum();
        while let Some(first) = self.slices.front() {
            kept -= first.times.len();
            if first.number >= oldest || kept < FEW {
                return;
            }
            self.slices.pop_front();
        }
    }

    /// The smallest of the last event times.
    pub fn least_ms(&self) -> Option<i64> {
        self.slices.iter().flat_map(|s| &s.times).copied().min()
    }

    /// The frontier at `now_ms`; `None` before there are two messages with an event time.
    pub fn ms(&mut self, now_ms: i64) -> Option<i64> {
        if self.stale {
            let times = self.slices.iter().flat_map(|s| &s.times).copied().collect();
            self.highest = self.highest.max(percentile(times));
            self.stale = false;
        }
        if now_ms.saturating_sub(self.last_came_ms) >= LOOK_BACK_MS {
            let last = percentile(self.last.iter().copied().collect());
            self.highest = self.highest.max(last.map(|ms| ms.min(self.last_arrival_ms)));
        }
        self.highest
    }
}

/// The 5th percentile, of [`FEWEST`] or more.
fn percentile(mut times: Vec<i64>) -> Option<i64> {
    if times.len() < FEWEST {
        return None;
    }
    let twentieth = times.len() / 20;
    Some(*times.select_nth_unstable(twentieth).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition's first message, or the first after a restart: were it believed, every window of the next ten minutes
    /// would count as passed, and what a stopped replicator has not copied as lost.
    #[test]
    fn a_wild_clock_that_comes_first_does_not_push_it_either() {
        let mut f = Frontier::default();
        f.push(600_000, 0, 0);
        assert_eq!(f.ms(0), None);
        f.push(1, 1, 1);
        assert_eq!(f.ms(1), Some(1));
        f.push(2, 2, 2);
        assert_eq!(f.ms(2), Some(1));
    }

    /// One message each `step` ms, stamped with the time of its coming.
    fn steady(from: i64, to: i64, step: i64) -> Frontier {
        let mut f = Frontier::default();
        for t in (from..to).step_by(usize::try_from(step).expect("small")) {
            f.push(t, t, t);
        }
        f
    }

    #[test]
    fn it_is_as_far_behind_as_it_looks_back_at_any_rate() {
        const END: i64 = 100_000;
        for step in [1, 20, 100, 190] {
            let behind = END - steady(0, END, step).ms(END).expect("a frontier");
            assert!(
                behind > LOOK_BACK_MS / 2 && behind <= LOOK_BACK_MS + SLICE_MS,
                "a message each {step} ms: {behind}"
            );
        }
        // A slow partition looks back upon a few messages instead.
        let behind = END - steady(0, END, 1_000).ms(END).expect("a frontier");
        assert_eq!(behind, 19_000);
    }

    #[test]
    fn a_straggler_does_not_hold_it_and_a_wild_clock_does_not_push_it() {
        let mut f = steady(0, 10_000, 10);
        let before = f.ms(10_000).expect("a frontier");
        f.push(1_000_000, 10_000, 10_000);
        f.push(0, 10_000, 10_000);
        let after = f.ms(10_000).expect("a frontier");
        assert!((before..before + SLICE_MS).contains(&after), "{before} {after}");
        for _ in 0..10_000 {
            f.push(0, 10_001, 10_001);
        }
        assert_eq!(f.ms(10_001), Some(after), "it never goes back");
    }

    /// A batch of one producer, whose clock is wrong, in the middle of the traffic of others.
    #[test]
    fn a_burst_of_a_wild_clock_is_one_slice_of_many_and_memory_is_bounded() {
        let mut f = steady(0, 10_000, 1);
        let before = f.ms(10_000).expect("a frontier");
        for _ in 0..100_000 {
            f.push(1_000_000, 10_000, 10_000);
        }
        let after = f.ms(10_000).expect("a frontier");
        assert!((before..before + LOOK_BACK_MS).contains(&after), "{before} {after}");
        let kept: usize = f.slices.iter().map(|s| s.times.len()).sum();
        assert!(kept <= SAMPLES_MAX * 10, "{kept}");
    }

    /// One tap read them as they came, the other was killed and read all at once when it was back.
    #[test]
    fn two_taps_that_read_the_same_stand_at_the_same_time_once_nothing_comes() {
        let mut steadily = steady(0, 40_000, 10);
        let mut at_once = Frontier::default();
        for t in (0..40_000).step_by(10) {
            at_once.push(t, t, 60_000);
        }
        let before = (steadily.ms(40_000).expect("a frontier"), at_once.ms(60_000).expect("a frontier"));
        assert!(before.0 > 35_000 && before.1 < 4_000, "the run shows nothing: {before:?}");
        for now_ms in [60_000 + LOOK_BACK_MS, 10_000_000] {
            assert_eq!((steadily.ms(now_ms), at_once.ms(now_ms)), (Some(39_810), Some(39_810)));
        }
    }

    #[test]
    fn a_wild_burst_at_the_very_end_pushes_it_no_further_than_to_its_arrival() {
        let mut f = steady(0, 10_000, 1);
        for _ in 0..100 {
            f.push(1_000_000, 10_000, 10_000);
        }
        assert_eq!(f.ms(10_000 + LOOK_BACK_MS), Some(10_000));
    }
}
