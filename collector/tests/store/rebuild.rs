//! A store that is made anew from the audit topic has what the live one has, row by row: random histories with zombies, records
//! that are lost, doubled and re-ordered, collectors that die, and a tapped log of which half is deleted after it was counted.
//! Adding up what each claim reports does not: that is the control.
//!
//! Where everything went through one audit partition all columns are the same; where it was spread, those that do not depend on
//! the order in which a collector happened to read.

use std::collections::BTreeSet;

use chaperone_audit::wire::{AuditMessage, PartitionMark};
use chaperone_collector::query::{Action, OffsetsQuery, WindowQuery};
use chaperone_collector::rebuild::{Rebuild, Rebuilding, Source, Survey};
use chaperone_collector::sqlite::Options;
use chaperone_collector::{AuditPartition, Batch, CaveatKind, Item, Pipelines, Retention, Store, Verdict};
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::model::{History, message, stored};
use crate::place::Place;
use crate::sim::{self, Audit, Msg, START, SimLog, SimReporter, SimTap, client_hop, item, source};
use crate::way::lived;

const HISTORIES: u64 = 300;

/// What is the same in whatever order a collector read.
const ROWS: [&str; 10] = [
    "SELECT topic, stage, window_ms, width_ms, class, n, acked, failed, bytes, f_in, f_acked, f_failed, min_ms, max_ms
     FROM v_stage_window ORDER BY topic, stage, window_ms, class",
    "SELECT t.text, s.text, w.window_ms, w.class, w.hist, w.rule_min, w.rule_max
     FROM stage_window w JOIN name t ON t.id = w.topic JOIN name s ON s.id = w.stage ORDER BY 1, 2, 3, 4",
    "SELECT incarnation, stage, host, application, library, pid, audited_since_ms, last_append_ms, ended, n, acked, failed,
     dropped, late, no_time, malformed, out_of_range FROM v_reporter ORDER BY stage, incarnation",
    "SELECT s.text, r.last_seq, r.known, r.heap FROM reporter r JOIN name s ON s.id = r.stage ORDER BY s.text, r.last_seq, r.known",
    "SELECT s.text, t.text, p.partition, p.log, p.epoch, p.next, p.claim_from, p.counted, p.audited_since_ms, p.position,
     p.frontier_ms FROM tap_partition p JOIN name s ON s.id = p.stage JOIN name t ON t.id = p.topic ORDER BY 1, 2, 3",
    "SELECT s.text, t.text, k.partitions FROM tap_topic k JOIN name s ON s.id = k.stage JOIN name t ON t.id = k.topic ORDER BY 1, 2",
    "SELECT t.text, o.window_ms, s.text, o.width_ms, o.slots, o.unreported
     FROM open_window o JOIN name s ON s.id = o.stage JOIN name t ON t.id = o.topic ORDER BY 1, 2, 3, 5, 6",
    "SELECT t.text, s.text, r.rule FROM stage_rule r JOIN name s ON s.id = r.stage JOIN name t ON t.id = r.topic ORDER BY 1, 2, 3",
    "SELECT cluster, topic, partition, next, read, quarantined FROM audit_partition ORDER BY 1, 2, 3",
    "SELECT topic, partition, \"offset\", received_ms, length, sha256, reason FROM quarantine ORDER BY 1, 2, 3",
];
/// And what is when it read in order.
const IN_ORDER: [&str; 4] = [
    "SELECT t.text, s.text, w.window_ms, w.class, w.last_ms, w.first_ms
     FROM stage_window w JOIN name t ON t.id = w.topic JOIN name s ON s.id = w.stage ORDER BY 1, 2, 3, 4",
    "SELECT incarnation, stage, watermark_ms FROM v_reporter ORDER BY stage, incarnation",
    "SELECT s.text, r.first_append_ms, r.last_sent_ms, r.skew_hour, r.skew_ms, r.skew_before_ms, r.promised_ms, r.awaited, r.farewell,
     r.owed, r.lost_ms FROM reporter r JOIN name s ON s.id = r.stage ORDER BY s.text, r.last_seq, r.known, r.first_append_ms",
    "SELECT s.text, t.text, p.partition, p.last_min_ms, p.watermark_ms
     FROM tap_partition p JOIN name s ON s.id = p.stage JOIN name t ON t.id = p.topic ORDER BY 1, 2, 3",
];
const VERDICTS: &str =
    "SELECT topic, from_stage, to_stage, window_ms, width_ms, verdict, missing_min, surplus_min, delayed, caveats,
     why, settled FROM v_hop_window ORDER BY topic, from_stage, to_stage, window_ms";

