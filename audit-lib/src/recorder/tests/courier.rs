//! Sending what the dead left without being their successor.

use super::*;
use crate::recorder::{Carried, Courier};
use crate::wire::End;
use proptest::prelude::*;
use std::path::PathBuf;

/// A host's directory with the home of one application in it.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
    fn app(&self) -> PathBuf {
        self.0.path().join("app")
    }
    fn config(&self) -> Config {
        std::fs::create_dir_all(self.app()).expect("made");
        Config { data_dir: Some(self.app()), slots: Slots::Dir(self.app()), max_slots: 64, ..config() }
    }
    fn files(&self) -> usize {
        chaperone_wal::slots::recovery::list(&self.app()).expect("listed").len()
    }
    fn deliver(&self, sink: &MemorySink) -> (bool, Carried) {
        let mut courier = Courier::new(Box::new(|_| true));
        let all = courier.deliver(&[self.app()], &mut sink.clone(), Duration::from_secs(5));
        (all, courier.carried().clone())
    }
    fn n(&self) -> u64 {
        crate::recorder::survey(&self.app()).expect("surveyed").n()
    }
}

#[test]
fn what_the_dead_left_is_sent_once_and_as_its_successor_would() {
    let host = Host::new();
    let bench = Bench::new(host.config());
    bench.recorder.attempt(&message("t", b"a", T0)).acked();
    let _in_flight = bench.recorder.attempt(&message("t", b"b", T0));
    drop(bench.stepper);
    let sink = MemorySink::new();
    assert!(host.deliver(&sink).0);
    let messages = sink.messages();
    let collector = Collector::of(&messages);
    assert_eq!(collector.n(), 2);
    let end = messages.last().expect("a message");
    assert_eq!((end.end, end.sum), (Some(End::Crash), Some(collector.sum(bench.recorder.incarnation()))));
    assert_eq!(end.uuid, crate::recorder::recover::derived(bench.recorder.incarnation(), messages.len() as u64));
    assert_eq!((host.files(), host.n()), (0, 0));
    let again = MemorySink::new();
    assert_eq!(host.deliver(&again), (true, Carried::default()));
    assert!(again.stored().is_empty());
    let mut next = Bench::new(host.config());
    next.stepper.beat();
    assert!(
        next.sink.messages().iter().all(|m| m.incarnation == next.recorder.incarnation()),
        "nothing is left to tell"
    );
}

