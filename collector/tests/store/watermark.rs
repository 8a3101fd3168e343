//! A watermark is accepted only when everything before it is here, however the messages are shuffled.

use std::collections::BTreeMap;

use chaperone_audit::AuditMessage;
use chaperone_audit::wire::End;
use chaperone_collector::query::WindowQuery;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{Batch, StageKind, Store, Verdict};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::place::Place;
use crate::sim::{Audit, Msg, START, SimLog, SimReporter, SimTap, item, memory, pipelines, source, stage, verdicts};

/// Append time minus send time, always the same here, so that an effective watermark names the beat that it came from.
const TRANSPORT_MS: i64 = 40;

/// What had been counted when a beat was made: n by (topic, window).
type Truth = BTreeMap<(String, i64), u64>;

fn truth(r: &SimReporter) -> Truth {
    let mut all = Truth::new();
    for s in r.slots.values() {
        *all.entry((s.topic.clone(), s.window_ms.0)).or_default() += s.state.n;
    }
    all
}

async fn stored(store: &dyn Store) -> Truth {
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
    let rows = store.stage_windows(all).await.expect("totals");
    rows.into_iter().map(|w| ((w.topic, w.window_ms), w.n)).collect()
}

async fn watermark(store: &dyn Store) -> Option<i64> {
    store.reporters(START).await.expect("reporters").first().and_then(|r| r.watermark_ms)
}

fn positions(place: &Place) -> Option<i64> {
    place.one("SELECT max(position) FROM consumer_position").parse().ok()
}

/// By the time of a beat: what had been counted, and the position.
type Beats = BTreeMap<i64, (Truth, i64)>;

/// A reporter's life as beats in parts: (message, when appended), and the truth and position at each beat.
fn life(rng: &mut StdRng) -> (Vec<(AuditMessage, i64)>, Beats) {
    let mut r = SimReporter::new(1, "consumer", "h", START).seeing();
    let mut sent = vec![];
    let mut beats = Beats::new();
    let mut now_ms = START;
    for beat in 1..=12u128 {
        now_ms += rng.random_range(500..5_000);
        for i in 0..rng.random_range(0..5) {
            let event_ms = now_ms - rng.random_range(0..20_000);
            r.arrive(&Msg { id: beat * 100 + i, topic: "orders", event_ms }, now_ms);
            r.positions.insert(("orders".into(), 0), i64::try_from(beat * 100 + i).expect("small"));
        }
        r.close(now_ms);
        let mut ids: Vec<u64> = r.slots.keys().copied().collect();
        ids.shuffle(rng);
        let last = ids.split_off(rng.random_range(0..=ids.len()));
        let (part, beat) = (r.part(now_ms, ids), r.beat_with(now_ms, last));
        sent.extend([(part, now_ms + TRANSPORT_MS), (beat, now_ms + TRANSPORT_MS)]);
        let position = r.positions.values().copied().max().unwrap_or(0);
        beats.insert(now_ms + TRANSPORT_MS, (truth(&r), position));
    }
    (sent, beats)
}

#[tokio::test]
async fn shuffled_delivery_never_makes_a_watermark_early_and_the_last_one_is_reached() {
    let mut place = Place::new();
    let mut early_beats = 0;
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        place.renew();
        let store = place.open_with(Options { durable: false, ..Options::default() });
        let (sent, beats) = life(&mut rng);
        let mut doubled: Vec<_> = sent.iter().flat_map(|m| std::iter::repeat_n(m, 2)).collect();
        doubled.shuffle(&mut rng);
        let mut next = 0;
        for chunk in doubled.chunks(3) {
            let items: Vec<_> = chunk.iter().zip(next..).map(|((m, at), o)| item(o, m.clone(), *at)).collect();
            next += 3;
            store.apply(Batch { source: source(0), log: 0, from: None, items, next }).await.expect("apply");
            let Some(accepted) = watermark(&*store).await else {
                assert_eq!(positions(&place), None, "seed {seed}: no position before any watermark");
                continue;
            };
            let (promised, position) = beats.get(&accepted).expect("a beat's own time");
            let found = stored(&*store).await;
            for (window, n) in promised {
                let here = found.get(window).copied().unwrap_or(0);
                assert!(here >= *n, "seed {seed}: {window:?} has {here} of {n} before {accepted}");
            }
            assert!(positions(&place).unwrap_or(0) <= *position, "seed {seed}: a position before its counts");
            early_beats += 1;
        }
        let (last, (all, position)) = beats.last_key_value().expect("beats");
        assert_eq!(watermark(&*store).await, Some(*last), "seed {seed}: all is here");
        assert_eq!(&stored(&*store).await, all);
        assert_eq!(positions(&place).unwrap_or(0), *position);
    }
    assert!(early_beats > 300, "the test must see watermarks before the end: {early_beats}");
}

#[tokio::test]
async fn a_goodbye_waits_for_what_it_says_goodbye_to() {
    let store = memory();
    let mut audit = Audit::default();
    let mut r = SimReporter::new(1, "producer", "h", START);
    for id in 1..=9 {
        let m = Msg { id, topic: "orders", event_ms: START };
        r.arrive(&m, START);
        r.acked(&m);
    }
    let all = r.part(START, [0]);
    let goodbye = AuditMessage { slots: vec![], ..r.goodbye(START + 1_000) };
    audit.send(&*store, vec![goodbye], START + 1_000).await;
    let state = store.reporters(START + 2_000).await.expect("reporters");
    assert_eq!((state[0].state.as_str(), state[0].watermark_ms), ("live", None));
    audit.send(&*store, vec![all], START + 2_000).await;
    let state = store.reporters(START + 2_000).await.expect("reporters");
    assert_eq!((state[0].state.as_str(), state[0].watermark_ms), ("goodbye", Some(START + 1_000)));
}

