//! A store in memory for tests and for the preview: rows are put in, and every query is a filter over them.
#![allow(dead_code, reason = "shared by binaries that each use a part of it")]

pub(crate) mod account;
pub(crate) mod lag;
pub(crate) mod reporters;
pub(crate) mod scene;
pub(crate) mod window;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::clock::ManualClock;
use chaperone_collector::account::{Account, Books, HopStand, StageRule, Unbelieved};
use chaperone_collector::audit::{AuditFollow, AuditLoss, AuditStand, AuditThrough};
use chaperone_collector::batch::{Applied, Batch};
use chaperone_collector::lag::{Bracket, LagReport, LagRound};
use chaperone_collector::query::{
    Action, BinQuery, Bins, DelayQuery, Delays, DetailQuery, ExpectedState, Glance, HopBin, HopTrouble, HopWindow,
    NumberedAction, Offsets, OffsetsQuery, PartitionState, ProcessState, Quarantined, ReporterState, StageWindow,
    Status, TopicSummary, WindowDetail, WindowKey, WindowQuery,
};
use chaperone_collector::retention::fitting_ms;
use chaperone_collector::store::Answer;
use chaperone_collector::upkeep::{ExportQuery, Exported, StoreSize};
use chaperone_collector::{
    Claim, ClaimRequest, Pipeline, Pipelines, Retention, Stage, StageKind, Store, StoreError, Swept, TopicPattern,
    Verdict,
};
use chaperone_web::{Build, Problem, Promise, WebConfig, WebState};
use tokio::sync::watch;
use uuid::Uuid;

/// Saturday, 2026-11-21T12:49:58Z.
pub(crate) const NOW_MS: i64 = 1_795_265_398_000;
pub(crate) const WIDTH_MS: i64 = 10_000;

/// Rows, as they would be read.
pub(crate) struct FakeStore {
    pub(crate) windows: Vec<HopWindow>,
    pub(crate) counts: Vec<StageWindow>,
    pub(crate) topics: Vec<TopicSummary>,
    pub(crate) reporters: Vec<ReporterState>,
    pub(crate) partitions: HashMap<String, Vec<PartitionState>>,
    pub(crate) lag: LagReport,
    pub(crate) expected: Vec<ExpectedState>,
    pub(crate) hops: Vec<HopStand>,
    pub(crate) rules: Vec<StageRule>,
    pub(crate) unbelieved: Unbelieved,
    pub(crate) account: Account,
    pub(crate) books: Books,
    /// What was recorded.
    pub(crate) actions: std::sync::Mutex<Vec<Action>>,
    /// By topic and start of the window.
    pub(crate) details: HashMap<(String, i64), WindowDetail>,
    /// By stage.
    pub(crate) offsets: HashMap<String, Vec<Offsets>>,
    pub(crate) revision: watch::Sender<u64>,
    /// How often counts were asked for.
    pub(crate) asked: watch::Sender<u64>,
    /// Every question fails, with words that no reader may see.
    pub(crate) broken: bool,
    /// Every question takes for ever.
    pub(crate) hangs: bool,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self {
            windows: Vec::new(),
            counts: Vec::new(),
            topics: Vec::new(),
            reporters: Vec::new(),
            partitions: HashMap::new(),
            lag: LagReport::default(),
            expected: Vec::new(),
            hops: Vec::new(),
            rules: Vec::new(),
            unbelieved: Unbelieved::default(),
            account: Account::default(),
            books: Books::default(),
            actions: std::sync::Mutex::default(),
            details: HashMap::new(),
            offsets: HashMap::new(),
            revision: watch::Sender::new(41),
            asked: watch::Sender::new(0),
            broken: false,
            hangs: false,
        }
    }
}

impl FakeStore {
    /// Waits until counts have been asked for more than `times` times.
    pub(crate) async fn answered(&self, times: u64) {
        let mut asked = self.asked.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(10), asked.wait_for(|n| *n > times)).await;
        assert!(waited.is_ok(), "nobody asked");
    }

    fn answer<T: Send + 'static>(&self, value: T) -> Answer<'_, T> {
        let (broken, hangs) = (self.broken, self.hangs);
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            if broken {
                let source = "SELECT secret FROM windows: disk I/O error".into();
                return Err(StoreError::Database { path: "/var/lib/hidden.sqlite".into(), action: "read", source });
            }
            Ok(value)
        })
    }
}

