//! The three kinds of producers under one roof, what their recorder says, and what the topic says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::SystemClock;
use chaperone_audit::kafka::{Audited, AuditedBaseProducer, AuditedFutureProducer, AuditedProducer, Inner, KafkaSink};
use chaperone_audit::recorder::{Config, Recorder, Stats};
use chaperone_audit::wire::AuditMessage;
use chaperone_tests::witness::Told;
use chaperone_tests::{Bed, Cluster, clients};
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, FutureRecord, ProducerContext};
use rdkafka::util::AsyncRuntime;

pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// The host's own callback: the control, a plain count of the delivery reports that say delivered.
#[derive(Clone, Default)]
pub(crate) struct Delivered(pub(crate) Arc<AtomicU64>);

impl ClientContext for Delivered {
    // Refused messages, fencing and frozen brokers are the tests' own doing.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Ordering::SeqCst);
    }
}

/// tokio as rdkafka's feature `tokio` has it.
pub(crate) struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn spawn<T: Future<Output = ()> + Send + 'static>(task: T) {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        let never = tokio::time::timeout(duration, std::future::pending::<()>());
        Box::pin(async { drop(never.await) })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Threaded,
    Base,
    Future,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Threaded, Kind::Base, Kind::Future];

pub(crate) enum Sender {
    Threaded(AuditedProducer<Delivered>),
    Base(AuditedBaseProducer<Delivered>),
    /// Futures are dropped at once: the outcome must not need them.
    Future(AuditedFutureProducer<DefaultClientContext, Tokio>),
}

impl Sender {
    pub(crate) fn new(
        kind: Kind,
        config: &ClientConfig,
        delivered: Delivered,
        recorder: &Recorder,
    ) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.set("log_level", "0");
        let recorder = recorder.clone();
        Ok(match kind {
            Kind::Threaded => Self::Threaded(AuditedProducer::with_context(&config, delivered, recorder)?),
            Kind::Base => Self::Base(AuditedBaseProducer::with_context(&config, delivered, recorder)?),
            Kind::Future => Self::Future(AuditedFutureProducer::new(&config, recorder)?),
        })
    }

    /// Whether librdkafka took it.
    pub(crate) fn send(&self, topic: &str, value: &[u8]) -> bool {
        let key: &[u8] = b"k";
        let record = || BaseRecord::<[u8], [u8]>::to(topic).key(key).payload(value).timestamp(1_790_000_000_000);
        match self {
            Self::Threaded(producer) => producer.send(record()).is_ok(),
            Self::Base(producer) => producer.send(record()).is_ok(),
            Self::Future(producer) => {
                let record = FutureRecord::<[u8], [u8]>::to(topic).key(key).payload(value);
                producer.send_result(record.timestamp(1_790_000_000_000)).is_ok()
            }
        }
    }

    /// So many messages of `bytes` each, one after the other; how many librdkafka took.
    pub(crate) fn send_all(&self, topic: &str, messages: u64, bytes: usize) -> u64 {
        let value = |n: u64| [&n.to_le_bytes()[..], &vec![b'.'; bytes.saturating_sub(8)]].concat();
        (0..messages).map(|n| u64::from(self.send(topic, &value(n)))).sum()
    }

    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        match self {
            Self::Threaded(producer) => producer.flush(WAIT)?,
            Self::Base(producer) => producer.flush(WAIT)?,
            Self::Future(producer) => producer.producer().flush(WAIT)?,
        }
        Ok(())
    }

    /// Serves the delivery reports where the host has to.
    pub(crate) fn poll(&self) {
        if let Self::Base(producer) = self {
            producer.poll(Duration::from_millis(5));
        }
    }

    pub(crate) fn init(&self) -> KafkaResult<()> {
        match self {
            Self::Threaded(producer) => producer.init_transactions(WAIT),
            Self::Base(producer) => producer.init_transactions(WAIT),
            Self::Future(producer) => producer.producer().init_transactions(WAIT),
        }
    }

    pub(crate) fn begin(&self) -> KafkaResult<()> {
        match self {
            Self::Threaded(producer) => producer.begin_transaction(),
            Self::Base(producer) => producer.begin_transaction(),
            Self::Future(producer) => producer.producer().begin_transaction(),
        }
    }

    pub(crate) fn commit(&self) -> KafkaResult<()> {
        match self {
            Self::Threaded(producer) => retried(producer, Audited::commit_transaction),
            Self::Base(producer) => retried(producer, Audited::commit_transaction),
            Self::Future(producer) => retried(producer.producer(), Audited::commit_transaction),
        }
    }

    pub(crate) fn abort(&self) -> KafkaResult<()> {
        match self {
            Self::Threaded(producer) => retried(producer, Audited::abort_transaction),
            Self::Base(producer) => retried(producer, Audited::abort_transaction),
            Self::Future(producer) => retried(producer.producer(), Audited::abort_transaction),
        }
    }
}

/// As a host does it: what may be repeated is repeated.
fn retried<I: Inner>(producer: &Audited<I>, end: impl Fn(&Audited<I>, Duration) -> KafkaResult<()>) -> KafkaResult<()> {
    loop {
        match end(producer, WAIT) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            result => return result,
        }
    }
}

/// A recorder that reports to a topic of its own.
pub(crate) fn recorder() -> anyhow::Result<Recorder> {
    let agg = &Bed::get()?.agg;
    let sink = KafkaSink::new(&agg.plain_config(), &agg.fresh_topic("wrappers-audit", 1, &[])?)?;
    let config = Config::new("producer", "wrappers");
    Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
}

/// What the topic holds, by its offsets: only where nothing is transactional.
pub(crate) fn stored(cluster: &Cluster, topic: &str) -> anyhow::Result<u64> {
    let offsets = cluster.offsets(topic)?;
    Ok(u64::try_from(offsets.iter().map(|(first, next)| next - first).sum::<i64>())?)
}

/// How many messages the counts are wrong about, for what is in the topic: 0 if they allow for it.
pub(crate) fn wrong(stats: &Stats, stored: u64) -> u64 {
    let most = stats.counted.saturating_sub(stats.failed);
    stats.acked.saturating_sub(stored).max(stored.saturating_sub(most))
}

/// Everything has ended, nothing is in doubt, and the topic holds what is acked.
pub(crate) fn clean(kind: Kind, stats: &Stats, stored: u64) -> anyhow::Result<()> {
    let ended = stats.in_flight == 0 && stats.in_doubt == 0 && stats.counted == stats.acked + stats.failed;
    ensure!(ended, "{kind:?}: {stats:?}");
    ensure!(stats.acked == stored, "{kind:?}: {stored} stored, {stats:?}");
    Ok(())
}

/// All that reporters said on an audit topic of one partition, taken together.
pub(crate) fn told(cluster: &Cluster, audit: &str) -> anyhow::Result<Told> {
    static READERS: AtomicU64 = AtomicU64::new(0);
    let count = usize::try_from(stored(cluster, audit)?)?;
    let group = format!("{audit}-{}", READERS.fetch_add(1, Ordering::Relaxed));
    let messages = clients::consume(&cluster.plain_config(), audit, &group, count, WAIT)?;
    let decoded = clients::payloads(&messages).into_iter().map(AuditMessage::decode);
    Ok(Told::of(decoded.collect::<Result<Vec<_>, _>>()?))
}
