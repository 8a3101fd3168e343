//! What counting a message costs the thread that does it, in thread CPU time: `cargo bench -p chaperone-audit --features
//! rivals --bench count`.
//!
//! Every way of counting gets the same messages (a 16-byte id known, 8 topics in runs, one window), adds the same figures
//! (count, bytes, fingerprint, histogram) and is measured in many short rounds, interleaved, so that what else the
//! machine does falls on all of them; the figure is the median of the rounds. With two threads each counts in the same
//! topics, as a host's threads do. The recorder alone also reads a clock and keeps its counts where the death of the process
//! does not reach them; but for the counters of a topic each it also finds identity and time in a header and the topic's line.
//! What a thread does once (its first message of each topic) is done before a round.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use chaperone_audit::clock::ManualClock;
use chaperone_audit::histogram::{CELLS, Histogram, cell_of};
use chaperone_audit::message::Message;
use chaperone_audit::recorder::{Config, Recorder, Sink, SinkError, Slots};
use chaperone_audit::rule::{HEADER, stamp};
use chaperone_audit::{Clock, CoarseClock, Fingerprint, MessageId, SystemClock};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 60;
const MESSAGES: u64 = 100_000;
/// Messages of a topic that follow one another.
const RUN: u64 = 16;
const TOPICS: [&str; 8] = ["orders", "payments", "refunds", "clicks", "views", "carts", "stock", "returns"];
const SEED: u64 = 7;
const EVENT_MS: i64 = 1_790_000_400_000;
/// Stamps that are made before they are counted.
const STAMPS: u64 = 1024;

const FLOOR: &str = "floor: fingerprint and histogram only";
const SEEN: &str = "recorder: seen, coarse clock, mapped slots";
const REPORT: &str = "recorder: attempt and ack, coarse clock, mapped slots";
const STILL: &str = "recorder: seen, a clock that costs nothing, mapped slots";
const COUNTER: &str = "counter of a topic: stamp at hand, coarse clock, mapped slots";
const COUNTER_REPORT: &str = "counter of a topic: attempt and ack, stamp at hand, coarse clock, mapped slots";
const COUNTER_STILL: &str = "counter of a topic: stamp at hand, a clock that costs nothing, mapped slots";
const SHARDED: &str = "sharded, 16 × Mutex<HashMap>";
const DASHMAP: &str = "dashmap";
const ATOMICS: &str = "shared atomics, fetch_add";
const MUTEX: &str = "Mutex<HashMap>";

/// What is known of a message before it is counted.
#[derive(Clone, Copy)]
struct Known {
    topic: usize,
    id: u128,
    bytes: u64,
    delay_ms: i64,
}

fn message(i: u64, thread: u64) -> Known {
    let topic = usize::try_from(i / RUN).unwrap_or(0) % TOPICS.len();
    Known {
        topic,
        id: u128::from(i) << 64 | u128::from(thread),
        bytes: 200,
        delay_ms: i64::try_from(i % 900).unwrap_or(0),
    }
}

#[derive(Clone, Default)]
struct Counts {
    n: u64,
    bytes: u64,
    f: Fingerprint,
    hist: Histogram,
}

impl Counts {
    fn add(&mut self, m: &Known) {
        self.n += 1;
        self.bytes += m.bytes;
        self.f = self.f.plus(MessageId(m.id).hash(SEED));
        self.hist.record(m.delay_ms);
    }
}

