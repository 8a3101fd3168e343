//! Simulated reporters, logs, taps and audit topics. No clock, no randomness of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chaperone_audit::state::flag;
use chaperone_audit::wire::{
    AuditMessage, End, GapCause, Interval, IntervalKind, IntervalWindow, PartitionMark, Position, Reporter, SlotRecord,
    Sum, TopicMark, VERSION,
};
use chaperone_audit::{Class, Fingerprint, Histogram, MessageId, RuleId, SlotState, Width, WindowStart};
use chaperone_collector::{
    Applied, AuditLoss, AuditPartition, Batch, Claim, ClaimRequest, Content, Item, LossCause, Pipeline, Pipelines,
    Stage, StageKind, Store, TopicPattern, sqlite::Options,
};
use uuid::Uuid;

/// A Monday in 2026, on a window's edge.
pub(crate) const START: i64 = 1_790_000_000_000;
pub(crate) const WIDTH: Width = Width::TEN_SECONDS;
pub(crate) const GRACE_MS: i64 = 2_000;
pub(crate) const SILENT_MS: i64 = 30_000;
pub(crate) const RULE: RuleId = RuleId(7);

/// Messages with ids from here on are stamped.
pub(crate) const STAMPED: u128 = 1 << 100;

/// A message that is audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Msg {
    pub(crate) id: u128,
    pub(crate) topic: &'static str,
    pub(crate) event_ms: i64,
}

impl Msg {
    pub(crate) fn hash(&self) -> Fingerprint {
        MessageId(self.id).hash(9)
    }
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.id % 97).expect("small") + 1
    }
    pub(crate) fn window(&self) -> WindowStart {
        WIDTH.window_of(self.event_ms)
    }
    fn class(&self) -> Class {
        if self.id >= STAMPED { Class::Stamped } else { Class::Bare }
    }
}

pub(crate) fn uuid(n: u64) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(n))
}

pub(crate) fn head(incarnation: Uuid, stage: &str, host: &str, seq: u64, now_ms: i64) -> AuditMessage {
    AuditMessage {
        v: VERSION,
        uuid: uuid(seq),
        incarnation,
        seq,
        reporter: Reporter { host: host.into(), application: "app".into(), library: "sim 1".into(), pid: 1 },
        stage: stage.into(),
        cluster: String::new(),
        datacenter: String::new(),
        sent_ms: now_ms,
        watermark_ms: None,
        audited_since_ms: None,
        slots: vec![],
        merged: vec![],
        intervals: vec![],
        marks: vec![],
        topics: vec![],
        positions: vec![],
        sum: None,
        cadence_ms: None,
        late: 0,
        dropped: chaperone_audit::wire::Dropped::default(),
        end: None,
    }
}

/// A process that links the library.
#[derive(Debug, Clone)]
pub(crate) struct SimReporter {
    pub(crate) incarnation: Uuid,
    pub(crate) stage: &'static str,
    pub(crate) host: &'static str,
    pub(crate) slots: BTreeMap<u64, SlotRecord>,
    pub(crate) positions: BTreeMap<(String, i32), i64>,
    pub(crate) since_ms: i64,
    pub(crate) flags: Vec<&'static str>,
    open: HashMap<(&'static str, WindowStart, Class), u64>,
    seq: u64,
}

impl SimReporter {
    pub(crate) fn new(n: u64, stage: &'static str, host: &'static str, since_ms: i64) -> Self {
        Self {
            incarnation: uuid(n),
            stage,
            host,
            slots: BTreeMap::new(),
            positions: BTreeMap::new(),
            since_ms,
            flags: vec![],
            open: HashMap::new(),
            seq: 0,
        }
    }
    /// Only sees: a consumer or a proxy.
    pub(crate) fn seeing(mut self) -> Self {
        self.flags.push(flag::SEEN);
        self
    }

    fn slot(&mut self, m: &Msg) -> &mut SlotState {
        let next = self.slots.len() as u64;
        let id = *self.open.entry((m.topic, m.window(), m.class())).or_insert(next);
        let flags = &self.flags;
        let record = self.slots.entry(id).or_insert_with(|| SlotRecord {
            id,
            topic: m.topic.into(),
            window_ms: m.window(),
            width_ms: WIDTH,
            class: m.class(),
            rule: RULE,
            state: SlotState { flags: flags.iter().map(|f| (*f).to_owned()).collect(), ..SlotState::default() },
        });
        &mut record.state
    }

