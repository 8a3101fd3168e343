//! Answers over long ranges: from the level that fits, with what was counted in wider windows as it is.
//!
//! Invariant: no message and no verdict is in two rows of an answer. What has not been rolled up yet is summed here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::hop_levels::Counted;
use super::levels::Levels;
use super::reader::{add, bounds, stage_window, stage_windows};
use crate::db::{AsValue, Done, Row, Texts, Tx, count, params};
use crate::query::{BinQuery, Bins, HopBin, StageWindow, WindowQuery};
use crate::retention::{BINS_MS, fitting_ms, floor_ms};
use crate::verdict::Verdict;

/// Slices where nothing else is asked for, at most.
const SLICES: i64 = 400;

/// A hop's slice: start, newest first, then topic, place of the hop, stages and width; names by their numbers.
type HopSlice = (Reverse<i64>, i64, i64, i64, i64, i64);

/// The width of an answer and its range in whole slices.
pub(super) fn frame(levels: &Levels, q: &BinQuery) -> (i64, WindowQuery) {
    let WindowQuery { from_ms, to_ms, .. } = q.range;
    let width_ms = q.width_ms.filter(|asked| BINS_MS.contains(asked)).unwrap_or_else(|| {
        // Nothing of the range may be gone: for the topic that the sweep has come to first.
        let is_whole = |width_ms: &i64| !levels.is_dropped(0, floor_ms(from_ms, *width_ms), *width_ms);
        let least_ms = BINS_MS.into_iter().find(is_whole).unwrap_or(3_600_000);
        fitting_ms(to_ms.saturating_sub(from_ms), q.at_most.unwrap_or(SLICES), least_ms)
    });
    let end_ms = floor_ms(to_ms.saturating_sub(1), width_ms).saturating_add(width_ms);
    (width_ms, WindowQuery { from_ms: floor_ms(from_ms, width_ms), to_ms: end_ms.max(from_ms), ..q.range.clone() })
}

/// Verdicts by slice, newest first, then topic, then hop.
pub(super) fn hops(tx: &dyn Tx, q: &BinQuery) -> Done<Bins<HopBin>> {
    let (width_ms, range) = frame(&Levels::now(tx)?, q);
    let mut answer = Bins { width_ms, from_ms: range.from_ms, to_ms: range.to_ms, rows: Vec::new() };
    let Some((topic, limit)) = bounds(tx, &range)? else { return Ok(answer) };
    let mut rows: BTreeMap<HopSlice, Counted> = BTreeMap::new();
    let mut merge = |key, counted: Counted| {
        rows.entry(key).and_modify(|known: &mut Counted| known.add(&counted, 1)).or_insert(counted);
    };
    let level = &mut |r: &Row<'_>| {
        let counted = Counted::read(r, 5)?;
        merge((Reverse(r.get(3)?), r.get(0)?, counted.hop, r.get(1)?, r.get(2)?, r.get(4)?), counted);
        Ok(true)
    };
    let of = params![width_ms, range.from_ms, range.to_ms, limit, topic];
    match topic {
        Some(_) => tx.each(include_str!("sql/hop_bins_of_topic.sql"), of, level)?,
        None => tx.each(include_str!("sql/hop_bins.sql"), of.get(..4).unwrap_or(of), level)?,
    }
    // As they were judged: so wide, or wider.
    let window = &mut |r: &Row<'_>| {
        let bounds = [r.get(7)?, r.get(8)?, r.get(9)?, r.get(10)?].map(count);
        let counted = Counted::of(r.get(5)?, &r.get::<String>(6)?, bounds)?;
        merge((Reverse(r.get(3)?), r.get(0)?, counted.hop, r.get(1)?, r.get(2)?, r.get(4)?), counted);
        Ok(true)
    };
    let sql = match (topic.is_some(), width_ms == BINS_MS[0]) {
        (true, true) => include_str!("sql/hop_bins_windows_of_topic.sql"),
        (true, false) => include_str!("sql/hop_bins_wide_of_topic.sql"),
        (false, true) => include_str!("sql/hop_bins_windows.sql"),
        (false, false) => include_str!("sql/hop_bins_wide.sql"),
    };
    tx.each(sql, of.get(..if topic.is_some() { 5 } else { 4 }).unwrap_or(of), window)?;
    let ids = rows.keys().flat_map(|(_, topic, _, from, to, _)| [*topic, *from, *to]);
    let names = Texts::of_all(tx, ids)?;
    let bins = rows.into_iter().map(|row| hop_bin(row, &names));
    answer.rows = bins.collect::<Done<_>>()?;
    answer.rows.sort_by(|a, b| {
        let place = |bin: &HopBin| (bin.hop, bin.width_ms);
        (b.window_ms.cmp(&a.window_ms))
            .then_with(|| a.topic.cmp(&b.topic))
            .then_with(|| place(a).cmp(&place(b)))
            .then_with(|| (&a.from_stage, &a.to_stage).cmp(&(&b.from_stage, &b.to_stage)))
    });
    answer.rows.truncate(limit as usize);
    Ok(answer)
}

