//! The title sentence: the verdict in words, with the numbers; it could be read out on the phone.
//!
//! One statement a look, worst first, whatever the hops: nothing is cut. A number is *at least* so many unless each of its
//! windows says exactly how many.

use std::collections::BTreeMap;

use crate::format::{count, name, plural, signed};
use crate::look::{Look, Span};
use crate::topic::grid::{Grid, Row};
use crate::topic::parts::{Parts, bounds};
use crate::zone::Zone;

/// Most hops that a statement names.
const HOPS_MOST: usize = 4;

/// What one look comes to on one hop.
struct Found<'a> {
    hop: usize,
    rows: Vec<&'a Row>,
    windows: u64,
    /// Σ of what the verdicts name.
    amount: u64,
    /// In doubt upstream.
    doubt: u64,
    exact: bool,
}

/// Says what is wrong, worst first; or that nothing is; or that it cannot be said.
pub(crate) fn sentence(grid: &Grid, zone: Zone) -> Vec<Span> {
    let mut all: BTreeMap<Look, Vec<Found<'_>>> = BTreeMap::new();
    for hop in 0..grid.hop_count() {
        for (look, found) in on_hop(grid, hop) {
            all.entry(look).or_default().push(found);
        }
    }
    let mut spans: Vec<Span> = Vec::new();
    if !all.keys().any(|look| look.is_trouble()) {
        spans.push(Span::plain(calm(grid)));
    }
    spans.extend(all.iter().flat_map(|(look, found)| statement(grid, zone, *look, found)));
    spans
}

fn on_hop(grid: &Grid, hop: usize) -> BTreeMap<Look, Found<'_>> {
    let mut all: BTreeMap<Look, Found<'_>> = BTreeMap::new();
    for (row, window) in grid.hop(hop) {
        let looks = row.looks(hop);
        let mut told: BTreeMap<Look, (u64, u64)> = looks.iter().map(|(look, n)| (*look, (*n, 0))).collect();
        for (look, value) in bounds(window, |of| looks.iter().any(|(look, _)| *look == of)) {
            told.entry(look).or_insert((1, 0)).1 = value.unsigned_abs();
        }
        for (look, (windows, amount)) in told {
            if !look.is_trouble() && look != Look::ReRead {
                continue;
            }
            let empty = Found { hop, rows: Vec::new(), windows: 0, amount: 0, doubt: 0, exact: true };
            let found = all.entry(look).or_insert(empty);
            found.rows.push(row);
            found.windows = found.windows.saturating_add(windows);
            found.amount = found.amount.saturating_add(amount);
            found.doubt = found.doubt.saturating_add(row.count(hop).map_or(0, |c| c.doubt));
            found.exact &= is_exact(row, hop);
        }
    }
    for found in all.values_mut() {
        let (from_ms, to_ms) = extent(found.rows.iter().copied());
        let among = grid.hop(hop).map(|(row, _)| row).filter(|r| r.from_ms >= from_ms && r.to_ms <= to_ms);
        found.exact &= !among.flat_map(|row| row.looks(hop)).any(|(look, _)| is_silent(look));
    }
    all
}

/// Whether a verdict's number is a bound from above, too, as a report decides it: no caveat, and nothing in doubt.
fn is_exact(row: &Row, hop: usize) -> bool {
    let doubt = row.count(hop).map_or(0, |c| c.doubt);
    row.slice.is_empty() && doubt == 0 && row.hop(hop).is_none_or(|w| w.caveats.is_empty())
}

/// A verdict that does not say how many, so that there may be some.
const fn is_silent(look: Look) -> bool {
    use Look::{Mixed, NoReport, NotYet, Open, Partial, Settling, Uncertain, Unproven};
    matches!(look, Mixed | NoReport | NotYet | Open | Partial | Settling | Uncertain | Unproven)
}

fn extent<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> (i64, i64) {
    (rows.clone().map(|r| r.from_ms).min().unwrap_or(0), rows.map(|r| r.to_ms).max().unwrap_or(0))
}

