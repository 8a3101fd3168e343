//! One pipeline, producer → Kafka, on topics of the test's own; taps are processes of their own, so that they can be
//! killed one by one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::{AuditedProducer, KafkaSink};
use chaperone_audit::recorder::{Config, Recorder};
use chaperone_audit::{Clock, SystemClock, TopicRule, Width};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::api::{self, Window};
use crate::programs::{self, Program};
use crate::{Bed, Cluster, eventually, paths};

/// The stage that taps report.
pub const STAGE: &str = "kafka:main";
/// Window, grace, reports, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A million messages, on a busy machine.
const LONG_PATIENCE: Duration = Duration::from_secs(180);

/// What a [`Scene`] is made of.
#[derive(Clone)]
pub struct Setup<'a> {
    cluster: &'static Cluster,
    topic: &'a [(&'a str, &'a str)],
    replication: Option<usize>,
    start: &'a str,
    pipeline: &'a str,
    tap: &'a str,
    also: Option<&'a str>,
    tap_user: Option<&'a str>,
    beside: bool,
    within: bool,
}

impl<'a> Setup<'a> {
    /// A complete producer, and taps that read from the beginning.
    pub fn on(cluster: &'static Cluster) -> Self {
        let pipeline = "complete = [\"producer\"]\n";
        Self {
            cluster,
            topic: &[],
            replication: None,
            start: "earliest",
            pipeline,
            tap: "",
            also: None,
            tap_user: None,
            beside: false,
            within: false,
        }
    }
    /// Configuration of the topic.
    #[must_use]
    pub fn topic(self, topic: &'a [(&'a str, &'a str)]) -> Self {
        Self { topic, ..self }
    }
    /// Copies of the topic's partitions.
    #[must_use]
    pub fn replication(self, copies: usize) -> Self {
        Self { replication: Some(copies), ..self }
    }
    /// Where taps begin that find no count.
    #[must_use]
    pub fn start(self, start: &'a str) -> Self {
        Self { start, ..self }
    }
    /// More lines of the pipeline.
    #[must_use]
    pub fn pipeline(self, pipeline: &'a str) -> Self {
        Self { pipeline, ..self }
    }
    /// More lines of the tap's table.
    #[must_use]
    pub fn tap(self, lines: &'a str) -> Self {
        Self { tap: lines, ..self }
    }
    /// Another topic, of the test's own making, that is tapped and in no pipeline.
    #[must_use]
    pub fn also(self, topic: &'a str) -> Self {
        Self { also: Some(topic), ..self }
    }
    /// Taps read by the secure listener as this user; reports and everything else go by the other one.
    #[must_use]
    pub fn tap_user(self, user: &'a str) -> Self {
        Self { tap_user: Some(user), ..self }
    }
    /// Another topic of one partition in the same pipeline, [`Scene::beside`].
    #[must_use]
    pub fn beside(self) -> Self {
        Self { beside: true, ..self }
    }
    /// The collector's process taps as well, and its `/readyz` speaks of the tap.
    #[must_use]
    pub fn within(self) -> Self {
        Self { within: true, ..self }
    }
    /// Makes it.
    pub fn scene(self, name: &str, partitions: usize) -> anyhow::Result<Scene> {
        Scene::of(&self, name, partitions)
    }

    fn clusters(&self) -> anyhow::Result<(String, &'static str)> {
        let plain = self.cluster.bootstrap_plain();
        let Some(user) = self.tap_user else {
            return Ok((format!("[kafka.main]\nbootstrap_servers = {plain:?}\n"), "main"));
        };
        let servers = self.cluster.bootstrap_secure()?;
        let settings = self.cluster.client_settings(user)?;
        let others = settings.iter().filter(|(key, _)| *key != "bootstrap.servers");
        let others: Vec<String> = others.map(|(key, value)| format!("{key:?} = {value:?}")).collect();
        let main =
            format!("[kafka.main]\nbootstrap_servers = {servers:?}\n[kafka.main.properties]\n{}\n", others.join("\n"));
        Ok((format!("{main}[kafka.reports]\nbootstrap_servers = {plain:?}\n"), "reports"))
    }
}

/// A tap of its own reads `messages` messages of a topic from the beginning, in a process that does nothing else (store and
/// intake are another); once all are counted, `measure` is told its process. `turn` tells one from another.
pub fn count_once<T>(
    cluster: &Cluster,
    topic: &str,
    (messages, turn): (u64, usize),
    measure: impl FnOnce(u32) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let dir = TempDir::with_prefix_in("once-", paths::scratch("taps")?)?;
    let (data_dir, config) = (dir.path().join("chaperone"), dir.path().join("chaperone.toml"));
    let text = format!(
        "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n\
         [kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\ngroup = {group:?}\n\
         [kafka.main.audit]\ntopic = {audit:?}\n",
        data = data_dir.to_string_lossy(),
        servers = cluster.bootstrap_plain(),
        group = format!("{topic}-{turn}"),
        audit = format!("{topic}-audit-{turn}"),
    );
    std::fs::write(&config, text)?;
    let mut run = programs::chaperone(&["run", "--no-taps"], &config)?;
    programs::listening(&mut run)?;
    let mut tap = programs::chaperone(&["tap"], &config)?;
    eventually(LONG_PATIENCE, "everything is counted", || {
        let counted: u64 = api::stage_counts(&data_dir, topic, STAGE)?.values().sum();
        ensure!(counted == messages, "{counted} of {messages}: {}", tap.output());
        Ok(())
    })?;
    let measured = measure(tap.process.id())?;
    tap.process.terminate(PATIENCE)?;
    run.process.terminate(PATIENCE)?;
    Ok(measured)
}

