//! Many topics at a glance: what of each of them stood for which part of a range, without names and reasons.
//!
//! A page of topics draws a strip for each of them: all are read at once, and nothing of a row that is not drawn.
//! Invariant: as of [bins](super::bins), no verdict is in two rows of an answer.

use super::bins::frame;
use super::hop_levels::Counted;
use super::levels::Levels;
use super::reader::bounds;
use crate::db::{AsValue, Done, Fault, Row, Tx, count, params};
use crate::query::{BinQuery, Bins, Glance};
use crate::retention::BINS_MS;

/// An answer for each question, in their order; rows newest first.
pub(super) fn read(tx: &dyn Tx, queries: &[BinQuery]) -> Done<Vec<Bins<Glance>>> {
    let levels = Levels::now(tx)?;
    queries.iter().map(|q| one(tx, &levels, q)).collect()
}

fn one(tx: &dyn Tx, levels: &Levels, q: &BinQuery) -> Done<Bins<Glance>> {
    let (width_ms, range) = frame(levels, q);
    let mut answer = Bins { width_ms, from_ms: range.from_ms, to_ms: range.to_ms, rows: Vec::new() };
    let (Some(topic), limit) = bounds(tx, &range)?.unwrap_or_default() else { return Ok(answer) };
    let of = params![width_ms, range.from_ms, range.to_ms, limit, topic];
    let rows = &mut answer.rows;
    let window = &mut |r: &Row<'_>| {
        let bounds = [r.get(4)?, r.get(5)?, r.get(6)?, r.get(7)?].map(count);
        let mut one = glance(r, &Counted::of(r.get(2)?, &r.get::<String>(3)?, bounds)?)?;
        one.caveats = serde_json::from_str(&r.get::<String>(8)?).map_err(Fault::stored("caveats"))?;
        rows.push(one);
        Ok(true)
    };
    if width_ms == BINS_MS[0] {
        tx.each(include_str!("sql/glance_windows.sql"), of, window)?;
        return Ok(answer);
    }
    // As they were judged: so wide, or wider.
    tx.each(include_str!("sql/glance_wide.sql"), of, window)?;
    let wide = !rows.is_empty();
    tx.each(include_str!("sql/glance_slices.sql"), of, &mut |r| {
        rows.push(glance(r, &Counted::read(r, 2)?)?);
        Ok(true)
    })?;
    if wide {
        rows.sort_by_key(|g| std::cmp::Reverse(g.window_ms));
        rows.truncate(limit as usize);
    }
    Ok(answer)
}

fn glance(r: &Row<'_>, counted: &Counted) -> Done<Glance> {
    let verdicts = counted.verdicts();
    let [missing_min, surplus_min, delayed, _] = counted.bounds();
    let windows = verdicts.values().sum();
    Ok(Glance {
        window_ms: r.get(0)?,
        width_ms: r.get(1)?,
        windows,
        verdicts,
        caveats: Vec::new(),
        missing_min,
        surplus_min,
        delayed,
    })
}
