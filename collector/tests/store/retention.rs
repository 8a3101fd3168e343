//! Rolling up and dropping: random histories with records hours late give the model's sums at every width that is kept, each
//! message once; what is evidence stays whole; verdicts of slices are the worst of and the sums over their windows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chaperone_audit::{Fingerprint, WindowStart};
use chaperone_collector::query::{BinQuery, Bins, DelayQuery, HopBin, StageWindow, WindowQuery};
use chaperone_collector::{Pipelines, Retention, Store, Verdict};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::place::{Place, deadlocks};
use crate::sim::{Audit, Msg, START, SimReporter, client_hop, memory};

const HOUR_MS: i64 = 3_600_000;
const WIDTHS: [i64; 4] = [10_000, 60_000, 600_000, HOUR_MS];
/// Short enough that everything happens within a day.
const RETENTION: Retention = Retention {
    windows: Duration::from_secs(2 * 3600),
    minutes: Duration::from_secs(4 * 3600),
    ten_minutes: Duration::from_secs(7 * 3600),
    hours: Duration::from_secs(400 * 86_400),
    incidents: Duration::from_secs(9 * 3600),
};

/// n, Σ ids.
type Sum = (u64, Fingerprint);

/// A producer and a consumer, whose counts may come hours late.
struct World {
    rng: StdRng,
    store: Arc<dyn Store>,
    pipelines: Pipelines,
    audit: Audit,
    now_ms: i64,
    next_id: u128,
    producer: SimReporter,
    consumer: SimReporter,
    /// By stage and window.
    model: BTreeMap<(&'static str, WindowStart), Sum>,
    /// Messages that came when their window was rolled up, and when it was dropped.
    late: [u64; 2],
    lost: BTreeMap<WindowStart, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::on(seed, memory())
    }

    fn on(seed: u64, store: Arc<dyn Store>) -> Self {
        let reporter = |n, stage| SimReporter::new(n, stage, "h", START - 48 * HOUR_MS);
        Self {
            rng: StdRng::seed_from_u64(seed),
            store,
            pipelines: client_hop(),
            audit: Audit::default(),
            now_ms: START,
            next_id: 1,
            producer: reporter(1, "producer"),
            consumer: reporter(2, "consumer").seeing(),
            model: BTreeMap::new(),
            late: [0; 2],
            lost: BTreeMap::new(),
        }
    }

    fn count(&mut self, event_ms: i64, is_lost: bool) {
        self.next_id += 1;
        let m = Msg { id: self.next_id, topic: "orders", event_ms };
        self.producer.arrive(&m, self.now_ms);
        self.producer.acked(&m);
        let mut add = |stage| {
            let sum = self.model.entry((stage, m.window())).or_insert((0, Fingerprint::ZERO));
            *sum = (sum.0 + 1, sum.1.plus(m.hash()));
        };
        add("producer");
        if is_lost {
            *self.lost.entry(m.window()).or_default() += 1;
        } else {
            add("consumer");
            self.consumer.arrive(&m, self.now_ms);
        }
    }

    /// Some minutes: messages on time, some of them lost, and some that are late by hours and arrive everywhere.
    async fn live(&mut self) {
        let minutes = self.rng.random_range(2..15);
        self.now_ms += minutes * 60_000;
        for _ in 0..self.rng.random_range(5..30) {
            let event_ms = self.now_ms - self.rng.random_range(30_000..minutes * 60_000);
            let is_lost = self.rng.random_bool(0.02);
            self.count(event_ms, is_lost);
        }
        if self.rng.random_bool(0.7) {
            let late_ms = self.rng.random_range(15 * 60_000..12 * HOUR_MS);
            self.late[0] += u64::from(late_ms > HOUR_MS);
            self.late[1] += u64::from(late_ms > 4 * HOUR_MS);
            for _ in 0..3 {
                let event_ms = (self.now_ms - late_ms).max(START - 24 * HOUR_MS);
                self.count(event_ms, false);
            }
        }
        let now_ms = self.now_ms;
        let (producer, consumer) = (&mut self.producer, &mut self.consumer);
        let mut reports = Vec::new();
        for reporter in [producer, consumer] {
            let open: Vec<u64> = reporter.slots.values().filter(|r| !r.state.is_final).map(|r| r.id).collect();
            reporter.close(now_ms);
            reports.push(reporter.beat_with(now_ms, open));
        }
        self.audit.send(&*self.store, reports, now_ms).await;
        // What is judged first waits for the watermarks of the next beat.
        for later_ms in [1, 20_000] {
            let now_ms = self.now_ms + later_ms;
            let beats = vec![self.producer.beat_with(now_ms, []), self.consumer.beat_with(now_ms, [])];
            self.audit.send(&*self.store, beats, now_ms).await;
            self.store.judge(now_ms, &self.pipelines).await.expect("judge");
        }
        self.now_ms += 20_000;
    }

