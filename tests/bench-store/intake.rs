//! Intake to committed: batches of slot records of many reporters, and the same again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chaperone_audit::wire::{AuditMessage, Dropped, Reporter, SlotRecord, VERSION};
use chaperone_audit::{Class, Histogram, MessageId, RuleId, SlotState, Width, WindowStart};
use chaperone_collector::{AuditPartition, Batch, Content, Item, SqliteStore, Store};
use uuid::Uuid;

use crate::{NOW_MS, record};

/// Reporters, and slots that each has in a batch.
const REPORTERS: u64 = 50;
const SLOTS: u64 = 200;
const BATCHES: u64 = 20;
/// Topics that the slots are of: so many reporters share one.
const TOPICS: u64 = 1_000;

fn slot(reporter: u64, batch: u64, i: u64) -> SlotRecord {
    let id = MessageId(u128::from(reporter << 40 | batch << 20 | i)).hash(9);
    let mut hist = Histogram::new();
    (0..5).for_each(|k| hist.record(20 + k * 7));
    let window_ms = NOW_MS.div_euclid(10_000) * 10_000 + i64::try_from(batch).unwrap_or_default() * 10_000;
    let state = SlotState {
        n: 50,
        bytes: 11_000,
        f_in: Some(id),
        acked: 50,
        f_acked: Some(id),
        hist: Some(hist),
        min_ms: Some(window_ms),
        max_ms: Some(window_ms + 9_999),
        last_ms: Some(window_ms + 10_050),
        is_final: true,
        ..SlotState::default()
    };
    SlotRecord {
        id: batch * SLOTS + i,
        topic: format!("topic-{:04}", (reporter * SLOTS / 4 + i) % TOPICS),
        window_ms: WindowStart(window_ms),
        width_ms: Width::TEN_SECONDS,
        class: Class::Bare,
        rule: RuleId(7),
        state,
    }
}

fn message(reporter: u64, batch: u64) -> AuditMessage {
    AuditMessage {
        v: VERSION,
        uuid: Uuid::from_u128(u128::from(reporter << 32 | batch)),
        incarnation: Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(reporter)),
        seq: batch + 1,
        reporter: Reporter { host: format!("h{reporter}"), application: "a".into(), library: "l".into(), pid: 1 },
        stage: "producer".into(),
        cluster: String::new(),
        datacenter: String::new(),
        sent_ms: NOW_MS,
        watermark_ms: None,
        audited_since_ms: None,
        slots: (0..SLOTS).map(|i| slot(reporter, batch, i)).collect(),
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
    }
}

/// Batches at these offsets on; the same records whatever the offset.
fn batches(first: u64) -> Vec<Batch> {
    let at = |i: u64| i64::try_from(i).unwrap_or(i64::MAX);
    let one = |batch: u64| {
        let item = |reporter: u64| Item {
            offset: at(first + batch * REPORTERS + reporter),
            append_ms: NOW_MS,
            received_ms: NOW_MS,
            content: Content::Message(Box::new(message(reporter, batch))),
        };
        let source = AuditPartition { cluster: "c".into(), topic: "a".into(), partition: 0 };
        let next = at(first + (batch + 1) * REPORTERS);
        Batch { source, log: 0, from: None, items: (0..REPORTERS).map(item).collect(), next }
    };
    (0..BATCHES).map(one).collect()
}

/// Records a second, fresh and again.
pub(crate) async fn rates(store: &Arc<dyn Store>) -> anyhow::Result<(f64, f64)> {
    let mut rates = Vec::new();
    for first in [0, BATCHES * REPORTERS] {
        let batches = batches(first);
        let began = Instant::now();
        for batch in batches {
            store.apply(batch).await?;
        }
        rates.push((BATCHES * REPORTERS * SLOTS) as f64 / began.elapsed().as_secs_f64());
    }
    Ok((rates.first().copied().unwrap_or_default(), rates.get(1).copied().unwrap_or_default()))
}

/// Rows a second that SQLite appends, as many a transaction, with everything on the disk before it answers.
fn plain_append(dir: &Path) -> anyhow::Result<f64> {
    let mut conn = rusqlite::Connection::open(dir.join("plain.sqlite"))?;
    conn.execute_batch("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    conn.execute_batch("CREATE TABLE plain (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")?;
    let body = [7u8; 150];
    let began = Instant::now();
    for _ in 0..BATCHES {
        let transaction = conn.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO plain (body) VALUES (?1)")?;
        for _ in 0..REPORTERS * SLOTS {
            insert.execute([&body[..]])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok((BATCHES * REPORTERS * SLOTS) as f64 / began.elapsed().as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_committed_at_a_fifth_of_the_rate_of_a_plain_append() -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench-store-").tempdir_in(chaperone_tests::paths::target())?;
    let plain = plain_append(dir.path())?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir.path().join("s.sqlite"))?);
    let (fresh, again) = rates(&store).await?;
    assert_eq!(store.status().await?.noop, BATCHES * REPORTERS, "all that came again was known");
    record("plain_append_per_s", plain)?;
    record("sqlite_records_per_s", fresh)?;
    record("sqlite_of_plain_append", fresh / plain)?;
    record("sqlite_duplicates_of_fresh", again / fresh)
}
