//! What groups do beside keeping up: stand still, never commit, lose messages to retention, meet another log, and what a
//! chaperone that was restarted still knows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::{api, eventually, figures};
use rusqlite::{Connection, OpenFlags};

use crate::scene::{Row, Scene, commit, now_ms};

/// The promise for the last quarter of an hour, and beyond, ms.
const FRESH_MS: i64 = 10_000;
const OLD_MS: i64 = 60_000;

/// Partitions and what the group does there.
const STUCK: i32 = 0;
const NEVER: i32 = 1;
const EATEN: i32 = 2;
const EMPTY: i32 = 3;
const BEFORE: i32 = 4;

#[test]
fn every_state_is_told_as_it_is_and_survives_a_restart() -> anyhow::Result<()> {
    let mut scene = Scene::new("truth", 5, "1s", |cluster, topic, send, consumer| {
        send(EATEN, 100)?;
        commit(consumer, topic, EATEN, 10)?;
        cluster.delete_records(topic, EATEN, 50)?;
        send(BEFORE, 20)?;
        commit(consumer, topic, BEFORE, 5)
    })?;
    scene.row(BEFORE, "the first look", |row| row.committed == Some(5))?;
    // Known to the look: a message in the middle of each of three bursts.
    for offset in [15, 45, 75] {
        scene.send(STUCK, 30, true)?;
        scene.commit(STUCK, offset)?;
        let row = scene.row(STUCK, "the commit", |row| row.committed == Some(offset))?;
        ensure!(row.messages == Some(15) && row.state == "behind", "{row:?}");
        holds(&scene, &row, FRESH_MS)?;
    }
    scene.send(NEVER, 7, true)?;
    let row = scene.row(NEVER, "no commit", |row| row.end == Some(7))?;
    ensure!((row.state.as_str(), row.messages, row.lag_ms) == ("no_commit", None, None), "{row:?}");
    let row = scene.row(EATEN, "eaten", |_| true)?;
    ensure!((row.state.as_str(), row.eaten, row.messages) == ("eaten", 40, Some(50)), "{row:?}");
    ensure!(row.retention_left_ms == Some(0), "{row:?}");
    let row = scene.row(EMPTY, "nothing was ever there", |_| true)?;
    ensure!((row.state.as_str(), row.messages) == ("caught_up", Some(0)), "{row:?}");
    // It was there before anybody looked.
    let row = scene.row(BEFORE, "at least", |_| true)?;
    let truth = row.at_ms - scene.appended(BEFORE, 5, 1)?[0];
    ensure!(row.at_least && row.error_ms.is_none() && row.lag_ms.is_some_and(|ms| ms <= truth), "{truth}: {row:?}");
    // A week by default; the test's own client may read the configuration.
    let row = scene.row(STUCK, "retention", |row| row.retention_left_ms.is_some())?;
    ensure!(row.retention_left_ms.is_some_and(|ms| ms > 86_400_000), "{row:?}");
    same_everywhere(&scene)?;
    scene.restart()?;
    let since = now_ms();
    let row = scene.row(STUCK, "after the restart", |row| row.at_ms >= since)?;
    holds(&scene, &row, OLD_MS)?;
    figures::record("lag", "error_after_restart_ms", row.error_ms.context("no error")?.unsigned_abs())?;
    another_log(&scene)
}

/// The bound holds, and is as small as promised.
fn holds(scene: &Scene, row: &Row, at_most_ms: i64) -> anyhow::Result<()> {
    let truth = row.at_ms - scene.appended(STUCK, row.committed.context("no commit")?, 1)?[0];
    let (lag, error) = (row.lag_ms.context("unknown")?, row.error_ms.context("no error")?);
    // An append is stamped a moment before it can be seen.
    ensure!(lag - error <= truth && truth <= lag + 200, "{truth}: {row:?}");
    ensure!(error <= at_most_ms && (lag - truth).abs() <= at_most_ms, "{truth}: {row:?}");
    Ok(())
}

/// Page, API and SQL have the same rows.
fn same_everywhere(scene: &Scene) -> anyhow::Result<()> {
    let (status, page) = api::get(&format!("{}/lag?group={}&by=partition", scene.url, scene.group))?;
    ensure!(status == 200 && page.contains("40 gone") && page.contains("no commit"), "{page}");
    let store = scene.dir.path().join("chaperone/chaperone.sqlite");
    eventually(Duration::from_secs(30), "one look in both", || {
        let of_api: Vec<_> = scene.rows()?.into_iter().map(|r| (r.partition, r.at_ms, r.state, r.lag_ms)).collect();
        let of_sql = by_sql(&store, &scene.group)?;
        ensure!(of_api == of_sql, "{of_api:?} and {of_sql:?}");
        Ok(())
    })
}

type Told = (Option<i32>, i64, String, Option<i64>);

fn by_sql(store: &Path, group: &str) -> anyhow::Result<Vec<Told>> {
    let db = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut query =
        db.prepare("SELECT partition, at_ms, state, lag_ms FROM v_lag WHERE consumer_group = ?1 ORDER BY partition")?;
    let rows = query.query_map([group], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The topic is made anew: the commit is beyond its end, and never zero.
fn another_log(scene: &Scene) -> anyhow::Result<()> {
    scene.cluster.delete_topic(&scene.topic)?;
    let anew = || scene.cluster.create_topic(&scene.topic, 5, &[("message.timestamp.type", "LogAppendTime")]);
    eventually(Duration::from_secs(60), "the topic's name is free again", anew)?;
    scene.send(STUCK, 12, true)?;
    // Kafka forgets what groups committed on a deleted topic; this group's consumer does not.
    scene.commit(STUCK, 75)?;
    let row = scene.row(STUCK, "the new log", |row| row.end == Some(12))?;
    ensure!((row.state.as_str(), row.messages, row.lag_ms) == ("beyond_end", None, None), "{row:?}");
    scene.commit(STUCK, 6)?;
    let row = scene.row(STUCK, "a commit in the new log", |row| row.committed == Some(6))?;
    let truth = row.at_ms - scene.appended(STUCK, 6, 1)?[0];
    ensure!(
        row.messages == Some(6) && row.lag_ms.is_some_and(|ms| row.at_least || (ms - truth).abs() <= FRESH_MS),
        "{truth}: {row:?}"
    );
    Ok(())
}
