//! Three of ten producers link the library, one of them stamps; a tap starts at the end of a topic in full traffic: what
//! cannot be known is said to be *not audited yet* or *partial*, and nothing is ever called missing or too many. Once the
//! collector is told to compare stamped messages only, theirs are *ok* by ids, and what is lost of them is *missing*; a
//! message ahead of the clock that was written before there was a tap is neither.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::{AuditedProducer, Stamping};
use chaperone_audit::recorder::Recorder;
use chaperone_audit::rule::{HEADER, stamp};
use chaperone_audit::{Clock, Message, MessageId, SystemClock, Width};
use chaperone_tests::api::Window;
use chaperone_tests::programs::Program;
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
/// How far the clock of one message is ahead, ms: what comes before its window takes about half as long.
const AHEAD_MS: i64 = 40_000;
/// Stamped messages that are lost.
const LOST: u64 = 3;

enum Sends {
    Linked(AuditedProducer),
    Plain(ThreadedProducer<DefaultProducerContext>),
}

impl Sends {
    /// Those that link come first, and the first of them stamps.
    fn new(cluster: &Cluster, number: usize, recorder: &Recorder) -> anyhow::Result<Self> {
        let config = cluster.exact_config();
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

fn now_in() -> (i64, i64) {
    let now_ms = SystemClock.now_ms();
    (now_ms, Width::TEN_SECONDS.window_of(now_ms).0)
}

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    /// Windows with a verdict that says more than can be known.
    wrong: BTreeSet<i64>,
    /// Windows that said how many are not audited at source.
    told: usize,
    /// The window of the message that was stamped ahead.
    ahead: i64,
    /// The window in which stamped messages were lost.
    loss: Option<i64>,
}

impl Seen {
    fn is_fine(&self, w: &Window) -> bool {
        let lost = self.loss == Some(w.window_ms) && w.verdict == "missing" && w.missing_min == LOST;
        let stamped = self.loss.is_some() && (w.verdict == "ok" || lost);
        stamped || is_partial(w) || is_not_audited(w)
    }

    /// Looks until `enough`.
    fn look(&mut self, scene: &Scene, enough: impl Fn(&[Window]) -> bool) -> anyhow::Result<Vec<Window>> {
        eventually(PATIENCE, "windows of each kind", || {
            let rows = scene.windows()?;
            let wrong = rows.iter().filter(|w| !self.is_fine(w) && !w.is_pending() && w.verdict != "no_report");
            let wrong: Vec<i64> = wrong.map(|w| w.window_ms).collect();
            self.wrong.extend(wrong);
            ensure!(enough(&rows), "{rows:#?}");
            Ok(rows)
        })
    }
}

/// A stamped message of another time than now, written before there is a tap: it is in a window that the tap will count.
fn send_ahead(scene: &Scene, recorder: &Recorder) -> anyhow::Result<i64> {
    let (now_ms, _) = now_in();
    let event_ms = now_ms + AHEAD_MS;
    let producer = AuditedProducer::new(&scene.cluster.exact_config(), recorder.clone())?.stamping(Stamping::On);
    let record = BaseRecord::<str, str>::to(&scene.topic).payload("ahead").timestamp(event_ms);
    producer.send(record).map_err(|(e, _)| e)?;
    producer.flush(WAIT)?;
    Ok(Width::TEN_SECONDS.window_of(event_ms).0)
}

/// Stamped messages that are acknowledged and never arrive, all in one window, which is not `but`.
fn lose(scene: &Scene, recorder: &Recorder, but: i64) -> anyhow::Result<i64> {
    let (now_ms, window) = eventually(WAIT, "another window", || {
        let now = now_in();
        ensure!(now.1 != but, "not yet");
        Ok(now)
    })?;
    for n in 0..LOST {
        let headers = [(HEADER, stamp(MessageId(u128::from(n)), now_ms))];
        let (topic, value, timestamp_ms) = (scene.topic.as_str(), Some(b"lost".as_slice()), Some(now_ms));
        let message = Message { topic, key: None, value, headers: &headers, timestamp_ms, broker_time: false };
        recorder.attempt(&message).acked();
    }
    Ok(window)
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let scene = Setup::on(cluster).start("end").pipeline("").scene("linked", 3)?;
    let recorder = scene.recorder()?;
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut seen = Seen::default();
    let tap = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&scene, &recorder, &sent, &stop));
        let watched = watch(&scene, &recorder, &mut seen);
        stop.store(true, Ordering::SeqCst);
        traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?.context("traffic")?;
        watched
    });
    let mut tap = tap?;
    let rows = scene.verdicts()?;
    for w in &rows {
        ensure!(seen.is_fine(w), "{w:?}");
    }
    ensure!(seen.told > 0, "nobody says how many are not audited: {rows:#?}");
    let ok = rows.iter().filter(|w| w.verdict == "ok").count();
    let missing: u64 = rows.iter().map(|w| w.missing_min).sum();
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    println!(
        "{} rounds of {ALL}, {} windows, {} said what is not audited; of stamped messages alone {ok} ok, {missing} missing",
        sent.load(Ordering::SeqCst),
        rows.len(),
        seen.told
    );
    figures::record("brokers", "linked_partial", seen.told)?;
    figures::record("brokers", "linked_stamped_ok", ok)?;
    figures::record("brokers", "linked_stamped_missing", missing)?;
    figures::record("brokers", "linked_false_verdicts", seen.wrong.len())
}

/// Starts the tap amid the traffic, has only stamped messages compared once everything was, and looks at every verdict on
/// the way.
fn watch(scene: &Scene, recorder: &Recorder, seen: &mut Seen) -> anyhow::Result<Program> {
    seen.look(scene, |rows| rows.iter().any(|w| w.verdict == "no_report"))?;
    seen.ahead = send_ahead(scene, recorder)?;
    let tap = scene.tap()?;
    let rows = seen.look(scene, |rows| rows.iter().filter(|w| is_partial(w)).count() >= WINDOWS)?;
    seen.told = rows.iter().filter(|w| is_partial(w) && w.why.contains("not audited at source")).count();
    scene.reload_with("stamped_only = [\"producer\"]\n")?;
    ensure!(now_in().1 <= seen.ahead, "the machine is too slow: the window of the message ahead has ended");
    let (ahead, loss) = (seen.ahead, lose(scene, recorder, seen.ahead)?);
    seen.loss = Some(loss);
    let judged = |rows: &[Window], at_ms| rows.iter().any(|w| w.window_ms == at_ms && !w.is_pending() && !w.is_late());
    let rows =
        seen.look(scene, |rows| judged(rows, ahead) && judged(rows, loss) && rows.iter().any(|w| w.verdict == "ok"))?;
    let of = |at_ms| rows.iter().find(|w| w.window_ms == at_ms).context("its row");
    let (ahead, loss) = (of(ahead)?, of(loss)?);
    ensure!(is_not_audited(ahead), "it was written before there was a tap: {ahead:?}");
    ensure!(loss.missing_min == LOST && loss.why.contains("without a stamp"), "{loss:?}");
    Ok(tap)
}
