//! The proxy: takes letters, counts each with the function API, produces it to the regional cluster, and answers when
//! the broker has it. It is told here which messages vanish or double between it and Kafka.

use std::io::BufRead;
use std::time::Duration;

use chaperone_audit::Message;
use chaperone_audit::kafka::proves_not_persisted;
use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::{Recorder, Ticket};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::{CLOSE_DEADLINE, Countdown, recorder, say};
use crate::demo::batches::producer_config;
use crate::demo::plan::generator;
use crate::demo::tamper::{Done, Fate, Tamper};
use crate::demo::wire::{Letter, Order, Said, Settings};
use crate::demo::{RATE, TOPIC};
use crate::exit::{Code, Failure};

/// How long the last messages may take.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// What waits for a delivery report: the ticket of the attempt and the letter's number. Copies have none.
type Receipt = Box<Option<(Ticket, u64)>>;

/// Answers letters from delivery reports.
struct Answers;

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Receipt;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Receipt) {
        let Some((ticket, n)) = *receipt else { return };
        let answer = match result {
            Ok(_) => {
                ticket.acked();
                Said::Taken(n)
            }
            Err((e, _)) if proves_not_persisted(e) => {
                ticket.failed();
                Said::Refused(n)
            }
            Err(_) => {
                drop(ticket);
                Said::Doubtful(n)
            }
        };
        answered(n, &answer);
    }
}

/// Letters without a number want no answer.
fn answered(n: u64, answer: &Said) {
    if n > 0 {
        say(answer);
    }
}

pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let recorder = recorder("proxy", &settings.data_dir, settings.identity_seed, &settings.audit_brokers)?;
    let producer = ThreadedProducer::from_config_and_context(&producer_config(&settings.brokers), Answers)
        .map_err(|e| Failure::new(Code::Software, format!("the demo's proxy: {e}")))?;
    let tamper = Tamper::new(generator(settings.fault_seed, 0), RATE);
    let mut proxy = Proxy { recorder, producer, tamper, countdown: Countdown::default(), flowing: false };
    let mut standing = false;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        // Who stands still reads on, to notice the end, and does nothing.
        match serde_json::from_str(&line) {
            Ok(order) if !standing => standing = proxy.obey(order),
            Ok(_) => {}
            Err(e) => tracing::warn!("the demo's proxy does not understand: {e}"),
        }
    }
    // What is not answered any more is the producer's to send again.
    proxy.producer.flush(FLUSH_DEADLINE).ok();
    proxy.recorder.close(CLOSE_DEADLINE);
    Ok(())
}

struct Proxy {
    recorder: Recorder,
    producer: ThreadedProducer<Answers>,
    tamper: Tamper,
    countdown: Countdown,
    flowing: bool,
}

impl Proxy {
    /// Does what it is told; `true` if it stands still from now on.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Letter(letter) => return self.pass_on(&letter),
            Order::Tamper(armed) => self.tamper.arm(armed),
            Order::Stand(stand) => self.countdown.order(stand),
            Order::Stall(stall) => tracing::warn!("the demo's proxy does not stall (fault {})", stall.id),
        }
        false
    }

    fn pass_on(&mut self, letter: &Letter) -> bool {
        let message = Message {
            topic: TOPIC,
            key: Some(letter.key.as_bytes()),
            value: Some(letter.value.as_bytes()),
            headers: &NoHeaders,
            timestamp_ms: Some(letter.at_ms),
            broker_time: false,
        };
        let fate = self.tamper.fate(letter.at_ms);
        let ticket = self.recorder.attempt(&message);
        if fate == Fate::Lose {
            // As a proxy does that acknowledges too early.
            ticket.acked();
            answered(letter.n, &Said::Taken(letter.n));
        } else {
            self.produce(letter, Some(ticket));
        }
        if fate == Fate::Double {
            self.produce(letter, None);
        }
        self.tamper.take_done().into_iter().for_each(|done| say(&Said::Done(done)));
        if !std::mem::replace(&mut self.flowing, true) {
            say(&Said::Flowing);
        }
        let stand = self.countdown.counted(letter.at_ms);
        if let Some(stand) = stand {
            say(&Said::Standing(Done { id: stand.id, count: 0 }));
        }
        stand.is_some()
    }

    fn produce(&self, letter: &Letter, ticket: Option<Ticket>) {
        let receipt = Box::new(ticket.map(|t| (t, letter.n)));
        let record = BaseRecord::with_opaque_to(TOPIC, receipt)
            .key(letter.key.as_str())
            .payload(letter.value.as_str())
            .timestamp(letter.at_ms);
        if let Err((e, record)) = self.producer.send(record) {
            tracing::warn!("the demo's proxy: {e}");
            if let Some((ticket, n)) = *record.delivery_opaque {
                // It was never queued.
                ticket.failed();
                answered(n, &Said::Refused(n));
            }
        }
    }
}
