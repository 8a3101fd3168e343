//! The wrappers against librdkafka's mock cluster: what the host sees is rdkafka's, what is counted is the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ProducerContext};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::*;
use crate::clock::SystemClock;
use crate::recorder::{Config, MemorySink, Recorder, Sink as _, Slots, Stats};
use crate::rule::Class;
use crate::wire::{AuditMessage, End};

mod errors;
mod kinds;
mod transactions;

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";
const WAIT: Duration = Duration::from_secs(20);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock() -> Mock {
    MockCluster::new(1).expect("a mock cluster")
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("log_level", "0");
    config
}

fn recorder(stage: &str) -> (Recorder, MemorySink) {
    let sink = MemorySink::new();
    // Some of them end with messages under way: nothing is to be left in shared memory.
    let config = Config { seed: 3, slots: Slots::Heap, ..Config::new(stage, "test") };
    (Recorder::start(config, Box::new(sink.clone()), Arc::new(SystemClock)).expect("started"), sink)
}

fn producer(config: &ClientConfig) -> (AuditedProducer, MemorySink) {
    let (recorder, sink) = recorder("producer");
    (AuditedProducer::new(config, recorder).expect("a producer"), sink)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn outcome(stats: Stats) -> (u64, u64, u64, u64) {
    (stats.counted, stats.acked, stats.failed, stats.in_doubt)
}

#[test]
fn acks_are_counted() {
    let cluster = mock();
    let (producer, sink) = producer(&config(&cluster.bootstrap_servers()));
    for i in 0..100u32 {
        let value = i.to_le_bytes();
        assert!(producer.send(BaseRecord::to("orders").key("k").payload(&value[..])).is_ok());
    }
    producer.flush(WAIT).expect("flushed");
    until("all acks", || producer.recorder().stats().in_flight == 0);
    assert_eq!(outcome(producer.recorder().stats()), (100, 100, 0, 0));
    producer.recorder().close(WAIT);
    let last = sink.messages().pop().expect("goodbye");
    assert_eq!((last.end, last.sum.map(|s| (s.n, s.acked))), (Some(End::Clean), Some((100, 100))));
}

#[test]
fn a_full_queue_is_the_hosts_error_and_counts_as_failed() {
    let mut config = config(NOWHERE);
    config.set("queue.buffering.max.messages", "5");
    let (producer, _) = producer(&config);
    let record = || BaseRecord::to("orders").payload("x").key("k");
    (0..5).for_each(|_| assert!(producer.send(record()).is_ok()));
    let Err((error, record)) = producer.send(record()) else { panic!("the queue is full") };
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
    assert_eq!((record.topic, record.payload, record.key), ("orders", Some("x"), Some("k")));
    assert!(record.timestamp.is_some(), "a second attempt has the first one's time");
    assert_eq!(outcome(producer.recorder().stats()), (6, 0, 1, 0));
    let recorder = producer.recorder().clone();
    drop(producer);
    assert_eq!(outcome(recorder.stats()), (6, 0, 1, 5), "purged: whether one was sent before, nobody says");
}

#[test]
fn a_timed_out_message_is_in_doubt() {
    let mut config = config(NOWHERE);
    config.set("message.timeout.ms", "100");
    let (producer, _) = producer(&config);
    assert!(producer.send(BaseRecord::to("orders").payload("x").key("k")).is_ok());
    until("the report", || producer.recorder().stats().in_flight == 0);
    assert_eq!(outcome(producer.recorder().stats()), (1, 0, 0, 1));
}

#[test]
fn what_is_too_large_or_forbidden_is_failed() {
    let cluster = mock();
    let mut config = config(&cluster.bootstrap_servers());
    config.set("message.max.bytes", "1000");
    let (producer, _) = producer(&config);
    let big = vec![0; 2000];
    let Err((error, _)) = producer.send(BaseRecord::to("orders").key("k").payload(&big)) else { panic!("too large") };
    assert!(proves_not_persisted(&error), "{error}");
    let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED];
    cluster.request_errors(RDKafkaApiKey::Produce, &denied);
    assert!(producer.send(BaseRecord::to("orders").key("k").payload("x")).is_ok());
    producer.flush(WAIT).expect("flushed");
    until("the report", || producer.recorder().stats().in_flight == 0);
    assert_eq!(outcome(producer.recorder().stats()), (2, 0, 2, 0));
    let Err((error, _)) = producer.send(BaseRecord::to("a\0b").key("k").payload("x")) else { panic!("no such name") };
    assert!(proves_not_persisted(&error), "{error}");
    assert_eq!(outcome(producer.recorder().stats()), (3, 0, 3, 0));
}

#[test]
fn settings_that_hide_outcomes_are_refused_by_name() {
    for (set, value, named) in [
        ("acks", "0", "acks=0"),
        ("request.required.acks", "0x0", "request.required.acks=0x0"),
        ("delivery.report.only.error", "true", "delivery.report.only.error=true"),
    ] {
        let (recorder, _) = recorder("producer");
        let mut config = config(NOWHERE);
        config.set(set, value);
        let Err(error) = AuditedProducer::new(&config, recorder) else { panic!("{set}={value} was accepted") };
        assert!(error.to_string().contains(named), "{error}");
    }
}

