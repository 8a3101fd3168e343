//! Batches that are the same each time: what a producer, a consumer and a tap report of a few windows, and a poisoned record,
//! each growing with every batch. A process applies them to a store and is killed, and whoever looks at the store knows what
//! it must hold.

use chaperone_audit::state::flag;
use chaperone_audit::wire::{
    AuditMessage, Dropped, GapCause, Interval, IntervalKind, IntervalWindow, Reporter, SlotRecord, Sum, VERSION,
};
use chaperone_audit::{Class, Fingerprint, Histogram, MessageId, RuleId, SlotState, Width, WindowStart};
use chaperone_collector::{AuditPartition, Batch, ClaimRequest, Content, Item, Refused};
use uuid::Uuid;

/// How many there are.
pub const BATCHES: u32 = 10;
/// Messages that each batch adds, to each topic at each stage.
pub const PER_BATCH: u64 = 5;
/// Topics.
pub const TOPICS: [&str; 3] = ["orders", "payments", "returns"];

const START_MS: i64 = 1_790_000_000_000;
const WIDTH: Width = Width::TEN_SECONDS;
const RULE: RuleId = RuleId(7);
/// Records in a batch: two reporters, a tap, one that is refused.
const RECORDS: i64 = 4;

fn id(n: u32) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(n))
}

/// Where they come from.
pub fn source() -> AuditPartition {
    AuditPartition { cluster: "c".into(), topic: "chaperone-audit".into(), partition: 0 }
}

/// What the tap must be granted before the first batch.
pub fn claim() -> ClaimRequest {
    ClaimRequest {
        stage: "kafka".into(),
        topic: TOPICS[0].into(),
        partition: 0,
        tap: id(3),
        now_ms: START_MS,
        first_next: 0,
        first_since_ms: i64::MIN,
        log_start: 0,
        partitions: None,
        topic_id: None,
        over: None,
    }
}

/// Ids of the messages of a topic up to this batch: `(Σ of hashes, how many)`.
fn messages(topic: usize, upto: u32) -> (Fingerprint, u64) {
    let n = u64::from(upto + 1) * PER_BATCH;
    let hash = |i: u64| MessageId(u128::from(i) << 8 | topic as u128).hash(9);
    ((0..n).fold(Fingerprint::ZERO, |sum, i| sum.plus(hash(i))), n)
}

fn head(stage: &str, reporter: u32, batch: u32) -> AuditMessage {
    let now_ms = START_MS + i64::from(batch) * 100;
    AuditMessage {
        v: VERSION,
        uuid: id(100 + batch * 10 + reporter),
        incarnation: id(reporter),
        seq: u64::from(batch) + 1,
        reporter: Reporter { host: "h".into(), application: "app".into(), library: "batches 1".into(), pid: 1 },
        stage: stage.into(),
        cluster: String::new(),
        datacenter: String::new(),
        sent_ms: now_ms,
        watermark_ms: Some(now_ms),
        audited_since_ms: Some(START_MS - 1),
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

/// A linked process's report: its slots so far.
fn report(stage: &str, reporter: u32, batch: u32) -> AuditMessage {
    let slot = |(no, topic): (usize, &&str)| {
        let (f, n) = messages(no, batch);
        let mut hist = Histogram::new();
        (0..n).for_each(|_| hist.record(5));
        let seen = reporter == 2;
        let (acked, f_acked) = if seen { (0, None) } else { (n, Some(f)) };
        let counted = SlotState {
            flags: seen.then(|| flag::SEEN.to_owned()).into_iter().collect(),
            n,
            bytes: n * 10,
            f_in: Some(f),
            hist: Some(hist),
            min_ms: Some(START_MS),
            max_ms: Some(START_MS),
            last_ms: Some(START_MS + 5),
            acked,
            f_acked,
            ..SlotState::default()
        };
        SlotRecord {
            id: no as u64,
            topic: (*topic).into(),
            window_ms: WindowStart(START_MS),
            width_ms: WIDTH,
            class: Class::Bare,
            rule: RULE,
            state: counted,
        }
    };
    let slots: Vec<SlotRecord> = TOPICS.iter().enumerate().map(slot).collect();
    let sum = slots.iter().fold(Sum::default(), |s, r| Sum {
        slots: s.slots + 1,
        n: s.n + r.state.n,
        acked: s.acked + r.state.acked,
        failed: 0,
        f_in: s.f_in.plus(r.state.f_in()),
    });
    AuditMessage { slots, sum: Some(sum), ..head(stage, reporter, batch) }
}

/// What the tap counted since the last batch.
fn counted(batch: u32) -> AuditMessage {
    let before = if batch == 0 { (Fingerprint::ZERO, 0) } else { messages(0, batch - 1) };
    let (f, n) = messages(0, batch);
    let offset = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (from, to) = (offset(before.1), offset(n));
    let mut hist = Histogram::new();
    (from..to).for_each(|_| hist.record(5));
    let window = IntervalWindow {
        window_ms: WindowStart(START_MS),
        width_ms: WIDTH,
        class: Class::Bare,
        n: n - before.1,
        bytes: (n - before.1) * 10,
        f: f.minus(before.0),
        hist,
        min_ms: START_MS,
        max_ms: START_MS,
        last_ms: START_MS + 5,
        min_offset: from,
        max_offset: to - 1,
    };
    let interval = Interval {
        topic: TOPICS[0].into(),
        partition: 0,
        log: 0,
        epoch: 1,
        claim_from: 0,
        from,
        to,
        rule: RULE,
        kind: IntervalKind::Counted,
        cause: GapCause::Gone,
        anchor: None,
        gaps: None,
        windows: vec![window],
    };
    AuditMessage { intervals: vec![interval], ..head("kafka", 3, batch) }
}

/// One of them, from 0.
pub fn batch(no: u32) -> Batch {
    let from = i64::from(no) * RECORDS;
    let at_ms = START_MS + i64::from(no) * 100;
    let message = |m| Content::Message(Box::new(m));
    let refused = Refused { length: 1, sha256: "00".into(), reason: "poison".into() };
    let contents = [
        message(report("producer", 1, no)),
        message(report("consumer", 2, no)),
        message(counted(no)),
        Content::Refused(refused),
    ];
    let item = |(offset, content)| Item { offset, append_ms: at_ms, received_ms: at_ms, content };
    let items: Vec<Item> = (from..).zip(contents).map(item).collect();
    Batch { source: source(), log: 0, from: Some(from), items, next: from + RECORDS }
}
