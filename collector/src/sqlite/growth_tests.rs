//! What a batch and a judgement cost depends on what is open, not on how long the store has been in use.
//!
//! Counted in steps of SQLite's virtual machine on the writer's connection, which are the same on every machine, and in
//! what is read and decoded besides: the rows of the tables that are worked on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chaperone_audit::wire::{
    AuditMessage, Dropped, End, GapCause, Interval, IntervalKind, IntervalWindow, PartitionMark, Position, Reporter,
    SlotRecord, Sum, TopicMark, VERSION,
};
use chaperone_audit::{Class, Fingerprint, Histogram, MessageId, RuleId, SlotState, Width, WindowStart, state::flag};

use rusqlite::Connection;

use super::tx::LiteTx;
use super::*;
use crate::batch::{AuditPartition, Batch, Content, Item};
use crate::query::WindowQuery;
use crate::store::{Claim, ClaimRequest, Store};
use crate::tables::{reader, summary};
use crate::verdict::Verdict;

const WIDTH: Width = Width::TEN_SECONDS;
const GRACE_MS: i64 = 2_000;
const SILENT_MS: i64 = 6_000;
/// On a window's edge.
const START: i64 = 1_790_000_000_000;
const TOPIC: &str = "orders";
const STAGES: [&str; 3] = ["producer", "kafka:k", "consumer"];
/// Messages of a window.
const MESSAGES: u64 = 5;

/// A client stage's present reporter.
struct Client {
    incarnation: Uuid,
    seen: bool,
    sum: Sum,
}

impl Client {
    fn new(n: u128, seen: bool) -> Self {
        Self { incarnation: Uuid::from_u128(n), seen, sum: Sum::default() }
    }

    /// The slot of a window with so many of its messages.
    fn slot(&self, window_ms: i64, ids: std::ops::Range<u64>, is_final: bool) -> SlotRecord {
        let f = Some(sum_of(ids.clone()));
        let n = ids.end - ids.start;
        let flags = self.seen.then(|| flag::SEEN.to_owned()).into_iter().collect();
        let (acked, f_acked) = if self.seen { (0, None) } else { (n, f) };
        let last_ms = Some(window_ms + 5_000);
        let state = SlotState { n, f_in: f, acked, f_acked, last_ms, flags, is_final, ..SlotState::default() };
        let (window_ms, rule) = (WindowStart(window_ms), RuleId(7));
        let id = self.sum.slots;
        SlotRecord { id, topic: TOPIC.into(), window_ms, width_ms: WIDTH, class: Class::Bare, rule, state }
    }

    fn add(&mut self, slot: &SlotRecord) {
        self.sum.slots += 1;
        self.sum.n += slot.state.n;
        self.sum.acked += slot.state.acked;
        self.sum.f_in = self.sum.f_in.plus(slot.state.f_in());
    }
}

fn sum_of(ids: std::ops::Range<u64>) -> Fingerprint {
    ids.fold(Fingerprint::ZERO, |f, id| f.plus(MessageId(u128::from(id)).hash(9)))
}

/// A pipeline at work: a producer, a tapped cluster of one partition, a consumer.
struct World {
    store: SqliteStore,
    pipelines: Pipelines,
    steps: Arc<AtomicU64>,
    producer: Client,
    consumer: Client,
    claim: Claim,
    windows: u64,
    audit_next: i64,
    seq: u64,
}