/// A host with a callback and an opaque of its own.
#[derive(Clone, Default)]
struct Host(Arc<AtomicU64>);
impl ClientContext for Host {}
impl ProducerContext for Host {
    type DeliveryOpaque = Box<u64>;
    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Box<u64>) {
        assert!(result.is_ok());
        self.0.fetch_add(*opaque, Ordering::SeqCst);
    }
}

#[test]
fn the_hosts_callback_gets_its_own_opaque() {
    let cluster = mock();
    let (host, (recorder, _)) = (Host::default(), recorder("producer"));
    let producer = AuditedProducer::with_context(&config(&cluster.bootstrap_servers()), host.clone(), recorder);
    let producer = producer.expect("a producer");
    for n in [3, 4] {
        let record = BaseRecord::with_opaque_to("orders", Box::new(n)).key("k").payload("x");
        assert!(producer.send(record).is_ok());
    }
    producer.flush(WAIT).expect("flushed");
    until("both callbacks", || host.0.load(Ordering::SeqCst) == 7);
    assert_eq!(producer.client().context().host().0.load(Ordering::SeqCst), 7);
}

/// Reads `n` messages of partition 0 from the beginning.
fn consume(
    cluster: &Mock,
    topic: &str,
    n: usize,
    mut each: impl FnMut(&AuditedConsumer, rdkafka::message::BorrowedMessage<'_>),
) -> MemorySink {
    let (recorder, sink) = recorder("consumer");
    let mut config = config(&cluster.bootstrap_servers());
    config.set("group.id", "g").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer = AuditedConsumer::new(&config, recorder).expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("listed");
    consumer.assign(&list).expect("assigned");
    let deadline = Instant::now() + WAIT;
    let mut got = 0;
    while got < n {
        assert!(Instant::now() < deadline, "{got} of {n} messages");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            each(&consumer, message);
            got += 1;
        }
    }
    consumer.recorder().close(WAIT);
    sink
}

fn last_sum(sink: &MemorySink) -> (u64, crate::Fingerprint) {
    let sum = sink.messages().pop().and_then(|m| m.sum).expect("a goodbye");
    (sum.n, sum.f_in)
}

#[test]
fn a_message_has_the_same_identity_before_and_after_kafka() {
    let cluster = mock();
    cluster.create_topic("orders", 1, 1).expect("created");
    let (producer, upstream) = producer(&config(&cluster.bootstrap_servers()));
    let base = || BaseRecord::<str, str>::to("orders");
    let events = || {
        let headers = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some("1") });
        headers.insert(Header { key: "ce_time", value: Some("2026-09-21T12:00:00Z") })
    };
    let records = [
        base().payload("v"),
        base().key("").payload("v"),
        base().key("k"),
        base().key("k").payload(""),
        base().key("k").payload("v").timestamp(1_790_000_000_000),
        base().key("k").payload("v").headers(events()),
    ];
    let n = records.len();
    for record in records {
        assert!(producer.send(record).is_ok());
    }
    producer.flush(WAIT).expect("flushed");
    producer.recorder().close(WAIT);
    let seen = consume(&cluster, "orders", n, |consumer, message| consumer.seen(&message));
    assert_eq!(last_sum(&seen), last_sum(&upstream));
    let windows = |sink: &MemorySink| {
        let mut all: Vec<_> = sink.messages().into_iter().flat_map(|m| m.slots).filter(|s| s.state.is_final).collect();
        all.sort_by_key(|s| (s.window_ms, s.class));
        all.into_iter().map(|s| (s.window_ms, s.class, s.state.n, s.state.bytes, s.state.f_in)).collect::<Vec<_>>()
    };
    assert_eq!(windows(&seen), windows(&upstream), "same windows, classes, bytes and ids");
    let positions = seen.messages().into_iter().flat_map(|m| m.positions).map(|p| p.position).max();
    assert_eq!(positions, i64::try_from(n).ok());
    let slots: Vec<_> = seen.messages().into_iter().flat_map(|m| m.slots).collect();
    assert!(slots.iter().all(|s| s.state.flags.contains("seen")));
}

#[test]
fn a_stamp_tells_equal_messages_apart_and_survives_a_refused_send() {
    let cluster = mock();
    cluster.create_topic("orders", 1, 1).expect("created");
    let (producer, upstream) = producer(&config(&cluster.bootstrap_servers()));
    let producer = producer.stamping(Stamping::On);
    for _ in 0..2 {
        assert!(producer.send(BaseRecord::to("orders").key("k").payload("same")).is_ok());
    }
    let Err((_, record)) = producer.send(BaseRecord::<str, str>::to("a\0b").payload("x")) else { panic!("refused") };
    let stamp = observe_stamp(record.headers.as_ref()).expect("a stamp");
    let Err((_, again)) = producer.send(record) else { panic!("refused again") };
    assert_eq!(observe_stamp(again.headers.as_ref()), Some(stamp), "a stamp is made once");
    producer.flush(WAIT).expect("flushed");
    producer.recorder().close(WAIT);
    let slots: Vec<_> = upstream.messages().into_iter().flat_map(|m| m.slots).collect();
    assert!(slots.iter().filter(|s| s.topic == "orders").all(|s| s.class == Class::Stamped));
    let mut stamps = Vec::new();
    consume(&cluster, "orders", 2, |_, message| {
        stamps.extend(observe_message(&message).headers.header("chaperone").map(<[u8]>::to_vec));
    });
    stamps.dedup();
    assert_eq!(stamps.len(), 2);
}

