//! The caveats of one hop in one window.
//!
//! Invariant: a caveat is there only if it touches what the hop compares.

use super::side::{Member, Side, Source};
use super::{Case, Hope, compared, millis};
use crate::caveat::{Caveat, CaveatKind, Doubt};
use crate::db::{AsValue, Done, Tx, params};
use crate::pipeline::StageKind;
use crate::tables::facts::{Doubtful, Facts};
use crate::tables::sums::{StageSum, StageSums};
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
    /// Members of groups that they are about.
    pub(super) doubted: Vec<String>,
    /// How often one was found, again or not.
    added: usize,
}

impl Caveats {
    fn add(&mut self, kind: CaveatKind, side: Doubt, hope: Hope) {
        let caveat = Caveat::new(kind, side);
        self.added += 1;
        self.hope = self.hope.max(hope);
        if !self.all.contains(&caveat) {
            self.all.push(caveat);
        }
    }

    /// All of a window that is settled. `passed_ms`: until when messages of it were processed, where that is later than its
    /// own time; `lost`: between which times reports of it may have been appended.
    pub(super) fn settled(
        &mut self,
        tx: &dyn Tx,
        facts: &Facts,
        case: &Case<'_>,
        (up, down): (&Side, &Side),
        e: &Evidence,
        (passed_ms, lost): (Option<i64>, (i64, i64)),
    ) -> Done<()> {
        self.rules(tx, case, (up, down))?;
        self.stamps(tx, case, e, down)?;
        self.early((up, down), case, e);
        let sides = [(case.from, up, Doubt::Upstream, None), (case.to, down, Doubt::Downstream, passed_ms)];
        for (stage, side, doubt, passed_ms) in sides {
            for member in &side.members {
                let before = self.added;
                self.member(tx, case, (member, doubt), passed_ms)?;
                if stage.kind == StageKind::Client {
                    self.audit_lost(facts, (member, doubt), lost);
                }
                self.name(side, member, before);
            }
        }
        Ok(())
    }

    /// Notes whom of a group it is about, if anything was added.
    fn name(&mut self, side: &Side, member: &Member, before: usize) {
        if side.is_group && self.added > before && !self.doubted.contains(&member.name) {
            self.doubted.push(member.name.clone());
        }
    }

    /// Whether all counted by one rule. By another rule for the time messages are in other windows, or have no time at
    /// all: a stage that has none here may have counted them all the same, when they arrived there. Limit: what arrives there
    /// more than [`RULES_MS`] before or after it did elsewhere is not looked for.
    fn rules(&mut self, tx: &dyn Tx, case: &Case<'_>, (up, down): (&Side, &Side)) -> Done<()> {
        let all = || up.members.iter().chain(&down.members);
        let rules = |m: &Member| compared(&m.sums, case).rules;
        let mut ids = all().filter_map(rules).flat_map(|(low, high)| [low, high]);
        let Some(first) = ids.next() else { return Ok(()) };
        let mut differ = ids.any(|rule| rule != first);
        let here = StageSums::of(all().map(|m| &m.sums));
        let (here, at_ms) = (compared(&here, case), case.span.start_ms);
        let (from_ms, to_ms) = (here.first_ms.unwrap_or(at_ms), here.last_ms.unwrap_or(at_ms));
        let (from_ms, to_ms) = (from_ms.saturating_sub(RULES_MS), to_ms.saturating_add(RULES_MS));
        for stage in all().filter(|m| rules(m).is_none()).filter_map(Member::id) {
            let around = params![case.topic, stage, first, from_ms, to_ms];
            differ = differ || tx.exists(include_str!("../sql/other_rule.sql"), around)?;
        }
        if differ {
            self.add(CaveatKind::RulesDiffer, Doubt::Both, Hope::None);
        }
        Ok(())
    }

    /// Whether stamps survive the way to a stage that has seen none in the window, though some were sent and others came.
    fn stamps(&mut self, tx: &dyn Tx, case: &Case<'_>, e: &Evidence, down: &Side) -> Done<()> {
        let bare_only = e.acked > 0 && e.downstream == Some(0) && e.left_out.is_some_and(|left| left.downstream > 0);
        if !bare_only {
            return Ok(());
        }
        let at_ms = case.span.start_ms;
        let (from_ms, to_ms) = (at_ms.saturating_sub(STAMPS_MS), at_ms.saturating_add(STAMPS_MS));
        for to in down.members.iter().filter_map(Member::id) {
            let around = params![case.topic, to, from_ms, to_ms];
            if tx.exists(include_str!("../sql/stamps.sql"), around)? {
                return Ok(());
            }
        }
        self.add(CaveatKind::IdentityNotPreserved, Doubt::Downstream, Hope::Return);
        Ok(())
    }

