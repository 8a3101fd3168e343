//! What the store takes: records a second from intake to committed, against a plain append to the same disk; what a duplicate
//! costs; and how long readers wait on ten million windows. Medians; nothing here is asserted but by tests/promises.toml.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

mod intake;
mod postgres;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use chaperone_collector::query::{BinQuery, WindowQuery};
use chaperone_collector::{SqliteView, Store};
use chaperone_tests::figures;
use chaperone_tests::many_windows::{Size, make, topic_name};

const SECTION: &str = "bench_store";
const NOW_MS: i64 = 1_795_265_398_000;
const HOUR_MS: i64 = 3_600_000;
const WINDOWS: u64 = 10_000_000;
/// Times that a question is asked.
const ASKED: usize = 31;

fn record(name: &str, value: f64) -> anyhow::Result<()> {
    figures::record(SECTION, name, value)
}

/// The median, in ms, of asking `ASKED` times; each time something else, so that nobody answers from memory alone.
async fn median<T, F: Future<Output = Result<T, chaperone_collector::StoreError>>>(
    ask: impl Fn(u64) -> F,
) -> anyhow::Result<f64> {
    let mut times: Vec<Duration> = Vec::new();
    for i in 0..ASKED as u64 {
        let began = Instant::now();
        std::hint::black_box(ask(i).await?);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(ASKED / 2).context("times")?.as_secs_f64() * 1_000.0)
}

/// Verdicts and totals of a topic over so many hours.
async fn topic(store: &SqliteView, topic: u64, hours: i64) -> Result<usize, chaperone_collector::StoreError> {
    let range =
        WindowQuery { topic: Some(topic_name(topic)), from_ms: NOW_MS - hours * HOUR_MS, to_ms: NOW_MS, limit: None };
    let query = BinQuery { range, width_ms: None, at_most: None };
    let hops = store.hop_bins(query.clone()).await?;
    let stages = store.stage_bins(query).await?;
    Ok(hops.rows.len() + stages.rows.len())
}

async fn readers(path: &Path) -> anyhow::Result<()> {
    let store = SqliteView::open(path)?;
    assert!(topic(&store, 100, 24 * 7).await? > 500, "there is a week of it");
    record("topic_hour_ms", median(|i| topic(&store, i * 7 % 1_000, 1)).await?)?;
    record("topic_day_ms", median(|i| topic(&store, i % 10 * 100, 24)).await?)?;
    record("topic_week_ms", median(|i| topic(&store, i % 10 * 100, 24 * 7)).await?)?;
    record("trouble_hour_ms", median(|_| store.trouble(NOW_MS - HOUR_MS)).await?)?;
    let hour = || WindowQuery { from_ms: NOW_MS - HOUR_MS, to_ms: NOW_MS, ..WindowQuery::default() };
    assert_eq!(store.topics(hour()).await?.len(), 1_000);
    record("overview_ms", median(|_| store.topics(hour())).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_ten_million_windows_do_not_wait() -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench-store-").tempdir_in(chaperone_tests::paths::target())?;
    let path = dir.path().join("chaperone.sqlite");
    let size = Size { windows: WINDOWS, topics: 1_000, seed: 1, now_ms: NOW_MS };
    let at = path.clone();
    let began = Instant::now();
    let made = tokio::task::spawn_blocking(move || make(&at, &size)).await??;
    println!("{made:?} in {:?}", began.elapsed());
    let conn = rusqlite::Connection::open(&path)?;
    let bytes = |tables: &str| -> anyhow::Result<f64> {
        let sql = format!("SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN ({tables})");
        Ok(conn.query_row(&sql, [], |r| r.get::<_, i64>(0))? as f64)
    };
    let windows = made.windows as f64;
    let totals = bytes("'stage_window', 'stage_window_by_time', 'stage_window_wide'")?;
    let verdicts = bytes("'hop_window', 'hop_window_by_time', 'hop_window_trouble', 'hop_window_wide'")?;
    let levels = bytes("'stage_level', 'stage_level_by_time', 'hop_level', 'hop_level_by_topic'")?;
    record("bytes_totals_per_window", totals / windows)?;
    record("bytes_verdicts_per_window", verdicts / windows)?;
    // Once the windows themselves are dropped.
    record("bytes_folded_per_window", levels / windows)?;
    drop(conn);
    readers(&path).await
}
