//! A store made anew from the audit topics: what a collector would have that had read them from their beginning.
//!
//! The topics are read twice. A [`Survey`] takes note of what taps reported under which claim; its [`Plan`] says what of that
//! counts ([`plan`] says why that is right). Then a [`Rebuilding`] applies all records, merged by their append times, to an empty
//! store, and judges and sweeps as it goes, at the time that the records have come to, then at the present one.
//!
//! Invariants: records are applied by the code that a collector applies them by; of a partition nothing is applied out of
//! order. Limits: what the topics do not tell is not there, but for a [`Bequest`]; verdicts are as of now, without their history.

pub mod plan;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::audit::{AuditFollow, AuditLoss, AuditThrough, LossCause};
use crate::batch::{Applied, AuditPartition, Batch, Content};
use crate::pipeline::Pipelines;
use crate::query::Action;
use crate::retention::Retention;
use crate::store::{Answer, Store, StoreError};
pub use plan::{GivenUp, Plan, Rulings, Survey};
pub(crate) use plan::{Ruling, Stand};

/// It is judged and swept each time that the records have gone on so far, ms: windows settle sooner, and finals are kept longer.
const STEP_MS: i64 = 300_000;
/// Brokers' clocks differ by less, ms: what a partition without news may be said to be applied through.
const CLOCKS_MS: i64 = 10_000;
/// Calls of the judge, or of the sweep, at one time.
const CALLS_MAX: usize = 10_000;

/// What of a tapped partition only the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapIdentity {
    /// The tap's stage.
    pub stage: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Which log of that name.
    pub log: u32,
    /// The last claim.
    pub epoch: u64,
    /// When it was made, ms.
    pub claimed_ms: i64,
    /// Since when the partition is audited, ms.
    pub audited_since_ms: i64,
    /// The topic's id.
    pub topic_id: Option<Uuid>,
}

/// The id of a topic that had the name before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The tap's stage.
    pub stage: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The id.
    pub topic_id: Uuid,
    /// Which log it was.
    pub log: u32,
}

/// What only a store knows and one that is made anew takes over: no counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bequest {
    /// Tapped partitions.
    pub taps: Vec<TapIdentity>,
    /// How many partitions a topic had at its first claim: stage, topic, number.
    pub begun: Vec<(String, String, i32)>,
    /// Ids of topics of before.
    pub former: Vec<Former>,
    /// What people did, oldest first.
    pub actions: Vec<Action>,
}

/// A store that can be made anew.
pub trait Rebuild: Store {
    /// Applies a batch, with what was ruled on its records by their offsets. No tap may work on the store.
    fn apply_again(&self, batch: Batch, ruled: BTreeMap<i64, Rulings>) -> Answer<'_, Applied>;
    /// Records offsets as not counted by anybody, at this broker time, ms.
    fn give_up(&self, all: Vec<GivenUp>, at_ms: i64) -> Answer<'_, ()>;
    /// What only this store knows.
    fn bequest(&self) -> Answer<'_, Bequest>;
    /// Takes over what another store knew. `whole`: nothing had been deleted of the audit topics.
    fn inherit(&self, bequest: Bequest, whole: bool) -> Answer<'_, ()>;
    /// If the store was made anew from topics of which something had been deleted: the windows that begin before this time, ms,
    /// are known in part.
    fn whole_since_ms(&self) -> Answer<'_, Option<i64>>;
}

/// An audit partition that is read from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which.
    pub partition: AuditPartition,
    /// The topic's id, where brokers have ids.
    pub topic_id: Option<Uuid>,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The first offset that is there.
    pub start: i64,
    /// When the first record was appended, ms; `None`: there is none.
    pub first_ms: Option<i64>,
}

/// Makes a store anew.
pub struct Rebuilding<'a> {
    store: &'a dyn Rebuild,
    plan: Plan,
    pipelines: &'a Pipelines,
    retention: Retention,
    sources: Vec<AuditPartition>,
    judged_ms: i64,
    reached_ms: i64,
    known: Vec<AuditThrough>,
    /// What became of the records so far.
    pub applied: Applied,
}

