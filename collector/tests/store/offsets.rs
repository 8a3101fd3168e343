//! Which offsets hold a window is known while it is open and after it is proven, and what comes late is added.

use chaperone_collector::query::{Offsets, OffsetsQuery};
use chaperone_collector::{StageKind, Store, Verdict};

use crate::sim::{Audit, Msg, START, SimLog, SimReporter, SimTap, memory, pipelines, stage, verdicts};

async fn offsets(store: &dyn Store) -> Vec<(i32, u64, i64, i64)> {
    let query = OffsetsQuery { topic: "orders".into(), stage: "kafka".into(), from_ms: START, to_ms: START + 10_000 };
    let found = store.offsets(query).await.expect("offsets");
    assert!(found.iter().all(|o| (o.window_ms, o.width_ms, o.log) == (START, 10_000, 0)));
    found.into_iter().map(|Offsets { partition, n, first, last, .. }| (partition, n, first, last)).collect()
}

#[tokio::test]
async fn a_proven_windows_offsets_are_kept_and_added_to() {
    const WEEK_MS: i64 = 7 * 86_400_000;
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let mut producer = SimReporter::new(1, "producer", "h", START - 1);
    let mut tap = SimTap::new(2, "kafka", "orders");
    let mut log = SimLog::new(2);
    tap.claim(&*store, 0, START).await;
    tap.claim(&*store, 1, START).await;
    let sent = |id: u128, partition: usize, event_ms: i64, producer: &mut SimReporter, log: &mut SimLog| {
        let m = Msg { id, topic: "orders", event_ms };
        producer.arrive(&m, START);
        producer.acked(&m);
        log.append(partition, m, START);
    };
    for id in 1..=5 {
        sent(id, 0, START + 1, &mut producer, &mut log);
    }
    sent(6, 1, START - 1, &mut producer, &mut log);
    sent(7, 1, START + 9_999, &mut producer, &mut log);
    let open = vec![(0, 5, 0, 4), (1, 1, 1, 1)];
    let mut at = START + 30_000;
    for _ in 0..2 {
        let beats = vec![producer.beat(at), tap.beat(&log, at)];
        audit.send(&*store, beats, at).await;
        assert_eq!(offsets(&*store).await, open, "open, and then proven");
        store.judge(at, &pipelines).await.expect("judge");
        assert!(verdicts(&*store, "orders").await.iter().all(|w| w.verdict == Verdict::Ok));
        assert_eq!(offsets(&*store).await, open);
        at += 2_000;
    }
    sent(8, 1, START + 5, &mut producer, &mut log);
    let late = vec![(0, 5, 0, 4), (1, 2, 1, 2)];
    for _ in 0..2 {
        let beats = vec![producer.beat(at), tap.beat(&log, at)];
        audit.send(&*store, beats, at).await;
        assert_eq!(offsets(&*store).await, late);
        at += 30_000;
        store.judge(at, &pipelines).await.expect("judge");
    }
    store.judge(START + WEEK_MS, &pipelines).await.expect("judge");
    assert_eq!(offsets(&*store).await, late, "to the end of the week");
    store.judge(START + WEEK_MS + 1, &pipelines).await.expect("judge");
    assert_eq!(offsets(&*store).await, []);
}
