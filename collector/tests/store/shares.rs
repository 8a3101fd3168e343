//! Who counted what of a window is known while its slots are at hand; afterwards of windows in trouble, and to the last
//! message.

use chaperone_collector::query::{DetailQuery, WindowDetail};
use chaperone_collector::{Store, Verdict};

use crate::sim::{Audit, Msg, START, SimReporter, client_hop, memory, verdicts};

/// Slots are dropped this long after they were final.
const SEALED_MS: i64 = 900_000;

async fn detail(store: &dyn Store, window: i64) -> WindowDetail {
    let from_ms = START + window * 10_000;
    let stages = vec!["producer".to_owned(), "consumer".to_owned()];
    let query = DetailQuery { topic: "orders".into(), stages, from_ms, to_ms: from_ms + 10_000 };
    store.detail(query).await.expect("detail")
}

fn said(detail: &WindowDetail) -> Vec<(&str, u64, u64, bool)> {
    detail.shares.iter().map(|s| (s.host.as_str(), s.n, s.acked, s.open)).collect()
}

/// Three producers, of which one does not tell its second slot, and a consumer that misses what `lost` says.
struct World {
    audit: Audit,
    producers: Vec<SimReporter>,
    consumer: SimReporter,
}

impl World {
    fn new() -> Self {
        let producers =
            [("p-1", 1), ("p-2", 2), ("p-3", 3)].map(|(host, n)| SimReporter::new(n, "producer", host, START - 1));
        let consumer = SimReporter::new(9, "consumer", "c-1", START - 1).seeing();
        Self { audit: Audit::default(), producers: producers.into(), consumer }
    }
    /// Six messages in two windows; one that `p-2` sent in the first is lost.
    fn run(&mut self) {
        for id in 0..6u128 {
            let m = Msg { id: id + 1, topic: "orders", event_ms: START + if id < 4 { 5 } else { 10_005 } };
            let producer = &mut self.producers[usize::try_from(id % 2).expect("few")];
            producer.arrive(&m, m.event_ms);
            producer.acked(&m);
            if id != 1 {
                self.consumer.arrive(&m, m.event_ms + 40);
            }
        }
    }
    async fn beat(&mut self, store: &dyn Store, at: i64) {
        let mut beats: Vec<_> = self.producers.iter_mut().map(|p| p.beat(at)).collect();
        beats.push(self.consumer.beat(at));
        self.audit.send(store, beats, at).await;
        store.judge(at, &client_hop()).await.expect("judge");
    }
}

const FIRST: [(&str, u64, u64); 3] = [("c-1", 3, 3), ("p-1", 2, 2), ("p-2", 2, 2)];

fn with(open: bool) -> Vec<(&'static str, u64, u64, bool)> {
    FIRST.map(|(host, n, acked)| (host, n, acked, open)).into()
}

#[tokio::test]
async fn who_counted_a_window_in_trouble_is_known_for_good_and_of_a_proven_one_for_a_while() {
    let store = memory();
    let mut world = World::new();
    world.run();
    world.beat(&*store, START + 9_000).await;
    assert_eq!(said(&detail(&*store, 0).await), with(true), "open");
    world.beat(&*store, START + 30_000).await;
    world.beat(&*store, START + 32_000).await;
    let judged: Vec<_> = verdicts(&*store, "orders").await.iter().map(|w| (w.verdict, w.missing_min)).collect();
    assert_eq!(judged, [(Verdict::Missing, 1), (Verdict::Ok, 0)]);
    let proven = detail(&*store, 1).await;
    assert_eq!(said(&proven), [("c-1", 2, 2, false), ("p-1", 1, 1, false), ("p-2", 1, 1, false)]);
    assert_eq!(said(&detail(&*store, 0).await), with(false), "final");
    // To the last moment that slots are at hand, and from then on: nothing lost, nothing doubled.
    for later in [SEALED_MS, SEALED_MS + 32_001, 2 * SEALED_MS] {
        store.judge(START + later, &client_hop()).await.expect("judge");
        let found = detail(&*store, 0).await;
        assert_eq!(said(&found), with(false), "after {later} ms");
        assert!(!found.cut && found.shares.iter().all(|s| s.untold == 0 && s.last_seq == 3 && s.ended.is_none()));
    }
    assert_eq!(said(&detail(&*store, 1).await), [], "the other way to look at it: of what is proven nobody is asked");
    // A record for what is sealed says nothing new here either.
    world.beat(&*store, START + 2 * SEALED_MS).await;
    assert_eq!(said(&detail(&*store, 0).await), with(false));
}

#[tokio::test]
async fn a_slot_that_nobody_told_is_a_gap_and_an_amendment_says_what_became_of_it() {
    let store = memory();
    let mut world = World::new();
    world.run();
    // The consumer's first slot is not told until its window is settled: its producers are heard, it is not.
    let at = START + 30_000;
    let mut beats: Vec<_> = world.producers.iter_mut().map(|p| p.beat(at)).collect();
    world.consumer.close(at);
    beats.push(world.consumer.part(at, [1]));
    world.audit.send(&*store, beats, at).await;
    store.judge(at, &client_hop()).await.expect("judge");
    let gap: Vec<_> = detail(&*store, 1).await.shares.iter().map(|s| (s.host.clone(), s.untold)).collect();
    assert_eq!(gap, [("c-1".to_owned(), 1), ("p-1".to_owned(), 0), ("p-2".to_owned(), 0)]);
    world.beat(&*store, START + 32_000).await;
    world.beat(&*store, START + 34_000).await;
    assert!(detail(&*store, 1).await.shares.iter().all(|s| s.untold == 0), "told at last");
    // The message that was missing comes late after all.
    assert_eq!(verdicts(&*store, "orders").await.first().map(|w| w.verdict), Some(Verdict::Missing));
    world.consumer.arrive(&Msg { id: 2, topic: "orders", event_ms: START + 5 }, START + 35_000);
    world.beat(&*store, START + 36_000).await;
    world.beat(&*store, START + 60_000).await;
    let amended = detail(&*store, 0).await.amendments;
    let said: Vec<_> = amended
        .iter()
        .map(|a| (a.old_verdict, a.old_missing, a.new_verdict, a.new_missing, a.from_stage.as_str()))
        .collect();
    assert_eq!(said, [(Verdict::Missing, 1, Verdict::Ok, 0, "producer")]);
    assert!(amended.iter().all(|a| a.cause.starts_with("a late record")), "{amended:?}");
    assert_eq!(detail(&*store, 7).await, WindowDetail::default(), "nothing was counted");
}
