//! One pipeline, producer → Kafka, on topics of the test's own; taps are processes of their own, so that they can be
//! killed one by one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_audit::kafka::KafkaSink;
use chaperone_audit::recorder::{Config, Recorder};
use chaperone_audit::{Clock, SystemClock, Width};
use chaperone_tests::api::{self, Window};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, Cluster, eventually, paths};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tempfile::TempDir;

/// The stage that taps report.
pub(crate) const STAGE: &str = "kafka:main";
/// Window, grace, reports, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// See the module's head.
pub(crate) struct Scene {
    pub(crate) cluster: &'static Cluster,
    pub(crate) topic: String,
    config: PathBuf,
    dir: TempDir,
    pub(crate) audit: String,
    /// The collector.
    run: Program,
    pub(crate) url: String,
}

impl Scene {
    /// A topic, an audit topic, and a collector without taps.
    pub(crate) fn new(name: &str, partitions: usize, configs: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::with(name, partitions, configs, ("", ""))
    }

    /// The same, with another topic that is tapped, and further lines of the tap's table.
    pub(crate) fn with(
        name: &str,
        partitions: usize,
        configs: &[(&str, &str)],
        (also, lines): (&str, &str),
    ) -> anyhow::Result<Self> {
        let cluster = &Bed::get()?.regional;
        let topic = cluster.fresh_topic(name, partitions, configs)?;
        let audit = format!("{topic}-audit");
        cluster.create_topic(&audit, 3, &[("message.timestamp.type", "LogAppendTime")])?;
        let mut dir = TempDir::with_prefix_in("taps-", paths::scratch("taps")?)?;
        dir.disable_cleanup(std::env::var_os("CHAPERONE_TEST_KEEP").is_some());
        let text = format!(
            "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n\
             [kafka.main.tap]\ntopics = [{topic:?}{also}]\nstart = \"earliest\"\ngroup = {group:?}\n{lines}\
             [kafka.main.audit]\ntopic = {audit:?}\n\
             [pipeline.taps]\ntopics = [{topic:?}]\nstages = [\"producer\", {STAGE:?}]\n\
             complete = [\"producer\"]\ngrace = \"2s\"\n",
            also = if also.is_empty() { String::new() } else { format!(", {also:?}") },
            data = dir.path().join("chaperone").to_string_lossy(),
            servers = cluster.bootstrap_plain(),
            group = format!("{topic}-taps"),
        );
        let config = dir.path().join("chaperone.toml");
        std::fs::write(&config, text)?;
        let mut run = programs::chaperone(&["run", "--no-taps"], &config)?;
        let url = programs::listening(&mut run)?;
        Ok(Self { cluster, topic, config, dir, audit, run, url })
    }

    /// One more tap.
    pub(crate) fn tap(&self) -> anyhow::Result<Program> {
        programs::chaperone(&["tap"], &self.config)
    }

    pub(crate) fn recorder(&self) -> anyhow::Result<Recorder> {
        let sink = KafkaSink::new(&self.cluster.plain_config(), &self.audit)?;
        let config = Config {
            data_dir: Some(self.dir.path().join("recorder")),
            grace: Duration::from_secs(2),
            ..Config::new("producer", "taps")
        };
        Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
    }

    /// What the stage counted, by window.
    pub(crate) fn counts(&self) -> anyhow::Result<std::collections::BTreeMap<i64, u64>> {
        api::stage_counts(&self.dir.path().join("chaperone"), &self.topic, STAGE)
    }

    /// The store's file.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("chaperone")
    }

    /// What the stage says that nobody counted.
    pub(crate) fn unaudited(&self) -> anyhow::Result<Vec<api::Unaudited>> {
        api::unaudited(&self.dir.path().join("chaperone"), &self.topic, STAGE)
    }

    /// Waits until the taps have counted so many messages in all.
    pub(crate) fn counted(&self, messages: u64) -> anyhow::Result<()> {
        eventually(PATIENCE, &format!("{messages} messages are counted"), || {
            let n: u64 = self.counts()?.values().sum();
            ensure!(n == messages, "{n} of {messages}; the collector says:\n{}", self.run.output());
            Ok(())
        })
    }

    /// All verdicts, once none is pending or late.
    pub(crate) fn verdicts(&self) -> anyhow::Result<Vec<Window>> {
        let now_ms = SystemClock.now_ms();
        eventually(PATIENCE, "all windows are judged", || {
            let rows = api::windows(&self.url, &self.topic, now_ms - 3_600_000, now_ms + 3_600_000)?;
            ensure!(!rows.is_empty() && rows.iter().all(|w| !w.is_pending() && !w.is_late()), "{rows:#?}");
            Ok(rows)
        })
    }
}

/// A producer that counts, and sends in windows that the test chooses.
pub(crate) struct Upstream<'a> {
    scene: &'a Scene,
    producer: AuditedProducer,
    sent: u64,
}

impl<'a> Upstream<'a> {
    pub(crate) fn new(scene: &'a Scene, recorder: &Recorder) -> anyhow::Result<Self> {
        let producer = AuditedProducer::new(&scene.cluster.plain_config(), recorder.clone())?;
        Ok(Self { scene, producer, sent: 0 })
    }

    /// Sends so many in one window that has just begun; returns it, ms.
    pub(crate) fn send_in_next_window(&mut self, messages: u64) -> anyhow::Result<i64> {
        let window = |ms| Width::TEN_SECONDS.window_of(ms).0;
        let before = window(SystemClock.now_ms());
        let begun = eventually(Duration::from_secs(30), "the next window", || {
            let now = window(SystemClock.now_ms());
            ensure!(now > before, "not yet");
            Ok(now)
        })?;
        for _ in 0..messages {
            let (key, value) = (format!("key {}", self.sent % 10), format!("message {}", self.sent));
            let record = BaseRecord::to(&self.scene.topic).key(&key).payload(&value);
            self.producer.send(record).map_err(|(e, _)| e)?;
            self.sent += 1;
        }
        self.producer.flush(Duration::from_secs(30))?;
        ensure!(window(SystemClock.now_ms()) == begun, "the machine is too slow: the window ended while sending");
        Ok(begun)
    }
}

/// Transactions of a message each, all aborted: nobody downstream ever sees them.
pub(crate) fn aborted(scene: &Scene, transactions: u32) -> anyhow::Result<()> {
    let wait = Duration::from_secs(30);
    let mut config = scene.cluster.plain_config();
    config.set("transactional.id", &scene.topic);
    let producer: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    producer.init_transactions(wait)?;
    for n in 0..transactions {
        producer.begin_transaction()?;
        let value = format!("never {n}");
        producer.send(BaseRecord::<[u8], [u8]>::to(&scene.topic).payload(value.as_bytes())).map_err(|(e, _)| e)?;
        producer.flush(wait)?;
        producer.abort_transaction(wait)?;
    }
    Ok(())
}
