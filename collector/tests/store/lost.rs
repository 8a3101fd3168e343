//! Records of an audit topic that are gone before they were applied: reading goes on by itself, and what they may have said
//! is doubted, never missing and never waited for without end.

use chaperone_audit::wire::AuditMessage;
use chaperone_collector::{AuditFollow, AuditLoss, Batch, LossCause, Pipelines, StageKind, Store, StoreError, Verdict};

use crate::place::Place;
use crate::sim::{
    Audit, GRACE_MS, Msg, SILENT_MS, START, SimReporter, client_hop, item, memory, pipelines, source, stage, stands,
    uuid, verdicts,
};

const TOPIC: &str = "chaperone-audit";

fn follow(id: Option<u64>, partitions: i32) -> AuditFollow {
    let (cluster, topic) = ("c".to_owned(), TOPIC.to_owned());
    AuditFollow { cluster, topic, topic_id: id.map(uuid), partitions, now_ms: START }
}

fn loss(partition: i32, (log, next): (u32, i64), resumes: i64, cause: LossCause, id: Option<u64>) -> AuditLoss {
    AuditLoss { source: source(partition), log, next, resumes, cause, topic_id: id.map(uuid), now_ms: START + 5_000 }
}

fn batch(log: u32, offset: i64) -> Batch {
    let message = SimReporter::new(9, "producer", "h", START).beat(START);
    Batch { source: source(0), log, from: None, items: vec![item(offset, message, START + 2_000)], next: offset + 1 }
}

#[tokio::test]
async fn a_partition_moves_to_another_log_once_and_whoever_is_late_changes_nothing() {
    let place = Place::new();
    let store = place.open();
    let stood = store.audit_follow(follow(Some(1), 2)).await.expect("followed");
    assert!(stood.iter().all(|s| (s.log, s.next, s.topic_id, s.closed) == (0, 0, Some(uuid(1)), false)), "{stood:?}");
    store.apply(batch(0, 6)).await.expect("applied");
    store.audit_through(vec![(source(0), START + 1_000).into()]).await.expect("through");

    let anew = loss(0, (0, 7), 3, LossCause::Recreated, Some(2));
    let stand = store.audit_lost(anew.clone()).await.expect("lost");
    assert_eq!((stand.log, stand.next, stand.topic_id), (1, 3, Some(uuid(2))));
    let late = [
        store.audit_lost(anew).await.map(drop),
        store.apply(batch(0, 7)).await.map(drop),
        store.audit_lost(loss(0, (1, 4), 9, LossCause::Gone, Some(2))).await.map(drop),
    ];
    assert!(late.iter().all(|l| matches!(l, Err(StoreError::Moved { .. }))), "{late:?}");
    let late = [
        store.audit_follow(follow(Some(1), 2)).await.map(drop),
        store.audit_lost(loss(0, (1, 3), 0, LossCause::Recreated, Some(1))).await.map(drop),
    ];
    assert!(late.iter().all(|l| matches!(l, Err(StoreError::Former { .. }))), "{late:?}");
    assert_eq!(stands(&*store).await, [(0, 3), (1, 0)]);

    // The new one is read from its beginning, and its first record says until when the old one was written at most.
    store.apply(batch(1, 3)).await.expect("applied");
    // The new one has one partition less, and then as many again.
    store.audit_follow(follow(Some(2), 1)).await.expect("followed");
    let stood = store.audit_stands("c", TOPIC).await.expect("stands");
    assert_eq!(stood.iter().map(|s| (s.log, s.next, s.closed)).collect::<Vec<_>>(), [(1, 4, false), (1, 0, true)]);
    let stand = store.audit_lost(loss(1, (1, 0), 0, LossCause::Recreated, Some(2))).await.expect("open again");
    assert_eq!((stand.log, stand.closed), (2, false));

    let lost = place.rows("SELECT partition, log, from_offset, from_ms, to_ms FROM v_audit_lost ORDER BY id");
    let said: Vec<String> = lost.iter().map(|row| row.join(" ")).collect();
    let (through, first) = (START + 2_000, START + 2_000);
    let until = START + 5_000;
    assert_eq!(said.join("; "), format!("0 1 7 {through} {first}; 1 1 0 null {START}; 1 2 0 null {until}"));
    assert_eq!(place.one("SELECT count(*) FROM event WHERE kind = 'audit_lost'"), "3");
}

