//! Clocks, silence and lateness, on an injected clock: no false verdict, and no window that never settles.
//!
//! Producer → Kafka → consumer, second by second in broker time, where each of the three has a clock of its own. Beside
//! the store stands a control, who believes reporters' clocks and settles by the end of a window alone: in each scenario
//! it says something false, or says nothing for as long as the clocks are apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chaperone_audit::wire::AuditMessage;
use chaperone_collector::query::{HopWindow, WindowQuery};
use chaperone_collector::{Batch, Pipelines, StageKind, Store, Verdict};

use crate::sim::{
    Audit, GRACE_MS, Msg, SILENT_MS, START, SimLog, SimReporter, SimTap, item, memory, pipelines, source, stage,
    verdicts,
};

const STAGES: [&str; 3] = ["producer", "kafka", "consumer"];
const FIVE_MINUTES: i64 = 300_000;
const DAY: i64 = 86_400_000;
/// Every stage has been audited for so long.
const SINCE: i64 = START - 2 * DAY;

struct World {
    store: Arc<dyn Store>,
    pipelines: Pipelines,
    audit: Audit,
    now_ms: i64,
    /// How far the clock of each stage's host is ahead.
    ahead: [i64; 3],
    producer: SimReporter,
    tap: SimTap,
    consumer: SimReporter,
    log: SimLog,
    read: usize,
    next_id: u128,
    /// These messages never reach the broker, although it acked them.
    lost: BTreeSet<u128>,
    /// The broker does not answer: what is sent is in flight.
    frozen: bool,
    in_flight: Vec<Msg>,
    control: Control,
}

/// See the module's head.
#[derive(Default)]
struct Control {
    /// By its own clock, of each stage.
    watermarks: [Option<i64>; 3],
    /// Windows that it calls missing, by (hop, window).
    missing: BTreeSet<(usize, i64)>,
    /// How long after its end it first judged a window, ms.
    settled: BTreeMap<(usize, i64), i64>,
}

/// All that the reporter knows, closed by its own clock.
fn whole(r: &mut SimReporter, now_ms: i64) -> AuditMessage {
    r.close(now_ms);
    let all: Vec<u64> = r.slots.keys().copied().collect();
    r.beat_with(now_ms, all)
}

impl World {
    async fn new(ahead: [i64; 3]) -> Self {
        let kinds = [StageKind::Client, StageKind::Kafka, StageKind::Client];
        let stages = STAGES.iter().zip(kinds).map(|(name, kind)| stage(name, kind)).collect();
        let store = memory();
        let mut tap = SimTap::new(2, STAGES[1], "orders");
        tap.claim(&*store, 0, START).await;
        Self {
            store,
            pipelines: pipelines(stages),
            audit: Audit::default(),
            now_ms: START,
            ahead,
            producer: SimReporter::new(1, STAGES[0], "host-1", SINCE),
            tap,
            consumer: SimReporter::new(3, STAGES[2], "host-3", SINCE).seeing(),
            log: SimLog::new(1),
            read: 0,
            next_id: 0,
            lost: BTreeSet::new(),
            frozen: false,
            in_flight: vec![],
            control: Control::default(),
        }
    }

    fn clock(&self, stage: usize) -> i64 {
        self.now_ms + self.ahead[stage]
    }

    fn deliver(&mut self, m: &Msg) {
        self.producer.acked(m);
        if !self.lost.contains(&m.id) {
            self.log.append(0, *m, self.now_ms);
        }
    }

    /// A message with this event time is sent.
    fn send(&mut self, event_ms: i64) {
        self.next_id += 1;
        let m = Msg { id: self.next_id, topic: "orders", event_ms };
        self.producer.arrive(&m, self.clock(0));
        if self.frozen { self.in_flight.push(m) } else { self.deliver(&m) }
    }

    /// The consumer reads what is older than a second.
    fn consume(&mut self) {
        let now_ms = self.clock(2);
        while let Some((m, _)) = self.log.0[0].get(self.read).filter(|(_, at)| *at <= self.now_ms - 1_000) {
            self.consumer.arrive(m, now_ms);
            self.read += 1;
        }
        let position = i64::try_from(self.read).expect("small");
        self.consumer.positions.insert(("orders".to_owned(), 0), position);
    }

