//! How the verdict came about: what is known of when, in order. Pure.

use chaperone_collector::CaveatKind;

use crate::format::{self, count, name, signed};
use crate::look::{Look, class};
use crate::window::facts::Facts;
use crate::zone::Zone;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) when: String,
    pub(crate) id: &'static str,
    pub(crate) class: &'static str,
    pub(crate) text: String,
    pub(crate) strong: bool,
}

pub(super) fn history(facts: &Facts, hop: usize, zone: Zone) -> Vec<Step> {
    let Some(row) = &facts.row else { return Vec::new() };
    let step = |ms: i64, look: Look, text: String, strong: bool| {
        (ms, Step { when: zone.clock(ms), id: look.id(), class: class(look), text, strong })
    };
    let mut steps = Vec::new();
    if row.to_ms <= facts.now_ms {
        steps.push(step(row.to_ms, Look::Open, "window closed".to_owned(), false));
    }
    for stage in [hop, hop + 1] {
        let (Some(t), Some(s)) = (facts.total(stage), facts.grid.stages.get(stage)) else { continue };
        if t.last_ms > 0 {
            steps.push(step(t.last_ms, Look::Settling, format!("last of {} arrived at {}", count(t.n), s.name), false));
        }
    }
    let Some(window) = facts.hop(hop) else { return order(steps) };
    let amendments =
        facts.detail.amendments.iter().filter(|a| a.from_stage == window.from_stage && a.to_stage == window.to_stage);
    let amendments: Vec<_> = amendments.collect();
    let look = facts.look(hop);
    if let Some(ms) = window.settled_ms {
        let (first, numbers) = match amendments.last() {
            Some(a) => (Look::of_verdict(a.old_verdict), bounds(a.old_missing, a.old_surplus)),
            None => (look, bounds(window.missing_min, window.surplus_min)),
        };
        steps.push(step(ms, first, format!("settled: {}{numbers}", first.word()), true));
    }
    for a in amendments {
        let new = Look::of_verdict(a.new_verdict);
        let (before, after) = (bounds(a.old_missing, a.old_surplus), bounds(a.new_missing, a.new_surplus));
        let old = Look::of_verdict(a.old_verdict).word();
        let text = format!("amended: {old}{before} → {}{after}. {}", new.word(), name(&a.cause));
        steps.push(step(a.at_ms, new, text, true));
    }
    if window.settled_ms.is_none() || look.is_pending() {
        steps.push(step(facts.now_ms, look, format!("now: {}", look.word()), true));
    }
    order(steps)
}

fn order(mut steps: Vec<(i64, Step)>) -> Vec<Step> {
    steps.sort_by_key(|(ms, _)| *ms);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// ` −23`, ` +6`, or nothing.
fn bounds(missing: u64, surplus: u64) -> String {
    match (missing, surplus) {
        (0, 0) => String::new(),
        (m, 0) => format!(" {}", signed(format::minus(m))),
        (0, s) => format!(" {}", signed(format::difference(s, 0))),
        (m, s) => format!(" {} {}", signed(format::minus(m)), signed(format::difference(s, 0))),
    }
}

/// What a caveat means for the numbers.
pub(super) const fn meaning(kind: CaveatKind) -> &'static str {
    match kind {
        CaveatKind::ReporterGone => {
            "a reporter fell silent without a goodbye; what it had counted and not told is unknown"
        }
        CaveatKind::NoCrashRecovery => "a reporter keeps its counts where the death of its process loses them",
        CaveatKind::MachineLost => "counts were lost with a machine, at most those of its last 10 seconds",
        CaveatKind::Unaudited => "offsets that nobody counted may hold messages of this window",
        CaveatKind::AuditLost => "records of the audit topic were gone before they were applied",
        CaveatKind::NotAuditedYet => "the stage began to be audited in this window or after it",
        CaveatKind::RulesDiffer => {
            "the two stages find identity or time by different rules; their numbers cannot be compared"
        }
        CaveatKind::TimeRewritten => "the broker overwrites the time that windows are found by",
        CaveatKind::OpenTransaction => "messages behind an open transaction cannot be read yet",
        CaveatKind::Overflow => "a slot table was full: totals are kept, topics are not",
        CaveatKind::Divergent => "two different states of one slot were reported",
        CaveatKind::IdentityNotPreserved => "no id is common to the two stages for many windows: counts only",
    }
}
