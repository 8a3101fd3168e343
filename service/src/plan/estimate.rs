//! The formulae of docs/CAPACITY.md, with their constants and where those come from. Pure.
//!
//! Invariant: what was not seen has no figure. A topic without traffic costs "unknown", not zero, and a sum says how many
//! topics it leaves out, and of how many it does not know bytes and cores.

use std::collections::BTreeSet;

use chaperone_audit::Width;
use chaperone_audit::recorder::{Config, LARGE_EVERY, SMALL, told_width};
use serde::Serialize;

use crate::tap::report::MARKS_MAX;
use crate::tap::{HEARTBEAT, HEARTBEAT_LARGE, MANY_PARTITIONS};

/// Messages a second that one core counts when bytes cost nothing: the suite `plan` measures a whole tap, librdkafka
/// included, and fails where it is slower. About a third of what it measured, for TLS, decompression and small batches.
pub const MESSAGES_PER_CORE: f64 = 400_000.0;
/// Bytes a second that one core reads and hashes when messages cost nothing; measured likewise.
pub const BYTES_PER_CORE: f64 = 300_000_000.0;
/// Bytes of a stage's totals of one window in the store, indices included; `service/tests/plan_store.rs` fills a store
/// and compares.
pub const STAGE_ROW_BYTES: f64 = 230.0;
/// Bytes of a hop's verdict of one window in the store, indices included; measured likewise.
pub const HOP_ROW_BYTES: f64 = 160.0;
/// Rows a day that the embedded store takes without wider windows: half a thousand a second.
pub const ROWS_A_DAY_MAX: f64 = 50_000_000.0;
/// Fewer messages than this give a rate that is off by more than 10 %.
pub const MESSAGES_ENOUGH: u64 = 100;

/// A final is told so often: at the close, and once more a minute after Kafka has it.
pub const FINALS: f64 = 2.0;

const DAY_S: f64 = 86_400.0;
const GB: f64 = 1e9;

/// What was seen of one topic on one cluster.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The cluster's name.
    pub cluster: String,
    /// The topic.
    pub topic: String,
    /// Messages that each partition got.
    pub arrived: Vec<u64>,
    /// Partitions that did not say, for want of a leader.
    pub unanswered: usize,
    /// In how long.
    pub seconds: f64,
    /// What they are like; `None` if none was read.
    pub sample: Option<Sample>,
    /// Stages that the topic runs through, at least one.
    pub stages: u32,
    /// How many of them are taps, at least one.
    pub taps: u32,
}

/// Messages that were read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// How many.
    pub messages: u64,
    /// Their keys, values and headers, on average.
    pub mean_bytes: f64,
    /// How many have no event time that can be used.
    pub without_time: u64,
    /// By how much 95 % of them are at most older than the newest message before them.
    pub disorder_ms: i64,
}

/// How much can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// No partition answered: what it costs is not known.
    NoAnswer,
    /// Nothing arrived: what it costs is not known.
    None,
    /// So little arrived that the rate may be far off.
    TooShort,
    /// Enough.
    Seen,
}

/// What a topic costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Messages that a tap counts.
    pub messages_per_s: f64,
    /// Bytes that a tap reads, before compression; unknown without a sample.
    pub bytes_per_s: Option<f64>,
    /// Cores that a tap keeps busy; unknown without a sample.
    pub cores: Option<f64>,
    /// Interval records that a tap sends.
    pub tap_records_per_s: f64,
    /// Slot states that linked processes send.
    pub reporter_slots_per_s: f64,
    /// Rows that the store gets.
    pub rows_per_day: f64,
    /// By which it grows.
    pub store_gb_per_day: f64,
}

/// A window width, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The width.
    pub width_s: i64,
    /// In one sentence.
    pub why: String,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The cluster's name.
    pub cluster: String,
    /// The topic.
    pub topic: String,
    /// Partitions that answered.
    pub partitions: usize,
    /// Partitions that did not; they are in no figure.
    pub partitions_unanswered: usize,
    /// Those that got a message.
    pub partitions_with_traffic: usize,
    /// Messages that arrived.
    pub messages: u64,
    /// In how long.
    pub seconds: f64,
    /// How much can be said.
    pub traffic: Traffic,
    /// What the messages are like; `None` if none was read.
    pub sample: Option<Sample>,
    /// `None` without traffic.
    pub cost: Option<Cost>,
    /// `None` without traffic.
    pub width: Option<Choice>,
}

/// All topics together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sum {
    /// Topics in the sum.
    pub topics: usize,
    /// Topics that are not, because nothing arrived or nobody answered.
    pub topics_unknown: usize,
    /// Topics in the sum whose bytes and cores are not, because no message of theirs was read.
    pub topics_without_sample: usize,
    /// Their costs, with the taps' heartbeats; `None` without traffic.
    pub cost: Option<Cost>,
    /// Messages on the audit topic from linked processes.
    pub reporter_records_per_s: Option<f64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// By cluster and topic, as they were seen.
    pub topics: Vec<Line>,
    /// All of them.
    pub sum: Sum,
}

