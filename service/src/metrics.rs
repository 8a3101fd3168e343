//! `/metrics`: what this process does and how its store stands, as figures for programs.
//!
//! [`families`] is the one table of what there is (docs/OPERATIONS.md is held to it); [`meters`] are counted where the
//! work is done, at most once a heartbeat or batch; [`exposition`] writes the text. Whoever has figures of its own
//! implements [`Source`] and registers itself with [`Meters::add`]: its families go into the table, nothing else is
//! needed. Invariants: what is not known is left out, never zero; no label holds a host, an id or anything else without
//! a bound. Limit: beyond [`meters::TOPICS_MAX`] topics a tap's topics are one.

pub mod exposition;
pub mod families;
mod flow;
pub mod meters;
mod process;
mod truth;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::Clock;
use chaperone_collector::Store;
use chaperone_collector::lag::{self, STALE_AFTER_MS};
use chaperone_collector::query::WindowQuery;
use chaperone_web::Problem;
use tokio::sync::watch;

use exposition::Exposition;
use families as f;
use meters::Meters;

/// How long the store may take to say how it stands.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// Figures of a part of the process, asked for at each scrape. Must not block.
pub trait Source: Send + Sync {
    /// Writes its samples.
    fn write(&self, out: &mut Exposition);
}

/// What a process without a store says of itself: these problems, and what `source` has.
pub(crate) fn storeless(role: &str, problems: usize, source: &dyn Source) -> String {
    let mut out = Exposition::new(f::ALL);
    let build = [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("CHAPERONE_COMMIT")), ("role", role)];
    out.sample(&f::BUILD_INFO, &build, 1.0);
    process::write(&mut out);
    out.sample(&f::READY, &[], if problems == 0 { 1.0 } else { 0.0 });
    out.sample(&f::PROBLEMS, &[("kind", "problem")], number(problems));
    source.write(&mut out);
    out.finish()
}

/// What `/metrics` answers from.
pub struct Metrics {
    /// Truth at rest.
    pub store: Arc<dyn Store>,
    /// What is wrong.
    pub problems: watch::Receiver<Vec<Problem>>,
    /// What is counted while working.
    pub meters: Meters,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The verb.
    pub role: &'static str,
}

impl Metrics {
    async fn write(&self) -> String {
        let mut out = Exposition::new(f::ALL);
        let commit = env!("CHAPERONE_COMMIT");
        let build = [("version", env!("CARGO_PKG_VERSION")), ("commit", commit), ("role", self.role)];
        out.sample(&f::BUILD_INFO, &build, 1.0);
        process::write(&mut out);
        self.write_problems(&mut out);
        self.write_store(&mut out).await;
        self.meters.write(&mut out);
        out.finish()
    }

    fn write_problems(&self, out: &mut Exposition) {
        let problems = self.problems.borrow();
        let notices = problems.iter().filter(|p| p.notice).count();
        out.sample(&f::PROBLEMS, &[("kind", "notice")], number(notices));
        out.sample(&f::PROBLEMS, &[("kind", "problem")], number(problems.len() - notices));
        out.sample(&f::READY, &[], if notices == problems.len() { 1.0 } else { 0.0 });
    }

    async fn write_store(&self, out: &mut Exposition) {
        let both = async {
            Ok::<_, chaperone_collector::StoreError>((self.store.status().await?, self.store.processes().await?))
        };
        let Ok(Ok((status, processes))) = tokio::time::timeout(STORE_PATIENCE, both).await else {
            return out.sample(&f::STORE_UP, &[], 0.0);
        };
        let now_ms = self.clock.now_ms();
        out.sample(&f::STORE_UP, &[], 1.0);
        out.sample(&f::STORE_READ, &[], number(status.read));
        let outcomes = [
            ("applied", status.applied),
            ("noop", status.noop),
            ("fenced", status.fenced),
            ("hole", status.hole),
            ("quarantined", status.quarantined),
        ];
        for (outcome, n) in outcomes {
            out.sample(&f::STORE_RECORDS, &[("outcome", outcome)], number(n));
        }
        out.sample(&f::STORE_PENDING, &[], number(status.pending));
        if let Some(ms) = status.applied_through_ms {
            out.sample(&f::STORE_THROUGH, &[], seconds(now_ms, ms));
        }
        let mut roles: Vec<(&str, i64)> = processes.iter().map(|p| (p.role.as_str(), p.beat_ms)).collect();
        // Newest beat first within a role.
        roles.sort_unstable_by(|a, b| a.0.cmp(b.0).then(b.1.cmp(&a.1)));
        roles.dedup_by_key(|(role, _)| *role);
        for (role, beat_ms) in roles {
            out.sample(&f::HEARTBEAT, &[("role", role)], seconds(now_ms, beat_ms));
        }
        self.write_truth(out, now_ms).await;
        self.write_lag(out, now_ms).await;
    }

    async fn write_truth(&self, out: &mut Exposition, now_ms: i64) {
        let both = async {
            let trouble = self.store.trouble(now_ms.saturating_sub(truth::LOOKED_BACK_MS)).await?;
            Ok::<_, chaperone_collector::StoreError>((trouble, self.store.expected().await?))
        };
        let Ok(Ok((trouble, expected))) = tokio::time::timeout(STORE_PATIENCE, both).await else { return };
        truth::write(out, &trouble, &expected);
        let recent = WindowQuery {
            from_ms: now_ms.saturating_sub(flow::LOOKED_BACK_MS),
            to_ms: now_ms,
            ..WindowQuery::default()
        };
        let both = async {
            let complete = self.store.complete_through().await?;
            Ok::<_, chaperone_collector::StoreError>((complete, self.store.stage_windows(recent).await?))
        };
        let Ok(Ok((complete, recent))) = tokio::time::timeout(STORE_PATIENCE, both).await else { return };
        flow::write(out, &complete, &recent, now_ms);
    }

    async fn write_lag(&self, out: &mut Exposition, now_ms: i64) {
        let asked = tokio::time::timeout(STORE_PATIENCE, self.store.lag(now_ms.saturating_sub(STALE_AFTER_MS)));
        let Ok(Ok(report)) = asked.await else { return };
        for sample in lag::samples(&report.rows, now_ms) {
            let families = [&f::GROUP_LAG_MESSAGES, &f::GROUP_LAG_SECONDS, &f::GROUP_LAG_ERROR];
            let Some(family) = families.into_iter().find(|family| family.name == sample.name) else { continue };
            let [cluster, group, topic] = sample.labels;
            let partition = sample.partition.to_string();
            out.sample(family, &[cluster, group, topic, ("partition", &partition)], sample.value);
        }
    }
}

impl chaperone_web::Metrics for Metrics {
    fn text(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(self.write())
    }
}

/// Counts as Prometheus has them: exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating point")]
pub(crate) fn number(n: impl TryInto<u64>) -> f64 {
    n.try_into().unwrap_or(u64::MAX) as f64
}

/// From `then_ms` to `now_ms`; never negative.
#[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating point")]
fn seconds(now_ms: i64, then_ms: i64) -> f64 {
    now_ms.saturating_sub(then_ms).max(0) as f64 / 1_000.0
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
