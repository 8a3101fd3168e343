//! One window: what each hop's verdict is, on which numbers, and why.

use crate::format::{count, name, plural, share, signed};
use crate::look::{Look, Span, class};
use crate::topic::grid::{Grid, Row};
use crate::topic::links::Links;

/// The selected window.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) title: String,
    /// Nothing was counted in it.
    pub(crate) empty: bool,
    pub(crate) close: String,
    /// The window's own page.
    pub(crate) open: String,
    pub(crate) earlier: Option<String>,
    pub(crate) later: Option<String>,
    pub(crate) earlier_trouble: Option<String>,
    pub(crate) later_trouble: Option<String>,
    pub(crate) hops: Vec<HopEvidence>,
}

/// One hop of it.
#[derive(Debug, Clone)]
pub(crate) struct HopEvidence {
    pub(crate) name: String,
    pub(crate) id: &'static str,
    pub(crate) class: &'static str,
    pub(crate) word: &'static str,
    /// `expected 48,211`, `seen 48,188`, `delayed 12`, …
    pub(crate) numbers: Vec<Span>,
    pub(crate) caveats: Vec<String>,
    pub(crate) why: String,
    pub(crate) history: String,
}

pub(crate) fn evidence(grid: &Grid, links: &Links, window_ms: i64) -> Evidence {
    let at = grid.row_at(window_ms);
    let link = |row: Option<&Row>| row.map(|r| links.window(Some(r.from_ms)));
    let before = || grid.rows.iter().rev().filter(|r| r.from_ms < window_ms && r.to_ms <= window_ms);
    let after = || grid.rows.iter().filter(|r| r.from_ms > window_ms);
    let trouble = |r: &&Row| r.look().is_trouble();
    let row = at.and_then(|i| grid.rows.get(i));
    let title = match row {
        Some(row) => links.zone.span(row.from_ms, row.to_ms),
        None => links.zone.clock(window_ms),
    };
    Evidence {
        title,
        empty: row.is_none(),
        close: links.window(None),
        open: links.detail(row.map_or(window_ms, |r| r.from_ms)),
        earlier: link(before().find(|r| row.is_none_or(|w| r.to_ms <= w.from_ms))),
        later: link(after().next()),
        earlier_trouble: link(before().filter(|r| row.is_none_or(|w| r.to_ms <= w.from_ms)).find(trouble)),
        later_trouble: link(after().find(trouble)),
        hops: row.map_or_else(Vec::new, |row| hops(grid, row, links)),
    }
}

fn hops(grid: &Grid, row: &Row, links: &Links) -> Vec<HopEvidence> {
    let mut hops = Vec::new();
    for hop in 0..grid.hop_count() {
        let Some(window) = row.hop(hop) else { continue };
        let look = Look::of(window);
        let (from, to) = grid.hop_names(hop);
        let history = match (window.settled_ms, window.amendments) {
            (None, _) => "not settled".to_owned(),
            (Some(ms), 0) => format!("settled {}", links.zone.clock(ms)),
            (Some(ms), n) => format!("settled {}, amended {}", links.zone.clock(ms), times(n)),
        };
        hops.push(HopEvidence {
            name: format!("{from} → {to}"),
            id: look.id(),
            class: class(look),
            word: look.word(),
            numbers: numbers(grid, row, hop, look),
            caveats: window.caveats.iter().map(|c| name(&c.to_string())).collect(),
            why: name(&window.why),
            history,
        });
    }
    hops
}

fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

fn numbers(grid: &Grid, row: &Row, hop: usize, look: Look) -> Vec<Span> {
    let Some(window) = row.hop(hop) else { return Vec::new() };
    let (from, to) = grid.hop_names(hop);
    let side = |stage: usize, stage_name: &str| match (row.count(stage), grid.stages.get(stage)) {
        (Some(c), _) => Span::plain(format!("{stage_name} {}", count(c.n))),
        (None, Some(s)) if s.known => Span::plain(format!("{stage_name} reported nothing")),
        _ => Span::of(Look::NoReport, format!("{stage_name} unknown")),
    };
    let mut spans = vec![side(hop, from), side(hop + 1, to)];
    let expected = row.count(hop).map_or(0, |c| c.n);
    let mut add = |value: u64, sign: i64, word: &str| {
        if value > 0 {
            let difference = sign * i64::try_from(value).unwrap_or(i64::MAX);
            let share = share(difference, expected).map(|s| format!(" ({s})")).unwrap_or_default();
            spans.push(Span::of(look, format!("{} {word}{share}", signed(difference))));
        }
    };
    add(window.missing_min, -1, "missing at least");
    add(window.surplus_min, 1, if look == Look::ReRead { "re-read at least" } else { "surplus at least" });
    add(window.delayed, -1, "absent, not known to be lost");
    if let Some(c) = row.count(hop) {
        if c.doubt > 0 {
            spans.push(Span::plain(format!("{} in doubt upstream", plural(c.doubt, "message"))));
        }
        if c.failed > 0 {
            spans.push(Span::plain(format!("{} failed upstream, not sent", count(c.failed))));
        }
    }
    spans
}
