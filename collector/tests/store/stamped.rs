//! A hop that compares stamped messages only, from records to rows: 30 % of the producers are linked, one of them stamps.

use std::sync::Arc;

use chaperone_collector::query::HopWindow;
use chaperone_collector::{CaveatKind, Pipelines, StageKind, Store, Verdict};

use crate::sim::{Audit, Msg, RULE, STAMPED, START, SimLog, SimReporter, SimTap, memory, pipelines, stage, verdicts};

/// Producer → Kafka; the stage is not declared complete.
fn hop(stamped_only: bool) -> Pipelines {
    let mut p = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let producer = &mut p.list[0].stages[0];
    (producer.complete, producer.stamped_only) = (false, stamped_only);
    p
}

struct World {
    store: Arc<dyn Store>,
    audit: Audit,
    producer: SimReporter,
    tap: SimTap,
    log: SimLog,
    next: u128,
}

impl World {
    async fn new() -> Self {
        let store = memory();
        let tap = SimTap::new(2, "kafka", "orders");
        let producer = SimReporter::new(1, "producer", "h", START - 1);
        let mut world = Self { store, audit: Audit::default(), producer, tap, log: SimLog::new(1), next: 1 };
        world.tap.claim(&*world.store, 0, START - 1).await;
        world
    }

    fn message(&mut self, stamped: bool, at_ms: i64) -> Msg {
        self.next += 1;
        let id = self.next + if stamped { STAMPED } else { 0 };
        Msg { id, topic: "orders", event_ms: START + at_ms }
    }
    /// Of ten producers: this many messages of the one that stamps, two that only link, seven that nobody counts.
    fn second(&mut self, at_ms: i64, stamped: u32, lost: u32) {
        for i in 0..stamped + 2 + 7 {
            let m = self.message(i < stamped, at_ms);
            if i < stamped + 2 {
                self.producer.arrive(&m, m.event_ms);
                self.producer.acked(&m);
            }
            if i >= lost {
                self.log.append(0, m, m.event_ms);
            }
        }
    }
    async fn beat(&mut self, at_ms: i64) {
        let now_ms = START + at_ms;
        let beats = vec![self.tap.beat(&self.log, now_ms), self.producer.beat(now_ms)];
        self.audit.send(&*self.store, beats, now_ms).await;
    }
    async fn judge(&self, at_ms: i64, p: &Pipelines) -> Vec<HopWindow> {
        self.store.judge(START + at_ms, p).await.expect("judge");
        verdicts(&*self.store, "orders").await
    }
    /// Three windows: clean, two of three stamped messages lost, and one that nobody stamps in.
    async fn three(&mut self, lost: u32) {
        for second in 0..30 {
            let at_ms = second * 1_000;
            let stamped = if second < 20 { 3 } else { 0 };
            self.second(at_ms, stamped, if second == 12 { lost } else { 0 });
            self.beat(at_ms).await;
        }
        self.beat(35_000).await;
    }
}

#[tokio::test]
async fn all_is_partial_and_stamped_is_ok_or_missing_by_ids() {
    for (stamped_only, lost, words) in [
        (false, 0, [Verdict::Partial; 3]),
        (false, 2, [Verdict::Partial; 3]),
        (true, 0, [Verdict::Ok, Verdict::Ok, Verdict::Partial]),
        (true, 2, [Verdict::Ok, Verdict::Missing, Verdict::Partial]),
    ] {
        let mut w = World::new().await;
        w.three(lost).await;
        let rows = w.judge(40_000, &hop(stamped_only)).await;
        assert_eq!(rows.iter().map(|r| r.verdict).collect::<Vec<_>>(), words, "{rows:#?}");
        let told = rows.iter().filter(|r| r.why.contains("left out 20 acked upstream and 90 seen downstream")).count();
        assert_eq!(told, if stamped_only { 3 } else { 0 }, "{rows:#?}");
        assert_eq!(rows[1].missing_min, if stamped_only { u64::from(lost) } else { 0 });
    }
}

/// What only one side is told of: others' stamps are a surplus only of a stage that is declared complete.
#[tokio::test]
async fn stamps_of_others_are_a_surplus_only_where_every_stamp_is_audited() {
    for (complete, verdict) in [(false, Verdict::Partial), (true, Verdict::Surplus)] {
        let mut w = World::new().await;
        w.second(1_000, 3, 0);
        let others = w.message(true, 1_500);
        w.log.append(0, others, others.event_ms);
        w.beat(2_000).await;
        w.beat(20_000).await;
        let mut p = hop(true);
        p.list[0].stages[0].complete = complete;
        let rows = w.judge(20_000, &p).await;
        assert_eq!(rows[0].verdict, verdict, "{rows:#?}");
    }
}

/// A path that strips headers: nothing is lost, and nothing is called so. Where stamps were seen, what is not there is lost.
#[tokio::test]
async fn stamps_that_were_never_seen_downstream_are_uncertain() {
    let mut w = World::new().await;
    for second in 0..10 {
        let m = w.message(true, second * 1_000);
        w.producer.arrive(&m, m.event_ms);
        w.producer.acked(&m);
        w.log.append(0, Msg { id: m.id - STAMPED, ..m }, m.event_ms);
    }
    w.beat(10_000).await;
    w.beat(20_000).await;
    let rows = w.judge(20_000, &hop(true)).await;
    assert_eq!((rows.len(), rows[0].verdict), (1, Verdict::Uncertain), "{rows:#?}");
    assert!(rows[0].caveats.iter().any(|c| c.kind == CaveatKind::IdentityNotPreserved), "{rows:#?}");
    let mut w = World::new().await;
    w.second(1_000, 3, 0);
    w.second(11_000, 3, 3);
    w.beat(12_000).await;
    w.beat(30_000).await;
    let rows = w.judge(30_000, &hop(true)).await;
    assert_eq!((rows[1].verdict, rows[1].missing_min), (Verdict::Missing, 3), "{rows:#?}");
}

/// The broker's time stands for the bare messages' own, which says nothing of stamped ones.
#[tokio::test]
async fn rewritten_times_do_not_touch_what_is_stamped() {
    for (stamped_only, verdict) in [(false, Verdict::Uncertain), (true, Verdict::Ok)] {
        let mut w = World::new().await;
        w.second(1_000, 3, 0);
        let mut beat = w.tap.beat(&w.log, START + 2_000);
        for window in &mut beat.intervals[0].windows {
            if window.class == chaperone_audit::Class::Bare {
                window.class = chaperone_audit::Class::Rewritten;
            }
        }
        assert_eq!(beat.intervals[0].rule, RULE);
        w.audit.send(&*w.store, vec![beat], START + 2_000).await;
        w.beat(20_000).await;
        let rows = w.judge(20_000, &hop(stamped_only)).await;
        assert_eq!(rows[0].verdict, verdict, "{rows:#?}");
    }
}
