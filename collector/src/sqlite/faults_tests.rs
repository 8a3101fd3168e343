//! A database that refuses changes nothing, says so, and works again when it can.

use chaperone_audit::wire::{AuditMessage, Dropped, Reporter, SlotRecord, VERSION};
use chaperone_audit::{Class, RuleId, SlotState, Width, WindowStart};
use rusqlite::Connection;

use super::*;
use crate::batch::{AuditPartition, Batch, Content, Item};
use crate::query::WindowQuery;
use crate::store::Store;

fn batch(next: i64, topics: std::ops::Range<u64>) -> Batch {
    let slot = |id: u64| SlotRecord {
        id,
        topic: format!("topic-{id:05}"),
        window_ms: WindowStart(0),
        width_ms: Width::TEN_SECONDS,
        class: Class::Bare,
        rule: RuleId(1),
        state: SlotState { n: 1, ..SlotState::default() },
    };
    let message = AuditMessage {
        v: VERSION,
        uuid: Uuid::from_u128(1),
        incarnation: Uuid::from_u128(2),
        seq: 1,
        reporter: Reporter { host: "h".into(), application: "a".into(), library: "l".into(), pid: 1 },
        stage: "producer".into(),
        cluster: String::new(),
        datacenter: String::new(),
        sent_ms: 1,
        watermark_ms: None,
        audited_since_ms: None,
        slots: topics.map(slot).collect(),
        merged: vec![],
        intervals: vec![],
        marks: vec![],
        topics: vec![],
        positions: vec![],
        sum: None,
        cadence_ms: None,
        late: 0,
        dropped: Dropped::default(),
        end: None,
    };
    let source = AuditPartition { cluster: "c".into(), topic: "t".into(), partition: 0 };
    let content = Content::Message(Box::new(message));
    Batch {
        source,
        log: 0,
        from: None,
        items: vec![Item { offset: next - 1, append_ms: 1, received_ms: 1, content }],
        next,
    }
}

/// Sets a limit on the writer's own connection, as the world would.
async fn limit(store: &SqliteStore, pragma: &'static str) {
    // Some pragmas cannot be set within a transaction.
    store.writer.outside(move |conn| conn.execute_batch(pragma).expect("pragma")).await;
}

/// Everything that the database holds.
fn dump(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).expect("open");
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").expect("tables");
    let tables: Vec<String> =
        tables.query_map([], |r| r.get(0)).expect("tables").collect::<Result<_, _>>().expect("tables");
    let mut all = vec![];
    for table in tables {
        let mut rows = conn.prepare(&format!("SELECT * FROM \"{table}\"")).expect("rows");
        let columns = rows.column_count();
        let mut rows = rows.query([]).expect("rows");
        while let Some(row) = rows.next().expect("row") {
            let values: Vec<String> = (0..columns).map(|i| format!("{:?}", row.get_ref(i).expect("value"))).collect();
            all.push(format!("{table}: {}", values.join(", ")));
        }
    }
    all
}

async fn refused_and_harmless(store: &SqliteStore, path: &Path, words: &str) {
    let before = dump(path);
    let error = store.apply(batch(2, 1..5_000)).await.expect_err("the database refuses");
    let said = error.to_string();
    assert!(matches!(error, StoreError::Database { .. }), "{said}");
    assert!(said.contains(words) && said.contains("apply a batch") && said.contains("s.sqlite"), "{said}");
    assert_eq!(dump(path), before, "nothing was changed");
    let next = store.audit_stands("c", "t").await.expect("readers still answer");
    assert_eq!((next.len(), next[0].partition, next[0].next), (1, 0, 1));
}

async fn works(store: &SqliteStore) {
    let applied = store.apply(batch(2, 1..5_000)).await.expect("works again");
    assert_eq!(applied.applied, 1);
    let query = WindowQuery { from_ms: 0, to_ms: 10_000, ..WindowQuery::default() };
    assert_eq!(store.stage_windows(query).await.expect("totals").len(), 5_000);
}

async fn one_batch(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).expect("open");
    store.apply(batch(1, 0..1)).await.expect("apply");
    store
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_space_heals() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let store = one_batch(&path).await;
    // No statement of the batch may be the one that a half-applied batch ends at: try many sizes.
    let pages = store.writer.outside(|conn| conn.pragma_query_value(None, "page_count", |r| r.get::<_, i64>(0))).await;
    let pages = pages.expect("pages");
    for more in [0, 1, 2, 5, 10, 20, 50, 100] {
        let most = pages + more;
        store
            .writer
            .outside(move |c| c.execute_batch(&format!("PRAGMA max_page_count = {most}")).expect("limit"))
            .await;
        refused_and_harmless(&store, &path, "full").await;
    }
    limit(&store, "PRAGMA max_page_count = 1000000").await;
    works(&store).await;
}

#[tokio::test]
async fn a_read_only_database_changes_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let store = one_batch(&path).await;
    limit(&store, "PRAGMA query_only = ON").await;
    refused_and_harmless(&store, &path, "readonly").await;
    limit(&store, "PRAGMA query_only = OFF").await;
    works(&store).await;
}