impl World {
    async fn new() -> Self {
        let store = SqliteStore::in_memory().expect("store");
        let steps = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&steps);
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        };
        store.writer.outside(move |conn| conn.progress_handler(1, Some(count)).expect("counts steps")).await;
        let request = ClaimRequest {
            stage: STAGES[1].into(),
            topic: TOPIC.into(),
            partition: 0,
            tap: Uuid::from_u128(3),
            now_ms: START,
            first_next: 0,
            first_since_ms: i64::MIN,
            log_start: 0,
            partitions: None,
            topic_id: None,
            over: None,
        };
        let claim = store.claim(request).await.expect("claim");
        let (producer, consumer) = (Client::new(1, false), Client::new(2, true));
        Self { store, pipelines: pipelines(), steps, producer, consumer, claim, windows: 0, audit_next: 0, seq: 0 }
    }

    fn head(&mut self, incarnation: Uuid, stage: &str, now_ms: i64) -> AuditMessage {
        self.seq += 1;
        AuditMessage {
            v: VERSION,
            uuid: Uuid::from_u128(u128::from(self.seq)),
            incarnation,
            seq: self.seq,
            reporter: Reporter { host: "h".into(), application: "a".into(), library: "l".into(), pid: 1 },
            stage: stage.into(),
            cluster: String::new(),
            datacenter: String::new(),
            sent_ms: now_ms,
            watermark_ms: None,
            audited_since_ms: Some(START),
            slots: vec![],
            merged: vec![],
            intervals: vec![],
            marks: vec![],
            topics: vec![],
            positions: vec![],
            sum: None,
            cadence_ms: None,
            late: 0,
            dropped: Dropped::default(),
            end: None,
        }
    }

    async fn send(&mut self, messages: Vec<AuditMessage>, now_ms: i64) {
        let source = AuditPartition { cluster: "c".into(), topic: "a".into(), partition: 0 };
        let mut items = Vec::new();
        for message in messages {
            let content = Content::Message(Box::new(message));
            items.push(Item { offset: self.audit_next, append_ms: now_ms, received_ms: now_ms, content });
            self.audit_next += 1;
        }
        let batch = Batch { source: source.clone(), log: 0, from: None, items, next: self.audit_next };
        self.store.apply(batch).await.expect("apply");
        self.store.audit_through(vec![(source, now_ms).into()]).await.expect("through");
        self.store.judge(now_ms, &self.pipelines).await.expect("judge");
    }

    /// The next window: reported while it is open, then finally. The consumer misses one message if `loses`. If it
    /// `dies`, what it had counted since its last report is lost; another takes its place and tells its end.
    async fn window(&mut self, loses: bool, dies: bool) {
        let window_ms = START + i64::try_from(self.windows).expect("small") * WIDTH.ms();
        let first = self.windows * MESSAGES;
        let all = first..first + MESSAGES;
        self.windows += 1;
        let (half_ms, end_ms) = (window_ms + 5_000, window_ms + WIDTH.ms());
        let mut open = self.head(self.producer.incarnation, STAGES[0], half_ms);
        open.slots = vec![self.producer.slot(window_ms, first..first + 2, false)];
        let mut reports = vec![open];
        if dies {
            let mut end = self.head(self.consumer.incarnation, STAGES[2], half_ms);
            end.end = Some(End::Crash);
            reports.push(end);
            self.consumer = Client::new(1_000 + u128::from(self.windows), true);
        } else {
            let mut down = self.head(self.consumer.incarnation, STAGES[2], half_ms);
            down.slots = vec![self.consumer.slot(window_ms, first..first + 1, false)];
            reports.push(down);
        }
        self.send(reports, half_ms).await;

        let now_ms = end_ms + GRACE_MS + 500;
        let mut up = self.head(self.producer.incarnation, STAGES[0], now_ms);
        up.slots = vec![self.producer.slot(window_ms, all.clone(), true)];
        self.producer.add(&up.slots[0]);
        (up.watermark_ms, up.sum) = (Some(now_ms), Some(self.producer.sum));
        let tap = self.tap(window_ms, all.clone(), now_ms);
        let mut down = self.head(self.consumer.incarnation, STAGES[2], now_ms);
        down.slots = vec![self.consumer.slot(window_ms, all.start + u64::from(loses || dies)..all.end, true)];
        self.consumer.add(&down.slots[0]);
        (down.watermark_ms, down.sum) = (Some(now_ms), Some(self.consumer.sum));
        let position = i64::try_from(all.end).expect("small");
        down.positions = vec![Position { topic: TOPIC.into(), partition: 0, position }];
        self.send(vec![up, tap, down], now_ms).await;
    }

    /// What the tap says when it has read the messages of a window.
    fn tap(&mut self, window_ms: i64, ids: std::ops::Range<u64>, now_ms: i64) -> AuditMessage {
        let [from, to] = [ids.start, ids.end].map(|o| i64::try_from(o).expect("small"));
        let Claim { log, epoch, next, .. } = self.claim;
        let window = IntervalWindow {
            window_ms: WindowStart(window_ms),
            width_ms: WIDTH,
            class: Class::Bare,
            n: ids.end - ids.start,
            bytes: 9,
            f: sum_of(ids),
            hist: Histogram::new(),
            min_ms: window_ms,
            max_ms: window_ms + 1,
            last_ms: window_ms + 5_000,
            min_offset: from,
            max_offset: to - 1,
        };
        let interval = Interval {
            topic: TOPIC.into(),
            partition: 0,
            log,
            epoch,
            claim_from: next,
            from,
            to,
            rule: RuleId(7),
            kind: IntervalKind::Counted,
            cause: GapCause::Gone,
            anchor: None,
            gaps: None,
            windows: vec![window],
        };
        let mark = PartitionMark {
            topic: TOPIC.into(),
            partition: 0,
            log,
            epoch,
            position: to,
            asked_ms: now_ms,
            frontier_ms: Some(window_ms + 1),
            held_since_ms: None,
        };
        let topics = vec![TopicMark { topic: TOPIC.into(), partitions: 1, asked_ms: now_ms }];
        let head = self.head(Uuid::from_u128(3), STAGES[1], now_ms);
        AuditMessage { intervals: vec![interval], marks: vec![mark], topics, ..head }
    }

    /// Goes on until there are so many windows; the steps that took.
    async fn go_on(&mut self, until: u64) -> u64 {
        self.steps.store(0, Ordering::Relaxed);
        while self.windows < until {
            self.window(self.windows % 10 == 3, self.windows % 20 == 7).await;
        }
        self.steps.load(Ordering::Relaxed)
    }

    /// Of what a batch or a judgement reads and decodes, how much there is.
    async fn at_work(&self) -> Vec<(&'static str, i64)> {
        const SIZES: [(&str, &str); 5] = [
            ("windows in the queue", "SELECT count(*) FROM pending"),
            ("rows of finals", "SELECT count(*) FROM final_slots"),
            ("bytes of a reporter's open slots", "SELECT max(length(body)) FROM open_slots"),
            ("bytes of a reporter's ids", "SELECT max(length(known) + length(sealed)) FROM reporter"),
            ("rows of taps", "SELECT count(*) FROM tap_partition"),
        ];
        let size = |conn: &Connection, sql| conn.query_row(sql, [], |r| r.get(0)).expect("a number");
        self.store.writer.outside(move |conn| SIZES.map(|(what, sql)| (what, size(conn, sql))).to_vec()).await
    }

    /// Steps of what the page and the API ask of the last three minutes.
    async fn looked_at(&self) -> u64 {
        let to_ms = START + i64::try_from(self.windows).expect("small") * WIDTH.ms();
        let (any, one) = (None, Some(TOPIC.to_owned()));
        let queries = [any, one].map(|topic| WindowQuery { topic, from_ms: to_ms - 180_000, to_ms, limit: None });
        self.steps.store(0, Ordering::Relaxed);
        let look = move |conn: &mut Connection| {
            let tx = LiteTx(conn);
            for query in &queries {
                assert_eq!(reader::windows(&tx, query).expect("windows").len(), 36);
                assert_eq!(reader::stage_windows(&tx, query).expect("totals").len(), 54);
                assert_eq!(summary::topics(&tx, query).expect("topics").len(), 1);
            }
            reader::status(&tx).expect("status");
        };
        self.store.writer.outside(look).await;
        self.steps.load(Ordering::Relaxed)
    }
}

