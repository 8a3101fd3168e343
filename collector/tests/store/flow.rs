//! Topics that run through pipelines with groups, in random histories: up to four datacenters that flow together, messages that are
//! failed, in doubt, late, lost and doubled on the way. Who counts them is simulated; the messages themselves are kept beside, by id.

use std::collections::BTreeMap;

use chaperone_audit::WindowStart;
use chaperone_collector::{Pipeline, Stage, StageKind, Store, TopicPattern};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::sim::{GRACE_MS, Msg, START, SimLog, SimReporter, SimTap, stage};
use crate::way::Way;

pub(crate) const TOPICS: [&str; 2] = ["orders", "payments"];
const PARTITIONS: usize = 2;
const DATACENTERS: usize = 4;
/// What a stage is called where it is a group, and its members.
const PRODUCERS: (&str, [&str; DATACENTERS]) = ("producers", ["producer:a", "producer:b", "producer:c", "producer:d"]);
const REGIONAL: (&str, [&str; DATACENTERS]) = ("regional", ["kafka:a", "kafka:b", "kafka:c", "kafka:d"]);
const AGGREGATE: (&str, [&str; DATACENTERS]) = ("aggregates", ["kafka:m", "kafka:n", "kafka:o", "kafka:p"]);
const CONSUMERS: (&str, [&str; DATACENTERS]) = ("consumers", ["consumer:a", "consumer:b", "consumer:c", "consumer:d"]);

/// Who counts for a stage that reports.
enum Counter {
    Client(SimReporter),
    /// Two taps that take the partitions from each other.
    Kafka(SimLog, [SimTap; 2]),
}

impl Counter {
    fn log(&self) -> Option<&SimLog> {
        match self {
            Self::Client(_) => None,
            Self::Kafka(log, _) => Some(log),
        }
    }
}

/// The messages of one window at one stage that reports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) seen: Vec<Msg>,
    pub(crate) acked: Vec<Msg>,
    pub(crate) failed: Vec<Msg>,
}