    /// What is reported in this second: by producer and tap every other one, by the consumer every tenth.
    fn reports(&mut self) -> Vec<AuditMessage> {
        let second = self.now_ms / 1_000;
        let mut messages = vec![];
        if second % 2 == 0 {
            messages.push(whole(&mut self.producer, self.now_ms + self.ahead[0]));
        } else {
            let now_ms = self.clock(1);
            messages.push(self.tap.beat(&self.log, now_ms));
        }
        if second % 10 == 9 {
            messages.push(whole(&mut self.consumer, self.now_ms + self.ahead[2]));
        }
        messages
    }

    /// One second passes: reports arrive, the judge judges, the control says what it thinks.
    async fn tick(&mut self) -> Vec<HopWindow> {
        self.now_ms += 1_000;
        self.consume();
        let messages = self.reports();
        for m in &messages {
            let stage = STAGES.iter().position(|s| *s == m.stage).expect("a stage");
            self.control.watermarks[stage] = Some(m.sent_ms);
        }
        self.audit.send(&*self.store, messages, self.now_ms).await;
        self.store.judge(self.now_ms, &self.pipelines).await.expect("judge");
        self.judge_by_control().await;
        verdicts(&*self.store, "orders").await
    }

    /// Ticks with four messages a second, by the producer's clock.
    async fn traffic(&mut self, seconds: usize, mut look: impl FnMut(&HopWindow)) {
        for _ in 0..seconds {
            for i in 0..4 {
                self.send(self.clock(0) + i * 200);
            }
            self.tick().await.iter().for_each(&mut look);
        }
    }

    /// Ticks without messages until nothing is pending.
    async fn until_settled(&mut self, at_most: usize, mut look: impl FnMut(&HopWindow)) {
        for _ in 0..at_most {
            let rows = self.tick().await;
            rows.iter().for_each(&mut look);
            if rows.iter().all(|w| !w.verdict.is_pending()) {
                assert_eq!(self.store.status().await.expect("status").pending, 0, "nothing is waited for");
                return;
            }
        }
        let waiting: Vec<_> =
            verdicts(&*self.store, "orders").await.into_iter().filter(|w| w.verdict.is_pending()).collect();
        panic!("after {at_most} s these have not settled: {waiting:?}");
    }

    async fn judge_by_control(&mut self) {
        let all = WindowQuery { topic: Some("orders".into()), from_ms: 0, to_ms: i64::MAX, limit: None };
        let totals = self.store.stage_windows(all).await.expect("totals");
        let count = |stage: &str, window_ms| {
            totals.iter().find(|t| t.stage == stage && t.window_ms == window_ms).map_or(0, |t| t.n)
        };
        for hop in 0..2 {
            let marks = [self.control.watermarks[hop], self.control.watermarks[hop + 1]];
            let Some(through_ms) = marks.into_iter().min().flatten() else { continue };
            for window in totals.iter().filter(|t| t.stage == STAGES[hop]) {
                let end_ms = window.window_ms + window.width_ms;
                if end_ms + GRACE_MS > through_ms {
                    continue;
                }
                self.control.settled.entry((hop, window.window_ms)).or_insert(self.now_ms - end_ms);
                if count(STAGES[hop + 1], window.window_ms) < window.n {
                    self.control.missing.insert((hop, window.window_ms));
                }
            }
        }
    }

    /// The windows that are not *ok*, by hop.
    async fn not_ok(&self) -> Vec<(usize, Verdict, u64)> {
        let rows = verdicts(&*self.store, "orders").await;
        let hop = |w: &HopWindow| STAGES.iter().position(|s| *s == w.from_stage).expect("a stage");
        rows.iter().filter(|w| w.verdict != Verdict::Ok).map(|w| (hop(w), w.verdict, w.missing_min)).collect()
    }
}

fn never_red(w: &HopWindow) {
    assert!(!w.verdict.is_red(), "{w:?}");
}

