//! Kafka as the recorder's sink: a small producer of its own, so that the host's queue is never filled by audit records.
//!
//! Invariants: at most 1,000 messages or 8 MiB are queued; every message taken is reported once, also when the producer
//! had to be replaced; delivery callbacks only push into a list. After a fatal error of the idempotent producer (P6) it
//! is destroyed and made anew: what it had queued is reported as not stored and repeated by the reporter, which is
//! harmless, because records are cumulative.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::error::KafkaStartError;
use super::grant::{Grant, missing_grant};
use crate::recorder::{Sink, SinkError};

/// One turn of polling: rdkafka's poll waits to its end even when something came.
const POLL_SLICE: Duration = Duration::from_millis(10);
/// How long a new producer is not replaced again.
const REPLACE_MIN: Duration = Duration::from_secs(2);

/// What audit messages need, whatever the host's configuration says.
const SETTINGS: [(&str, &str); 8] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.type", "zstd"),
    ("message.timeout.ms", "30000"),
    ("queue.buffering.max.messages", "1000"),
    ("queue.buffering.max.kbytes", "8192"),
    ("linger.ms", "20"),
    ("delivery.report.only.error", "false"),
];

/// Producer settings that may be in a host's configuration: other names of the settings above, and what contradicts
/// idempotence or the size of our messages.
const UNWANTED: [&str; 11] = [
    "transactional.id",
    "request.required.acks",
    "compression.codec",
    "queue.buffering.max.ms",
    "delivery.timeout.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "retries",
    "message.send.max.retries",
    "message.max.bytes",
    "enable.gapless.guarantee",
];

type Reports = Arc<Mutex<Vec<(u64, Result<(), SinkError>)>>>;

/// Sends audit messages to a topic.
pub struct KafkaSink {
    config: ClientConfig,
    topic: String,
    producer: Option<BaseProducer<SinkContext>>,
    made: Instant,
    reports: Reports,
    /// Taken and not reported yet.
    outstanding: BTreeSet<u64>,
}

impl KafkaSink {
    /// A sink on `topic`, over a client of its own with the connection settings of `config`. Settings that audit
    /// messages need (acks, idempotence, compression, queue bounds) are set over those given.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(config: &ClientConfig, topic: &str) -> Result<Self, KafkaStartError> {
        let mut config = config.clone();
        for key in UNWANTED {
            config.remove(key);
        }
        for (key, value) in SETTINGS {
            config.set(key, value);
        }
        if config.get("client.id").is_none() {
            config.set("client.id", "chaperone-audit");
        }
        let reports = Reports::default();
        let producer = Some(make(&config, &reports)?);
        let (topic, outstanding) = (topic.to_owned(), BTreeSet::new());
        Ok(Self { config, topic, producer, made: Instant::now(), reports, outstanding })
    }

    /// Replaces a producer that will never send again.
    fn revive(&mut self) {
        let fatal = self.producer.as_ref().and_then(|p| p.client().fatal_error());
        let dead = self.producer.is_none() || fatal.is_some();
        if !dead || self.made.elapsed() < REPLACE_MIN {
            return;
        }
        if let Some((code, words)) = fatal {
            let refused = missing_grant(&KafkaError::MessageProduction(code), Grant::WriteTopic(&self.topic));
            tracing::error!("the audit producer cannot go on: {}", refused.unwrap_or(words));
        }
        // Dropping purges its queue and reports that; what even so stays unreported is reported here.
        drop(self.producer.take());
        self.made = Instant::now();
        let mut reports = self.reports.lock();
        let reported: BTreeSet<u64> = reports.iter().map(|r| r.0).collect();
        let silent = self.outstanding.difference(&reported);
        reports.extend(silent.map(|t| (*t, Err(SinkError::NotStored("the producer was replaced".to_owned())))));
        drop(reports);
        match make(&self.config, &self.reports) {
            Ok(producer) => {
                tracing::info!("a new audit producer takes over");
                self.producer = Some(producer);
            }
            Err(error) => tracing::warn!(%error, "cannot replace the audit producer yet"),
        }
    }
}

fn make(config: &ClientConfig, reports: &Reports) -> Result<BaseProducer<SinkContext>, KafkaStartError> {
    Ok(BaseProducer::from_config_and_context(config, SinkContext { reports: Arc::clone(reports) })?)
}

impl Sink for KafkaSink {
    fn send(&mut self, key: &[u8], payload: &[u8], token: u64) -> Result<(), SinkError> {
        self.revive();
        let Some(producer) = &self.producer else { return Err(SinkError::NotStored("no producer".to_owned())) };
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(token)).key(key).payload(payload);
        match producer.send(record) {
            Ok(()) => {
                self.outstanding.insert(token);
                Ok(())
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(SinkError::Full),
            Err((error, _)) => Err(not_stored(&error, &self.topic)),
        }
    }

    fn poll(&mut self, timeout: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        self.revive();
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(producer) = &self.producer {
                producer.poll(left.min(POLL_SLICE));
            }
            let reports = std::mem::take(&mut *self.reports.lock());
            if !reports.is_empty() || left.is_zero() || self.producer.is_none() {
                // A token may be reported by its producer's end and by the producer itself: once is enough.
                return reports.into_iter().filter(|(token, _)| self.outstanding.remove(token)).collect();
            }
        }
    }

    fn flush(&mut self, deadline: Duration) {
        if let Some(producer) = &self.producer {
            // What is not flushed is still reported, or repeated under the same UUID.
            producer.flush(deadline).ok();
        }
    }
}

fn not_stored(error: &KafkaError, topic: &str) -> SinkError {
    let refused = missing_grant(error, Grant::WriteTopic(topic));
    SinkError::NotStored(refused.unwrap_or_else(|| error.to_string()))
}

/// Collects delivery reports.
struct SinkContext {
    reports: Reports,
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "chaperone::kafka", %error, reason, "audit producer");
    }
    fn stats_raw(&self, _: &[u8]) {}
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Box<u64>) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, message)) => Err(not_stored(error, message.topic())),
        };
        self.reports.lock().push((*token, result));
    }
}

/// librdkafka's log lines into `tracing`; never onto the host's standard output.
fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "chaperone::kafka", facility, "{text}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "chaperone::kafka", facility, "{text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "chaperone::kafka", facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "chaperone::kafka", facility, "{text}"),
    }
}
