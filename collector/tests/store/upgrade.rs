//! Stores of other times: with the schema of an earlier release or a later one, and older than what was read (a backup that was put back under a
//! running collector, a standby that lagged and took over).

use chaperone_collector::audit::AuditThrough;
use chaperone_collector::{Batch, Store, StoreError, Verdict};

use crate::place::Place;
use crate::sim::{Audit, Msg, START, SimReporter, client_hop, item, source, stands, verdicts};

/// What a later release may add while this one is at work.
const ADDED: [&str; 4] = [
    "CREATE TABLE extra (a INT NOT NULL)",
    "ALTER TABLE audit_partition ADD COLUMN extra INT",
    "ALTER TABLE hop_window ADD COLUMN extra INT NOT NULL DEFAULT 7",
    "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
     VALUES (2, 'more', '2026-11-22T00:00:00Z', '1')",
];

/// A producer and a consumer, of which the consumer lost the first message of each window.
#[derive(Clone)]
struct Two {
    producer: SimReporter,
    consumer: SimReporter,
    audit: Audit,
    window: i64,
}

impl Two {
    fn new() -> Self {
        let producer = SimReporter::new(1, "producer", "h", START - 1);
        let consumer = SimReporter::new(2, "consumer", "h", START - 1).seeing();
        Self { producer, consumer, audit: Audit::default(), window: 0 }
    }

    /// One more window, judged; `missing` of it by window.
    async fn window(&mut self, store: &dyn Store) -> Vec<(Verdict, u64)> {
        let from_ms = START + self.window * 10_000;
        for id in 0..4 {
            let m = Msg { id: u128::from(id + 10 * self.window.unsigned_abs()), topic: "orders", event_ms: from_ms };
            self.producer.arrive(&m, from_ms + 100);
            self.producer.acked(&m);
            if id > 0 {
                self.consumer.arrive(&m, from_ms + 200);
            }
        }
        self.window += 1;
        let at = from_ms + 15_000;
        let beats = vec![self.producer.beat(at), self.consumer.beat(at)];
        self.audit.send(store, beats, at).await;
        store.judge(at, &client_hop()).await.expect("judged");
        verdicts(store, "orders").await.iter().map(|w| (w.verdict, w.missing_min)).collect()
    }
}

#[tokio::test]
async fn a_later_release_may_add_to_the_schema_beside_this_one_and_take_away_only_what_this_one_knows_is_gone() {
    let place = Place::new();
    let mut two = Two::new();
    let before = place.open();
    assert_eq!(two.window(&*before).await, [(Verdict::Missing, 1)]);
    for sql in ADDED {
        place.rows(sql);
    }
    // Whoever was at work goes on, and who of this release starts now works beside.
    assert_eq!(two.window(&*before).await, [(Verdict::Missing, 1); 2]);
    let started = place.open();
    assert_eq!(two.window(&*started).await, [(Verdict::Missing, 1); 3]);
    assert_eq!(two.window(&*before).await, [(Verdict::Missing, 1); 4]);
    assert_eq!(place.one("SELECT count(*) FROM hop_window WHERE extra = 7"), "4");
    drop((before, started));
    // A release later, what nobody uses is taken away: this one does not know that.
    place.rows("UPDATE compatible SET least = 2");
    let count = place.one("SELECT count(*) FROM event");
    let said = place.refused();
    let words = ["schema 2, for releases that know schema 2 or later; this one knows 1", "restore the backup"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(place.one("SELECT count(*) FROM event"), count);
    place.rows("UPDATE compatible SET least = 1");
    drop(place.open());
}

/// The stores that releases left, one for each schema: opened, they are brought up to date, hold what was in them, and go on.
/// `CHAPERONE_FIXTURES=write` makes the newest anew: for a new schema, and for as long as that is in no release and changes.
#[tokio::test]
async fn the_store_of_every_schema_opens_and_goes_on() {
    let mut two = Two::new();
    let fresh = Place::new();
    let store = fresh.open();
    two.window(&*store).await;
    assert_eq!(two.window(&*store).await, [(Verdict::Missing, 1); 2]);
    drop(store);
    let newest: u32 = fresh.one("SELECT max(version) FROM refinery_schema_history").parse().expect("a number");
    if std::env::var("CHAPERONE_FIXTURES").is_ok_and(|what| what == "write") {
        fresh.dump(&Place::fixtures().join(format!("schema_{newest}.sql")));
    }
    for version in 1..=newest {
        let file = Place::fixtures().join(format!("schema_{version}.sql"));
        let place = Place::of_fixture(&file);
        let mut two = two.clone();
        let store = place.open();
        assert_eq!(stands(&*store).await, [(0, 4)], "{}", file.display());
        assert_eq!(two.window(&*store).await, [(Verdict::Missing, 1); 3], "{}", file.display());
        let counted = "SELECT sum(n) FROM v_stage_window WHERE stage = ";
        let counted = ["'producer'", "'consumer'"].map(|stage| place.one(&format!("{counted}{stage}")));
        assert_eq!(counted, ["12", "9"], "{}", file.display());
        let found: u32 = place.one("SELECT max(version) FROM refinery_schema_history").parse().expect("a number");
        assert_eq!(found, newest);
    }
}

#[tokio::test]
async fn who_read_more_than_an_older_store_has_is_sent_back_to_where_that_stands() {
    let place = Place::new();
    let store = place.open();
    let mut two = Two::new();
    two.window(&*store).await;
    assert_eq!(stands(&*store).await, [(0, 2)]);
    let at = START + 25_000;
    // This reader had applied up to 5, and the store that has the name now stands at 2.
    let items = vec![item(5, two.producer.beat(at), at)];
    let batch = |from| Batch { source: source(0), log: 0, from, items: items.clone(), next: 6 };
    let refused = store.apply(batch(Some(5))).await.expect_err("what lies between is missing");
    assert!(matches!(&refused, StoreError::Moved { .. }) && refused.to_string().contains("older one"), "{refused}");
    let through = |next| vec![AuditThrough { source: source(0), next, through_ms: at }];
    let refused = store.audit_through(through(Some(5))).await.expect_err("likewise");
    assert!(matches!(refused, StoreError::Moved { .. }), "{refused}");
    assert_eq!(told(&*store).await, Some(START + 15_000));
    assert_eq!(stands(&*store).await, [(0, 2)], "nothing was skipped");
    // The control: who says nothing of where the batch begins skips what lies between.
    store.audit_through(through(Some(2))).await.expect("as far as it stands");
    assert_eq!(told(&*store).await, Some(at));
    store.apply(batch(None)).await.expect("applied");
    assert_eq!(stands(&*store).await, [(0, 6)]);
    // Offsets that hold nothing are no sign of an older store.
    let next = Batch { source: source(0), log: 0, from: Some(6), items: vec![], next: 9 };
    store.apply(next).await.expect("applied");
    assert_eq!(stands(&*store).await, [(0, 9)]);
}

async fn told(store: &dyn Store) -> Option<i64> {
    store.audit_stands("c", "chaperone-audit").await.expect("stands").remove(0).through_ms
}
