//! The matrix: when, and on which hop.

use std::collections::BTreeMap;

use crate::format::{count, plural, short, short_signed, tint};
use crate::look::{self, Look, Span};
use crate::strip::{self, Axis, MATRIX, Mark, Piece, Run, Shape};
use crate::topic::grid::{Grid, Row};
use crate::topic::links::Links;
use crate::topic::parts::{Part, Parts};
use crate::zone::Zone;

/// Most cells of a hop; a cell of more windows than that shows the worst of several.
const CELLS: usize = 720;

/// One hop.
#[derive(Debug, Clone)]
pub(crate) struct HopRow {
    pub(crate) name: String,
    pub(crate) sub: String,
    pub(crate) cells: Vec<Cell>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) total: Span,
    /// What else the boxes differ by.
    pub(crate) rest: Vec<Span>,
    /// The selected window is in trouble on this hop.
    pub(crate) selected: bool,
}

/// One run of windows.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) title: String,
    pub(crate) href: String,
    /// Several windows that are drawn one by one: a click inside it may mean any of them.
    pub(crate) is_run: bool,
    /// So narrow that it needs an edge to be seen.
    pub(crate) trouble: bool,
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) shapes: Vec<Shape>,
}

pub(crate) fn matrix(grid: &Grid, axis: Axis, links: &Links, selected: Option<&Row>) -> Vec<HopRow> {
    (0..grid.hop_count()).map(|hop| hop_row(grid, hop, axis, links, selected)).collect()
}

/// A cell is the worst of several windows.
pub(crate) fn is_condensed(grid: &Grid) -> bool {
    grid.rows.len() > CELLS
}

fn hop_row(grid: &Grid, hop: usize, axis: Axis, links: &Links, selected: Option<&Row>) -> HopRow {
    let pieces = grid.hop(hop).map(|(row, w)| {
        let amount = look::amount(w);
        // Runs of what has no tint must not break where a count happens to differ.
        let step = if amount == 0 { 1 } else { tint(amount, row.count(hop).map_or(0, |c| c.n)) };
        Piece { look: grid.look(row, hop, w), step, windows: row.windows(), ..Piece::of(w) }
    });
    let runs = if is_condensed(grid) {
        strip::condense(pieces, axis, i64::try_from(CELLS).unwrap_or(i64::MAX))
    } else {
        strip::runs(pieces)
    };
    let (from, to) = grid.hop_names(hop);
    let counted: Vec<&Row> = grid.rows.iter().filter(|r| r.is_counted()).collect();
    let known = [hop, hop + 1].iter().all(|i| grid.stages.get(*i).is_some_and(|s| s.known));
    let parts = Parts::of(counted.iter().copied(), hop);
    let look = parts.head().or_else(|| look::worst(grid.hop(hop).map(|(_, w)| Look::of(w)))).unwrap_or(Look::Open);
    let value = short_signed(parts.told(look).map_or(0, |part| part.value));
    HopRow {
        name: format!("{from} → {to}"),
        sub: tally(grid, hop),
        marks: strip::marks(&runs, axis, mark_text),
        cells: runs.iter().map(|run| cell(run, axis, links, grid.hop_end(hop))).collect(),
        total: match look {
            _ if !known => Span::of(Look::NoReport, "unknown"),
            _ if counted.is_empty() => Span { class: "quiet", text: "–".to_owned() },
            look if look.is_trouble() || look == Look::ReRead => Span::of(look, value),
            _ => Span { class: "quiet", text: value },
        },
        rest: if known { parts.rest(look).map(Part::short).collect() } else { Vec::new() },
        selected: selected.and_then(|r| r.hop(hop)).is_some_and(|w| Look::of(w).is_trouble()),
    }
}

fn mark_text(look: Look, amount: u64) -> String {
    match look {
        Look::Missing | Look::Surplus if amount > 0 => short(amount),
        Look::ReRead if amount > 0 => format!("{} re-read", short(amount)),
        Look::Mixed => "mixed".to_owned(),
        _ => String::new(),
    }
}

/// `17 delayed, 1 mixed`: how many windows are not proven.
fn tally(grid: &Grid, hop: usize) -> String {
    let mut by_look: BTreeMap<Look, u64> = BTreeMap::new();
    for (look, n) in grid.rows.iter().flat_map(|row| row.looks(hop)) {
        *by_look.entry(look).or_default() += n;
    }
    let proven = by_look.remove(&Look::Proven).unwrap_or(0);
    if by_look.keys().any(|l| !l.is_pending()) {
        by_look.remove(&Look::Open);
    }
    if by_look.keys().all(|l| l.is_pending()) && proven > 0 {
        return format!("{} proven", count(proven));
    }
    let parts: Vec<String> = by_look.iter().take(2).map(|(look, n)| format!("{} {}", count(*n), look.word())).collect();
    if parts.is_empty() { "nothing counted".to_owned() } else { parts.join(", ") }
}

fn cell(run: &Run, axis: Axis, links: &Links, at: Option<&str>) -> Cell {
    let when = links.zone.span(run.from_ms, run.to_ms);
    let what = match (run.look, run.amount) {
        (Look::Missing, n) => format!("missing {}", crate::format::signed(crate::format::minus(n))),
        (Look::Surplus | Look::ReRead, n) => format!("{} +{}", run.look.word(), count(n)),
        (Look::Delayed | Look::Overdue, n) => format!("{} {}", run.look.word(), count(n)),
        (Look::Mixed, _) => "mixed: counts agree, ids do not".to_owned(),
        (look, _) => look.word().to_owned(),
    };
    let windows = if run.windows > 1 { format!(", {}", plural(run.windows, "window")) } else { String::new() };
    Cell {
        title: format!("{when} {what}{windows}"),
        href: links.piece(&run.worst, at),
        is_run: run.windows > 1 && run.look.is_calm(),
        trouble: run.look.is_trouble(),
        x: axis.x(run.from_ms),
        width: axis.width(run.from_ms, run.to_ms),
        shapes: strip::shapes(run.look, run.step, MATRIX),
    }
}

/// The line through every plot.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) middle: String,
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) clock: String,
}

pub(crate) fn selected(row: &Row, axis: Axis, zone: Zone) -> Selected {
    Selected {
        middle: axis.x(i64::midpoint(row.from_ms, row.to_ms)),
        x: axis.x(row.from_ms),
        width: axis.width(row.from_ms, row.to_ms),
        clock: zone.clock(row.from_ms),
    }
}
