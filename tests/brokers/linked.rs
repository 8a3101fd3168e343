//! Three of ten producers link the library, one of them stamps; a tap starts at the end of a topic in full traffic: what
//! cannot be known is said to be *not audited yet* or *partial*, and nothing is ever called missing or too many.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::{AuditedProducer, Stamping};
use chaperone_audit::recorder::Recorder;
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::api::Window;
use chaperone_tests::tapped::{PATIENCE, Scene, Setup};
use chaperone_tests::{Cluster, eventually, figures};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

const WAIT: Duration = Duration::from_secs(30);
/// Of ten producers.
const LINKED: usize = 3;
const ALL: usize = 10;
/// Partial windows that are waited for.
const WINDOWS: usize = 1;

enum Sends {
    Linked(AuditedProducer),
    Plain(ThreadedProducer<DefaultProducerContext>),
}

impl Sends {
    /// Those that link come first, and the first of them stamps.
    fn new(cluster: &Cluster, number: usize, recorder: &Recorder) -> anyhow::Result<Self> {
        let config = cluster.plain_config();
        if number >= LINKED {
            return Ok(Self::Plain(ThreadedProducer::from_config(&config)?));
        }
        let stamping = if number == 0 { Stamping::On } else { Stamping::Off };
        Ok(Self::Linked(AuditedProducer::new(&config, recorder.clone())?.stamping(stamping)))
    }

    fn send(&self, topic: &str, value: &str) -> anyhow::Result<()> {
        let record = BaseRecord::<str, str>::to(topic).payload(value).timestamp(SystemClock.now_ms());
        match self {
            Self::Linked(producer) => producer.send(record).map_err(|(e, _)| e.into()),
            Self::Plain(producer) => producer.send(record).map_err(|(e, _)| e.into()),
        }
    }

    fn flush(&self) -> anyhow::Result<()> {
        let flushed = match self {
            Self::Linked(producer) => producer.flush(WAIT),
            Self::Plain(producer) => producer.flush(WAIT),
        };
        flushed.context("flush")
    }
}

/// All send side by side until told to stop.
fn traffic(scene: &Scene, recorder: &Recorder, sent: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let all = (0..ALL).map(|number| Sends::new(scene.cluster, number, recorder));
    let all: Vec<Sends> = all.collect::<Result<_, _>>()?;
    eventually(PATIENCE * 2, "the end of the traffic", || {
        let round = sent.fetch_add(1, Ordering::SeqCst);
        for (number, producer) in all.iter().enumerate() {
            producer.send(&scene.topic, &format!("message {round} of {number}"))?;
        }
        ensure!(stop.load(Ordering::SeqCst), "on");
        Ok(())
    })?;
    all.iter().try_for_each(Sends::flush)
}

fn is_partial(w: &Window) -> bool {
    w.verdict == "partial"
}

/// No verdict, or none that anyone may rely on, and it says why.
fn is_not_audited(w: &Window) -> bool {
    w.verdict == "uncertain" && w.caveats.iter().any(|c| c.starts_with("not audited yet"))
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let scene = Setup::on(cluster).start("end").pipeline("").scene("linked", 3)?;
    let recorder = scene.recorder()?;
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut wrong = BTreeSet::new();
    let tap = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&scene, &recorder, &sent, &stop));
        let watched = watch(&scene, &mut wrong);
        stop.store(true, Ordering::SeqCst);
        traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?.context("traffic")?;
        watched
    });
    let mut tap = tap?;
    let rows = scene.verdicts()?;
    for w in &rows {
        ensure!(is_partial(w) || is_not_audited(w), "{w:?}");
    }
    let told = rows.iter().filter(|w| is_partial(w) && w.why.contains("not audited at source")).count();
    ensure!(told > 0, "nobody says how many are not audited: {rows:#?}");
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    println!("{} rounds of {ALL}, {} windows, {told} of them partial", sent.load(Ordering::SeqCst), rows.len());
    figures::record("brokers", "linked_partial", told)?;
    figures::record("brokers", "linked_false_verdicts", wrong.len())
}

/// Starts the tap amid the traffic and looks at every verdict on the way.
fn watch(scene: &Scene, wrong: &mut BTreeSet<i64>) -> anyhow::Result<chaperone_tests::programs::Program> {
    let mut look = |enough: &dyn Fn(&[Window]) -> bool| {
        eventually(PATIENCE, "windows of each kind", || {
            let rows = scene.windows()?;
            let fine = |w: &&Window| {
                is_partial(w) || is_not_audited(w) || w.is_pending() || w.verdict == "no_report" || w.verdict == "open"
            };
            wrong.extend(rows.iter().filter(|w| !fine(w)).map(|w| w.window_ms));
            ensure!(enough(&rows), "{rows:#?}");
            Ok(())
        })
    };
    look(&|rows| rows.iter().filter(|w| w.verdict == "no_report").count() >= 1)?;
    let tap = scene.tap()?;
    look(&|rows| rows.iter().filter(|w| is_partial(w)).count() >= WINDOWS)?;
    Ok(tap)
}