#[tokio::test]
async fn a_partition_that_the_topic_does_not_have_any_more_is_not_waited_for() {
    for made_anew in [false, true] {
        let (store, mut audit) = (memory(), Audit::default());
        store.audit_follow(follow(Some(1), 2)).await.expect("followed");
        if made_anew {
            store.audit_lost(loss(0, (0, 0), 0, LossCause::Recreated, Some(2))).await.expect("lost");
            store.audit_follow(follow(Some(2), 1)).await.expect("followed");
            audit = Audit::of_log(1);
        }
        let (mut producer, mut consumer) = reporters();
        let m = Msg { id: 1, topic: "orders", event_ms: START + 60_000 };
        count(&m, &mut producer, Some(&mut consumer));
        let at = START + 90_000;
        audit.send(&*store, vec![producer.beat(at), consumer.beat(at)], at).await;
        store.judge(at, &client_hop()).await.expect("judge");
        let row = verdicts(&*store, "orders").await.remove(0);
        let expected = if made_anew { Verdict::Ok } else { Verdict::Settling };
        assert_eq!(row.verdict, expected, "{}", row.why);
    }
}

fn reporters() -> (SimReporter, SimReporter) {
    (SimReporter::new(1, "producer", "h", START - 1), SimReporter::new(2, "consumer", "h", START - 1).seeing())
}

fn count(m: &Msg, producer: &mut SimReporter, consumer: Option<&mut SimReporter>) {
    producer.arrive(m, m.event_ms + 10);
    producer.acked(m);
    if let Some(consumer) = consumer {
        consumer.arrive(m, m.event_ms + 20);
    }
}

fn orders(id: u128, event_ms: i64) -> Msg {
    Msg { id, topic: "orders", event_ms: START + event_ms }
}

async fn judged(store: &dyn Store, at: i64, pipelines: &Pipelines) -> Vec<(i64, Verdict, Vec<String>)> {
    store.judge(at, pipelines).await.expect("judge");
    let rows = verdicts(store, "orders").await;
    rows.iter().map(|w| (w.window_ms - START, w.verdict, w.caveats.iter().map(ToString::to_string).collect())).collect()
}

/// A second consumer lives and dies within what is lost: nobody will ever know of it.
async fn lived_and_died(is_known: bool) -> Vec<(i64, Verdict, Vec<String>)> {
    let (store, mut audit) = (memory(), Audit::default());
    let (mut producer, mut consumer) = reporters();
    count(&orders(1, 1_000), &mut producer, Some(&mut consumer));
    let beats = vec![producer.beat(START + 15_000), consumer.beat(START + 15_000)];
    audit.send(&*store, beats, START + 15_000).await;
    // Of this one only the second consumer told.
    count(&orders(2, 21_000), &mut producer, None);
    if is_known {
        audit.made_anew(&*store, START + 30_000).await;
    }
    // Proven by its ids, whatever else there may have been.
    count(&orders(3, 41_000), &mut producer, Some(&mut consumer));
    for at in [START + 40_000, START + 55_000] {
        let beats = vec![producer.beat(at), consumer.beat(at)];
        audit.send(&*store, beats, at).await;
    }
    let early = judged(&*store, START + 55_000, &client_hop()).await;
    if is_known {
        let (waits, until) = (&early[1], START + 30_000 + SILENT_MS);
        assert_eq!(waits.1, Verdict::Settling, "until {until} somebody may be heard of whom nobody knows: {early:?}");
    }
    let at = START + 40_000 + SILENT_MS;
    audit.send(&*store, vec![producer.beat(at), consumer.beat(at)], at).await;
    judged(&*store, at, &client_hop()).await
}

