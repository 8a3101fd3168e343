//! A five-stage pipeline second by second: two producers, a proxy, two Kafka clusters, a consumer, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chaperone_collector::query::HopWindow;
use chaperone_collector::{Pipelines, StageKind, Store, Verdict};

use crate::sim::{Audit, GRACE_MS, Msg, START, SimLog, SimReporter, SimTap, memory, pipelines, stage, verdicts};

pub(crate) const STAGES: [&str; 5] = ["producer", "proxy", "kafka:sjc", "kafka:agg", "consumer"];
/// Messages per second.
const RATE: u128 = 5;

/// What a hop does to the messages of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Loss(u64),
    Dup(u64),
    /// As many lost as doubled.
    Masked(u64),
}

pub(crate) struct Crowd {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pipelines: Pipelines,
    pub(crate) now_ms: i64,
    pub(crate) producers: Vec<SimReporter>,
    pub(crate) proxy: SimReporter,
    pub(crate) consumer: SimReporter,
    pub(crate) logs: [SimLog; 2],
    pub(crate) taps: [SimTap; 2],
    /// By (hop, seconds since the start of the window's start).
    pub(crate) faults: BTreeMap<(usize, i64), Fault>,
    pub(crate) mute: BTreeSet<&'static str>,
    /// The consumer does not read on.
    pub(crate) stalled: bool,
    audit: Audit,
    seen: BTreeMap<(usize, i64), u64>,
    consumed: [usize; 2],
    next_id: u128,
}

impl Crowd {
    pub(crate) async fn new() -> Self {
        let kinds = [StageKind::Client, StageKind::Client, StageKind::Kafka, StageKind::Kafka, StageKind::Client];
        let stages = STAGES.iter().zip(kinds).map(|(name, kind)| stage(name, kind)).collect();
        let store = memory();
        let before = START - 1;
        let mut taps = [SimTap::new(21, STAGES[2], "orders"), SimTap::new(22, STAGES[3], "orders")];
        for tap in &mut taps {
            for partition in 0..2 {
                tap.claim(&*store, partition, START).await;
            }
        }
        Self {
            store,
            pipelines: pipelines(stages),
            now_ms: START,
            producers: vec![
                SimReporter::new(1, STAGES[0], "host-1", before),
                SimReporter::new(2, STAGES[0], "host-2", before),
            ],
            proxy: SimReporter::new(3, STAGES[1], "host-3", before).seeing(),
            consumer: SimReporter::new(4, STAGES[4], "host-4", before).seeing(),
            logs: [SimLog::new(2), SimLog::new(2)],
            taps,
            faults: BTreeMap::new(),
            mute: BTreeSet::new(),
            stalled: false,
            audit: Audit::default(),
            seen: BTreeMap::new(),
            consumed: [0; 2],
            next_id: 0,
        }
    }

    /// How many copies of a message come out of a hop.
    fn copies(&mut self, hop: usize, m: &Msg) -> usize {
        let window = (m.window().0 - START) / 1000;
        let seen = self.seen.entry((hop, window)).or_default();
        *seen += 1;
        match self.faults.get(&(hop, window)) {
            Some(Fault::Loss(n)) if *seen <= *n => 0,
            Some(Fault::Dup(n)) if *seen <= *n => 2,
            Some(Fault::Masked(n)) if *seen <= *n => 0,
            Some(Fault::Masked(n)) if *seen <= 2 * *n => 2,
            _ => 1,
        }
    }

    /// One second of messages. Each goes all the way at once, but for the consumer, who reads what is a second old.
    fn traffic(&mut self) {
        for i in 0..RATE {
            self.next_id += 1;
            let ms = i64::try_from(i).expect("small");
            let m = Msg { id: self.next_id, topic: "orders", event_ms: self.now_ms - 150 * ms - 10 };
            let who = usize::try_from(self.next_id % 2).expect("small");
            self.producers[who].arrive(&m, self.now_ms - 5);
            self.producers[who].acked(&m);
            let partition = usize::try_from(self.next_id / 2 % 2).expect("small");
            for _ in 0..self.copies(0, &m) {
                self.proxy.arrive(&m, self.now_ms - 4);
                for _ in 0..self.copies(1, &m) {
                    self.logs[0].append(partition, m, self.now_ms - 3);
                    for _ in 0..self.copies(2, &m) {
                        self.logs[1].append(partition, m, self.now_ms - 2);
                    }
                }
            }
        }
        if !self.stalled {
            self.consume();
        }
    }