#[tokio::test]
async fn hosts_that_are_five_minutes_fast_or_slow_say_nothing_false_and_settle() {
    const FAST: i64 = FIVE_MINUTES;
    const SLOW: i64 = -FIVE_MINUTES;
    for ahead in [
        [FAST, 0, 0],
        [SLOW, 0, 0],
        [0, FAST, 0],
        [0, SLOW, 0],
        [0, 0, FAST],
        [0, 0, SLOW],
        [FAST, SLOW, FAST],
        [SLOW, FAST, SLOW],
    ] {
        for lost in [0, 2] {
            let mut world = World::new(ahead).await;
            world.lost = (100..100 + lost).collect();
            let look = |w: &HopWindow| {
                let right =
                    lost == 2 && w.verdict == Verdict::Missing && w.missing_min == 2 && w.from_stage == STAGES[0];
                assert!(right || !w.verdict.is_red(), "{ahead:?}: {w:?}");
            };
            world.traffic(45, look).await;
            // A fast producer's windows end when its clock says so.
            world.until_settled(330, look).await;
            let expected = if lost == 2 { vec![(0, Verdict::Missing, 2)] } else { vec![] };
            assert_eq!(world.not_ok().await, expected, "{ahead:?}");
            if ahead == [0, 0, FAST] {
                let control = &world.control.missing;
                assert!(control.iter().filter(|(hop, _)| *hop == 1).count() >= 2, "believing it is false: {control:?}");
            }
            if ahead == [0, 0, SLOW] {
                let after = |w: &HopWindow| w.settled_ms.expect("settled") - w.window_ms - w.width_ms;
                let slowest = verdicts(&*world.store, "orders").await.iter().map(after).max();
                assert!(slowest < Some(25_000), "{slowest:?}");
                assert!(!world.control.settled.keys().any(|(hop, _)| *hop == 1), "who believes it waits five minutes");
            }
        }
    }
}

/// For 45 s a process consumes of whom nobody has heard: its reports lie in an audit partition that is read late. Then
/// one that is known goes on behind it, and its positions say that everything before was passed.
#[tokio::test]
async fn an_unknown_reporter_behind_intake_lag_is_waited_for() {
    for known in [true, false] {
        let mut world = World::new([0; 3]).await;
        if known {
            world.store.audit_through(vec![(source(1), START).into()]).await.expect("through");
        }
        let mut unknown = SimReporter::new(77, STAGES[2], "unknown", SINCE).seeing();
        let (mut late, mut red) = (vec![], false);
        for second in 0..90 {
            for i in 0..4 {
                world.send(world.now_ms + i * 200);
            }
            if second < 45 {
                std::mem::swap(&mut world.consumer, &mut unknown);
                world.now_ms += 1_000;
                world.consume();
                world.now_ms -= 1_000;
                std::mem::swap(&mut world.consumer, &mut unknown);
                world.consumer.positions.clear();
            }
            let rows = world.tick().await;
            if second < 46 {
                world.consumer.positions.clear();
            }
            late.push((whole(&mut unknown, world.now_ms), world.now_ms));
            red |= rows.iter().any(|w| w.verdict.is_red());
            let judged = rows.iter().filter(|w| w.from_stage == STAGES[1] && !w.verdict.is_pending()).count();
            assert!(!known || judged == 0, "nothing is said before the partition is read: {rows:?}");
        }
        assert_eq!(red, !known, "a judge who does not know of the partition, the control, calls its messages missing");
        let items: Vec<_> = late.into_iter().zip(0..).map(|((m, at), offset)| item(offset, m, at)).collect();
        let next = i64::try_from(items.len()).expect("small");
        world.store.apply(Batch { source: source(1), log: 0, from: None, items, next }).await.expect("apply");
        for _ in 0..40 {
            world.store.audit_through(vec![(source(1), world.now_ms).into()]).await.expect("through");
            world.tick().await;
        }
        assert_eq!(world.not_ok().await, [], "known: {known}");
    }
}

