//! `chaperone store rebuild`: makes a store anew from the audit topics, beside the one that there is, and compares the two.
//!
//! The topics are read twice: first for what taps claimed, then to be applied ([`chaperone_collector::rebuild`] says why). Records
//! of all partitions are applied in step, by slices of `SLICE_MS` of their append times. Nothing is left on the clusters, and the
//! store that there is is only read.

pub mod compare;
pub mod read;
pub mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use chaperone_collector::rebuild::{Bequest, Plan, Rebuild, Rebuilding, Source, Survey};
use chaperone_collector::{Applied, AuditStand, AuditThrough, Batch, Content, Store, StoreError};
use serde::Serialize;

use crate::app::{open_view, unavailable};
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::intake::Settings;
use compare::{Compared, compare};
use read::Topic;
use target::Target;

/// Records of different partitions that were appended less than this apart are applied in any order, ms: transactions are of more
/// than one record then. Windows wait for longer before they are judged.
const SLICE_MS: i64 = 30_000;
/// How often it is said how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which of the two readings.
    pub reading: u8,
    /// Offsets behind us.
    pub done: u64,
    /// Of so many.
    pub of: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// Where the new store is.
    pub to: String,
    /// Records that were read.
    pub records: u64,
    /// What became of them.
    pub applied: Applied,
    /// Windows that begin from here on are known whole, ms; `null`: from the beginning.
    pub whole_since_ms: Option<i64>,
    /// Audit topics whose times are the clients'.
    pub client_times: Vec<String>,
    /// Actions of people that were taken over from the store that there was; `null`: it cannot be read.
    pub actions: Option<usize>,
    /// Why nothing was taken over.
    pub unread: Option<String>,
    /// The comparison with the store that there was.
    pub compared: Option<Compared>,
    /// How long it took, ms.
    pub took_ms: u64,
}

