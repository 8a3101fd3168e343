//! The recorder against a clock, a sink and a log that the test commands. No sleeps: where a thread is involved, a
//! condition is polled with a deadline.

mod agent;
mod coalesce;
mod conservation;
mod counter;
mod courier;
mod crash;
mod hostile;
mod late;
mod mapped;
mod pace;
mod rules;
mod share;
mod stretch;
mod thread;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use uuid::Uuid;

use super::{Behaviour, Closed, Config, MemorySink, Recorder, Slots, StartError, Stepper, Ticket};
use crate::clock::ManualClock;
use crate::message::{Message, NoHeaders};
use crate::rule::Rule;
use crate::state::SlotState;
use crate::wire::{AuditMessage, SlotRecord, Sum};

/// A multiple of every width.
const T0: i64 = 1_790_000_400_000;
const SEED: u64 = 7;

fn config() -> Config {
    Config { slots: Slots::Heap, max_slots: 1024, records_per_second: u32::MAX, bytes_per_second: u32::MAX, ..paced() }
}

/// With the budget that a reporter has by default.
fn paced() -> Config {
    Config { seed: SEED, slots: Slots::Heap, ..Config::new("producer", "test") }
}

fn message<'a>(topic: &'a str, value: &'a [u8], event_ms: i64) -> Message<'a> {
    Message {
        topic,
        key: None,
        value: Some(value),
        headers: &NoHeaders,
        timestamp_ms: Some(event_ms),
        broker_time: false,
    }
}

/// A recorder, its hand-worked reporter, its clock and its sink.
struct Bench {
    recorder: Recorder,
    stepper: Stepper,
    clock: Arc<ManualClock>,
    sink: MemorySink,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self::with(config, MemorySink::new())
    }
    fn with(config: Config, sink: MemorySink) -> Self {
        let clock = Arc::new(ManualClock::new(T0));
        let (recorder, stepper) =
            Recorder::stepped(config, Box::new(sink.clone()), Arc::clone(&clock) as _).expect("started");
        Self { recorder, stepper, clock, sink }
    }
    /// The wall clock and the reporter go on.
    fn pass(&mut self, ms: i64) {
        self.clock.advance(ms);
        self.stepper.beat();
    }
}

/// What a collector makes of the messages.
#[derive(Default)]
struct Collector {
    slots: BTreeMap<(Uuid, u64), SlotRecord>,
    merged: BTreeSet<(Uuid, u64)>,
    divergent: u64,
}

impl Collector {
    fn of(messages: &[AuditMessage]) -> Self {
        let mut c = Self::default();
        for m in messages {
            c.apply(m);
        }
        c
    }
    fn apply(&mut self, message: &AuditMessage) {
        for slot in &message.slots {
            match self.slots.get_mut(&(message.incarnation, slot.id)) {
                Some(known) => {
                    assert_eq!((&known.topic, known.window_ms, known.class), (&slot.topic, slot.window_ms, slot.class));
                    assert_eq!(known.width_ms, slot.width_ms);
                    self.divergent += u64::from(known.state.divergent(&slot.state));
                    known.state.join(&slot.state);
                }
                None => drop(self.slots.insert((message.incarnation, slot.id), slot.clone())),
            }
        }
        for id in message.merged.iter().flat_map(|(from, to)| *from..*to) {
            self.merged.insert((message.incarnation, id));
        }
    }
    fn sum(&self, incarnation: Uuid) -> Sum {
        let mut sum = Sum::default();
        for (key, slot) in self.slots.iter().filter(|((i, _), _)| *i == incarnation) {
            assert!(!self.merged.contains(key), "told and merged: {key:?}");
            sum.slots += 1;
            sum.n += slot.state.n;
            sum.acked += slot.state.acked;
            sum.failed += slot.state.failed;
            sum.f_in = sum.f_in.plus(slot.state.f_in());
        }
        sum.slots += self.merged.iter().filter(|(i, _)| *i == incarnation).count() as u64;
        sum
    }
    fn states(&self) -> impl Iterator<Item = &SlotState> {
        self.slots.values().map(|s| &s.state)
    }
    fn n(&self) -> u64 {
        self.states().map(|s| s.n).sum()
    }
}

/// The hash that a message adds to a fingerprint.
fn hash_of(m: &Message<'_>) -> crate::Fingerprint {
    Rule::new(SEED).observe(m, T0).id.hash(SEED)
}

/// What a process does with messages and with its time, until it is killed or closes, and how its sink behaves.
#[derive(Debug, Clone)]
struct Life {
    acts: Vec<u8>,
    clean: bool,
    fault: u8,
}

/// At most `most` acts, of as many kinds as the test knows.
fn life(kinds: u8, most: usize) -> impl Strategy<Value = Life> {
    (proptest::collection::vec(0..kinds, 0..most), any::<bool>(), 0u8..3).prop_map(|(acts, clean, fault)| Life {
        acts,
        clean,
        fault,
    })
}

/// The one place that waits.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
