//! A tap: reads the topics of one Kafka cluster, counts every message by the same rules as everybody, and sends
//! intervals of offsets to an audit topic.
//!
//! Who counts what is decided by claims in the store, not by the consumer group: `claim` in one transaction, read from
//! where it says, and an interval that does not fit the chain is not applied. So taps may crash, wake up late or run
//! twice without a message being counted twice or not at all. Nothing here commits an offset.
//!
//! Threads: one that reads and counts ([`worker`]), one that asks for ends and metadata
//! ([`Asker`](crate::kafka::asker::Asker)).

pub mod budget;
pub mod claims;
pub mod count;
pub mod frontier;
pub mod outlet;
pub mod partition;
pub mod reader;
pub mod report;
pub mod sender;
pub mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chaperone_audit::{Clock, Rules};
use chaperone_collector::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::{self, Cluster, Config, Widths};
use crate::exit::{Code, Failure};
use crate::kafka::stall::{self, Broken};
use crate::metrics::meters::{Cause, Meters};
use crate::problems::Problems;
use crate::share::Share;
use crate::threads;
use worker::{Ended, Worker};

/// How often a tap reports.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often it reports while many partitions have traffic.
pub const HEARTBEAT_LARGE: Duration = Duration::from_secs(10);
/// From how many partitions with traffic on that is.
pub const MANY_PARTITIONS: usize = 100;
/// Pause before a tap that failed starts over.
const START_OVER_AFTER: Duration = Duration::from_secs(5);

/// What one tap does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cluster that it reads.
    pub cluster: Cluster,
    /// What it reads there.
    pub tap: config::Tap,
    /// Who says which partitions it reads.
    pub membership: Membership,
    /// Where its counts go.
    pub reports: Reports,
    /// Topics that are never counted: our own.
    pub excluded: BTreeSet<String>,
    /// Identity and time of messages, by topic.
    pub rules: Rules,
    /// Widths of windows.
    pub widths: Widths,
    /// How often it reports.
    pub heartbeat: Duration,
    /// A partition that is behind and does not move for this long gets a new consumer.
    pub stall_patience: Duration,
}

/// Who says which partitions a tap reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// A consumer group; claims decide in the end.
    Group(String),
    /// Nobody: all of them are its own, and nothing is left on the cluster.
    Alone,
}

/// Where a tap's counts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reports {
    /// To an audit topic, and by intake into the store.
    Topic {
        /// Its cluster.
        cluster: Box<Cluster>,
        /// The topic.
        topic: String,
    },
    /// Into the store of this process.
    Store,
}

impl Reports {
    /// Cluster and topic that the store knows the reports of `stage` by.
    pub fn source(&self, stage: &str) -> (String, String) {
        match self {
            Self::Topic { cluster, topic } => (cluster.name.clone(), topic.clone()),
            // No cluster can have an empty name.
            Self::Store => (String::new(), stage.to_owned()),
        }
    }
}

impl Settings {
    /// The taps of a configuration, all or those of one cluster.
    pub fn of(config: &Config, only: Option<&str>) -> Vec<Self> {
        let excluded: BTreeSet<String> =
            config.clusters.iter().filter_map(|c| c.audit.as_ref()).map(|a| a.topic.clone()).collect();
        let tapped = config.clusters.iter().filter(|c| only.is_none_or(|name| c.name == name));
        tapped
            .filter_map(|cluster| {
                let tap = cluster.tap.clone()?;
                // Reports go there; what is tapped there is another tap's business.
                let audit_cluster = Cluster { tap: None, lag: None, ..config.cluster(&tap.audit)?.clone() };
                let topic = audit_cluster.audit.as_ref()?.topic.clone();
                Some(Self {
                    // Whose lag is asked for is nothing to a tap.
                    cluster: Cluster { lag: None, ..cluster.clone() },
                    membership: Membership::Group(tap.group.clone()),
                    tap,
                    reports: Reports::Topic { cluster: Box::new(audit_cluster), topic },
                    excluded: excluded.clone(),
                    rules: config.rules.clone(),
                    widths: config.widths.clone(),
                    heartbeat: HEARTBEAT,
                    stall_patience: stall::PATIENCE,
                })
            })
            .collect()
    }
}

/// What taps share with the rest of the process.
#[derive(Clone)]
pub struct Shared {
    /// Truth at rest.
    pub store: Arc<dyn Store>,
    /// The runtime that the store's answers come from.
    pub runtime: Handle,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// What is wrong.
    pub problems: Problems,
    /// Figures for `/metrics`.
    pub meters: Meters,
    /// What of the collectors' work is ours.
    pub share: watch::Receiver<Share>,
}

/// A tap that is ready to start. It knows which partitions there are from now on: what comes into being until it starts
/// is read from its beginning.
pub struct Prepared {
    first: Worker,
    settings: Settings,
    shared: Shared,
}

impl Prepared {
    /// Makes its clients, which connect by themselves.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: Settings, shared: Shared) -> Result<Self, Failure> {
        Ok(Self { first: Worker::new(&settings, &shared)?, settings, shared })
    }

    /// Starts it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(self) -> Result<Tap, Failure> {
        let Self { first, settings, shared } = self;
        let name = format!("tap-{}", settings.cluster.name);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || run(first, &settings, &shared, &stopped))
            .map_err(|e| Failure::new(Code::Software, format!("cannot start thread {name}: {e}")))?;
        Ok(Tap { name, stop, thread: Some(thread) })
    }
}

/// A running tap.
pub struct Tap {
    name: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Starts a tap. It connects by itself and waits for as long as no broker answers.
    ///
    /// # Errors
    /// When librdkafka refuses a property, or no thread can be started.
    pub fn start(settings: Settings, shared: Shared) -> Result<Self, Failure> {
        Prepared::new(settings, shared)?.start()
    }

    /// Asks it to end; it sends what it has counted first.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Waits until it has ended, at most until `deadline`. Blocks; not for a runtime's thread.
    pub fn join(mut self, deadline: Instant) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            threads::join(&self.name, thread, deadline);
        }
    }
}

/// The key of "its consumer stood still".
pub(crate) fn stalled_key(cluster: &str) -> String {
    format!("kafka.{cluster} stalled")
}

/// Runs workers until told to stop: one that failed is followed by another.
fn run(first: Worker, settings: &Settings, shared: &Shared, stop: &AtomicBool) {
    let cluster = &settings.cluster.name;
    let _span = tracing::info_span!("tap", cluster, stage = settings.tap.stage).entered();
    let mut next = Some(Ok(first));
    while !stop.load(Ordering::SeqCst) {
        match next.take().unwrap_or_else(|| Worker::new(settings, shared)) {
            Ok(worker) => match worker.run(stop) {
                Ended::Stopped => return,
                Ended::Broken(Broken::Failed(why)) => {
                    shared.meters.tap(cluster).restarts(Cause::Failed);
                    tracing::error!("the tap starts over: {why}");
                }
                Ended::Broken(Broken::Stalled(why)) => {
                    shared.meters.tap(cluster).restarts(Cause::Stalled);
                    shared
                        .problems
                        .notice(stalled_key(cluster), format!("kafka.{cluster}: the tap starts over: {why}"));
                }
            },
            Err(failure) => shared.problems.set(format!("tap {cluster}"), failure.message),
        }
        threads::pause(stop, START_OVER_AFTER);
    }
}

#[cfg(test)]
#[path = "tap/stall_tests.rs"]
mod stall_tests;