#[tokio::test]
async fn a_watermark_is_in_broker_time_and_never_after_its_append() {
    for (clock_ahead_ms, expected) in [(0, 100), (3_600_000, 100), (-3_600_000, 100)] {
        let store = memory();
        let mut audit = Audit::default();
        let mut r = SimReporter::new(1, "producer", "h", START);
        let beat = r.beat(START + clock_ahead_ms);
        audit.send(&*store, vec![beat], START + 100).await;
        assert_eq!(watermark(&*store).await, Some(START + expected));
        // A beat that is slow on its way says nothing about the clock; the quick one before it did.
        let beat = r.beat(START + 1_000 + clock_ahead_ms);
        audit.send(&*store, vec![beat], START + 9_000).await;
        assert_eq!(watermark(&*store).await, Some(START + 1_100));
    }
}

#[tokio::test]
async fn recovered_finals_end_an_incarnation_for_good() {
    let store = memory();
    let mut audit = Audit::default();
    let mut r = SimReporter::new(1, "producer", "h", START);
    let beat = r.beat(START);
    let last_words = AuditMessage { end: Some(End::Crash), ..r.part(START, []) };
    audit.send(&*store, vec![last_words.clone(), beat.clone()], START).await;
    audit.send(&*store, vec![beat, last_words], START + 1_000).await;
    let state = store.reporters(START + 1_000).await.expect("reporters");
    assert_eq!((state.len(), state[0].state.as_str()), (1, "ended"));
}

/// No watermark passes an open transaction, so that what is behind it is waited for; the row says what for.
#[tokio::test]
async fn a_window_that_waits_for_an_open_transaction_says_so() {
    let (store, mut audit) = (memory(), Audit::default());
    let hop = pipelines(vec![stage("producer", StageKind::Client), stage("kafka", StageKind::Kafka)]);
    let mut producer = SimReporter::new(1, "producer", "h", START - 1);
    let m = Msg { id: 1, topic: "orders", event_ms: START + 100 };
    producer.arrive(&m, START + 110);
    producer.acked(&m);
    let (mut tap, mut log) = (SimTap::new(2, "kafka", "orders"), SimLog::new(1));
    tap.claim(&*store, 0, START).await;
    let mut said = Vec::new();
    for (at_ms, held_since_ms) in [(15_000, None), (20_000, Some(START + 5_000)), (30_000, None)] {
        let at_ms = START + at_ms;
        if at_ms == START + 30_000 {
            log.append(0, m, START + 120);
        }
        let mut mark = tap.beat(&log, at_ms);
        if mark.intervals.is_empty() {
            // It cannot read what lies behind.
            mark.marks[0].asked_ms = START + 5_000;
        }
        mark.marks[0].held_since_ms = held_since_ms;
        // The first report took long: by the others its times lie earlier than they seemed to.
        let transport_ms = if at_ms == START + 15_000 { 500 } else { TRANSPORT_MS };
        audit.send(&*store, vec![mark, producer.beat(at_ms)], at_ms + transport_ms).await;
        store.judge(at_ms, &hop).await.expect("judge");
        let w = verdicts(&*store, "orders").await.remove(0);
        said.push((w.verdict, w.caveats.iter().map(ToString::to_string).collect::<Vec<_>>()));
    }
    let held = vec!["held by an open transaction downstream".to_owned()];
    assert_eq!(said, [(Verdict::Settling, vec![]), (Verdict::Settling, held), (Verdict::Ok, vec![])]);
}

#[tokio::test]
async fn ids_that_were_merged_into_others_are_no_gap_and_hold_nothing() {
    let store = memory();
    let mut audit = Audit::default();
    let mut r = SimReporter::new(1, "producer", "h", START);
    for (id, event_ms) in [(1, START), (2, START + 10_000), (3, START + 20_000)] {
        let m = Msg { id, topic: "orders", event_ms };
        r.arrive(&m, event_ms);
        r.acked(&m);
    }
    let beat = r.beat_with(START + 40_000, [0, 1]);
    let third = r.part(START + 40_000, [2]);
    audit.send(&*store, vec![beat.clone()], START + 40_000).await;
    assert_eq!(watermark(&*store).await, None, "slot 2 is missing");
    // What the third held is nowhere, so the sums do not fit either; then a heartbeat says them without it.
    let sum = beat.sum.map(|s| chaperone_audit::wire::Sum {
        n: 2,
        acked: 2,
        f_in: beat.slots.iter().fold(chaperone_audit::Fingerprint::ZERO, |f, s| f.plus(s.state.f_in())),
        ..s
    });
    let merged = AuditMessage { merged: vec![(1, 3)], slots: vec![], sum, watermark_ms: Some(START + 41_000), ..beat };
    audit.send(&*store, vec![merged.clone(), merged, third], START + 41_000).await;
    assert_eq!(watermark(&*store).await, Some(START + 41_000), "three ids are known, slot 1 keeps its counts");
    assert_eq!(stored(&*store).await.values().sum::<u64>(), 2, "a record under an id that is gone says nothing");
}
