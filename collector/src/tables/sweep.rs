//! The sweep: adds windows to the wider levels once they are old enough, and drops what was kept for its time.
//!
//! One step is one transaction over a few thousand rows, so that nobody who writes waits long for it; what is not done is
//! done at the next. Jobs run through slices of time, and within a slice through topics, by their marks
//! ([`levels`](super::levels)). Invariants: a row is added to the wider levels exactly once, in the transaction that moves the
//! mark past it; a row is dropped only after that; ten minutes of a topic with evidence in them are kept whole, at every
//! width, until `incidents` is over. Where several judge, a step that drops counts as a judgement: what was found out
//! from rows that are gone is not written.
//!
//! Evidence: a verdict with a bound above zero, an amendment, one that is neither *ok*, *partial*, *unproven* nor *no
//! report*, or a window in the judge's queue.

use std::collections::BTreeSet;

use super::levels::{AGED, GROUP_MS, Levels, Mark, ROLL, WINDOWS_MS, range};
use super::totals::Moves;
use crate::db::{AsValue, Db, Done, Tx, Value, params};
use crate::retention::{BINS_MS, LEVELS_MS, Retention, Swept, floor_ms};

/// Windows younger than this are not rolled up: most of their reports are still to come.
const ROLL_AFTER_MS: i64 = 900_000;
/// What is rolled up at once, ms.
const ROLL_MS: i64 = 600_000;
/// What is dropped at once, ms.
const DROP_MS: i64 = 3_600_000;
/// Rows that a step reads or drops, about; and topics that it looks at without finding any.
const ROWS: u64 = 4_000;
/// Groups that had evidence which a step drops at most.
const AGED_GROUPS: u32 = 20;

/// One step of the first job that has something to do.
pub(super) fn step(db: &mut Db<'_>, now_ms: i64, retention: &Retention) -> Done<Swept> {
    // Nobody is held up to find out that there is nothing to do.
    let seen = Levels::now(db.tx)?;
    if roll_next(db.tx, &seen, now_ms)?.is_some() {
        return roll(db, now_ms);
    }
    for width_ms in BINS_MS {
        if drop_next(db.tx, &seen, now_ms, retention, width_ms)?.is_some() {
            return drop_some(db, now_ms, retention, width_ms);
        }
    }
    let old_ms = floor_ms(now_ms.saturating_sub(retention.incidents_ms()), DROP_MS);
    if seen.mark(AGED).from_ms < old_ms || has_aged(db.tx, old_ms)? {
        return aged(db, old_ms);
    }
    Ok(Swept::default())
}

/// The marks, as they stay until the transaction ends: nobody writes totals meanwhile.
fn held(db: &Db<'_>) -> Done<Levels> {
    if db.tx.is_shared() {
        db.tx.each(include_str!("sql/sweep_alone.sql"), params![], &mut |_| Ok(true))?;
    }
    Levels::now(db.tx)
}

/// Likewise, and what is being judged counts for nothing.
fn alone(db: &Db<'_>) -> Done<Levels> {
    if db.tx.is_shared() {
        db.tx.execute("UPDATE judged SET term = term + 1 WHERE term >= ?1", params![0i64])?;
    }
    held(db)
}

fn first_window(tx: &dyn Tx, from_ms: i64) -> Done<Option<i64>> {
    tx.one("SELECT min(window_ms) FROM stage_window WHERE window_ms >= ?1", params![from_ms], |r| r.get(0))
}

/// Where rolling up goes on, if there is anything.
fn roll_next(tx: &dyn Tx, levels: &Levels, now_ms: i64) -> Done<Option<Mark>> {
    let mark = levels.mark(ROLL);
    if mark.from_ms < mark.to_ms {
        return Ok(Some(mark));
    }
    let Some(first_ms) = first_window(tx, mark.to_ms)? else { return Ok(None) };
    let from_ms = floor_ms(first_ms, ROLL_MS);
    let to_ms = from_ms.saturating_add(ROLL_MS);
    Ok((to_ms <= now_ms.saturating_sub(ROLL_AFTER_MS)).then_some(Mark { from_ms, to_ms, topic: 0 }))
}

fn roll(db: &Db<'_>, now_ms: i64) -> Done<Swept> {
    let levels = held(db)?;
    let Some(mut mark) = roll_next(db.tx, &levels, now_ms)? else {
        return Ok(Swept { more: true, ..Swept::default() });
    };
    let (mut rolled, mut looked) = (0, 0);
    loop {
        let next = "SELECT topic FROM stage_window WHERE topic > ?1 ORDER BY topic LIMIT 1";
        let Some(topic) = db.tx.first(next, params![mark.topic], |r| r.get(0))? else {
            mark = Mark { from_ms: mark.to_ms, to_ms: mark.to_ms, topic: 0 };
            break;
        };
        rolled += roll_topic(db, topic, (mark.from_ms, mark.to_ms))?;
        looked += 1;
        mark.topic = topic;
        if rolled + looked >= ROWS {
            break;
        }
    }
    Levels::save(db, ROLL, mark)?;
    Ok(Swept { rolled, more: true, ..Swept::default() })
}