/// Readers never write.
fn refuse<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(async { Err(StoreError::Stopped) })
}

/// An answer without rows, in whole slices.
fn framed<T>(query: &BinQuery) -> Bins<T> {
    let WindowQuery { from_ms, to_ms, .. } = query.range;
    let fitting = || fitting_ms(to_ms - from_ms, query.at_most.unwrap_or(400), 0);
    let width_ms = query.width_ms.unwrap_or_else(fitting);
    let end_ms = (to_ms - 1).div_euclid(width_ms) * width_ms + width_ms;
    Bins { width_ms, from_ms: from_ms.div_euclid(width_ms) * width_ms, to_ms: end_ms, rows: Vec::new() }
}

/// The range of an answer as a question.
fn answered<T>(query: &BinQuery, answer: &Bins<T>) -> WindowQuery {
    WindowQuery { from_ms: answer.from_ms, to_ms: answer.to_ms, ..query.range.clone() }
}

fn wanted(query: &WindowQuery, topic: &str, window_ms: i64) -> bool {
    query.topic.as_deref().is_none_or(|t| t == topic) && (query.from_ms..query.to_ms).contains(&window_ms)
}

fn limit<T: Clone>(query: &WindowQuery, rows: impl Iterator<Item = T>) -> Vec<T> {
    rows.take(query.limit.map_or(usize::MAX, |l| l as usize)).collect()
}