/// The messages themselves, by who counted them and window.
pub(crate) type Model = BTreeMap<(&'static str, WindowStart), Told>;

/// One topic with its pipeline.
pub(crate) struct Flow {
    pub(crate) topic: &'static str,
    pub(crate) stages: Vec<Stage>,
    counters: Vec<Vec<(&'static str, Counter)>>,
    pub(crate) model: Model,
    next_id: u128,
    /// On its way to a stage.
    late: Vec<(usize, Msg)>,
}

impl Flow {
    /// `no` is part of the numbers of those who report.
    pub(crate) fn new(no: usize, way: &mut Way) -> Self {
        let topic = TOPICS[no];
        let mut flow = Self { topic, stages: vec![], counters: vec![], model: Model::new(), next_id: 0, late: vec![] };
        let aggregate = way.rng.random_bool(0.7);
        while !flow.stages.iter().any(Stage::is_group) {
            flow.stages.clear();
            flow.counters.clear();
            flow.stage(no, way, PRODUCERS, StageKind::Client, DATACENTERS);
            flow.stage(no, way, REGIONAL, StageKind::Kafka, DATACENTERS);
            if aggregate {
                flow.stage(no, way, AGGREGATE, StageKind::Kafka, 2);
            }
            flow.stage(no, way, CONSUMERS, StageKind::Client, 3);
        }
        flow
    }

    fn stage(
        &mut self,
        no: usize,
        way: &mut Way,
        (group, names): (&str, [&'static str; DATACENTERS]),
        kind: StageKind,
        most: usize,
    ) {
        let mut members = names.to_vec();
        members.shuffle(&mut way.rng);
        members.truncate(way.rng.random_range(1..=most));
        let counter = |name: &'static str| {
            let n = (no * 1_000 + self.stages.len() * 100 + self.counters.len() * 10) as u64
                + names.iter().position(|n| *n == name).expect("one of them") as u64;
            match kind {
                StageKind::Kafka => {
                    let taps = [n + 10_000, n + 20_000].map(|n| SimTap::new(n, name, self.topic));
                    Counter::Kafka(SimLog::new(PARTITIONS), taps)
                }
                // Both topics are audited since before their first window began.
                StageKind::Client => {
                    let reporter = SimReporter::new(n + 1, name, "h", START - 600_000);
                    Counter::Client(if self.stages.is_empty() { reporter } else { reporter.seeing() })
                }
            }
        };
        self.counters.push(members.iter().map(|name| (*name, counter(name))).collect());
        self.stages.push(match members.as_slice() {
            [one] => stage(one, kind),
            _ => Stage { complete: true, ..Stage::group(group, kind, members.into_iter().map(str::to_owned)) },
        });
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        let topics = vec![TopicPattern::Name(self.topic.to_owned())];
        Pipeline {
            grace: std::time::Duration::from_millis(GRACE_MS.unsigned_abs()),
            ..Pipeline::new(format!("of-{}", self.topic), topics, self.stages.clone())
        }
    }

    fn msg(&mut self, event_ms: i64) -> Msg {
        self.next_id += 1;
        Msg { id: self.next_id, topic: self.topic, event_ms }
    }

    /// A message arrives at a stage, in one of the datacenters.
    fn arrive(&mut self, at: usize, dc: usize, m: Msg, now_ms: i64) -> &mut Told {
        let members = &mut self.counters[at];
        let which = dc % members.len();
        let (name, counter) = &mut members[which];
        match counter {
            Counter::Client(reporter) => reporter.arrive(&m, now_ms),
            Counter::Kafka(log, _) => log.append(usize::try_from(m.id % 2).expect("small"), m, now_ms),
        }
        let told = self.model.entry((name, m.window())).or_default();
        told.seen.push(m);
        if at > 0 {
            told.acked.push(m);
        }
        told
    }

    /// A producer sends; whether the message goes on.
    fn send(&mut self, way: &mut Way, dc: usize, m: Msg, lossless: bool) -> bool {
        let fate = if lossless { 9 } else { way.rng.random_range(0..30) };
        let told = self.arrive(0, dc, m, way.now_ms);
        match fate {
            0 => told.failed.push(m),
            // In doubt.
            1 | 2 => {}
            _ => told.acked.push(m),
        }
        let producers = &mut self.counters[0];
        let which = dc % producers.len();
        let Counter::Client(producer) = &mut producers[which].1 else { panic!("producers come first") };
        match fate {
            0 => producer.failed(&m),
            1 | 2 => {}
            _ => producer.acked(&m),
        }
        fate > 1
    }

    /// It goes on to a stage, or is late, lost, doubled; and so on from there.
    fn go_on(&mut self, way: &mut Way, to: usize, m: Msg) {
        if to == self.stages.len() {
            return;
        }
        if way.rng.random_bool(0.1) {
            self.late.push((to, m));
            return;
        }
        let copies = if way.rng.random_bool(0.92) { 1 } else { *[0, 0, 2].choose(&mut way.rng).expect("some") };
        for _ in 0..copies {
            let dc = way.rng.random_range(0..DATACENTERS);
            self.arrive(to, dc, m, way.now_ms);
            self.go_on(way, to + 1, m);
        }
    }

    /// Whether messages are late on their way.
    pub(crate) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    pub(crate) fn catch_up(&mut self, way: &mut Way) {
        for (to, m) in std::mem::take(&mut self.late) {
            self.go_on(way, to, m);
        }
    }

    pub(crate) async fn live(&mut self, way: &mut Way, store: &dyn Store) {
        self.catch_up(way);
        for _ in 0..way.rng.random_range(0..16) {
            let late = if way.rng.random_bool(0.1) { 25_000 } else { 3_000 };
            let event_ms = way.now_ms - way.rng.random_range(0..late);
            let (m, dc) = (self.msg(event_ms), way.rng.random_range(0..DATACENTERS));
            if self.send(way, dc, m, false) {
                self.go_on(way, 1, m);
            }
        }
        for (_, counter) in self.counters.iter_mut().flatten() {
            match counter {
                Counter::Client(reporter) if way.rng.random_bool(0.6) => way.report(reporter),
                Counter::Client(_) => {}
                Counter::Kafka(log, taps) => {
                    for tap in taps {
                        way.tap(store, tap, log).await;
                    }
                }
            }
        }
    }

    /// Messages of one time through every member and partition, of which none is lost: what lacks before them will not come.
    pub(crate) fn tail(&mut self, way: &mut Way) {
        for dc in 0..DATACENTERS * 2 {
            for _ in 0..PARTITIONS {
                let m = self.msg(way.now_ms);
                self.send(way, dc, m, true);
                for to in 1..self.stages.len() {
                    self.arrive(to, dc, m, way.now_ms);
                }
            }
        }
    }

    /// The first of the taps has everything.
    pub(crate) async fn claim(&mut self, store: &dyn Store, now_ms: i64) {
        for (_, counter) in self.counters.iter_mut().flatten() {
            if let Counter::Kafka(_, [tap, _]) = counter {
                for partition in 0..PARTITIONS {
                    tap.claim(store, partition, now_ms).await;
                }
            }
        }
    }

    /// Everybody says all that there is to say; processes end.
    pub(crate) fn beat(&mut self, way: &mut Way, last: bool) {
        let logs: Vec<SimLog> =
            self.counters[self.stages.len() - 2].iter().filter_map(|(_, c)| c.log().cloned()).collect();
        for (_, counter) in self.counters.iter_mut().flatten() {
            way.sent.push(match counter {
                Counter::Kafka(log, [tap, _]) => tap.beat(log, way.now_ms),
                Counter::Client(reporter) => {
                    for (partition, at) in (0..).zip(0..PARTITIONS) {
                        let end = logs.iter().map(|log| log.0[at].len()).max().unwrap_or(0);
                        let end = i64::try_from(end).expect("small");
                        reporter.positions.insert((self.topic.to_owned(), partition), end);
                    }
                    if last { reporter.goodbye(way.now_ms) } else { reporter.beat(way.now_ms) }
                }
            });
        }
    }
}
