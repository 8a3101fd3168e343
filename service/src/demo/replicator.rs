//! The replicator between the two clusters: copies the topic partition by partition, exactly once as long as it lives.
//! It is told here what vanishes, doubles and stands still between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use chaperone_audit::{Clock, SystemClock};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::batches;
use super::event::Event;
use super::stage::consumer::{Stalled, stalled};
use super::tamper::{Done, Fate, Tamper};
use super::wire::{Order, Stall};
use super::{PARTITIONS, TOPIC};
use crate::exit::{Code, Failure};

const POLL: Duration = Duration::from_millis(20);
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// See the module's head.
pub struct Replicator {
    consumer: BaseConsumer,
    producer: ThreadedProducer<DefaultProducerContext>,
    tamper: Tamper,
    stall: Option<Stall>,
    orders: Receiver<Order>,
    events: Sender<Event>,
}

impl Replicator {
    /// Copies from the beginning.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn new(
        from: &str,
        to: &str,
        tamper: Tamper,
        orders: Receiver<Order>,
        events: Sender<Event>,
    ) -> Result<Self, Failure> {
        let wrong = |e: KafkaError| Failure::new(Code::Software, format!("the demo's replicator: {e}"));
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", from)
            .set("group.id", "demo-replicator-unused")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error");
        let consumer = BaseConsumer::from_config(&config).map_err(wrong)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning).map_err(wrong)?;
        }
        consumer.assign(&all).map_err(wrong)?;
        let producer = ThreadedProducer::from_config(&batches::producer_config(to)).map_err(wrong)?;
        Ok(Self { consumer, producer, tamper, stall: None, orders, events })
    }

    /// Copies until `stop`.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.listen();
            match stalled(&mut self.stall, SystemClock.now_ms()) {
                Stalled::No => {}
                Stalled::Begins(id) => self.say(Done { id, count: 0 }),
                Stalled::On => {
                    std::thread::sleep(POLL);
                    continue;
                }
            }
            let copied = match self.consumer.poll(POLL) {
                None => Ok(()),
                Some(Ok(message)) => copy(&self.producer, &mut self.tamper, &message),
                Some(Err(e)) => Err(e),
            };
            if let Err(e) = copied {
                // What it has read and not copied is lost: the audit would be right and the demo wrong.
                self.events.send(Event::Failed(format!("the replicator: {e}"))).ok();
                return;
            }
            for done in self.tamper.take_done() {
                self.say(done);
            }
        }
        self.producer.flush(FLUSH_DEADLINE).ok();
        crate::kafka::close("demo-replicator", self.consumer);
    }

    fn listen(&mut self) {
        for order in self.orders.try_iter() {
            match order {
                Order::Tamper(armed) => self.tamper.arm(armed),
                Order::Stall(stall) => self.stall = Some(stall),
                Order::Letter(_) | Order::Stand(_) => {
                    tracing::warn!("the demo's replicator only loses, doubles and stalls");
                }
            }
        }
    }

    fn say(&self, done: Done) {
        self.events.send(Event::Done(done)).ok();
    }
}

fn copy(
    producer: &ThreadedProducer<DefaultProducerContext>,
    tamper: &mut Tamper,
    message: &BorrowedMessage<'_>,
) -> Result<(), KafkaError> {
    let times = match tamper.fate(message.timestamp().to_millis().unwrap_or_default()) {
        Fate::Pass => 1,
        Fate::Lose => 0,
        Fate::Double => 2,
    };
    for _ in 0..times {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(message.topic()).partition(message.partition());
        record.timestamp = message.timestamp().to_millis();
        record.payload = message.payload();
        record.key = message.key();
        record.headers = message.headers().map(BorrowedHeaders::detach);
        let mut next = Some(record);
        while let Some(record) = next.take() {
            match producer.send(record) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    std::thread::sleep(POLL);
                    next = Some(record);
                }
                Err((e, _)) => return Err(e),
            }
        }
    }
    Ok(())
}