    async fn sweep(&self) -> (u64, u64) {
        let mut done = (0, 0);
        loop {
            let swept = self.store.sweep(self.now_ms, RETENTION).await.expect("sweep");
            done = (done.0 + swept.rolled, done.1 + swept.dropped);
            if !swept.more {
                return done;
            }
        }
    }

    fn query(&self, width_ms: i64) -> BinQuery {
        let (from_ms, to_ms) = (START - 48 * HOUR_MS, self.now_ms + 600_000);
        let range = WindowQuery { topic: Some("orders".into()), from_ms, to_ms, limit: None };
        BinQuery { range, width_ms: Some(width_ms), at_most: None }
    }

    async fn stages(&self, width_ms: i64) -> Bins<StageWindow> {
        self.store.stage_bins(self.query(width_ms)).await.expect("bins")
    }

    async fn hops(&self, width_ms: i64) -> Bins<HopBin> {
        self.store.hop_bins(self.query(width_ms)).await.expect("bins")
    }

    /// The model in slices, from `from_ms` on.
    fn slices(&self, width_ms: i64, from_ms: i64) -> BTreeMap<(String, i64), Sum> {
        let mut slices = BTreeMap::new();
        for ((stage, window), sum) in &self.model {
            let start_ms = window.0.div_euclid(width_ms) * width_ms;
            let slice: &mut Sum = slices.entry(((*stage).to_owned(), start_ms)).or_insert((0, Fingerprint::ZERO));
            *slice = (slice.0 + sum.0, slice.1.plus(sum.1));
        }
        slices.retain(|(_, start_ms), _| *start_ms >= from_ms);
        slices
    }

    /// What is surely there at a width, from when on.
    fn kept_from(&self, width_ms: i64) -> i64 {
        let kept = match width_ms {
            10_000 => RETENTION.windows,
            60_000 => RETENTION.minutes,
            600_000 => RETENTION.ten_minutes,
            _ => RETENTION.hours,
        };
        (self.now_ms - i64::try_from(kept.as_millis()).expect("small")).div_euclid(HOUR_MS) * HOUR_MS + HOUR_MS
    }

    /// What is told of delays counts every message of a range once, from whichever rows.
    async fn check_delays(&self) {
        let hour_ms = self.now_ms.div_euclid(HOUR_MS) * HOUR_MS;
        let minute_ms = self.now_ms.div_euclid(60_000) * 60_000;
        for (from_ms, to_ms) in [
            (START - 48 * HOUR_MS, hour_ms + HOUR_MS),
            (hour_ms - 6 * HOUR_MS, hour_ms + HOUR_MS),
            (minute_ms - 65 * 60_000, minute_ms),
            (minute_ms - 40 * 60_000, minute_ms - 20 * 60_000),
            (minute_ms - 9 * 60_000, minute_ms),
        ] {
            let range = WindowQuery { topic: Some("orders".into()), from_ms, to_ms, limit: None };
            // The last stage counts nothing: the one before it is told of.
            let stages = ["producer", "consumer", "nobody"].map(str::to_owned).to_vec();
            let asked = vec![DelayQuery { range, stages, delayed: true }];
            let told = self.store.delays(asked).await.expect("delays").pop().expect("an answer");
            let (from, to) = (WindowStart(from_ms.div_euclid(10_000) * 10_000), WindowStart(to_ms));
            let counted = self.model.iter().filter(|((stage, w), _)| *stage == "consumer" && (from..to).contains(w));
            let expected: u64 = counted.map(|(_, sum)| sum.0).sum();
            assert_eq!(
                told.hist.total(),
                expected,
                "{} min before {}",
                (to_ms - from_ms) / 60_000,
                self.now_ms - to_ms
            );
            assert_eq!((told.stage.is_some(), told.absent.len()), (expected > 0, 0));
        }
    }

