//! The size of a row in `chaperone plan`, held against a store that was really filled.

use chaperone::config::{Config, System};
use chaperone::kafka::message::Seen;
use chaperone::plan::estimate::{HOP_ROW_BYTES, STAGE_ROW_BYTES};
use chaperone::tap::count::PartitionCount;
use chaperone::tap::report::Reporting;
use chaperone_audit::wire::{PartitionMark, TopicMark};
use chaperone_audit::{Class, Fingerprint, MessageId, Observation, Rule, Width};
use chaperone_collector::query::WindowQuery;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{AuditPartition, Batch, ClaimRequest, Content, Item, SqliteStore, Store, Verdict};
use uuid::Uuid;

const START: i64 = 1_790_000_000_000;
const TOPICS: i64 = 25;
const WINDOWS: i64 = 360;
const MESSAGES: i64 = 40;
/// The formula is right within this factor, either way.
const FACTOR: f64 = 1.25;

const CONFIG: &str = r#"
data_dir = "d"
[kafka.regional]
bootstrap_servers = "h:1"
[kafka.regional.tap]
topics = ["^.*"]
start = "earliest"
[kafka.agg]
bootstrap_servers = "h:2"
[kafka.agg.tap]
topics = ["^.*"]
start = "earliest"
[pipeline.all]
topics = ["^.*"]
stages = ["kafka:regional", "kafka:agg"]
grace = "2s"
"#;

/// One tap: what it counts in a window, as the messages that it would send.
struct Tap {
    delay_ms: i64,
    reporting: Reporting,
    counts: Vec<PartitionCount>,
}

fn topic(number: i64) -> String {
    format!("orders-of-region-{number:02}")
}

impl Tap {
    async fn claim(store: &dyn Store, stage: &'static str, delay_ms: i64) -> Self {
        let reporting = Reporting::new(stage, stage, "");
        let mut counts = Vec::new();
        for number in 0..TOPICS {
            let request = ClaimRequest {
                stage: stage.to_owned(),
                topic: topic(number),
                partition: 0,
                tap: Uuid::now_v7(),
                now_ms: START,
                first_next: 0,
                first_since_ms: i64::MIN,
                log_start: 0,
                partitions: None,
                topic_id: None,
                over: None,
            };
            let claim = store.claim(request).await.expect("claim");
            counts.push(PartitionCount::new(&topic(number), 0, claim, Rule::new(0), Width::TEN_SECONDS));
        }
        Self { delay_ms, reporting, counts }
    }

    /// Counts a window and sends it, with marks as of `now_ms`.
    fn window(&mut self, window: i64, now_ms: i64) -> Vec<Content> {
        let mut sent = Vec::new();
        for (count, number) in self.counts.iter_mut().zip(0..) {
            for n in 0..MESSAGES {
                let offset = window * MESSAGES + n;
                let event_ms = START + window * 10_000 + n * 10_000 / MESSAGES;
                let id = MessageId(u128::from((offset * TOPICS + number).unsigned_abs()));
                // Delays of different messages fall into different cells of the histogram.
                let arrival_ms = event_ms + self.delay_ms + (n * n * 7) % 400;
                let observation = Observation { id, class: Class::Bare, event_ms: Some(event_ms) };
                let content = Fingerprint::from_u128(id.0);
                count.count(&Seen {
                    offset,
                    observation,
                    bytes: 200,
                    arrival_ms,
                    now_ms: arrival_ms,
                    content,
                    time_ms: event_ms,
                });
            }
            let interval = count.cut().expect("messages");
            let mark = PartitionMark {
                topic: topic(number),
                partition: 0,
                log: count.claim().log,
                epoch: count.claim().epoch,
                position: count.next(),
                asked_ms: now_ms,
                frontier_ms: count.frontier_ms(now_ms),
                held_since_ms: None,
            };
            sent.push(self.reporting.interval(now_ms, interval, Some(mark)));
        }
        let topics: Vec<TopicMark> =
            (0..TOPICS).map(|number| TopicMark { topic: topic(number), partitions: 1, asked_ms: now_ms }).collect();
        sent.extend(self.reporting.heartbeat(now_ms, &[], &topics, None));
        sent.into_iter().map(|message| Content::Message(Box::new(message))).collect()
    }
}

#[tokio::test]
async fn a_filled_store_is_as_large_as_the_formula_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("chaperone.sqlite");
    let config = Config::parse(CONFIG, &System).expect("good");
    let store = SqliteStore::open_with(&path, Options { durable: false, ..Options::default() }).expect("opens");
    let source = AuditPartition { cluster: "regional".into(), topic: "chaperone-audit".into(), partition: 0 };
    let mut taps = [Tap::claim(&store, "kafka:regional", 20).await, Tap::claim(&store, "kafka:agg", 90).await];
    let mut next = 0;
    for window in 0..WINDOWS {
        let now_ms = START + (window + 1) * 10_000 + 5_000;
        let contents = taps.iter_mut().flat_map(|tap| tap.window(window, now_ms));
        let items: Vec<Item> = contents
            .zip(next..)
            .map(|(content, offset)| Item { offset, append_ms: now_ms, received_ms: now_ms, content })
            .collect();
        next += i64::try_from(items.len()).expect("few");
        store.apply(Batch { source: source.clone(), log: 0, from: None, items, next }).await.expect("applied");
        store.audit_through(vec![(source.clone(), now_ms).into()]).await.expect("told");
        store.judge(now_ms, &config.pipelines).await.expect("judged");
    }
    let all = WindowQuery { topic: None, from_ms: START, to_ms: i64::MAX, limit: None };
    let verdicts = store.windows(all).await.expect("verdicts");
    let ok = verdicts.iter().filter(|row| row.verdict == Verdict::Ok).count();
    let windows = usize::try_from(TOPICS * WINDOWS).expect("few");
    assert_eq!(
        (verdicts.len(), ok),
        (windows, windows),
        "{:?}",
        verdicts.iter().find(|row| row.verdict != Verdict::Ok)
    );
    drop(store);
    let megabytes = |bytes: f64| bytes / 1e6;
    let bytes: u32 = std::fs::metadata(&path).expect("a file").len().try_into().expect("below 4 GB");
    let found = f64::from(bytes);
    let windows = f64::from(i32::try_from(TOPICS * WINDOWS).expect("few"));
    let expected = windows * (2.0 * STAGE_ROW_BYTES + HOP_ROW_BYTES);
    println!("the store has {:.2} MB, the formula says {:.2} MB", megabytes(found), megabytes(expected));
    tables(&path);
    assert!(found < expected * FACTOR && expected < found * FACTOR, "{found} bytes, {expected} by the formula");
}

/// How large each table and index is, for whoever has to correct the constants.
fn tables(path: &std::path::Path) {
    let db = rusqlite::Connection::open(path).expect("opens");
    let sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 8";
    let mut query = db.prepare(sql).expect("dbstat is compiled in");
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).expect("rows");
    for (name, bytes) in rows.map(|row| row.expect("a row")) {
        println!("{name}: {} bytes a window", bytes / (TOPICS * WINDOWS));
    }
}
