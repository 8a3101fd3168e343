//! What nobody waits for is not read to its end, and its connection serves the next.

use std::time::Duration;

use super::*;
use crate::within;

/// Counts for hours.
const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000)
                       SELECT count(*) FROM n";
/// For a broken build only.
const LONG: Duration = Duration::from_secs(30);

fn pool() -> Pool {
    Pool::open(&Place::Memory("pool-tests".into())).expect("opens")
}

fn count(tx: &dyn Tx) -> Done<i64> {
    tx.one("SELECT count(*) FROM sqlite_schema", &[], |r| r.get(0))
}

fn endless(pool: &Pool) -> Answer<'_, i64> {
    pool.run("count", |tx| tx.one(ENDLESS, &[], |r| r.get(0)))
}

#[tokio::test]
async fn a_query_ends_at_its_deadline_and_its_reader_serves_the_next() {
    let pool = pool();
    let cut = async || within(Duration::from_millis(20), endless(&pool)).await;
    // More than there are readers: some never come to be answered.
    let all = tokio::join!(cut(), cut(), cut(), cut(), cut(), cut());
    for answer in [all.0, all.1, all.2, all.3, all.4, all.5] {
        assert!(matches!(answer, Err(StoreError::TooLong { action: "count", .. })), "{answer:?}");
    }
    let next = tokio::time::timeout(LONG, pool.run("count", count)).await.expect("a reader is free");
    assert_eq!(next.expect("answers"), 0);
    assert!(!pool.shared.idle.lock().is_empty(), "connections are kept");
}

#[tokio::test]
async fn queries_whose_askers_went_away_leave_their_readers_to_others() {
    let pool = pool();
    for _ in 0..READERS {
        // The control: without a deadline it goes on for as long as somebody waits.
        assert!(tokio::time::timeout(Duration::from_millis(20), endless(&pool)).await.is_err(), "it ended");
    }
    let all = tokio::time::timeout(LONG, Arc::clone(&pool.free).acquire_many_owned(4)).await.expect("all are free");
    drop(all);
    assert_eq!(pool.run("count", count).await.expect("answers"), 0);
}

#[tokio::test]
async fn many_short_statements_are_cut_as_one_long_is() {
    let pool = pool();
    let again = |tx: &dyn Tx| loop {
        count(tx)?;
    };
    let answer: Result<(), _> = within(Duration::from_millis(20), pool.run("count", again)).await;
    assert!(matches!(answer, Err(StoreError::TooLong { .. })), "{answer:?}");
}