fn pipelines() -> Pipelines {
    use crate::{Pipeline, Stage, StageKind, TopicPattern};
    let kinds = [StageKind::Client, StageKind::Kafka, StageKind::Client];
    let stage = |(name, kind): (&str, StageKind)| Stage { complete: true, ..Stage::new(name, kind) };
    let stages = STAGES.into_iter().zip(kinds).map(stage).collect();
    Pipelines::from(vec![Pipeline {
        grace: std::time::Duration::from_millis(GRACE_MS.unsigned_abs()),
        silent_after: std::time::Duration::from_millis(SILENT_MS.unsigned_abs()),
        ..Pipeline::new("p", vec![TopicPattern::Name(TOPIC.into())], stages)
    }])
}

#[tokio::test]
async fn the_ten_thousandth_verdict_costs_what_the_hundredth_did() {
    let mut world = World::new().await;
    // States of finals are kept for 90 windows; from then on it is as it stays.
    world.go_on(100).await;
    let (early, early_at_work, early_look) = (world.go_on(200).await, world.at_work().await, world.looked_at().await);
    world.go_on(4_900).await;
    let (late, late_at_work, late_look) = (world.go_on(5_000).await, world.at_work().await, world.looked_at().await);
    println!("a window: {} steps, then {}; a look: {early_look}, then {late_look}", early / 100, late / 100);
    println!("{early_at_work:?}\n{late_at_work:?}");
    assert!(late * 100 <= early * 105, "100 windows took {early} steps, after a day {late}");
    assert!(late_look * 100 <= early_look * 105, "a look took {early_look} steps, after a day {late_look}");
    for ((what, early), (_, late)) in early_at_work.into_iter().zip(late_at_work) {
        // Numbers grow by a digit or two.
        assert!(late <= early + 3, "{what}: {early}, after a day {late}");
    }
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: Some(20_000) };
    let verdicts = world.store.windows(all).await.expect("windows");
    let count = |verdict| verdicts.iter().filter(|w| w.verdict == verdict).count();
    let (missing, uncertain) = (count(Verdict::Missing), count(Verdict::Uncertain));
    assert_eq!((verdicts.len(), missing, uncertain), (10_000, 500, 250), "not what it was meant to show");
    assert_eq!(count(Verdict::Ok), 9_250);
}

