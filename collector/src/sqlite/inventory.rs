//! Who is expected to report, and how many of them do; which hops are in trouble.
//!
//! Invariant: a row of `expected_reporter` is there for each expectation of the pipelines in effect and for no other; its
//! state is that of the last judgement, and `since_ms` when it became so.

use rusqlite::{Connection, OptionalExtension, params};

use super::db::{Db, Done, Fault, count};
use super::gather::millis;
use crate::pipeline::{Expected, Pipelines, Presence};
use crate::query::{ExpectedState, HopTrouble};
use crate::verdict::Verdict;

/// Counts who lives, and writes what is new; returns whether anything was.
pub(super) fn take(db: &Db<'_>, now_ms: i64, pipelines: &Pipelines) -> Done<bool> {
    let mut wrote = false;
    for pipeline in &pipelines.list {
        for expected in &pipeline.expected {
            wrote |= count_one(db, expected, now_ms, millis(pipeline.silent_after))?;
        }
    }
    let mut statement = db.conn.prepare_cached("SELECT stage, application FROM expected_reporter")?;
    let known = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let known: Vec<(String, String)> = known.collect::<Result<_, _>>()?;
    for (stage, application) in known {
        let mut expected = pipelines.list.iter().flat_map(|p| &p.expected);
        if !expected.any(|e| e.stage == stage && e.application == application) {
            let sql = "DELETE FROM expected_reporter WHERE stage = ?1 AND application = ?2";
            db.conn.prepare_cached(sql)?.execute([stage, application])?;
            wrote = true;
        }
    }
    Ok(wrote)
}

fn count_one(db: &Db<'_>, expected: &Expected, now_ms: i64, silent_after_ms: i64) -> Done<bool> {
    let heard_ms = now_ms.saturating_sub(silent_after_ms);
    let mut statement = db.conn.prepare_cached(include_str!("sql/expected_count.sql"))?;
    let (live, ever): (u32, bool) =
        statement.query_row(params![expected.stage, expected.application, heard_ms], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let state = Presence::of(live, expected.at_least, ever).as_str();
    let place = params![expected.stage, expected.application];
    let mut statement = db.conn.prepare_cached(
        "SELECT at_least, live, state, since_ms FROM expected_reporter WHERE stage = ?1 AND application = ?2",
    )?;
    let old: Option<(u32, u32, String, i64)> =
        statement.query_row(place, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).optional()?;
    let since_ms = old.as_ref().filter(|old| old.2 == state).map_or(now_ms, |old| old.3);
    if old == Some((expected.at_least, live, state.to_owned(), since_ms)) {
        return Ok(false);
    }
    let row = params![expected.stage, expected.application, expected.at_least, live, state, since_ms];
    db.conn.prepare_cached(include_str!("sql/expected_replace.sql"))?.execute(row)?;
    Ok(true)
}

/// All expectations, by stage and application.
pub(super) fn expected(conn: &Connection) -> Done<Vec<ExpectedState>> {
    let mut statement = conn.prepare_cached(
        "SELECT stage, application, at_least, live, state, since_ms FROM expected_reporter ORDER BY stage, application",
    )?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(r) = rows.next()? {
        let word: String = r.get(4)?;
        let presence = Presence::parse(&word).ok_or_else(|| Fault::stored("presence")(format!("'{word}' is none")))?;
        let (stage, application) = (r.get(0)?, r.get(1)?);
        all.push(ExpectedState {
            stage,
            application,
            at_least: r.get(2)?,
            live: r.get(3)?,
            state: presence,
            since_ms: r.get(5)?,
        });
    }
    Ok(all)
}

/// Hops with windows from `from_ms` on that are not *ok*, by verdict; by topic and hop.
pub(super) fn trouble(conn: &Connection, from_ms: i64) -> Done<Vec<HopTrouble>> {
    let mut statement = conn.prepare_cached(include_str!("sql/trouble.sql"))?;
    let mut rows = statement.query([from_ms])?;
    let mut all = Vec::new();
    while let Some(r) = rows.next()? {
        let word: String = r.get(3)?;
        let verdict = Verdict::parse(&word).ok_or_else(|| Fault::stored("verdict")(format!("'{word}' is none")))?;
        all.push(HopTrouble {
            topic: r.get(0)?,
            from_stage: r.get(1)?,
            to_stage: r.get(2)?,
            verdict,
            windows: count(r.get(4)?),
            missing_min: count(r.get(5)?),
            surplus_min: count(r.get(6)?),
            delayed: count(r.get(7)?),
        });
    }
    Ok(all)
}
