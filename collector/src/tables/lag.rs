//! Lag of consumer groups: the rows of the last look, and the index of where partitions ended.
//!
//! A look replaces the rows of its cluster whole. The index only grows at its newer end: a partition that ends where it
//! ended keeps its row, one that ends earlier is another log and begins anew. What lies below the log start, or is older
//! than [`INDEX_KEPT_MS`], goes again. Two processes that look at the same cluster write the same.

use crate::db::{AsValue, Db, Done, Fault, Row, Tx, Value, count, int, params};
use crate::lag::{Bracket, Ended, GroupLag, INDEX_KEPT_MS, LagReport, LagRound, Round, Run, State, Trend};

/// Replaces a cluster's rows and notes where its partitions ended. The row of the round first: two processes that look
/// at one cluster come one after the other.
pub(super) fn note(db: &mut Db<'_>, round: &LagRound) -> Done<()> {
    let about = &round.about;
    let head = params![about.cluster, about.at_ms, about.every_ms, about.groups, about.left_out];
    db.tx.execute(include_str!("sql/lag_round.sql"), head)?;
    db.tx.execute("DELETE FROM group_lag WHERE cluster = ?1", params![about.cluster])?;
    insert_rows(db, &round.rows)?;
    if !round.index.is_empty() {
        for ended in &round.index {
            add(db, &about.cluster, ended, about.at_ms)?;
        }
        forget(db, about.at_ms - INDEX_KEPT_MS)?;
    }
    db.bump();
    Ok(())
}

fn insert_rows(db: &Db<'_>, rows: &[GroupLag]) -> Done<()> {
    // What is no column of the row as it is.
    let derived = |row: &GroupLag| (row.partition.unwrap_or(-1), row.messages.map(int), int(row.eaten));
    let derived: Vec<_> = rows.iter().map(derived).collect();
    let mut values: Vec<Value<'_>> = Vec::with_capacity(rows.len() * 21);
    for (row, (partition, messages, eaten)) in rows.iter().zip(&derived) {
        let state: (&str, &str, &str) = (row.state.as_str(), row.trend.as_str(), row.lag_trend.as_str());
        values.extend(params![row.cluster, row.group, row.topic, partition, row.at_ms]);
        values.extend([Value::Text(state.0)]);
        values.extend(params![row.committed, row.end, row.log_start, messages, row.lag_ms, row.error_ms, row.at_least]);
        values.extend([Value::Text(state.1), Value::Text(state.2)]);
        values.extend(params![row.produced_per_s, row.consumed_per_s, row.catch_up_ms, row.retention_left_ms]);
        values.extend(params![eaten, row.held]);
    }
    db.tx.execute_many(include_str!("sql/lag_insert.sql"), 21, &values)?;
    Ok(())
}

fn add(db: &Db<'_>, cluster: &str, ended: &Ended, now_ms: i64) -> Done<()> {
    let Run { end, first_ms, last_ms } = ended.run;
    let sql = "INSERT INTO index_partition (cluster, topic, partition, asked_ms) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (cluster, topic, partition) DO UPDATE SET asked_ms = excluded.asked_ms RETURNING id";
    let of = params![cluster, ended.topic, ended.partition, now_ms];
    let partition: i64 = db.tx.one(sql, of, |r| r.get(0))?;
    let sql = "SELECT end_offset, last_ms FROM offset_index WHERE partition = ?1 ORDER BY end_offset DESC LIMIT 1";
    let newest: Option<(i64, i64)> = db.tx.first(sql, params![partition], |r| Ok((r.get(0)?, r.get(1)?)))?;
    // A clock that was set back, too: rows that are not in the order of time bracket nothing.
    if ended.anew || newest.is_some_and(|(before, at_ms)| end < before || last_ms < at_ms) {
        db.tx.execute("DELETE FROM offset_index WHERE partition = ?1", params![partition])?;
    }
    let sql = "INSERT INTO offset_index (partition, end_offset, first_ms, last_ms) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (partition, end_offset) DO UPDATE SET last_ms = excluded.last_ms";
    db.tx.execute(sql, params![partition, end, first_ms, last_ms])?;
    let (start, oldest) = (ended.log_start.unwrap_or(i64::MIN), now_ms - INDEX_KEPT_MS);
    db.tx.execute(include_str!("sql/index_prune.sql"), params![partition, start, oldest])?;
    Ok(())
}

/// Partitions that nobody asked about for so long: topics that are gone, clusters that are not asked any more.
fn forget(db: &Db<'_>, before_ms: i64) -> Done<()> {
    let sql = "DELETE FROM offset_index WHERE partition IN (SELECT id FROM index_partition WHERE asked_ms < ?1)";
    db.tx.execute(sql, params![before_ms])?;
    db.tx.execute("DELETE FROM index_partition WHERE asked_ms < ?1", params![before_ms])?;
    Ok(())
}

const PARTITION: &str = "SELECT id FROM index_partition WHERE cluster = ?1 AND topic = ?2 AND partition = ?3";
const AFTER: &str =
    "SELECT last_ms FROM offset_index WHERE partition = ?1 AND end_offset <= ?2 ORDER BY end_offset DESC LIMIT 1";
const BEFORE: &str =
    "SELECT first_ms FROM offset_index WHERE partition = ?1 AND end_offset > ?2 ORDER BY end_offset LIMIT 1";

/// Between which times these offsets arrived.
pub(super) fn arrivals(tx: &dyn Tx, cluster: &str, asked: &[(String, i32, i64)]) -> Done<Vec<Bracket>> {
    let keys: Vec<Value<'_>> = asked.iter().flat_map(|(topic, number, _)| *params![cluster, topic, number]).collect();
    let ids = tx.first_many(PARTITION, 3, &keys, |r| r.get::<i64>(0))?;
    let known: Vec<(usize, i64, i64)> =
        ids.iter().zip(asked).zip(0..).filter_map(|((id, (_, _, offset)), i)| Some((i, (*id)?, *offset))).collect();
    let keys: Vec<Value<'_>> = known.iter().flat_map(|(_, id, offset)| *params![id, offset]).collect();
    let after = tx.first_many(AFTER, 2, &keys, |r| r.get(0))?;
    let before = tx.first_many(BEFORE, 2, &keys, |r| r.get(0))?;
    let mut found = vec![Bracket::default(); asked.len()];
    for ((i, _, _), (after_ms, before_ms)) in known.iter().zip(after.into_iter().zip(before)) {
        if let Some(bracket) = found.get_mut(*i) {
            *bracket = Bracket { after_ms, before_ms };
        }
    }
    Ok(found)
}

/// The clusters that were looked at since then.
pub(super) fn report(tx: &dyn Tx, since_ms: i64) -> Done<LagReport> {
    let sql = "SELECT cluster, at_ms, every_ms, groups, left_out FROM lag_round WHERE at_ms >= ?1 ORDER BY cluster";
    let rounds = tx.query(sql, params![since_ms], |r| {
        Ok(Round { cluster: r.get(0)?, at_ms: r.get(1)?, every_ms: r.get(2)?, groups: r.get(3)?, left_out: r.get(4)? })
    })?;
    let rows = tx.query(include_str!("sql/lag_rows.sql"), params![since_ms], read_row)?;
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
        messages: r.get::<Option<i64>>(9)?.map(count),
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
