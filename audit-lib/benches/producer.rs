//! What auditing adds to a bare rdkafka producer, in CPU time of the thread that sends: `cargo bench -p chaperone-audit
//! --features rivals,kafka --bench producer [-- ROUNDS]`.
//!
//! A `ThreadedProducer` and the audited one send the same records to librdkafka's mock cluster by turns; a figure is the median of the
//! rounds' ratios. *Known*: time and id are in the record's own stamp, which the bare one sends too; *content*: the record's
//! time, and the hash of its payload; *scanned*: both are found in JSON, the time last. The delivery reports are heard by
//! the producer's own thread and do not count here, except by what both threads share.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::kafka::AuditedProducer;
use chaperone_audit::recorder::{Config, Recorder, Sink, SinkError};
use chaperone_audit::rule::{HEADER, stamp};
use chaperone_audit::{Clock, CoarseClock, MessageId, TopicRule};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 41;
const MESSAGES: u32 = 10_000;
const DEADLINE: Duration = Duration::from_secs(30);
const TOPIC: &str = "orders";

/// Takes all, tells nobody.
struct Nowhere(Vec<(u64, Result<(), SinkError>)>);

impl Sink for Nowhere {
    fn send(&mut self, _: &[u8], _: &[u8], token: u64) -> Result<(), SinkError> {
        self.0.push((token, Ok(())));
        Ok(())
    }
    fn poll(&mut self, _: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        std::mem::take(&mut self.0)
    }
    fn flush(&mut self, _: Duration) {}
}

fn recorder(rules: Vec<TopicRule>) -> Recorder {
    let config = Config { seed: 7, rules, ..Config::new("bench", "bench") };
    Recorder::start(config, Box::new(Nowhere(Vec::new())), Arc::new(CoarseClock)).expect("a recorder")
}

/// JSON of about so many bytes, with an id and, at the end, a time.
fn document(bytes: usize, i: u32, now_ms: i64) -> Vec<u8> {
    let head = format!(r#"{{"id":"{i:032x}","user":"someone","items":[1,2,3],"note":""#);
    let tail = format!(r#"","ts":{now_ms}}}"#);
    let filling = "a word or two, ".repeat(bytes / 15 + 1);
    let room = bytes.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", &filling[..room]).into_bytes()
}

type Send<'a> = &'a dyn Fn(BaseRecord<'_, (), [u8]>);

/// One record after the other.
struct Load {
    payloads: Vec<Vec<u8>>,
    stamped: bool,
}

impl Load {
    fn new(bytes: usize, stamped: bool) -> Self {
        let now_ms = CoarseClock.now_ms();
        Self { payloads: (0..256).map(|i| document(bytes, i, now_ms)).collect(), stamped }
    }

    fn send(&self, each: Send<'_>) {
        let now_ms = CoarseClock.now_ms();
        for (i, payload) in (0..MESSAGES).zip(self.payloads.iter().cycle()) {
            let mut record = BaseRecord::to(TOPIC).payload(payload.as_slice()).timestamp(now_ms);
            if self.stamped {
                let stamp = stamp(MessageId(i.into()), now_ms);
                let headers = OwnedHeaders::new_with_capacity(1);
                record = record.headers(headers.insert(Header { key: HEADER, value: Some(&stamp) }));
            }
            each(black_box(record));
        }
    }
}

fn cpu_ns() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ns = (t.tv_sec * 1_000_000_000 + t.tv_nsec) as f64;
    ns
}

/// Nanoseconds a message.
fn spent(act: impl FnOnce()) -> f64 {
    let before = cpu_ns();
    act();
    (cpu_ns() - before) / f64::from(MESSAGES)
}

fn bare_round(producer: &ThreadedProducer<DefaultProducerContext>, load: &Load) -> f64 {
    let ns = spent(|| load.send(&|record| producer.send(record).map_err(|(e, _)| e).expect("queued")));
    producer.flush(DEADLINE).expect("delivered");
    ns
}

fn audited_round(producer: &AuditedProducer, load: &Load) -> f64 {
    let ns = spent(|| load.send(&|record| producer.send(record).map_err(|(e, _)| e).expect("queued")));
    producer.flush(DEADLINE).expect("delivered");
    ns
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let cluster = MockCluster::new(1).expect("a mock cluster");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "50");
    config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "1000000");
    let bare: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    let audited = |rules| AuditedProducer::new(&config, recorder(rules)).expect("a producer");
    let rule =
        TopicRule::new(TOPIC).and_then(|r| r.with(Some("json:/ts"), Some("ms"), Some("json:/id"))).expect("a rule");
    let (plain, scanning) = (audited(Vec::new()), audited(vec![rule]));
    let ways = [
        ("known", "time and id known, 200 B", Load::new(200, true), &plain),
        ("content", "time known, id from the content, 200 B", Load::new(200, false), &plain),
        ("scanned", "both scanned, 200 B", Load::new(200, false), &scanning),
        ("scanned_1k", "both scanned, 1 KB", Load::new(1024, false), &scanning),
    ];
    println!("| CPU of the sending thread, ns a message | bare | audited | × |\n| --- | --- | --- | --- |");
    for (figure, name, load, audited) in &ways {
        // The first rounds find the broker and the pages.
        for _ in 0..2 {
            bare_round(&bare, load);
            audited_round(audited, load);
        }
        let pairs: Vec<_> = (0..rounds).map(|_| (bare_round(&bare, load), audited_round(audited, load))).collect();
        let ratio = median(pairs.iter().map(|(a, b)| b / a).collect());
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        println!("| {name} | {:.0} | {:.0} | {ratio:.2} |", median(a), median(b));
        println!("figure producer_{figure} = {ratio:.3}");
    }
}
