//! A real `chaperone run` on real Kafka, and four topics that run through producer, Kafka and consumer: one loses messages
//! in a window, one has too many, one is not read any more, and one is clean.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::{AuditedConsumer, AuditedProducer, KafkaSink};
use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::{Config, Recorder, Slots};
use chaperone_audit::{Clock, Message, SystemClock, Width};
use chaperone_tests::api::{self, Window};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, Cluster, eventually, paths};
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tempfile::TempDir;

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Upstream first.
pub(crate) const STAGES: [&str; 3] = ["producer", "kafka:main", "consumer:billing"];
/// Who sees to the pipeline.
pub(crate) const OWNER: &str = "payments on call";
/// What somebody writes to the audit topic that nobody can read.
pub(crate) const POISON: [&str; 2] = ["not a report", "{\"v\":1,\"slots\":"];
const WIDTH_MS: i64 = 10_000;
/// Of each topic in the first window.
const CLEAN: u64 = 40;

/// What happens to a topic in the second window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Sent by the audited producer.
    pub(crate) sent: u64,
    /// Acknowledged, but not in Kafka.
    pub(crate) lost: u64,
    /// In Kafka, but from nobody who counts.
    pub(crate) foreign: u64,
    /// Whether the consumer reads on.
    pub(crate) read: bool,
}

impl Fault {
    /// Worst verdict.
    pub(crate) fn verdict(self) -> &'static str {
        match self {
            Fault { lost: 1.., .. } => "missing",
            Fault { foreign: 1.., .. } => "surplus",
            Fault { read: false, .. } => "delayed",
            _ => "ok",
        }
    }
    /// Of the second window, by stage.
    pub(crate) fn counts(self) -> [u64; 3] {
        let held = self.sent + self.foreign;
        [self.sent + self.lost, held, if self.read { held } else { 0 }]
    }
    /// Absent, not known to be lost.
    pub(crate) fn delayed(self) -> u64 {
        if self.read { 0 } else { self.sent }
    }
}

/// A topic by what happens to it.
pub(crate) const FAULTS: [(&str, Fault); 4] = [
    ("orders", Fault { sent: 100, lost: 7, foreign: 0, read: true }),
    ("payments", Fault { sent: 80, lost: 0, foreign: 5, read: true }),
    ("invoices", Fault { sent: 60, lost: 0, foreign: 0, read: false }),
    ("refunds", Fault { sent: 50, lost: 0, foreign: 0, read: true }),
];

pub(crate) struct Scene {
    cluster: &'static Cluster,
    dir: TempDir,
    /// The program; its output says what went wrong.
    pub(crate) run: Program,
    /// Its pages.
    pub(crate) url: String,
    /// The topics of [`FAULTS`], in their order.
    topics: Vec<String>,
    /// The consumer's group.
    pub(crate) group: String,
    /// Where everything is reported.
    pub(crate) audit: String,
    recorder: Recorder,
    producer: AuditedProducer,
    reader: Reader,
    /// The second window; the first is the one before it.
    pub(crate) window_ms: i64,
}

