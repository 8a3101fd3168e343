//! Loops whose instructions are counted (suite `instructions`): `gates NAME TIMES` does one thing so many times.
//!
//! What a loop costs is the difference of two runs over the difference of their times, so what comes before it does not
//! count. Each has a *floor*: the least that such work takes, written down beside it. Built for release, and with no
//! dependency but the library's own. A new gate is a row of `GATES`, and of the table in `tests/instructions`.

#![expect(clippy::unnecessary_wraps, reason = "all loops have one type")]

use std::collections::HashMap;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chaperone_audit::histogram::{CELLS, cell_of};
use chaperone_audit::message::Message;
use chaperone_audit::recorder::{Config as Recording, Recorder, Sink, SinkError, Slots, StartError, Stepper};
use chaperone_audit::rule::{HEADER, stamp};
use chaperone_audit::scan::{Found, Pointer, Scaled, find};
use chaperone_audit::{Class, Clock, CoarseClock, Fingerprint, MessageId, Rules, Width};
use chaperone_wal::slots::{Geometry, Start, Table, Words};
use chaperone_wal::{Config, File, Log, Storage};
use uuid::Uuid;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Name, and what it does so many times.
type Gate = (&'static str, fn(u64) -> Outcome);

const GATES: [Gate; 12] = [
    ("recorder-floor", recorder_floor),
    ("recorder", seen),
    ("counter", counter),
    ("recorder-control", recorder_control),
    ("report", report),
    ("slot-floor", slot_floor),
    ("slot", slot),
    ("slot-control", slot_control),
    ("scan-floor", scan_floor),
    ("scan", scan),
    ("append-floor", append_floor),
    ("append", append),
];

/// What counting a message comes down to: the sum of its id's hash, bytes, times, and the cell of its delay.
#[inline]
fn message(words: &mut Words, i: u64) -> u8 {
    let hash = MessageId(u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).hash(black_box(7));
    words[0] += 200 + (i & 63);
    words[1] = words[1].wrapping_add(hash.lo);
    words[2] = words[2].wrapping_add(hash.hi);
    words[3] = words[3].min(i);
    words[4] = words[4].max(i);
    words[5] = i;
    let delay = i64::try_from(i & 0xffff).unwrap_or_default();
    u8::try_from(cell_of(delay)).unwrap_or(u8::MAX)
}

/// The same in memory of the thread's own, which dies with it.
fn slot_floor(times: u64) -> Outcome {
    let (mut words, mut cells) = (Words::default(), [0_u32; 256]);
    for i in 0..times {
        let cell = message(black_box(&mut words), i);
        cells[usize::from(cell)] += 1;
        black_box(&mut cells);
    }
    Ok(())
}

fn slot(times: u64) -> Outcome {
    let table = Table::heap(&Start::default(), Geometry { slots: 64, cells: 256, names_bytes: 4096 })?;
    let mut line = table.open(1, "orders", &[0; 8])?;
    for i in 0..times {
        black_box(line.count(|words| message(words, i)).is_ok());
    }
    Ok(())
}

/// The way that the gate of the slot must not let through: a map behind a lock.
fn slot_control(times: u64) -> Outcome {
    let slots = Mutex::new(HashMap::from([("orders", (Words::default(), [0_u32; 256]))]));
    for i in 0..times {
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (words, cells) = slots.get_mut(black_box("orders")).ok_or("no slot")?;
        let cell = message(words, i);
        cells[usize::from(cell)] += 1;
    }
    Ok(())
}

/// Messages of a topic that follow one another.
const RUN: usize = 16;
const TOPICS: [&str; 8] = ["orders", "payments", "refunds", "clicks", "views", "carts", "stock", "returns"];
const SEED: u64 = 7;
/// In a window that does not move with the clock.
const EVENT_MS: i64 = 1_790_000_400_000;

/// Does something with stamped messages of 200 bytes, in runs of a topic.
fn stamped(times: u64, mut each: impl FnMut(&Message<'_>)) {
    let stamps: Vec<_> =
        (0..1024).map(|i| [(HEADER, stamp(MessageId(i * 0x9e37_79b9_7f4a_7c15), EVENT_MS + 7))]).collect();
    let runs = TOPICS.iter().flat_map(|topic| [*topic; RUN]).cycle();
    let messages = runs.zip(stamps.iter().cycle());
    for (_, (topic, headers)) in (0..times).zip(messages) {
        let message =
            Message { topic, key: None, value: Some(&[0; 200]), headers, timestamp_ms: None, broker_time: false };
        each(black_box(&message));
    }
}

/// Takes all, tells nobody.
struct Nobody;

impl Sink for Nobody {
    fn send(&mut self, _: &[u8], _: &[u8], _: u64) -> Result<(), SinkError> {
        Ok(())
    }
    fn poll(&mut self, _: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        Vec::new()
    }
    fn flush(&mut self, _: Duration) {}
}

/// Without a reporter at work, whose instructions would count too.
fn recorder() -> Result<(Recorder, Stepper), StartError> {
    let config = Recording { seed: SEED, slots: Slots::Heap, ..Recording::new("gates", "gates") };
    Recorder::stepped(config, Box::new(Nobody), Arc::new(CoarseClock))
}

/// All of counting a message: the clock, its header, its class and window, its slot.
fn seen(times: u64) -> Outcome {
    let (recorder, _reporter) = recorder()?;
    stamped(times, |message| recorder.seen(message));
    if recorder.stats().counted == times { Ok(()) } else { Err("not all counted".into()) }
}

/// The same by counters of a topic each, with identity and time at hand.
fn counter(times: u64) -> Outcome {
    let (recorder, _reporter) = recorder()?;
    let mut counters = TOPICS.map(|topic| recorder.counter(topic));
    let mut counters = counters.each_mut().map(|counter| counter.stamped());
    let runs = (0..counters.len()).flat_map(|at| [at; RUN]).cycle();
    for (i, at) in (0..times).zip(runs) {
        let counter = counters.get_mut(black_box(at)).and_then(Option::as_mut).ok_or("the default rule")?;
        let id = MessageId(u128::from(i & 1023) * 0x9e37_79b9_7f4a_7c15);
        counter.seen(black_box(id), black_box(EVENT_MS + 7), black_box(200));
    }
    if recorder.stats().counted == times { Ok(()) } else { Err("not all counted".into()) }
}

/// A message and its delivery report.
fn report(times: u64) -> Outcome {
    let (recorder, _reporter) = recorder()?;
    stamped(times, |message| recorder.attempt(message).acked());
    if recorder.stats().acked == times { Ok(()) } else { Err("not all acknowledged".into()) }
}

/// Fingerprint and histogram of the same messages, with identity and delay known, and nothing kept.
fn recorder_floor(times: u64) -> Outcome {
    let (mut sum, mut cells, mut i) = (Fingerprint::ZERO, [0_u32; CELLS], 0_u32);
    stamped(times, |_| {
        i += 1;
        sum = sum.plus(MessageId(i.into()).hash(black_box(SEED)));
        if let Some(cell) = cells.get_mut(cell_of(black_box(i).into())) {
            *cell += 1;
        }
        black_box((&mut sum, &mut cells));
    });
    Ok(())
}

/// The way that the gate of the recorder must not let through: the same clock and rule, and a map behind a lock.
fn recorder_control(times: u64) -> Outcome {
    type Sums = (Words, [u32; CELLS]);
    type Slots = HashMap<(Class, i64), HashMap<String, Sums>>;
    let (rules, slots, clock) = (Rules::new(SEED), Mutex::new(Slots::new()), CoarseClock);
    stamped(times, |message| {
        let now_ms = black_box(&clock as &dyn Clock).now_ms();
        let seen = rules.of(message.topic).observe(message, now_ms);
        let (hash, event_ms) = (seen.id.hash(black_box(SEED)), seen.window_time_ms(now_ms));
        let window = Width::TEN_SECONDS.window_of(event_ms).0;
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.entry((seen.class, window)).or_default();
        let add = |(words, cells): &mut Sums| {
            words[0] += message.bytes();
            words[1] = words[1].wrapping_add(hash.hi);
            words[2] = words[2].wrapping_add(hash.lo);
            words[3] = words[3].max(event_ms.cast_unsigned());
            words[4] = words[4].max(now_ms.cast_unsigned());
            cells.get_mut(cell_of(now_ms - event_ms)).into_iter().for_each(|cell| *cell += 1);
        };
        if let Some(sums) = slots.get_mut(message.topic) {
            add(sums);
        } else {
            let mut sums = (Words::default(), [0; CELLS]);
            add(&mut sums);
            slots.insert(message.topic.to_owned(), sums);
        }
    });
    Ok(())
}

/// 1 KB of short members, the wanted one last.
fn document() -> Vec<u8> {
    let member = |i: usize| match i % 6 {
        0 => format!("\"f{i}\":{}", 12_345 + i * 37),
        1 => format!("\"name{i}\":\"user-{i}\""),
        2 => format!("\"price{i}\":{}.{:02}", i * 13, i % 100),
        3 => format!("\"tags{i}\":[\"a\",\"b\",{i}]"),
        4 => format!("\"ok{i}\":true"),
        _ => format!("\"at{i}\":{{\"zip\":\"{:05}\",\"no\":{i}}}", i * 91),
    };
    let members: Vec<String> = (0..50).map(member).collect();
    format!("{{{},\"ts\":1790000000000}}", members.join(",")).into_bytes()
}

/// The search for the quoted name, which any decoy leads astray.
fn scan_floor(times: u64) -> Outcome {
    let (document, name) = (document(), memchr::memmem::Finder::new("\"ts\":"));
    for _ in 0..times {
        black_box(name.find(black_box(&document)).ok_or("no time")?);
    }
    Ok(())
}

fn scan(times: u64) -> Outcome {
    let (document, pointer) = (document(), Pointer::member("ts"));
    for _ in 0..times {
        let found = find(black_box(&document), &pointer);
        let Found::Number(number) = found else { return Err("no time".into()) };
        if black_box(number.scaled(0)) != Scaled::Whole(1_790_000_000_000) {
            return Err("another time".into());
        }
    }
    Ok(())
}

const PAYLOAD: [u8; 1024] = [0x5a; 1024];

/// Two copies of the bytes, to keep and to write: less the log cannot do.
fn append_floor(times: u64) -> Outcome {
    let mut out = Vec::with_capacity(2048);
    for _ in 0..times {
        let kept: Arc<[u8]> = black_box(&PAYLOAD[..]).into();
        out.clear();
        out.extend_from_slice(&kept);
        black_box(&mut out);
    }
    Ok(())
}

/// A disk that takes everything and keeps nothing.
struct Nowhere;

impl Storage for Nowhere {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn create(&self, _: &str, _: u64) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Nowhere))
    }
    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Nowhere))
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Nowhere {
    fn write_at(&self, _: u64, bytes: &[u8]) -> io::Result<()> {
        black_box(bytes);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An entry and its mark, by the one caller.
fn append(times: u64) -> Outcome {
    let config = Config { background: false, ..Config::default() };
    let (log, _) = Log::open_with(Arc::new(Nowhere), config)?;
    for _ in 0..times {
        let seq = log.append(Uuid::nil(), black_box(&PAYLOAD))?;
        log.done(seq)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let gate = GATES.iter().find(|(known, _)| *known == name);
    let (Some((_, run)), Some(times)) = (gate, times) else {
        eprintln!("gates NAME TIMES, with one of {}", GATES.map(|(name, _)| name).join(", "));
        return ExitCode::from(64);
    };
    match run(times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