impl Store for FakeStore {
    fn apply(&self, _: Batch) -> Answer<'_, Applied> {
        refuse()
    }
    fn audit_stands<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Vec<AuditStand>> {
        refuse()
    }
    fn audit_follow(&self, _: AuditFollow) -> Answer<'_, Vec<AuditStand>> {
        refuse()
    }
    fn audit_lost(&self, _: AuditLoss) -> Answer<'_, AuditStand> {
        refuse()
    }
    fn audit_through(&self, _: Vec<AuditThrough>) -> Answer<'_, ()> {
        refuse()
    }
    fn claim(&self, _: ClaimRequest) -> Answer<'_, Claim> {
        refuse()
    }
    fn partitions<'a>(&'a self, stage: &'a str) -> Answer<'a, Vec<PartitionState>> {
        self.answer(self.partitions.get(stage).cloned().unwrap_or_default())
    }
    fn judge<'a>(&'a self, _: i64, _: &'a Pipelines) -> Answer<'a, u64> {
        refuse()
    }
    fn sweep(&self, _: i64, _: Retention) -> Answer<'_, Swept> {
        refuse()
    }
    fn hop_bins(&self, query: BinQuery) -> Answer<'_, Bins<HopBin>> {
        let mut answer: Bins<HopBin> = framed(&query);
        let range = answered(&query, &answer);
        for w in self.windows.iter().filter(|w| wanted(&range, &w.topic, w.window_ms)) {
            let width_ms = w.width_ms.max(answer.width_ms);
            let window_ms = w.window_ms - w.window_ms.rem_euclid(width_ms);
            let is_same = |b: &&mut HopBin| {
                (&b.topic, &b.from_stage, &b.to_stage, b.window_ms) == (&w.topic, &w.from_stage, &w.to_stage, window_ms)
            };
            let Some(bin) = answer.rows.iter_mut().find(is_same) else {
                answer.rows.push(HopBin {
                    topic: w.topic.clone(),
                    from_stage: w.from_stage.clone(),
                    to_stage: w.to_stage.clone(),
                    hop: 0,
                    window_ms,
                    width_ms,
                    worst: w.verdict,
                    windows: 1,
                    verdicts: [(w.verdict, 1)].into(),
                    missing_min: w.missing_min,
                    surplus_min: w.surplus_min,
                    delayed: w.delayed,
                    amendments: 0,
                });
                continue;
            };
            bin.windows += 1;
            *bin.verdicts.entry(w.verdict).or_default() += 1;
            bin.worst = [bin.worst, w.verdict].into_iter().max_by_key(|v| v.severity()).expect("two");
            bin.missing_min += w.missing_min;
            bin.surplus_min += w.surplus_min;
            bin.delayed += w.delayed;
        }
        answer.rows.truncate(query.range.limit.map_or(usize::MAX, |l| l as usize));
        self.answer(answer)
    }
    fn glances(&self, queries: Vec<BinQuery>) -> Answer<'_, Vec<Bins<Glance>>> {
        let one = |query: &BinQuery| {
            let mut answer: Bins<Glance> = framed(query);
            let range = answered(query, &answer);
            for w in self.windows.iter().filter(|w| wanted(&range, &w.topic, w.window_ms)) {
                let width_ms = w.width_ms.max(answer.width_ms);
                // A slice for each window of each hop: what is drawn of them is the same.
                answer.rows.push(Glance {
                    window_ms: w.window_ms - w.window_ms.rem_euclid(width_ms),
                    width_ms,
                    windows: 1,
                    verdicts: [(w.verdict, 1)].into(),
                    caveats: if width_ms == w.width_ms { w.caveats.clone() } else { Vec::new() },
                    missing_min: w.missing_min,
                    surplus_min: w.surplus_min,
                    delayed: w.delayed,
                });
            }
            answer.rows.sort_by_key(|g| std::cmp::Reverse(g.window_ms));
            answer
        };
        self.answer(queries.iter().map(one).collect())
    }
    fn delays(&self, queries: Vec<DelayQuery>) -> Answer<'_, Vec<Delays>> {
        let one = |query: &DelayQuery| {
            let mut answer = Delays::default();
            for stage in query.stages.iter().rev() {
                let counted = self.counts.iter().filter(|w| w.stage == *stage);
                counted.filter(|w| wanted(&query.range, &w.topic, w.window_ms)).for_each(|w| answer.hist.add(&w.hist));
                if answer.hist.total() > 0 {
                    answer.stage = Some(stage.clone());
                    break;
                }
            }
            let late = self.windows.iter().filter(|w| wanted(&query.range, &w.topic, w.window_ms) && w.delayed > 0);
            answer.absent = late.map(|w| (w.delayed, w.window_ms + w.width_ms)).collect();
            answer
        };
        self.answer(queries.iter().map(one).collect())
    }
    fn stage_bins(&self, query: BinQuery) -> Answer<'_, Bins<StageWindow>> {
        let mut answer: Bins<StageWindow> = framed(&query);
        let range = answered(&query, &answer);
        for w in self.counts.iter().filter(|w| wanted(&range, &w.topic, w.window_ms)) {
            let width_ms = w.width_ms.max(answer.width_ms);
            let window_ms = w.window_ms - w.window_ms.rem_euclid(width_ms);
            let is_same = |b: &&mut StageWindow| (&b.topic, &b.stage, b.window_ms) == (&w.topic, &w.stage, window_ms);
            let Some(bin) = answer.rows.iter_mut().find(is_same) else {
                answer.rows.push(StageWindow { window_ms, width_ms, ..w.clone() });
                continue;
            };
            bin.n += w.n;
            bin.acked += w.acked;
            bin.failed += w.failed;
            bin.bytes += w.bytes;
            bin.f_in = bin.f_in.plus(w.f_in);
            bin.hist.add(&w.hist);
            bin.last_ms = bin.last_ms.max(w.last_ms);
        }
        self.answer(answer)
    }
    fn windows(&self, query: WindowQuery) -> Answer<'_, Vec<HopWindow>> {
        self.answer(limit(&query, self.windows.iter().filter(|w| wanted(&query, &w.topic, w.window_ms)).cloned()))
    }
    fn windows_page(&self, query: WindowQuery, after: Option<WindowKey>) -> Answer<'_, Vec<HopWindow>> {
        let key = |w: &HopWindow| {
            let HopWindow { topic, from_stage, to_stage, window_ms, .. } = w.clone();
            (std::cmp::Reverse(window_ms), topic, from_stage, to_stage)
        };
        let mut rows: Vec<_> = self.windows.iter().filter(|w| wanted(&query, &w.topic, w.window_ms)).cloned().collect();
        rows.sort_by_key(key);
        if let Some(a) = after {
            let after = (std::cmp::Reverse(a.window_ms), a.topic, a.from_stage, a.to_stage);
            rows.retain(|w| key(w) > after);
        }
        self.answer(limit(&query, rows.into_iter()))
    }
    fn stage_windows(&self, query: WindowQuery) -> Answer<'_, Vec<StageWindow>> {
        self.asked.send_modify(|n| *n += 1);
        self.answer(limit(&query, self.counts.iter().filter(|w| wanted(&query, &w.topic, w.window_ms)).cloned()))
    }
    fn offsets(&self, query: OffsetsQuery) -> Answer<'_, Vec<Offsets>> {
        let all = self.offsets.get(&query.stage).into_iter().flatten();
        self.answer(all.filter(|o| (query.from_ms..query.to_ms).contains(&o.window_ms)).copied().collect())
    }
    fn detail(&self, query: DetailQuery) -> Answer<'_, WindowDetail> {
        self.answer(self.details.get(&(query.topic, query.from_ms)).cloned().unwrap_or_default())
    }
    fn topics(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        let all = self.topics.iter().filter(|t| query.topic.as_deref().is_none_or(|name| name == t.topic));
        self.answer(limit(&query, all.cloned()))
    }
    fn topics_judged(&self, query: WindowQuery) -> Answer<'_, Vec<TopicSummary>> {
        let unknown = |t: TopicSummary| TopicSummary { complete_through_ms: None, ..t };
        self.answer(limit(&query, self.topics.iter().cloned().map(unknown)))
    }
    fn trouble(&self, _: i64) -> Answer<'_, Vec<HopTrouble>> {
        self.answer(Vec::new())
    }
    fn expected(&self) -> Answer<'_, Vec<ExpectedState>> {
        self.answer(self.expected.clone())
    }
    fn reporters(&self, _: i64) -> Answer<'_, Vec<ReporterState>> {
        self.answer(self.reporters.clone())
    }
    fn quarantined(&self, _: u32) -> Answer<'_, Vec<Quarantined>> {
        self.answer(self.unbelieved.quarantined.clone())
    }
    fn hops(&self) -> Answer<'_, Vec<HopStand>> {
        self.answer(self.hops.clone())
    }
    fn rules(&self) -> Answer<'_, Vec<StageRule>> {
        self.answer(self.rules.clone())
    }
    fn unbelieved(&self, _: u32) -> Answer<'_, Unbelieved> {
        self.answer(self.unbelieved.clone())
    }
    fn account(&self, _: WindowQuery, _: i64) -> Answer<'_, Account> {
        self.answer(self.account.clone())
    }
    fn books(&self) -> Answer<'_, Books> {
        self.answer(self.books.clone())
    }
    fn note_lag(&self, _: LagRound) -> Answer<'_, ()> {
        refuse()
    }
    fn arrivals<'a>(&'a self, _: &'a str, _: Vec<(String, i32, i64)>) -> Answer<'a, Vec<Bracket>> {
        refuse()
    }
    fn lag(&self, since_ms: i64) -> Answer<'_, LagReport> {
        let mut report = self.lag.clone();
        report.rounds.retain(|round| round.at_ms >= since_ms);
        report.rows.retain(|row| report.rounds.iter().any(|round| round.cluster == row.cluster));
        self.answer(report)
    }
    fn beat(&self, _: ProcessState) -> Answer<'_, ()> {
        refuse()
    }
    fn farewell(&self, _: Uuid) -> Answer<'_, ()> {
        refuse()
    }
    fn processes(&self) -> Answer<'_, Vec<ProcessState>> {
        self.answer(Vec::new())
    }
    fn note_action(&self, action: Action) -> Answer<'_, ()> {
        if !self.broken {
            self.actions.lock().expect("lock").push(action);
        }
        self.answer(())
    }
    fn actions(&self, before: i64, limit: u32) -> Answer<'_, Vec<NumberedAction>> {
        let noted = self.actions.lock().expect("lock").clone();
        let rows = noted
            .into_iter()
            .enumerate()
            .map(|(i, action)| NumberedAction { number: 1 + i64::try_from(i).expect("few"), action });
        let mut rows: Vec<_> = rows.filter(|a| a.number < before).collect();
        rows.reverse();
        rows.truncate(limit as usize);
        self.answer(rows)
    }
    fn complete_through(&self) -> Answer<'_, Vec<(String, Option<i64>)>> {
        self.answer(self.topics.iter().map(|t| (t.topic.clone(), t.complete_through_ms)).collect())
    }
    fn size(&self) -> Answer<'_, StoreSize> {
        refuse()
    }
    fn export(&self, _: ExportQuery) -> Answer<'_, Exported> {
        refuse()
    }
    fn status(&self) -> Answer<'_, Status> {
        self.answer(Status { revision: *self.revision.borrow(), read: 7, applied: 7, ..Status::default() })
    }
    fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

