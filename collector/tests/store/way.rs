//! The way of reports from those who count to the store, in random histories: doubled, shuffled, partly lost on the audit
//! topic; then read by two collectors, of which now and then one dies and reads again from where the store stood.

use std::collections::BTreeMap;
use std::sync::Arc;

use chaperone_audit::wire::AuditMessage;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{Batch, Content, Item, Refused, Store};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::place::Place;
use crate::sim::{START, SimLog, SimReporter, SimTap, item, source};

const AUDIT_PARTITIONS: usize = 3;
const WORKERS: u64 = 4;

/// See the module's head.
pub(crate) struct Way {
    pub(crate) rng: StdRng,
    pub(crate) now_ms: i64,
    /// What lies on the audit topic: per partition, offsets with gaps.
    pub(crate) topic: Vec<Vec<Item>>,
    /// Not delivered yet.
    pub(crate) sent: Vec<AuditMessage>,
    /// How often a collector died.
    pub(crate) reopened: u32,
    pub(crate) options: Options,
}

impl Way {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now_ms: START,
            topic: vec![vec![]; AUDIT_PARTITIONS],
            sent: vec![],
            reopened: 0,
            // In every other history finals are forgotten at once, so that most late records meet sealed slots.
            // A process that dies needs no disk that survives power loss.
            options: Options {
                seal_after_ms: if seed.is_multiple_of(2) { 900_000 } else { 0 },
                durable: false,
                ..Options::default()
            },
        }
    }

    pub(crate) fn open(&self, place: &Place) -> Arc<dyn Store> {
        place.open_with(self.options)
    }

    /// A process says some of what it counted, and then the rest with its watermark.
    pub(crate) fn report(&mut self, reporter: &mut SimReporter) {
        if self.rng.random_bool(0.7) {
            reporter.close(self.now_ms);
        }
        let mut ids: Vec<u64> = reporter.slots.keys().copied().collect();
        ids.shuffle(&mut self.rng);
        let cut = self.rng.random_range(0..=ids.len());
        let last = ids.split_off(cut);
        let part = reporter.part(self.now_ms, ids);
        let beat = reporter.beat_with(self.now_ms, last);
        self.sent.extend([part, beat]);
    }

    /// A tap reads on under the claim that it has, which may be stale by now: two taps claim the same partitions.
    pub(crate) async fn tap(&mut self, store: &dyn Store, tap: &mut SimTap, log: &SimLog) {
        for partition in 0..log.0.len() {
            if self.rng.random_bool(0.15) || !tap.claims.contains_key(&partition) && self.rng.random_bool(0.5) {
                tap.claim(store, partition, self.now_ms).await;
            }
            let to = self.rng.random_range(0..=log.0[partition].len());
            let to = i64::try_from(to).expect("small");
            let interval = tap.read(log, partition, to, self.now_ms);
            let message = tap.message(self.now_ms);
            self.sent.extend(interval.map(|i| AuditMessage { intervals: vec![i], ..message }));
        }
    }

    /// The producer's way: some messages are lost, some doubled, all shuffled.
    pub(crate) fn deliver(&mut self, lossless: bool) {
        let mut out = vec![];
        for m in self.sent.drain(..) {
            let copies = if lossless { 1 } else { *[0, 1, 1, 1, 2, 3].choose(&mut self.rng).expect("some") };
            out.extend(std::iter::repeat_n(m, copies));
        }
        if !lossless {
            out.shuffle(&mut self.rng);
            // Some are only under way a little longer.
            let keep = self.rng.random_range(0..=out.len() / 3);
            self.sent = out.split_off(out.len() - keep);
        }
        for m in out {
            let partition = self.rng.random_range(0..self.topic.len());
            let records = &mut self.topic[partition];
            let next = records.last().map_or(0, |i| i.offset + 1) + i64::from(self.rng.random_bool(0.2));
            records.push(item(next, m, self.now_ms));
            if self.rng.random_bool(0.05) {
                let refused = Refused { length: 3, sha256: "00".into(), reason: "poison".into() };
                let last = records.last().expect("pushed").clone();
                records.push(Item { offset: last.offset + 1, content: Content::Refused(refused), ..last });
            }
        }
    }

    /// Two collectors read overlapping runs from where the store stood some time ago; now and then the process dies.
    pub(crate) async fn collect(&mut self, mut store: Arc<dyn Store>, place: &Place, all: bool) -> Arc<dyn Store> {
        let stale: BTreeMap<i32, i64> = next(&*store).await;
        for round in 0..(if all { 1 } else { 3 }) {
            for (partition, records) in (0..).zip(&self.topic) {
                let known = if round % 2 == 0 { stale.clone() } else { next(&*store).await };
                let from = known.get(&partition).copied().unwrap_or(0);
                let unread: Vec<Item> = records.iter().filter(|i| i.offset >= from).cloned().collect();
                let take = if all { unread.len() } else { self.rng.random_range(0..=unread.len()) };
                let items = unread[..take].to_vec();
                let Some(last) = items.last() else { continue };
                let next = last.offset + 1;
                let before = store.status().await.expect("status");
                let batch = Batch { source: source(partition), log: 0, from: None, items: items.clone(), next };
                let applied = store.apply(batch.clone()).await.expect("apply");
                let again = store.apply(batch).await.expect("apply");
                assert_eq!((again.applied, again.noop, again.fenced, again.hole, again.quarantined), (0, 0, 0, 0, 0));
                let after = store.status().await.expect("status");
                let now = applied.applied + applied.noop + applied.fenced + applied.hole + applied.quarantined;
                assert_eq!(after.read - before.read, now, "I5");
                if !all && self.rng.random_bool(0.1) {
                    drop(store);
                    store = self.open(place);
                    self.reopened += 1;
                }
            }
        }
        store
    }

    /// The partitions of which the store has all are applied through the present.
    pub(crate) async fn through(&self, store: &dyn Store) {
        let stands = next(store).await;
        let end = |no: usize| self.topic[no].last().map_or(0, |i| i.offset + 1);
        let read = (0..)
            .zip(0..self.topic.len())
            .filter(|(partition, no)| stands.get(partition).copied().unwrap_or(0) >= end(*no));
        let through = read.map(|(partition, _)| (source(partition), self.now_ms).into());
        store.audit_through(through.collect()).await.expect("through");
    }
}

/// Where the store stands, by audit partition.
pub(crate) async fn next(store: &dyn Store) -> BTreeMap<i32, i64> {
    crate::sim::stands(store).await.into_iter().collect()
}

/// Lives so many histories in a few threads, each with databases of its own, which are empty whenever a history begins.
pub(crate) fn lived<T: Send, const N: usize>(
    histories: u64,
    history: impl AsyncFn(u64, &[Place; N]) -> T + Sync,
) -> Vec<T> {
    let some = |first: u64| -> Vec<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut places: [Place; N] = std::array::from_fn(|_| Place::new());
        let one = |seed| {
            places.iter_mut().for_each(Place::renew);
            runtime.block_on(history(seed, &places))
        };
        (first..histories).step_by(usize::try_from(WORKERS).expect("small")).map(one).collect()
    };
    let lived: Vec<T> = std::thread::scope(|scope| {
        let some = &some;
        let workers: Vec<_> = (0..WORKERS).map(|first| scope.spawn(move || some(first))).collect();
        workers.into_iter().flat_map(|w| w.join().expect("no panic")).collect()
    });
    assert_eq!(lived.len() as u64, histories);
    lived
}
