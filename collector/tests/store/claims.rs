//! Claims: one tap counts a partition, the last that claimed it; what was never counted is uncertain, not zero.

use chaperone_audit::wire::{AuditMessage, GapCause, Gaps, Interval, IntervalKind};
use chaperone_collector::{Batch, CaveatKind, ClaimRequest, StageKind, Store, Verdict};

use crate::sim::{
    Audit, Msg, START, SimLog, SimReporter, SimTap, item, memory, pipelines, source, stage, stands, verdicts,
};

fn log_of(n: u128) -> SimLog {
    let mut log = SimLog::new(1);
    for id in 1..=n {
        log.append(0, Msg { id, topic: "orders", event_ms: START + 100 }, START + 200);
    }
    log
}

async fn counted(store: &dyn Store) -> u64 {
    let query = chaperone_collector::query::WindowQuery { from_ms: 0, to_ms: i64::MAX, ..Default::default() };
    store.stage_windows(query).await.expect("totals").iter().map(|w| w.n).sum()
}

#[tokio::test]
async fn a_zombies_intervals_are_fenced_and_the_heirs_count() {
    let store = memory();
    let mut audit = Audit::default();
    let log = log_of(10);
    let (mut zombie, mut heir) = (SimTap::new(1, "kafka", "orders"), SimTap::new(2, "kafka", "orders"));
    zombie.claim(&*store, 0, START).await;
    let first = zombie.read(&log, 0, 4, START).expect("interval");
    let stale = zombie.read(&log, 0, 10, START).expect("interval");
    let say = |i: Interval, tap: &mut SimTap| AuditMessage { intervals: vec![i], ..tap.message(START) };
    let m = say(first.clone(), &mut zombie);
    assert_eq!(audit.send(&*store, vec![m], START).await.applied, 1);
    heir.claim(&*store, 0, START).await;
    assert_eq!((heir.claims[&0].epoch, heir.claims[&0].next), (2, 4));
    let m = say(stale, &mut zombie);
    // The heir is a new reporter, so its first message is news even if its interval is not.
    let again = say(first, &mut heir);
    let sent = audit.send(&*store, vec![m, again], START).await;
    assert_eq!((sent.fenced, sent.applied), (1, 1));
    assert_eq!(counted(&*store).await, 4);
    let hole = Interval { from: 6, ..heir.read(&log, 0, 10, START).expect("interval") };
    let m = say(Interval { windows: vec![], ..hole }, &mut heir);
    assert_eq!(audit.send(&*store, vec![m], START).await.hole, 1);
    heir.at.insert(0, 4);
    let m = say(heir.read(&log, 0, 10, START).expect("interval"), &mut heir);
    let sent = audit.send(&*store, vec![m.clone(), m], START).await;
    assert_eq!((sent.applied, sent.noop), (1, 1));
    assert_eq!(counted(&*store).await, 10);
    let stands = store.partitions("kafka").await.expect("partitions");
    assert_eq!((stands[0].epoch, stands[0].next, stands[0].log), (2, 10, 0));
    // Another log of the same name, and the zombie's own idea of how far everything is.
    let other = Interval { log: 1, from: 10, to: 12, windows: vec![], ..gap(&heir) };
    let m = say(other, &mut heir);
    assert_eq!(audit.send(&*store, vec![m], START).await.fenced, 1);
    let mut boast = zombie.beat(&log, START + 5_000);
    boast.marks[0].position = 10;
    assert!(boast.intervals.is_empty() && boast.marks[0].epoch == 1);
    audit.send(&*store, vec![boast], START + 5_000).await;
    assert_eq!(store.partitions("kafka").await.expect("partitions")[0].watermark_ms, None);
}