    async fn check(&self) {
        self.check_delays().await;
        for width_ms in WIDTHS {
            let from_ms = self.kept_from(width_ms);
            let rows = self.stages(width_ms).await.rows;
            assert!(rows.iter().all(|w| w.width_ms == width_ms));
            let stored: BTreeMap<(String, i64), Sum> = rows
                .into_iter()
                .filter(|w| w.window_ms >= from_ms)
                .map(|w| ((w.stage, w.window_ms), (w.n, w.f_in)))
                .collect();
            assert_eq!(stored, self.slices(width_ms, from_ms), "slices of {width_ms} ms");
        }
        let missing = |bins: &Bins<HopBin>| bins.rows.iter().map(|b| b.missing_min).sum::<u64>();
        let all: u64 = self.lost.values().sum();
        let hours = self.hops(HOUR_MS).await;
        assert_eq!(missing(&hours), all, "Σ missing over hours");
        for bin in &hours.rows {
            let lost = self.lost.keys().any(|w| (bin.window_ms..bin.window_ms + HOUR_MS).contains(&w.0));
            assert_eq!(bin.worst, if lost { Verdict::Missing } else { Verdict::Ok }, "{bin:?}");
        }
        // Evidence: each window with a loss stays, in whole ten minutes, until it is old enough.
        let aged_ms = self.now_ms - i64::try_from(RETENTION.incidents.as_millis()).expect("small") + HOUR_MS;
        let windows = self.hops(10_000).await;
        for (window, lost) in self.lost.range(WindowStart(aged_ms)..) {
            let found = windows.rows.iter().find(|b| b.window_ms == window.0).expect("kept");
            assert_eq!((found.missing_min, found.worst), (*lost, Verdict::Missing));
        }
    }
}

