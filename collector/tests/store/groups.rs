//! Two datacenters that flow into one aggregate: a group of stages is compared as one sum, and is no better than any of its
//! members. `kafka:dc1` has twenty times the traffic of `kafka:dc2`, so that what is wrong with the small one is easily hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chaperone_collector::query::{HopWindow, WindowQuery};
use chaperone_collector::{Pipelines, Stage, StageKind, Store, Verdict};

use crate::sim::{Audit, Msg, START, SimLog, SimReporter, SimTap, memory, pipelines, stage, verdicts};

const DCS: [&str; 2] = ["kafka:dc1", "kafka:dc2"];
/// Messages a second and partition.
const RATES: [u128; 2] = [20, 1];

fn regional() -> Stage {
    Stage::group("regional", StageKind::Kafka, DCS.map(str::to_owned))
}

/// producer → regional → kafka:agg → consumer.
fn fan_in() -> Pipelines {
    let (client, kafka) = (StageKind::Client, StageKind::Kafka);
    pipelines(vec![stage("producer", client), regional(), stage("kafka:agg", kafka), stage("consumer", client)])
}

#[expect(clippy::struct_excessive_bools, reason = "each is something that goes wrong by itself")]
struct World {
    store: Arc<dyn Store>,
    pipelines: Pipelines,
    second: i64,
    producer: SimReporter,
    consumer: SimReporter,
    logs: [SimLog; 2],
    agg: SimLog,
    taps: [SimTap; 2],
    agg_tap: SimTap,
    /// Ids that are not mirrored, and such that go through both datacenters.
    lost: BTreeSet<u128>,
    twice: BTreeSet<u128>,
    /// The second datacenter's: mirror stands still, tap says nothing, producers send nothing.
    stalled: bool,
    mute: bool,
    idle: bool,
    /// The consumer reads both datacenters itself.
    direct: bool,
    stuck: Vec<(usize, Msg)>,
    audit: Audit,
    consumed: [usize; 2],
    ever: BTreeMap<(String, i64), BTreeSet<Verdict>>,
}

/// The n-th message of a second in a partition of a datacenter.
fn id(second: i64, dc: usize, partition: usize, n: u128) -> u128 {
    u128::from(second.unsigned_abs()) * 1_000 + dc as u128 * 500 + partition as u128 * 100 + n
}

impl World {
    async fn new(pipelines: Pipelines) -> Self {
        let store = memory();
        let mut taps = [SimTap::new(21, DCS[0], "orders"), SimTap::new(22, DCS[1], "orders")];
        let mut agg_tap = SimTap::new(23, "kafka:agg", "orders");
        for partition in 0..2 {
            taps[0].claim(&*store, partition, START).await;
            agg_tap.claim(&*store, partition, START).await;
        }
        taps[1].topic = "orders";
        Self {
            store,
            pipelines,
            second: 0,
            producer: SimReporter::new(1, "producer", "h1", START - 1),
            consumer: SimReporter::new(2, "consumer", "h2", START - 1).seeing(),
            logs: [SimLog::new(2), SimLog::new(2)],
            agg: SimLog::new(2),
            taps,
            agg_tap,
            lost: BTreeSet::new(),
            twice: BTreeSet::new(),
            stalled: false,
            mute: false,
            idle: false,
            direct: false,
            stuck: vec![],
            audit: Audit::default(),
            consumed: [0; 2],
            ever: BTreeMap::new(),
        }
    }

    /// With a tap on the second datacenter from the start.
    async fn whole(pipelines: Pipelines) -> Self {
        let mut world = Self::new(pipelines).await;
        world.claim().await;
        world
    }

    async fn claim(&mut self) {
        for partition in 0..2 {
            self.taps[1].claim(&*self.store, partition, START).await;
        }
    }

    fn now_ms(&self) -> i64 {
        START + self.second * 1_000
    }

