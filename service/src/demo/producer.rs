//! The producer: a steady stream of messages whose event time is now, counted with the function API and handed to the
//! proxy. It is told here which of them vanish or double on their way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::{Recorder, Ticket};
use chaperone_audit::{Clock, Message, SystemClock};

use super::batches;
use super::event::Event;
use super::link::Link;
use super::tamper::{Armed, Fate, Tamper};
use super::wire::{Letter, Order};
use super::{RATE, TOPIC};

/// Between two messages.
const PERIOD: Duration = Duration::from_millis(1_000 / RATE as u64);
/// A producer that was held up sends at most this much of what it missed; the rest never was.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// Customers, whose names are the keys.
const CUSTOMERS: u64 = 97;

/// See the module's head.
pub struct Producer {
    /// Counts.
    pub recorder: Recorder,
    /// To the proxy.
    pub link: Arc<Link>,
    /// Decides what vanishes and doubles.
    pub tamper: Tamper,
    /// Faults to come.
    pub armed: Receiver<Armed>,
    /// To the director.
    pub events: Sender<Event>,
    /// Makes the messages of this run different from those of any other.
    pub run: u64,
}

impl Producer {
    /// Produces until `stop`.
    pub fn run(mut self, stop: &AtomicBool) {
        let (mut due, mut n) = (Instant::now(), 0);
        while !stop.load(Ordering::SeqCst) {
            if let Some(letter) = self.link.again() {
                let ticket = self.attempt(&letter);
                self.link.post(letter, ticket);
                continue;
            }
            let now = Instant::now();
            if now < due || !self.link.is_up() {
                std::thread::sleep(due.saturating_duration_since(now).max(Duration::from_millis(1)));
                continue;
            }
            due = due.max(now.checked_sub(CATCH_UP_MAX).unwrap_or(now)) + PERIOD;
            n += 1;
            self.produce(self.letter(n));
            self.say_done();
        }
    }

    fn letter(&self, n: u64) -> Letter {
        Letter {
            n: 0,
            at_ms: SystemClock.now_ms(),
            key: format!("customer-{}", n % CUSTOMERS),
            value: batches::value(self.run, n),
        }
    }

    fn produce(&mut self, letter: Letter) {
        self.armed.try_iter().for_each(|armed| self.tamper.arm(armed));
        let fate = self.tamper.fate(letter.at_ms);
        let ticket = self.attempt(&letter);
        if fate == Fate::Lose {
            // As a producer does that believes an answer that was none.
            return ticket.acked();
        }
        let copy = (fate == Fate::Double).then(|| letter.clone());
        self.link.post(letter, ticket);
        if let Some(copy) = copy {
            self.link.order(&Order::Letter(copy));
        }
    }

    fn attempt(&self, letter: &Letter) -> Ticket {
        self.recorder.attempt(&Message {
            topic: TOPIC,
            key: Some(letter.key.as_bytes()),
            value: Some(letter.value.as_bytes()),
            headers: &NoHeaders,
            timestamp_ms: Some(letter.at_ms),
            broker_time: false,
        })
    }

    fn say_done(&mut self) {
        for done in self.tamper.take_done() {
            // A director that is gone wants to know nothing.
            self.events.send(Event::Done(done)).ok();
        }
    }
}
