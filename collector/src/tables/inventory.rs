//! Who is expected to report, and how many of them do; which hops are in trouble.
//!
//! Invariant: a row of `expected_reporter` is there for each expectation of the pipelines in effect and for no other; its
//! state is that of the last judgement, and `since_ms` when it became so.

use super::gather::millis;
use crate::db::{AsValue, Db, Done, Fault, Tx, count, params};
use crate::pipeline::{Expected, Pipelines, Presence};
use crate::query::{ExpectedState, HopTrouble};
use crate::verdict::Verdict;

/// Counts who lives, and writes what is new; returns whether anything was.
pub(super) fn take(db: &Db<'_>, now_ms: i64, pipelines: &Pipelines) -> Done<bool> {
    let mut wrote = false;
    for pipeline in &pipelines.list {
        for expected in &pipeline.expected {
            wrote |= count_one(db.tx, expected, now_ms, millis(pipeline.silent_after))?;
        }
    }
    let known: Vec<(String, String)> = db.tx.query(
        "SELECT stage, application FROM expected_reporter ORDER BY stage, application",
        params![],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )?;
    for (stage, application) in known {
        let mut expected = pipelines.list.iter().flat_map(|p| &p.expected);
        if !expected.any(|e| e.stage == stage && e.application == application) {
            let sql = "DELETE FROM expected_reporter WHERE stage = ?1 AND application = ?2";
            db.tx.execute(sql, params![stage, application])?;
            wrote = true;
        }
    }
    Ok(wrote)
}

fn count_one(tx: &dyn Tx, expected: &Expected, now_ms: i64, silent_after_ms: i64) -> Done<bool> {
    let heard_ms = now_ms.saturating_sub(silent_after_ms);
    let place = params![expected.stage, expected.application];
    let asked = params![expected.stage, expected.application, heard_ms];
    let (live, ever): (u32, bool) =
        tx.one(include_str!("sql/expected_count.sql"), asked, |r| Ok((r.get(0)?, r.get::<i64>(1)? > 0)))?;
    let state = Presence::of(live, expected.at_least, ever).as_str();
    let old: Option<(u32, u32, String, i64)> = tx.first(
        "SELECT at_least, live, state, since_ms FROM expected_reporter WHERE stage = ?1 AND application = ?2",
        place,
        |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
    )?;
    let since_ms = old.as_ref().filter(|old| old.2 == state).map_or(now_ms, |old| old.3);
    if old == Some((expected.at_least, live, state.to_owned(), since_ms)) {
        return Ok(false);
    }
    let row = params![expected.stage, expected.application, expected.at_least, live, state, since_ms];
    tx.execute(include_str!("sql/expected_replace.sql"), row)?;
    Ok(true)
}

/// All expectations, by stage and application.
pub(super) fn expected(tx: &dyn Tx) -> Done<Vec<ExpectedState>> {
    let all =
        "SELECT stage, application, at_least, live, state, since_ms FROM expected_reporter ORDER BY stage, application";
    tx.query(all, params![], |r| {
        let word: String = r.get(4)?;
        let presence = Presence::parse(&word).ok_or_else(|| Fault::stored("presence")(format!("'{word}' is none")))?;
        let (stage, application) = (r.get(0)?, r.get(1)?);
        Ok(ExpectedState {
            stage,
            application,
            at_least: r.get(2)?,
            live: r.get(3)?,
            state: presence,
            since_ms: r.get(5)?,
        })
    })
}

/// Hops with windows from `from_ms` on that are not *ok*, by verdict; by topic and hop.
pub(super) fn trouble(tx: &dyn Tx, from_ms: i64) -> Done<Vec<HopTrouble>> {
    tx.query(include_str!("sql/trouble.sql"), params![from_ms], |r| {
        let word: String = r.get(3)?;
        let verdict = Verdict::parse(&word).ok_or_else(|| Fault::stored("verdict")(format!("'{word}' is none")))?;
        Ok(HopTrouble {
            topic: r.get(0)?,
            from_stage: r.get(1)?,
            to_stage: r.get(2)?,
            verdict,
            windows: count(r.get(4)?),
            missing_min: count(r.get(5)?),
            surplus_min: count(r.get(6)?),
            delayed: count(r.get(7)?),
        })
    })
}
