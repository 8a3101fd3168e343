//! Sends reports to the audit topic and tells what became of each. Bounded, idempotent, never blocks.
//!
//! The producer is polled by the thread that owns it, so that no callback runs anywhere else; a fatal error makes a new
//! producer, and what was under way is told as failed (a duplicate is a no-op at the collector).

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::config::Cluster;
use crate::exit::Failure;
use crate::kafka::context::Plain;
use crate::kafka::refusal::{self, Need};
use crate::kafka::{create, producer};
use crate::problems::Problems;

/// Events of the producer served at once: delivery reports come many in one.
const EVENTS_PER_POLL: usize = 64;
/// Pause before a producer with a fatal error is replaced.
const RENEW_AFTER: Duration = Duration::from_secs(2);

/// What became of a report: where it is (partition and offset), or why not.
pub type Delivery = (u64, Result<(i32, i64), Undelivered>);

/// Why a report did not arrive, or may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The audit topic's cluster said so.
    #[error("{0}")]
    Kafka(RDKafkaErrorCode),
    /// The store did not take it.
    #[error("the store did not take it")]
    Store,
}

struct Reports {
    plain: Plain,
    delivered: Arc<Mutex<Vec<Delivery>>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        self.plain.log(level, fac, text);
    }
    fn stats(&self, _: rdkafka::Statistics) {}
    fn error(&self, error: KafkaError, reason: &str) {
        self.plain.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<u64>) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((e, _)) => Err(Undelivered::Kafka(refusal::code_of(e))),
        };
        self.delivered.lock().push((*id, result));
    }
}

/// See the module's head.
pub struct Sender {
    cluster: Cluster,
    topic: String,
    problems: Problems,
    producer: BaseProducer<Reports>,
    delivered: Arc<Mutex<Vec<Delivery>>>,
    /// The producer is of no more use, and when another takes over.
    renew_at: Option<Instant>,
}

impl Sender {
    /// Sends to `topic` of `cluster`.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(cluster: &Cluster, topic: &str, problems: &Problems) -> Result<Self, Failure> {
        let delivered = Arc::new(Mutex::new(Vec::new()));
        Ok(Self {
            producer: make(cluster, problems, &delivered)?,
            cluster: cluster.clone(),
            topic: topic.to_owned(),
            problems: problems.clone(),
            delivered,
            renew_at: None,
        })
    }

    fn problem_key(&self) -> String {
        format!("kafka.{} write {}", self.cluster.name, self.topic)
    }

    /// Hands a report over; what becomes of it is told by [`poll`](Self::poll). `false`: the queue is full or closed.
    pub fn send(&mut self, id: u64, key: &str, payload: &[u8]) -> bool {
        if self.renew_at.is_some() {
            return false;
        }
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(id)).key(key).payload(payload);
        match self.producer.send(record) {
            Ok(()) => true,
            Err((e, _)) => {
                self.note(Some(refusal::code_of(&e)));
                false
            }
        }
    }

    /// What became of reports since the last call.
    pub fn poll(&mut self) -> Vec<Delivery> {
        // One event a call, and no word whether there was one.
        for _ in 0..EVENTS_PER_POLL {
            self.producer.poll(Duration::ZERO);
        }
        self.renew();
        let delivered = std::mem::take(&mut *self.delivered.lock());
        if let Some((_, last)) = delivered.last() {
            self.note(match last {
                Err(Undelivered::Kafka(code)) => Some(*code),
                _ => None,
            });
        }
        delivered
    }

    /// A producer with a fatal error is of no more use; another takes over after a pause.
    fn renew(&mut self) {
        let now = Instant::now();
        if self.renew_at.is_none()
            && let Some((code, words)) = self.producer.client().fatal_error()
        {
            self.note(Some(code));
            tracing::error!(cluster = self.cluster.name, "producer: {code}: {words}; another takes over");
            self.renew_at = Some(now + RENEW_AFTER);
        }
        if self.renew_at.is_none_or(|at| now < at) {
            return;
        }
        match make(&self.cluster, &self.problems, &self.delivered) {
            // Dropping the old one purges its queue, which tells each report as failed.
            Ok(fresh) => {
                self.producer = fresh;
                self.renew_at = None;
            }
            Err(failure) => self.problems.set(self.problem_key(), failure.to_string()),
        }
    }

    fn note(&self, code: Option<RDKafkaErrorCode>) {
        let ours = [RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::PurgeInflight, RDKafkaErrorCode::Fatal];
        if code.is_some_and(|code| ours.contains(&code)) {
            // What follows from an error that was noted before.
            return;
        }
        let need = Need::WriteTopic(self.topic.clone());
        let sentence = code.map(|code| refusal::sentence(&self.cluster.name, &need, code));
        self.problems.note(&self.problem_key(), sentence);
    }

    /// Waits until everything handed over was told of, at most for `deadline`.
    pub fn flush(&mut self, deadline: Duration) -> Vec<Delivery> {
        if let Err(e) = self.producer.flush(deadline) {
            tracing::debug!(cluster = self.cluster.name, "flush: {e}");
        }
        self.poll()
    }
}

fn make(
    cluster: &Cluster,
    problems: &Problems,
    delivered: &Arc<Mutex<Vec<Delivery>>>,
) -> Result<BaseProducer<Reports>, Failure> {
    let plain = Plain::new(&cluster.name, "report", problems);
    create(cluster, &producer(cluster), Reports { plain, delivered: Arc::clone(delivered) })
}