    fn consume(&mut self) {
        for partition in 0..2 {
            let unread = self.logs[1].0[partition][self.consumed[partition]..].to_vec();
            for (m, append_ms) in unread {
                if append_ms > self.now_ms - 1_000 {
                    break;
                }
                for _ in 0..self.copies(3, &m) {
                    self.consumer.arrive(&m, self.now_ms - 1);
                }
                self.consumed[partition] += 1;
            }
            let position = i64::try_from(self.consumed[partition]).expect("small");
            let key = ("orders".to_owned(), i32::try_from(partition).expect("small"));
            self.consumer.positions.insert(key, position);
        }
    }

    /// One second: messages, reports (each process every other second), the judge.
    pub(crate) async fn tick(&mut self) {
        self.now_ms += 1_000;
        self.traffic();
        let now_ms = self.now_ms;
        let mut messages = vec![];
        if now_ms / 1_000 % 2 == 0 {
            messages.extend(self.producers.iter_mut().map(|p| p.beat(now_ms)));
            messages.push(self.proxy.beat(now_ms));
        } else {
            messages.push(self.consumer.beat(now_ms));
            let [a, b] = &mut self.taps;
            messages.extend([a.beat(&self.logs[0], now_ms), b.beat(&self.logs[1], now_ms)]);
        }
        let mute = &self.mute;
        messages.retain(|m| !mute.contains(m.reporter.host.as_str()) && !mute.contains(m.stage.as_str()));
        self.audit.send(&*self.store, messages, now_ms).await;
        self.store.judge(now_ms, &self.pipelines).await.expect("judge");
    }

    /// Ticks, and looks at every verdict after each.
    pub(crate) async fn run(&mut self, seconds: u32, mut look: impl FnMut(i64, &HopWindow)) {
        for _ in 0..seconds {
            self.tick().await;
            for w in self.rows().await {
                look(self.now_ms, &w);
            }
        }
    }

    pub(crate) async fn rows(&self) -> Vec<HopWindow> {
        verdicts(&*self.store, "orders").await
    }

    /// Sends one message outside the beat.
    pub(crate) async fn send(&mut self, m: chaperone_audit::AuditMessage) {
        self.audit.send(&*self.store, vec![m], self.now_ms).await;
    }
}

pub(crate) fn hop_of(w: &HopWindow) -> usize {
    STAGES.iter().position(|s| *s == w.from_stage).expect("a stage")
}

pub(crate) fn second_of(w: &HopWindow) -> i64 {
    (w.window_ms - START) / 1000
}

pub(crate) fn is_settled(w: &HopWindow) -> bool {
    !w.verdict.is_pending() && w.verdict != Verdict::NoReport
}

#[tokio::test]
async fn each_fault_is_named_at_its_hop_and_nowhere_else_and_nothing_is_settled_early() {
    let mut crowd = Crowd::new().await;
    let faults = [
        ((0, 20), Fault::Loss(3)),
        ((1, 20), Fault::Masked(2)),
        ((2, 30), Fault::Loss(5)),
        ((3, 30), Fault::Dup(4)),
        ((1, 40), Fault::Dup(1)),
        ((2, 70), Fault::Masked(1)),
        ((3, 50), Fault::Loss(1)),
        ((0, 50), Fault::Dup(2)),
        ((1, 60), Fault::Loss(2)),
    ];
    crowd.faults.extend(faults);
    let expected = crowd.faults.clone();
    let mut first_settled = BTreeMap::new();
    let mut looked = 0;
    crowd
        .run(120, |now_ms, w| {
            if !is_settled(w) {
                return;
            }
            looked += 1;
            let place = (hop_of(w), second_of(w));
            first_settled.entry(place).or_insert(now_ms - w.window_ms - w.width_ms);
            assert!(now_ms >= w.window_ms + w.width_ms + GRACE_MS, "early: {w:?}");
            let said = (w.verdict, w.missing_min, w.surplus_min);
            let right = match expected.get(&place) {
                None => (Verdict::Ok, 0, 0),
                Some(Fault::Loss(n)) => (Verdict::Missing, *n, 0),
                Some(Fault::Dup(n)) => (Verdict::Surplus, 0, *n),
                Some(Fault::Masked(_)) => (Verdict::Mixed, 0, 0),
            };
            assert_eq!(said, right, "{place:?}: {}", w.why);
            assert_eq!(w.caveats, [], "{w:?}");
            assert_eq!(w.amendments, 0, "{w:?}");
        })
        .await;
    assert!(first_settled.len() >= 4 * 10 && looked > 1000, "{} {looked}", first_settled.len());
    let slowest = first_settled.values().max().expect("some");
    assert!(*slowest <= GRACE_MS + 5_000, "settled {slowest} ms after the window's end");
}

