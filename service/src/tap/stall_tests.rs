//! A consumer that really stands still, on librdkafka's mock cluster: fetching is stopped underneath the tap, which is what
//! a lost wake-up looks like, while everything else answers. Only another consumer goes on. And one that stands still because
//! a copy refuses what its leader has: that one is told to read on.

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::config::System;
use crate::intake;
use crate::metrics::exposition::Exposition;
use crate::metrics::families;
use crate::share::everything;
use chaperone_audit::SystemClock;
use chaperone_collector::SqliteStore;
use chaperone_collector::query::WindowQuery;

const DEADLINE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(3);

/// A mock cluster, a store, and what is wrong.
struct Bench {
    kafka: MockCluster<'static, DefaultProducerContext>,
    runtime: tokio::runtime::Runtime,
    shared: Shared,
    seen: watch::Receiver<Vec<chaperone_web::Problem>>,
    sent: u64,
}

impl Bench {
    fn new() -> Self {
        let kafka = MockCluster::new(2).expect("mock cluster");
        kafka.create_topic("orders", 2, 1).expect("topic");
        kafka.create_topic("chaperone-audit", 1, 1).expect("audit topic");
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let (problems, seen) = Problems::new();
        let store = Arc::new(SqliteStore::in_memory().expect("store"));
        let (clock, meters) = (Arc::new(SystemClock), Meters::default());
        let shared = Shared { store, runtime: runtime.handle().clone(), clock, problems, meters, share: everything() };
        Self { kafka, runtime, shared, seen, sent: 0 }
    }
    fn config(&self) -> Config {
        let servers = self.kafka.bootstrap_servers();
        let text = format!(
            "data_dir = 'd'\n[kafka.k]\nbootstrap_servers = '{servers}'\n[kafka.k.tap]\ntopics = ['orders']\n\
             start = 'earliest'\nclient_rack = 'r'\n[kafka.k.audit]\n"
        );
        Config::parse(&text, &System).expect("good")
    }
    fn tap(&self) -> Settings {
        let mut settings = Settings::of(&self.config(), None).remove(0);
        (settings.heartbeat, settings.stall_patience) = (Duration::from_millis(500), PATIENCE);
        settings
    }
    fn send(&mut self, n: u64) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", self.kafka.bootstrap_servers()).create().expect("producer");
        for i in self.sent..self.sent + n {
            let (value, partition) = (format!("message {i}"), i32::from(i % 2 == 1));
            let record = BaseRecord::<(), _>::to("orders").partition(partition).payload(&value);
            producer.send(record).map_err(|(e, _)| e).expect("queue");
        }
        producer.flush(DEADLINE).expect("flush");
        self.sent += n;
    }
    fn counted(&self) -> u64 {
        let query = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
        self.runtime.block_on(self.shared.store.stage_windows(query)).expect("windows").iter().map(|w| w.n).sum()
    }
    fn notice(&self, words: &str) -> bool {
        self.seen.borrow().iter().any(|p| p.notice && p.text.contains(words))
    }
    fn restarts(&self, sample: &str) -> bool {
        let mut out = Exposition::new(families::ALL);
        self.shared.meters.write(&mut out);
        out.finish().lines().any(|line| line == sample)
    }
    /// Waits for a notice, for all messages to be counted, and for the notice to go.
    fn recovers(&self, words: &str) {
        until("a notice", || self.notice(words));
        assert_eq!(self.counted(), self.sent - 10, "the client fetches after all; the test showed nothing");
        until("all is counted", || self.counted() == self.sent);
        until("the notice goes", || !self.notice(words));
        assert_eq!(self.counted(), self.sent);
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_tap_whose_consumer_stands_still_goes_on_with_another() {
    let mut bench = Bench::new();
    bench.send(10);
    let config = bench.config();
    let intake = intake::Intake::start(intake::Settings::of(&config).remove(0), bench.shared.clone()).expect("intake");
    let settings = bench.tap();
    let mut first = Worker::new(&settings, &bench.shared).expect("a tap");
    until("the first ones are counted", || {
        first.turn().expect("turns");
        bench.counted() == 10
    });
    // Nothing of the tap's own doing: it does not know.
    first.reader().pause().expect("paused");
    bench.send(10);
    let (stop, shared) = (Arc::new(AtomicBool::new(false)), bench.shared.clone());
    let stopped = Arc::clone(&stop);
    let running = std::thread::spawn(move || run(first, &settings, &shared, &stopped));
    bench.recovers("was behind and did not move for 3 s");
    assert!(bench.restarts("chaperone_tap_restarts_total{cluster=\"k\",cause=\"stalled\"} 1"));
    stop.store(true, Ordering::SeqCst);
    running.join().expect("ends");
    intake.join(Instant::now() + DEADLINE);
}

#[test]
fn an_intake_whose_consumer_stands_still_goes_on_with_another() {
    let mut bench = Bench::new();
    bench.send(10);
    let mut settings = intake::Settings::of(&bench.config()).remove(0);
    settings.stall_patience = PATIENCE;
    let mut first = intake::reader::Reader::new(&settings, &bench.shared).expect("a reader");
    let tap = Tap::start(bench.tap(), bench.shared.clone()).expect("a tap");
    until("the first ones are counted", || {
        first.turn().expect("turns");
        bench.counted() == 10
    });
    first.stand_still();
    bench.send(10);
    let (stop, shared) = (Arc::new(AtomicBool::new(false)), bench.shared.clone());
    let stopped = Arc::clone(&stop);
    let running = std::thread::spawn(move || intake::run(first, &settings, &shared, &stopped));
    bench.recovers("intake starts over: chaperone-audit/0 was behind and did not move for 3 s");
    let sample = "chaperone_intake_restarts_total{cluster=\"k\",topic=\"chaperone-audit\",cause=\"stalled\"} 1";
    assert!(bench.restarts(sample));
    tap.join(Instant::now() + DEADLINE);
    stop.store(true, Ordering::SeqCst);
    running.join().expect("ends");
}

/// A copy whose log begins behind the position: its retention was faster, or it was made anew. The leader has everything.
#[test]
fn a_copy_that_lacks_what_its_leader_has_is_read_no_longer() {
    let mut bench = Bench::new();
    bench.send(10);
    for partition in 0..2 {
        bench.kafka.partition_leader("orders", partition, Some(1)).expect("a leader");
        bench.kafka.partition_follower("orders", partition, 2).expect("a copy");
        bench.kafka.follower_watermarks("orders", partition, Some(100), Some(200)).expect("its log");
    }
    let intake = intake::Intake::start(intake::Settings::of(&bench.config()).remove(0), bench.shared.clone());
    let tap = Tap::start(bench.tap(), bench.shared.clone()).expect("a tap");
    until("it is said", || bench.notice("the copies in rack r lack what their leaders have"));
    assert_eq!(bench.counted(), 0, "the copies were not asked; the test showed nothing");
    // The mock sends whoever asks to the copy, a leader only who has a rack.
    for partition in 0..2 {
        bench.kafka.partition_follower("orders", partition, -1).expect("no copy");
    }
    until("all is counted", || bench.counted() == 10);
    assert!(
        !bench.restarts("chaperone_tap_restarts_total{cluster=\"k\",cause=\"stalled\"} 1"),
        "it took a new consumer"
    );
    bench.send(10);
    until("what comes is counted", || bench.counted() == 20);
    let unaudited = bench.runtime.block_on(bench.shared.store.partitions("kafka:k")).expect("partitions");
    assert!(unaudited.iter().all(|p| p.log == 0 && p.next == 10), "{unaudited:?}");
    tap.join(Instant::now() + DEADLINE);
    intake.expect("intake").join(Instant::now() + DEADLINE);
}