#[tokio::test]
async fn an_offset_is_applied_once_and_only_below_next() {
    let store = memory();
    let mut r = SimReporter::new(1, "producer", "h", START);
    let mut beat = |n: u32| {
        r.arrive(&Msg { id: n.into(), topic: "orders", event_ms: START }, START);
        r.beat(START)
    };
    let at = |offset, m: &AuditMessage| item(offset, m.clone(), START);
    let (one, two, three) = (beat(1), beat(2), beat(3));
    // A reader that stutters: an offset twice, one behind, one that the batch does not claim to have read.
    let items = vec![at(4, &one), at(4, &two), at(3, &two), at(5, &two), at(6, &three)];
    let applied = store.apply(Batch { source: source(0), log: 0, from: None, items, next: 6 }).await.expect("apply");
    assert_eq!(applied.applied, 2);
    assert_eq!((counted(&*store).await, store.status().await.expect("status").read), (2, 2));
    assert_eq!(stands(&*store).await, [(0, 6)]);
    let batch = Batch { source: source(0), log: 0, from: None, items: vec![at(6, &three)], next: 7 };
    assert_eq!(store.apply(batch).await.expect("apply").applied, 1);
    assert_eq!(counted(&*store).await, 3);
}

#[tokio::test]
async fn intervals_of_a_partition_that_nobody_claimed_here_are_fenced() {
    let (here, elsewhere) = (memory(), memory());
    let mut tap = SimTap::new(1, "kafka", "orders");
    tap.claim(&*elsewhere, 0, START).await;
    let beat = tap.beat(&log_of(3), START);
    let beat = AuditMessage { marks: vec![], topics: vec![], ..beat };
    let mut audit = Audit::default();
    audit.send(&*here, vec![tap.message(START)], START).await;
    assert_eq!(audit.send(&*here, vec![beat], START).await.fenced, 1);
    assert_eq!(counted(&*here).await, 0);
}

#[tokio::test]
async fn claims_of_two_processes_on_one_store_never_share_an_epoch() {
    let place = crate::place::Place::new();
    let stores = [place.open(), place.open()];
    let tap = SimTap::new(1, "kafka", "orders");
    let mut epochs = vec![];
    for _ in 0..20 {
        let (a, b) = tokio::join!(stores[0].claim(tap.request(0, START)), stores[1].claim(tap.request(0, START)));
        epochs.extend([a.expect("claim").epoch, b.expect("claim").epoch]);
    }
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=40).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_mark_counts_only_with_all_intervals_below_it() {
    let store = memory();
    let mut audit = Audit::default();
    let log = log_of(10);
    let mut tap = SimTap::new(1, "kafka", "orders");
    tap.claim(&*store, 0, START).await;
    let lost = tap.beat(&log, START + 1_000);
    let next = tap.beat(&log, START + 2_000);
    audit.send(&*store, vec![next], START + 2_000).await;
    let stands = store.partitions("kafka").await.expect("partitions");
    assert_eq!((stands[0].next, stands[0].watermark_ms), (0, None), "the mark is ahead of what is counted");
    audit.send(&*store, vec![lost], START + 2_500).await;
    let stands = store.partitions("kafka").await.expect("partitions");
    // The later message set the clock's skew; the later mark comes again with the next beat.
    assert_eq!((stands[0].next, stands[0].watermark_ms), (10, Some(START + 1_000)));
    let beat = tap.beat(&log, START + 3_000);
    audit.send(&*store, vec![beat], START + 3_000).await;
    assert_eq!(store.partitions("kafka").await.expect("partitions")[0].watermark_ms, Some(START + 3_000));
}

