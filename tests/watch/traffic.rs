//! Messages for both clusters, the same on either side but for those that the plan loses or doubles; and the truth.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::{Clock, SystemClock};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::scene::{PARTITIONS, REWRITTEN, Scene, TOPICS};

/// Of a window, ms.
pub(crate) const WIDTH_MS: i64 = 10_000;
/// Between two messages of a topic.
const PAUSE: Duration = Duration::from_millis(4);

/// What shall go wrong in one window of one topic, and what has.
#[derive(Debug, Default, Clone, Copy)]
struct Spoilt {
    lose: u64,
    double: u64,
    lost: u64,
    doubled: u64,
}

type Plan = Arc<Mutex<BTreeMap<(String, i64), Spoilt>>>;

/// See the module's head.
pub(crate) struct Traffic {
    plan: Plan,
    stop: Option<(Sender<()>, JoinHandle<anyhow::Result<()>>)>,
}

impl Traffic {
    /// Runs until stopped.
    pub(crate) fn start(scene: &Scene) -> anyhow::Result<Self> {
        let producers = [
            ThreadedProducer::from_config(&scene.from.exact_config())?,
            ThreadedProducer::from_config(&scene.to.exact_config())?,
        ];
        let plan = Plan::default();
        let (stop, stopped) = mpsc::channel();
        let planned = Arc::clone(&plan);
        let thread = std::thread::spawn(move || {
            let mut n = 0_u64;
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                for topic in TOPICS.into_iter().chain([REWRITTEN]) {
                    produce(&producers, &planned, topic, n)?;
                }
                n += 1;
            }
            for producer in &producers {
                producer.flush(Duration::from_secs(20))?;
            }
            println!("messages a topic: {n}");
            Ok(())
        });
        Ok(Self { plan, stop: Some((stop, thread)) })
    }

    /// Loses so many of the first topic and doubles so many of the second, each in a window to come: returns them.
    pub(crate) fn spoil(&self, lose: u64, double: u64) -> (i64, i64) {
        let next_ms = (SystemClock.now_ms() / WIDTH_MS + 1) * WIDTH_MS;
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.insert((TOPICS[0].to_owned(), next_ms), Spoilt { lose, ..Spoilt::default() });
        plan.insert((TOPICS[1].to_owned(), next_ms + WIDTH_MS), Spoilt { double, ..Spoilt::default() });
        (next_ms, next_ms + WIDTH_MS)
    }

    /// What must be said of a window: verdict, missing, surplus.
    pub(crate) fn truth(&self, topic: &str, window_ms: i64) -> (String, u64, u64) {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let Spoilt { lost, doubled, .. } = plan.get(&(topic.to_owned(), window_ms)).copied().unwrap_or_default();
        let verdict = match (lost, doubled) {
            (0, 0) => "ok",
            (_, 0) => "missing",
            _ => "surplus",
        };
        (verdict.to_owned(), lost, doubled)
    }

    /// Sends what waits, and says what went wrong if anything did.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let (stop, thread) = self.stop.take().context("stopped before")?;
        drop(stop);
        thread.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?
    }
}

fn produce(
    producers: &[ThreadedProducer<DefaultProducerContext>; 2],
    plan: &Plan,
    topic: &str,
    n: u64,
) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let copies = {
        let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
        match plan.get_mut(&(topic.to_owned(), now_ms / WIDTH_MS * WIDTH_MS)) {
            Some(spoilt) if spoilt.lost < spoilt.lose => {
                spoilt.lost += 1;
                0
            }
            Some(spoilt) if spoilt.doubled < spoilt.double => {
                spoilt.doubled += 1;
                2
            }
            _ => 1,
        }
    };
    let (key, payload) = (format!("key {}", n % 100), format!("{topic} message {n}"));
    let partition = if topic == REWRITTEN { 0 } else { i32::try_from(n % u64::try_from(PARTITIONS)?)? };
    for (producer, copies) in producers.iter().zip([1, copies]) {
        for _ in 0..copies {
            let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&payload).timestamp(now_ms);
            producer.send(record).map_err(|(e, _)| e)?;
        }
    }
    Ok(())
}