#[tokio::test]
async fn a_stalled_consumer_is_delay_and_never_loss_and_catching_up_amends() {
    let mut crowd = Crowd::new().await;
    let mut seen = BTreeSet::new();
    crowd.run(20, |_, _| {}).await;
    crowd.stalled = true;
    let mut never_red = |_: i64, w: &HopWindow| {
        assert!(!w.verdict.is_red(), "{w:?}");
        if hop_of(w) == 3 && is_settled(w) {
            seen.insert(w.verdict);
        }
    };
    crowd.run(40, &mut never_red).await;
    assert!(crowd.rows().await.iter().any(|w| w.verdict == Verdict::Delayed && w.delayed == 50));
    crowd.stalled = false;
    crowd.run(20, &mut never_red).await;
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [Verdict::Ok, Verdict::Delayed]);
    let rows = crowd.rows().await;
    let caught_up: Vec<_> = rows.iter().filter(|w| hop_of(w) == 3 && (20..50).contains(&second_of(w))).collect();
    assert_eq!(caught_up.len(), 3);
    for w in caught_up {
        assert_eq!((w.verdict, w.delayed), (Verdict::Ok, 0), "{w:?}");
        assert!(w.amendments >= 1 && w.settled_ms.is_some(), "{w:?}");
    }
}

#[tokio::test]
async fn a_reporter_that_vanishes_makes_nothing_red_and_its_return_amends() {
    for (host, hop, side) in [("host-1", 0, "upstream"), ("host-3", 1, "upstream"), ("host-4", 3, "downstream")] {
        let mut crowd = Crowd::new().await;
        crowd.run(25, |_, _| {}).await;
        // Its messages go on, but nothing is heard of it for 35 seconds.
        crowd.mute.insert(host);
        let mut uncertain = 0;
        crowd
            .run(35, |_, w| {
                assert!(!w.verdict.is_red(), "{host}: {w:?}");
                if w.verdict == Verdict::Uncertain && hop_of(w) == hop {
                    uncertain += 1;
                    let gone = format!("reporter gone {side}");
                    assert!(w.caveats.iter().any(|c| c.to_string() == gone), "{w:?}");
                }
            })
            .await;
        assert!(uncertain > 0, "{host} is gone, which must show at hop {hop}");
        let now_ms = crowd.now_ms;
        let states: Vec<_> = crowd.store.reporters(now_ms).await.expect("reporters");
        let gone: Vec<_> = states.iter().filter(|r| r.state == "gone").map(|r| r.host.as_str()).collect();
        assert_eq!(gone, [host]);
        crowd.mute.clear();
        crowd.run(20, |_, _| {}).await;
        for w in crowd.rows().await.iter().filter(|w| (0..60).contains(&second_of(w))) {
            assert_eq!(w.verdict, Verdict::Ok, "{host}: {w:?}");
        }
    }
}

