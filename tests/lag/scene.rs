//! A cluster's topic with known appends, a group whose commits are known, and a chaperone that looks at both.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, Cluster, api, eventually, paths};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Deserialize;
use tempfile::TempDir;

/// One busy machine, one look.
const PATIENCE: Duration = Duration::from_secs(60);

/// One row of `GET /api/v1/lag`; every field must be there.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) at_ms: i64,
    pub(crate) state: String,
    pub(crate) committed: Option<i64>,
    pub(crate) end: Option<i64>,
    pub(crate) log_start: Option<i64>,
    pub(crate) messages: Option<i64>,
    pub(crate) lag_ms: Option<i64>,
    pub(crate) error_ms: Option<i64>,
    pub(crate) at_least: bool,
    pub(crate) trend: String,
    pub(crate) lag_trend: String,
    pub(crate) produced_per_s: Option<f64>,
    pub(crate) consumed_per_s: Option<f64>,
    pub(crate) catch_up_ms: Option<i64>,
    pub(crate) retention_left_ms: Option<i64>,
    pub(crate) eaten: i64,
    pub(crate) held: bool,
}

#[derive(Deserialize)]
struct Lag {
    lag: Vec<Row>,
}

pub(crate) struct Scene {
    pub(crate) cluster: &'static Cluster,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) url: String,
    pub(crate) dir: TempDir,
    config: PathBuf,
    run: Program,
    producer: ThreadedProducer<DefaultProducerContext>,
    consumer: BaseConsumer,
}

impl Scene {
    /// A topic whose messages have the broker's time; `before` happens before chaperone looks for the first time.
    pub(crate) fn new(
        name: &str,
        partitions: usize,
        every: &str,
        before: impl FnOnce(&Cluster, &str, &dyn Fn(i32, u64) -> anyhow::Result<()>, &BaseConsumer) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let cluster = &Bed::get()?.regional;
        let topic = cluster.fresh_topic(name, partitions, &[("message.timestamp.type", "LogAppendTime")])?;
        let group = format!("{topic}-billing");
        let dir = TempDir::with_prefix_in("lag-", paths::scratch("lag")?)?;
        let mut text = String::new();
        writeln!(text, "data_dir = {:?}", dir.path().join("chaperone").to_string_lossy())?;
        writeln!(text, "[web]\nlisten = \"127.0.0.1:0\"")?;
        writeln!(text, "[kafka.main]\nbootstrap_servers = {:?}", cluster.bootstrap_plain())?;
        writeln!(text, "[kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"end\"\ngroup = \"{topic}-taps\"")?;
        writeln!(text, "[kafka.main.lag]\ngroups = [\"^{topic}.*\"]\nevery = {every:?}")?;
        writeln!(text, "[kafka.main.audit]\ntopic = \"{topic}-audit\"")?;
        let config = dir.path().join("chaperone.toml");
        std::fs::write(&config, text)?;
        let mut producing = cluster.plain_config();
        producing.set("linger.ms", "2").set("acks", "all");
        let producer = ThreadedProducer::from_config(&producing)?;
        let mut consuming = cluster.plain_config();
        // A member of nothing: it commits what the test says.
        consuming.set("group.id", &group).set("enable.auto.commit", "false");
        let consumer = BaseConsumer::from_config(&consuming)?;
        let send_all = |partition: i32, messages: u64| send(&producer, &topic, partition, messages, true);
        before(cluster, &topic, &send_all, &consumer)?;
        let mut run = programs::chaperone(&["run", "--no-taps"], &config)?;
        let url = programs::listening(&mut run)?;
        Ok(Self { cluster, topic, group, url, dir, config, run, producer, consumer })
    }