    /// Whether the store was made anew from an audit topic that had only a part of the window's reports.
    pub(super) fn in_part(&mut self, facts: &Facts, case: &Case<'_>, (up, down): (&Side, &Side)) -> bool {
        let mut in_part = false;
        for (side, doubt) in [(up, Doubt::Upstream), (down, Doubt::Downstream)] {
            for member in &side.members {
                if facts.whole_since_ms(&member.name).is_some_and(|since| case.span.start_ms < since) {
                    let before = self.added;
                    self.add(CaveatKind::NotAuditedYet, doubt, Hope::None);
                    self.name(side, member, before);
                    in_part = true;
                }
            }
        }
        in_part
    }

    /// A message whose time was ahead of the clock may have been written before a tap took its partition: the other stage
    /// counted it in a window that the tap counts, and the tap did not. Nothing of the window can have been if nothing of it
    /// had arrived at the other stage by then, give or take grace for the clocks. Only where it can explain the difference.
    /// Limit: downstream may get much later what was upstream before its tap.
    fn early(&mut self, (up, down): (&Side, &Side), case: &Case<'_>, e: &Evidence) {
        let grace_ms = millis(case.pipeline.grace);
        let (of_up, of_down) = (compared(&up.sums, case), compared(&down.sums, case));
        let before = |side: &Side, other: &StageSum| {
            let since = side.taps().filter_map(|(_, _, f)| f.audited_since_ms).filter(|since| *since > i64::MIN).max();
            since.is_some_and(|since| other.first_ms.is_some_and(|first| first < since.saturating_add(grace_ms)))
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

    fn member(
        &mut self,
        tx: &dyn Tx,
        case: &Case<'_>,
        (member, doubt): (&Member, Doubt),
        passed_ms: Option<i64>,
    ) -> Done<()> {
        let span = case.span;
        if member.audited_since_ms().is_some_and(|since| span.start_ms < since) {
            self.add(CaveatKind::NotAuditedYet, doubt, Hope::None);
        }
        match &member.source {
            Source::Unknown => return Ok(()),
            Source::Client(_, f) => {
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
                if let Some(hope) = member.open.abandoned {
                    self.add(CaveatKind::ReporterGone, doubt, hope);
                }
            }
            Source::Kafka(_, f) => {
                if f.unaudited.iter().any(|(from, to)| span.touches(*from, *to)) {
                    self.add(CaveatKind::Unaudited, doubt, Hope::Return);
                }
            }
        }
        self.flags(tx, case, member, doubt)
    }

    fn flags(&mut self, tx: &dyn Tx, case: &Case<'_>, member: &Member, doubt: Doubt) -> Done<()> {
        let Some(stage) = member.id() else { return Ok(()) };
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

    /// Records were lost in which a reporter of the client stage, known or not, may have told of the window: appended before
    /// `until_ms`, the time through which its reports count, and after the window began. Taps are told that their
    /// records were lost, and count again.
    fn audit_lost(&mut self, facts: &Facts, (member, doubt): (&Member, Doubt), (begins_ms, until_ms): (i64, i64)) {
        let mut lost = facts.lost(&member.name);
        if member.open.lost || lost.any(|(from_ms, to_ms)| from_ms < until_ms && begins_ms <= to_ms) {
            self.add(CaveatKind::AuditLost, doubt, Hope::None);
        }
    }

    /// What was appended after a transaction was left open cannot be read.
    pub(super) fn held(&mut self, (side, doubt): (&Side, Doubt), now_ms: i64, settles_at_ms: i64, grace_ms: i64) {
        for (member, _, f) in side.taps() {
            if f.held_since_ms.is_some_and(|since| since.saturating_add(grace_ms) < now_ms && settles_at_ms >= since) {
                let before = self.added;
                self.add(CaveatKind::OpenTransaction, doubt, Hope::Return);
                self.name(side, member, before);
            }
        }
    }
}