/// Producer → Kafka, where the tap loses sight of some offsets.
async fn with_gap(new_log: bool) -> Vec<(i64, Verdict, String)> {
    let store = memory();
    let stages = vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)];
    let pipelines = pipelines(stages);
    let mut audit = Audit::default();
    let mut producer = SimReporter::new(1, "producer", "h", START - 1);
    let mut tap = SimTap::new(2, "kafka", "orders");
    let mut log = SimLog::new(1);
    tap.claim(&*store, 0, START).await;
    for second in 0..60 {
        let now_ms = START + second * 1_000;
        let m = Msg { id: u128::from(second.unsigned_abs()) + 1, topic: "orders", event_ms: now_ms };
        producer.arrive(&m, now_ms);
        producer.acked(&m);
        if second != 45 {
            log.append(0, m, now_ms);
        }
        let mut beat = tap.beat(&log, now_ms);
        if second == 25 {
            // Offsets 20 to 25 were gone before they could be read.
            beat = AuditMessage { intervals: vec![], ..tap.message(now_ms) };
            if new_log {
                let request = ClaimRequest { over: Some(0), log_start: 26, ..tap.request(0, now_ms) };
                let claim = store.claim(request).await.expect("claim");
                assert_eq!((claim.log, claim.epoch, claim.next, &claim.anchor), (1, 2, 26, &None));
                tap.claims.insert(0, claim);
            } else {
                let gone = Interval { from: 20, to: 26, kind: IntervalKind::Unaudited, ..gap(&tap) };
                beat.intervals = vec![gone];
            }
        } else if (20..25).contains(&second) {
            tap.at.insert(0, 26);
            continue;
        }
        let said = producer.beat(now_ms);
        audit.send(&*store, vec![beat, said], now_ms).await;
        store.judge(now_ms, &pipelines).await.expect("judge");
    }
    let rows = verdicts(&*store, "orders").await;
    rows.into_iter().map(|w| ((w.window_ms - START) / 1000, w.verdict, format!("{:?}", w.caveats))).collect()
}

fn gap(tap: &SimTap) -> Interval {
    let claim = &tap.claims[&0];
    Interval {
        topic: "orders".into(),
        partition: 0,
        log: claim.log,
        epoch: claim.epoch,
        claim_from: claim.next,
        from: 0,
        to: 0,
        rule: crate::sim::RULE,
        kind: IntervalKind::Unaudited,
        cause: GapCause::Gone,
        anchor: None,
        gaps: None,
        windows: vec![],
    }
}

#[tokio::test]
async fn offsets_that_nobody_counted_make_their_windows_uncertain_and_no_others() {
    for new_log in [false, true] {
        let rows = with_gap(new_log).await;
        for (second, verdict, caveats) in &rows {
            match second {
                20 => {
                    assert_eq!(*verdict, Verdict::Uncertain, "{rows:?}");
                    assert!(caveats.contains("Unaudited"), "{rows:?}");
                }
                // The gap's event times have an end: what is lost later is lost for certain.
                40 => assert_eq!(*verdict, Verdict::Missing, "new_log {new_log}: {rows:?}"),
                0..40 => assert_eq!(*verdict, Verdict::Ok, "new_log {new_log}: {rows:?}"),
                _ => {}
            }
        }
        assert!(rows.len() >= 5);
    }
}

/// `start = "end"`, and nobody tapped while the partition came into being and got its first messages.
#[tokio::test]
async fn a_partition_born_after_the_first_claim_is_counted_from_its_beginning() {
    let store = memory();
    let tap = SimTap::new(1, "kafka", "orders");
    let at_end = |partition, partitions| ClaimRequest {
        first_next: 50,
        first_since_ms: START,
        partitions,
        ..tap.request(partition, START)
    };
    let next = async |request| store.claim(request).await.expect("claim").next;
    assert_eq!(next(at_end(0, Some(2))).await, 50);
    assert_eq!(next(at_end(1, Some(3))).await, 50, "it was there from the beginning");
    assert_eq!(next(at_end(2, Some(3))).await, 0, "a process that began later knows no better");
    let cut = ClaimRequest { log_start: 7, ..at_end(3, None) };
    assert_eq!(next(cut).await, 7);
    let mut other = at_end(0, None);
    other.topic = "unknown".into();
    assert_eq!(next(other).await, 50, "nobody knows how many there were");
}

