//! Verdicts that hang on one caveat, one condition, one configuration each.

use chaperone_audit::state::flag;
use chaperone_audit::wire::{AuditMessage, End, OVERFLOW_TOPIC};
use chaperone_audit::{Class, Width};
use chaperone_collector::query::HopWindow;
use chaperone_collector::{Pipelines, StageKind, Store, Verdict};
use std::sync::Arc;

use crate::sim::{
    Audit, GRACE_MS, Msg, SILENT_MS, START, SimLog, SimReporter, SimTap, client_hop, memory, pipelines, stage, verdicts,
};

/// Producer → consumer, one window of ten messages.
pub(crate) struct Pair {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pipelines: Pipelines,
    pub(crate) producer: SimReporter,
    pub(crate) consumer: SimReporter,
    audit: Audit,
}

impl Pair {
    /// `lost` of ten messages do not arrive; only the producer's and the consumer's counts know yet.
    pub(crate) fn new(lost: u128) -> Self {
        let mut producer = SimReporter::new(1, "producer", "host-1", START - 1);
        let mut consumer = SimReporter::new(2, "consumer", "host-2", START - 1).seeing();
        for id in 1..=10 {
            let m = Msg { id, topic: "orders", event_ms: START + 100 };
            producer.arrive(&m, START + 110);
            producer.acked(&m);
            if id > lost {
                consumer.arrive(&m, START + 120);
            }
        }
        Self { store: memory(), pipelines: client_hop(), producer, consumer, audit: Audit::default() }
    }

    async fn send(&mut self, messages: Vec<AuditMessage>, at_ms: i64) {
        self.audit.send(&*self.store, messages, START + at_ms).await;
    }
    pub(crate) async fn beats(&mut self, at_ms: i64) {
        let beats = vec![self.producer.beat(START + at_ms), self.consumer.beat(START + at_ms)];
        self.send(beats, at_ms).await;
    }
    /// The same with windows of any time.
    pub(crate) async fn beats_of_all(&mut self, at_ms: i64) {
        let beats = [&mut self.producer, &mut self.consumer].map(|reporter| {
            reporter.close(START + at_ms);
            let ids: Vec<u64> = reporter.slots.keys().copied().collect();
            reporter.beat_with(START + at_ms, ids)
        });
        self.send(beats.into(), at_ms).await;
    }
    async fn judge(&self, at_ms: i64) -> HopWindow {
        self.store.judge(START + at_ms, &self.pipelines).await.expect("judge");
        let rows = verdicts(&*self.store, "orders").await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.into_iter().next().expect("one")
    }
    pub(crate) async fn settled(&mut self) -> HopWindow {
        self.beats(20_000).await;
        self.judge(20_000).await
    }
}