    fn traffic(&mut self) {
        let now_ms = self.now_ms();
        for (dc, rate) in RATES.into_iter().enumerate().filter(|(dc, _)| *dc == 0 || !self.idle) {
            for (partition, n) in (0..2).flat_map(|partition| (0..rate).map(move |n| (partition, n))) {
                let m = Msg { id: id(self.second, dc, partition, n), topic: "orders", event_ms: now_ms };
                self.producer.arrive(&m, now_ms);
                self.producer.acked(&m);
                let through = if self.twice.contains(&m.id) { vec![0, 1] } else { vec![dc] };
                for dc in through {
                    self.logs[dc].append(partition, m, now_ms);
                    if !self.lost.contains(&m.id) {
                        self.stuck.push((dc * 2 + partition, m));
                    }
                }
            }
        }
        let stalled = self.stalled;
        let (stay, go): (Vec<_>, Vec<_>) = self.stuck.drain(..).partition(|(at, _)| stalled && *at >= 2);
        self.stuck = stay;
        for (at, m) in go {
            if self.direct {
                self.consumer.arrive(&m, now_ms);
                let position =
                    self.consumer.positions.entry(("orders".to_owned(), i32::try_from(at % 2).expect("small")));
                *position.or_default() += 1;
            } else {
                self.agg.append(at % 2, m, now_ms);
            }
        }
        for partition in (0..2).filter(|_| !self.direct) {
            for (m, _) in &self.agg.0[partition][self.consumed[partition]..] {
                self.consumer.arrive(m, now_ms);
            }
            self.consumed[partition] = self.agg.0[partition].len();
            let key = ("orders".to_owned(), i32::try_from(partition).expect("small"));
            self.consumer.positions.insert(key, i64::try_from(self.consumed[partition]).expect("small"));
        }
    }

    /// Goes on until this second.
    async fn until(&mut self, second: i64) {
        while self.second < second {
            self.traffic();
            let now_ms = self.now_ms() + 500;
            let [one, two] = &mut self.taps;
            let mut beats = vec![one.beat(&self.logs[0], now_ms), self.agg_tap.beat(&self.agg, now_ms)];
            if !self.mute && !two.claims.is_empty() {
                beats.push(two.beat(&self.logs[1], now_ms));
            }
            beats.extend([self.producer.beat(now_ms), self.consumer.beat(now_ms)]);
            self.audit.send(&*self.store, beats, now_ms).await;
            self.store.judge(now_ms, &self.pipelines).await.expect("judge");
            for w in verdicts(&*self.store, "orders").await {
                let start = (w.window_ms - START) / 1_000;
                self.ever.entry((w.to_stage, start)).or_default().insert(w.verdict);
            }
            self.second += 1;
        }
    }

    /// Verdicts of the hop that leads to a stage, by second of the window's start; settling ones too.
    async fn at(&self, to: &str) -> BTreeMap<i64, HopWindow> {
        let all = verdicts(&*self.store, "orders").await;
        let of_hop = all.into_iter().filter(|w| w.to_stage == to);
        of_hop.map(|w| ((w.window_ms - START) / 1_000, w)).collect()
    }

    /// Of every window of the hop that began before this second.
    async fn all(&self, to: &str, before: i64, wanted: Verdict) {
        let found = self.at(to).await;
        for start in (0..before).step_by(10) {
            let w = found.get(&start).unwrap_or_else(|| panic!("{to} {start} is not there"));
            assert_eq!(w.verdict, wanted, "{to} {start}: {}", w.why);
        }
    }

    fn was(&self, to: &str, start: i64, verdict: impl Fn(Verdict) -> bool) -> bool {
        self.ever.get(&(to.to_owned(), start)).is_some_and(|all| all.iter().any(|v| verdict(*v)))
    }
}