type Map = HashMap<(&'static str, i64), Counts>;

fn place(m: &Known) -> (&'static str, i64) {
    (TOPICS[m.topic], EVENT_MS)
}

/// Counters that all threads add to.
struct Shared {
    words: [AtomicU64; 4],
    cells: Vec<AtomicU64>,
}

thread_local! {
    static MINE: RefCell<HashMap<usize, Arc<Mutex<Map>>>> = RefCell::default();
}

/// Takes all, tells nobody.
struct Nowhere(Vec<(u64, Result<(), SinkError>)>);

impl Sink for Nowhere {
    fn send(&mut self, _: &[u8], _: &[u8], token: u64) -> Result<(), SinkError> {
        self.0.push((token, Ok(())));
        Ok(())
    }
    fn poll(&mut self, _: std::time::Duration) -> Vec<(u64, Result<(), SinkError>)> {
        std::mem::take(&mut self.0)
    }
    fn flush(&mut self, _: std::time::Duration) {}
}

fn recorder(clock: Arc<dyn Clock>) -> Recorder {
    let config = Config { seed: SEED, slots: Slots::Shared, ..Config::new("bench", "bench") };
    Recorder::start(config, Box::new(Nowhere(Vec::new())), clock).expect("a recorder")
}

/// Counts so many messages.
type Run<'a> = Box<dyn FnMut(u64) + 'a>;
/// What a thread of a number does.
type Count = Box<dyn Fn(u64) -> Run<'static> + Send + Sync>;
type Way = (&'static str, Count);

fn loops(count: impl Fn(&Known) + Send + Sync + 'static) -> Count {
    let count = Arc::new(count);
    Box::new(move |thread| {
        let count = Arc::clone(&count);
        Box::new(move |messages| (0..messages).for_each(|i| count(black_box(&message(i, thread)))))
    })
}

/// The recorder with identity and time in a stamp, as our own producers leave them.
fn counting(recorder: Recorder, attempt: bool) -> Count {
    Box::new(move |thread| {
        let recorder = recorder.clone();
        let now_ms = recorder.now_ms();
        let stamps: Vec<_> = (0..STAMPS)
            .map(|i| message(i, thread))
            .map(|m| [(HEADER, stamp(MessageId(m.id), now_ms - m.delay_ms))])
            .collect();
        Box::new(move |messages| {
            for (i, headers) in (0..messages).zip(stamps.iter().cycle()) {
                let m = black_box(message(i, thread));
                let message = Message {
                    topic: TOPICS[m.topic],
                    key: None,
                    value: Some(&[0; 200]),
                    headers,
                    timestamp_ms: None,
                    broker_time: false,
                };
                if attempt { recorder.attempt(black_box(&message)).acked() } else { recorder.seen(black_box(&message)) }
            }
        })
    })
}

/// Counters of a topic each, for whoever has identity and time at hand.
fn by_counters(recorder: Recorder, attempt: bool) -> Count {
    Box::new(move |thread| {
        let now_ms = recorder.now_ms();
        let mut counters = TOPICS.map(|topic| recorder.counter(topic));
        Box::new(move |messages| {
            let mut counters = counters.each_mut().map(|counter| counter.stamped().expect("the default rule"));
            for i in 0..messages {
                let m = message(i, thread);
                let m = black_box(&m);
                let (counter, id, event_ms) = (&mut counters[m.topic], MessageId(m.id), now_ms - m.delay_ms);
                if attempt {
                    counter.attempt(id, event_ms, m.bytes).acked();
                } else {
                    counter.seen(id, event_ms, m.bytes);
                }
            }
        })
    })
}

fn ways() -> Vec<Way> {
    let one = Mutex::new(Map::new());
    let shards: Vec<Mutex<Map>> = (0..16).map(|_| Mutex::default()).collect();
    let dash = dashmap::DashMap::<(&'static str, i64), Counts>::new();
    let shared: Vec<Shared> = TOPICS
        .iter()
        .map(|_| Shared { words: Default::default(), cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect() })
        .collect();
    vec![
        (
            FLOOR,
            Box::new(|thread| {
                let mut counts = Counts::default();
                Box::new(move |messages| {
                    (0..messages).for_each(|i| counts.add(black_box(&message(i, thread))));
                    black_box(&counts);
                })
            }),
        ),
        (SEEN, counting(recorder(Arc::new(CoarseClock)), false)),
        (REPORT, counting(recorder(Arc::new(CoarseClock)), true)),
        (STILL, counting(recorder(Arc::new(ManualClock::new(EVENT_MS))), false)),
        (COUNTER, by_counters(recorder(Arc::new(CoarseClock)), false)),
        (COUNTER_REPORT, by_counters(recorder(Arc::new(CoarseClock)), true)),
        (COUNTER_STILL, by_counters(recorder(Arc::new(ManualClock::new(EVENT_MS))), false)),
        ("recorder: seen, SystemTime::now", counting(recorder(Arc::new(SystemClock)), false)),
        (
            "thread-local Arc<Mutex<HashMap>>",
            loops(|m| {
                MINE.with_borrow_mut(|mine| mine.entry(0).or_default().lock().entry(place(m)).or_default().add(m));
            }),
        ),
        (SHARDED, loops(move |m| shards[m.topic].lock().entry(place(m)).or_default().add(m))),
        (DASHMAP, loops(move |m| dash.entry(place(m)).or_default().add(m))),
        (
            ATOMICS,
            loops(move |m| {
                let s = &shared[m.topic];
                let f = MessageId(m.id).hash(SEED);
                for (word, addend) in s.words.iter().zip([1, m.bytes, f.hi, f.lo]) {
                    word.fetch_add(addend, Ordering::Relaxed);
                }
                s.cells[cell_of(m.delay_ms)].fetch_add(1, Ordering::Relaxed);
            }),
        ),
        (MUTEX, loops(move |m| one.lock().entry(place(m)).or_default().add(m))),
    ]
}

fn cpu_ns() -> i64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

/// Nanoseconds a message of one round.
#[derive(Clone, Copy)]
struct Spent {
    /// Thread CPU time, the mean of the threads.
    cpu: f64,
    /// Wall time of each thread's message, by the thread that needs longest.
    wall: f64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn round(way: &Count, threads: u64) -> Spent {
    let start = Barrier::new(usize::try_from(threads).unwrap_or(1));
    let spent: Vec<(i64, u128)> = std::thread::scope(|scope| {
        let run = |thread| {
            let start = &start;
            scope.spawn(move || {
                let mut run = way(thread);
                run(RUN * TOPICS.len() as u64);
                start.wait();
                let (cpu, wall) = (cpu_ns(), Instant::now());
                run(MESSAGES);
                (cpu_ns() - cpu, wall.elapsed().as_nanos())
            })
        };
        let handles: Vec<_> = (0..threads).map(run).collect();
        handles.into_iter().map(|h| h.join().expect("counted")).collect()
    });
    let cpu = spent.iter().map(|(cpu, _)| *cpu).sum::<i64>() as f64 / (threads * MESSAGES) as f64;
    let wall = spent.iter().map(|(_, wall)| *wall).max().unwrap_or_default() as f64 / MESSAGES as f64;
    Spent { cpu, wall }
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut of: Vec<f64> = of.collect();
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rounds of one thread, and of two.
type Rounds = (Vec<Spent>, Vec<Spent>);

/// Ratios are those of neighbours: each round's, then the median.
fn ratio(a: &[Spent], b: &[Spent], of: impl Fn(&Spent) -> f64) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| of(a) / of(b)))
}

fn figures(ways: &[Way], rounds: &[Rounds]) {
    let get = |name: &str| ways.iter().zip(rounds).find(|((n, _), _)| *n == name).map(|(_, rounds)| rounds);
    let Some(floor) = get(FLOOR) else { return };
    for (figure, name) in [("", SEEN), ("_report", REPORT), ("_counter", COUNTER), ("_counter_report", COUNTER_REPORT)]
    {
        let Some(ours) = get(name) else { return };
        println!("figure count{figure}_ns = {:.1}", median(ours.0.iter().map(|s| s.cpu)));
    }
    for (figure, name) in [("_message", STILL), ("", COUNTER_STILL)] {
        let Some(ours) = get(name) else { return };
        println!("figure count{figure}_floor = {:.2}", ratio(&ours.0, &floor.0, |s| s.cpu));
    }
    let (Some(seen), Some(counter)) = (get(SEEN), get(COUNTER)) else { return };
    println!("figure count_two_threads = {:.2}", 2.0 * ratio(&seen.0, &seen.1, |s| s.cpu));
    for (figure, name) in [("mutex", MUTEX), ("sharded", SHARDED), (DASHMAP, DASHMAP), ("atomics", ATOMICS)] {
        if let Some(rival) = get(name) {
            println!("figure count_{figure}_message = {:.1}", ratio(&rival.1, &seen.1, |s| s.wall));
            println!("figure count_{figure} = {:.1}", ratio(&rival.1, &counter.1, |s| s.wall));
        }
    }
}

fn main() {
    // `-- WORD [ROUNDS]`: only the ways whose names hold the word, for a profiler.
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let word = args.next().unwrap_or_default();
    let count: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let ways: Vec<Way> = ways().into_iter().filter(|(name, _)| name.contains(&word)).collect();
    let mut rounds: Vec<Rounds> = ways.iter().map(|_| Rounds::default()).collect();
    for _ in 0..count {
        for ((_, way), (one, two)) in ways.iter().zip(&mut rounds) {
            one.push(round(way, 1));
            two.push(round(way, 2));
        }
    }
    println!("| | CPU, 1 thread | CPU, 2 threads | wall, 2 threads |\n| --- | --- | --- | --- |");
    for ((name, _), (one, two)) in ways.iter().zip(&rounds) {
        let cpu = |rounds: &[Spent]| median(rounds.iter().map(|s| s.cpu));
        println!("| {name} | {:.1} | {:.1} | {:.1} |", cpu(one), cpu(two), median(two.iter().map(|s| s.wall)));
    }
    figures(&ways, &rounds);
}