/// Statements that may look at everything, and why.
const SCANS: [(&str, &str); 15] = [
    ("account_amended.sql", "the index of amendments, which are few"),
    ("account_limited.sql", "the sums of a range, which is found by its index"),
    ("account_untimed.sql", "likewise"),
    ("account_untimed_level.sql", "likewise"),
    ("bequest_begun.sql", "a row for each tapped stage and topic, once for a store that is made anew"),
    ("bequest_former.sql", "likewise, for each partition that was deleted"),
    ("bequest_taps.sql", "likewise, for each partition"),
    ("complete_through_all.sql", "one row a topic"),
    ("hop_stands.sql", "each topic once, and its last window by the key"),
    ("lag_rows.sql", "the list of all groups at all partitions, as of the last look"),
    ("quarantined.sql", "newest first, up to a limit"),
    ("reopen_no_report.sql", "once for each tapped partition and stage; the index of what is not ok"),
    ("reporters.sql", "the list of all reporters"),
    ("store_bytes.sql", "two numbers of the file's head"),
    ("unaudited_newest.sql", "newest first, up to a limit"),
];
/// Tables that have a row for each partition, for each process of the last hour (`later` is another of them), for each job of the sweep, or one (`heard`, by its limit).
const SMALL: [&str; 8] = ["audit_partition", "meta", "pending", "process", "later", "heard", "sweep", "CONSTANT"];

#[tokio::test]
async fn no_statement_walks_through_history() {
    let store = SqliteStore::in_memory().expect("store");
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tables/sql")).expect("statements");
    let mut read = 0;
    for file in files {
        let path = file.expect("a file").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name").to_owned();
        let sql = std::fs::read_to_string(&path).expect("a statement");
        let plan = move |conn: &mut Connection| -> rusqlite::Result<Vec<String>> {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let free = vec![rusqlite::types::Null; statement.parameter_count()];
            statement.query_map(rusqlite::params_from_iter(free), |r| r.get(3))?.collect()
        };
        let plan = store.writer.outside(plan).await.expect(&name);
        let scanned = plan.iter().filter_map(|line| line.strip_prefix("SCAN ")).filter_map(|l| l.split(' ').next());
        let large: Vec<&str> = scanned.filter(|table| !SMALL.contains(table)).collect();
        assert_eq!(!large.is_empty(), SCANS.iter().any(|(known, _)| *known == name), "{name}: {plan:?}");
        read += 1;
    }
    assert!(read > 40, "only {read} statements");
}
