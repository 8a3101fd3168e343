//! The director: says who does what when, and keeps the books.
//!
//! It arms each fault shortly before its window, announces it when it has been injected, and looks for it in the rows
//! that the watcher brings. What could not be injected (a stage was down) is planned again. Everything it decides
//! rests on events and the clock, in one thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use chaperone_audit::{Clock, SystemClock};
use rand::Rng;
use rand::rngs::StdRng;

use super::child::StageProcess;
use super::event::Event;
use super::ledger::{Ledger, Row, Sums};
use super::plan::{self, Fault, Planner, STALL_ENDS_MS, WIDTH_MS};
use super::print::Printer;
use super::spec::{Faults, Kind, Wish};
use super::tamper::{Armed, Done};
use super::wire::{Order, Said, Stage, Stall, Stand};
use crate::exit::{Code, Failure};

const TICK: Duration = Duration::from_millis(50);
/// A fault is armed so long before its window, ms.
const ARM_MS: i64 = 1_500;
/// A fault that was not injected so long after its window is planned again, ms.
const MISSED_MS: i64 = 10_000;
/// So long after a window's begin the one before has surely been reported, and dies with nobody, ms.
const REPORTED_MS: i64 = 2_500;
/// A fault that was not seen for so long is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// When the time is up, what was injected is waited for this long at most; and so long for the last windows' verdicts.
pub const OVERTIME: Duration = Duration::from_secs(30);
/// Between two mixes.
const MIX_EVERY_S: std::ops::Range<u64> = 90..240;

/// How a run begins and ends.
#[derive(Debug, Clone)]
pub struct Course {
    /// What is injected.
    pub faults: Faults,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// Ends when all faults have been seen.
    pub until_seen: bool,
    /// One fault a window, so that each can be followed.
    pub spread: bool,
}

/// Who can be told to inject faults.
pub struct Cast {
    /// Hop 1.
    pub producer: Sender<Armed>,
    /// Hop 2, and its process.
    pub proxy: StageProcess,
    /// Hop 3.
    pub replicator: Sender<Order>,
    /// Hop 4, and its process.
    pub consumer: StageProcess,
}

/// A fault on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Planned,
    Armed,
}

/// See the module's head.
pub struct Director<W> {
    course: Course,
    cast: Cast,
    printer: Printer<W>,
    events: Receiver<Event>,
    /// Where the watcher begins.
    from_ms: Arc<AtomicI64>,
    random: StdRng,
    ledger: Ledger,
    planner: Planner,
    ahead: BTreeMap<u32, (Fault, Step)>,
    flowing: [bool; 2],
    begun: Option<Instant>,
    next_mix: Option<Instant>,
    /// The last window with a fault, ms.
    last_ms: i64,
    last_sight: Instant,
}

/// Nobody reads what is printed: time to end, and nobody to tell.
struct Unheard;

impl From<std::io::Error> for Unheard {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl<W: std::io::Write> Director<W> {
    /// Ready to direct.
    pub fn new(
        course: Course,
        cast: Cast,
        printer: Printer<W>,
        events: Receiver<Event>,
        from_ms: Arc<AtomicI64>,
        random: StdRng,
    ) -> Self {
        Self {
            course,
            cast,
            printer,
            events,
            from_ms,
            random,
            ledger: Ledger::new(super::STAGES),
            planner: Planner::new(),
            ahead: BTreeMap::new(),
            flowing: [false; 2],
            begun: None,
            next_mix: None,
            last_ms: i64::MIN,
            last_sight: Instant::now(),
        }
    }