    /// Counts a message that arrived.
    pub(crate) fn arrive(&mut self, m: &Msg, now_ms: i64) {
        let s = self.slot(m);
        s.n += 1;
        s.bytes += m.bytes();
        s.f_in = Some(s.f_in().plus(m.hash()));
        s.hist.get_or_insert_default().record(now_ms - m.event_ms);
        s.min_ms = Some(s.min_ms.map_or(m.event_ms, |v| v.min(m.event_ms)));
        s.max_ms = s.max_ms.max(Some(m.event_ms));
        s.last_ms = s.last_ms.max(Some(now_ms));
    }
    pub(crate) fn acked(&mut self, m: &Msg) {
        let s = self.slot(m);
        s.acked += 1;
        s.f_acked = Some(s.f_acked().plus(m.hash()));
    }
    pub(crate) fn failed(&mut self, m: &Msg) {
        let s = self.slot(m);
        s.failed += 1;
        s.f_failed = Some(s.f_failed().plus(m.hash()));
    }

    /// Closes the slots whose window is past grace and that have nothing in flight.
    pub(crate) fn close(&mut self, now_ms: i64) {
        for record in self.slots.values_mut() {
            let seen = record.state.flags.contains(flag::SEEN);
            let done = record.window_ms.end_ms(WIDTH) + GRACE_MS <= now_ms;
            if done && (seen || record.state.unreported() == 0) {
                record.state.is_final = true;
            }
        }
        let slots = &self.slots;
        self.open.retain(|_, id| slots.get(id).is_none_or(|r| !r.state.is_final));
    }

    pub(crate) fn sum(&self) -> Sum {
        self.slots.values().fold(Sum::default(), |s, r| Sum {
            slots: s.slots + 1,
            n: s.n + r.state.n,
            acked: s.acked + r.state.acked,
            failed: s.failed + r.state.failed,
            f_in: s.f_in.plus(r.state.f_in()),
        })
    }

    /// Some slots, without a watermark.
    pub(crate) fn part(&mut self, now_ms: i64, ids: impl IntoIterator<Item = u64>) -> AuditMessage {
        self.seq += 1;
        let slots = ids.into_iter().filter_map(|id| self.slots.get(&id).cloned()).collect();
        let head = head(self.incarnation, self.stage, self.host, self.seq, now_ms);
        AuditMessage { slots, audited_since_ms: Some(self.since_ms), ..head }
    }

    /// A heartbeat that carries these slots, the watermark and the sums.
    pub(crate) fn beat_with(&mut self, now_ms: i64, ids: impl IntoIterator<Item = u64>) -> AuditMessage {
        let positions = self.positions.iter().map(|((topic, partition), position)| Position {
            topic: topic.clone(),
            partition: *partition,
            position: *position,
        });
        let positions = positions.collect();
        AuditMessage { watermark_ms: Some(now_ms), sum: Some(self.sum()), positions, ..self.part(now_ms, ids) }
    }

    /// A heartbeat that carries everything of the last minutes.
    pub(crate) fn beat(&mut self, now_ms: i64) -> AuditMessage {
        self.close(now_ms);
        let recent = self.slots.values().filter(|r| r.window_ms.0 > now_ms - 120_000).map(|r| r.id);
        let recent: Vec<u64> = recent.collect();
        self.beat_with(now_ms, recent)
    }

    /// Goodbye: all slots final.
    pub(crate) fn goodbye(&mut self, now_ms: i64) -> AuditMessage {
        self.slots.values_mut().for_each(|r| r.state.is_final = true);
        let all: Vec<u64> = self.slots.keys().copied().collect();
        AuditMessage { end: Some(End::Clean), ..self.beat_with(now_ms, all) }
    }
}

/// A topic's partitions: messages with their append times; the offset is the index.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimLog(pub(crate) Vec<Vec<(Msg, i64)>>);

impl SimLog {
    pub(crate) fn new(partitions: usize) -> Self {
        Self(vec![vec![]; partitions])
    }
    pub(crate) fn append(&mut self, partition: usize, m: Msg, now_ms: i64) {
        self.0[partition].push((m, now_ms));
    }
}

/// A tap on one topic of one stage.
#[derive(Debug, Clone)]
pub(crate) struct SimTap {
    pub(crate) incarnation: Uuid,
    pub(crate) stage: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) claims: BTreeMap<usize, Claim>,
    /// Where it reads, by partition.
    pub(crate) at: BTreeMap<usize, i64>,
    pub(crate) frontier: BTreeMap<usize, i64>,
    seq: u64,
}

