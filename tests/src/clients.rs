//! Plain rdkafka clients for the suites: no auditing in them, so they can judge what audits.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::util::Timeout;

use crate::Cluster;

/// Keeps the errors that librdkafka reports, and keeps its log quiet: refused logins are part of the tests.
struct Listener {
    errors: Sender<RDKafkaErrorCode>,
    deliveries: Sender<Result<(), RDKafkaErrorCode>>,
}

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, _reason: &str) {
        // The receiver outlives the client, except while both are dropped.
        self.errors.send(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)).ok();
    }
}

impl ConsumerContext for Listener {}

impl ProducerContext for Listener {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = result.as_ref().map(drop);
        let outcome = outcome.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
        self.deliveries.send(outcome).ok();
    }
}

struct Inbox {
    errors: Receiver<RDKafkaErrorCode>,
    deliveries: Receiver<Result<(), RDKafkaErrorCode>>,
}

fn create<T: FromClientConfigAndContext<Listener>>(config: &ClientConfig) -> anyhow::Result<(T, Inbox)> {
    let (errors, errors_inbox) = mpsc::channel();
    let (deliveries, deliveries_inbox) = mpsc::channel();
    let mut config = config.clone();
    // Else `debug` and failed connections are printed by librdkafka itself.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    let client = T::from_config_and_context(&config, Listener { errors, deliveries })?;
    Ok((client, Inbox { errors: errors_inbox, deliveries: deliveries_inbox }))
}

/// A client that only asks.
pub struct Probe {
    consumer: BaseConsumer<Listener>,
    inbox: Inbox,
}

impl Probe {
    /// Connects in the background.
    pub fn new(config: &ClientConfig) -> anyhow::Result<Probe> {
        let (consumer, inbox) = create(config)?;
        Ok(Probe { consumer, inbox })
    }

    /// How many brokers a metadata answer names.
    pub fn brokers(&self, timeout: Duration) -> anyhow::Result<usize> {
        Ok(self.consumer.fetch_metadata(None, timeout)?.brokers().len())
    }

    /// The first error that librdkafka reports for which `wanted` holds, within `deadline`.
    pub fn error(&self, deadline: Duration, wanted: impl Fn(RDKafkaErrorCode) -> bool) -> Option<RDKafkaErrorCode> {
        let end = Instant::now() + deadline;
        while Instant::now() < end {
            // Serves the error callback; without a subscription there is no message.
            drop(self.consumer.poll(Duration::from_millis(20)));
            if let Some(code) = self.inbox.errors.try_iter().find(|code| wanted(*code)) {
                return Some(code);
            }
        }
        None
    }
}

/// Produces `payloads` and waits for the delivery reports; the first refusal is the error. A `KafkaError`'s code is at
/// the root of the error: see [`refusal`].
pub fn produce(config: &ClientConfig, topic: &str, payloads: &[&[u8]]) -> anyhow::Result<()> {
    let mut config = config.clone();
    config.set("message.timeout.ms", "20000");
    let (producer, inbox): (BaseProducer<Listener>, Inbox) = create(&config)?;
    for payload in payloads {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(payload);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Timeout::After(Duration::from_secs(30)))?;
    let outcomes: Vec<_> = inbox.deliveries.try_iter().collect();
    anyhow::ensure!(outcomes.len() == payloads.len(), "{} of {} reports", outcomes.len(), payloads.len());
    outcomes.into_iter().collect::<Result<Vec<()>, _>>().map_err(KafkaError::MessageProduction)?;
    Ok(())
}

/// Reads `count` messages of a topic from its beginning as a member of `group`; the first error ends it.
pub fn consume(
    config: &ClientConfig,
    topic: &str,
    group: &str,
    count: usize,
    deadline: Duration,
) -> anyhow::Result<Vec<OwnedMessage>> {
    let mut config = config.clone();
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let (consumer, inbox): (BaseConsumer<Listener>, Inbox) = create(&config)?;
    consumer.subscribe(&[topic])?;
    let end = Instant::now() + deadline;
    let mut messages = Vec::new();
    while messages.len() < count {
        anyhow::ensure!(Instant::now() < end, "{} of {count} messages within {deadline:?}", messages.len());
        if let Some(message) = consumer.poll(Duration::from_millis(50)) {
            messages.push(message.as_ref().map(BorrowedMessage::detach).map_err(Clone::clone)?);
        }
        if let Some(code) = inbox.errors.try_iter().find(|code| is_refusal(*code)) {
            return Err(KafkaError::MessageConsumption(code).into());
        }
    }
    Ok(messages)
}

/// Everything on a cluster that a client could have left there: topics, internal ones too, and groups.
pub fn traces(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let wait = Duration::from_secs(20);
    // Without a group of its own, this one creates nothing either.
    let client: BaseConsumer = BaseConsumer::from_config(&cluster.plain_config())?;
    let metadata = client.fetch_metadata(None, wait)?;
    let topics = metadata.topics().iter().map(|topic| format!("topic {}", topic.name()));
    let groups = client.fetch_group_list(None, wait)?;
    let groups = groups.groups().iter().map(|group| format!("group {}", group.name()));
    Ok(topics.chain(groups).collect())
}

/// The payloads of messages.
pub fn payloads(messages: &[OwnedMessage]) -> Vec<&[u8]> {
    messages.iter().map(|message| message.payload().unwrap_or_default()).collect()
}

/// Why Kafka refused: the code of the `KafkaError` in `outcome`; an error when it was not refused by Kafka.
pub fn refusal<T>(outcome: anyhow::Result<T>) -> anyhow::Result<RDKafkaErrorCode> {
    let Err(error) = outcome else { anyhow::bail!("this was not refused") };
    let code = error.downcast_ref::<KafkaError>().and_then(KafkaError::rdkafka_error_code);
    code.with_context(|| format!("not an answer of Kafka: {error:#}"))
}

/// Whether a code says that the user may not, as opposed to a connection that comes and goes.
pub fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}
