//! Sends reports to the audit topic and tells what became of each. Bounded, idempotent, never blocks.
//!
//! The producer is polled by the thread that owns it, so that no callback runs anywhere else; a fatal error makes a new
//! producer, and what was under way is told as failed (a duplicate is a no-op at the collector).

use std::sync::Arc;
use std::time::Duration;

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

/// What became of a report: where it is, or why not.
pub type Delivery = (u64, Result<(i32, i64), RDKafkaErrorCode>);

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
            Err((e, _)) => Err(refusal::code_of(e)),
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
        })
    }

    fn problem_key(&self) -> String {
        format!("kafka.{} write {}", self.cluster.name, self.topic)
    }

    /// Hands a report over; what becomes of it is told by [`poll`](Self::poll). `false`: the queue is full or closed.
    pub fn send(&mut self, id: u64, key: &str, payload: &[u8]) -> bool {
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(id)).key(key).payload(payload);
        match self.producer.send(record) {
            Ok(()) => true,
            Err((e, _)) => {
                let need = Need::WriteTopic(self.topic.clone());
                let sentence = refusal::sentence(&self.cluster.name, &need, refusal::code_of(&e));
                self.problems.set(self.problem_key(), sentence);
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
        if let Some((code, words)) = self.producer.client().fatal_error() {
            tracing::error!(cluster = self.cluster.name, "producer: {code}: {words}; a new one takes over");
            match make(&self.cluster, &self.problems, &self.delivered) {
                // Dropping the old one purges its queue, which tells each report as failed.
                Ok(fresh) => self.producer = fresh,
                Err(failure) => self.problems.set(self.problem_key(), failure.to_string()),
            }
        }
        let delivered = std::mem::take(&mut *self.delivered.lock());
        if let Some((_, last)) = delivered.last() {
            let need = Need::WriteTopic(self.topic.clone());
            let sentence = last.as_ref().err().map(|code| refusal::sentence(&self.cluster.name, &need, *code));
            self.problems.note(&self.problem_key(), sentence);
        }
        delivered
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
