//! Intake: reads an audit topic and hands it to the store, batch by batch, from where the store stands.
//!
//! No group, no commits: the store moves `next` in the transaction that applies the records, so that a crash at any
//! point re-reads what was not applied and nothing else. Any bytes are either a message or a quarantine row; nothing
//! stops the intake but the store, and it resumes by itself.

pub mod decode;
pub mod guard;
pub mod open;
pub mod reader;
pub mod skew;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{Audit, Cluster, Config};
use crate::exit::{Code, Failure};
use crate::kafka::stall::{self, Broken};
use crate::metrics::meters::Cause;
use crate::tap::Shared;
use reader::{Ended, Reader};

/// How often the audit topic's ends are asked for: how fresh `audit_through` is.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
const START_OVER_AFTER: Duration = Duration::from_secs(5);

/// Which audit topic.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its cluster.
    pub cluster: Cluster,
    /// The topic.
    pub audit: Audit,
    /// A partition that is behind and does not move for this long gets a new consumer.
    pub stall_patience: Duration,
}

impl Settings {
    /// All audit topics of a configuration.
    pub fn of(config: &Config) -> Vec<Self> {
        let one =
            |c: &Cluster| Some(Self { cluster: c.clone(), audit: c.audit.clone()?, stall_patience: stall::PATIENCE });
        config.clusters.iter().filter_map(one).collect()
    }

    /// `CLUSTER/TOPIC`.
    pub fn source(&self) -> String {
        format!("{}/{}", self.cluster.name, self.audit.topic)
    }
}

/// A running intake.
pub struct Intake {
    name: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Intake {
    /// Starts. It connects by itself and waits for as long as no broker answers.
    ///
    /// # Errors
    /// When librdkafka refuses a property, or no thread can be started.
    pub fn start(settings: Settings, shared: Shared) -> Result<Self, Failure> {
        let name = format!("intake-{}", settings.cluster.name);
        let stop = Arc::new(AtomicBool::new(false));
        let first = Reader::new(&settings, &shared)?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || run(first, &settings, &shared, &stopped))
            .map_err(|e| Failure::new(Code::Software, format!("cannot start thread {name}: {e}")))?;
        Ok(Self { name, stop, thread: Some(thread) })
    }

    /// Asks it to end; what it has read is applied first.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Waits until it has ended, at most until `deadline`. Blocks; not for a runtime's thread.
    pub fn join(mut self, deadline: Instant) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            crate::threads::join(&self.name, thread, deadline);
        }
    }
}

/// The key of "its consumer stood still".
fn stalled_key(cluster: &str) -> String {
    format!("intake {cluster} stalled")
}

pub(crate) fn run(first: Reader, settings: &Settings, shared: &Shared, stop: &AtomicBool) {
    let (cluster, topic) = (&settings.cluster.name, &settings.audit.topic);
    let _span = tracing::info_span!("intake", cluster, topic).entered();
    let meter = shared.meters.intake(cluster, topic);
    let mut next = Some(Ok(first));
    while !stop.load(Ordering::SeqCst) {
        match next.take().unwrap_or_else(|| Reader::new(settings, shared)) {
            Ok(reader) => match reader.run(stop) {
                Ended::Stopped => return,
                Ended::Broken(Broken::Failed(why)) => {
                    meter.restarts(Cause::Failed);
                    tracing::error!("intake starts over: {why}");
                }
                Ended::Broken(Broken::Stalled(why)) => {
                    meter.restarts(Cause::Stalled);
                    shared.problems.notice(stalled_key(cluster), format!("kafka.{cluster}: intake starts over: {why}"));
                }
            },
            Err(failure) => shared.problems.set(format!("intake {cluster}"), failure.message),
        }
        crate::threads::pause(stop, START_OVER_AFTER);
    }
}