/// The taps' group.
pub fn group(topic: &str) -> String {
    format!("{topic}-taps")
}

/// See the module's head.
pub struct Scene {
    /// Where its topics are.
    pub cluster: &'static Cluster,
    /// What is counted.
    pub topic: String,
    /// The other one, if there is one, else the same.
    pub beside: String,
    config: PathBuf,
    dir: TempDir,
    /// Where it is reported.
    pub audit: String,
    /// The collector.
    pub run: Program,
    /// Its pages.
    pub url: String,
}

impl Scene {
    /// A topic, an audit topic, and a collector without taps, on the shared bed.
    pub fn new(name: &str, partitions: usize, configs: &[(&str, &str)]) -> anyhow::Result<Self> {
        Setup::on(&Bed::get()?.regional).topic(configs).scene(name, partitions)
    }

    fn of(setup: &Setup<'_>, name: &str, partitions: usize) -> anyhow::Result<Self> {
        let cluster = setup.cluster;
        let topic = cluster.fresh_topic_of(name, partitions, setup.replication, setup.topic)?;
        let audit = format!("{topic}-audit");
        cluster.create_topic(&audit, 3, &[("message.timestamp.type", "LogAppendTime")])?;
        let mut topics = vec![topic.clone()];
        if setup.beside {
            topics.push(cluster.fresh_topic_of(&format!("{name}-beside"), 1, setup.replication, setup.topic)?);
        }
        let tapped: Vec<&str> = topics.iter().map(String::as_str).chain(setup.also).collect();
        let mut dir = TempDir::with_prefix_in("taps-", paths::scratch("taps")?)?;
        dir.disable_cleanup(std::env::var_os("CHAPERONE_TEST_KEEP").is_some());
        let (clusters, reports) = setup.clusters()?;
        let text = format!(
            "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n{clusters}\
             [kafka.main.tap]\ntopics = {tapped:?}\nstart = {start:?}\ngroup = {group:?}\naudit = {reports:?}\n{tap}\
             [kafka.{reports}.audit]\ntopic = {audit:?}\n\
             [pipeline.taps]\ntopics = {topics:?}\nstages = [\"producer\", {STAGE:?}]\ngrace = \"2s\"\n{pipeline}",
            data = dir.path().join("chaperone").to_string_lossy(),
            start = setup.start,
            group = group(&topic),
            pipeline = setup.pipeline,
            tap = setup.tap,
        );
        let config = dir.path().join("chaperone.toml");
        std::fs::write(&config, text)?;
        let verb: &[&str] = if setup.within { &["run"] } else { &["run", "--no-taps"] };
        let mut run = programs::chaperone(verb, &config)?;
        let url = programs::listening(&mut run)?;
        Ok(Self { cluster, beside: topics.pop().unwrap_or_default(), topic, config, dir, audit, run, url })
    }

    /// One more tap.
    pub fn tap(&self) -> anyhow::Result<Program> {
        programs::chaperone(&["tap"], &self.config)
    }

    /// A verb of `chaperone` with the same configuration.
    pub fn verb(&self, arguments: &[&str]) -> anyhow::Result<Program> {
        programs::chaperone(arguments, &self.config)
    }

