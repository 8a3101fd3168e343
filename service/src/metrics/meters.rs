//! What taps, intakes and the judge count for `/metrics` while they work: once a batch or heartbeat, never once a message.
//!
//! Limit: [`TOPICS_MAX`] topics a tap; those beyond are one, `(others)`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chaperone_collector::Applied;
use parking_lot::Mutex;

use super::exposition::Exposition;
use super::families as f;
use super::{Source, number};

/// Topics of one tap that have figures of their own.
pub const TOPICS_MAX: usize = 1_000;
/// The name of the rest.
const OTHERS: &str = "(others)";
/// Upper bounds of what a transaction takes, s.
const BOUNDS: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// All meters of a process; clones share them.
#[derive(Clone, Default)]
pub struct Meters(Arc<Inner>);

#[derive(Default)]
struct Inner {
    taps: Mutex<BTreeMap<String, TapFigures>>,
    intakes: Mutex<BTreeMap<(String, String), IntakeFigures>>,
    judge: Mutex<Times>,
    sources: Mutex<Vec<Arc<dyn Source>>>,
}

/// Why a consumer was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was behind and did not move.
    Stalled,
    /// Its client is of no more use.
    Failed,
}

/// Why a claim was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another tap claimed.
    Fenced,
    /// An interval was passed without being applied.
    Hole,
    /// The log was truncated or re-created.
    OtherLog,
}

/// How long something took.
#[derive(Debug, Clone, Default)]
struct Times {
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Times {
    fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += took;
    }
}

/// A tap's topic at a heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicBeat {
    /// Messages counted since the last.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Partitions claimed.
    pub partitions: u64,
    /// Offsets to the last end that was asked for.
    pub behind: u64,
}

impl TopicBeat {
    /// Adds a partition's.
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.partitions += other.partitions;
        self.behind += other.behind;
    }
}

#[derive(Debug, Default)]
struct TapFigures {
    topics: BTreeMap<String, TopicBeat>,
    claims: u64,
    lost: [u64; 3],
    queued: u64,
    paused: bool,
    restarts: [u64; 2],
}

#[derive(Debug, Default)]
struct IntakeFigures {
    now: Applied,
    bytes: u64,
    apply: Times,
    failures: u64,
    paused: bool,
    partitions: u64,
    behind: u64,
    restarts: [u64; 2],
}

/// The meters of one cluster's tap.
#[derive(Clone)]
pub struct TapMeter {
    meters: Meters,
    cluster: String,
}

impl TapMeter {
    fn with(&self, change: impl FnOnce(&mut TapFigures)) {
        change(self.meters.0.taps.lock().entry(self.cluster.clone()).or_default());
    }
    /// How its topics stand; those that are not named have no partition any more.
    pub fn beat(&self, topics: impl IntoIterator<Item = (String, TopicBeat)>, queued: usize, paused: bool) {
        self.with(|tap| {
            for figures in tap.topics.values_mut() {
                (figures.partitions, figures.behind) = (0, 0);
            }
            for (topic, beat) in topics {
                let known = tap.topics.contains_key(&topic) || tap.topics.len() < TOPICS_MAX;
                let name = if known { topic } else { OTHERS.to_owned() };
                tap.topics.entry(name).or_default().add(beat);
            }
            (tap.queued, tap.paused) = (queued as u64, paused);
        });
    }
    /// The store granted so many claims.
    pub fn claimed(&self, claims: usize) {
        self.with(|tap| tap.claims += claims as u64);
    }
    /// A claim was given up.
    pub fn lost(&self, why: Lost) {
        self.with(|tap| bump(&mut tap.lost, why as usize));
    }
    /// Its consumer is made anew.
    pub fn restarts(&self, cause: Cause) {
        self.with(|tap| bump(&mut tap.restarts, cause as usize));
    }
}

/// The meters of one audit topic's intake.
#[derive(Clone)]
pub struct IntakeMeter {
    meters: Meters,
    key: (String, String),
}

impl IntakeMeter {
    fn with(&self, change: impl FnOnce(&mut IntakeFigures)) {
        change(self.meters.0.intakes.lock().entry(self.key.clone()).or_default());
    }
    /// The store took a batch of so many bytes.
    pub fn applied(&self, batch: Applied, bytes: usize, took: Duration) {
        self.with(|intake| {
            let now = &mut intake.now;
            now.applied += batch.applied;
            now.noop += batch.noop;
            now.fenced += batch.fenced;
            now.hole += batch.hole;
            now.quarantined += batch.quarantined;
            intake.bytes += bytes as u64;
            intake.apply.note(took);
            intake.paused = false;
        });
    }
    /// The store did not; reading waits.
    pub fn refused(&self) {
        self.with(|intake| {
            intake.failures += 1;
            intake.paused = true;
        });
    }
    /// It reads so many partitions, and so many records lie before their ends.
    pub fn stands(&self, partitions: usize, behind: u64) {
        self.with(|intake| (intake.partitions, intake.behind) = (partitions as u64, behind));
    }
    /// Its consumer is made anew.
    pub fn restarts(&self, cause: Cause) {
        self.with(|intake| bump(&mut intake.restarts, cause as usize));
    }
}

