//! Hops of brokers: what a tap, a position, an open transaction prove, and what they do not.

use chaperone_collector::{StageKind, Verdict};

use crate::sim::{Audit, Msg, START, SimLog, SimReporter, SimTap, memory, pipelines, stage, verdicts};

#[tokio::test]
async fn an_open_transaction_is_a_caveat_and_not_a_loss() {
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let mut producer = SimReporter::new(1, "producer", "h", START - 1);
    let mut tap = SimTap::new(2, "kafka", "orders");
    let log = SimLog::new(1);
    tap.claim(&*store, 0, START).await;
    let m = Msg { id: 1, topic: "orders", event_ms: START };
    producer.arrive(&m, START);
    producer.acked(&m);
    let at = START + 20_000;
    let mut held = tap.beat(&log, at);
    held.marks[0].held_since_ms = Some(START + 1_000);
    let beat = producer.beat(at);
    audit.send(&*store, vec![beat, held], at).await;
    store.judge(at, &pipelines).await.expect("judge");
    let rows = verdicts(&*store, "orders").await;
    assert_eq!(
        (rows[0].verdict, rows[0].caveats.iter().map(ToString::to_string).collect::<Vec<_>>()),
        (Verdict::Uncertain, vec!["held by an open transaction downstream".to_owned()])
    );
    // It ends; nothing came out of it: the message is missing.
    let (beat, free) = (producer.beat(at + 5_000), tap.beat(&log, at + 5_000));
    audit.send(&*store, vec![beat, free], at + 5_000).await;
    store.judge(at + 5_000, &pipelines).await.expect("judge");
    let rows = verdicts(&*store, "orders").await;
    assert_eq!((rows[0].verdict, rows[0].missing_min), (Verdict::Missing, 1));
}