fn hop_bin(((at, topic, hop, from, to, width_ms), counted): (HopSlice, Counted), names: &Texts) -> Done<HopBin> {
    let verdicts = counted.verdicts();
    let worst = verdicts.keys().copied().max_by_key(|v| v.severity()).unwrap_or(Verdict::Open);
    let [missing_min, surplus_min, delayed, amendments] = counted.bounds();
    Ok(HopBin {
        topic: names.of(topic)?,
        from_stage: names.of(from)?,
        to_stage: names.of(to)?,
        hop,
        window_ms: at.0,
        width_ms,
        worst,
        windows: verdicts.values().sum(),
        verdicts,
        missing_min,
        surplus_min,
        delayed,
        amendments,
    })
}

/// Totals by slice, newest first, then topic and stage: classes with a time, summed.
pub(super) fn stages(tx: &dyn Tx, q: &BinQuery) -> Done<Bins<StageWindow>> {
    let levels = Levels::now(tx)?;
    let (width_ms, range) = frame(&levels, q);
    let mut answer = Bins { width_ms, from_ms: range.from_ms, to_ms: range.to_ms, rows: Vec::new() };
    if width_ms == BINS_MS[0] {
        answer.rows = stage_windows(tx, &range)?;
        return Ok(answer);
    }
    let Some((topic, limit)) = bounds(tx, &range)? else { return Ok(answer) };
    let mut rows: BTreeMap<(Reverse<i64>, String, String, i64), StageWindow> = BTreeMap::new();
    let mut merge = |mut w: StageWindow| {
        let start_ms = floor_ms(w.window_ms, w.width_ms.max(width_ms));
        (w.window_ms, w.width_ms) = (start_ms, w.width_ms.max(width_ms));
        let key = (Reverse(start_ms), w.topic.clone(), w.stage.clone(), w.width_ms);
        match rows.entry(key) {
            Entry::Occupied(known) => add(known.into_mut(), &w),
            Entry::Vacant(free) => drop(free.insert(w)),
        }
    };
    // Two classes become one row.
    let at_most = i64::from(limit) * 2;
    let of = params![width_ms, range.from_ms, range.to_ms, at_most, topic];
    let level = &mut |r: &Row<'_>| {
        merge(stage_window(r)?);
        Ok(true)
    };
    match topic {
        Some(_) => tx.each(include_str!("sql/stage_bins_of_topic.sql"), of, level)?,
        None => tx.each(include_str!("sql/stage_bins.sql"), of.get(..4).unwrap_or(of), level)?,
    }
    // What is as wide was counted so.
    let of = params![range.from_ms, range.to_ms, width_ms, topic];
    let wide = &mut |r: &Row<'_>| {
        merge(stage_window(r)?);
        Ok(true)
    };
    match topic {
        Some(_) => tx.each(include_str!("sql/stage_bins_wide_of_topic.sql"), of, wide)?,
        None => tx.each(include_str!("sql/stage_bins_wide.sql"), of.get(..3).unwrap_or(of), wide)?,
    }
    // What is narrower is in its level, unless it is too young.
    let young_ms = levels.mark(super::levels::ROLL).from_ms.max(range.from_ms);
    let of = params![young_ms, range.to_ms, width_ms, topic];
    let young = &mut |r: &Row<'_>| {
        let w = stage_window(r)?;
        if !levels.is_rolled(r.get(13)?, w.window_ms) {
            merge(w);
        }
        Ok(true)
    };
    match topic {
        Some(_) => tx.each(include_str!("sql/stage_bins_young_of_topic.sql"), of, young)?,
        None => tx.each(include_str!("sql/stage_bins_young.sql"), of.get(..3).unwrap_or(of), young)?,
    }
    answer.rows = rows.into_values().take(limit as usize).collect();
    Ok(answer)
}