impl Seen {
    fn messages(&self) -> u64 {
        self.arrived.iter().sum()
    }
    fn busy(&self) -> usize {
        self.arrived.iter().filter(|n| **n > 0).count()
    }
    /// A count as a rate.
    fn rate(&self, messages: u64) -> f64 {
        real(messages) / self.seconds.max(f64::MIN_POSITIVE)
    }
    fn traffic(&self) -> Traffic {
        match self.messages() {
            _ if self.arrived.is_empty() => Traffic::NoAnswer,
            0 => Traffic::None,
            n if n < MESSAGES_ENOUGH => Traffic::TooShort,
            _ => Traffic::Seen,
        }
    }
    /// Stages that linked processes report.
    fn linked(&self) -> f64 {
        f64::from(self.stages.saturating_sub(self.taps)) / f64::from(self.taps.max(1))
    }
    /// Windows a day that hold a message.
    fn windows_per_day(&self, width: Width) -> f64 {
        (DAY_S / seconds(width)).min(self.rate(self.messages()) * DAY_S)
    }
    /// Rows of one window: a stage's totals each, a verdict between each two. Taps of the same topic share them.
    fn rows_per_window(&self) -> (f64, f64) {
        let (stages, taps) = (f64::from(self.stages.max(1)), f64::from(self.taps.max(1)));
        (stages / taps, (stages - 1.0) / taps)
    }
    fn rows_per_day(&self, width: Width) -> f64 {
        let (stages, hops) = self.rows_per_window();
        (stages + hops) * self.windows_per_day(width)
    }
    /// The narrowest width that most messages' event times keep within.
    fn least_width(&self) -> Width {
        let disorder_ms = self.sample.map_or(0, |s| s.disorder_ms);
        Width::ALL.into_iter().find(|width| width.ms() >= disorder_ms).unwrap_or(widest())
    }
}

/// What auditing them costs, with `hosts` processes at each stage that is not a tap.
pub fn estimate(seen: &[Seen], hosts: u32) -> Estimate {
    let base = narrowest_that_fits(seen);
    let linked = Linked::of(seen, base);
    let topics: Vec<Line> =
        seen.iter().map(|s| line(s, base, heartbeat_s(seen, &s.cluster), (hosts, linked))).collect();
    let sum = sum(seen, &topics, base, hosts);
    Estimate { topics, sum }
}

/// How often the tap of a cluster reports: it follows how many of its partitions have traffic.
fn heartbeat_s(seen: &[Seen], cluster: &str) -> f64 {
    let busy: usize = seen.iter().filter(|s| s.cluster == cluster).map(Seen::busy).sum();
    if busy > MANY_PARTITIONS { HEARTBEAT_LARGE.as_secs_f64() } else { HEARTBEAT.as_secs_f64() }
}

/// The narrowest width at which the rows of all topics fit the store; the widest if none does.
fn narrowest_that_fits(seen: &[Seen]) -> Width {
    let rows = |width: Width| -> f64 { seen.iter().map(|s| s.rows_per_day(width.max(s.least_width()))).sum() };
    Width::ALL.into_iter().find(|width| rows(*width) <= ROWS_A_DAY_MAX).unwrap_or(widest())
}

/// How often a linked process tells the slot of a topic, if each counts all topics.
#[derive(Debug, Clone, Copy)]
pub struct Linked {
    /// Looks a second at which it tells open slots; 0 where it tells wider windows than it counts.
    pub open_per_s: f64,
    /// The width of the windows that it tells.
    pub width: Width,
    /// States a second of one topic.
    pub states_per_s: f64,
}

impl Linked {
    /// With the default budget.
    fn of(seen: &[Seen], base: Width) -> Self {
        let busy: BTreeSet<&str> =
            seen.iter().filter(|s| s.linked() > 0.0 && s.messages() > 0).map(|s| s.topic.as_str()).collect();
        let topics = busy.len() as u64;
        let budget = Config::new("", "").records_per_second;
        let width = told_width(base, topics, budget);
        let open_per_s = match topics {
            _ if width > base => 0.0,
            n if n > SMALL as u64 => LARGE_EVERY.as_secs_f64().recip(),
            _ => HEARTBEAT.as_secs_f64().recip(),
        };
        let states_per_s = open_per_s + FINALS / seconds(width);
        Self { open_per_s, width, states_per_s: states_per_s.min(f64::from(budget) / real(topics.max(1))) }
    }
}

fn line(s: &Seen, base: Width, heartbeat_s: f64, linked: (u32, Linked)) -> Line {
    let traffic = s.traffic();
    let width = base.max(s.least_width());
    let there = matches!(traffic, Traffic::TooShort | Traffic::Seen);
    Line {
        cluster: s.cluster.clone(),
        topic: s.topic.clone(),
        partitions: s.arrived.len(),
        partitions_unanswered: s.unanswered,
        partitions_with_traffic: s.busy(),
        messages: s.messages(),
        seconds: s.seconds,
        traffic,
        sample: s.sample,
        cost: there.then(|| cost(s, width, heartbeat_s, linked)),
        width: there.then(|| Choice { width_s: width.ms() / 1_000, why: why(s, base, width) }),
    }
}

