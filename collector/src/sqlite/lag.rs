//! Lag of consumer groups: the rows of the last look, and the index of where partitions ended.
//!
//! A look replaces the rows of its cluster whole. The index only grows at its newer end: a partition that ends where it
//! ended keeps its row, one that ends earlier is another log and begins anew. What lies below the log start, or is older
//! than [`INDEX_KEPT_MS`], goes again. Two processes that look at the same cluster write the same.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::db::{Db, Done, Fault, count, int};
use crate::lag::{Bracket, Ended, GroupLag, INDEX_KEPT_MS, LagReport, LagRound, Round, Run, State, Trend};

/// Replaces a cluster's rows and notes where its partitions ended.
pub(super) fn note(db: &mut Db<'_>, round: &LagRound) -> Done<()> {
    let about = &round.about;
    db.conn.prepare_cached("DELETE FROM group_lag WHERE cluster = ?1")?.execute([&about.cluster])?;
    let mut insert = db.conn.prepare_cached(include_str!("sql/lag_insert.sql"))?;
    for row in &round.rows {
        insert_row(&mut insert, row)?;
    }
    db.conn
        .prepare_cached(
            "INSERT OR REPLACE INTO lag_round (cluster, at_ms, every_ms, groups, left_out) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![about.cluster, about.at_ms, about.every_ms, about.groups, about.left_out])?;
    if !round.index.is_empty() {
        for ended in &round.index {
            add(db, &about.cluster, ended, about.at_ms)?;
        }
        forget(db, about.at_ms - INDEX_KEPT_MS)?;
    }
    db.bump()?;
    Ok(())
}

fn insert_row(insert: &mut rusqlite::CachedStatement<'_>, row: &GroupLag) -> Done<()> {
    insert.execute(params![
        row.cluster,
        row.group,
        row.topic,
        row.partition.unwrap_or(-1),
        row.at_ms,
        row.state.as_str(),
        row.committed,
        row.end,
        row.log_start,
        row.messages.map(int),
        row.lag_ms,
        row.error_ms,
        row.at_least,
        row.trend.as_str(),
        row.lag_trend.as_str(),
        row.produced_per_s,
        row.consumed_per_s,
        row.catch_up_ms,
        row.retention_left_ms,
        int(row.eaten),
        row.held,
    ])?;
    Ok(())
}

fn add(db: &Db<'_>, cluster: &str, ended: &Ended, now_ms: i64) -> Done<()> {
    let Run { end, first_ms, last_ms } = ended.run;
    let sql = "INSERT INTO index_partition (cluster, topic, partition, asked_ms) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (cluster, topic, partition) DO UPDATE SET asked_ms = excluded.asked_ms RETURNING id";
    let partition: i64 =
        db.conn.prepare_cached(sql)?.query_row(params![cluster, ended.topic, ended.partition, now_ms], |r| r.get(0))?;
    let newest: Option<(i64, i64)> = db
        .conn
        .prepare_cached(
            "SELECT end_offset, last_ms FROM offset_index WHERE partition = ?1 ORDER BY end_offset DESC LIMIT 1",
        )?
        .query_row([partition], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    // A clock that was set back, too: rows that are not in the order of time bracket nothing.
    if ended.anew || newest.is_some_and(|(before, at_ms)| end < before || last_ms < at_ms) {
        db.conn.prepare_cached("DELETE FROM offset_index WHERE partition = ?1")?.execute([partition])?;
    }
    db.conn
        .prepare_cached(
            "INSERT INTO offset_index (partition, end_offset, first_ms, last_ms) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (partition, end_offset) DO UPDATE SET last_ms = excluded.last_ms",
        )?
        .execute(params![partition, end, first_ms, last_ms])?;
    db.conn.prepare_cached(include_str!("sql/index_prune.sql"))?.execute(params![
        partition,
        ended.log_start.unwrap_or(i64::MIN),
        now_ms - INDEX_KEPT_MS
    ])?;
    Ok(())
}

/// Partitions that nobody asked about for so long: topics that are gone, clusters that are not asked any more.
fn forget(db: &Db<'_>, before_ms: i64) -> Done<()> {
    let old = "SELECT id FROM index_partition WHERE asked_ms < ?1";
    db.conn.prepare_cached(&format!("DELETE FROM offset_index WHERE partition IN ({old})"))?.execute([before_ms])?;
    db.conn.prepare_cached("DELETE FROM index_partition WHERE asked_ms < ?1")?.execute([before_ms])?;
    Ok(())
}

/// Between which times these offsets arrived.
pub(super) fn arrivals(conn: &Connection, cluster: &str, asked: &[(String, i32, i64)]) -> Done<Vec<Bracket>> {
    let mut partition =
        conn.prepare_cached("SELECT id FROM index_partition WHERE cluster = ?1 AND topic = ?2 AND partition = ?3")?;
    let mut after = conn.prepare_cached(
        "SELECT last_ms FROM offset_index WHERE partition = ?1 AND end_offset <= ?2 ORDER BY end_offset DESC LIMIT 1",
    )?;
    let mut before = conn.prepare_cached(
        "SELECT first_ms FROM offset_index WHERE partition = ?1 AND end_offset > ?2 ORDER BY end_offset LIMIT 1",
    )?;
    let mut found = Vec::with_capacity(asked.len());
    for (topic, number, offset) in asked {
        let id: Option<i64> = partition.query_row(params![cluster, topic, number], |r| r.get(0)).optional()?;
        let Some(id) = id else {
            found.push(Bracket::default());
            continue;
        };
        found.push(Bracket {
            after_ms: after.query_row([id, *offset], |r| r.get(0)).optional()?,
            before_ms: before.query_row([id, *offset], |r| r.get(0)).optional()?,
        });
    }
    Ok(found)
}

/// The clusters that were looked at since then.
pub(super) fn report(conn: &Connection, since_ms: i64) -> Done<LagReport> {
    let mut statement = conn.prepare_cached(
        "SELECT cluster, at_ms, every_ms, groups, left_out FROM lag_round WHERE at_ms >= ?1 ORDER BY cluster",
    )?;
    let rounds = statement.query_map([since_ms], |r| {
        Ok(Round { cluster: r.get(0)?, at_ms: r.get(1)?, every_ms: r.get(2)?, groups: r.get(3)?, left_out: r.get(4)? })
    })?;
    let rounds = rounds.collect::<Result<_, _>>()?;
    let mut statement = conn.prepare_cached(include_str!("sql/lag_rows.sql"))?;
    let mut found = statement.query([since_ms])?;
    let mut rows = Vec::new();
    while let Some(r) = found.next()? {
        rows.push(read_row(r)?);
    }
    Ok(LagReport { rounds, rows })
}

fn read_row(r: &Row<'_>) -> Done<GroupLag> {
    let trend = |word: String| Trend::parse(&word).ok_or_else(|| Fault::stored("trend")(format!("'{word}' is none")));
    let state = |word: String| State::parse(&word).ok_or_else(|| Fault::stored("state")(format!("'{word}' is none")));
    Ok(GroupLag {
        cluster: r.get(0)?,
        group: r.get(1)?,
        topic: r.get(2)?,
        partition: Some(r.get(3)?),
        at_ms: r.get(4)?,
        state: state(r.get(5)?)?,
        committed: r.get(6)?,
        end: r.get(7)?,
        log_start: r.get(8)?,
        messages: r.get::<_, Option<i64>>(9)?.map(count),
        lag_ms: r.get(10)?,
        error_ms: r.get(11)?,
        at_least: r.get(12)?,
        trend: trend(r.get(13)?)?,
        lag_trend: trend(r.get(14)?)?,
        produced_per_s: r.get(15)?,
        consumed_per_s: r.get(16)?,
        catch_up_ms: r.get(17)?,
        retention_left_ms: r.get(18)?,
        eaten: count(r.get(19)?),
        held: r.get(20)?,
    })
}
