//! The windows as a table, newest first; runs of equal windows are one row.
//!
//! Invariant: a bad run shows its newest and its oldest window, and its middle merges; the selected window is never
//! merged. Limit: [`ROWS_MAX`] rows of HTML; the CSV has all.

use std::borrow::Cow;

use crate::format::{count, name, plural, share, signed};
use crate::look::{Look, Span, class};
use crate::topic::grid::{self, Count, Grid, Row};
use crate::topic::links::Links;
use crate::topic::parts::{Part, Parts};

/// Most rows on one page.
const ROWS_MAX: usize = 400;

/// The table's body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) lines: Vec<Line>,
    /// What all settled windows come to, as in the flow; none where nothing is settled.
    pub(crate) totals: Option<Totals>,
    /// Windows that are older than the last line.
    pub(crate) more: String,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) when: String,
    pub(crate) href: String,
    pub(crate) id: &'static str,
    pub(crate) class: &'static str,
    pub(crate) word: &'static str,
    /// What the dagger after the verdict stands for.
    pub(crate) caveats: String,
    pub(crate) selected: bool,
    pub(crate) content: Content,
    pub(crate) p99: String,
}

/// A window's numbers, or a run's summary.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Window(Vec<StageCell>),
    Run(Vec<Span>),
}

/// The sums at its foot.
#[derive(Debug, Clone)]
pub(crate) struct Totals {
    pub(crate) windows: String,
    pub(crate) cells: Vec<TotalCell>,
    pub(crate) p99: String,
}

/// One stage in all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TotalCell {
    pub(crate) count: String,
    /// What it differs by from the stage before it, by cause.
    pub(crate) differences: Vec<Span>,
}

/// One stage in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageCell {
    pub(crate) class: &'static str,
    pub(crate) count: String,
    /// The difference to the stage before it, where there is one.
    pub(crate) difference: Option<Span>,
}

pub(crate) fn table(grid: &Grid, links: &Links, now_ms: i64) -> Table {
    let mut body = Vec::new();
    let mut rest = groups(grid, links.window_ms).into_iter();
    for rows in rest.by_ref() {
        let keep_ends = rows.first().is_some_and(|r| r.look().is_trouble());
        match rows.as_slice() {
            [] => {}
            [newest, middle @ .., oldest] if keep_ends => {
                body.push(line(grid, &[newest], links, now_ms));
                if !middle.is_empty() {
                    body.push(line(grid, middle, links, now_ms));
                }
                body.push(line(grid, &[oldest], links, now_ms));
            }
            all => body.push(line(grid, all, links, now_ms)),
        }
        if body.len() >= ROWS_MAX {
            break;
        }
    }
    let rest: u64 = rest.flatten().map(Row::windows).sum();
    let more = if rest == 0 {
        String::new()
    } else {
        format!("{} more, older; narrow the range or take the CSV", plural(rest, "window"))
    };
    Table { lines: body, totals: totals(grid, now_ms), more }
}

fn totals(grid: &Grid, now_ms: i64) -> Option<Totals> {
    let counted: Vec<&Row> = grid.rows.iter().filter(|r| r.is_counted()).collect();
    if counted.is_empty() {
        return None;
    }
    let is_known = |stage: usize| grid.stages.get(stage).is_some_and(|s| s.known);
    let cell = |stage: usize| {
        let n = counted.iter().filter_map(|r| r.count(stage)).fold(0u64, |sum, c| sum.saturating_add(c.n));
        let hop = stage.checked_sub(1).filter(|up| is_known(*up) && is_known(stage));
        TotalCell {
            count: if is_known(stage) { count(n) } else { "unknown".to_owned() },
            differences: hop.map(|hop| differences(&counted, hop)).unwrap_or_default(),
        }
    };
    Some(Totals {
        windows: plural(counted.iter().map(|r| r.windows()).sum(), "settled window"),
        cells: (0..grid.stages.len()).map(cell).collect(),
        p99: p99(grid, &counted, now_ms),
    })
}