fn cost(s: &Seen, width: Width, heartbeat_s: f64, (hosts, linked): (u32, Linked)) -> Cost {
    let messages_per_s = s.rate(s.messages());
    let bytes_per_s = s.sample.map(|sample| messages_per_s * sample.mean_bytes);
    let (stages, hops) = s.rows_per_window();
    let windows = s.windows_per_day(width);
    // An interval a partition and heartbeat, if it got a message in it.
    let intervals = s.arrived.iter().map(|n| s.rate(*n).min(1.0 / heartbeat_s));
    // Of a message at most an open state, a final one and its repetition come.
    let told = (f64::from(hosts) * linked.states_per_s).min((1.0 + FINALS) * messages_per_s);
    Cost {
        messages_per_s,
        bytes_per_s,
        cores: bytes_per_s.map(|bytes| messages_per_s / MESSAGES_PER_CORE + bytes / BYTES_PER_CORE),
        tap_records_per_s: intervals.sum(),
        reporter_slots_per_s: s.linked() * told,
        rows_per_day: (stages + hops) * windows,
        store_gb_per_day: windows * (stages * STAGE_ROW_BYTES + hops * HOP_ROW_BYTES) / GB,
    }
}

fn why(s: &Seen, base: Width, width: Width) -> String {
    let disorder_s = s.sample.map_or(0.0, |sample| real(sample.disorder_ms.unsigned_abs()) / 1_000.0);
    if width > base {
        return format!("95 % of the event times are up to {disorder_s:.0} s out of order");
    }
    if base == Width::default() {
        return "the finest: the store takes the rows, and event times are not further out of order".to_owned();
    }
    format!("narrower, all topics together would exceed {:.0} million rows a day", ROWS_A_DAY_MAX / 1e6)
}

fn sum(seen: &[Seen], lines: &[Line], base: Width, hosts: u32) -> Sum {
    let costs: Vec<&Cost> = lines.iter().filter_map(|line| line.cost.as_ref()).collect();
    let topics_unknown = lines.len() - costs.len();
    let topics_without_sample = costs.iter().filter(|cost| cost.bytes_per_s.is_none()).count();
    let add = |of: fn(&Cost) -> f64| costs.iter().map(|cost| of(cost)).sum::<f64>();
    let sampled = topics_without_sample < costs.len();
    let add_known = |of: fn(&Cost) -> Option<f64>| sampled.then(|| costs.iter().filter_map(|cost| of(cost)).sum());
    let cost = (!costs.is_empty()).then(|| Cost {
        messages_per_s: add(|c| c.messages_per_s),
        bytes_per_s: add_known(|c| c.bytes_per_s),
        cores: add_known(|c| c.cores),
        tap_records_per_s: add(|c| c.tap_records_per_s) + heartbeats_per_s(seen),
        reporter_slots_per_s: add(|c| c.reporter_slots_per_s),
        rows_per_day: add(|c| c.rows_per_day),
        store_gb_per_day: add(|c| c.store_gb_per_day),
    });
    // Processes, not topics: one message a look holds the slots of all topics.
    let linked = seen.iter().map(|s| s.stages.saturating_sub(s.taps)).max().unwrap_or(0);
    let looks = HEARTBEAT.as_secs_f64().recip() + FINALS / seconds(base);
    let reporter_records_per_s = cost.is_some().then(|| f64::from(linked) * f64::from(hosts) * looks);
    Sum { topics: costs.len(), topics_unknown, topics_without_sample, cost, reporter_records_per_s }
}

/// A tap's messages for partitions without news; at least one a heartbeat, so that it is heard.
fn heartbeats_per_s(seen: &[Seen]) -> f64 {
    let mut clusters: Vec<&str> = seen.iter().map(|s| s.cluster.as_str()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let each = clusters.into_iter().map(|cluster| {
        let of_cluster = seen.iter().filter(|s| s.cluster == cluster);
        let idle: usize = of_cluster.map(|s| s.arrived.len() - s.busy()).sum();
        let messages = u64::try_from(idle.div_ceil(MARKS_MAX).max(1)).unwrap_or(u64::MAX);
        real(messages) / heartbeat_s(seen, cluster)
    });
    each.sum()
}

fn seconds(width: Width) -> f64 {
    real(width.ms().unsigned_abs()) / 1_000.0
}

fn widest() -> Width {
    Width::ALL.into_iter().max().unwrap_or_default()
}

/// A count as a number that can be divided.
pub(super) fn real(n: u64) -> f64 {
    let half = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    half(n >> 32) * 4_294_967_296.0 + half(n & 0xffff_ffff)
}

#[cfg(test)]
#[path = "estimate_tests.rs"]
mod tests;