/// Messages that compaction removed before they were counted: their windows are uncertain and no others, and a stretch
/// that is read in several intervals is one range.
#[tokio::test]
async fn offsets_that_compaction_emptied_make_their_windows_uncertain_and_no_others() {
    let store = memory();
    let pipelines = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let mut audit = Audit::default();
    let mut producer = SimReporter::new(1, "producer", "h", START - 1);
    let mut tap = SimTap::new(2, "kafka", "orders");
    let mut log = SimLog::new(1);
    tap.claim(&*store, 0, START).await;
    for second in 0..60 {
        let now_ms = START + second * 1_000;
        let m = Msg { id: u128::from(second.unsigned_abs()) + 1, topic: "orders", event_ms: now_ms };
        producer.arrive(&m, now_ms);
        producer.acked(&m);
        if second != 45 {
            log.append(0, m, now_ms);
        }
        let mut beat = tap.beat(&log, now_ms);
        // Of the offsets 21 to 24, and of 26 and 27, nothing was left. Each interval has one message: those without are
        // part of the next.
        let gap = match second {
            21..=24 | 26 | 27 => {
                tap.at.insert(0, second + 1);
                continue;
            }
            25 => Some((21, 25)),
            28 => Some((26, 28)),
            _ => None,
        };
        if let Some((from, to)) = gap {
            let counted = &mut beat.intervals[0];
            let since_ms = Some(now_ms - 5_000);
            counted.gaps = Some(Gaps { from, to, offsets: (to - from).unsigned_abs(), since_ms });
            counted.from = from;
        }
        let said = producer.beat(now_ms);
        audit.send(&*store, vec![beat, said], now_ms).await;
        store.judge(now_ms, &pipelines).await.expect("judge");
    }
    for w in verdicts(&*store, "orders").await {
        let second = (w.window_ms - START) / 1_000;
        match second {
            20 => assert_eq!(w.verdict, Verdict::Uncertain, "{w:?}"),
            // What is lost later is lost for certain.
            40 => assert_eq!(w.verdict, Verdict::Missing, "{w:?}"),
            0..40 => assert_eq!(w.verdict, Verdict::Ok, "{w:?}"),
            _ => {}
        }
        let said = w.caveats.iter().any(|c| c.kind == CaveatKind::Unaudited);
        assert_eq!(said, second == 20, "{w:?}");
    }
}

fn id(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

/// A topic is known by its id, whatever its offsets look like; who still speaks of a former one is late, and who says
/// that a log is over which is over already starts nothing.
#[tokio::test]
async fn another_topic_id_is_another_log_and_a_former_one_changes_nothing() {
    let store = memory();
    let mut tap = SimTap::new(1, "kafka", "orders");
    let request = tap.request(0, START);
    let claim = async |topic_id, over, log_start| {
        store.claim(ClaimRequest { topic_id, over, log_start, ..request.clone() }).await.expect("claim")
    };
    let all = |c: &chaperone_collector::Claim| (c.log, c.epoch, c.next, c.topic_id);
    // Before brokers had ids; then they have.
    assert_eq!(all(&claim(None, None, 0).await), (0, 1, 0, None));
    let first = claim(Some(id(7)), None, 0).await;
    assert_eq!(all(&first), (0, 2, 0, Some(id(7))));
    tap.claims.insert(0, first.clone());
    tap.at.insert(0, first.next);
    let read = tap.read(&log_of(10), 0, 10, START).expect("interval");
    let said = AuditMessage { intervals: vec![read], ..tap.message(START) };
    Audit::default().send(&*store, vec![said], START).await;
    assert_eq!(all(&claim(Some(id(7)), None, 0).await), (0, 3, 10, Some(id(7))), "the same topic");
    assert_eq!(all(&claim(None, None, 0).await), (0, 4, 10, Some(id(7))), "nobody could say");
    assert_eq!(all(&claim(Some(id(8)), None, 3).await), (1, 5, 3, Some(id(8))), "re-created: from its beginning");
    assert_eq!(all(&claim(Some(id(7)), Some(0), 0).await), (1, 6, 3, Some(id(8))), "late");
    assert_eq!(all(&claim(Some(id(8)), Some(0), 0).await), (1, 7, 3, Some(id(8))), "that log is over already");
    assert_eq!(all(&claim(Some(id(8)), Some(1), 2).await), (2, 8, 2, Some(id(8))), "truncated");
}