#[tokio::test]
async fn what_arrives_through_two_datacenters_is_ok_by_ids_though_each_alone_is_less() {
    let mut world = World::whole(fan_in()).await;
    world.until(60).await;
    for to in ["regional", "kafka:agg", "consumer"] {
        world.all(to, 40, Verdict::Ok).await;
    }
    let w = world.at("kafka:agg").await.remove(&0).expect("judged");
    assert_eq!((w.from_stage.as_str(), w.settled_ms.is_some()), ("regional", true));
    let all = WindowQuery { topic: None, from_ms: START, to_ms: START + 10_000, limit: None };
    let rows = world.store.stage_windows(all).await.expect("totals");
    let n = |stage: &str| rows.iter().filter(|r| r.stage == stage).map(|r| r.n).sum::<u64>();
    assert_eq!((n(DCS[0]), n(DCS[1]), n("kafka:agg")), (400, 20, 420));
    // The control: each datacenter alone against the aggregate is wrong, on either side.
    for dc in DCS {
        let (client, kafka) = (StageKind::Client, StageKind::Kafka);
        let alone = vec![stage("producer", client), stage(dc, kafka), stage("kafka:agg", kafka)];
        let mut world = World::whole(pipelines(alone)).await;
        world.until(60).await;
        world.all(dc, 40, Verdict::Missing).await;
        world.all("kafka:agg", 40, Verdict::Surplus).await;
    }
}

#[tokio::test]
async fn a_loss_of_one_member_is_missing_where_they_meet_and_nowhere_else() {
    let mut world = World::whole(fan_in()).await;
    world.lost.insert(id(13, 1, 0, 0));
    world.lost.insert(id(27, 0, 1, 3));
    world.until(70).await;
    let found = world.at("kafka:agg").await;
    for start in [0, 10, 20, 30, 40] {
        let lost = u64::from(start == 10 || start == 20);
        let w = &found[&start];
        let verdict = if lost > 0 { Verdict::Missing } else { Verdict::Ok };
        assert_eq!((w.verdict, w.missing_min), (verdict, lost), "{start}: {}", w.why);
    }
    world.all("regional", 50, Verdict::Ok).await;
    world.all("consumer", 50, Verdict::Ok).await;
}

