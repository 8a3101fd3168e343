//! The window as Markdown, to be pasted into a ticket. Pure.
//!
//! Names come from outside: nothing in them can be markup, neither of Markdown nor of HTML.

use std::fmt::Write as _;

use crate::format::{count, name, plural};
use crate::look::Look;
use crate::topic::links::Links;
use crate::topic::sentence;
use crate::window::facts::{Facts, Part};
use crate::window::{history, partitions};

/// Most rows of a table in a ticket.
const MOST: usize = 30;

pub(super) fn markdown(facts: &Facts, links: &Links, hop: usize, origin: &str) -> String {
    let zone = links.zone;
    let ms = links.window_ms.unwrap_or_default();
    let mut out = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail; a text that ends early is the worst that could come of it.
        if out.write_fmt(line).is_err() {
            out.push(' ');
        }
        out.push('\n');
    };
    say(format_args!("## {}, window {} {} {}", safe(&links.topic), zone.date(ms), facts.title(zone, ms), zone.label()));
    let (from, to) = facts.grid.hop_names(hop);
    let look = facts.look(hop);
    say(format_args!("\n**{}** ({} → {})\n", sentence::of_window(facts.row.as_ref(), hop, look), safe(from), safe(to)));
    if let Some(window) = facts.hop(hop) {
        say(format_args!("{}\n", safe(&window.why)));
        for caveat in &window.caveats {
            say(format_args!("- caveat: {}, {}", safe(&caveat.to_string()), history::meaning(caveat.kind)));
        }
    }
    say(format_args!(
        "\n| hop | verdict | expected | seen | missing at least | surplus at least | delayed |\n|---|---|---:|---:|---:|---:|---:|"
    ));
    for hop in 0..facts.grid.hop_count() {
        let Some(w) = facts.hop(hop) else { continue };
        let (from, to) = facts.grid.hop_names(hop);
        let told = |stage: usize, n: u64| if facts.total(stage).is_some() { count(n) } else { "no report".to_owned() };
        let (up, down) = (told(hop, facts.expected(hop)), told(hop + 1, facts.expected(hop + 1)));
        let [missing, surplus, delayed] = [w.missing_min, w.surplus_min, w.delayed].map(count);
        say(format_args!(
            "| {} → {} | {} | {up} | {down} | {missing} | {surplus} | {delayed} |",
            safe(from),
            safe(to),
            Look::of(w).word()
        ));
    }
    let of_hop: Vec<&str> = facts.parts_of_hop(hop).map(|part| part.stage.as_str()).collect();
    let shares: Vec<_> = facts.detail.shares.iter().filter(|s| of_hop.contains(&s.stage.as_str())).collect();
    if !shares.is_empty() {
        say(format_args!("\n| stage | host | application | counted | acked | failed |\n|---|---|---|---:|---:|---:|"));
        for s in shares.iter().take(MOST) {
            let [n, acked, failed] = [s.n, s.acked, s.failed].map(count);
            say(format_args!(
                "| {} | {} | {} | {n} | {acked} | {failed} |",
                safe(&s.stage),
                safe(&s.host),
                safe(&s.application)
            ));
        }
        more(&mut say, shares.len(), "reporter");
    }
    for Part { stage, offsets: spots, .. } in facts.parts_of_hop(hop).filter(|part| !part.offsets.is_empty()) {
        say(format_args!("\n| {} partition | messages | offsets |\n|---:|---:|---|", safe(stage)));
        for (partition, spot) in spots.iter().take(MOST) {
            say(format_args!("| {partition} | {} | {} |", count(spot.n), partitions::offsets(spot)));
        }
        more(&mut say, spots.len(), "partition");
    }
    let steps = history::history(facts, hop, zone);
    if !steps.is_empty() {
        say(format_args!(""));
    }
    for step in steps {
        say(format_args!("- {} {}", step.when, safe(&step.text)));
    }
    let at = facts.names.get(hop + 1).map(String::as_str);
    say(format_args!("\nEvidence: <{}{}>", safe(origin), links.detail_at(ms, at)));
    out
}

fn more(say: &mut impl FnMut(std::fmt::Arguments<'_>), all: usize, noun: &str) {
    if all > MOST {
        say(format_args!("\n{} more", plural((all - MOST) as u64, noun)));
    }
}

/// A text from outside in Markdown: what could be markup is escaped.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in name(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' | '~' | '!' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(safe("rides.events"), "rides.events");
        assert_eq!(safe("a|b<script>[x](y)*_`"), "a\\|b&lt;script&gt;\\[x\\](y)\\*\\_\\`");
        assert_eq!(safe("a\nb"), "a\\\\u{a}b", "a line stays one line");
    }
}