pub(crate) fn caveats(w: &HopWindow) -> Vec<String> {
    w.caveats.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn open_then_settling_by_name_then_settled() {
    let mut p = Pair::new(3);
    p.beats(5_000).await;
    assert_eq!(p.judge(9_999).await.verdict, Verdict::Open);
    assert!(p.judge(11_000).await.why.contains("awaited: late arrivals until"));
    let w = p.judge(13_000).await;
    assert_eq!(w.verdict, Verdict::Settling);
    for name in ["reports of producer on host-1", "reports of consumer on host-2", "audit partition chaperone-audit/0"]
    {
        assert!(w.why.contains(name), "{}", w.why);
    }
    // One of two reporters, then both: settled only then.
    let beat = p.producer.beat(START + 12_000);
    p.send(vec![beat], 12_000).await;
    let w = p.judge(13_500).await;
    assert!(w.why.contains("consumer on host-2") && !w.why.contains("producer on"), "{}", w.why);
    p.beats(12_100).await;
    let w = p.judge(14_000).await;
    assert_eq!((w.verdict, w.missing_min, w.settled_ms), (Verdict::Missing, 3, Some(START + 14_000)));
    assert_eq!(caveats(&w), [""; 0]);
}

#[tokio::test]
async fn an_audit_partition_that_is_behind_holds_everything_back() {
    let mut p = Pair::new(0);
    p.store.audit_through(vec![(crate::sim::source(7), START).into()]).await.expect("through");
    p.beats(20_000).await;
    let w = p.judge(20_000).await;
    assert!(w.verdict == Verdict::Settling && w.why.contains("audit partition chaperone-audit/7"), "{}", w.why);
    p.store.audit_through(vec![(crate::sim::source(7), START + 20_000).into()]).await.expect("through");
    // Old news does not take anything back.
    p.store.audit_through(vec![(crate::sim::source(7), START + 1_000).into()]).await.expect("through");
    assert_eq!(p.store.status().await.expect("status").applied_through_ms, Some(START + 20_000));
    assert_eq!(p.judge(21_000).await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn slots_that_a_vanished_reporter_left_open_are_said_however_old_their_window() {
    let mut p = Pair::new(0);
    p.producer.arrive(&Msg { id: 99, topic: "orders", event_ms: START + 500 }, START + 600);
    p.beats(60_000).await;
    assert!(p.judge(60_000).await.why.contains("1 message in flight upstream"));
    let beat = p.consumer.beat(START + 100_000);
    p.send(vec![beat], 100_000).await;
    let w = p.judge(100_000).await;
    assert_eq!((w.verdict, caveats(&w)), (Verdict::Ok, vec!["reporter gone upstream".to_owned()]), "{}", w.why);
}

#[tokio::test]
async fn a_record_is_judged_at_once_however_long_its_window_has_waited() {
    let mut p = Pair::new(0);
    p.pipelines = pipelines(vec![stage("producer", StageKind::Client), stage("consumer", StageKind::Kafka)]);
    p.consumer.stage = "elsewhere";
    let mut tap = SimTap::new(9, "consumer", "orders");
    let mut log = SimLog::new(1);
    tap.claim(&*p.store, 0, START).await;
    for id in 1..=10 {
        log.append(0, Msg { id, topic: "orders", event_ms: START + 100 }, START + 120);
    }
    p.beats(100_000).await;
    let held = |mut m: AuditMessage| {
        m.marks[0].held_since_ms = Some(START);
        m
    };
    let beat = AuditMessage { intervals: vec![], ..held(tap.beat(&SimLog::new(1), START + 100_000)) };
    p.send(vec![beat], 100_000).await;
    assert_eq!(p.judge(100_000).await.verdict, Verdict::Uncertain, "the next look is due in seconds");
    let beat = tap.beat(&log, START + 100_001);
    p.send(vec![beat], 100_001).await;
    let beat = p.producer.beat(START + 103_000);
    let mark = tap.beat(&log, START + 103_000);
    p.send(vec![beat, mark], 103_000).await;
    assert_eq!(p.judge(100_002).await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn what_is_in_flight_is_awaited_and_what_is_in_doubt_is_not_proof() {
    let mut p = Pair::new(0);
    let late = Msg { id: 99, topic: "orders", event_ms: START + 500 };
    p.producer.arrive(&late, START + 600);
    p.beats(20_000).await;
    let w = p.judge(20_000).await;
    assert!(w.verdict == Verdict::Settling && w.why.contains("1 message in flight upstream"), "{}", w.why);
    // The process gives up on it: the slot is final, the message in doubt.
    p.producer.slots.values_mut().for_each(|r| r.state.is_final = true);
    p.beats(21_000).await;
    let w = p.judge(21_000).await;
    assert_eq!(w.verdict, Verdict::Ok, "all that was acked arrived, and nothing else: {}", w.why);
    // Something of unknown identity arrives in its place.
    p.consumer.arrive(&Msg { id: 77, ..late }, START + 700);
    p.beats(22_000).await;
    let w = p.judge(22_000).await;
    assert_eq!(w.verdict, Verdict::Unproven, "{}", w.why);
}

/// Acknowledged long after grace, so that the downstream stage is past the window when it has not seen the message yet.
#[tokio::test]
async fn what_was_acknowledged_late_is_absent_only_when_downstream_has_come_so_far() {
    for arrives in [true, false] {
        let mut p = Pair::new(0);
        let slow = Msg { id: 99, topic: "orders", event_ms: START + 9_900 };
        p.producer.arrive(&slow, START + 9_900);
        p.beats(15_000).await;
        assert!(p.judge(15_000).await.why.contains("1 message in flight upstream"));
        p.producer.acked(&slow);
        let beat = p.producer.beat(START + 20_000);
        p.send(vec![beat], 20_000).await;
        let w = p.judge(20_500).await;
        assert!(w.verdict == Verdict::Settling && w.why.contains("consumer on host-2"), "{:?}: {}", w.verdict, w.why);
        // Nothing new from upstream: it is not waited for again.
        let beat = p.producer.beat(START + 21_500);
        p.send(vec![beat], 21_500).await;
        if arrives {
            p.consumer.arrive(&slow, START + 20_400);
        }
        let beat = p.consumer.beat(START + 20_600);
        p.send(vec![beat], 21_600).await;
        let w = p.judge(22_000).await;
        let want = if arrives { (Verdict::Ok, 0) } else { (Verdict::Missing, 1) };
        assert_eq!((w.verdict, w.missing_min), want, "{}", w.why);
    }
}

#[tokio::test]
async fn what_failed_upstream_is_not_missed_and_what_failed_downstream_is_not_there() {
    let mut p = Pair::new(0);
    let m = Msg { id: 99, topic: "orders", event_ms: START + 500 };
    p.producer.arrive(&m, START + 600);
    p.producer.failed(&m);
    assert_eq!(p.settled().await.verdict, Verdict::Ok);
    // A downstream stage that produces: what it could not pass on is not there.
    let mut p = Pair::new(10);
    p.consumer = SimReporter::new(3, "consumer", "host-2", START - 1);
    for id in 1..=10 {
        let m = Msg { id, topic: "orders", event_ms: START + 100 };
        p.consumer.arrive(&m, START + 120);
        if id == 4 { p.consumer.failed(&m) } else { p.consumer.acked(&m) }
    }
    let w = p.settled().await;
    assert_eq!((w.verdict, w.missing_min), (Verdict::Missing, 1));
    // One more came in than it could pass on: what is there is what upstream sent.
    p.consumer = SimReporter::new(4, "consumer", "host-2", START - 1);
    p.store = memory();
    p.audit = Audit::default();
    for id in 1..=11 {
        let m = Msg { id, topic: "orders", event_ms: START + 100 };
        p.consumer.arrive(&m, START + 120);
        if id == 11 { p.consumer.failed(&m) } else { p.consumer.acked(&m) }
    }
    let w = p.settled().await;
    assert_eq!(w.verdict, Verdict::Ok, "{}", w.why);
}

#[tokio::test]
async fn windows_before_the_audit_began_are_not_judged() {
    for (who, said) in [(0, "not audited yet upstream"), (1, "not audited yet downstream")] {
        let mut p = Pair::new(3);
        let of = if who == 0 { &mut p.producer } else { &mut p.consumer };
        of.since_ms = START + 1;
        let w = p.settled().await;
        assert_eq!((w.verdict, caveats(&w)), (Verdict::Uncertain, vec![said.to_owned()]));
    }
    // Proven by ids is proven all the same.
    let mut p = Pair::new(0);
    p.consumer.since_ms = START + 1;
    assert_eq!(p.settled().await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn an_overflow_slot_casts_doubt_on_every_topic_of_its_stage() {
    let mut p = Pair::new(3);
    let overflow = Msg { id: 5, topic: OVERFLOW_TOPIC, event_ms: START + 100 };
    p.consumer.flags.push(flag::OVERFLOW);
    p.consumer.arrive(&overflow, START + 120);
    let w = p.settled().await;
    assert_eq!((w.verdict, caveats(&w)), (Verdict::Uncertain, vec!["overflow downstream".to_owned()]));
    // The producer's own overflow cannot excuse what is absent downstream.
    let mut p = Pair::new(3);
    p.producer.flags.push(flag::OVERFLOW);
    p.producer.arrive(&overflow, START + 120);
    p.producer.acked(&overflow);
    let w = p.settled().await;
    assert_eq!((w.verdict, w.missing_min), (Verdict::Missing, 3));
    assert_eq!(caveats(&w), ["overflow upstream"]);
}

/// The broker's own time puts messages into other windows than everybody else's: nothing can be compared, not even
/// where none of them is.
#[tokio::test]
async fn where_the_broker_rewrites_times_nothing_is_red() {
    let mut p = Pair::new(3);
    let control = p.settled().await;
    assert_eq!((control.verdict, control.missing_min), (Verdict::Missing, 3));
    // The window is judged already; a minute later the consumer sees the first message with the broker's time.
    let late = Msg { id: 20, topic: "orders", event_ms: START + 60_000 };
    p.producer.arrive(&late, START + 60_010);
    p.producer.acked(&late);
    p.consumer.arrive(&late, START + 60_020);
    p.consumer.slots.values_mut().filter(|s| s.window_ms.0 > START).for_each(|s| s.class = Class::Rewritten);
    p.beats(80_000).await;
    p.store.judge(START + 80_000, &p.pipelines).await.expect("judge");
    let rows = verdicts(&*p.store, "orders").await;
    let said: Vec<Verdict> = rows.iter().map(|w| w.verdict).collect();
    // The same ids in the same window are proof, whoever's clock it was.
    assert_eq!(said, [Verdict::Uncertain, Verdict::Ok], "{rows:?}");
    assert!(rows.iter().all(|w| caveats(w) == ["time rewritten downstream"]), "{rows:?}");
}

#[tokio::test]
async fn two_states_of_one_slot_are_told_once_and_cast_doubt() {
    let place = crate::place::Place::new();
    let mut p = Pair::new(3);
    p.store = place.open();
    let honest = p.consumer.part(START + 3_000, [0]);
    let mut twin = honest.clone();
    twin.slots[0].state.bytes += 1;
    p.send(vec![honest.clone(), twin.clone(), honest, twin], 4_000).await;
    let state = p.consumer.slots.get_mut(&0).expect("slot");
    state.state.bytes += 1;
    let w = p.settled().await;
    assert_eq!((w.verdict, caveats(&w)), (Verdict::Uncertain, vec!["divergent downstream".to_owned()]));
    assert_eq!(place.one("SELECT count(*) FROM event WHERE kind = 'divergent'"), "1");
}

#[tokio::test]
async fn a_machine_that_was_lost_is_said_so() {
    for (end, said) in [(End::Power, "machine lost downstream"), (End::Crash, "reporter gone downstream")] {
        let mut p = Pair::new(3);
        p.beats(5_000).await;
        let last_words = AuditMessage { end: Some(end), ..p.consumer.part(START + 5_000, []) };
        p.send(vec![last_words], 15_000).await;
        let beat = p.producer.beat(START + 20_000);
        p.send(vec![beat], 20_000).await;
        let w = p.judge(20_000).await;
        assert_eq!(w.verdict, Verdict::Uncertain, "{}", w.why);
        assert!(caveats(&w).contains(&said.to_owned()), "{w:?}");
    }
}

#[tokio::test]
async fn a_process_that_died_and_was_recovered_whole_leaves_no_doubt() {
    for (sum_is_told, verdict) in [(true, Verdict::Missing), (false, Verdict::Uncertain)] {
        let mut p = Pair::new(3);
        p.beats(5_000).await;
        let all: Vec<u64> = p.consumer.slots.keys().copied().collect();
        p.consumer.slots.values_mut().for_each(|r| r.state.is_final = true);
        let sum = sum_is_told.then(|| p.consumer.sum());
        let last_words = AuditMessage { end: Some(End::Crash), sum, ..p.consumer.part(START + 5_000, all) };
        p.send(vec![last_words], 6_000).await;
        let next = SimReporter::new(8, "consumer", "host-2", START + 5_500).seeing().beat(START + 20_000);
        let beat = p.producer.beat(START + 20_000);
        p.send(vec![next, beat], 20_000).await;
        let w = p.judge(20_000).await;
        assert_eq!((w.verdict, caveats(&w).is_empty()), (verdict, sum_is_told), "{w:?}");
    }
}

#[tokio::test]
async fn silence_of_a_stage_is_no_zero_and_its_first_report_is_judged_at_once() {
    let mut p = Pair::new(3);
    let beat = p.producer.beat(START + 20_000);
    p.send(vec![beat], 20_000).await;
    let w = p.judge(20_000).await;
    assert_eq!((w.verdict, w.missing_min, w.settled_ms), (Verdict::NoReport, 0, None));
    assert_eq!(p.store.judge(START + 90_000, &p.pipelines).await.expect("judge"), 0);
    // It reports that it has seen nothing: now that is a zero.
    let first = SimReporter::new(8, "consumer", "host-2", START - 1).beat(START + 20_000);
    p.send(vec![first], 20_000).await;
    let w = p.judge(20_000).await;
    assert_eq!((w.verdict, w.missing_min), (Verdict::Missing, 10));
    p.beats(21_000).await;
    let w = p.judge(21_000).await;
    assert_eq!((w.verdict, w.missing_min), (Verdict::Missing, 3));
}

#[tokio::test]
async fn a_stage_that_is_not_complete_is_never_ok_and_never_surplus() {
    let mut p = Pair::new(0);
    p.pipelines.list[0].stages[0].complete = false;
    assert_eq!(p.settled().await.verdict, Verdict::Partial);
    let mut p = Pair::new(0);
    p.pipelines.list[0].stages[0].complete = false;
    p.consumer.arrive(&Msg { id: 50, topic: "orders", event_ms: START + 1 }, START + 2);
    assert_eq!(p.settled().await.verdict, Verdict::Partial);
    let mut p = Pair::new(0);
    p.pipelines.list[0].stages[1].at_least_once = true;
    p.consumer.arrive(&Msg { id: 5, topic: "orders", event_ms: START + 100 }, START + 130);
    let w = p.settled().await;
    assert_eq!((w.verdict, w.surplus_min), (Verdict::ReRead, 1));
}

#[tokio::test]
async fn a_late_record_amends_with_time_and_cause() {
    let place = crate::place::Place::new();
    let mut p = Pair::new(0);
    p.store = place.open();
    assert_eq!(p.settled().await.verdict, Verdict::Ok);
    // Two more messages of the old window, sent and lost much later.
    for id in [60, 61] {
        let m = Msg { id, topic: "orders", event_ms: START + 200 };
        p.producer.arrive(&m, START + 40_000);
        p.producer.acked(&m);
    }
    p.beats(40_500).await;
    let w = p.judge(40_600).await;
    assert_eq!(w.verdict, Verdict::Settling, "late arrivals open the books again: {}", w.why);
    assert!(w.settled_ms.is_some());
    p.beats(45_000).await;
    let w = p.judge(45_000).await;
    assert_eq!((w.verdict, w.missing_min, w.amendments), (Verdict::Missing, 2, 1));
    let sql = "SELECT at_ms, old_verdict, new_verdict, old_missing, new_missing, cause FROM v_amendment";
    let rows = place.rows(sql);
    let [row] = rows.as_slice() else { panic!("one amendment: {rows:?}") };
    assert_eq!(row[..5], [(START + 45_000).to_string().as_str(), "ok", "missing", "0", "2"]);
    assert!(row[5].contains("at least 2 missing"), "{}", row[5]);
}

#[tokio::test]
async fn stages_of_different_widths_compare_at_the_wider() {
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = client_hop();
    let mut fine = SimReporter::new(1, "producer", "h", START - 20_000);
    let mut wide = SimReporter::new(2, "consumer", "h", START - 20_000).seeing();
    let minute = Width::ALL[1].window_of(START + 60_000).0;
    for i in 0..6u32 {
        let m = Msg { id: 1 + u128::from(i), topic: "orders", event_ms: minute + i64::from(i) * 10_000 };
        fine.arrive(&m, m.event_ms);
        fine.acked(&m);
        if i != 2 {
            wide.arrive(&m, m.event_ms);
        }
    }
    let coarse = |m: AuditMessage| {
        let mut m = m;
        let mut all: Option<chaperone_audit::wire::SlotRecord> = None;
        for s in std::mem::take(&mut m.slots) {
            let one = all.get_or_insert_with(|| {
                let mut first = s.clone();
                (first.id, first.window_ms.0, first.width_ms) = (0, minute, Width::ALL[1]);
                first.state.n = 0;
                first.state.f_in = None;
                first
            });
            one.state.n += s.state.n;
            one.state.f_in = Some(one.state.f_in().plus(s.state.f_in()));
            one.state.last_ms = one.state.last_ms.max(s.state.last_ms);
            one.state.is_final = true;
        }
        m.sum = all.as_ref().map(|s| chaperone_audit::wire::Sum {
            slots: 1,
            n: s.state.n,
            acked: 0,
            failed: 0,
            f_in: s.state.f_in(),
        });
        m.slots = all.into_iter().collect();
        m
    };
    let end = minute + 60_000;
    let producer = fine.beat(end + 5_000);
    // Before the consumer reports at its own width, the hop is shown at the producer's.
    audit.send(&*store, vec![producer], end + 5_000).await;
    store.judge(end + 5_000, &pipelines).await.expect("judge");
    assert_eq!(verdicts(&*store, "orders").await.len(), 6);
    let beats = vec![coarse(wide.beat(end + 6_000)), fine.beat(end + 6_000)];
    audit.send(&*store, beats, end + 6_000).await;
    store.judge(end + 6_000, &pipelines).await.expect("judge");
    let rows = verdicts(&*store, "orders").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    let said = (rows[0].window_ms, rows[0].width_ms, rows[0].verdict, rows[0].missing_min);
    assert_eq!(said, (minute, 60_000, Verdict::Missing, 1));
}

#[tokio::test]
async fn a_slot_forgotten_is_still_known() {
    let options = chaperone_collector::sqlite::Options { seal_after_ms: 1_000, ..Default::default() };
    let mut p = Pair::new(0);
    p.store = crate::place::memory_with(options);
    p.beats(20_000).await;
    let old = p.producer.part(START + 20_000, [0]);
    p.beats(30_000).await;
    let sum = |rows: &[chaperone_collector::query::StageWindow]| rows.iter().map(|w| w.n).sum::<u64>();
    let all = chaperone_collector::query::WindowQuery { from_ms: 0, to_ms: i64::MAX, ..Default::default() };
    let before = sum(&p.store.stage_windows(all.clone()).await.expect("totals"));
    let sent = p.audit.send(&*p.store, vec![old], START + 40_000).await;
    assert_eq!((sent.noop, sum(&p.store.stage_windows(all).await.expect("totals"))), (1, before));
    assert_eq!(p.judge(40_000).await.verdict, Verdict::Ok);
    const { assert!(GRACE_MS < SILENT_MS) };
}
