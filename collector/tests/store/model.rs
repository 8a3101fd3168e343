//! Exactly once: random histories of reporters and taps, delivered doubled, shuffled, partly lost, re-read after
//! crashes and read by two collectors, give the totals of the model, whatever happened. The same deliveries, simply
//! added up, do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use chaperone_audit::wire::AuditMessage;
use chaperone_audit::{Fingerprint, WindowStart};
use chaperone_collector::query::WindowQuery;
use chaperone_collector::{Batch, Content, Item, Store};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::place::{HISTORIES, Place};
use crate::sim::{Msg, START, SimLog, SimReporter, SimTap, source};
use crate::way::{Way, lived, next};

const TOPICS: [&str; 2] = ["orders", "payments"];

/// n, acked, failed, bytes, Σ ids, histogram's total.
pub(crate) type Total = (u64, u64, u64, u64, Fingerprint, u64);
pub(crate) type Totals = BTreeMap<(String, String, WindowStart), Total>;

fn add(totals: &mut Totals, key: (String, String, WindowStart), t: Total) {
    let e = totals.entry(key).or_default();
    *e = (e.0 + t.0, e.1 + t.1, e.2 + t.2, e.3 + t.3, e.4.plus(t.4), e.5 + t.5);
}

/// One history: processes, a tapped topic with a zombie, and three audit partitions.
pub(crate) struct History {
    pub(crate) way: Way,
    next_id: u128,
    reporters: Vec<SimReporter>,
    pub(crate) log: SimLog,
    taps: Vec<SimTap>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let reporter = |n, stage| SimReporter::new(n, stage, "h", START);
        Self {
            way: Way::new(seed),
            next_id: 1,
            reporters: vec![reporter(1, "producer"), reporter(2, "producer"), reporter(3, "consumer").seeing()],
            log: SimLog::new(2),
            taps: vec![SimTap::new(10, "kafka", "orders"), SimTap::new(11, "kafka", "orders")],
        }
    }

    fn msg(&mut self) -> Msg {
        self.next_id += 1;
        let Way { rng, now_ms, .. } = &mut self.way;
        let late = if rng.random_bool(0.1) { 25_000 } else { 3_000 };
        let event_ms = *now_ms - rng.random_range(0..late);
        Msg { id: self.next_id, topic: TOPICS.choose(rng).expect("two"), event_ms }
    }

    /// Processes count; logs grow; reporters and taps say what they have.
    pub(crate) async fn live(&mut self, store: &dyn Store) {
        self.way.now_ms += self.way.rng.random_range(200..4_000);
        for _ in 0..self.way.rng.random_range(0..12) {
            let m = self.msg();
            let rng = &mut self.way.rng;
            let which = rng.random_range(0..self.reporters.len());
            let now_ms = self.way.now_ms;
            let fate = rng.random_range(0..10);
            let reporter = &mut self.reporters[which];
            reporter.arrive(&m, now_ms);
            match fate {
                _ if reporter.stage == "consumer" => {}
                0 => reporter.failed(&m),
                1 => {}
                _ => reporter.acked(&m),
            }
            let partition = rng.random_range(0..2);
            self.log.append(partition, Msg { topic: "orders", ..m }, now_ms);
        }
        for reporter in &mut self.reporters {
            if self.way.rng.random_bool(0.6) {
                self.way.report(reporter);
            }
        }
        for tap in &mut self.taps {
            self.way.tap(store, tap, &self.log).await;
        }
    }

    /// What was said comes to the store, some of it.
    pub(crate) async fn collect(&mut self, store: Arc<dyn Store>, place: &Place) -> Arc<dyn Store> {
        self.way.deliver(false);
        self.way.collect(store, place, false).await
    }

    /// Totals of the truth: all that processes counted, and what lies below the store's `next` in each tapped log.
    pub(crate) async fn truth(&self, store: &dyn Store) -> Totals {
        let mut totals = Totals::new();
        for r in &self.reporters {
            for s in r.slots.values() {
                let seen = r.stage == "consumer";
                let (acked, failed) = if seen { (s.state.n, 0) } else { (s.state.acked, s.state.failed) };
                let hist = s.state.hist.as_ref().map_or(0, chaperone_audit::Histogram::total);
                let total = (s.state.n, acked, failed, s.state.bytes, s.state.f_in(), hist);
                add(&mut totals, (s.topic.clone(), r.stage.into(), s.window_ms), total);
            }
        }
        for p in store.partitions("kafka").await.expect("partitions") {
            let log = &self.log.0[usize::try_from(p.partition).expect("small")];
            for (m, _) in &log[..usize::try_from(p.next).expect("pos")] {
                add(&mut totals, ("orders".into(), "kafka".into(), m.window()), (1, 1, 0, m.bytes(), m.hash(), 1));
            }
        }
        totals
    }

    /// Everything at last: each reporter's last state and, claim by claim, each log's rest.
    pub(crate) async fn finish(&mut self, store: Arc<dyn Store>, place: &Place) -> Arc<dyn Store> {
        self.way.deliver(false);
        self.way.sent.clear();
        let now_ms = self.way.now_ms;
        for reporter in &mut self.reporters {
            self.way.sent.push(reporter.goodbye(now_ms));
        }
        for partition in 0..2 {
            self.taps[0].claim(&*store, partition, now_ms).await;
        }
        let last = self.taps[0].beat(&self.log, now_ms);
        self.way.sent.push(last);
        self.way.deliver(true);
        self.way.collect(store, place, true).await
    }
}

