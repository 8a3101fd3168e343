//! The consumer: the library's `AuditedConsumer` on the aggregate cluster. It is told here which messages it skips or
//! counts twice, when it stands still, and when it will be killed.
//!
//! It reads its partitions without a group protocol and goes on where it committed, so that a restarted one is back at
//! once. Before it is killed it commits what it has seen: no message is read twice, and what is lost is what is meant,
//! the counts since its last report.

use std::io::BufRead;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use chaperone_audit::kafka::AuditedConsumer;
use chaperone_audit::{Clock, SystemClock};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{CLOSE_DEADLINE, Countdown, recorder, say};
use crate::demo::plan::generator;
use crate::demo::tamper::{Done, Fate, Tamper};
use crate::demo::wire::{Order, Said, Settings, Stall};
use crate::demo::{PARTITIONS, RATE, TOPIC};
use crate::exit::{Code, Failure};

const POLL: Duration = Duration::from_millis(20);
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// A pause between two looks at the clock or the input.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let recorder = recorder("consumer", &settings.data_dir, settings.identity_seed, &settings.audit_brokers)?;
    let wrong = |e: &dyn std::fmt::Display| Failure::new(Code::Software, format!("the demo's consumer: {e}"));
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", "demo-consumer")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    let consumer = AuditedConsumer::new(&config, recorder).map_err(|e| wrong(&e))?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(TOPIC, partition, Offset::Stored).map_err(|e| wrong(&e))?;
    }
    consumer.assign(&all).map_err(|e| wrong(&e))?;
    let mut reader = Reader {
        consumer,
        orders: orders(),
        counting: Counting {
            tamper: Tamper::new(generator(settings.fault_seed, 0), RATE),
            countdown: Countdown::default(),
            flowing: false,
        },
        stall: None,
        commit_at: Instant::now() + COMMIT_EVERY,
    };
    reader.read();
    reader.commit(CommitMode::Sync);
    reader.consumer.recorder().close(CLOSE_DEADLINE);
    // Closing the client may wait for a cluster that is gone already.
    std::process::exit(0)
}

/// Orders as they come; the channel ends with the input.
fn orders() -> Receiver<Order> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => {
                    if sender.send(order).is_err() {
                        return;
                    }
                }
                Err(e) => tracing::warn!("the demo's consumer does not understand: {e}"),
            }
        }
    });
    orders
}

struct Reader {
    consumer: AuditedConsumer,
    orders: Receiver<Order>,
    counting: Counting,
    stall: Option<Stall>,
    commit_at: Instant,
}

/// What decides how a message is counted.
struct Counting {
    tamper: Tamper,
    countdown: Countdown,
    flowing: bool,
}

impl Reader {
    /// Reads until the input ends.
    fn read(&mut self) {
        while self.listen() {
            if self.stands_still() {
                std::thread::sleep(PAUSE);
                continue;
            }
            let stand = match self.consumer.poll(POLL) {
                None => None,
                Some(Ok(message)) => self.counting.count(&self.consumer, &message),
                Some(Err(e)) => {
                    tracing::debug!("the demo's consumer: {e}");
                    None
                }
            };
            if let Some(id) = stand {
                self.commit(CommitMode::Sync);
                say(&Said::Standing(Done { id, count: 0 }));
                while self.listen() {
                    std::thread::sleep(PAUSE);
                }
                return;
            }
            if Instant::now() >= self.commit_at {
                self.commit_at = Instant::now() + COMMIT_EVERY;
                self.commit(CommitMode::Async);
            }
        }
    }

    /// Takes orders; `false` when there will be no more.
    fn listen(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Tamper(armed)) => self.counting.tamper.arm(armed),
                Ok(Order::Stall(stall)) => self.stall = Some(stall),
                Ok(Order::Stand(stand)) => self.counting.countdown.order(stand),
                Ok(Order::Letter(_)) => tracing::warn!("the demo's consumer takes no letters"),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn stands_still(&mut self) -> bool {
        let said = stalled(&mut self.stall, SystemClock.now_ms());
        if let Stalled::Begins(id) = said {
            say(&Said::Done(Done { id, count: 0 }));
        }
        said != Stalled::No
    }

    fn commit(&self, mode: CommitMode) {
        if let Err(e) = self.consumer.commit_consumer_state(mode) {
            // Nothing was read since the last commit, or the cluster is gone.
            tracing::debug!("the demo's consumer commits: {e}");
        }
    }
}

impl Counting {
    /// Counts a message as its fate says; the fault that now waits for its end, if one does.
    fn count(&mut self, consumer: &AuditedConsumer, message: &BorrowedMessage<'_>) -> Option<u32> {
        let event_ms = message.timestamp().to_millis().unwrap_or_default();
        let times = match self.tamper.fate(event_ms) {
            Fate::Pass => 1,
            Fate::Lose => 0,
            Fate::Double => 2,
        };
        for _ in 0..times {
            consumer.seen(message);
        }
        self.tamper.take_done().into_iter().for_each(|done| say(&Said::Done(done)));
        if !std::mem::replace(&mut self.flowing, true) {
            say(&Said::Flowing);
        }
        self.countdown.counted(event_ms).map(|stand| stand.id)
    }
}

/// Where a standstill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::demo) enum Stalled {
    /// Nothing stands still.
    No,
    /// From now on; the fault's number.
    Begins(u32),
    /// It goes on.
    On,
}

/// Follows a standstill through time; it is forgotten when it is over.
pub(in crate::demo) fn stalled(stall: &mut Option<Stall>, now_ms: i64) -> Stalled {
    let Some(known) = stall.as_mut() else { return Stalled::No };
    if now_ms < known.from_ms {
        return Stalled::No;
    }
    if now_ms >= known.until_ms {
        *stall = None;
        return Stalled::No;
    }
    // Said once: from now on its begin lies before every time.
    if std::mem::replace(&mut known.from_ms, i64::MIN) == i64::MIN { Stalled::On } else { Stalled::Begins(known.id) }
}

#[cfg(test)]
mod tests {
    use super::Stalled::{Begins, No, On};
    use super::*;

    #[test]
    fn a_standstill_begins_once_and_ends() {
        let mut stall = Some(Stall { id: 4, from_ms: 100, until_ms: 200 });
        let said: Vec<_> = [50, 100, 150, 199, 200, 300].map(|now| stalled(&mut stall, now)).into();
        assert_eq!(said, [No, Begins(4), On, On, No, No]);
        assert_eq!(stall, None);
    }
}