#[tokio::test]
async fn what_an_unknown_reporter_may_have_told_is_uncertain_and_never_missing() {
    let said = lived_and_died(false).await;
    assert_eq!(said[1].1, Verdict::Missing, "the control: nobody knows that something was lost");
    let said = lived_and_died(true).await;
    let lost = vec!["audit log lost upstream".to_owned(), "audit log lost downstream".to_owned()];
    assert_eq!(said[0], (0, Verdict::Ok, vec![]), "settled before");
    assert_eq!(said[1], (20_000, Verdict::Uncertain, lost));
    assert_eq!(said[2], (40_000, Verdict::Ok, vec![]), "began later");
}

/// A tap whose intervals were lost counts again: only client stages are in doubt.
#[tokio::test]
async fn a_broker_stage_is_not_in_doubt() {
    let hop = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let (store, mut audit) = (memory(), Audit::default());
    let (mut producer, _) = reporters();
    let (mut tap, mut log) = (crate::sim::SimTap::new(3, "kafka", "orders"), crate::sim::SimLog::new(1));
    tap.claim(&*store, 0, START).await;
    let m = orders(1, 1_000);
    count(&m, &mut producer, None);
    log.append(0, m, START + 1_100);
    audit.send(&*store, vec![producer.beat(START + 500)], START + 500).await;
    audit.made_anew(&*store, START + 3_000).await;
    for at in [START + 20_000, START + 40_000] {
        let beats: Vec<AuditMessage> = vec![tap.beat(&log, at), producer.beat(at)];
        audit.send(&*store, beats, at).await;
    }
    let said = judged(&*store, START + 40_000, &hop).await;
    assert_eq!(said, [(0, Verdict::Ok, vec!["audit log lost upstream".to_owned()])]);
}

/// The last word of a reporter about a window is lost, and it lives on.
async fn lost_final(is_known: bool) -> Vec<(i64, Verdict, Vec<String>)> {
    let (store, mut audit) = (memory(), Audit::default());
    let (mut producer, mut consumer) = reporters();
    for id in 1..=3 {
        count(&orders(id, 1_000), &mut producer, Some(&mut consumer));
    }
    // What is here: three attempted, none acknowledged yet; one slot of the consumer's.
    let mut early = SimReporter::new(1, "producer", "h", START - 1);
    (1..=3).for_each(|id| early.arrive(&orders(id, 1_000), START + 1_010));
    audit.send(&*store, vec![early.beat(START + 2_000), consumer.beat(START + 2_000)], START + 2_000).await;
    for id in 4..=6 {
        count(&orders(id, 11_000), &mut producer, Some(&mut consumer));
    }
    // Both windows' finals are with the sink, and lost.
    let _ = (producer.beat(START + 25_000), consumer.beat(START + 25_000));
    if is_known {
        audit.made_anew(&*store, START + 26_000).await;
    }
    let mut at = START + 30_000;
    while at <= START + 90_000 {
        if at == START + 60_000 {
            count(&orders(7, 60_500), &mut producer, Some(&mut consumer));
        }
        producer.close(at);
        consumer.close(at);
        let of = |r: &SimReporter| r.slots.keys().copied().filter(|id| *id >= 2).collect::<Vec<_>>();
        let (p, c) = (of(&producer), of(&consumer));
        let beats = vec![producer.beat_with(at, p), consumer.beat_with(at, c)];
        audit.send(&*store, beats, at).await;
        at += 2_000;
    }
    judged(&*store, START + 90_000 + GRACE_MS, &client_hop()).await
}

#[tokio::test]
async fn a_reporter_whose_records_were_lost_is_believed_again_and_what_they_told_is_uncertain() {
    let said = lost_final(false).await;
    assert!(said.iter().all(|w| w.1 == Verdict::Settling), "the control: it is waited for while it lives: {said:?}");
    let said = lost_final(true).await;
    assert!(said.iter().all(|w| w.1 != Verdict::Missing && w.1 != Verdict::Surplus && w.1 != Verdict::Mixed));
    let of = |window: i64| said.iter().find(|w| w.0 == window).unwrap_or_else(|| panic!("{window}: {said:?}"));
    assert_ne!(of(0).1, Verdict::Settling, "{said:?}");
    assert!(of(0).2.contains(&"audit log lost upstream".to_owned()), "{said:?}");
    assert_eq!(*of(60_000), (60_000, Verdict::Ok, vec![]), "what came later is proven");
}