#[tokio::test]
async fn a_reporter_that_dies_with_counts_makes_nothing_red() {
    for who in 0..3 {
        let mut crowd = Crowd::new().await;
        crowd.run(25, |_, _| {}).await;
        // One more second of messages that it counts and never reports; then others take over.
        let host = ["host-1", "host-3", "host-4"][who];
        crowd.mute.insert(host);
        crowd.run(1, |_, _| {}).await;
        let heir = |stage| SimReporter::new(90, stage, "heir", crowd.now_ms);
        match who {
            0 => crowd.producers[0] = heir(STAGES[0]),
            1 => crowd.proxy = heir(STAGES[1]).seeing(),
            _ => {
                let positions = crowd.consumer.positions.clone();
                crowd.consumer = heir(STAGES[4]).seeing();
                crowd.consumer.positions = positions;
            }
        }
        let mut uncertain = 0;
        crowd
            .run(80, |_, w| {
                assert!(!w.verdict.is_red(), "{host}: {w:?}");
                uncertain += u32::from(w.verdict == Verdict::Uncertain);
            })
            .await;
        assert!(uncertain > 0, "{host}: counts were lost, which must show");
        for w in crowd.rows().await.iter().filter(|w| (30..90).contains(&second_of(w))) {
            assert_eq!(w.verdict, Verdict::Ok, "{host}: only the windows of its last seconds suffer: {w:?}");
        }
    }
}

#[tokio::test]
async fn a_consumer_that_dies_while_it_lags_makes_nothing_red() {
    let mut crowd = Crowd::new().await;
    crowd.run(20, |_, _| {}).await;
    crowd.stalled = true;
    crowd.run(70, |_, _| {}).await;
    // It reads the backlog, and dies before it reports any of it; its heir goes on behind it.
    crowd.stalled = false;
    crowd.mute.insert("host-4");
    crowd.run(1, |_, w| assert!(!w.verdict.is_red(), "{w:?}")).await;
    let positions = crowd.consumer.positions.clone();
    crowd.consumer = SimReporter::new(90, STAGES[4], "heir", crowd.now_ms).seeing();
    crowd.consumer.positions = positions;
    crowd.run(80, |_, w| assert!(!w.verdict.is_red(), "{w:?}")).await;
    let rows = crowd.rows().await;
    let backlog: Vec<_> = rows.iter().filter(|w| hop_of(w) == 3 && (30..60).contains(&second_of(w))).collect();
    assert!(backlog.len() == 3 && backlog.iter().all(|w| w.verdict == Verdict::Uncertain), "{backlog:?}");
}

#[tokio::test]
async fn a_silent_tap_is_waited_for_by_name() {
    let mut crowd = Crowd::new().await;
    crowd.run(25, |_, _| {}).await;
    crowd.mute.insert(STAGES[3]);
    crowd.run(60, |_, w| assert!(!w.verdict.is_red(), "{w:?}")).await;
    let rows = crowd.rows().await;
    let waiting: Vec<_> = rows.iter().filter(|w| hop_of(w) == 2 && second_of(w) == 40).collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].verdict, Verdict::Settling);
    assert!(waiting[0].why.contains("the tap of kafka:agg"), "{}", waiting[0].why);
    // It sees `next` stand still and claims again; nothing was lost.
    crowd.mute.clear();
    for partition in 0..2 {
        let (store, now_ms) = (Arc::clone(&crowd.store), crowd.now_ms);
        crowd.taps[1].claim(&*store, partition, now_ms).await;
    }
    crowd.run(20, |_, w| assert!(!w.verdict.is_red(), "{w:?}")).await;
    assert!(crowd.rows().await.iter().filter(|w| second_of(w) < 70).all(|w| w.verdict == Verdict::Ok));
}

#[tokio::test]
async fn a_clean_goodbye_is_not_missed() {
    let mut crowd = Crowd::new().await;
    crowd.run(25, |_, _| {}).await;
    let goodbye = crowd.producers[1].goodbye(crowd.now_ms);
    crowd.send(goodbye).await;
    crowd.mute.insert("host-2");
    // Whatever host-2 had still sent would be uncounted: stop all traffic of it by moving it to host-1.
    let mut other = SimReporter::new(9, STAGES[0], "host-2b", START - 1);
    std::mem::swap(&mut crowd.producers[1], &mut other);
    crowd.run(60, |_, w| assert!(!w.verdict.is_red() && w.verdict != Verdict::Uncertain, "{w:?}")).await;
    assert!(crowd.rows().await.iter().filter(|w| second_of(w) < 60).all(|w| w.verdict == Verdict::Ok));
    let states = crowd.store.reporters(crowd.now_ms).await.expect("reporters");
    assert!(states.iter().any(|r| r.host == "host-2" && r.state == "goodbye"), "{states:?}");
}