impl<'a> Rebuilding<'a> {
    /// Begins: `store` is empty. `now_ms`: broker time; nothing that was deleted was appended later.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin(
        store: &'a dyn Rebuild,
        plan: Plan,
        (pipelines, retention): (&'a Pipelines, Retention),
        sources: &[Source],
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        for s in sources.iter().filter(|s| s.partition.partition == 0) {
            let (cluster, topic) = (s.partition.cluster.clone(), s.partition.topic.clone());
            let (topic_id, partitions) = (s.topic_id, s.partitions);
            store.audit_follow(AuditFollow { cluster, topic, topic_id, partitions, now_ms }).await?;
        }
        for s in sources.iter().filter(|s| s.start > 0) {
            let of_topic =
                |o: &&Source| (&o.partition.cluster, &o.partition.topic) == (&s.partition.cluster, &s.partition.topic);
            // Of a partition of which nothing is left: as old as what was deleted elsewhere.
            let others = sources.iter().filter(of_topic).filter(|o| o.start > 0).filter_map(|o| o.first_ms).max();
            let (source, cause) = (s.partition.clone(), LossCause::Before);
            let (resumes, topic_id) = (s.start, s.topic_id);
            let now_ms = s.first_ms.or(others).unwrap_or(now_ms);
            store.audit_lost(AuditLoss { source, log: 0, next: 0, resumes, cause, topic_id, now_ms }).await?;
        }
        let (sources, applied) = (sources.iter().map(|s| s.partition.clone()).collect(), Applied::default());
        let (judged_ms, reached_ms) = (i64::MIN, i64::MIN);
        Ok(Self { store, plan, pipelines, retention, sources, judged_ms, reached_ms, known: Vec::new(), applied })
    }

    /// Applies a batch of one partition. All that was appended before its records, to whatever partition, was applied before.
    ///
    /// # Errors
    /// The store's.
    pub async fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut ruled = BTreeMap::new();
        for item in &batch.items {
            if let Content::Message(m) = &item.content {
                ruled.insert(item.offset, self.plan.rule(m));
            }
        }
        let last_ms = batch.items.last().map(|i| i.append_ms);
        let now = self.store.apply_again(batch, ruled).await?;
        let sum = &mut self.applied;
        sum.applied += now.applied;
        sum.noop += now.noop;
        sum.fenced += now.fenced;
        sum.hole += now.hole;
        sum.quarantined += now.quarantined;
        self.reached_ms = self.reached_ms.max(last_ms.unwrap_or(i64::MIN));
        Ok(())
    }

    /// All that was appended before this time, ms, to any partition was applied: judges and sweeps, if it is time.
    ///
    /// # Errors
    /// The store's.
    pub async fn reached(&mut self, ms: i64) -> Result<(), StoreError> {
        if ms < self.judged_ms.saturating_add(STEP_MS) {
            return Ok(());
        }
        self.through(ms).await?;
        self.judge(ms).await?;
        self.judged_ms = ms;
        Ok(())
    }

    /// What an earlier store knew of audit partitions of which it had read no more than is read here: that nothing was appended
    /// to them before these times that it had not applied. Records alone say that only up to the last of them.
    pub fn know(&mut self, through: Vec<AuditThrough>) {
        self.known = through;
    }

    /// All was applied. Takes over what an earlier store knew, and judges by the clock, `now_ms`.
    ///
    /// # Errors
    /// The store's.
    pub async fn end(mut self, bequest: Option<Bequest>, whole: bool, now_ms: i64) -> Result<Applied, StoreError> {
        let given_up = self.plan.give_up();
        if !given_up.is_empty() {
            self.store.give_up(given_up, self.reached_ms).await?;
        }
        if let Some(bequest) = bequest {
            self.store.inherit(bequest, whole).await?;
        }
        if self.reached_ms > i64::MIN {
            // What was asked for is all that had been appended by then, wherever the clocks of the brokers stood.
            self.through(self.reached_ms.saturating_sub(CLOCKS_MS)).await?;
        }
        self.store.audit_through(std::mem::take(&mut self.known)).await?;
        self.judge(now_ms).await?;
        Ok(self.applied)
    }

    async fn through(&self, ms: i64) -> Result<(), StoreError> {
        let through = |source: &AuditPartition| AuditThrough { source: source.clone(), next: None, through_ms: ms };
        self.store.audit_through(self.sources.iter().map(through).collect()).await
    }

    async fn judge(&self, now_ms: i64) -> Result<(), StoreError> {
        for _ in 0..CALLS_MAX {
            if self.store.judge(now_ms, self.pipelines).await? == 0 {
                break;
            }
        }
        for _ in 0..CALLS_MAX {
            if !self.store.sweep(now_ms, self.retention).await?.more {
                break;
            }
        }
        Ok(())
    }
}