    /// Adds lines to the pipeline, and has the collector read its configuration again.
    pub fn reload_with(&self, lines: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.config)?;
        std::fs::write(&self.config, text + lines)?;
        self.run.process.signal(Signal::HUP)?;
        eventually(PATIENCE, "the configuration is read again", || {
            let output = self.run.output();
            ensure!(!output.contains("refused at"), "{output}");
            ensure!(output.contains("read again at"), "{output}");
            Ok(())
        })
    }

    /// Changes the store behind its back.
    pub fn tamper(&self, sql: &str) -> anyhow::Result<()> {
        let store = rusqlite::Connection::open(self.data_dir().join("chaperone.sqlite"))?;
        store.busy_timeout(PATIENCE)?;
        ensure!(store.execute(sql, [])? > 0, "nothing to change");
        Ok(())
    }

    /// A recorder of the stage `producer`.
    pub fn recorder(&self) -> anyhow::Result<Recorder> {
        self.recorder_by("recorder", Vec::new())
    }

    /// One by these rules, with a write-ahead log of that name.
    pub fn recorder_by(&self, name: &str, rules: Vec<TopicRule>) -> anyhow::Result<Recorder> {
        let sink = KafkaSink::new(&self.cluster.plain_config(), &self.audit)?;
        let config = Config {
            data_dir: Some(self.dir.path().join(name)),
            rules,
            grace: Duration::from_secs(2),
            ..Config::new("producer", "taps")
        };
        Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
    }

    /// What the stage counted, by window.
    pub fn counts(&self) -> anyhow::Result<BTreeMap<i64, u64>> {
        api::stage_counts(&self.data_dir(), &self.topic, STAGE)
    }

    /// Where the store is.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("chaperone")
    }

    /// What the stage says that nobody counted.
    pub fn unaudited(&self) -> anyhow::Result<Vec<api::Unaudited>> {
        api::unaudited(&self.data_dir(), &self.topic, STAGE)
    }

    /// Waits until the taps have counted so many messages in all.
    pub fn counted(&self, messages: u64) -> anyhow::Result<()> {
        eventually(PATIENCE, &format!("{messages} messages are counted"), || {
            let n: u64 = self.counts()?.values().sum();
            ensure!(n == messages, "{n} of {messages}; the collector says:\n{}", self.run.output());
            Ok(())
        })
    }

    /// All verdicts as they are.
    pub fn windows(&self) -> anyhow::Result<Vec<Window>> {
        self.windows_of(&self.topic)
    }

    /// All verdicts of a topic as they are.
    pub fn windows_of(&self, topic: &str) -> anyhow::Result<Vec<Window>> {
        let now_ms = SystemClock.now_ms();
        api::windows(&self.url, topic, now_ms - 3_600_000, now_ms + 3_600_000)
    }

    /// All verdicts, once none is pending or late.
    pub fn verdicts(&self) -> anyhow::Result<Vec<Window>> {
        eventually(PATIENCE, "all windows are judged", || {
            let rows = self.windows()?;
            ensure!(!rows.is_empty() && rows.iter().all(|w| !w.is_pending() && !w.is_late()), "{rows:#?}");
            Ok(rows)
        })
    }
}

/// A producer that counts, and sends in windows that the test chooses.
pub struct Upstream<'a> {
    topic: &'a str,
    producer: AuditedProducer,
    sent: u64,
}

impl<'a> Upstream<'a> {
    /// Sends to the scene's topic.
    pub fn new(scene: &'a Scene, recorder: &Recorder) -> anyhow::Result<Self> {
        Self::to(scene, recorder, &scene.topic)
    }

    /// Sends to this topic.
    pub fn to(scene: &Scene, recorder: &Recorder, topic: &'a str) -> anyhow::Result<Self> {
        let mut config = scene.cluster.exact_config();
        // So that it sends to partitions soon that are added.
        config.set("topic.metadata.refresh.interval.ms", "500");
        let producer = AuditedProducer::new(&config, recorder.clone())?;
        Ok(Self { topic, producer, sent: 0 })
    }

    /// Sends so many in one window that has just begun; returns it, ms.
    pub fn send_in_next_window(&mut self, messages: u64) -> anyhow::Result<i64> {
        let window = |ms| Width::TEN_SECONDS.window_of(ms).0;
        let before = window(SystemClock.now_ms());
        let begun = eventually(Duration::from_secs(30), "the next window", || {
            let now = window(SystemClock.now_ms());
            ensure!(now > before, "not yet");
            Ok(now)
        })?;
        self.send(messages)?;
        ensure!(window(SystemClock.now_ms()) == begun, "the machine is too slow: the window ended while sending");
        Ok(begun)
    }

    /// Sends so many and waits until they are acknowledged.
    pub fn send(&mut self, messages: u64) -> anyhow::Result<()> {
        for _ in 0..messages {
            let (key, value) = (format!("key {}", self.sent % 10), format!("message {}", self.sent));
            self.producer.send(BaseRecord::to(self.topic).key(&key).payload(&value)).map_err(|(e, _)| e)?;
            self.sent += 1;
        }
        Ok(self.producer.flush(Duration::from_secs(30))?)
    }

    /// Sends to a partition so many of so many bytes each, which do not compress, and waits until they are acknowledged.
    pub fn send_large(&mut self, partition: i32, messages: u64, bytes: usize) -> anyhow::Result<()> {
        let (mut random, mut value) = (StdRng::seed_from_u64(self.sent), vec![0_u8; bytes]);
        for _ in 0..messages {
            random.fill(value.as_mut_slice());
            let record = BaseRecord::<[u8], [u8]>::to(self.topic).partition(partition).payload(&value);
            self.producer.send(record).map_err(|(e, _)| e)?;
            self.sent += 1;
        }
        Ok(self.producer.flush(Duration::from_secs(30))?)
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

/// Transactions of a message each, all aborted: nobody downstream ever sees them.
pub fn aborted(scene: &Scene, transactions: u32) -> anyhow::Result<()> {
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