/// The number of the edge, if there is one, and what else the boxes differ by.
fn differences(counted: &[&Row], hop: usize) -> Vec<Span> {
    let parts = Parts::of(counted.iter().copied(), hop);
    let Some(look) = parts.head() else { return Vec::new() };
    let value = parts.told(look).map_or(0, |part| part.value);
    let share = parts.share(value).map(|s| format!(" ({s})")).unwrap_or_default();
    let head = (value != 0).then(|| Span::of(look, format!("{}{share}", signed(value))));
    let worse = (value == 0 && look.is_trouble()).then(|| parts.told(look).map(Part::text)).flatten();
    head.into_iter().chain(worse).chain(parts.rest(look).map(Part::text)).collect()
}

/// Equal neighbours, newest first.
fn groups(grid: &Grid, selected_ms: Option<i64>) -> Vec<Vec<&Row>> {
    let is_selected = |r: &Row| selected_ms.is_some_and(|s| (r.from_ms..r.to_ms).contains(&s));
    let key = |r: &Row| (r.look(), r.worst().filter(|_| r.look() != Look::Proven).map(|(hop, _)| hop));
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in grid.rows.iter().rev() {
        match groups.last_mut() {
            Some(group)
                if group.last().is_some_and(|last| {
                    key(last) == key(row) && row.to_ms == last.from_ms && !is_selected(last) && !is_selected(row)
                }) =>
            {
                group.push(row);
            }
            _ => groups.push(vec![row]),
        }
    }
    groups
}

/// One window, or a run of several.
fn line(grid: &Grid, rows: &[&Row], links: &Links, now_ms: i64) -> Line {
    match rows {
        [only] if only.slice.is_empty() => window_line(grid, only, links, now_ms),
        _ => run_line(grid, rows, links, now_ms),
    }
}

fn window_line(grid: &Grid, row: &Row, links: &Links, now_ms: i64) -> Line {
    let look = row.look();
    let mut caveats: Vec<String> =
        row.hops.iter().flatten().flat_map(|h| &h.caveats).map(ToString::to_string).collect();
    caveats.sort_unstable();
    caveats.dedup();
    Line {
        when: links.zone.clock(row.from_ms),
        href: links.detail(row.from_ms),
        id: look.id(),
        class: class(look),
        word: look.word(),
        caveats: name(&caveats.join("; ")),
        selected: links.window_ms.is_some_and(|s| (row.from_ms..row.to_ms).contains(&s)),
        content: Content::Window((0..grid.stages.len()).map(|stage| stage_cell(grid, row, stage)).collect()),
        p99: p99(grid, &[row], now_ms),
    }
}

fn run_line(grid: &Grid, rows: &[&Row], links: &Links, now_ms: i64) -> Line {
    let (newest, oldest) = (rows.first(), rows.last());
    let (from_ms, to_ms) = (oldest.map_or(0, |r| r.from_ms), newest.map_or(0, |r| r.to_ms));
    let look = newest.map_or(Look::Open, |r| r.look());
    Line {
        when: links.zone.span(from_ms, to_ms),
        href: links.range(&from_ms.to_string(), &to_ms.to_string()),
        id: look.id(),
        class: class(look),
        word: look.word(),
        caveats: String::new(),
        selected: false,
        content: Content::Run(summary(grid, rows, look)),
        p99: p99(grid, rows, now_ms),
    }
}

fn summary(grid: &Grid, rows: &[&Row], look: Look) -> Vec<Span> {
    let windows = plural(rows.iter().map(|r| r.windows()).sum(), "window");
    let hop = rows.first().and_then(|r| r.worst()).map_or(0, |(hop, _)| hop);
    let why = || rows.first().and_then(|r| r.hop(hop)).map(|h| name(&h.why)).unwrap_or_default();
    let (from, to) = grid.hop_names(hop);
    let parts = Parts::of(rows.iter().copied(), hop);
    let value = || {
        let value = parts.told(look).map_or(0, |part| part.value);
        let share = parts.share(value).map(|s| format!(" ({s})")).unwrap_or_default();
        Span::of(look, format!("{}{share}", signed(value)))
    };
    let rest = || parts.rest(look).map(Part::text).flat_map(|rest| [Span::plain("; "), rest]);
    match look {
        Look::Proven => {
            let messages: u64 = rows.iter().filter_map(|r| r.counts.iter().flatten().next()).map(|c: &Count| c.n).sum();
            vec![Span::plain(format!("{windows} · {}, every id", plural(messages, "message")))]
        }
        Look::Missing | Look::Surplus | Look::Delayed | Look::Overdue | Look::ReRead => {
            let tail = if look == Look::ReRead { ", information only" } else { "" };
            let mut spans = vec![Span::plain(format!("{windows} · ")), value()];
            spans.extend(rest());
            spans.push(Span::plain(format!(" · {from} → {to}{tail}")));
            spans
        }
        _ => vec![Span::plain(format!("{windows} · {from} → {to} · {}", why()))],
    }
}

