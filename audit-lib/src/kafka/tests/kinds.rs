//! Each kind of client counts the same; a future that is dropped changes nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rdkafka::consumer::Consumer as _;
use rdkafka::producer::FutureRecord;
use rdkafka::util::AsyncRuntime;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// tokio as rdkafka's feature `tokio` has it, which this workspace does not switch on.
pub(super) struct Tokio;

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

pub(super) type FutureProducer = AuditedFutureProducer<rdkafka::client::DefaultClientContext, Tokio>;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn future_producer(config: &ClientConfig) -> (FutureProducer, Recorder) {
    let (recorder, _) = recorder("producer");
    (FutureProducer::new(config, recorder.clone()).expect("a producer"), recorder)
}

/// One look at a future.
fn look<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_base_producer_counts_what_its_host_polls() {
    let cluster = mock();
    let (recorder, _) = recorder("producer");
    let producer = AuditedBaseProducer::new(&config(&cluster.bootstrap_servers()), recorder).expect("a producer");
    for _ in 0..10 {
        assert!(producer.send(BaseRecord::to("orders").key("k").payload("x")).is_ok());
    }
    assert_eq!(outcome(producer.recorder().stats()), (10, 0, 0, 0), "nobody has polled");
    until("all acks", || {
        producer.poll(Duration::from_millis(5));
        producer.recorder().stats().in_flight == 0
    });
    assert_eq!(outcome(producer.recorder().stats()), (10, 10, 0, 0));
    assert_eq!(producer.in_flight_count(), 0);
}

#[test]
fn a_dropped_future_loses_no_outcome() {
    let cluster = mock();
    let (producer, recorder) = future_producer(&config(&cluster.bootstrap_servers()));
    let record = || FutureRecord::to("orders").key("k").payload("x");
    drop(producer.send_result(record()).expect("queued"));
    let mut sending = Box::pin(producer.send(record(), Duration::ZERO));
    assert!(look(sending.as_mut()).is_pending());
    drop(sending);
    let (partition, offset) = runtime().block_on(async {
        let delivery = producer.send(record(), Duration::from_secs(1)).await.expect("delivered");
        (delivery.partition, delivery.offset)
    });
    assert!(partition >= 0 && offset >= 0);
    until("all acks", || recorder.stats().in_flight == 0);
    assert_eq!(outcome(recorder.stats()), (3, 3, 0, 0));
}

#[test]
fn a_future_that_waits_for_room_is_one_attempt_and_unsent_if_dropped() {
    let mut config = config(NOWHERE);
    config.set("queue.buffering.max.messages", "1").set("message.timeout.ms", "300000");
    let (producer, recorder) = future_producer(&config);
    let record = || FutureRecord::to("orders").payload("x").key("k");
    let _first = producer.send_result(record()).expect("queued");
    let Err((error, given)) = producer.send_result(record()) else { panic!("the queue is full") };
    assert_eq!((error, given.topic), (KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "orders"));
    let runtime = runtime();
    let refused = runtime.block_on(producer.send(record(), Duration::from_millis(50))).expect_err("no room");
    assert_eq!(refused.0, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
    assert_eq!((refused.1.topic(), refused.1.payload(), refused.1.key()), ("orders", Some(&b"x"[..]), Some(&b"k"[..])));
    assert_eq!(outcome(recorder.stats()), (3, 0, 2, 0), "one attempt, whatever was tried meanwhile");
    let _inside = runtime.enter();
    let mut waiting = Box::pin(producer.send(record(), Duration::from_secs(60)));
    assert!(look(waiting.as_mut()).is_pending());
    assert_eq!(outcome(recorder.stats()), (4, 0, 2, 0));
    drop(waiting);
    assert_eq!(outcome(recorder.stats()), (4, 0, 3, 0), "never handed over");
}

#[test]
fn a_stream_counts_what_a_base_consumer_counts() {
    let cluster = mock();
    cluster.create_topic("orders", 1, 1).expect("created");
    let (producer, upstream) = producer(&config(&cluster.bootstrap_servers()));
    for i in 0..50u32 {
        let value = i.to_le_bytes();
        assert!(producer.send(BaseRecord::to("orders").key("k").payload(&value[..])).is_ok());
    }
    producer.flush(WAIT).expect("flushed");
    producer.recorder().close(WAIT);
    let polled = consume(&cluster, "orders", 50, |consumer, message| consumer.seen(&message));

    let (recorder, streamed) = recorder("consumer");
    let mut config = config(&cluster.bootstrap_servers());
    config.set("group.id", "s").set("enable.auto.commit", "false");
    runtime().block_on(async {
        let consumer = AuditedStreamConsumer::<_, Tokio>::new(&config, recorder).expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("orders", 0, Offset::Beginning).expect("listed");
        consumer.assign(&list).expect("assigned");
        let all = async {
            for _ in 0..50 {
                let message = consumer.recv().await.expect("a message");
                consumer.seen(&message);
            }
        };
        tokio::time::timeout(WAIT, all).await.expect("in time");
        consumer.recorder().close(WAIT);
    });
    assert_eq!(last_sum(&streamed), last_sum(&polled));
    assert_eq!(last_sum(&streamed), last_sum(&upstream));
    let end = |sink: &MemorySink| sink.messages().into_iter().flat_map(|m| m.positions).map(|p| p.position).max();
    assert_eq!((end(&streamed), end(&polled)), (Some(50), Some(50)));
}
