//! A message stamped ahead of the clock, written before a tap takes its partition: the other stage counted it in a window
//! that the tap counts, and the tap never saw it.

use chaperone_audit::wire::AuditMessage;
use chaperone_collector::query::HopWindow;
use chaperone_collector::{CaveatKind, ClaimRequest, StageKind, Verdict};

use crate::sim::{Audit, Msg, START, SimLog, SimReporter, SimTap, memory, pipelines, stage, verdicts};

/// When the tap takes the partition, at its end: in the middle of the first window.
const CLAIMED: i64 = 7;

/// One message a second for 45 s. That of second 5 is stamped for second 25 if `ahead`.
fn message(second: i64, ahead: bool) -> Msg {
    let event = if ahead && second == 5 { 25 } else { second };
    Msg { id: u128::from(second.unsigned_abs()) + 1, topic: "orders", event_ms: START + event * 1_000 }
}

async fn claim_at_end(tap: &mut SimTap, store: &dyn chaperone_collector::Store, log: &SimLog, now_ms: i64) {
    let first_next = i64::try_from(log.0[0].len()).expect("small");
    let request = ClaimRequest { first_next, first_since_ms: now_ms, ..tap.request(0, now_ms) };
    let claim = store.claim(request).await.expect("claim");
    tap.at.insert(0, claim.next);
    tap.claims.insert(0, claim);
}

/// Producer → Kafka, where the tap begins late.
async fn producer_first(ahead: bool, lost: &[i64]) -> Vec<HopWindow> {
    let store = memory();
    let pipelines = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let mut audit = Audit::default();
    let mut producer = SimReporter::new(1, "producer", "h", START - 60_000);
    let mut tap = SimTap::new(2, "kafka", "orders");
    let mut log = SimLog::new(1);
    for second in 0..45 {
        let now_ms = START + second * 1_000;
        if second == CLAIMED {
            claim_at_end(&mut tap, &*store, &log, now_ms).await;
        }
        let m = message(second, ahead);
        producer.arrive(&m, now_ms);
        producer.acked(&m);
        if !lost.contains(&second) {
            log.append(0, m, now_ms);
        }
        let said: Vec<AuditMessage> = vec![producer.beat(now_ms), tap.beat(&log, now_ms)];
        audit.send(&*store, said, now_ms).await;
        store.judge(now_ms, &pipelines).await.expect("judge");
    }
    verdicts(&*store, "orders").await
}

/// Kafka → Kafka: the upstream tap begins late and the replicator copied the message before.
async fn replicator_first(ahead: bool, doubled: i64) -> Vec<HopWindow> {
    let store = memory();
    let pipelines = pipelines(vec![stage("a", StageKind::Kafka), stage("b", StageKind::Kafka)]);
    let mut audit = Audit::default();
    let (mut a, mut b) = (SimTap::new(1, "a", "orders"), SimTap::new(2, "b", "orders"));
    let (mut log_a, mut log_b) = (SimLog::new(1), SimLog::new(1));
    b.claim(&*store, 0, START).await;
    for second in 0..45 {
        let now_ms = START + second * 1_000;
        if second == CLAIMED {
            claim_at_end(&mut a, &*store, &log_a, now_ms).await;
        }
        let m = message(second, ahead);
        log_a.append(0, m, now_ms);
        log_b.append(0, m, now_ms);
        if second == doubled {
            log_b.append(0, m, now_ms);
        }
        audit.send(&*store, vec![a.beat(&log_a, now_ms), b.beat(&log_b, now_ms)], now_ms).await;
        store.judge(now_ms, &pipelines).await.expect("judge");
    }
    verdicts(&*store, "orders").await
}

/// Verdicts of the windows of seconds 10, 20 and 30, and whether the second of them says why.
fn told(rows: &[HopWindow]) -> ([Verdict; 3], bool) {
    let of = |second: i64| rows.iter().find(|w| w.window_ms == START + second * 1_000).expect("a row");
    let why = of(20).caveats.iter().any(|c| c.kind == CaveatKind::NotAuditedYet);
    ([of(10).verdict, of(20).verdict, of(30).verdict], why)
}

#[tokio::test]
async fn what_was_written_before_the_tap_began_is_not_missing() {
    use Verdict::{Missing, Ok, Uncertain};
    for (ahead, lost, verdicts, why) in [
        (true, vec![33], [Ok, Uncertain, Missing], true),
        (true, vec![23, 33], [Ok, Uncertain, Missing], true),
        // What is lost of a window that nothing came to before is lost for certain.
        (false, vec![23, 33], [Ok, Missing, Missing], false),
        (false, vec![], [Ok, Ok, Ok], false),
    ] {
        let rows = producer_first(ahead, &lost).await;
        assert_eq!(told(&rows), (verdicts, why), "{ahead} {lost:?} {rows:#?}");
    }
}

#[tokio::test]
async fn what_was_copied_before_the_upstream_tap_began_is_not_too_many() {
    use Verdict::{Ok, Surplus, Uncertain};
    let rows = replicator_first(true, 33).await;
    assert_eq!(told(&rows), ([Ok, Uncertain, Surplus], true), "{rows:#?}");
    let rows = replicator_first(false, 23).await;
    assert_eq!(told(&rows), ([Ok, Surplus, Ok], false), "{rows:#?}");
}