#[tokio::test]
async fn two_consumers_share_a_stage_and_one_position_waits_for_the_others_report() {
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = pipelines(vec![stage("kafka", StageKind::Kafka), stage("consumer", StageKind::Client)]);
    let mut tap = SimTap::new(1, "kafka", "orders");
    let mut log = SimLog::new(1);
    tap.claim(&*store, 0, START).await;
    for id in 1..=4 {
        log.append(0, Msg { id, topic: "orders", event_ms: START + 10 }, START + 20);
    }
    let mut one = SimReporter::new(2, "consumer", "one", START - 1).seeing();
    let mut two = SimReporter::new(3, "consumer", "two", START - 1).seeing();
    let first = tap.beat(&log, START + 1_000);
    audit.send(&*store, vec![first], START + 1_000).await;
    let at = START + 20_000;
    let beats = vec![tap.beat(&log, at), one.beat(at), two.beat(at)];
    audit.send(&*store, beats, at).await;
    store.judge(at, &pipelines).await.expect("judge");
    assert_eq!(verdicts(&*store, "orders").await[0].verdict, Verdict::Overdue, "no position is known");
    // Between its beats, `two` processes all of it and hands the partition to `one`.
    for (m, _) in &log.0[0] {
        two.arrive(m, at + 500);
    }
    one.positions.insert(("orders".into(), 0), 4);
    let beats = vec![tap.beat(&log, at + 1_000), one.beat(at + 1_000)];
    audit.send(&*store, beats, at + 1_000).await;
    store.judge(at + 2_000, &pipelines).await.expect("judge");
    let row = verdicts(&*store, "orders").await.remove(0);
    assert_eq!(row.verdict, Verdict::Settling, "{}", row.why);
    assert!(row.why.contains("reports of consumer on two"), "{}", row.why);
    let beats = vec![one.beat(at + 3_000), two.beat(at + 3_000)];
    audit.send(&*store, beats, at + 3_000).await;
    store.judge(at + 3_000, &pipelines).await.expect("judge");
    assert_eq!(verdicts(&*store, "orders").await[0].verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_position_past_the_window_makes_absence_a_loss_even_if_it_keeps_moving() {
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = pipelines(vec![stage("kafka", StageKind::Kafka), stage("consumer", StageKind::Client)]);
    let mut tap = SimTap::new(1, "kafka", "orders");
    let mut log = SimLog::new(1);
    tap.claim(&*store, 0, START).await;
    for id in 1..=4 {
        log.append(0, Msg { id, topic: "orders", event_ms: START + 10 }, START + 20);
    }
    // Two consumers that never report at the same moment, one of which moves on all the time.
    let mut one = SimReporter::new(2, "consumer", "one", START - 1).seeing();
    let mut two = SimReporter::new(3, "consumer", "two", START - 1).seeing();
    let mut at = START + 20_000;
    let mut last = Verdict::Open;
    for i in 0..6 {
        one.positions.insert(("orders".into(), 0), 4 + i);
        let beats = vec![tap.beat(&log, at), one.beat(at)];
        audit.send(&*store, beats, at).await;
        store.judge(at, &pipelines).await.expect("judge");
        let beats = vec![two.beat(at - 1)];
        audit.send(&*store, beats, at - 1).await;
        at += 2_000;
        store.judge(at, &pipelines).await.expect("judge");
        last = verdicts(&*store, "orders").await[0].verdict;
    }
    assert_eq!(last, Verdict::Missing);
}

#[tokio::test]
async fn a_mirror_that_stands_still_is_delay_and_one_that_moves_on_is_loss() {
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = pipelines(vec![stage("sjc", StageKind::Kafka), stage("agg", StageKind::Kafka)]);
    let (mut sjc, mut agg) = (SimTap::new(1, "sjc", "orders"), SimTap::new(2, "agg", "orders"));
    let (mut source, mut mirror) = (SimLog::new(2), SimLog::new(2));
    for partition in 0..2 {
        sjc.claim(&*store, partition, START).await;
        agg.claim(&*store, partition, START).await;
    }
    let mut stuck = vec![];
    let mut said = std::collections::BTreeSet::new();
    for second in 0..100i64 {
        let now_ms = START + second * 1_000;
        for partition in 0..2 {
            let id = u128::from(second.unsigned_abs()) * 2 + partition as u128;
            let m = Msg { id, topic: "orders", event_ms: now_ms };
            source.append(partition, m, now_ms);
            match (partition, second) {
                // Partition 1 is not mirrored for half a minute, then all of it comes but one message.
                (1, 20..50) => stuck.push(m),
                _ => mirror.append(partition, m, now_ms),
            }
        }
        if second == 50 {
            stuck.drain(..).filter(|m| m.event_ms != START + 35_000).for_each(|m| mirror.append(1, m, now_ms));
        }
        let beats = vec![sjc.beat(&source, now_ms), agg.beat(&mirror, now_ms)];
        audit.send(&*store, beats, now_ms).await;
        store.judge(now_ms, &pipelines).await.expect("judge");
        for w in verdicts(&*store, "orders").await {
            let start = (w.window_ms - START) / 1_000;
            if (20..40).contains(&start) && second < 50 {
                assert!(!w.verdict.is_red(), "{w:?}");
                said.insert(w.verdict);
            }
        }
    }
    assert!(said.contains(&Verdict::Delayed), "{said:?}");
    for w in verdicts(&*store, "orders").await {
        match (w.window_ms - START) / 1_000 {
            30 => assert_eq!((w.verdict, w.missing_min), (Verdict::Missing, 1), "{w:?}"),
            0..80 => assert_eq!(w.verdict, Verdict::Ok, "{w:?}"),
            _ => {}
        }
    }
}

/// A window was copied, judged and passed; one more of its messages comes while the mirror stands still.
#[tokio::test]
async fn what_comes_late_while_a_mirror_stands_still_is_no_loss() {
    let store = memory();
    let mut audit = Audit::default();
    let pipelines = pipelines(vec![stage("sjc", StageKind::Kafka), stage("agg", StageKind::Kafka)]);
    let (mut sjc, mut agg) = (SimTap::new(1, "sjc", "orders"), SimTap::new(2, "agg", "orders"));
    let (mut source, mut mirror) = (SimLog::new(1), SimLog::new(1));
    sjc.claim(&*store, 0, START).await;
    agg.claim(&*store, 0, START).await;
    let (mut stuck, mut said) = (vec![], vec![]);
    for second in 0..100i64 {
        let now_ms = START + second * 1_000;
        let mut new = vec![Msg { id: second.unsigned_abs().into(), topic: "orders", event_ms: now_ms }];
        if second == 55 {
            new.insert(0, Msg { id: 1_000, topic: "orders", event_ms: START + 25_000 });
        }
        for m in new {
            source.append(0, m, now_ms);
            stuck.push(m);
        }
        if !(50..75).contains(&second) {
            stuck.drain(..).for_each(|m| mirror.append(0, m, now_ms));
        }
        let beats = vec![sjc.beat(&source, now_ms), agg.beat(&mirror, now_ms)];
        audit.send(&*store, beats, now_ms).await;
        store.judge(now_ms, &pipelines).await.expect("judge");
        for w in verdicts(&*store, "orders").await {
            assert!(!w.verdict.is_red(), "after {second} s: {w:?}");
            if w.window_ms == START + 20_000 {
                said.push(w.verdict);
            }
        }
    }
    said.dedup();
    let decided: Vec<Verdict> = said.into_iter().filter(|v| !matches!(v, Verdict::Open | Verdict::Settling)).collect();
    assert!(decided.starts_with(&[Verdict::Ok]) && decided.ends_with(&[Verdict::Ok]), "{decided:?}");
    assert!(decided.contains(&Verdict::Delayed), "{decided:?}");
}

/// Everything comes a minute after its time, and the tap of the mirror reads the last half of it at once: its frontier stays where
/// that half begins, upstream's goes on to the end, and then there is no more traffic.
#[tokio::test]
async fn a_loss_is_one_though_both_frontiers_stand_apart_for_ever() {
    const LATE_MS: i64 = 60_000;
    for (copied, expected) in [(100, Verdict::Missing), (40, Verdict::Delayed)] {
        let store = memory();
        let mut audit = Audit::default();
        let pipelines = pipelines(vec![stage("sjc", StageKind::Kafka), stage("agg", StageKind::Kafka)]);
        let (mut sjc, mut agg) = (SimTap::new(1, "sjc", "orders"), SimTap::new(2, "agg", "orders"));
        let (mut source, mut mirror) = (SimLog::new(1), SimLog::new(1));
        sjc.claim(&*store, 0, START).await;
        agg.claim(&*store, 0, START).await;
        let end_ms = START + LATE_MS + 100_000;
        for second in 0..100i64 {
            let (event_ms, now_ms) = (START + second * 1_000, START + LATE_MS + second * 1_000);
            let m = Msg { id: second.unsigned_abs().into(), topic: "orders", event_ms };
            source.append(0, m, now_ms);
            if second != 35 && second < copied {
                mirror.append(0, m, now_ms);
            }
            let mut beats = vec![sjc.beat(&source, now_ms)];
            if second < 50 {
                beats.push(agg.beat(&mirror, now_ms));
            }
            audit.send(&*store, beats, now_ms).await;
        }
        for now_ms in (end_ms..end_ms + 60_000).step_by(5_000) {
            let beats = vec![sjc.beat(&source, now_ms), agg.beat(&mirror, now_ms)];
            audit.send(&*store, beats, now_ms).await;
            store.judge(now_ms, &pipelines).await.expect("judge");
        }
        let (up, down) = (sjc.frontier[&0], agg.frontier[&0]);
        assert!(down + 30_000 < up, "the run shows nothing: {down} {up}");
        let of = verdicts(&*store, "orders").await.into_iter().find(|w| w.window_ms == START + 30_000).expect("judged");
        assert_eq!(of.verdict, expected, "{copied} copied: {of:?}");
    }
}
