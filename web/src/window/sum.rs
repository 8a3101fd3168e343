//! The sum: what the upstream stage told, what the downstream stage saw, and what that comes to by the verdict. Pure.

use chaperone_collector::{Pipeline, StageKind};

use crate::format::{self, count, share, signed};
use crate::look::{Look, Span};
use crate::window::facts::Facts;

/// One line: what, how many, and how much of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) quiet: bool,
}

/// The sum of one hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) lines: Vec<Line>,
    /// `missing`, `−23`, `−477 ppm`.
    pub(crate) total: [Span; 3],
    pub(crate) history: String,
}

pub(super) fn sum(pipeline: &Pipeline, facts: &Facts, hop: usize) -> Sum {
    let mut lines = upstream(pipeline, facts, hop);
    lines.extend(members(facts, hop));
    lines.push(match facts.total(hop + 1) {
        Some(t) if t.failed > 0 => line(format!("attempted at {}", name(facts, hop + 1)), count(t.n)),
        Some(t) => line(format!("seen at {}", name(facts, hop + 1)), count(t.n)),
        None => line(format!("seen at {}", name(facts, hop + 1)), nothing(facts, hop + 1)),
    });
    lines.extend(members(facts, hop + 1));
    Sum { lines, total: total(facts, hop), history: settled(facts, hop) }
}

/// Of a group: what each member has of it.
fn members(facts: &Facts, stage: usize) -> impl Iterator<Item = Line> {
    let parts = facts.parts(stage);
    let parts = if parts.len() > 1 { parts } else { &[] };
    parts.iter().map(|part| Line {
        label: format!("of these at {}", format::name(&part.stage)),
        value: part.total.as_ref().map_or_else(|| "nothing reported".to_owned(), |t| count(t.n)),
        quiet: part.total.is_none(),
    })
}

fn line(label: String, value: impl Into<String>) -> Line {
    Line { label, value: value.into(), quiet: false }
}

fn name(facts: &Facts, stage: usize) -> String {
    facts.grid.stages.get(stage).map(|s| s.name.clone()).unwrap_or_default()
}

/// A stage without a count: nothing was reported, and whether that is zero depends on the stage.
fn nothing(facts: &Facts, stage: usize) -> &'static str {
    if facts.is_known(stage) { "nothing reported" } else { "unknown" }
}

fn upstream(pipeline: &Pipeline, facts: &Facts, hop: usize) -> Vec<Line> {
    let stage = name(facts, hop);
    let is_client = pipeline.stages.get(hop).is_some_and(|s| s.kind == StageKind::Client);
    let Some(t) = facts.total(hop) else { return vec![line(format!("counted at {stage}"), nothing(facts, hop))] };
    if !is_client {
        return vec![line(format!("seen at {stage}"), count(t.n))];
    }
    let mut lines = vec![
        line(format!("counted at {stage}"), count(t.n)),
        line("of these acknowledged or passed on".into(), count(t.acked)),
    ];
    let quiet = |label: &str, n: u64| Line { label: label.to_owned(), value: count(n), quiet: n == 0 };
    if t.failed == 0 && t.unreported() == 0 {
        lines.push(quiet("failed, in doubt, in flight", 0));
    } else {
        lines.push(quiet("failed, provably not sent", t.failed));
        lines.push(quiet("in flight or in doubt: no delivery report", t.unreported()));
    }
    lines
}

fn total(facts: &Facts, hop: usize) -> [Span; 3] {
    let look = facts.look(hop);
    let span = |text: String| Span::of(look, text);
    let Some(w) = facts.hop(hop) else {
        return [span("no verdict".to_owned()), span("–".to_owned()), span(String::new())];
    };
    let expected = facts.expected(hop);
    let of = |difference: i64| share(difference, expected).unwrap_or_default();
    let doubt = facts.total(hop).map_or(0, super::facts::Total::unreported);
    let (word, value, part) = match look {
        Look::Missing => {
            let lost = format::minus(w.missing_min);
            ("missing at least", signed(lost), of(lost))
        }
        Look::Surplus | Look::ReRead => {
            let more = format::difference(w.surplus_min, 0);
            (if look == Look::ReRead { "re-read" } else { "surplus at least" }, signed(more), of(more))
        }
        Look::Delayed | Look::Overdue => {
            let absent = format::minus(w.delayed);
            let word = if look == Look::Delayed { "delayed, not passed yet" } else { "overdue: delay or loss" };
            (word, signed(absent), of(absent))
        }
        Look::Mixed => ("mixed: counts agree, ids do not", "0".to_owned(), "masked loss".to_owned()),
        Look::Late | Look::Proven => ("proven by ids", "0".to_owned(), "every id".to_owned()),
        Look::Unproven if doubt > 0 => ("unproven", format!("0 … {}", count(doubt)), "in doubt".to_owned()),
        Look::Unproven | Look::Uncertain | Look::Partial | Look::NotYet => {
            (look.word(), "0 … ?".to_owned(), String::new())
        }
        Look::NoReport => ("no report", "unknown".to_owned(), String::new()),
        Look::Settling | Look::Open => (look.word(), "–".to_owned(), "not all is in".to_owned()),
    };
    [span(word.to_owned()), span(value), span(part)]
}

fn settled(facts: &Facts, hop: usize) -> String {
    let Some(w) = facts.hop(hop) else { return "Nothing was counted on this hop.".to_owned() };
    let mut text = match (w.caveats.len(), w.settled_ms) {
        (_, None) => "Not settled: the verdict waits for evidence.".to_owned(),
        (0, _) => "No caveat.".to_owned(),
        (n, _) => format!("{}: see what limits it.", format::plural(n as u64, "caveat")),
    };
    if w.missing_min > 0 && w.delayed > 0 {
        text = format!("{} more are absent and not known to be lost. {text}", count(w.delayed));
    }
    text
}