    /// Another chaperone on the same store.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.run.process.terminate(Duration::from_secs(30))?;
        self.run = programs::chaperone(&["run", "--no-taps"], &self.config)?;
        self.url = programs::listening(&mut self.run)?;
        Ok(())
    }

    pub(crate) fn send(&self, partition: i32, messages: u64, flush: bool) -> anyhow::Result<()> {
        send(&self.producer, &self.topic, partition, messages, flush)
    }

    pub(crate) fn commit(&self, partition: i32, offset: i64) -> anyhow::Result<()> {
        commit(&self.consumer, &self.topic, partition, offset)
    }

    /// The rows of this group by partition, all that the API has.
    pub(crate) fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let url = format!("{}/api/v1/lag?group={}&by=partition", self.url, self.group);
        let (status, body) = api::get(&url).with_context(|| self.run.output())?;
        ensure!(status == 200, "{url}: {status} {body}");
        let lag: Lag = serde_json::from_str(&body).with_context(|| format!("not the documented shape: {body:.400}"))?;
        Ok(lag.lag)
    }

    /// The first row of a partition that `wanted` accepts.
    pub(crate) fn row(&self, partition: i32, what: &str, wanted: impl Fn(&Row) -> bool) -> anyhow::Result<Row> {
        eventually(PATIENCE, what, || {
            let rows = self.rows()?;
            let row = rows.iter().find(|row| row.partition == Some(partition) && wanted(row));
            row.cloned().with_context(|| format!("{rows:#?}; chaperone says:\n{}", self.run.output()))
        })
    }

    /// When each message of a partition was appended, ms, by offset from `first`.
    pub(crate) fn appended(&self, partition: i32, first: i64, messages: usize) -> anyhow::Result<Vec<i64>> {
        let mut config = self.cluster.plain_config();
        config.set("group.id", format!("{}-truth", self.topic)).set("enable.auto.commit", "false");
        let reader = BaseConsumer::<rdkafka::consumer::DefaultConsumerContext>::from_config(&config)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(first))?;
        reader.assign(&list)?;
        let (end, mut times) = (Instant::now() + PATIENCE, Vec::new());
        while times.len() < messages {
            ensure!(Instant::now() < end, "{} of {messages} messages", times.len());
            if let Some(message) = reader.poll(Duration::from_millis(50)) {
                times.push(message?.timestamp().to_millis().context("no timestamp")?);
            }
        }
        Ok(times)
    }

    /// How many messages each of these partitions has.
    pub(crate) fn end(&self, partition: usize) -> anyhow::Result<i64> {
        Ok(self.cluster.offsets(&self.topic)?.get(partition).context("no such partition")?.1)
    }
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    partition: i32,
    messages: u64,
    flush: bool,
) -> anyhow::Result<()> {
    for i in 0..messages {
        let payload = format!("message {i}");
        let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition).payload(&payload);
        producer.send(record).map_err(|(e, _)| e)?;
    }
    if flush {
        producer.flush(Duration::from_secs(30))?;
    }
    Ok(())
}

pub(crate) fn commit(consumer: &BaseConsumer, topic: &str, partition: i32, offset: i64) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    let tried = || consumer.commit(&list, CommitMode::Sync).map_err(anyhow::Error::from);
    // The first commit of a group waits until the cluster has chosen who keeps it.
    eventually(PATIENCE, "the commit", tried)
}

/// Calls `step` every `tick` with the time since the beginning, until it has been called for `lasting`.
pub(crate) fn every(
    tick: Duration,
    lasting: Duration,
    mut step: impl FnMut(Duration) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Nobody sends: waiting for it is the pause.
    let (_sender, nobody) = mpsc::channel::<()>();
    let began = Instant::now();
    let mut next = began;
    while began.elapsed() < lasting {
        step(began.elapsed())?;
        next += tick;
        let pause = nobody.recv_timeout(next.saturating_duration_since(Instant::now()));
        ensure!(pause == Err(RecvTimeoutError::Timeout), "somebody sent");
    }
    Ok(())
}

pub(crate) fn now_ms() -> i64 {
    SystemClock.now_ms()
}