#[tokio::test]
async fn a_message_that_goes_through_both_is_surplus_where_it_was_doubled() {
    let mut world = World::whole(fan_in()).await;
    world.twice.insert(id(13, 1, 0, 0));
    world.until(60).await;
    let doubled = world.at("regional").await.remove(&10).expect("judged");
    assert_eq!((doubled.verdict, doubled.surplus_min), (Verdict::Surplus, 1), "{}", doubled.why);
    world.all("kafka:agg", 40, Verdict::Ok).await;
    assert_eq!(world.at("regional").await[&0].verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_datacenter_that_says_nothing_is_waited_for_by_name() {
    let mut world = World::whole(fan_in()).await;
    world.until(30).await;
    world.mute = true;
    world.until(120).await;
    for to in ["regional", "kafka:agg"] {
        let found = world.at(to).await;
        for start in (30..90).step_by(10) {
            let w = &found[&start];
            assert_eq!(w.verdict, Verdict::Settling, "{to} {start}: {}", w.why);
            assert!(w.why.contains("the tap of kafka:dc2") && !w.why.contains("dc1"), "{}", w.why);
            assert!(!world.was(to, start, |v| v.is_red() || v == Verdict::Ok), "{to} {start}");
        }
    }
    world.all("consumer", 90, Verdict::Ok).await;
    world.mute = false;
    world.until(140).await;
    world.all("regional", 120, Verdict::Ok).await;
    world.all("kafka:agg", 120, Verdict::Ok).await;
}

#[tokio::test]
async fn a_member_that_never_reported_is_no_zero_and_its_first_report_is_enough() {
    let mut world = World::new(fan_in()).await;
    world.idle = true;
    world.until(60).await;
    for to in ["regional", "kafka:agg"] {
        let found = world.at(to).await;
        for start in [0, 10, 20, 30] {
            let w = &found[&start];
            assert_eq!(w.verdict, Verdict::NoReport, "{to} {start}: {}", w.why);
            assert!(w.why.starts_with("kafka:dc2 has never reported") && !w.why.contains("dc1"), "{}", w.why);
            assert!(!world.was(to, start, |v| v.is_red() || v == Verdict::Ok), "{to} {start}");
        }
    }
    world.all("consumer", 40, Verdict::Ok).await;
    // It has counted nothing in those windows: only that it reports changes.
    world.claim().await;
    world.until(64).await;
    world.all("regional", 40, Verdict::Ok).await;
    world.all("kafka:agg", 40, Verdict::Ok).await;
}

/// The aggregate's event times go on with the large datacenter, and so does a consumer's position: the small one's messages
/// are late all the same, and not lost.
#[tokio::test]
async fn a_datacenter_that_is_not_copied_is_late_however_far_the_other_is() {
    let (client, kafka) = (StageKind::Client, StageKind::Kafka);
    let direct = pipelines(vec![stage("producer", client), regional(), stage("consumer", client)]);
    for (pipelines, to) in [(fan_in(), "kafka:agg"), (direct, "consumer")] {
        let mut world = World::whole(pipelines).await;
        world.direct = to == "consumer" && world.pipelines.list[0].stages.len() == 3;
        assert!(world.pipelines.list[0].stages.iter().any(|s| s.kind == kafka && s.is_group()));
        world.until(30).await;
        world.stalled = true;
        world.until(80).await;
        let found = world.at(to).await;
        for start in [30, 40, 50, 60] {
            let w = &found[&start];
            assert!(matches!(w.verdict, Verdict::Overdue | Verdict::Delayed), "{to} {start}: {} {}", w.verdict, w.why);
            assert_eq!(w.delayed, 20, "{to} {start}: {}", w.why);
            assert!(!world.was(to, start, Verdict::is_red), "{to} {start}");
        }
        world.all("regional", 60, Verdict::Ok).await;
        // All of it comes but one message, which cannot come any more.
        world.stuck.retain(|(_, m)| m.id != id(42, 1, 1, 0));
        world.stalled = false;
        world.until(140).await;
        let found = world.at(to).await;
        for start in (0..120).step_by(10) {
            let (verdict, lost) = if start == 40 { (Verdict::Missing, 1) } else { (Verdict::Ok, 0) };
            assert_eq!(
                (found[&start].verdict, found[&start].missing_min),
                (verdict, lost),
                "{to} {start}: {}",
                found[&start].why
            );
        }
    }
}

#[tokio::test]
async fn a_long_gap_of_one_datacenter_is_missing_once_it_is_copied_again() {
    let mut world = World::whole(fan_in()).await;
    world.until(20).await;
    world.stalled = true;
    world.until(220).await;
    assert!(!world.ever.values().flatten().any(|v| v.is_red()), "{:?}", world.ever);
    world.stuck.clear();
    world.stalled = false;
    world.until(290).await;
    let found = world.at("kafka:agg").await;
    for start in (0..270).step_by(10) {
        let lost = if (20..220).contains(&start) { 20 } else { 0 };
        let w = &found[&start];
        assert_eq!(w.missing_min, lost, "{start}: {} {}", w.verdict, w.why);
        assert_eq!(w.verdict == Verdict::Ok, lost == 0, "{start}: {} {}", w.verdict, w.why);
    }
}

/// What the aggregate counts before its source has told of it is not a stalled datacenter's.
#[tokio::test]
async fn what_is_counted_downstream_first_proves_nothing_about_another_datacenter() {
    let mut world = World::whole(fan_in()).await;
    world.until(30).await;
    world.stalled = true;
    world.until(80).await;
    // Late messages of the large datacenter, more than the small one has in that window in a partition.
    for n in 0..12 {
        let m = Msg { id: 990_000 + n, topic: "orders", event_ms: START + 55_000 };
        world.logs[0].append(0, m, world.now_ms());
        world.agg.append(0, m, world.now_ms());
    }
    for second in 0..20 {
        let now_ms = world.now_ms() + 1_000 * second;
        let beats = vec![world.agg_tap.beat(&world.agg, now_ms), world.taps[1].beat(&world.logs[1], now_ms)];
        world.audit.send(&*world.store, beats, now_ms).await;
        world.store.judge(now_ms, &world.pipelines).await.expect("judge");
    }
    let found = world.at("kafka:agg").await;
    assert_eq!(found[&50].delayed, 8, "it was judged by what the aggregate counted: {}", found[&50].why);
    for start in [30, 40] {
        let w = &found[&start];
        assert!(matches!(w.verdict, Verdict::Overdue | Verdict::Delayed), "{start}: {} {}", w.verdict, w.why);
    }
}

#[tokio::test]
async fn a_caveat_says_which_member_it_is_about() {
    let (client, kafka) = (StageKind::Client, StageKind::Kafka);
    let members = ["proxy:dc1", "proxy:dc2"];
    let group = Stage { complete: true, ..Stage::group("proxies", client, members.map(str::to_owned)) };
    let pipelines = pipelines(vec![group, stage("kafka:agg", kafka)]);
    let store = memory();
    let mut audit = Audit::default();
    let mut proxies = members.map(|name| SimReporter::new(u64::from(name.ends_with('2')) + 1, name, name, START - 1));
    let mut tap = SimTap::new(9, "kafka:agg", "orders");
    let mut log = SimLog::new(1);
    tap.claim(&*store, 0, START).await;
    for (n, proxy) in proxies.iter_mut().enumerate() {
        let m = Msg { id: n as u128, topic: "orders", event_ms: START + 10 };
        proxy.arrive(&m, START + 20);
        proxy.acked(&m);
        log.append(0, m, START + 30);
    }
    let early = proxies.iter_mut().map(|p| p.beat(START + 1_000)).collect();
    audit.send(&*store, early, START + 1_000).await;
    // The second one passes on what it never reports, and falls silent.
    log.append(0, Msg { id: 7, topic: "orders", event_ms: START + 12_000 }, START + 12_000);
    for second in (12..60).step_by(6) {
        let at = START + second * 1_000;
        let beats = vec![proxies[0].beat(at), tap.beat(&log, at)];
        audit.send(&*store, beats, at).await;
        store.judge(at, &pipelines).await.expect("judge");
    }
    let found = verdicts(&*store, "orders").await;
    let caveats: Vec<String> = found[1].caveats.iter().map(ToString::to_string).collect();
    assert_eq!((found[0].verdict, found[1].verdict), (Verdict::Ok, Verdict::Uncertain), "{}", found[1].why);
    assert!(caveats.contains(&"reporter gone upstream".to_owned()), "{caveats:?}");
    assert!(found[1].why.ends_with("; its caveats are about proxy:dc2"), "{}", found[1].why);
    // It was only away: its return is a record of the stage and not of the group, and reaches the group's hop.
    let m = Msg { id: 7, topic: "orders", event_ms: START + 12_000 };
    proxies[1].arrive(&m, START + 12_000);
    proxies[1].acked(&m);
    let at = START + 62_000;
    let beats = vec![proxies[0].beat(at), proxies[1].beat(at), tap.beat(&log, at)];
    audit.send(&*store, beats, at).await;
    store.judge(at, &pipelines).await.expect("judge");
    let found = verdicts(&*store, "orders").await;
    assert_eq!(found[1].verdict, Verdict::Ok, "{}", found[1].why);
    assert_eq!((found[1].amendments, found[1].from_stage.as_str()), (1, "proxies"));
}

#[tokio::test]
async fn a_fan_out_over_datacenters_is_the_sum_of_its_members_and_a_loss_is_theirs() {
    let mut world = World::whole(fan_in()).await;
    // What is written to neither datacenter: the producer has acked it all the same.
    world.until(20).await;
    let m = Msg { id: 999_999, topic: "orders", event_ms: world.now_ms() };
    world.producer.arrive(&m, world.now_ms());
    world.producer.acked(&m);
    world.until(60).await;
    let w = world.at("regional").await.remove(&20).expect("judged");
    assert_eq!((w.verdict, w.missing_min), (Verdict::Missing, 1), "{}", w.why);
    world.all("kafka:agg", 40, Verdict::Ok).await;
}
