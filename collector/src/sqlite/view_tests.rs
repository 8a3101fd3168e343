//! Another process's store is read: before it is there, while it is written, and never with a pen in hand.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::batch::{AuditPartition, Batch};
use crate::db::params;
use crate::query::{ProcessState, Trouble};
use crate::sqlite::SqliteStore;
use crate::store::Store;

fn process(n: u128, role: &str, beat_ms: i64) -> ProcessState {
    ProcessState {
        id: Uuid::from_u128(n),
        role: role.into(),
        clusters: "k".into(),
        reads: String::new(),
        host: "h".into(),
        pid: 7,
        version: "0".into(),
        started_ms: beat_ms,
        beat_ms,
        problems: vec![Trouble { text: "kafka.k: gone".into(), notice: true }],
    }
}

fn batch(next: i64) -> Batch {
    let source = AuditPartition { cluster: "c".into(), topic: "t".into(), partition: 0 };
    let refused = crate::Refused { length: 1, sha256: String::new(), reason: "r".into() };
    let content = crate::Content::Refused(refused);
    Batch {
        source,
        log: 0,
        from: None,
        items: vec![crate::Item { offset: next - 1, append_ms: 1, received_ms: 1, content }],
        next,
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_yet_is_said_and_then_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.sqlite");
    let view = SqliteView::open(&path).expect("opens without a store");
    let none = view.status().await.expect_err("no store");
    assert!(none.to_string().contains("s.sqlite") && none.to_string().contains("no store yet"), "{none}");
    assert!(none.advice().is_some_and(|a| a.contains("chaperone collect")), "{none}");
    assert!(!path.exists(), "a reader makes nothing");
    // A file that nobody has made a store of.
    std::fs::write(&path, "").expect("written");
    let empty = view.status().await.expect_err("no schema");
    assert!(format!("{empty} {:?}", empty.advice()).contains("chaperone collect"), "{empty}");
    std::fs::remove_file(&path).expect("removed");

    let store = SqliteStore::open(&path).expect("a store");
    let mut revisions = view.revisions();
    store.apply(batch(1)).await.expect("applied");
    let seen = tokio::time::timeout(Duration::from_secs(10), revisions.wait_for(|r| *r == 1)).await;
    assert!(seen.is_ok_and(|r| r.is_ok()), "the revision of another process is followed");
    assert_eq!(view.status().await.expect("status").quarantined, 1);
    assert_eq!(view.quarantined(10).await.expect("rows").len(), 1);
}

#[tokio::test]
async fn nothing_is_written_through_it_and_another_file_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.sqlite");
    let store = SqliteStore::open(&path).expect("a store");
    store.apply(batch(1)).await.expect("applied");
    let view = SqliteView::open(&path).expect("opens");
    let pipelines = Pipelines::default();
    let refused = [
        view.apply(batch(2)).await.map(drop),
        view.audit_through(Vec::new()).await,
        view.judge(1, &pipelines).await.map(drop),
        view.beat(process(1, "web", 1)).await,
        view.farewell(Uuid::nil()).await,
    ];
    for answer in refused {
        assert!(matches!(answer, Err(StoreError::ReadOnly { .. })), "{answer:?}");
    }
    let wrote = view.readers.run("try", |tx| tx.execute("DELETE FROM quarantine", params![])).await;
    assert!(wrote.is_err(), "the connection itself cannot write");
    assert_eq!(view.status().await.expect("status").quarantined, 1);
    drop(store);
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", path.display())).ok();
    }
    let store = SqliteStore::open(&path).expect("another store");
    for next in 1..=3 {
        store.apply(batch(next)).await.expect("applied");
    }
    let mut revisions = view.revisions();
    let seen = tokio::time::timeout(Duration::from_secs(10), revisions.wait_for(|r| *r == 3)).await;
    assert!(seen.is_ok_and(|r| r.is_ok()), "the new file is read");
    assert_eq!(view.status().await.expect("status").quarantined, 3);
}

#[tokio::test]
async fn processes_say_what_is_wrong_and_the_silent_are_forgotten_but_for_the_last_of_a_role() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.sqlite");
    let store = SqliteStore::open(&path).expect("a store");
    let view = SqliteView::open(&path).expect("opens");
    let revision = store.status().await.expect("status").revision;
    for p in [process(1, "tap", 1_000), process(2, "tap", 2_000), process(3, "collect", 1_000)] {
        store.beat(p).await.expect("beats");
    }
    let mut again = process(1, "tap", 1_000);
    again.beat_ms = 5_000;
    again.problems.clear();
    store.beat(again.clone()).await.expect("beats again");
    let all = view.processes().await.expect("processes");
    assert_eq!(all.iter().map(|p| p.id.as_u128()).collect::<Vec<_>>(), [2, 3, 1]);
    assert_eq!(all.last(), Some(&again));
    store.farewell(Uuid::from_u128(2)).await.expect("ends");
    store.beat(process(4, "tap", 5_000 + 3_600_001)).await.expect("beats");
    let left: Vec<u128> = view.processes().await.expect("processes").iter().map(|p| p.id.as_u128()).collect();
    assert_eq!(left, [4, 3], "the last collector stays, however long ago");
    store.beat(process(5, "run", 9_000_000)).await.expect("beats");
    store.farewell(Uuid::from_u128(4)).await.expect("ends");
    assert_eq!(view.processes().await.expect("processes").len(), 2, "a tap takes nobody with it");
    store.farewell(Uuid::from_u128(5)).await.expect("ends");
    assert!(view.processes().await.expect("processes").is_empty(), "a collector ends what it followed");
    assert_eq!(store.status().await.expect("status").revision, revision, "no news for readers of verdicts");
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_named_unless_it_only_adds_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.sqlite");
    drop(SqliteStore::open(&path).expect("a store"));
    let conn = Connection::open(&path).expect("open");
    let refused = async || {
        let refused = SqliteView::open(&path).expect("opens").status().await.expect_err("another schema");
        format!("{refused}: {}", refused.advice().unwrap_or_default())
    };
    conn.execute("UPDATE refinery_schema_history SET version = 99", []).expect("changed");
    SqliteView::open(&path).expect("opens").status().await.expect("a later one that only adds");
    conn.execute("UPDATE compatible SET least = 98", []).expect("changed");
    let said = refused().await;
    assert!(
        said.contains("schema 99") && said.contains("know schema 98") && said.contains("restore the backup"),
        "{said}"
    );
    conn.execute("UPDATE refinery_schema_history SET version = 0", []).expect("changed");
    let said = refused().await;
    assert!(said.contains("schema 0, this release reads 1") && said.contains("upgrade `chaperone collect`"), "{said}");
}
