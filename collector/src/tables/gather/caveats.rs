//! The caveats of one hop in one window.
//!
//! Invariant: a caveat is there only if it touches what the hop compares.

use super::{Case, Hope, Side, millis};
use crate::caveat::{Caveat, CaveatKind, Doubt};
use crate::db::{AsValue, Done, Tx, params};
use crate::pipeline::{Stage, StageKind};
use crate::tables::facts::{Doubtful, Facts};
use crate::tables::sums::StageSum;
use crate::verdict::Evidence;

/// A stamp that was seen so long before or after, ms, tells that stamps are kept on the way.
const STAMPS_MS: i64 = 3_600_000;
/// A rule by which a stage counted what arrived so long before or after, ms, may have put the window's messages elsewhere.
const RULES_MS: i64 = 86_400_000;

/// Caveats, each once.
#[derive(Default)]
pub(super) struct Caveats {
    pub(super) all: Vec<Caveat>,
    pub(super) hope: Hope,
}

impl Caveats {
    fn add(&mut self, kind: CaveatKind, side: Doubt, hope: Hope) {
        let caveat = Caveat::new(kind, side);
        self.hope = self.hope.max(hope);
        if !self.all.contains(&caveat) {
            self.all.push(caveat);
        }
    }

    /// Whether both sides counted by one rule. By another rule for the time messages are in other windows, or have no time at
    /// all: a side that has none here may have counted them all the same, when they arrived there. Limit: what arrives there
    /// more than [`RULES_MS`] before or after it did here is not looked for.
    pub(super) fn rules(
        &mut self,
        tx: &dyn Tx,
        case: &Case<'_>,
        (u, up): (&StageSum, Option<i64>),
        (d, down): (&StageSum, Option<i64>),
    ) -> Done<()> {
        let mut all = u.rules.into_iter().chain(d.rules).flat_map(|(low, high)| [low, high]);
        let Some(first) = all.next() else { return Ok(()) };
        let (without, here) = if u.rules.is_none() { (up, d) } else { (down.filter(|_| d.rules.is_none()), u) };
        let differ = all.any(|rule| rule != first)
            || without.map_or(Ok(false), |stage| {
                let at_ms = case.span.start_ms;
                let (from_ms, to_ms) = (here.first_ms.unwrap_or(at_ms), here.last_ms.unwrap_or(at_ms));
                let (from_ms, to_ms) = (from_ms.saturating_sub(RULES_MS), to_ms.saturating_add(RULES_MS));
                let around = params![case.topic, stage, first, from_ms, to_ms];
                tx.exists(include_str!("../sql/other_rule.sql"), around)
            })?;
        if differ {
            self.add(CaveatKind::RulesDiffer, Doubt::Both, Hope::None);
        }
        Ok(())
    }

    /// Whether stamps survive the way to a stage that has seen none in the window, though some were sent and others came.
    pub(super) fn stamps(&mut self, tx: &dyn Tx, case: &Case<'_>, e: &Evidence, to: Option<i64>) -> Done<()> {
        let bare_only = e.acked > 0 && e.downstream == Some(0) && e.left_out.is_some_and(|left| left.downstream > 0);
        let Some(to) = to.filter(|_| bare_only) else { return Ok(()) };
        let at_ms = case.span.start_ms;
        let (from_ms, to_ms) = (at_ms.saturating_sub(STAMPS_MS), at_ms.saturating_add(STAMPS_MS));
        let around = params![case.topic, to, from_ms, to_ms];
        if !tx.exists(include_str!("../sql/stamps.sql"), around)? {
            self.add(CaveatKind::IdentityNotPreserved, Doubt::Downstream, Hope::Return);
        }
        Ok(())
    }

    /// Whether the store was made anew from an audit topic that had only a part of the window's reports.
    pub(super) fn in_part(&mut self, facts: &Facts, case: &Case<'_>) -> bool {
        let mut in_part = false;
        for (stage, doubt) in [(case.from, Doubt::Upstream), (case.to, Doubt::Downstream)] {
            if facts.whole_since_ms(&stage.name).is_some_and(|since| case.span.start_ms < since) {
                self.add(CaveatKind::NotAuditedYet, doubt, Hope::None);
                in_part = true;
            }
        }
        in_part
    }