async fn history(seed: u64) {
    let mut world = World::new(seed);
    let (mut rolled, mut dropped) = (0, 0);
    while world.now_ms < START + 16 * HOUR_MS {
        world.live().await;
        if world.rng.random_bool(0.5) {
            let swept = world.sweep().await;
            (rolled, dropped) = (rolled + swept.0, dropped + swept.1);
        }
        if world.rng.random_bool(0.1) {
            world.check().await;
        }
    }
    world.sweep().await;
    world.check().await;
    // Controls: much was rolled up and dropped, and came later than that; windows alone do not give the sums any more.
    assert!(rolled > 100 && dropped > 100 && world.late.iter().all(|n| *n > 3), "{rolled} {dropped} {:?}", world.late);
    let all = |bins: Bins<StageWindow>| bins.rows.iter().map(|w| w.n).sum::<u64>();
    let (windows, hours) = (all(world.stages(10_000).await), all(world.stages(HOUR_MS).await));
    assert!(windows < hours, "{windows} of {hours}");
    let on_time = world.lost.values().sum::<u64>();
    let shown = world.hops(10_000).await.rows.iter().map(|b| b.missing_min).sum::<u64>();
    assert!(shown < on_time, "what was evidence is dropped at last: {shown} of {on_time}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_are_conserved_at_every_width_whatever_is_late() {
    for seed in 0..4 {
        history(seed).await;
    }
}

#[tokio::test]
async fn a_sweep_twice_adds_nothing_and_a_long_range_is_answered_by_the_width_that_is_kept() {
    let mut world = World::new(99);
    while world.now_ms < START + 6 * HOUR_MS {
        world.live().await;
    }
    world.sweep().await;
    let before = (world.stages(HOUR_MS).await, world.hops(HOUR_MS).await);
    assert_eq!(world.sweep().await, (0, 0));
    assert_eq!((world.stages(HOUR_MS).await, world.hops(HOUR_MS).await), before);
    let fitting = |from_ms: i64, to_ms: i64| {
        let range = WindowQuery { topic: Some("orders".into()), from_ms, to_ms, limit: None };
        let store = Arc::clone(&world.store);
        async move { store.hop_bins(BinQuery { range, width_ms: None, at_most: None }).await.expect("bins").width_ms }
    };
    let now_ms = world.now_ms;
    assert_eq!(fitting(now_ms - HOUR_MS, now_ms).await, 10_000);
    assert_eq!(fitting(START, START + 600_000).await, 600_000, "windows and minutes of then are gone");
    assert_eq!(fitting(now_ms - 7 * 24 * HOUR_MS, now_ms).await, HOUR_MS);
}

#[tokio::test]
async fn what_is_older_than_anything_kept_is_said_and_in_no_sum() {
    let mut world = World::new(7);
    while world.now_ms < START + 6 * HOUR_MS {
        world.live().await;
    }
    world.sweep().await;
    let short = Retention {
        hours: RETENTION.minutes,
        ten_minutes: RETENTION.minutes,
        incidents: RETENTION.minutes,
        ..RETENTION
    };
    while world.store.sweep(world.now_ms, short).await.expect("sweep").more {}
    let sum = |bins: Bins<StageWindow>| bins.rows.iter().map(|w| w.n).sum::<u64>();
    let before = sum(world.stages(HOUR_MS).await);
    world.count(START + 60_000, false);
    let open: Vec<u64> = world.producer.slots.values().filter(|r| !r.state.is_final).map(|r| r.id).collect();
    let report = world.producer.beat_with(world.now_ms, open);
    world.audit.send(&*world.store, vec![report], world.now_ms).await;
    assert_eq!(sum(world.stages(HOUR_MS).await), before, "nothing of that time is kept");
    let oldest = world.stages(HOUR_MS).await.rows.iter().map(|w| w.window_ms).min();
    assert!(oldest >= Some(START + HOUR_MS), "{oldest:?}");
}

#[tokio::test]
async fn what_is_lost_late_in_a_window_that_was_dropped_is_judged_by_the_minute() {
    let mut world = World::new(11);
    while world.now_ms < START + 6 * HOUR_MS {
        world.live().await;
    }
    world.sweep().await;
    let lost_before = world.lost.values().sum::<u64>();
    // A minute of three hours ago in which nothing was wrong, nor in the ten minutes around it.
    let group_of = |ms: i64| ms.div_euclid(600_000);
    let bad: Vec<i64> = world.lost.keys().map(|w| group_of(w.0)).collect();
    let ok = world.hops(60_000).await.rows.into_iter().find(|b| {
        b.window_ms < world.now_ms - 3 * HOUR_MS && b.worst == Verdict::Ok && !bad.contains(&group_of(b.window_ms))
    });
    let minute_ms = ok.expect("a minute in order").window_ms;
    assert!(world.hops(10_000).await.rows.iter().all(|b| group_of(b.window_ms) != group_of(minute_ms)), "dropped");
    world.count(minute_ms + 25_000, true);
    world.now_ms += 60_000;
    let now_ms = world.now_ms;
    for reporter in [&mut world.producer, &mut world.consumer] {
        let open: Vec<u64> = reporter.slots.values().filter(|r| !r.state.is_final).map(|r| r.id).collect();
        reporter.close(now_ms);
        let report = reporter.beat_with(now_ms, open);
        world.audit.send(&*world.store, vec![report], now_ms).await;
    }
    for later_ms in [1, 20_000] {
        let now_ms = now_ms + later_ms;
        let beats = vec![world.producer.beat_with(now_ms, []), world.consumer.beat_with(now_ms, [])];
        world.audit.send(&*world.store, beats, now_ms).await;
        world.store.judge(now_ms, &world.pipelines).await.expect("judge");
    }
    for width_ms in [60_000, 600_000] {
        let rows = world.hops(width_ms).await.rows;
        let start_ms = minute_ms.div_euclid(width_ms) * width_ms;
        let bin = rows.iter().find(|b| b.window_ms == start_ms && b.width_ms == width_ms).expect("a slice");
        assert_eq!((bin.worst, bin.missing_min), (Verdict::Missing, 1), "{bin:?}");
    }
    let hours = world.hops(HOUR_MS).await.rows;
    assert_eq!(hours.iter().map(|b| b.missing_min).sum::<u64>(), lost_before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_sweeps_while_one_counts_and_judges() {
    let place = Place::new();
    let mut world = World::on(5, place.open());
    let (now_ms, ends) = (Arc::new(AtomicI64::new(START)), Arc::new(AtomicBool::new(false)));
    let done: Arc<[AtomicU64; 2]> = Arc::default();
    let sweeper = {
        let (store, now_ms, ends, done) = (place.open(), Arc::clone(&now_ms), Arc::clone(&ends), Arc::clone(&done));
        tokio::spawn(async move {
            while !ends.load(Ordering::SeqCst) {
                let swept = store.sweep(now_ms.load(Ordering::SeqCst), RETENTION).await.expect("sweep");
                for (sum, new) in done.iter().zip([swept.rolled, swept.dropped]) {
                    sum.fetch_add(new, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
            }
        })
    };
    // On a busy machine it may hardly get a turn for a while.
    let is_idle = || done.iter().any(|n| n.load(Ordering::SeqCst) <= 100);
    while world.now_ms < START + 10 * HOUR_MS || (is_idle() && world.now_ms < START + 100 * HOUR_MS) {
        world.live().await;
        now_ms.store(world.now_ms, Ordering::SeqCst);
    }
    ends.store(true, Ordering::SeqCst);
    sweeper.await.expect("no panic");
    world.sweep().await;
    world.check().await;
    assert!(!is_idle(), "it did something meanwhile: {done:?}");
    assert_eq!(deadlocks(), 0);
}