fn sources(topic: &[Vec<Item>], starts: &[i64]) -> Vec<Source> {
    let partitions = i32::try_from(topic.len()).expect("small");
    let one = |(no, records): (i32, &Vec<Item>)| {
        let start = starts.get(usize::try_from(no).expect("small")).copied().unwrap_or(0);
        let first_ms = records.first().map(|i| i.append_ms);
        Source { partition: source(no), topic_id: None, partitions, start, first_ms }
    };
    (0..).zip(topic).map(one).collect()
}

/// Makes a store anew from what lies on the topic, in batches of any size from any partition.
async fn rebuild(topic: &[Vec<Item>], starts: &[i64], store: &dyn Rebuild, rng: &mut StdRng, now_ms: i64) {
    let mut survey = Survey::default();
    topic.iter().flatten().filter_map(message).for_each(|m| survey.note(m));
    let whole = starts.iter().all(|start| *start == 0);
    let pipelines = client_hop();
    let with: (&Pipelines, Retention) = (&pipelines, Retention::default());
    let sources = sources(topic, starts);
    let mut work = Rebuilding::begin(store, survey.plan(whole), with, &sources, now_ms).await.expect("begun");
    let mut unread: Vec<(i32, &[Item])> = (0..).zip(topic).map(|(no, records)| (no, records.as_slice())).collect();
    while let Some((no, records)) = unread.iter_mut().filter(|(_, records)| !records.is_empty()).choose(rng) {
        let (items, rest) = records.split_at(rng.random_range(1..=records.len()));
        *records = rest;
        let next = items.last().expect("some").offset + 1;
        work.apply(Batch { source: source(*no), log: 0, from: None, items: items.to_vec(), next })
            .await
            .expect("applied");
    }
    work.end(None, whole, now_ms).await.expect("made");
}

/// All reports are in, and both are judged at one time.
async fn judged(store: &dyn Store, partitions: usize, now_ms: i64) {
    let through = (0..i32::try_from(partitions).expect("small")).map(|p| (source(p), now_ms).into());
    store.audit_through(through.collect()).await.expect("through");
    for _ in 0..100 {
        if store.judge(now_ms, &client_hop()).await.expect("judged") == 0 {
            return;
        }
    }
}

async fn offsets(store: &dyn Store) -> String {
    let query = OffsetsQuery { topic: "orders".into(), stage: "kafka".into(), from_ms: 0, to_ms: i64::MAX };
    format!("{:?}", store.offsets(query).await.expect("offsets"))
}

/// Each report of each claim once, whatever the next claim began with.
fn without_limits(topic: &[Vec<Item>]) -> u64 {
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for i in topic.iter().flatten().filter_map(message).flat_map(|m| &m.intervals) {
        if seen.insert((i.partition, i.epoch, i.from, i.to)) {
            sum += i.windows.iter().map(|w| w.n).sum::<u64>();
        }
    }
    sum
}

struct Outcome {
    wrong: Vec<String>,
    control_differs: bool,
    deleted: usize,
}

async fn history(seed: u64, live: &Place, anew: &Place) -> Outcome {
    let mut h = History::new(seed);
    let in_order = seed.is_multiple_of(3);
    if in_order {
        h.way.topic.truncate(1);
    }
    let mut store = h.way.open(live);
    for _ in 0..h.way.rng.random_range(4..12) {
        h.live(&*store).await;
        store = h.collect(store, live).await;
    }
    store = h.finish(store, live).await;
    let truth = h.truth(&*store).await;
    // Half of what was counted is deleted from the tapped log: nobody could count it again.
    let before: usize = h.log.0.iter().map(Vec::len).sum();
    let mut rng = StdRng::seed_from_u64(seed);
    h.log.0.iter_mut().for_each(|log| log.retain(|_| rng.random_bool(0.5)));
    let deleted = before - h.log.0.iter().map(Vec::len).sum::<usize>();

    let new = anew.open_anew(Options { durable: false, ..h.way.options });
    rebuild(&h.way.topic, &[], &*new, &mut rng, h.way.now_ms).await;
    let mut wrong = Vec::new();
    if stored(&*new).await != truth {
        wrong.push(format!("seed {seed}: the new store's totals are not the model's"));
    }
    if offsets(&*new).await != offsets(&*store).await {
        wrong.push(format!("seed {seed}: offsets of windows"));
    }
    for store in [&*store, &*new as &dyn Store] {
        judged(store, h.way.topic.len(), h.way.now_ms + 120_000).await;
    }
    let in_order = IN_ORDER.iter().filter(|_| in_order);
    for sql in ROWS.iter().chain(in_order).chain([&VERDICTS]) {
        let (was, is) = (live.rows(sql), anew.rows(sql));
        if was != is {
            wrong.push(format!("seed {seed}: {sql}\nlive {was:?}\nnew  {is:?}"));
        }
    }
    let tapped: u64 = truth.iter().filter(|(key, _)| key.1 == "kafka").map(|(_, total)| total.0).sum();
    Outcome { wrong, control_differs: without_limits(&h.way.topic) != tapped, deleted }
}