    /// A message whose time was ahead of the clock may have been written before a tap took its partition: the other stage
    /// counted it in a window that the tap counts, and the tap did not. Nothing of the window can have been if nothing of it
    /// had arrived at the other stage by then, give or take grace for the clocks. Only where it can explain the difference.
    /// Limit: downstream may get much later what was upstream before its tap.
    pub(super) fn early(
        &mut self,
        (up, down): (&Side, &Side),
        (of_up, of_down): (&StageSum, &StageSum),
        e: &Evidence,
        grace_ms: i64,
    ) {
        let before = |tap: &Side, other: &StageSum| {
            let Side::Kafka(_, f) = tap else { return false };
            let since_ms = f.audited_since_ms.filter(|since| *since > i64::MIN);
            since_ms.is_some_and(|since| other.first_ms.is_some_and(|first| first < since.saturating_add(grace_ms)))
        };
        if e.downstream.is_none() || e.is_ok() {
            return;
        }
        if e.at_most_least() && before(down, of_up) {
            self.add(CaveatKind::NotAuditedYet, Doubt::Downstream, Hope::None);
        }
        if e.at_least_most() && before(up, of_down) {
            self.add(CaveatKind::NotAuditedYet, Doubt::Upstream, Hope::None);
        }
    }

    /// `passed_ms`: until when messages of the window were processed, where that is later than the window's own time.
    pub(super) fn side(
        &mut self,
        tx: &dyn Tx,
        case: &Case<'_>,
        (side, doubt): (&Side, Doubt),
        abandoned: Option<Hope>,
        passed_ms: Option<i64>,
    ) -> Done<()> {
        let span = case.span;
        if side.audited_since_ms().is_some_and(|since| span.start_ms < since) {
            self.add(CaveatKind::NotAuditedYet, doubt, Hope::None);
        }
        match side {
            Side::Unknown => return Ok(()),
            Side::Client(_, f) => {
                let grace_ms = millis(case.pipeline.grace);
                let touched = |d: &&Doubtful| {
                    let from_ms = d.from_ms.saturating_sub(grace_ms);
                    span.touches(from_ms, d.to_ms) || span.start_ms <= d.to_ms && Some(from_ms) <= passed_ms
                };
                for d in f.doubtful.iter().filter(touched) {
                    self.add(d.kind, doubt, if d.may_return { Hope::Return } else { Hope::Late });
                    if d.heap {
                        self.add(CaveatKind::NoCrashRecovery, doubt, Hope::None);
                    }
                }
                if let Some(hope) = abandoned {
                    self.add(CaveatKind::ReporterGone, doubt, hope);
                }
            }
            Side::Kafka(_, f) => {
                if f.unaudited.iter().any(|(from, to)| span.touches(*from, *to)) {
                    self.add(CaveatKind::Unaudited, doubt, Hope::Return);
                }
            }
        }
        self.flags(tx, case, side, doubt)
    }

    fn flags(&mut self, tx: &dyn Tx, case: &Case<'_>, side: &Side, doubt: Doubt) -> Done<()> {
        let (Side::Client(stage, _) | Side::Kafka(stage, _)) = side else { return Ok(()) };
        let grace_ms = millis(case.pipeline.grace);
        let end_ms = case.span.end_ms();
        let place = params![stage, case.topic, case.span.start_ms, end_ms, grace_ms];
        for kind in tx.query(include_str!("../sql/stage_flags.sql"), place, |r| r.get::<String>(0))? {
            // A stamp has a time of its own.
            if kind == "rewritten" && case.from.stamped_only {
                continue;
            }
            let kind = match kind.as_str() {
                "overflow" => CaveatKind::Overflow,
                "audit_lost" => CaveatKind::AuditLost,
                "rewritten" => CaveatKind::TimeRewritten,
                _ => CaveatKind::Divergent,
            };
            self.add(kind, doubt, Hope::None);
        }
        Ok(())
    }

    /// Records were lost in which a reporter of the stage, known or not, may have told of the window: appended before
    /// `until_ms`, the time through which its reports count, and after the window began. Taps are told that their
    /// records were lost, and count again.
    pub(super) fn audit_lost(
        &mut self,
        facts: &Facts,
        (stage, doubt): (&Stage, Doubt),
        open: bool,
        (begins_ms, until_ms): (i64, i64),
    ) {
        if stage.kind == StageKind::Kafka {
            return;
        }
        if open || facts.lost(&stage.name).any(|(from_ms, to_ms)| from_ms < until_ms && begins_ms <= to_ms) {
            self.add(CaveatKind::AuditLost, doubt, Hope::None);
        }
    }

    /// What was appended after a transaction was left open cannot be read.
    pub(super) fn held(&mut self, (side, doubt): (&Side, Doubt), now_ms: i64, settles_at_ms: i64, grace_ms: i64) {
        let Side::Kafka(_, f) = side else { return };
        if f.held_since_ms.is_some_and(|since| since.saturating_add(grace_ms) < now_ms && settles_at_ms >= since) {
            self.add(CaveatKind::OpenTransaction, doubt, Hope::Return);
        }
    }
}
