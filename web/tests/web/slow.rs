//! Questions that take too long, to a real store: they end, the asker is told, and others are answered.

use std::sync::Arc;
use std::time::Duration;

use chaperone_collector::{SqliteStore, Store};

use super::*;

/// Reading what was refused takes hours.
fn dragging() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.sqlite");
    let store = SqliteStore::open(&path).expect("opens");
    let drag = "ALTER TABLE quarantine RENAME TO refused;
                CREATE VIEW quarantine AS
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000)
                SELECT refused.* FROM refused, n WHERE i < 0";
    rusqlite::Connection::open(&path).expect("opens").execute_batch(drag).expect("drags");
    (dir, Arc::new(store))
}

#[tokio::test]
async fn who_asks_too_much_is_told_so_and_the_next_is_answered() {
    let (_dir, store) = dragging();
    let mut state = fake::bench(fake::FakeStore::default(), fake::scene::pipelines()).state;
    state.store = store;
    let router = app(state, fake::config());
    let (page, data) = ("/quarantine", "/api/v1/quarantine");
    // More than the store has readers.
    let all = tokio::join!(
        get(&router, page),
        get(&router, data),
        get(&router, page),
        get(&router, data),
        get(&router, page),
        get(&router, data),
    );
    let (shown, problem) = (&all.0, &all.1);
    for answer in [shown, problem, &all.2, &all.3, &all.4, &all.5] {
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
        assert!(answer.has("took too long: choose a shorter range"), "{}", answer.body);
    }
    assert!(shown.has("<html"), "a page that says so: {}", shown.body);
    assert_eq!(problem.header("content-type"), "application/problem+json");
    assert_eq!(
        (problem.json()["title"].as_str(), problem.json()["status"].as_u64()),
        (Some("Took too long"), Some(503))
    );
    let next = tokio::time::timeout(Duration::from_secs(30), get(&router, "/api/v1/status")).await.expect("answers");
    assert_eq!(next.status, StatusCode::OK, "{}", next.body);
}
