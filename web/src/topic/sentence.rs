//! The title sentence: the verdict in words, with the numbers; it could be read out on the phone.

use crate::format::{count, name, plural};
use crate::look::{Look, Span};
use crate::topic::grid::{Grid, Row, Sums};
use crate::zone::Zone;

/// Most statements in one sentence; the strip below has all.
const MOST: usize = 4;

/// Says what is wrong, worst first; or that nothing is; or that it cannot be said.
pub(crate) fn sentence(grid: &Grid, zone: Zone) -> Vec<Span> {
    let mut found: Vec<(Look, usize, Vec<&Row>)> = Vec::new();
    for hop in 0..grid.hop_count() {
        for (row, window) in grid.hop(hop) {
            let look = Look::of(window);
            if !look.is_trouble() && look != Look::ReRead {
                continue;
            }
            match found.iter_mut().find(|(l, h, _)| (*l, *h) == (look, hop)) {
                Some((_, _, rows)) => rows.push(row),
                None => found.push((look, hop, vec![row])),
            }
        }
    }
    found.sort_by_key(|(look, hop, _)| (*look, *hop));
    let mut spans: Vec<Span> = Vec::new();
    for (look, hop, rows) in found.iter().take(MOST) {
        spans.extend(statement(grid, zone, *look, *hop, rows));
    }
    if found.len() > MOST {
        spans.push(Span::plain(format!("{} more below. ", found.len() - MOST)));
    }
    if !found.iter().any(|(look, ..)| look.is_trouble()) {
        spans.insert(0, Span::plain(calm(grid)));
    }
    spans
}

fn statement(grid: &Grid, zone: Zone, look: Look, hop: usize, rows: &[&Row]) -> Vec<Span> {
    let (from, to) = grid.hop_names(hop);
    let sums = Sums::of(rows.iter().copied(), hop);
    let (first, last) = (rows.first().map_or(0, |r| r.from_ms), rows.last().map_or(0, |r| r.to_ms));
    let when = zone.span(first, last);
    let since = zone.clock(first);
    let are = |n: u64| if n == 1 { "is" } else { "are" };
    let windows = plural(sums.windows, "window");
    let (bold, rest) = match look {
        Look::Missing => {
            let bold = format!("{} {} missing", plural(sums.missing, "message"), are(sums.missing));
            (bold, format!(" between {from} and {to}, {when}. "))
        }
        Look::Surplus => {
            let bold = format!("{} {} surplus", plural(sums.surplus, "message"), are(sums.surplus));
            (bold, format!(" at {to}, compared with {from}, {when}. "))
        }
        Look::Mixed => {
            let bold = format!("{windows} {} mixed", are(sums.windows));
            (bold, format!(" between {from} and {to}, {when}: counts agree, ids do not. "))
        }
        Look::Delayed => {
            (format!("{} {} delayed", count(sums.delayed), are(sums.delayed)), format!(" before {to} since {since}. "))
        }
        Look::Overdue => {
            let bold = format!("{} {} overdue", count(sums.delayed), are(sums.delayed));
            (bold, format!(" at {to} since {since}: delay and loss cannot be told apart yet. "))
        }
        Look::NoReport => {
            let silent: Vec<&str> = [hop, hop + 1]
                .into_iter()
                .filter_map(|i| grid.stages.get(i))
                .filter(|s| !s.known)
                .map(|s| s.name.as_str())
                .collect();
            let who = if silent.is_empty() { format!("{from} or {to}") } else { silent.join(" and ") };
            (format!("{who} has not reported"), format!(": whether messages passed {from} → {to} is unknown. "))
        }
        Look::Uncertain => {
            let caveat = rows.iter().rev().find_map(|r| r.hop(hop)?.caveats.first().map(ToString::to_string));
            let because = caveat.map(|c| format!(" ({})", name(&c))).unwrap_or_default();
            (
                format!("{windows} {} uncertain", are(sums.windows)),
                format!(" between {from} and {to}, {when}{because}. "),
            )
        }
        Look::Unproven => {
            let bold = format!("{windows} {} unproven", are(sums.windows));
            (bold, format!(" between {from} and {to}, {when}: {} in doubt. ", count(sums.doubt)))
        }
        _ => (format!("{} re-read", count(sums.surplus)), format!(" at {to}, {when}, for information. ")),
    };
    vec![Span::of(look, bold), Span::plain(rest)]
}

/// The verdict on one hop of one window.
pub(crate) fn of_window(row: Option<&Row>, hop: usize, look: Look) -> String {
    let Some(w) = row.and_then(|r| r.hop(hop)) else {
        return "Nothing was counted here, so there is no verdict".to_owned();
    };
    let of = |n: u64, what: &str| format!("{} {} {what}", plural(n, "message"), if n == 1 { "is" } else { "are" });
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