#[test]
fn a_store_made_anew_is_the_live_one_and_adding_up_claims_is_not() {
    let outcomes = lived(HISTORIES, async |seed, [live, anew]| history(seed, live, anew).await);
    let wrong: Vec<&String> = outcomes.iter().flat_map(|o| &o.wrong).collect();
    let control = outcomes.iter().filter(|o| o.control_differs).count() as u64;
    let deleted: usize = outcomes.iter().map(|o| o.deleted).sum();
    crate::place::figure("rebuild_histories", HISTORIES);
    crate::place::figure("rebuild_wrong", wrong.len() as u64);
    crate::place::figure("rebuild_control_wrong", control);
    println!(
        "{HISTORIES} histories, {deleted} messages deleted after they were counted; claims added up: wrong in {control}"
    );
    assert!(wrong.is_empty(), "{} wrong; the first: {}", wrong.len(), wrong[0]);
    assert!(control * 100 >= HISTORIES * 90 && deleted > 1_000, "the histories are too easy: {control}, {deleted}");
}

fn msg(id: u128, event_ms: i64) -> Msg {
    Msg { id, topic: "orders", event_ms }
}

#[tokio::test]
async fn of_a_topic_whose_beginning_was_deleted_earlier_windows_are_never_ok_nor_red() {
    let (mut producer, mut consumer) =
        (SimReporter::new(1, "producer", "h", START), SimReporter::new(2, "consumer", "h", START).seeing());
    let mut topic: Vec<Item> = Vec::new();
    let put = |m: AuditMessage, now_ms: i64, topic: &mut Vec<Item>| {
        let offset = i64::try_from(topic.len()).expect("small");
        topic.push(item(offset, m, now_ms));
    };
    let mut lost_at = 0;
    for window in 0..12_i64 {
        let at_ms = START + window * 10_000;
        for n in 0..4 {
            let m = msg(u128::try_from(window * 10 + n).expect("small"), at_ms + n);
            producer.arrive(&m, at_ms + n);
            producer.acked(&m);
            consumer.arrive(&m, at_ms + n + 1);
        }
        let now_ms = at_ms + 9_999;
        for reporter in [&mut producer, &mut consumer] {
            reporter.close(now_ms);
            let open: Vec<u64> =
                reporter.slots.values().filter(|s| s.window_ms.0 > now_ms - 25_000).map(|s| s.id).collect();
            put(reporter.beat_with(now_ms, open), now_ms, &mut topic);
        }
        if window == 5 {
            lost_at = topic.len();
        }
    }
    let end_ms = START + 180_000;
    for reporter in [&mut producer, &mut consumer] {
        put(reporter.goodbye(end_ms), end_ms, &mut topic);
    }
    // The control: of the whole topic all windows are ok.
    for (start, place) in [(0, Place::new()), (lost_at, Place::new())] {
        let new = place.open_anew(Options::default());
        let left = vec![topic[start..].to_vec()];
        // The goodbyes tell everything again, and that is just what a deleted beginning lacks.
        let left = if start == 0 { left } else { vec![left[0][..left[0].len() - 2].to_vec()] };
        let mut rng = StdRng::seed_from_u64(1);
        let starts = [i64::try_from(start).expect("small")];
        rebuild(&left, &starts, &*new, &mut rng, end_ms).await;
        judged(&*new, 1, end_ms + 120_000).await;
        let since = new.whole_since_ms().await.expect("since");
        let verdicts = sim::verdicts(&*new, "orders").await;
        if start == 0 {
            assert!(since.is_none() && verdicts.len() == 12, "{verdicts:?}");
            assert!(verdicts.iter().all(|w| w.verdict == Verdict::Ok), "{verdicts:?}");
            continue;
        }
        let since = since.expect("a time");
        assert_eq!(since, topic[start].append_ms);
        let red = [Verdict::Missing, Verdict::Surplus, Verdict::Mixed];
        for w in &verdicts {
            let known_whole = w.window_ms >= since;
            assert_eq!(w.verdict == Verdict::Ok, known_whole, "{since}: {w:?}");
            let told = w.caveats.iter().any(|c| c.kind == CaveatKind::NotAuditedYet);
            assert!(known_whole || told && !red.contains(&w.verdict), "{w:?}");
        }
        assert!(verdicts.iter().any(|w| w.window_ms < since) && verdicts.iter().any(|w| w.window_ms >= since));
    }
}

