//! Ranges of more windows than a page draws: slices of several windows, and the windows themselves where something is to
//! be seen.
//!
//! A slice says how many windows have each verdict and sums their bounds and counts. Those with trouble, those whose
//! evidence is still on its way, and the one with the selected window are shown window by window, the worst first, as long
//! as there is room. Pure. Invariant: a slice gives way only to all windows that it stands for, so that sums stay what they
//! were whichever way a part of the range is shown.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chaperone_collector::Pipeline;
use chaperone_collector::query::{Bins, HopBin, HopWindow, ReporterState, StageWindow};

use crate::format::plural;
use crate::look::{self, Look};
use crate::topic::grid::{Grid, Row};

/// Most rows that a page shows, whatever they stand for.
const ROWS_MAX: i64 = 1_500;
/// Most verdicts that are read for them.
const VERDICTS_MAX: i64 = 6_000;
/// Most windows that slices give way to.
const WINDOWS_MAX: u64 = 1_200;
/// Most questions for such windows.
const SPANS_MAX: usize = 24;

/// Most rows of a pipeline's page.
pub(super) fn at_most(pipeline: &Pipeline) -> i64 {
    let hops = i64::try_from(pipeline.hops().count().max(1)).unwrap_or(i64::MAX);
    ROWS_MAX.min(VERDICTS_MAX / hops).max(1)
}

/// A range in slices.
pub(super) fn grid(
    pipeline: &Pipeline,
    bins: Bins<HopBin>,
    counts: &[StageWindow],
    reporters: &[ReporterState],
) -> Grid {
    let mut looks: BTreeMap<(i64, String, String), BTreeMap<Look, u64>> = BTreeMap::new();
    let mut worst = Vec::new();
    for bin in bins.rows {
        let of = bin.verdicts.iter().map(|(verdict, n)| (Look::of_verdict(*verdict), *n));
        looks.insert((bin.window_ms, bin.from_stage.clone(), bin.to_stage.clone()), of.collect());
        worst.push(worst_of(bin));
    }
    let mut grid = Grid::build(pipeline, worst, counts, reporters);
    for row in &mut grid.rows {
        let of = |hop: &Option<HopWindow>| {
            let key = hop.as_ref().map(|h| (h.window_ms, h.from_stage.clone(), h.to_stage.clone()));
            key.and_then(|key| looks.remove(&key)).unwrap_or_default()
        };
        row.slice = row.hops.iter().map(of).collect();
    }
    grid
}

/// The window that stands for all of a slice: the worst of what is settled, with the sums.
fn worst_of(bin: HopBin) -> HopWindow {
    let worst = look::worst(bin.verdicts.keys().map(|v| Look::of_verdict(*v)));
    let verdict = bin.verdicts.keys().copied().find(|v| Some(Look::of_verdict(*v)) == worst).unwrap_or(bin.worst);
    HopWindow {
        topic: bin.topic,
        from_stage: bin.from_stage,
        to_stage: bin.to_stage,
        window_ms: bin.window_ms,
        width_ms: bin.width_ms,
        verdict,
        missing_min: bin.missing_min,
        surplus_min: bin.surplus_min,
        delayed: bin.delayed,
        caveats: Vec::new(),
        why: format!("the worst of {}", plural(bin.windows, "window")),
        settled_ms: None,
        amendments: u32::try_from(bin.amendments).unwrap_or(u32::MAX),
    }
}

/// What is to be read window by window, from and to, in order of time.
pub(super) fn spans(grid: &Grid, selected_ms: Option<i64>) -> Vec<(i64, i64)> {
    let is_selected = |row: &Row| selected_ms.is_some_and(|ms| (row.from_ms..row.to_ms).contains(&ms));
    let is_pending = |row: &Row| row.slice.iter().flat_map(BTreeMap::keys).any(|look| look.is_pending());
    let is_wanted = |row: &&Row| is_selected(row) || row.look().is_trouble() || is_pending(row);
    let mut wanted: Vec<&Row> = grid.rows.iter().filter(|r| !r.slice.is_empty()).filter(is_wanted).collect();
    wanted.sort_by_key(|row| (!is_selected(row), !is_pending(row), row.look(), Reverse(row.from_ms)));
    let mut room = WINDOWS_MAX;
    let fits = |row: &&&Row| {
        let left = room.checked_sub(row.windows());
        room = left.unwrap_or(room);
        left.is_some()
    };
    let mut chosen: Vec<(i64, i64)> = wanted.iter().filter(fits).map(|row| (row.from_ms, row.to_ms)).collect();
    // The worst come first, so that a question too many is one for the least of them.
    while joined(&chosen).len() > SPANS_MAX {
        chosen.pop();
    }
    joined(&chosen)
}

/// Neighbours as one.
fn joined(spans: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    spans.dedup_by(|next, last| {
        let touches = last.1 == next.0;
        if touches {
            last.1 = next.1;
        }
        touches
    });
    spans
}

/// Slices give way to their windows.
pub(super) fn refine(grid: &mut Grid, windows: Grid) {
    let mut exact = windows.rows.into_iter().peekable();
    let mut rows = Vec::with_capacity(grid.rows.len());
    for row in std::mem::take(&mut grid.rows) {
        let mut inside: Vec<Row> = Vec::new();
        while let Some(window) = exact.next_if(|w| w.from_ms < row.to_ms) {
            if window.from_ms >= row.from_ms && window.to_ms <= row.to_ms {
                inside.push(window);
            }
        }
        if stands_for(&row, &inside) { rows.append(&mut inside) } else { rows.push(row) }
    }
    grid.rows = rows;
}

/// Whether these are all windows of a slice.
fn stands_for(slice: &Row, windows: &[Row]) -> bool {
    let is_all = |(hop, looks): (usize, &BTreeMap<Look, u64>)| {
        let found = windows.iter().filter(|w| w.hop(hop).is_some()).count();
        u64::try_from(found).ok() == Some(looks.values().sum())
    };
    !windows.is_empty() && !slice.slice.is_empty() && slice.slice.iter().enumerate().all(is_all)
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
