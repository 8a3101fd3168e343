//! The recorder with its own thread: cadence, close, panics, many counting threads.

use super::*;
use crate::SystemClock;
use crate::recorder::{Sink, SinkError};
use crate::wire::End;

fn quick() -> Config {
    Config { heartbeat: Duration::from_millis(5), grace: Duration::ZERO, ..config() }
}

fn start(config: Config, sink: &MemorySink) -> Recorder {
    Recorder::start(config, Box::new(sink.clone()), Arc::new(SystemClock)).expect("started")
}

fn now_ms() -> i64 {
    crate::Clock::now_ms(&SystemClock)
}

#[test]
fn a_heartbeat_comes_at_once() {
    let sink = MemorySink::new();
    let _recorder = start(config(), &sink);
    until("a heartbeat", || sink.messages().iter().any(|m| m.watermark_ms.is_some()));
}

#[test]
fn threads_count_without_losing_and_the_close_tells_all() {
    let sink = MemorySink::new();
    let recorder = start(quick(), &sink);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                for i in 0..5_000u32 {
                    let value = [&[thread][..], &i.to_le_bytes()].concat();
                    let ticket = recorder.attempt(&message(["a", "b"][i as usize % 2], &value, now_ms()));
                    if i % 10 == 0 { ticket.failed() } else { ticket.acked() }
                }
            });
        }
    });
    assert_eq!(recorder.close(Duration::from_secs(10)), Closed::default());
    assert_eq!(recorder.close(Duration::ZERO), Closed::default(), "the same answer again");
    let messages = sink.messages();
    let collector = Collector::of(&messages);
    let sum = collector.sum(recorder.incarnation());
    assert_eq!((sum.n, sum.acked, sum.failed), (20_000, 18_000, 2_000));
    assert_eq!(messages.last().map(|m| (m.end, m.sum)), Some((Some(End::Clean), Some(sum))));
    assert_eq!(collector.divergent, 0);
}

#[test]
fn what_came_before_a_watermark_is_in_its_sums() {
    let sink = MemorySink::new();
    let recorder = start(Config { heartbeat: Duration::from_millis(1), ..quick() }, &sink);
    let mut returned = Vec::new();
    std::thread::scope(|scope| {
        let count = || {
            let mut times = Vec::with_capacity(30_000);
            for i in 0..30_000u32 {
                recorder.seen(&message(["a", "b", "c"][i as usize % 3], &i.to_le_bytes(), now_ms()));
                times.push(now_ms());
            }
            times
        };
        let threads = [scope.spawn(count), scope.spawn(count)];
        returned.extend(threads.into_iter().flat_map(|t| t.join().expect("counted")));
    });
    recorder.close(Duration::from_secs(10));
    let said: Vec<_> = sink.messages().iter().filter_map(|m| Some((m.watermark_ms?, m.sum?.n))).collect();
    for (watermark_ms, n) in &said {
        let before = returned.iter().filter(|t| *t < watermark_ms).count() as u64;
        assert!(*n >= before, "{n} of {before} before {watermark_ms}");
    }
    assert!(said.len() > 2, "some came while the threads counted");
}

#[test]
fn dropping_the_last_clone_says_goodbye() {
    let sink = MemorySink::new();
    let recorder = start(quick(), &sink);
    let clone = recorder.clone();
    clone.seen(&message("t", b"a", now_ms()));
    drop(recorder);
    assert!(sink.messages().iter().all(|m| m.end.is_none()));
    drop(clone);
    assert_eq!(sink.messages().last().and_then(|m| m.end), Some(End::Clean));
    assert_eq!(Collector::of(&sink.messages()).n(), 1);
}

#[test]
fn an_abandoned_recorder_frees_its_directory_and_is_recovered() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = || Config { data_dir: Some(dir.path().to_owned()), ..quick() };
    let (first, second) = (MemorySink::new(), MemorySink::new());
    first.set(Behaviour::Fail);
    let recorder = start(config(), &first);
    recorder.seen(&message("t", b"a", now_ms() - 60_000));
    until("a final in the log", || recorder.stats().waiting > 0);
    recorder.abandon();
    let next = start(config(), &second);
    until("the end", || second.messages().iter().any(|m| m.end == Some(End::Crash)));
    until("the final", || Collector::of(&second.messages()).n() == 1);
    assert_ne!(next.incarnation(), recorder.incarnation());
}

#[test]
fn a_sink_that_is_away_does_not_hold_up_the_close() {
    let sink = MemorySink::new();
    sink.set(Behaviour::Hold);
    let recorder = start(quick(), &sink);
    recorder.seen(&message("t", b"a", now_ms()));
    let begun = Instant::now();
    let closed = recorder.close(Duration::from_millis(50));
    assert!(closed.unsent > 0);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// A sink that panics.
struct Broken;
impl Sink for Broken {
    fn send(&mut self, _: &[u8], _: &[u8], _: u64) -> Result<(), SinkError> {
        panic!("a broken sink");
    }
    fn poll(&mut self, _: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        Vec::new()
    }
    fn flush(&mut self, _: Duration) {}
}

#[test]
fn a_panic_in_our_thread_ends_reporting_and_nothing_else() {
    let config = Config { max_slots: 2, ..quick() };
    let recorder = Recorder::start(config, Box::new(Broken), Arc::new(SystemClock)).expect("started");
    until("the panic", || !recorder.stats().reporting);
    assert_eq!(recorder.stats().panics, 1);
    for i in 0..100 {
        recorder.attempt(&message(&format!("t{i}"), b"a", now_ms())).acked();
    }
    let stats = recorder.stats();
    assert_eq!((stats.counted, stats.acked), (100, 100));
    assert!(stats.slots <= 2 + 8);
    assert_eq!(recorder.close(Duration::from_secs(1)).in_doubt, 0);
}