impl Scene {
    /// Everything runs, and both windows are judged as they are.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut scene = Self::started()?;
        let begun = next_window()?;
        for topic in &scene.topics {
            scene.send(topic, CLEAN)?;
        }
        scene.reader.reads(CLEAN * 4)?;
        ensure!(window_now() == begun, "the machine is too slow: the window ended while sending");
        scene.reader.pause()?;
        scene.window_ms = next_window()?;
        let plain: ThreadedProducer<DefaultProducerContext> =
            ThreadedProducer::from_config(&scene.cluster.exact_config())?;
        for (topic, (_, fault)) in scene.topics.iter().zip(FAULTS) {
            scene.send(topic, fault.sent)?;
            scene.lose(topic, fault.lost);
            for i in 0..fault.foreign {
                plain.send(BaseRecord::<str, str>::to(topic).payload(&format!("foreign {i}"))).map_err(|(e, _)| e)?;
            }
        }
        for poison in POISON {
            plain.send(BaseRecord::<str, str>::to(&scene.audit).payload(poison)).map_err(|(e, _)| e)?;
        }
        plain.flush(PATIENCE)?;
        ensure!(window_now() == scene.window_ms, "the machine is too slow: the window ended while sending");
        scene.judged()?;
        Ok(scene)
    }

    fn started() -> anyhow::Result<Self> {
        let cluster = &Bed::get()?.regional;
        let dir = TempDir::with_prefix_in("browser-", paths::scratch("browser")?)?;
        let topics = FAULTS.iter().map(|(name, _)| cluster.fresh_topic(name, 1, &[])).collect::<Result<Vec<_>, _>>()?;
        let group = topics[0].replace("orders", "billing");
        let audit = format!("{}-audit", topics[0]);
        cluster.create_topic(&audit, 3, &[("message.timestamp.type", "LogAppendTime")])?;
        let text = format!(
            "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [kafka.main]\nbootstrap_servers = {servers:?}\n\
             [kafka.main.tap]\ntopics = {topics:?}\nstart = \"earliest\"\ngroup = \"{audit}-taps\"\n\
             [kafka.main.lag]\ngroups = [{group:?}]\nevery = \"1s\"\n\
             [kafka.main.audit]\ntopic = {audit:?}\n\
             [pipeline.shop]\ntopics = {topics:?}\nstages = {STAGES:?}\ngrace = \"2s\"\n\
             complete = [\"producer\"]\nowner = {OWNER:?}\n",
            data = dir.path().join("chaperone").to_string_lossy(),
            servers = cluster.bootstrap_plain(),
        );
        let config = dir.path().join("chaperone.toml");
        std::fs::write(&config, text)?;
        let mut run = programs::chaperone(&["run"], &config)?;
        let url = programs::listening(&mut run)?;
        let recorder = |stage: &str| -> anyhow::Result<Recorder> {
            let sink = KafkaSink::new(&cluster.plain_config(), &audit)?;
            let folder = dir.path().join(stage);
            std::fs::create_dir_all(&folder)?;
            let grace = Duration::from_secs(2);
            let slots = Slots::Dir(folder.clone());
            let config = Config { data_dir: Some(folder), slots, grace, ..Config::new(stage, "shop") };
            Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
        };
        let (upstream, downstream) = (recorder(STAGES[0])?, recorder(STAGES[2])?);
        let producer = AuditedProducer::new(&cluster.exact_config(), upstream.clone())?;
        let held: Vec<_> =
            FAULTS.iter().zip(&topics).filter(|((_, f), _)| !f.read).map(|(_, topic)| topic.clone()).collect();
        let reader = Reader::start(cluster, &group, &topics, held, downstream)?;
        Ok(Self { cluster, dir, run, url, topics, group, audit, recorder: upstream, producer, reader, window_ms: 0 })
    }

    fn send(&self, topic: &str, messages: u64) -> anyhow::Result<()> {
        for i in 0..messages {
            let value = format!("message {i} of {}", SystemClock.now_ms());
            self.producer.send(BaseRecord::<str, str>::to(topic).payload(&value)).map_err(|(e, _)| e)?;
        }
        Ok(self.producer.flush(PATIENCE)?)
    }

    /// Counted and acknowledged, and nowhere.
    fn lose(&self, topic: &str, messages: u64) {
        for i in 0..messages {
            let (value, timestamp_ms) = (format!("lost {i}"), Some(SystemClock.now_ms()));
            let value = Some(value.as_bytes());
            let message = Message { topic, key: None, value, headers: &NoHeaders, timestamp_ms, broker_time: false };
            self.recorder.attempt(&message).acked();
        }
    }

    /// Messages of the first topic that are lost in a window of their own, after everything else; returns it.
    pub(crate) fn lose_more(&self, messages: u64) -> anyhow::Result<i64> {
        let window = next_window()?;
        self.send(self.topic("orders")?, CLEAN)?;
        self.lose(self.topic("orders")?, messages);
        Ok(window)
    }

    /// A topic's whole name.
    pub(crate) fn topic(&self, name: &str) -> anyhow::Result<&str> {
        let found = FAULTS.iter().position(|(n, _)| *n == name).and_then(|at| self.topics.get(at));
        found.map(String::as_str).with_context(|| format!("no topic {name}"))
    }

    /// Each topic's whole name with what happens to it.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (&str, Fault)> {
        self.topics.iter().map(String::as_str).zip(FAULTS.map(|(_, fault)| fault))
    }

    /// Both windows, `[from, to)`.
    pub(crate) fn range(&self) -> (i64, i64) {
        (self.window_ms - WIDTH_MS, self.window_ms + WIDTH_MS)
    }

    /// The query string of both windows.
    pub(crate) fn query(&self) -> String {
        let (from, to) = self.range();
        format!("from={from}&to={to}&tz=UTC")
    }

    /// The query string of the day of the second window.
    pub(crate) fn day(&self) -> anyhow::Result<String> {
        let at = chrono::DateTime::from_timestamp_millis(self.window_ms).context("time")?;
        Ok(format!("day={}&tz=UTC", at.format("%Y-%m-%d")))
    }

    /// Where the store is.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("chaperone")
    }

    /// The judged rows of a topic in both windows.
    pub(crate) fn windows(&self, topic: &str) -> anyhow::Result<Vec<Window>> {
        let (from, to) = self.range();
        api::windows(&self.url, topic, from, to)
    }

    /// What a topic's stages counted in both windows, as injected.
    pub(crate) fn truth(fault: Fault) -> [u64; 3] {
        fault.counts().map(|n| n + CLEAN)
    }

    /// Waits until the API says of every topic what was done to it, and of the first window that all is well.
    fn judged(&self) -> anyhow::Result<()> {
        eventually(PATIENCE, "both windows are judged", || {
            for (topic, fault) in self.faults() {
                let rows = self.windows(topic)?;
                ensure!(rows.len() == 4 && rows.iter().all(|w| !w.is_pending()), "{topic}: {rows:#?}");
                for w in rows {
                    let hop = STAGES.windows(2).position(|hop| hop == [&w.from_stage, &w.to_stage]).context("hop")?;
                    let troubled = w.window_ms == self.window_ms && hop == usize::from(fault.delayed() > 0);
                    let truth = if troubled { (fault.verdict(), fault.lost, fault.foreign) } else { ("ok", 0, 0) };
                    let said = (w.verdict.as_str(), w.missing_min, w.surplus_min);
                    ensure!(said == truth, "{topic}: {truth:?} is {w:?}; {}", self.run.output());
                }
            }
            Ok(())
        })
    }

    /// What a stage counted, by window, in the store's public view.
    pub(crate) fn counted(&self, topic: &str, stage: &str) -> anyhow::Result<BTreeMap<i64, u64>> {
        api::stage_counts(&self.data_dir(), topic, stage)
    }
}