/// Makes it.
///
/// # Errors
/// Of brokers, of the target, of a store that cannot be written.
pub async fn run(
    config: &Config,
    target: &Target,
    clock: &dyn Clock,
    mut tell: impl FnMut(Progress),
) -> Result<Made, Failure> {
    let began = Instant::now();
    let settings = Settings::of(config);
    if settings.is_empty() {
        let text = "no cluster has a [kafka.NAME.audit] table: there is nothing to make a store from";
        return Err(Failure::new(Code::Configuration, text));
    }
    target.is_free().await?;
    let mut topics = tokio::task::block_in_place(|| settings.iter().map(Topic::open).collect::<Result<Vec<_>, _>>())?;
    let asked_ms = clock.now_ms();
    let (store, id) = target.make().await?;
    let survey = tokio::task::block_in_place(|| survey(&mut topics, &mut tell))?;
    let sources: Vec<Source> = topics.iter().flat_map(|t| t.lanes.iter().map(|lane| lane.source.clone())).collect();
    let whole = sources.iter().all(|s| s.start == 0);
    let view = open_view(config)?;
    let (bequest, unread) = match view.bequeaths().bequest().await {
        Ok(bequest) => (Some(bequest), None),
        Err(e) => (None, Some(unavailable(&e).message)),
    };
    let actions = bequest.as_ref().map(|b| b.actions.len());
    let known = match unread {
        None => known(&*view.store(), &topics).await.map_err(|e| unavailable(&e))?,
        Some(_) => Vec::new(),
    };
    let work = Work { store: &*store, config, sources: &sources, whole, asked_ms, known };
    let applied = work.apply(survey.plan(whole), &mut topics, bequest, clock, &mut tell).await?;
    let whole_since_ms = store.whole_since_ms().await.map_err(|e| unavailable(&e))?;
    let mut compared = None;
    if unread.is_none() {
        let audits: Vec<(String, String)> =
            settings.iter().map(|s| (s.cluster.name.clone(), s.audit.topic.clone())).collect();
        let kept_ms = i64::try_from(config.retention.windows.as_millis()).unwrap_or(i64::MAX);
        let found = compare(&*view.store(), &*store, &audits, (clock.now_ms(), kept_ms)).await;
        compared = Some(found.map_err(|e| unavailable(&e))?);
    }
    drop(view);
    target.complete(store, id).await?;
    let foreign = |t: &&Topic| t.lanes.iter().any(|lane| lane.foreign_times);
    Ok(Made {
        to: target.place(),
        records: applied.applied + applied.noop + applied.fenced + applied.hole + applied.quarantined,
        applied,
        whole_since_ms,
        client_times: topics.iter().filter(foreign).map(Topic::name).collect(),
        actions,
        unread,
        compared,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Up to when the store that there was had applied the partitions of which no more had been appended by then than is read now.
async fn known(old: &dyn Store, topics: &[Topic]) -> Result<Vec<AuditThrough>, StoreError> {
    let mut known = Vec::new();
    for topic in topics {
        for lane in &topic.lanes {
            let source = &lane.source.partition;
            let stands = old.audit_stands(&source.cluster, &source.topic).await?;
            let of_lane = |s: &&AuditStand| s.partition == source.partition && !s.closed && s.next <= lane.end;
            let same_log = |s: &&AuditStand| s.topic_id.is_none() || s.topic_id == lane.source.topic_id;
            let stand = stands.iter().filter(of_lane).filter(same_log).find_map(|s| s.through_ms);
            known.extend(stand.map(|through_ms| AuditThrough::from((source.clone(), through_ms))));
        }
    }
    Ok(known)
}

/// Reads everything for what taps claimed.
fn survey(topics: &mut [Topic], tell: &mut impl FnMut(Progress)) -> Result<Survey, Failure> {
    let (mut survey, mut teller) = (Survey::default(), Teller::new(1, topics));
    for topic in topics.iter_mut() {
        topic.rewind()?;
        for no in 0..topic.lanes.len() {
            loop {
                topic.fill(no)?;
                let Some((items, _)) = topic.lanes.get_mut(no).and_then(|lane| lane.take(i64::MAX)) else { break };
                teller.done(items.len(), tell);
                for item in &items {
                    if let Content::Message(m) = &item.content {
                        survey.note(m);
                    }
                }
            }
        }
    }
    Ok(survey)
}

/// What the second reading works on.
struct Work<'a> {
    store: &'a dyn Rebuild,
    config: &'a Config,
    sources: &'a [Source],
    whole: bool,
    asked_ms: i64,
    known: Vec<AuditThrough>,
}

impl Work<'_> {
    async fn apply(
        self,
        plan: Plan,
        topics: &mut [Topic],
        bequest: Option<Bequest>,
        clock: &dyn Clock,
        tell: &mut impl FnMut(Progress),
    ) -> Result<Applied, Failure> {
        let failed = |e| Failure::new(Code::CannotWrite, unavailable(&e).message);
        let (pipelines, retention) = (Arc::clone(&self.config.pipelines), self.config.retention);
        let with = (&*pipelines, retention);
        let begun = Rebuilding::begin(self.store, plan, with, self.sources, self.asked_ms).await;
        let (mut work, mut teller) = (begun.map_err(failed)?, Teller::new(2, topics));
        for topic in topics.iter_mut() {
            topic.rewind()?;
        }
        while let Some(head_ms) = head(topics)? {
            work.reached(head_ms).await.map_err(failed)?;
            let until_ms = head_ms.saturating_add(SLICE_MS);
            for topic in topics.iter_mut() {
                for no in 0..topic.lanes.len() {
                    while let Some(batch) = tokio::task::block_in_place(|| slice(topic, no, until_ms))? {
                        teller.done(batch.items.len(), tell);
                        work.apply(batch).await.map_err(failed)?;
                    }
                }
            }
        }
        for batch in topics.iter().flat_map(rest) {
            work.apply(batch).await.map_err(failed)?;
        }
        work.know(self.known);
        work.end(bequest, self.whole, clock.now_ms()).await.map_err(failed)
    }
}

/// When the earliest record that is left was appended, ms.
fn head(topics: &mut [Topic]) -> Result<Option<i64>, Failure> {
    let mut head_ms = None::<i64>;
    for topic in topics {
        for no in 0..topic.lanes.len() {
            tokio::task::block_in_place(|| topic.fill(no))?;
            let of_lane = topic.lanes.get(no).and_then(read::Lane::head_ms);
            head_ms = [head_ms, of_lane].into_iter().flatten().min();
        }
    }
    Ok(head_ms)
}

/// The next records of a partition that were appended before a time.
fn slice(topic: &mut Topic, no: usize, until_ms: i64) -> Result<Option<Batch>, Failure> {
    topic.fill(no)?;
    let Some(lane) = topic.lanes.get_mut(no) else { return Ok(None) };
    let taken = lane.take(until_ms);
    let source = lane.source.partition.clone();
    Ok(taken.map(|(items, next)| Batch { source, log: 0, from: None, items, next }))
}

/// Offsets at the end that are not shown: where partitions end is where the collector goes on.
fn rest(topic: &Topic) -> impl Iterator<Item = Batch> + '_ {
    topic.lanes.iter().map(|lane| {
        let source = lane.source.partition.clone();
        Batch { source, log: 0, from: None, items: Vec::new(), next: lane.end }
    })
}

/// Says now and then how far it is.
struct Teller {
    now: Progress,
    told: Instant,
}

impl Teller {
    fn new(reading: u8, topics: &[Topic]) -> Self {
        let of = topics.iter().map(Topic::offsets).sum();
        Self { now: Progress { reading, done: 0, of }, told: Instant::now() }
    }

    fn done(&mut self, records: usize, tell: &mut impl FnMut(Progress)) {
        self.now.done += records as u64;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            tell(self.now);
        }
    }
}
