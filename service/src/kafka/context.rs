//! Callbacks of librdkafka. None of them may panic or block: they run on its threads or inside `poll`.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;
use rdkafka::{Statistics, TopicPartitionList};
use std::time::Duration;

use super::refusal;
use crate::problems::Problems;

/// Log lines and errors of one client.
#[derive(Clone)]
pub struct Plain {
    cluster: String,
    part: &'static str,
    problems: Problems,
}

impl Plain {
    /// For the client that does `part` on `cluster`.
    pub fn new(cluster: &str, part: &'static str, problems: &Problems) -> Self {
        Self { cluster: cluster.to_owned(), part, problems: problems.clone() }
    }

    /// The key of problems that any answer of the cluster solves.
    pub fn reach_key(&self) -> String {
        reach_key(&self.cluster)
    }
}

/// The key of "cannot reach" and "refuses the credentials": one a cluster, whichever client notices.
pub fn reach_key(cluster: &str) -> String {
    format!("kafka.{cluster} reach")
}

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        let (cluster, part) = (self.cluster.as_str(), self.part);
        match level {
            // Properties of producers given to consumers and the like: normal, since both share one table.
            _ if fac == "CONFWARN" => tracing::debug!(cluster, part, fac, "{text}"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(cluster, part, fac, "{text}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(cluster, part, fac, "{text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(cluster, part, fac, "{text}"),
            RDKafkaLogLevel::Debug => tracing::debug!(cluster, part, fac, "{text}"),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        match code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL => {
                self.problems.set(self.reach_key(), refusal::unreachable(&self.cluster, code, reason));
            }
            // It follows a refusal as well, which is the better reason.
            RDKafkaErrorCode::AllBrokersDown => {
                self.problems.suppose(&self.reach_key(), refusal::unreachable(&self.cluster, code, reason));
            }
            _ => tracing::debug!(cluster = self.cluster, part = self.part, "{code}: {reason}"),
        }
    }
}

impl ConsumerContext for Plain {
    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(200))
    }
}

/// What the group says about partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    /// These, and no others.
    Assign(Vec<(String, i32)>),
    /// None any more.
    Revoke,
}

/// A tap's consumer: what the group says is noted here and done by the tap's thread once `poll` returns, so that
/// nothing blocks inside librdkafka and no state is shared with a callback.
pub struct Member {
    plain: Plain,
    said: Mutex<Vec<Rebalance>>,
    closing: AtomicBool,
}

impl Member {
    /// See [`Plain::new`].
    pub fn new(plain: Plain) -> Self {
        Self { plain, said: Mutex::default(), closing: AtomicBool::new(false) }
    }
    /// What the group said since the last call, oldest first.
    pub fn take(&self) -> Vec<Rebalance> {
        std::mem::take(&mut self.said.lock())
    }
    /// From now on revocations are accepted on the spot: nobody asks any more.
    pub fn closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        self.plain.log(level, fac, text);
    }
    fn stats(&self, _: Statistics) {}
    fn error(&self, error: KafkaError, reason: &str) {
        self.plain.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, said: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::SeqCst) {
            if let Err(e) = consumer.unassign() {
                tracing::debug!("unassign while closing: {e}");
            }
            return;
        }
        let said = if said == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let list = partitions.elements();
            Rebalance::Assign(list.iter().map(|e| (e.topic().to_owned(), e.partition())).collect())
        } else {
            Rebalance::Revoke
        };
        self.said.lock().push(said);
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(200))
    }
}