impl SimTap {
    pub(crate) fn new(n: u64, stage: &'static str, topic: &'static str) -> Self {
        Self {
            incarnation: uuid(n),
            stage,
            topic,
            claims: BTreeMap::new(),
            at: BTreeMap::new(),
            frontier: BTreeMap::new(),
            seq: 0,
        }
    }

    pub(crate) fn request(&self, partition: usize, now_ms: i64) -> ClaimRequest {
        ClaimRequest {
            stage: self.stage.into(),
            topic: self.topic.into(),
            partition: i32::try_from(partition).expect("small"),
            tap: self.incarnation,
            now_ms,
            first_next: 0,
            first_since_ms: i64::MIN,
            log_start: 0,
            partitions: None,
            topic_id: None,
            over: None,
        }
    }

    pub(crate) async fn claim(&mut self, store: &dyn Store, partition: usize, now_ms: i64) {
        let claim = store.claim(self.request(partition, now_ms)).await.expect("claim");
        self.at.insert(partition, claim.next);
        self.claims.insert(partition, claim);
    }

    /// What it read of a partition since the last time, up to `to`.
    pub(crate) fn read(&mut self, log: &SimLog, partition: usize, to: i64, now_ms: i64) -> Option<Interval> {
        let claim = self.claims.get(&partition)?.clone();
        let from = *self.at.get(&partition)?;
        let to = to.min(i64::try_from(log.0[partition].len()).expect("small"));
        if to <= from {
            return None;
        }
        self.at.insert(partition, to);
        let messages = &log.0[partition][usize::try_from(from).expect("pos")..usize::try_from(to).expect("pos")];
        let mut times: Vec<i64> = messages.iter().map(|(m, _)| m.event_ms).collect();
        times.sort_unstable();
        let low = times[times.len() / 20];
        self.frontier.entry(partition).and_modify(|f| *f = (*f).max(low)).or_insert(low);
        Some(Interval {
            topic: self.topic.into(),
            partition: i32::try_from(partition).expect("small"),
            log: claim.log,
            epoch: claim.epoch,
            claim_from: claim.next,
            from,
            to,
            rule: RULE,
            kind: IntervalKind::Counted,
            cause: GapCause::Gone,
            anchor: None,
            gaps: None,
            windows: windows(messages, from, now_ms),
        })
    }

    /// Everything new, with marks: what a tap sends on each beat.
    pub(crate) fn beat(&mut self, log: &SimLog, now_ms: i64) -> AuditMessage {
        let mut intervals = vec![];
        let mut marks = vec![];
        for partition in 0..log.0.len() {
            intervals.extend(self.read(log, partition, i64::MAX, now_ms));
            if let (Some(claim), Some(at)) = (self.claims.get(&partition), self.at.get(&partition)) {
                marks.push(PartitionMark {
                    topic: self.topic.into(),
                    partition: i32::try_from(partition).expect("small"),
                    log: claim.log,
                    epoch: claim.epoch,
                    position: *at,
                    asked_ms: now_ms,
                    frontier_ms: self.frontier.get(&partition).copied(),
                    held_since_ms: None,
                });
            }
        }
        let partitions = i32::try_from(log.0.len()).expect("small");
        let topics = vec![TopicMark { topic: self.topic.into(), partitions, asked_ms: now_ms }];
        AuditMessage { intervals, marks, topics, ..self.message(now_ms) }
    }

    pub(crate) fn message(&mut self, now_ms: i64) -> AuditMessage {
        self.seq += 1;
        head(self.incarnation, self.stage, "tap-host", self.seq, now_ms)
    }
}

