//! One question at a time, for verbs that need an answer at once: whether a cluster answers, whether a topic exists.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::util::Timeout;

use super::ASK_TIMEOUT;
use super::refusal::{self, Need};
use crate::config::Cluster;
use crate::exit::{Code, Failure};

/// A cluster answers within this, all tries together.
const TRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(7)];

/// Keeps what librdkafka says, for the one sentence at the end; logs it only at `debug`.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Vec<(RDKafkaErrorCode, String)>>>);

/// How long what waits in a client's queue is listened to.
const LISTEN: Duration = Duration::from_millis(200);
/// Most errors kept.
const HEARD_MAX: usize = 100;

impl Ear {
    /// Whether an error of this code was reported.
    pub fn heard(&self, code: RDKafkaErrorCode) -> bool {
        self.0.lock().iter().any(|(heard, _)| *heard == code)
    }
    /// What explains a silence best: a refused login or handshake, else a connection that failed.
    pub fn best(&self) -> Option<(RDKafkaErrorCode, String)> {
        let heard = self.0.lock();
        let find = |wanted: &dyn Fn(RDKafkaErrorCode) -> bool| heard.iter().find(|(code, _)| wanted(*code)).cloned();
        let about_all = |code| code == RDKafkaErrorCode::AllBrokersDown;
        find(&is_login)
            .or_else(|| find(&|code| code == RDKafkaErrorCode::SSL))
            .or_else(|| find(&|code| !about_all(code)))
    }
    /// Takes what waits in the client's queue. Messages are dropped.
    pub fn listen(&self, client: &BaseConsumer<Self>) {
        let until = Instant::now() + LISTEN;
        // Not with a timeout of zero: a poll ends with the first log line then, before the errors behind it.
        while let Some(event) = client.poll(until.saturating_duration_since(Instant::now())) {
            if let Err(KafkaError::MessageConsumption(code) | KafkaError::MessageConsumptionFatal(code)) = event {
                self.note(code, "");
            }
        }
    }
    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut heard = self.0.lock();
        if heard.len() < HEARD_MAX {
            heard.push((code, reason.to_owned()));
        }
    }
}

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, fac: &str, text: &str) {
        tracing::debug!(fac, "{text}");
    }
    fn stats(&self, _: Statistics) {}
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.note(code, reason);
        }
    }
}

impl ConsumerContext for Ear {
    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

fn is_login(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
}

/// Waits for a cluster's metadata.
///
/// # Errors
/// [`Code::NotAuthorised`] if the login is refused, [`Code::Unavailable`] if nobody answers.
pub fn reach(cluster: &Cluster, client: &BaseConsumer<Ear>, ear: &Ear) -> Result<Metadata, Failure> {
    let (name, servers) = (&cluster.name, &cluster.bootstrap_servers);
    let began = Instant::now();
    let mut last = RDKafkaErrorCode::OperationTimedOut;
    for patience in TRIES {
        match client.fetch_metadata(None, patience) {
            Ok(metadata) => return Ok(metadata),
            Err(e) => last = refusal::code_of(&e),
        }
        ear.listen(client);
        if ear.best().is_some_and(|(code, _)| is_login(code)) {
            break;
        }
    }
    let (code, reason) = ear.best().unwrap_or_else(|| (last, last.to_string()));
    let reason: String = reason.chars().take(300).collect();
    Err(if is_login(code) {
        let keys = "check sasl.mechanisms, sasl.username and sasl.password";
        let text = format!("kafka.{name}: {servers} refuses our login: {keys} in kafka.{name}.properties ({reason})");
        Failure::new(Code::NotAuthorised, text)
    } else if code == RDKafkaErrorCode::SSL {
        let text = format!(
            "kafka.{name}: no TLS connection to {servers}: check security.protocol and ssl.* in kafka.{name}.properties ({reason})"
        );
        Failure::new(Code::Unavailable, text)
    } else {
        let waited = began.elapsed().as_secs();
        let text = format!(
            "kafka.{name}: no broker answers at {servers} within {waited} s: check kafka.{name}.bootstrap_servers and security.protocol ({reason})"
        );
        Failure::new(Code::Unavailable, text)
    })
}

/// Whether a topic exists.
pub enum Existence {
    /// With so many partitions.
    There(i32),
    /// It does not.
    Absent,
    /// We may not know.
    Refused(RDKafkaErrorCode),
    /// Nobody said.
    Untold(RDKafkaErrorCode),
}

/// Asks for one topic. A consumer's question creates nothing.
pub fn existence(client: &BaseConsumer<Ear>, topic: &str) -> Existence {
    let metadata = match client.fetch_metadata(Some(topic), ASK_TIMEOUT) {
        Ok(metadata) => metadata,
        Err(e) => return Existence::Untold(refusal::code_of(&e)),
    };
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Existence::Absent };
    match found.error().map(RDKafkaErrorCode::from) {
        None if found.partitions().is_empty() => Existence::Absent,
        None => Existence::There(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Existence::Absent,
        Some(code) if refusal::is_authorisation(code) => Existence::Refused(code),
        Some(code) => Existence::Untold(code),
    }
}

/// The failure that stands for a topic that may not be read.
pub fn may_not_read(cluster: &str, topic: &str, code: RDKafkaErrorCode) -> Failure {
    let need = Need::ReadTopic(topic.to_owned());
    Failure::new(Code::NotAuthorised, refusal::sentence(cluster, &need, code))
}