/// One figure.
struct NoMetrics;

impl chaperone_web::Metrics for NoMetrics {
    fn text(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async { "up 1\nlag{topic=\"rides.events\"} 3\n".to_owned() })
    }
}

/// A state over a store, and the ends by which a test moves it.
pub(crate) struct Bench {
    pub(crate) state: WebState,
    pub(crate) problems: watch::Sender<Vec<Problem>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<FakeStore>,
}

pub(crate) fn bench(store: FakeStore, pipelines: Pipelines) -> Bench {
    let (problems, problems_seen) = watch::channel(Vec::new());
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let store = Arc::new(store);
    let state = WebState {
        store: Arc::<FakeStore>::clone(&store),
        pipelines: watch::channel(Arc::new(pipelines)).1,
        clock: Arc::<ManualClock>::clone(&clock),
        problems: problems_seen,
        metrics: Arc::new(NoMetrics),
        version: "0.1.0-test",
        build: Arc::new(build()),
        reload: None,
    };
    Bench { state, problems, clock, store }
}

/// What a build may know of itself.
fn build() -> Build {
    let evidence = "| promise | promised | measured | holds | run | commit | date | issue |\n| --- |\n\
        | spine.missing | = 0 | 0 | yes | ci | 0a1b2c3d4e5f | 2026-11-21T10:00:00Z | #2 |\n\
        | spine.surplus | = 0 | 0 | yes | ci | 0a1b2c3d4e5f | 2026-11-21T10:00:00Z | #2 |\n\
        | soak.lost | = 0 |  | not measured | full |  |  | #2 |\n\
        | perf.count_ns | ≤ 300 | 312 | no | full | 0a1b2c3d4e5f+ | 2026-11-20T10:00:00Z | #9 |\n";
    Build {
        parts: vec![("commit", "0a1b2c3d4e5f".into()), ("sqlite", "3.50.0".into())],
        promises: Promise::table(evidence),
    }
}