fn observe_stamp(headers: Option<&OwnedHeaders>) -> Option<Vec<u8>> {
    headers.and_then(|h| crate::message::Headers::header(h, "chaperone")).map(<[u8]>::to_vec)
}

#[test]
fn the_sink_brings_records_to_the_audit_topic_under_the_incarnation() {
    let cluster = mock();
    cluster.create_topic("audit", 1, 1).expect("created");
    let mut client = config(&cluster.bootstrap_servers());
    // What a host may have set for its own messages.
    client.set("acks", "1").set("retries", "0").set("compression.codec", "lz4").set("message.max.bytes", "2000");
    let sink = KafkaSink::new(&client, "audit").expect("a sink");
    let config = Config { seed: 3, heartbeat: Duration::from_millis(20), ..Config::new("producer", "test") };
    let recorder = Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).expect("started");
    for i in 0..2_000 {
        let topic = format!("topic-{}", i % 1_000);
        let m = crate::Message {
            topic: &topic,
            key: None,
            value: Some(b"v"),
            headers: &crate::message::NoHeaders,
            timestamp_ms: Some(recorder.now_ms()),
            broker_time: false,
        };
        recorder.attempt(&m).acked();
    }
    until("a snapshot", || recorder.stats().snapshots > 0);
    assert_eq!(recorder.close(WAIT), crate::recorder::Closed::default());
    let stored = recorder.stats().stored;
    let mut messages = Vec::new();
    consume(&cluster, "audit", usize::try_from(stored).expect("few"), |_, message| {
        let decoded = AuditMessage::decode(message.payload().unwrap_or_default()).expect("an audit message");
        assert_eq!(message.key(), Some(recorder.incarnation().to_string().as_bytes()));
        messages.push(decoded);
    });
    let finals = messages.iter().flat_map(|m| &m.slots).filter(|s| s.state.is_final);
    assert_eq!(finals.map(|s| s.state.n).sum::<u64>(), 2_000);
    assert_eq!(messages.last().map(|m| m.end), Some(Some(End::Clean)));
}

#[test]
fn a_producer_with_a_fatal_error_is_replaced_and_every_message_is_reported() {
    let cluster = mock();
    cluster.create_topic("audit", 1, 1).expect("created");
    let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED];
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &denied);
    let mut sink = KafkaSink::new(&config(&cluster.bootstrap_servers()), "audit").expect("a sink");
    let mut reports = Vec::new();
    let mut sent = 0;
    until("a message stored", || {
        if sink.send(b"k", b"v", sent).is_ok() {
            sent += 1;
        }
        reports.extend(sink.poll(Duration::from_millis(20)));
        reports.iter().any(|(_, result)| result.is_ok())
    });
    sink.flush(WAIT);
    reports.extend(sink.poll(Duration::ZERO));
    let mut tokens: Vec<u64> = reports.iter().map(|r| r.0).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..sent).collect::<Vec<_>>(), "each once");
    assert!(reports.iter().any(|(_, result)| result.is_err()), "the first producer died");
}

#[test]
fn a_kafka_that_is_away_holds_up_neither_counting_nor_the_close() {
    let sink = KafkaSink::new(&config(NOWHERE), "audit").expect("a sink");
    // What it leaves unsent is not for the recorders of other tests.
    let config = Config { heartbeat: Duration::from_millis(5), slots: Slots::Heap, ..Config::new("producer", "test") };
    let recorder = Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).expect("started");
    let begun = Instant::now();
    let m = crate::Message {
        topic: "t",
        key: None,
        value: None,
        headers: &crate::message::NoHeaders,
        timestamp_ms: Some(recorder.now_ms()),
        broker_time: false,
    };
    (0..1_000).for_each(|_| recorder.seen(&m));
    assert!(recorder.close(Duration::from_millis(100)).unsent > 0);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_header_whose_name_is_not_text_is_passed_over() {
    // rdkafka cannot send such a name; its own reading of one panics, which is what is caught here.
    struct Hostile;
    impl rdkafka::message::Headers for Hostile {
        fn count(&self) -> usize {
            2
        }
        fn try_get(&self, i: usize) -> Option<Header<'_, &[u8]>> {
            assert!(i > 0, "not UTF-8");
            Some(Header { key: "ce_id", value: Some(b"1") })
        }
    }
    assert_eq!(observe::first(&Hostile, "ce_id"), Some(&b"1"[..]));
    assert_eq!(observe::first(&Hostile, "chaperone"), None);
}