/// Every ten seconds the consumer's pod is gone without a word, and another with another name goes on.
#[tokio::test]
async fn pods_that_vanish_make_nothing_red_and_hold_nothing_up() {
    for reported in [true, false] {
        let mut world = World::new([0; 3]).await;
        for pod in 0..6u64 {
            // The pod reports in the ninth second; what it counts in the tenth goes with it.
            world.traffic(if reported { 9 } else { 10 }, never_red).await;
            let positions = world.consumer.positions.clone();
            world.consumer = SimReporter::new(100 + pod, STAGES[2], "another", SINCE + DAY).seeing();
            world.consumer.positions = positions;
            if reported {
                world.traffic(1, never_red).await;
            }
        }
        for _ in 0..SILENT_MS / 1_000 {
            world.tick().await.iter().for_each(never_red);
        }
        world.until_settled(30, never_red).await;
        let not_ok = world.not_ok().await;
        assert!(not_ok.iter().all(|(hop, verdict, _)| (*hop, *verdict) == (1, Verdict::Uncertain)), "{not_ok:?}");
        if reported {
            assert_eq!(not_ok, [], "everything was told before they vanished");
        } else {
            assert!(not_ok.len() >= 5, "{not_ok:?}");
            assert!(world.control.missing.len() >= 5, "counts alone call it missing: {:?}", world.control.missing);
        }
    }
}

#[tokio::test]
async fn a_backfill_of_a_million_messages_of_yesterday_is_judged_when_it_has_arrived() {
    const SECONDS: usize = 40;
    const MESSAGES: usize = 1_000_000;
    for lost in [3, 0] {
        let mut world = World::new([0; 3]).await;
        world.lost = (500_100..500_100 + lost).collect();
        let look = |w: &HopWindow| {
            let right = lost == 3 && w.verdict == Verdict::Missing && w.missing_min == 3;
            assert!(right || !w.verdict.is_red(), "{w:?}");
        };
        // Over five minutes of yesterday, in order; once round for each ten seconds of now, so that every window gets more
        // and more for as long as it lasts.
        let rounds = SECONDS / 10;
        let each = if lost == 3 { MESSAGES } else { MESSAGES / 100 } / SECONDS;
        for second in 0..SECONDS {
            let part = i64::try_from(second % (SECONDS / rounds)).expect("small");
            for i in 0..each {
                let within = i64::try_from(i * 30_000 / each).expect("small");
                world.send(START - DAY + part * 30_000 + within);
            }
            world.tick().await.iter().for_each(look);
        }
        world.until_settled(60, look).await;
        let expected = if lost == 3 { vec![(0, Verdict::Missing, 3)] } else { vec![] };
        assert_eq!(world.not_ok().await, expected);
        let rows = verdicts(&*world.store, "orders").await;
        assert_eq!(rows.len(), 2 * 30);
        assert!(world.control.missing.len() > 20, "settling by the window's end alone is false all the time");
    }
}

#[tokio::test]
async fn what_is_in_flight_for_five_minutes_is_waited_for_and_then_judged() {
    for delivered in [true, false] {
        let mut world = World::new([0; 3]).await;
        world.traffic(10, never_red).await;
        world.frozen = true;
        world.traffic(10, never_red).await;
        let mut waited = BTreeSet::new();
        for _ in 0..FIVE_MINUTES / 1_000 {
            for w in world.tick().await {
                never_red(&w);
                if w.verdict == Verdict::Settling && w.why.contains("in flight upstream") {
                    waited.insert(w.window_ms);
                }
            }
        }
        assert!(!waited.is_empty(), "it says what it waits for");
        world.frozen = false;
        for m in std::mem::take(&mut world.in_flight) {
            if delivered { world.deliver(&m) } else { world.producer.failed(&m) }
        }
        world.until_settled(60, never_red).await;
        assert_eq!(world.not_ok().await, []);
        let rows = verdicts(&*world.store, "orders").await;
        assert!(rows.iter().all(|w| w.amendments == 0), "nothing was said before it was known: {rows:?}");
        assert!(!world.control.missing.is_empty(), "what is attempted and not seen, the control, is called missing");
    }
}