#[tokio::test]
async fn what_only_the_old_store_knows_is_taken_over_and_the_collector_goes_on_from_there() {
    let (old, new) = (Place::new(), Place::new());
    let store = old.open();
    let mut log = SimLog::new(1);
    let mut tap = SimTap::new(10, "kafka", "orders");
    (0..20).for_each(|n| log.append(0, msg(n, START + 1), START + 2));
    let mut request = tap.request(0, START);
    (request.first_next, request.first_since_ms, request.topic_id) = (5, START - 7, Some(sim::uuid(77)));
    let claim = store.claim(request).await.expect("claim");
    tap.at.insert(0, claim.next);
    tap.claims.insert(0, claim);
    let action = Action {
        at_ms: START,
        who: "ada".into(),
        role: "admin".into(),
        address: String::new(),
        action: "reload".into(),
        what: "the configuration".into(),
        outcome: "done".into(),
    };
    store.note_action(action.clone()).await.expect("noted");
    let mut audit = Audit::default();
    let first = tap.beat(&log, START + 5_000);
    audit.send(&*store, vec![first.clone()], START + 5_000).await;
    let topic = [vec![item(0, first, START + 5_000)]];

    let anew = new.open_anew(Options::default());
    let mut survey = Survey::default();
    topic.iter().flatten().filter_map(message).for_each(|m| survey.note(m));
    let pipelines = client_hop();
    let sources = sources(&topic, &[]);
    let with = (&pipelines, Retention::default());
    let mut work = Rebuilding::begin(&*anew, survey.plan(true), with, &sources, START).await.expect("begun");
    work.apply(Batch { source: source(0), log: 0, from: None, items: topic[0].clone(), next: 1 })
        .await
        .expect("applied");
    let since = "SELECT audited_since_ms FROM tap_partition";
    assert_eq!(new.one(since), (START + 5_000).to_string(), "what the topic tells: the first report");
    let bequest = old.open_anew(Options::default()).bequest().await.expect("a bequest");
    // Its collector had seen that nothing more was appended: a window that it settled thereby must settle here too.
    work.know(vec![(source(0), START + 8_000).into()]);
    work.end(Some(bequest), true, START + 9_000).await.expect("made");
    let AuditPartition { cluster, topic, .. } = source(0);
    let stands = anew.audit_stands(&cluster, &topic).await.expect("stands");
    assert_eq!(stands[0].through_ms, Some(START + 8_000));
    assert_eq!(new.one(since), (START - 7).to_string());
    assert_eq!(anew.actions(i64::MAX, 9).await.expect("actions")[0].action, action);

    // The tap claims, the collector goes on: nothing is counted twice, nothing left out.
    (20..30).for_each(|n| log.append(0, msg(n, START + 1), START + 6_000));
    let claim = anew.claim(SimTap::new(11, "kafka", "orders").request(0, START + 9_000)).await.expect("claim");
    assert_eq!((claim.next, claim.epoch, claim.topic_id), (20, 2, Some(sim::uuid(77))));
    let mut second = SimTap::new(11, "kafka", "orders");
    second.at.insert(0, claim.next);
    second.claims.insert(0, claim);
    audit.send(&*anew, vec![second.beat(&log, START + 9_500)], START + 9_500).await;
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
    let n: u64 = anew.stage_windows(all).await.expect("totals").iter().map(|w| w.n).sum();
    assert_eq!(n, 25);
}

#[tokio::test]
async fn a_partition_that_only_marks_tell_of_stands_where_they_say() {
    let place = Place::new();
    let store = place.open_anew(Options::default());
    let mark = PartitionMark {
        topic: "orders".into(),
        partition: 0,
        log: 0,
        epoch: 3,
        position: 40,
        asked_ms: START + 4_000,
        frontier_ms: None,
        held_since_ms: None,
    };
    let mut tap = SimTap::new(10, "kafka", "orders");
    let m = AuditMessage { marks: vec![mark], ..tap.message(START + 5_000) };
    let topic = [vec![item(0, m, START + 5_000)]];
    rebuild(&topic, &[], &*store, &mut StdRng::seed_from_u64(1), START + 9_000).await;
    let row = place.rows("SELECT epoch, next, claim_from, position, counted, audited_since_ms FROM tap_partition");
    let since = (START + 5_000).to_string();
    assert_eq!(row, [["3", "40", "40", "40", "0", since.as_str()]]);
}