#[test]
fn the_living_are_left_alone() {
    let host = Host::new();
    let mut bench = Bench::new(host.config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.pass(Duration::from_secs(10));
    let sink = MemorySink::new();
    assert!(host.deliver(&sink).0);
    assert!(sink.stored().is_empty());
    assert_eq!(host.files(), 1);
}

#[test]
fn a_slot_file_elsewhere_is_found_where_the_checkpoint_says() {
    let (host, slots) = (Host::new(), tempfile::tempdir().expect("a directory"));
    let config = || Config { slots: Slots::Dir(slots.path().to_owned()), ..host.config() };
    let mut bench = Bench::new(config());
    bench.recorder.seen(&message("t", b"a", T0));
    bench.stepper.pass(Duration::from_secs(10));
    bench.recorder.seen(&message("t", b"b", T0));
    drop(bench.stepper);
    let sink = MemorySink::new();
    assert!(host.deliver(&sink).0);
    let collector = Collector::of(&sink.messages());
    assert_eq!((collector.n(), collector.states().filter(|s| s.flags.contains("crash")).count()), (2, 0));
    assert!(chaperone_wal::slots::recovery::list(slots.path()).expect("listed").is_empty());
}

#[test]
fn a_stage_that_may_not_report_there_is_left_and_said() {
    let host = Host::new();
    let bench = Bench::new(host.config());
    bench.recorder.seen(&message("t", b"a", T0));
    drop(bench.stepper);
    let sink = MemorySink::new();
    let mut courier = Courier::new(Box::new(|stage| stage != "producer"));
    assert!(courier.deliver(&[host.app()], &mut sink.clone(), Duration::from_secs(5)));
    let why = courier.carried().left.get(&host.app()).expect("it is left");
    assert!(why.contains("\"producer\" may not report"), "{why}");
    assert_eq!((sink.stored().len(), host.files(), host.n()), (0, 1, 1));
}

#[test]
fn without_a_log_the_file_goes_when_the_sink_has_it() {
    let host = Host::new();
    let config = Config { data_dir: None, ..host.config() };
    let bench = Bench::new(config);
    bench.recorder.seen(&message("t", b"a", T0));
    drop(bench.stepper);
    let sink = MemorySink::new();
    sink.set(Behaviour::StoreAndFail);
    let mut courier = Courier::new(Box::new(|_| true));
    assert!(!courier.deliver(&[host.app()], &mut sink.clone(), Duration::from_millis(50)));
    assert_eq!(host.files(), 1);
    drop(courier);
    sink.reset();
    assert!(host.deliver(&sink).0);
    assert_eq!((host.files(), Collector::of(&sink.messages()).n()), (0, 1));
}

#[test]
fn a_process_that_starts_while_its_dead_are_on_their_way_gets_its_log() {
    let host = Host::new();
    let bench = Bench::new(host.config());
    bench.recorder.seen(&message("t", b"a", T0));
    drop(bench.stepper);
    let sink = MemorySink::new();
    sink.set(Behaviour::Hold);
    let mut courier = Courier::new(Box::new(|_| true));
    assert!(!courier.deliver(&[host.app()], &mut sink.clone(), Duration::from_millis(50)));
    let mut next = Bench::with(host.config(), sink.clone());
    sink.reset();
    next.recorder.seen(&message("t", b"b", T0));
    next.stepper.beat();
    next.stepper.beat();
    let collector = Collector::of(&sink.messages());
    assert_eq!((collector.n(), collector.divergent), (2, 0));
}

/// One step of a host whose process and whose courier die whenever they like.
#[derive(Debug, Clone)]
enum Act {
    Count(u8),
    Pass(u16),
    Die,
    Close,
    /// The courier works with a sink that behaves so, for a moment, and dies.
    Carry(Behaviour),
}

fn act() -> impl Strategy<Value = Act> {
    let behaviour = prop_oneof![
        Just(Behaviour::Store),
        Just(Behaviour::Fail),
        Just(Behaviour::StoreAndFail),
        Just(Behaviour::Hold),
        Just(Behaviour::Refuse),
    ];
    prop_oneof![
        4 => (0u8..3).prop_map(Act::Count),
        2 => (1u16..20_000).prop_map(Act::Pass),
        2 => Just(Act::Die),
        1 => Just(Act::Close),
        2 => behaviour.prop_map(Act::Carry),
    ]
}

/// What came to the collector, and how much was counted. `hasty`: whoever carries confirms without storing.
fn live(acts: &[Act], logged: bool, hasty: bool) -> (Vec<AuditMessage>, u64) {
    let host = Host::new();
    let config = || if logged { host.config() } else { Config { data_dir: None, ..host.config() } };
    let sink = MemorySink::new();
    let mut bench: Option<Bench> = None;
    let mut counted = 0;
    let carry = |behaviour, patience| {
        sink.set(behaviour);
        let mut courier = Courier::new(Box::new(|_| true));
        courier.deliver(&[host.app()], &mut sink.clone(), Duration::from_millis(patience));
        sink.reset();
    };
    for act in acts {
        match act {
            Act::Carry(_) if hasty => carry(Behaviour::Lose, 500),
            Act::Carry(behaviour) => carry(*behaviour, if *behaviour == Behaviour::Store { 500 } else { 1 }),
            Act::Die => drop(bench.take()),
            Act::Close => drop(bench.take().map(|b| b.stepper.close(Duration::ZERO))),
            Act::Count(topic) => {
                let bench = bench.get_or_insert_with(|| Bench::with(config(), sink.clone()));
                counted += 1;
                let now_ms = crate::Clock::now_ms(&*bench.clock);
                bench.recorder.seen(&message(["a", "b", "c"][usize::from(*topic)], b"x", now_ms));
            }
            Act::Pass(ms) => {
                // Nothing of what living processes send comes through.
                sink.set(Behaviour::Fail);
                if let Some(bench) = &mut bench {
                    bench.pass(i64::from(*ms));
                }
                sink.reset();
            }
        }
    }
    drop(bench);
    carry(if hasty { Behaviour::Lose } else { Behaviour::Store }, 5_000);
    (sink.messages(), counted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whoever_dies_and_whenever_every_message_is_counted_once(
        acts in proptest::collection::vec(act(), 1..24), logged: bool
    ) {
        let (messages, counted) = live(&acts, logged, false);
        let collector = Collector::of(&messages);
        prop_assert_eq!((collector.n(), collector.divergent), (counted, 0));
        prop_assert!(collector.states().all(|s| s.is_final && !s.flags.contains("crash")));
        for m in messages.iter().filter(|m| m.end == Some(End::Crash)) {
            prop_assert!(m.sum.is_none_or(|sum| sum == collector.sum(m.incarnation)), "an end that proves too much");
        }
    }
}

#[test]
fn a_courier_that_confirms_what_is_not_stored_loses() {
    let (messages, counted) = live(&[Act::Count(0), Act::Die, Act::Carry(Behaviour::Store)], true, true);
    assert_eq!((Collector::of(&messages).n(), counted), (0, 1), "the control must fail");
}