/// Quick limits, so that no test waits.
pub(crate) fn config() -> WebConfig {
    WebConfig {
        max_sse_clients: 2,
        request_timeout: Duration::from_millis(500),
        event_interval: Duration::ZERO,
        ..WebConfig::default()
    }
}

/// A pipeline of these stages for the topics of one pattern.
pub(crate) fn pipeline(name: &str, cluster: &str, pattern: &str, stages: &[&str]) -> Pipeline {
    let stage = |name: &&str| {
        let kind = if name.starts_with("kafka:") { StageKind::Kafka } else { StageKind::Client };
        Stage { complete: true, at_least_once: name.starts_with("consumer:"), ..Stage::new(*name, kind) }
    };
    let topics = vec![TopicPattern::parse(pattern).expect("pattern")];
    Pipeline { cluster: cluster.to_owned(), ..Pipeline::new(name, topics, stages.iter().map(stage).collect()) }
}

/// One verdict.
pub(crate) fn hop(topic: &str, stages: (&str, &str), window_ms: i64, verdict: Verdict) -> HopWindow {
    HopWindow {
        topic: topic.to_owned(),
        from_stage: stages.0.to_owned(),
        to_stage: stages.1.to_owned(),
        window_ms,
        width_ms: WIDTH_MS,
        verdict,
        missing_min: 0,
        surplus_min: 0,
        delayed: 0,
        caveats: Vec::new(),
        why: format!("because of {verdict}"),
        settled_ms: (!verdict.is_pending()).then_some(window_ms + 22_000),
        amendments: 0,
    }
}

/// What makes pages stale.
pub(crate) fn stale(text: &str) -> Problem {
    Problem { text: text.to_owned(), notice: false }
}

/// One count of a stage that only sees.
pub(crate) fn seen(topic: &str, stage: &str, window_ms: i64, n: u64) -> StageWindow {
    StageWindow {
        topic: topic.to_owned(),
        stage: stage.to_owned(),
        window_ms,
        width_ms: WIDTH_MS,
        n,
        acked: n,
        failed: 0,
        bytes: n * 200,
        f_in: chaperone_audit::Fingerprint::ZERO,
        hist: chaperone_audit::Histogram::new(),
        last_ms: window_ms + WIDTH_MS,
        rule: None,
    }
}

/// One topic of the list.
pub(crate) fn summary(topic: &str, stages: &[&str], worst: Verdict) -> TopicSummary {
    TopicSummary {
        topic: topic.to_owned(),
        stages: stages.iter().map(|s| (*s).to_owned()).collect(),
        worst,
        missing_min: 0,
        surplus_min: 0,
        delayed: 0,
        complete_through_ms: Some(NOW_MS - 38_000),
    }
}