fn bump(counts: &mut [u64], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

impl Meters {
    /// Those of a cluster's tap; they go on where another tap of the cluster stopped.
    pub fn tap(&self, cluster: &str) -> TapMeter {
        self.0.taps.lock().entry(cluster.to_owned()).or_default();
        TapMeter { meters: self.clone(), cluster: cluster.to_owned() }
    }
    /// Those of an audit topic's intake.
    pub fn intake(&self, cluster: &str, topic: &str) -> IntakeMeter {
        let key = (cluster.to_owned(), topic.to_owned());
        self.0.intakes.lock().entry(key.clone()).or_default();
        IntakeMeter { meters: self.clone(), key }
    }
    /// The judge has judged.
    pub fn judged(&self, took: Duration) {
        self.0.judge.lock().note(took);
    }
    /// Figures of another part of the process.
    pub fn add(&self, source: Arc<dyn Source>) {
        self.0.sources.lock().push(source);
    }

    /// Writes all of them.
    pub fn write(&self, out: &mut Exposition) {
        let judge = self.0.judge.lock().clone();
        if judge.counts.iter().any(|n| *n > 0) {
            out.histogram(&f::JUDGE, &[], (&BOUNDS, &judge.counts), judge.sum.as_secs_f64());
        }
        for ((cluster, topic), intake) in &*self.0.intakes.lock() {
            write_intake(out, cluster, topic, intake);
        }
        for (cluster, tap) in &*self.0.taps.lock() {
            write_tap(out, cluster, tap);
        }
        // Not under the lock: a source may add another.
        let sources = self.0.sources.lock().clone();
        for source in sources {
            source.write(out);
        }
    }
}

fn write_intake(out: &mut Exposition, cluster: &str, topic: &str, intake: &IntakeFigures) {
    let place = [("cluster", cluster), ("topic", topic)];
    let with = |name, value| [place[0], place[1], (name, value)];
    let now = &intake.now;
    let outcomes = [
        ("applied", now.applied),
        ("noop", now.noop),
        ("fenced", now.fenced),
        ("hole", now.hole),
        ("quarantined", now.quarantined),
    ];
    for (outcome, n) in outcomes {
        out.sample(&f::INTAKE_RECORDS, &with("outcome", outcome), number(n));
    }
    out.sample(&f::INTAKE_BYTES, &place, number(intake.bytes));
    out.histogram(&f::INTAKE_APPLY, &place, (&BOUNDS, &intake.apply.counts), intake.apply.sum.as_secs_f64());
    out.sample(&f::INTAKE_FAILURES, &place, number(intake.failures));
    out.sample(&f::INTAKE_PAUSED, &place, number(u8::from(intake.paused)));
    out.sample(&f::INTAKE_PARTITIONS, &place, number(intake.partitions));
    out.sample(&f::INTAKE_LAG, &place, number(intake.behind));
    for (cause, n) in ["stalled", "failed"].into_iter().zip(intake.restarts) {
        out.sample(&f::INTAKE_RESTARTS, &with("cause", cause), number(n));
    }
}

fn write_tap(out: &mut Exposition, cluster: &str, tap: &TapFigures) {
    for (topic, figures) in &tap.topics {
        let place = [("cluster", cluster), ("topic", topic.as_str())];
        out.sample(&f::TAP_MESSAGES, &place, number(figures.messages));
        out.sample(&f::TAP_BYTES, &place, number(figures.bytes));
        out.sample(&f::TAP_PARTITIONS, &place, number(figures.partitions));
        out.sample(&f::TAP_LAG, &place, number(figures.behind));
    }
    let place = [("cluster", cluster)];
    let with = |name, value| [place[0], (name, value)];
    out.sample(&f::TAP_CLAIMS, &place, number(tap.claims));
    for (cause, n) in ["fenced", "hole", "other_log"].into_iter().zip(tap.lost) {
        out.sample(&f::TAP_LOST, &with("cause", cause), number(n));
    }
    out.sample(&f::TAP_QUEUED, &place, number(tap.queued));
    out.sample(&f::TAP_PAUSED, &place, number(u8::from(tap.paused)));
    for (cause, n) in ["stalled", "failed"].into_iter().zip(tap.restarts) {
        out.sample(&f::TAP_RESTARTS, &with("cause", cause), number(n));
    }
}
