//! Which messages a stage loses or doubles. Pure but for its seed.
//!
//! A stage asks for the fate of each message by its event time. A fault takes its messages from the first half of its
//! window, evenly, and is done when it has as many as were asked for; what came too thin for that by the window's end
//! is done with what it has. Invariant: no message outside a fault's window is touched.

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::plan::WIDTH_MS;

/// Faults are finished by then, ms into their window.
const FIRST_HALF_MS: i64 = WIDTH_MS / 2;

/// A loss, doubling or both that waits for its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// The fault's number.
    pub id: u32,
    /// Its window, ms.
    pub window_ms: i64,
    /// Messages to lose.
    pub lose: u32,
    /// Messages to pass on twice.
    pub double: u32,
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on.
    Pass,
    /// It is not.
    Lose,
    /// It is passed on twice.
    Double,
}

/// A fault that has been injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Its number.
    pub id: u32,
    /// Messages lost or doubled; of a masked loss, lost.
    pub count: u32,
}

#[derive(Debug)]
struct Work {
    armed: Armed,
    lost: u32,
    doubled: u32,
}

impl Work {
    fn left(&self) -> (u32, u32) {
        (self.armed.lose - self.lost, self.armed.double - self.doubled)
    }
    fn done(&self) -> Done {
        Done { id: self.armed.id, count: self.lost.max(self.doubled) }
    }
}

/// The faults of one stage.
#[derive(Debug)]
pub struct Tamper {
    random: StdRng,
    /// Messages a second.
    rate: u32,
    work: Vec<Work>,
    done: Vec<Done>,
}

impl Tamper {
    /// No faults; about `rate` messages a second are expected.
    pub const fn new(random: StdRng, rate: u32) -> Self {
        Self { random, rate, work: Vec::new(), done: Vec::new() }
    }

    /// One more fault.
    pub fn arm(&mut self, armed: Armed) {
        self.work.push(Work { armed, lost: 0, doubled: 0 });
    }

    /// The fate of the message whose event time is `event_ms`.
    pub fn fate(&mut self, event_ms: i64) -> Fate {
        if self.work.is_empty() {
            return Fate::Pass;
        }
        self.expire(event_ms);
        let Some(at) = self.work.iter().position(|w| (0..WIDTH_MS).contains(&(event_ms - w.armed.window_ms))) else {
            return Fate::Pass;
        };
        let Some(work) = self.work.get_mut(at) else { return Fate::Pass };
        let (lose, double) = work.left();
        if !take(&mut self.random, lose + double, event_ms - work.armed.window_ms, self.rate) {
            return Fate::Pass;
        }
        // By turns, so that a masked loss stays balanced whenever it ends.
        let fate = if lose > double || (lose == double && self.random.random()) { Fate::Lose } else { Fate::Double };
        match fate {
            Fate::Lose => work.lost += 1,
            _ => work.doubled += 1,
        }
        if work.left() == (0, 0) {
            self.done.push(work.done());
            self.work.remove(at);
        }
        fate
    }

    /// Faults finished since the last call.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }

    /// A fault whose window is over has what it has; one that has nothing was not injected.
    fn expire(&mut self, event_ms: i64) {
        let done = &mut self.done;
        self.work.retain(|w| {
            // Messages of a window may come a little after those of the next.
            let over = event_ms >= w.armed.window_ms + WIDTH_MS + FIRST_HALF_MS;
            if over && w.lost + w.doubled > 0 {
                done.push(w.done());
            }
            !over
        });
    }
}

/// Takes `left` messages evenly from what is expected until the middle of the window, and all that come after it.
fn take(random: &mut StdRng, left: u32, offset_ms: i64, rate: u32) -> bool {
    let expected = (FIRST_HALF_MS - offset_ms).max(0) * i64::from(rate) / 1_000;
    // Twice the even share: done in time although the traffic is not even.
    let chance = 2.0 * f64::from(left) / f64::from(i32::try_from(expected).unwrap_or(i32::MAX).max(1));
    random.random::<f64>() < chance
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const RATE: u32 = 200;

    /// Lost and doubled by window, and what was said to be done.
    fn run(armed: &[Armed], rate: u32, until_ms: i64) -> (Vec<(i64, Fate)>, Vec<Done>) {
        let mut tamper = Tamper::new(StdRng::seed_from_u64(7), rate);
        for a in armed {
            tamper.arm(*a);
        }
        let step = i64::from(1_000 / rate);
        let mut touched = Vec::new();
        for n in 0..until_ms / step {
            let fate = tamper.fate(n * step);
            if fate != Fate::Pass {
                touched.push((n * step, fate));
            }
        }
        (touched, tamper.take_done())
    }

    #[test]
    fn exactly_as_many_are_touched_as_asked_for_in_the_first_half_of_the_window() {
        for (lose, double) in [(1, 0), (7, 0), (0, 1), (0, 30), (5, 5), (500, 0), (250, 250)] {
            let armed = Armed { id: 3, window_ms: 20_000, lose, double };
            let (touched, done) = run(&[armed], RATE, 60_000);
            let count = |fate| u32::try_from(touched.iter().filter(|(_, f)| *f == fate).count()).expect("few");
            assert_eq!((count(Fate::Lose), count(Fate::Double)), (lose, double));
            assert!(touched.iter().all(|(ms, _)| (20_000..25_100).contains(ms)), "{touched:?}");
            assert_eq!(done, [Done { id: 3, count: lose.max(double) }]);
        }
    }

    #[test]
    fn faults_of_neighbouring_windows_do_not_mix() {
        let a = Armed { id: 1, window_ms: 0, lose: 3, double: 0 };
        let b = Armed { id: 2, window_ms: 10_000, lose: 0, double: 4 };
        let (touched, done) = run(&[b, a], RATE, 30_000);
        assert!(touched.iter().all(|(ms, fate)| (*ms < 10_000) == (*fate == Fate::Lose)), "{touched:?}");
        assert_eq!(done, [Done { id: 1, count: 3 }, Done { id: 2, count: 4 }]);
    }

    #[test]
    fn thin_traffic_gives_what_it_has_and_no_traffic_is_no_fault() {
        let many = Armed { id: 1, window_ms: 0, lose: 500, double: 0 };
        let (touched, done) = run(&[many], 1, 30_000);
        assert_eq!((touched.len(), done), (10, vec![Done { id: 1, count: 10 }]));
        let mut tamper = Tamper::new(StdRng::seed_from_u64(7), RATE);
        tamper.arm(many);
        assert_eq!((tamper.fate(40_000), tamper.take_done()), (Fate::Pass, Vec::new()));
        assert!(tamper.work.is_empty(), "a fault whose window is over is forgotten");
    }

    #[test]
    fn a_masked_loss_is_balanced_whenever_it_ends() {
        for rate in [1, 2, 5, 10] {
            let masked = Armed { id: 1, window_ms: 0, lose: 250, double: 250 };
            let (touched, _) = run(&[masked], rate, 30_000);
            let lost = touched.iter().filter(|(_, f)| *f == Fate::Lose).count();
            assert!(touched.len().abs_diff(2 * lost) <= 1, "{} of {}", lost, touched.len());
        }
    }
}