pub(crate) async fn stored(store: &dyn Store) -> Totals {
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
    let rows = store.stage_windows(all).await.expect("totals");
    let total = |w: &chaperone_collector::query::StageWindow| (w.n, w.acked, w.failed, w.bytes, w.f_in, w.hist.total());
    rows.iter().map(|w| ((w.topic.clone(), w.stage.clone(), WindowStart(w.window_ms)), total(w))).collect()
}

/// The same deliveries, each added as if it were news.
fn naive(topic: &[Vec<Item>]) -> Totals {
    let mut totals = Totals::new();
    for m in topic.iter().flatten().filter_map(message) {
        for s in &m.slots {
            let hist = s.state.hist.as_ref().map_or(0, chaperone_audit::Histogram::total);
            let total = (s.state.n, s.state.acked, s.state.failed, s.state.bytes, s.state.f_in(), hist);
            add(&mut totals, (s.topic.clone(), m.stage.clone(), s.window_ms), total);
        }
        for w in m.intervals.iter().flat_map(|i| &i.windows) {
            let total = (w.n, w.n, 0, w.bytes, w.f, w.hist.total());
            add(&mut totals, ("orders".into(), m.stage.clone(), w.window_ms), total);
        }
    }
    totals
}

/// The same deliveries, the one that comes last wins.
fn last_wins(topic: &[Vec<Item>]) -> Totals {
    let mut slots = BTreeMap::new();
    for m in topic.iter().flatten().filter_map(message) {
        for s in &m.slots {
            slots.insert((m.incarnation, s.id), (m.stage.clone(), s.clone()));
        }
    }
    let mut totals = Totals::new();
    for (stage, s) in slots.values() {
        let hist = s.state.hist.as_ref().map_or(0, chaperone_audit::Histogram::total);
        let total = (s.state.n, s.state.acked, s.state.failed, s.state.bytes, s.state.f_in(), hist);
        add(&mut totals, (s.topic.clone(), stage.clone(), s.window_ms), total);
    }
    totals
}

pub(crate) fn message(i: &Item) -> Option<&AuditMessage> {
    match &i.content {
        Content::Message(m) => Some(m),
        Content::Refused(_) => None,
    }
}

struct Outcome {
    reopened: u32,
    naive_differs: bool,
    last_wins_differs: bool,
    fates: [u64; 5],
}

async fn history(seed: u64, place: &Place) -> Outcome {
    let mut h = History::new(seed);
    let mut store = h.way.open(place);
    for _ in 0..h.way.rng.random_range(4..12) {
        h.live(&*store).await;
        store = h.collect(store, place).await;
    }
    // Every record that was lost is superseded by a later one; what is on the topic is all that the controls see.
    let on_topic = h.way.topic.clone();
    store = h.finish(store, place).await;
    let (truth, found) = (h.truth(&*store).await, stored(&*store).await);
    assert_eq!(found, truth, "seed {seed}");
    for p in store.partitions("kafka").await.expect("partitions") {
        let end = h.log.0[usize::try_from(p.partition).expect("small")].len();
        assert_eq!(p.next, i64::try_from(end).expect("small"), "seed {seed}: all was counted");
    }
    let status = store.status().await.expect("status");
    let records: usize = h.way.topic.iter().map(Vec::len).sum();
    assert_eq!(status.read, records as u64, "seed {seed}: every offset is counted once");
    let fates = [status.applied, status.noop, status.fenced, status.hole, status.quarantined];
    assert_eq!(status.read, fates.iter().sum::<u64>(), "seed {seed}: I5");
    let clients =
        |t: &Totals| -> Totals { t.iter().filter(|(k, _)| k.1 == "producer").map(|(k, v)| (k.clone(), *v)).collect() };
    Outcome {
        reopened: h.way.reopened,
        naive_differs: naive(&h.way.topic) != truth,
        last_wins_differs: clients(&last_wins(&on_topic)) != clients(&truth),
        fates,
    }
}