#[tokio::test]
async fn a_database_that_is_locked_for_too_long_changes_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let store = one_batch(&path).await;
    limit(&store, "PRAGMA busy_timeout = 20").await;
    let other = Connection::open(&path).expect("open");
    other.execute_batch("BEGIN IMMEDIATE").expect("lock");
    refused_and_harmless(&store, &path, "locked").await;
    other.execute_batch("ROLLBACK").expect("unlock");
    works(&store).await;
}

#[tokio::test]
async fn a_stored_value_that_cannot_be_read_is_said_and_not_guessed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let store = one_batch(&path).await;
    let other = Connection::open(&path).expect("open");
    other.execute("UPDATE open_slots SET body = x'00'", []).expect("damage");
    refused_and_harmless(&store, &path, "stored slots").await;
}

#[test]
fn what_is_no_database_is_refused_with_its_path() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    std::fs::write(&path, "certainly not a database, but long enough to look at ".repeat(40)).expect("write");
    let said = SqliteStore::open(&path).expect_err("refused").to_string();
    assert!(said.contains("not a database") && said.contains("s.sqlite"), "{said}");
    let missing = dir.path().join("no/such/directory/s.sqlite");
    let said = SqliteStore::open(&missing).expect_err("refused").to_string();
    assert!(said.contains("open the database"), "{said}");
}

#[tokio::test]
async fn two_processes_may_open_a_new_file_at_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    for i in 0..10 {
        let path = dir.path().join(format!("{i}.sqlite"));
        let open = |path: std::path::PathBuf| std::thread::spawn(move || SqliteStore::open(path));
        let stores = [open(path.clone()), open(path.clone()), open(path)].map(|t| t.join().expect("thread"));
        for store in stores {
            store.expect("opened");
        }
    }
}

#[tokio::test]
async fn a_writer_that_stopped_says_so() {
    let store = SqliteStore::in_memory().expect("store");
    let died = store.writer.run("die", |_| -> Done<()> { panic!("the writer's last job in a test") }).await;
    assert!(matches!(died, Err(StoreError::Stopped)));
    assert!(matches!(store.apply(batch(1, 0..1)).await, Err(StoreError::Stopped)));
    assert!(store.status().await.is_ok(), "readers still answer");
}

#[tokio::test]
async fn the_wildest_numbers_stop_nobody() {
    let store = SqliteStore::in_memory().expect("store");
    let wild = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let mut next = 0;
    for clock in wild {
        for width in Width::ALL {
            let mut b = batch(next + 1, 0..3);
            next += 1;
            for item in &mut b.items {
                (item.append_ms, item.received_ms) = (clock, clock);
                let Content::Message(m) = &mut item.content else { continue };
                (m.sent_ms, m.watermark_ms, m.seq) = (clock.wrapping_neg(), Some(clock), clock.cast_unsigned());
                m.incarnation = Uuid::from_u128(u128::from(clock.cast_unsigned()) + 1);
                m.stage = ["producer", "consumer"][usize::try_from(next % 2).expect("small")].into();
                for (s, ms) in m.slots.iter_mut().zip([clock, i64::MAX - clock.max(0), i64::MIN]) {
                    // Not below the least number: such a window cannot be written down.
                    s.window_ms = WindowStart(ms.max(i64::MIN + 600_000).div_euclid(width.ms()) * width.ms());
                    (s.width_ms, s.topic, s.id) = (width, "orders".into(), s.id ^ clock.cast_unsigned());
                    let count = chaperone_audit::wire::MAX_COUNT;
                    s.state =
                        SlotState { n: count, bytes: u64::MAX, acked: count, failed: count, ..SlotState::default() };
                    (s.state.last_ms, s.state.min_ms, s.state.max_ms) = (Some(clock), Some(clock), Some(clock));
                    s.state.flags = ["overflow", "seen"].map(str::to_owned).into();
                }
            }
            store.apply(b).await.expect("apply");
        }
    }
    let stage = |name: &str| crate::Stage { complete: true, ..crate::Stage::new(name, crate::StageKind::Client) };
    let orders = vec![crate::TopicPattern::Name("orders".into())];
    let pipeline = crate::Pipeline {
        grace: std::time::Duration::MAX,
        silent_after: std::time::Duration::MAX,
        ..crate::Pipeline::new("p", orders, vec![stage("producer"), stage("consumer")])
    };
    for now in wild {
        store.judge(now, &Pipelines::from(vec![pipeline.clone()])).await.expect("judge");
        store.reporters(now).await.expect("reporters");
    }
    let all = WindowQuery { from_ms: i64::MIN, to_ms: i64::MAX, ..WindowQuery::default() };
    assert!(!store.windows(all.clone()).await.expect("windows").is_empty());
    assert!(!store.topics(all.clone()).await.expect("topics").is_empty());
    assert!(!store.stage_windows(all).await.expect("totals").is_empty());
}