/// Where: the hop, or each of several with its number.
fn place(grid: &Grid, look: Look, found: &[Found<'_>]) -> String {
    if let [only] = found {
        let (from, to) = grid.hop_names(only.hop);
        return match look {
            Look::Surplus => format!("at {to}, compared with {from}"),
            Look::Delayed => format!("before {to}"),
            Look::Overdue | Look::ReRead => format!("at {to}"),
            _ => format!("between {from} and {to}"),
        };
    }
    let named = found.iter().take(HOPS_MOST).map(|f| {
        let (from, to) = grid.hop_names(f.hop);
        let number = if f.amount > 0 { f.amount } else { f.windows };
        format!("{from} → {to} {}", count(number))
    });
    let more = if found.len() > HOPS_MOST { ", …" } else { "" };
    format!("on {} hops ({}{more})", found.len(), named.collect::<Vec<_>>().join(", "))
}

fn statement(grid: &Grid, zone: Zone, look: Look, found: &[Found<'_>]) -> Vec<Span> {
    let sum = |of: fn(&Found<'_>) -> u64| found.iter().map(of).fold(0, u64::saturating_add);
    let (amount, windows) = (sum(|f| f.amount), sum(|f| f.windows));
    let (first, last) = extent(found.iter().flat_map(|f| f.rows.iter().copied()));
    let (when, since) = (zone.span(first, last), zone.clock(first));
    let bound = if found.iter().all(|f| f.exact) { "" } else { "At least " };
    let are = |n: u64| if n == 1 { "is" } else { "are" };
    let messages = |what: &str| format!("{bound}{} {} {what}", plural(amount, "message"), are(amount));
    let of_windows = |what: &str| format!("{} {} {what}", plural(windows, "window"), are(windows));
    let place = place(grid, look, found);
    let (bold, rest) = match look {
        Look::Missing => (messages("missing"), format!(" {place}, {when}. ")),
        Look::Surplus => (messages("surplus"), format!(" {place}, {when}. ")),
        Look::Mixed => (of_windows("mixed"), format!(" {place}, {when}: counts agree, ids do not. ")),
        Look::Delayed => {
            (format!("{bound}{} {} delayed", count(amount), are(amount)), format!(" {place} since {since}. "))
        }
        Look::Overdue => (
            format!("{bound}{} {} overdue", count(amount), are(amount)),
            format!(" {place} since {since}: delay and loss cannot be told apart yet. "),
        ),
        Look::NoReport => silent(grid, found),
        Look::Uncertain => (of_windows("uncertain"), format!(" {place}, {when}{}. ", uncertain(found))),
        Look::Unproven => (of_windows("unproven"), format!(" {place}, {when}: {} in doubt. ", count(sum(|f| f.doubt)))),
        _ => (format!("{bound}{} re-read", count(amount)), format!(" {place}, {when}, for information. ")),
    };
    vec![Span::of(look, bold), Span::plain(rest)]
}

/// The newest caveat, and what the counts of these windows differ by.
fn uncertain(found: &[Found<'_>]) -> String {
    let caveat = found
        .iter()
        .find_map(|f| f.rows.iter().rev().find_map(|r| r.hop(f.hop)?.caveats.first().map(ToString::to_string)));
    let because = caveat.map(|c| format!(" ({})", name(&c))).unwrap_or_default();
    let value = |f: &Found<'_>| Parts::of(f.rows.iter().copied(), f.hop).told(Look::Uncertain).map_or(0, |p| p.value);
    let values: Vec<String> = found.iter().map(value).filter(|v| *v != 0).map(signed).collect();
    let differ = if values.is_empty() { String::new() } else { format!("; counts differ by {}", values.join(" and ")) };
    because + &differ
}

/// Who has not reported, and what is unknown for that.
fn silent(grid: &Grid, found: &[Found<'_>]) -> (String, String) {
    let mut who: Vec<&str> = Vec::new();
    let ends = found.iter().flat_map(|f| [f.hop, f.hop + 1]);
    for stage in ends.filter_map(|i| grid.stages.get(i)).filter(|s| !s.known) {
        if !who.contains(&stage.name.as_str()) {
            who.push(&stage.name);
        }
    }
    let hops: Vec<(&str, &str)> = found.iter().map(|f| grid.hop_names(f.hop)).collect();
    let have = if who.len() > 1 { "have" } else { "has" };
    let who = match (who.is_empty(), hops.first()) {
        (true, Some((from, to))) => format!("{from} or {to}"),
        _ => who.join(" and "),
    };
    let hops: Vec<String> = hops.into_iter().map(|(from, to)| format!("{from} → {to}")).collect();
    (format!("{who} {have} not reported"), format!(": whether messages passed {} is unknown. ", hops.join(", ")))
}

/// The verdict on one hop of one window.
pub(crate) fn of_window(row: Option<&Row>, hop: usize, look: Look) -> String {
    let Some(w) = row.and_then(|r| r.hop(hop)) else {
        return "Nothing was counted here, so there is no verdict".to_owned();
    };
    let least = if row.is_some_and(|row| is_exact(row, hop)) { "" } else { "At least " };
    let of =
        |n: u64, what: &str| format!("{least}{} {} {what}", plural(n, "message"), if n == 1 { "is" } else { "are" });
    let doubt = row.and_then(|r| r.count(hop)).map_or(0, |c| c.doubt);
    match look {
        Look::Missing if w.delayed > 0 => {
            format!("{}, {} more delayed", of(w.missing_min, "missing"), count(w.delayed))
        }
        Look::Missing => of(w.missing_min, "missing"),
        Look::Surplus => of(w.surplus_min, "surplus"),
        Look::ReRead => format!("{}, for information", of(w.surplus_min, "re-read")),
        Look::Mixed => "Mixed: counts agree, ids do not".to_owned(),
        Look::Delayed => of(w.delayed, "delayed"),
        Look::Overdue => format!("{}: delay and loss cannot be told apart yet", of(w.delayed, "overdue")),
        Look::Unproven => format!("Unproven: {} in doubt", plural(doubt, "message")),
        Look::Uncertain => "Uncertain: what is known does not suffice for a verdict".to_owned(),
        Look::NoReport => "A stage has not reported: whether messages passed is unknown".to_owned(),
        Look::Partial => "The source is audited in part only: nothing is known to be wrong".to_owned(),
        Look::NotYet => "Not audited yet: the audit began in this window or after it".to_owned(),
        Look::Settling => "Settling: not all reports are in".to_owned(),
        Look::Open => "Open: the window has not ended".to_owned(),
        Look::Late | Look::Proven => "Every message arrived, proven by ids".to_owned(),
    }
}

/// Nothing is wrong: what is known, and how far.
fn calm(grid: &Grid) -> String {
    let settled = grid.rows.iter().filter(|r| !r.look().is_pending());
    let (mut proven, mut other) = (0u64, 0u64);
    for row in settled {
        if row.look() == Look::Proven { proven += row.windows() } else { other += row.windows() }
    }
    let waiting = grid.rows.iter().map(Row::windows).sum::<u64>() - proven - other;
    match (proven, other, waiting) {
        (0, 0, 0) => "Nothing was counted in this range. ".to_owned(),
        (0, 0, n) => format!(
            "No verdict yet: {} not settled. ",
            if n == 1 { "1 window is".to_owned() } else { format!("{} windows are", count(n)) }
        ),
        (0, n, _) => format!("No loss is known, and none is excluded: {} cannot be proven. ", plural(n, "window")),
        (n, 0, _) => {
            format!("Every message of {} arrived at every stage, proven by ids. ", plural(n, "settled window"))
        }
        (n, o, _) => format!("{} proven by ids; {} settled without proof or fault. ", plural(n, "window"), count(o)),
    }
}

#[cfg(test)]
#[path = "sentence_tests.rs"]
mod tests;
