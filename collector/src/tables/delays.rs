//! How long messages took, of many topics at once: the histograms of a range, added up.
//!
//! A range is told from the same two levels as [topics at a glance](super::summary), and what has not been rolled up yet from
//! the windows. Invariant: no message counts twice.

use chaperone_audit::Histogram;

use super::levels::{Levels, Mark, ROLL, WINDOWS_MS};
use super::reader::bounds;
use super::summary::parts;
use crate::db::{AsValue, Done, Fault, Row, Tx, count, find_name, params};
use crate::query::{DelayQuery, Delays};

/// An answer for each question, in their order.
pub(super) fn read(tx: &dyn Tx, queries: &[DelayQuery]) -> Done<Vec<Delays>> {
    let levels = Levels::now(tx)?;
    queries.iter().map(|q| one(tx, &levels, q)).collect()
}

fn one(tx: &dyn Tx, levels: &Levels, q: &DelayQuery) -> Done<Delays> {
    let mut answer = Delays::default();
    let (Some(topic), _) = bounds(tx, &q.range)?.unwrap_or_default() else { return Ok(answer) };
    let parts = parts(levels, q.range.from_ms, q.range.to_ms);
    let rolled_ms = rolled_until(&levels.mark(ROLL), topic);
    for stage in q.stages.iter().rev() {
        let Some(number) = find_name(tx, stage)? else { continue };
        for ((from_ms, to_ms), level_ms) in parts {
            let split_ms = if level_ms == WINDOWS_MS { from_ms } else { rolled_ms.clamp(from_ms, to_ms.max(from_ms)) };
            totals(tx, (topic, number), (from_ms, split_ms), level_ms, &mut answer.hist)?;
            totals(tx, (topic, number), (split_ms, to_ms), WINDOWS_MS, &mut answer.hist)?;
        }
        if answer.hist.total() > 0 {
            answer.stage = Some(stage.clone());
            break;
        }
    }
    if q.delayed {
        for (range, level_ms) in parts {
            absent(tx, topic, range, level_ms, &mut answer.absent)?;
        }
    }
    Ok(answer)
}

/// Windows of the topic that began before this are in the wider levels.
fn rolled_until(mark: &Mark, topic: i64) -> i64 {
    if topic <= mark.topic { mark.to_ms } else { mark.from_ms }
}

/// Adds what the rows of a level count, or the windows.
fn totals(
    tx: &dyn Tx,
    (topic, stage): (i64, i64),
    (from_ms, to_ms): (i64, i64),
    level_ms: i64,
    sum: &mut Histogram,
) -> Done<()> {
    if from_ms >= to_ms {
        return Ok(());
    }
    let row = &mut |r: &Row<'_>| {
        sum.add(&Histogram::decode(&r.get::<String>(0)?).map_err(Fault::stored("histogram"))?);
        Ok(true)
    };
    if level_ms == WINDOWS_MS {
        return tx.each(include_str!("sql/delays_windows.sql"), params![topic, from_ms, to_ms, stage], row);
    }
    let of = params![topic, from_ms, to_ms, stage, level_ms];
    tx.each(include_str!("sql/delays_level.sql"), of, row)?;
    // What is as wide was counted so.
    tx.each(include_str!("sql/delays_wide.sql"), of, row)
}

/// What is on its way, by slice.
fn absent(
    tx: &dyn Tx,
    topic: i64,
    (from_ms, to_ms): (i64, i64),
    level_ms: i64,
    found: &mut Vec<(u64, i64)>,
) -> Done<()> {
    if from_ms >= to_ms {
        return Ok(());
    }
    let row = &mut |r: &Row<'_>| {
        found.push((count(r.get(0)?), r.get(1)?));
        Ok(true)
    };
    let of = params![topic, from_ms, to_ms, level_ms];
    if level_ms == WINDOWS_MS {
        return tx.each(include_str!("sql/delays_absent_windows.sql"), of, row);
    }
    tx.each(include_str!("sql/delays_absent_wide.sql"), of, row)?;
    tx.each(include_str!("sql/delays_absent_level.sql"), of, row)
}