fn window_now() -> i64 {
    Width::TEN_SECONDS.window_of(SystemClock.now_ms()).0
}

/// The next window, once it has begun.
fn next_window() -> anyhow::Result<i64> {
    let before = window_now();
    eventually(PATIENCE, "the next window", || {
        ensure!(window_now() > before, "not yet");
        Ok(window_now())
    })
}

/// The consumer stage: reads everything, and from [`Reader::pause`] on all but the topics that it is to hold.
struct Reader {
    stop: Arc<AtomicBool>,
    hold: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Reader {
    fn start(
        cluster: &Cluster,
        group: &str,
        topics: &[String],
        hold_topics: Vec<String>,
        recorder: Recorder,
    ) -> anyhow::Result<Self> {
        let mut config = cluster.plain_config();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer = AuditedConsumer::new(&config, recorder)?;
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        let flag = || Arc::new(AtomicBool::new(false));
        let (stop, wish, held) = (flag(), flag(), flag());
        let seen = Arc::new(AtomicU64::new(0));
        let flags = (Arc::clone(&stop), Arc::clone(&wish), Arc::clone(&held), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let (stop, wish, held, seen) = flags;
            while !stop.load(Ordering::SeqCst) {
                if wish.load(Ordering::SeqCst) && !held.load(Ordering::SeqCst) {
                    let mut partitions = TopicPartitionList::new();
                    for topic in &hold_topics {
                        partitions.add_partition(topic, 0);
                    }
                    consumer.pause(&partitions)?;
                    held.store(true, Ordering::SeqCst);
                }
                let Some(message) = consumer.poll(Duration::from_millis(20)) else { continue };
                let message = message?;
                consumer.seen(&message);
                consumer.commit_message(&message, CommitMode::Sync)?;
                seen.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        Ok(Self { stop, hold: wish, held, seen, thread: Some(thread) })
    }

    /// Waits until it has read so many.
    fn reads(&mut self, messages: u64) -> anyhow::Result<()> {
        eventually(PATIENCE, "the consumer reads", || {
            let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
            ensure!(!ended || self.stop.load(Ordering::SeqCst), "the consumer has ended");
            let seen = self.seen.load(Ordering::SeqCst);
            ensure!(seen >= messages, "{seen} of {messages}");
            Ok(())
        })
    }

    fn pause(&self) -> anyhow::Result<()> {
        self.hold.store(true, Ordering::SeqCst);
        eventually(PATIENCE, "the consumer holds", || {
            ensure!(self.held.load(Ordering::SeqCst), "not yet");
            Ok(())
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let outcome = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = outcome {
            eprintln!("the consumer stage: {error:#}");
        }
    }
}