/// Counts by window, as a tap does.
pub(crate) fn windows(messages: &[(Msg, i64)], from: i64, now_ms: i64) -> Vec<IntervalWindow> {
    let mut all: BTreeMap<(WindowStart, Class), IntervalWindow> = BTreeMap::new();
    for ((m, append_ms), offset) in messages.iter().zip(from..) {
        let w = all.entry((m.window(), m.class())).or_insert_with(|| IntervalWindow {
            window_ms: m.window(),
            width_ms: WIDTH,
            class: m.class(),
            n: 0,
            bytes: 0,
            f: Fingerprint::ZERO,
            hist: Histogram::new(),
            min_ms: i64::MAX,
            max_ms: i64::MIN,
            last_ms: now_ms,
            min_offset: offset,
            max_offset: offset,
        });
        w.n += 1;
        w.bytes += m.bytes();
        w.f = w.f.plus(m.hash());
        w.hist.record(append_ms - m.event_ms);
        w.min_ms = w.min_ms.min(m.event_ms);
        w.max_ms = w.max_ms.max(m.event_ms);
        w.max_offset = offset;
    }
    all.into_values().collect()
}

pub(crate) fn source(partition: i32) -> AuditPartition {
    AuditPartition { cluster: "c".into(), topic: "chaperone-audit".into(), partition }
}

/// Where the audit partitions stand.
pub(crate) async fn stands(store: &dyn Store) -> Vec<(i32, i64)> {
    let stands = store.audit_stands("c", "chaperone-audit").await.expect("stands");
    stands.into_iter().map(|s| (s.partition, s.next)).collect()
}

pub(crate) fn item(offset: i64, m: AuditMessage, append_ms: i64) -> Item {
    Item { offset, append_ms, received_ms: append_ms, content: Content::Message(Box::new(m)) }
}

/// One audit partition that is written and read in order, for scenarios.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit {
    log: u32,
    next: i64,
}

impl Audit {
    /// Of a topic that was made anew so many times.
    pub(crate) fn of_log(log: u32) -> Self {
        Self { log, next: 0 }
    }

    /// Sends messages at `now_ms` and applies them at once.
    pub(crate) async fn send(&mut self, store: &dyn Store, messages: Vec<AuditMessage>, now_ms: i64) -> Applied {
        let items: Vec<Item> = messages.into_iter().zip(self.next..).map(|(m, o)| item(o, m, now_ms)).collect();
        self.next += i64::try_from(items.len()).expect("small");
        let batch = Batch { source: source(0), log: self.log, from: None, items, next: self.next };
        let applied = store.apply(batch).await.expect("apply");
        store.audit_through(vec![(source(0), now_ms).into()]).await.expect("through");
        applied
    }

    /// The topic is made anew at `now_ms`; what was appended and not applied is gone.
    pub(crate) async fn made_anew(&mut self, store: &dyn Store, now_ms: i64) {
        let (source, cause) = (source(0), LossCause::Recreated);
        let topic_id = Some(uuid(u64::from(self.log) + 1_000));
        let loss = AuditLoss { source, log: self.log, next: self.next, resumes: 0, cause, topic_id, now_ms };
        let stand = store.audit_lost(loss).await.expect("lost");
        assert_eq!((stand.log, stand.next), (self.log + 1, 0));
        (self.log, self.next) = (stand.log, 0);
    }
}

pub(crate) fn stage(name: &str, kind: StageKind) -> Stage {
    Stage { complete: true, ..Stage::new(name, kind) }
}

pub(crate) fn pipelines(stages: Vec<Stage>) -> Pipelines {
    Pipelines::from(vec![Pipeline {
        grace: std::time::Duration::from_millis(GRACE_MS.unsigned_abs()),
        silent_after: std::time::Duration::from_millis(SILENT_MS.unsigned_abs()),
        ..Pipeline::new("p", vec![TopicPattern::Name("orders".into())], stages)
    }])
}

/// Two client stages.
pub(crate) fn client_hop() -> Pipelines {
    pipelines(vec![stage("producer", StageKind::Client), stage("consumer", StageKind::Client)])
}

pub(crate) fn memory() -> Arc<dyn Store> {
    crate::place::memory_with(Options::default())
}

/// All windows of a topic, oldest first, then by hop.
pub(crate) async fn verdicts(store: &dyn Store, topic: &str) -> Vec<chaperone_collector::query::HopWindow> {
    let query =
        chaperone_collector::query::WindowQuery { topic: Some(topic.into()), from_ms: 0, to_ms: i64::MAX, limit: None };
    let mut all = store.windows(query).await.expect("windows");
    all.sort_by_key(|w| w.window_ms);
    all
}
