//! A cluster of librdkafka's mock brokers, a store, and the parts of the process under test.
#![allow(dead_code, reason = "each test binary uses some of it")]

pub(crate) mod flaky;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use chaperone::config::{Config, System};
use chaperone::intake::{self, Intake};
use chaperone::problems::Problems;
use chaperone::tap::{self, Shared, Tap};
use chaperone_audit::{Clock, Fingerprint, Rule, SystemClock};
use chaperone_collector::query::{StageWindow, WindowQuery};
use chaperone_collector::{SqliteStore, Store};
use flaky::Flaky;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The topic that tests count.
pub(crate) const TOPIC: &str = "orders";
/// The audit topic.
pub(crate) const AUDIT: &str = "chaperone-audit";
/// No condition takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// Waits until `condition` holds; panics with what it last said.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < until, "{what}: {last}"),
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A mock cluster with both topics.
pub(crate) fn cluster(partitions: i32) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic(TOPIC, partitions, 1).expect("topic");
    cluster.create_topic(AUDIT, 2, 1).expect("audit topic");
    cluster
}

/// Sends messages and knows what was sent.
pub(crate) struct Source {
    producer: BaseProducer,
    rule: Rule,
    partitions: i32,
    /// Messages sent.
    pub(crate) sent: u64,
    /// Σ of their ids.
    pub(crate) ids: Fingerprint,
}

impl Source {
    pub(crate) fn new(bootstrap: &str, partitions: i32) -> Self {
        let producer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("producer");
        Self { producer, rule: Rule::new(0), partitions, sent: 0, ids: Fingerprint::ZERO }
    }

    /// Sends `n` messages, each with its own value, over all partitions, and waits until they are persisted.
    pub(crate) fn send(&mut self, n: u64) {
        self.send_at(n, SystemClock.now_ms());
    }

    /// The same with this timestamp, ms: what two clusters are to hold must be in one window on both.
    pub(crate) fn send_at(&mut self, n: u64, time_ms: i64) {
        for _ in 0..n {
            let value = format!("message {}", self.sent);
            let partition = i32::try_from(self.sent).expect("few") % self.partitions;
            let record =
                BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(value.as_bytes()).timestamp(time_ms);
            self.producer.send(record).map_err(|(e, _)| e).expect("queue");
            let message = chaperone_audit::Message {
                topic: TOPIC,
                key: None,
                value: Some(value.as_bytes()),
                headers: &chaperone_audit::message::NoHeaders,
                timestamp_ms: None,
                broker_time: false,
            };
            let id = self.rule.observe(&message, 0).id;
            self.ids = self.ids.plus(id.hash(self.rule.seed()));
            self.sent += 1;
        }
        self.producer.flush(DEADLINE).expect("flush");
    }

    /// Sends any bytes to the audit topic.
    pub(crate) fn poison(&self, value: &[u8]) {
        let record = BaseRecord::<(), _>::to(AUDIT).payload(value);
        self.producer.send(record).map_err(|(e, _)| e).expect("queue");
        self.producer.flush(DEADLINE).expect("flush");
    }
}

/// A store, an intake and what taps need.
pub(crate) struct Bed {
    pub(crate) runtime: Runtime,
    pub(crate) store: Arc<SqliteStore>,
    /// The store as taps and intake have it.
    pub(crate) flaky: Arc<Flaky>,
    pub(crate) shared: Shared,
    pub(crate) problems: watch::Receiver<Vec<chaperone_web::Problem>>,
}

impl Bed {
    /// The sentences about what is wrong now.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.problems.borrow().iter().map(|problem| problem.text.clone()).collect()
    }

    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().expect("runtime");
        let store = Arc::new(SqliteStore::in_memory().expect("store"));
        let flaky = Arc::new(Flaky {
            store: Arc::clone(&store),
            refuses: AtomicBool::new(false),
            loses: AtomicBool::new(false),
        });
        let (problems_list, problems) = Problems::new();
        let shared = Shared {
            store: Arc::clone(&flaky) as Arc<dyn Store>,
            runtime: runtime.handle().clone(),
            clock: Arc::new(SystemClock),
            problems: problems_list,
            meters: chaperone::metrics::meters::Meters::default(),
            share: chaperone::share::everything(),
        };
        Self { runtime, store, flaky, shared, problems }
    }

    pub(crate) fn intake(&self, config: &Config) -> Intake {
        let settings = intake::Settings::of(config).remove(0);
        Intake::start(settings, self.shared.clone()).expect("intake")
    }

    pub(crate) fn tap(&self, config: &Config) -> Tap {
        let mut settings = tap::Settings::of(config, None).remove(0);
        settings.heartbeat = Duration::from_millis(500);
        Tap::start(settings, self.shared.clone()).expect("tap")
    }

    /// All windows of all stages.
    pub(crate) fn windows(&self) -> Vec<StageWindow> {
        let query = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
        self.runtime.block_on(self.store.stage_windows(query)).expect("windows")
    }

    /// Σ n and Σ of ids at a stage.
    pub(crate) fn counted(&self, stage: &str) -> (u64, Fingerprint) {
        let windows = self.windows();
        let of_stage = windows.iter().filter(|w| w.stage == stage);
        of_stage.fold((0, Fingerprint::ZERO), |(n, f), w| (n + w.n, f.plus(w.f_in)))
    }

    /// Waits until a stage has counted exactly what was sent; fails at once if it ever counts more.
    pub(crate) fn counts_exactly(&self, stage: &str, source: &Source) {
        eventually("counts", || {
            let (n, ids) = self.counted(stage);
            assert!(n <= source.sent, "{n} counted, {} sent", source.sent);
            if (n, ids) == (source.sent, source.ids) {
                return Ok(());
            }
            Err(format!("{n} of {} counted; problems {:?}", source.sent, *self.problems.borrow()))
        });
    }

    /// Waits until the watermark of every partition of a stage has passed `ms`.
    pub(crate) fn watermarks_pass(&self, stage: &str, partitions: usize, ms: i64) {
        eventually("watermarks", || {
            let states = self.runtime.block_on(self.store.partitions(stage)).expect("partitions");
            let passed = states.iter().filter(|s| s.watermark_ms.is_some_and(|w| w >= ms)).count();
            if passed == partitions { Ok(()) } else { Err(format!("{states:?}")) }
        });
    }

    pub(crate) fn epochs(&self, stage: &str) -> BTreeMap<i32, u64> {
        let states = self.runtime.block_on(self.store.partitions(stage)).expect("partitions");
        states.into_iter().map(|s| (s.partition, s.epoch)).collect()
    }

    pub(crate) fn stop(taps: Vec<Tap>, intakes: Vec<Intake>) {
        let deadline = Instant::now() + DEADLINE;
        for tap in taps {
            tap.join(deadline);
        }
        for intake in intakes {
            intake.join(deadline);
        }
    }
}

/// A configuration with one cluster, tapped as `kafka:k`.
pub(crate) fn config(bootstrap: &str, group: &str, start: &str) -> Config {
    let text = format!(
        "data_dir = 'unused'
[kafka.k]
bootstrap_servers = '{bootstrap}'
[kafka.k.tap]
topics = ['{TOPIC}']
start = '{start}'
group = '{group}'
[kafka.k.audit]
topic = '{AUDIT}'
[pipeline.orders]
topics = ['{TOPIC}']
stages = ['producer', 'kafka:k']
"
    );
    Config::parse(&text, &System).expect("configuration")
}