/// What a stage counted: nothing that it reported is zero once that is settled, and unknown before.
pub(crate) fn counted<'a>(grid: &Grid, row: &'a Row, stage: usize) -> Option<Cow<'a, Count>> {
    if let Some(seen) = row.count(stage) {
        return Some(Cow::Borrowed(seen));
    }
    let is_known = grid.stages.get(stage).is_some_and(|s| s.known);
    (is_known && is_settled(row, stage)).then(|| Cow::Owned(Count::default()))
}

/// The hop that ends at a stage has a verdict that counts its silence.
fn is_settled(row: &Row, stage: usize) -> bool {
    let hop = stage.checked_sub(1).and_then(|hop| row.hop(hop));
    hop.is_some_and(|h| !h.verdict.is_pending() && Look::of(h) != Look::NoReport)
}

fn stage_cell(grid: &Grid, row: &Row, stage: usize) -> StageCell {
    let hop = stage.checked_sub(1).and_then(|hop| row.hop(hop).map(|h| (hop, h)));
    let known = grid.stages.get(stage).is_some_and(|s| s.known);
    let Some(seen) = row.count(stage) else {
        let settled = is_settled(row, stage);
        let (class, text) = match (known, settled) {
            (false, _) => ("c-noreport", "unknown"),
            (true, true) => ("", "0"),
            (true, false) => ("quiet", "–"),
        };
        let difference = if known && settled { hop.and_then(|(i, h)| told(row, i, h, 0)) } else { None };
        return StageCell { class, count: text.to_owned(), difference };
    };
    let difference = hop.and_then(|(i, h)| told(row, i, h, seen.n));
    let class = if difference.is_some() { "" } else { "soft" };
    StageCell { class, count: count(seen.n), difference }
}

/// The difference to the stage before: signed, with its share; or why equal numbers are not equal.
fn told(row: &Row, hop: usize, window: &chaperone_collector::query::HopWindow, seen: u64) -> Option<Span> {
    let look = Look::of(window);
    let up = row.count(hop)?;
    let difference = crate::format::difference(seen, up.n);
    if difference != 0 {
        let share = share(difference, up.n).map(|s| format!(" ({s})")).unwrap_or_default();
        return Some(Span::of(look, format!("{}{share}", signed(difference))));
    }
    match look {
        Look::Mixed => Some(Span::of(look, "ids differ")),
        Look::Unproven => Some(Span::of(look, format!("{} in doubt", count(up.doubt)))),
        Look::Missing | Look::Surplus | Look::Delayed | Look::Overdue | Look::Uncertain => {
            Some(Span::of(look, look.word()))
        }
        _ => None,
    }
}

/// 99 of 100 arrived at the last stage that reports within this time; what is absent counts as late.
fn p99(grid: &Grid, rows: &[&Row], now_ms: i64) -> String {
    let Some(stage) = grid.stages.iter().rposition(|s| s.known) else { return "–".to_owned() };
    let mut total = Count::default();
    rows.iter().filter_map(|r| r.count(stage)).for_each(|c| total.merge(c));
    let absent: Vec<(u64, i64)> = (0..stage).flat_map(|hop| grid::absent(rows.iter().copied(), hop, now_ms)).collect();
    grid::quantile(&total.hist, &absent, 990).map_or_else(|| "–".to_owned(), grid::Delay::text)
}