/// So many histories.
pub(crate) fn random(histories: u64) {
    let outcomes = lived(histories, async |seed, [place]| history(seed, place).await);
    let (mut reopened, mut naive, mut last) = (0, 0, 0);
    let mut fates = [0; 5];
    for outcome in outcomes {
        reopened += outcome.reopened;
        naive += u64::from(outcome.naive_differs);
        last += u64::from(outcome.last_wins_differs);
        fates.iter_mut().zip(outcome.fates).for_each(|(sum, n)| *sum += n);
    }
    // The histories must be hard enough: the controls fail, and every fate and crash occurs.
    assert!(naive * 100 >= histories * 99, "adding up was right in {} histories", histories - naive);
    assert!(last * 100 >= histories * 50, "the last one wins was right in {} histories", histories - last);
    assert!(reopened > 100 && fates.iter().all(|n| *n > 100), "{reopened} {fates:?}");
    println!("{histories} histories, {reopened} crashes, applied/noop/fenced/hole/quarantined {fates:?}");
}

#[test]
fn random_histories_give_the_models_totals_and_adding_up_does_not() {
    random(HISTORIES);
    crate::place::figure("histories", HISTORIES);
}

/// One of two collectors at work at the same time: it reads each partition from where the store stands, or stood.
async fn collector(store: Arc<dyn Store>, topic: Vec<Vec<Item>>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let pipelines = crate::sim::client_hop();
    let ends: Vec<i64> = topic.iter().map(|p| p.last().map_or(0, |i| i.offset + 1)).collect();
    let mut known = next(&*store).await;
    loop {
        let mut behind = false;
        for (partition, (records, end)) in (0..).zip(topic.iter().zip(&ends)) {
            let from = known.get(&partition).copied().unwrap_or(0);
            behind |= from < *end;
            let unread: Vec<Item> = records.iter().filter(|i| i.offset >= from).cloned().collect();
            let items = unread[..rng.random_range(0..=unread.len())].to_vec();
            let Some(last) = items.last() else { continue };
            let next = last.offset + 1;
            store.apply(Batch { source: source(partition), log: 0, from: None, items, next }).await.expect("apply");
        }
        store.judge(START + 60_000, &pipelines).await.expect("judge");
        if !behind {
            return;
        }
        if rng.random_bool(0.7) {
            known = next(&*store).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_collectors_at_the_same_time_count_every_record_once() {
    let mut place = Place::new();
    let mut naive_differs = 0;
    for seed in 0..20 {
        place.renew();
        let mut h = History::new(seed);
        let stores = [h.way.open(&place), h.way.open(&place)];
        for _ in 0..6 {
            h.live(&*stores[0]).await;
            h.way.deliver(false);
        }
        let work = stores
            .iter()
            .zip(0..)
            .map(|(store, n)| tokio::spawn(collector(Arc::clone(store), h.way.topic.clone(), seed * 2 + n)));
        for done in work.collect::<Vec<_>>() {
            done.await.expect("no panic");
        }
        let [store, _] = stores;
        let store = h.finish(store, &place).await;
        let (truth, found) = (h.truth(&*store).await, stored(&*store).await);
        assert_eq!(found, truth, "seed {seed}");
        let status = store.status().await.expect("status");
        let records: usize = h.way.topic.iter().map(Vec::len).sum();
        assert_eq!(status.read, records as u64, "seed {seed}: every offset is counted once");
        naive_differs += u32::from(naive(&h.way.topic) != truth);
    }
    assert!(naive_differs >= 19, "adding up was right in {} histories", 20 - naive_differs);
    crate::place::figure("deadlocks", crate::place::deadlocks() as u64);
    assert_eq!(crate::place::deadlocks(), 0, "whoever holds rows takes them in one order");
}