fn roll_topic(db: &Db<'_>, topic: i64, (from_ms, to_ms): (i64, i64)) -> Done<u64> {
    let mut moves = Moves::default();
    let mut rows = 0;
    db.tx.each(include_str!("sql/roll_rows.sql"), params![topic, from_ms, to_ms], &mut |r| {
        let (stage, class, width_ms, window_ms): (i64, i64, i64, i64) =
            (r.get(14)?, r.get(15)?, r.get(16)?, r.get(17)?);
        let wider = LEVELS_MS.into_iter().filter(|level_ms| *level_ms > width_ms);
        let to: Vec<(i64, i64)> = wider.map(|level_ms| (floor_ms(window_ms, level_ms), level_ms)).collect();
        moves.roll(r, (topic, stage, class), &to)?;
        rows += 1;
        Ok(true)
    })?;
    moves.write(db)?;
    Ok(rows)
}

/// Where dropping rows of a width goes on, if there is anything.
fn drop_next(tx: &dyn Tx, levels: &Levels, now_ms: i64, retention: &Retention, width_ms: i64) -> Done<Option<Mark>> {
    let mark = levels.mark(width_ms);
    if mark.from_ms < mark.to_ms {
        return Ok(Some(mark));
    }
    let old_ms = now_ms.saturating_sub(retention.of_ms(width_ms));
    let end_ms = old_ms.min(levels.mark(ROLL).from_ms);
    if mark.to_ms.saturating_add(DROP_MS) > end_ms {
        return Ok(None);
    }
    let first_ms = tx.one(include_str!("sql/drop_first.sql"), params![mark.to_ms, width_ms], |r| {
        let of: [Option<i64>; 4] = [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?];
        Ok(of.into_iter().flatten().min())
    })?;
    let Some(first_ms) = first_ms else { return Ok(None) };
    let from_ms = floor_ms(first_ms, DROP_MS);
    let to_ms = from_ms.saturating_add(DROP_MS);
    Ok((to_ms <= end_ms).then_some(Mark { from_ms, to_ms, topic: 0 }))
}

fn drop_some(db: &mut Db<'_>, now_ms: i64, retention: &Retention, width_ms: i64) -> Done<Swept> {
    let levels = alone(db)?;
    let Some(mut mark) = drop_next(db.tx, &levels, now_ms, retention, width_ms)? else {
        return Ok(Swept { more: true, ..Swept::default() });
    };
    let (mut dropped, mut looked) = (0, 0);
    loop {
        let Some(topic) = next_topic(db.tx, mark.topic)? else {
            if width_ms == 3_600_000 {
                dropped += drop_rest(db, mark.to_ms)?;
            }
            mark = Mark { from_ms: mark.to_ms, to_ms: mark.to_ms, topic: 0 };
            break;
        };
        dropped += drop_topic(db, topic, (mark.from_ms, mark.to_ms), width_ms)?;
        looked += 1;
        mark.topic = topic;
        if dropped + looked >= ROWS {
            break;
        }
    }
    Levels::save(db, width_ms, mark)?;
    if dropped > 0 {
        db.bump();
    }
    Ok(Swept { dropped, more: true, ..Swept::default() })
}

/// The next topic that has rows of any width.
fn next_topic(tx: &dyn Tx, after: i64) -> Done<Option<i64>> {
    tx.one(include_str!("sql/drop_topic.sql"), params![after], |r| {
        let of: [Option<i64>; 4] = [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?];
        Ok(of.into_iter().flatten().min())
    })
}

/// Drops rows of a width; groups with evidence are noted and left.
fn drop_topic(db: &Db<'_>, topic: i64, (from_ms, to_ms): (i64, i64), width_ms: i64) -> Done<u64> {
    let kept = if width_ms < 3_600_000 { evidence(db.tx, topic, (from_ms, to_ms))? } else { BTreeSet::new() };
    let notes: Vec<Value<'_>> = kept.iter().flat_map(|group_ms| [width_ms, *group_ms, topic].map(Value::Int)).collect();
    db.tx.execute_many(include_str!("sql/kept_insert.sql"), 3, &notes)?;
    let mut dropped = 0;
    let mut begin_ms = from_ms;
    for end_ms in kept.iter().copied().chain([to_ms]) {
        if begin_ms < end_ms {
            dropped += delete(db, topic, (begin_ms, end_ms), width_ms)?;
        }
        begin_ms = end_ms.saturating_add(GROUP_MS);
    }
    Ok(dropped)
}