    /// Directs until the course is run, or `stop`; the cast is there to be dismissed.
    ///
    /// # Errors
    /// A part of the demo cannot go on.
    pub fn run(mut self, stop: &AtomicBool) -> (Cast, Result<Sums, Failure>) {
        let begun = Instant::now();
        let result = loop {
            match self.events.recv_timeout(TICK) {
                Ok(event) => match self.hear(event) {
                    Ok(Ok(())) => {}
                    Ok(Err(Unheard)) => break Ok(()),
                    Err(failure) => break Err(failure),
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
            if let Err(failure) = self.tick(Instant::now()) {
                break Err(failure);
            }
            if stop.load(Ordering::SeqCst) || self.is_over(begun, Instant::now()) {
                break Ok(());
            }
        };
        let sums = self.ledger.sums();
        if result.is_ok() && self.printer.end(sums).is_err() {
            tracing::debug!("nobody reads the end");
        }
        (self.cast, result.map(|()| sums))
    }

    // Events.

    fn hear(&mut self, event: Event) -> Result<Result<(), Unheard>, Failure> {
        let now = Instant::now();
        Ok(match event {
            Event::Rows(rows) => self.look(rows, now),
            Event::Done(done) | Event::Said(_, Said::Done(done)) => self.injected(done, now),
            Event::Said(stage, Said::Standing(done)) => {
                self.process(stage).kill();
                self.injected(done, now)
            }
            Event::Said(stage, Said::Flowing) => {
                self.flowing[usize::from(stage == Stage::Consumer)] = true;
                Ok(())
            }
            Event::Said(..) => Ok(()),
            Event::Ended(stage, life) => {
                self.process(stage).ended(life, now);
                Ok(())
            }
            Event::Failed(why) => return Err(Failure::new(Code::Software, format!("the demo cannot go on: {why}"))),
        })
    }

    fn process(&mut self, stage: Stage) -> &mut StageProcess {
        match stage {
            Stage::Proxy => &mut self.cast.proxy,
            Stage::Consumer => &mut self.cast.consumer,
        }
    }

    fn injected(&mut self, done: Done, now: Instant) -> Result<(), Unheard> {
        let Some((mut fault, _)) = self.ahead.remove(&done.id) else { return Ok(()) };
        if done.count > 0 {
            fault.count = done.count;
        }
        self.last_ms = self.last_ms.max(fault.window_ms);
        self.last_sight = now;
        self.ledger.expect(fault, now);
        Ok(self.printer.injected(&fault)?)
    }

    fn look(&mut self, rows: Vec<Row>, now: Instant) -> Result<(), Unheard> {
        let sights = self.ledger.look(rows, now);
        self.from_ms.store(self.ledger.from_ms(SystemClock.now_ms()), Ordering::SeqCst);
        for caught in &sights.caught {
            self.last_sight = now;
            self.printer.caught(caught)?;
        }
        for invented in &sights.invented {
            tracing::error!(
                "invented: {} at {}: {}",
                super::print::name(invented.hop),
                invented.window_ms,
                invented.said
            );
            self.printer.invented(invented)?;
        }
        Ok(())
    }

    // Time.

    fn tick(&mut self, now: Instant) -> Result<(), Failure> {
        self.cast.proxy.tick(now)?;
        self.cast.consumer.tick(now)?;
        let now_ms = SystemClock.now_ms();
        self.plan(now, now_ms);
        self.arm(now_ms);
        let late: Vec<u32> =
            self.ledger.waiting().filter(|(_, at)| *at + PATIENCE < now).map(|(fault, _)| fault.id).collect();
        for id in late {
            self.ledger.give_up(id);
        }
        Ok(())
    }

    fn plan(&mut self, now: Instant, now_ms: i64) {
        if self.begun.is_none() {
            if self.flowing != [true; 2] {
                return;
            }
            self.begun = Some(now);
            self.next_mix = (self.course.faults == Faults::Mix).then_some(now);
            if let Faults::These(wishes) = self.course.faults.clone() {
                self.place(&wishes, now_ms);
            }
        }
        if self.next_mix.is_some_and(|at| now >= at) && self.ahead.is_empty() && self.ledger.waiting().next().is_none()
        {
            self.next_mix = Some(now + Duration::from_secs(self.random.random_range(MIX_EVERY_S)));
            let wishes = plan::mix(&mut self.random);
            self.place(&wishes, now_ms);
        }
    }

    fn place(&mut self, wishes: &[Wish], now_ms: i64) {
        let faults = self.planner.place(wishes, first_window_ms(now_ms), self.course.spread);
        self.ahead.extend(faults.into_iter().map(|fault| (fault.id, (fault, Step::Planned))));
    }

    /// Tells whoever injects the faults whose windows are near.
    fn arm(&mut self, now_ms: i64) {
        let ends_ms = self.ends_ms(now_ms);
        let faults: Vec<(Fault, Step)> = self.ahead.values().copied().collect();
        for (fault, step) in faults {
            let overdue = fault.end_ms() + MISSED_MS < now_ms;
            if fault.seen_by_ms() > ends_ms && step == Step::Planned {
                // It would not be seen in time.
                self.ahead.remove(&fault.id);
            } else if overdue {
                tracing::warn!("fault {} could not be injected and is planned again", fault.id);
                let again = self.planner.again(&fault, first_window_ms(now_ms));
                self.ahead.insert(fault.id, (again, Step::Planned));
            } else if step == Step::Planned && fault.window_ms - ARM_MS <= now_ms {
                self.tell(&fault);
                self.ahead.insert(fault.id, (fault, Step::Armed));
            }
        }
    }

    /// When the time is up, by the clock; far away without a duration.
    fn ends_ms(&self, now_ms: i64) -> i64 {
        match (self.course.duration, self.begun) {
            (Some(duration), Some(begun)) => {
                let left = duration.saturating_sub(begun.elapsed());
                now_ms.saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
            }
            _ => i64::MAX,
        }
    }

    fn tell(&mut self, fault: &Fault) {
        let order = order(fault, self.random.random_range(1_000..4_000));
        let cast = &self.cast;
        match (fault.hop, order) {
            // A thread that is gone has said so.
            (1, Order::Tamper(armed)) => drop(cast.producer.send(armed)),
            (1 | 2, order) => cast.proxy.order(&order),
            (3, order) => drop(cast.replicator.send(order)),
            (_, order) => cast.consumer.order(&order),
        }
    }

    fn is_over(&self, started: Instant, now: Instant) -> bool {
        let waiting = !self.ahead.is_empty() || self.ledger.waiting().next().is_some();
        let quiet = !waiting && self.ledger.is_quiet_through(self.last_ms);
        if let Some(duration) = self.course.duration {
            let over = self.begun.unwrap_or(started) + duration;
            return now >= over && (!waiting || now >= over + OVERTIME);
        }
        let planned = self.begun.is_some();
        self.course.until_seen && planned && (quiet || (!waiting && now >= self.last_sight + OVERTIME))
    }
}

/// The first window that has not begun yet and leaves time to arm its faults.
fn first_window_ms(now_ms: i64) -> i64 {
    (now_ms + ARM_MS).div_euclid(WIDTH_MS) * WIDTH_MS + WIDTH_MS
}

/// What a fault is to who injects it. A stall begins so many ms after its window does.
fn order(fault: &Fault, stall_after_ms: i64) -> Order {
    let Fault { id, kind, count, window_ms, .. } = *fault;
    let tamper = |lose, double| Order::Tamper(Armed { id, window_ms, lose, double });
    match kind {
        Kind::Loss => tamper(count, 0),
        Kind::Dup => tamper(0, count),
        Kind::Masked => tamper(count, count),
        Kind::Stall => {
            let (from_ms, until_ms) = (window_ms + stall_after_ms, fault.end_ms() + STALL_ENDS_MS);
            Order::Stall(Stall { id, from_ms, until_ms })
        }
        Kind::Kill => Order::Stand(Stand { id, from_ms: window_ms + REPORTED_MS, count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_window_is_whole_and_far_enough_to_arm() {
        for now_ms in (1_790_000_000_000..1_790_000_040_000).step_by(100) {
            let first = first_window_ms(now_ms);
            assert!(first % WIDTH_MS == 0 && first > now_ms + ARM_MS && first <= now_ms + ARM_MS + WIDTH_MS);
        }
    }

    #[test]
    fn orders_say_what_the_fault_is() {
        let fault = |kind| Fault { id: 9, kind, hop: 3, count: 4, window_ms: 50_000 };
        let armed = |lose, double| Order::Tamper(Armed { id: 9, window_ms: 50_000, lose, double });
        assert_eq!(order(&fault(Kind::Loss), 0), armed(4, 0));
        assert_eq!(order(&fault(Kind::Dup), 0), armed(0, 4));
        assert_eq!(order(&fault(Kind::Masked), 0), armed(4, 4));
        let stall = Stall { id: 9, from_ms: 53_000, until_ms: 60_000 + STALL_ENDS_MS };
        assert_eq!(order(&fault(Kind::Stall), 3_000), Order::Stall(stall));
        let stand = Stand { id: 9, from_ms: 50_000 + REPORTED_MS, count: 4 };
        assert_eq!(order(&fault(Kind::Kill), 0), Order::Stand(stand));
    }
}