/// Groups of ten minutes with evidence in them.
fn evidence(tx: &dyn Tx, topic: i64, (from_ms, to_ms): (i64, i64)) -> Done<BTreeSet<i64>> {
    let mut groups = BTreeSet::new();
    tx.each(include_str!("sql/evidence.sql"), params![topic, from_ms, to_ms], &mut |r| {
        groups.insert(floor_ms(r.get(0)?, GROUP_MS));
        Ok(true)
    })?;
    Ok(groups)
}

/// Deletes the rows of a width in a range of a topic.
fn delete(db: &Db<'_>, topic: i64, span: (i64, i64), width_ms: i64) -> Done<u64> {
    const WINDOWS: [&str; 4] = [
        "DELETE FROM stage_window WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND width_ms = ?4",
        "DELETE FROM hop_window WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND width_ms = ?4",
        "DELETE FROM tap_window WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND width_ms = ?4",
        "DELETE FROM reporter_window WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND width_ms = ?4",
    ];
    const LEVELS: [&str; 2] = [
        "DELETE FROM stage_level WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND level_ms = ?4",
        "DELETE FROM hop_level WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND level_ms = ?4",
    ];
    let of = range(topic, span, width_ms);
    let mut dropped = 0;
    let windows = WINDOWS.into_iter().filter(|_| width_ms < 3_600_000);
    for sql in windows.chain(LEVELS.into_iter().filter(|_| width_ms > WINDOWS_MS)) {
        dropped += db.tx.execute(sql, &of)?;
    }
    Ok(dropped)
}

/// The hour is over for all topics: with its last rows goes what is known about its time.
fn drop_rest(db: &Db<'_>, to_ms: i64) -> Done<u64> {
    const REST: [&str; 6] = [
        "DELETE FROM amendment WHERE window_ms < ?1",
        "DELETE FROM kept WHERE window_ms < ?1",
        "DELETE FROM pending WHERE window_ms < ?1",
        "DELETE FROM stage_flag WHERE to_ms < ?1",
        "DELETE FROM stage_rule WHERE last_ms < ?1",
        "DELETE FROM unaudited WHERE to_offset IS NOT NULL AND to_event_ms < ?1",
    ];
    let mut dropped = 0;
    for sql in REST {
        dropped += db.tx.execute(sql, params![to_ms])?;
    }
    Ok(dropped)
}

fn has_aged(tx: &dyn Tx, old_ms: i64) -> Done<bool> {
    tx.exists("SELECT 1 FROM kept WHERE window_ms < ?1 LIMIT 1", params![old_ms])
}

/// Drops groups whose evidence is old enough. Verdicts over them stand from now on: whatever comes is counted only.
fn aged(db: &mut Db<'_>, old_ms: i64) -> Done<Swept> {
    let levels = alone(db)?;
    let mut mark = levels.mark(AGED);
    (mark.from_ms, mark.to_ms) = (mark.from_ms.max(old_ms), mark.to_ms.max(old_ms));
    Levels::save(db, AGED, mark)?;
    let sql =
        "SELECT topic, window_ms, level_ms FROM kept WHERE window_ms < ?1 ORDER BY window_ms, level_ms, topic LIMIT ?2";
    let groups: Vec<(i64, i64, i64)> =
        db.tx.query(sql, params![old_ms, AGED_GROUPS], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let mut dropped = 0;
    for (topic, group_ms, width_ms) in &groups {
        let span = (*group_ms, group_ms.saturating_add(GROUP_MS));
        dropped += delete(db, *topic, span, *width_ms)?;
        let of = range(*topic, span, *width_ms);
        let sql = "DELETE FROM pending WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND width_ms = ?4";
        dropped += db.tx.execute(sql, &of)?;
    }
    let keys: Vec<Value<'_>> =
        groups.iter().flat_map(|(topic, group_ms, width_ms)| [*topic, *group_ms, *width_ms].map(Value::Int)).collect();
    let sql = "DELETE FROM kept WHERE topic = ?1 AND window_ms = ?2 AND level_ms = ?3";
    dropped += db.tx.execute_many(sql, 3, &keys)?;
    if dropped > 0 {
        db.bump();
    }
    Ok(Swept { dropped, more: groups.len() == AGED_GROUPS as usize, ..Swept::default() })
}
