//! Evidence: what is known of one hop in one window, read from the totals and the facts.

mod caveats;
mod later;
mod passing;
mod side;

use std::collections::HashMap;

use super::facts::Facts;
use super::levels::Levels;
use super::life::Life;
use super::reporters::end_of;
use super::sums::{StageSum, StageSums};
use crate::caveat::Doubt;
use crate::db::{AsValue, Done, Tx, count, params};
use crate::pipeline::{Pipeline, Stage, StageKind};
use crate::settle::{Mark, Settling, settle, settle_passed, settles_at};
use crate::verdict::{Evidence, LeftOut, Members, Passage, Progress};
use caveats::Caveats;
pub(super) use later::Later;
use side::{Side, Source};

/// A window of event time at the width that a hop compares at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) start_ms: i64,
    pub(super) width_ms: i64,
}

impl Span {
    /// The window of this width that holds `at_ms`.
    pub(super) fn holding(at_ms: i64, width_ms: i64) -> Self {
        Self { start_ms: at_ms.div_euclid(width_ms).saturating_mul(width_ms), width_ms }
    }
    pub(super) fn end_ms(self) -> i64 {
        self.start_ms.saturating_add(self.width_ms)
    }
    fn touches(self, from_ms: i64, to_ms: i64) -> bool {
        self.start_ms <= to_ms && self.end_ms() > from_ms
    }
}

/// Milliseconds of a duration.
pub(super) fn millis(d: std::time::Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// One hop in one window, to be judged.
pub(super) struct Case<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) from: &'a Stage,
    pub(super) to: &'a Stage,
    pub(super) topic: i64,
    pub(super) span: Span,
    /// When a consumer's position was first seen past it, if it was.
    pub(super) passed_ms: Option<i64>,
    /// Which rows hold a window.
    pub(super) levels: &'a Levels,
}

/// Whether a doubt may go away without a record of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Hope {
    /// It will not.
    #[default]
    None,
    /// Only by what the dead had said before and is applied late.
    Late,
    /// Someone may return, a transaction end, a gap get its bounds.
    Return,
}

/// Evidence, and when the window may settle at the earliest.
pub(super) struct Gathered {
    pub(super) evidence: Evidence,
    pub(super) settles_at_ms: i64,
    /// Of the caveats.
    pub(super) hope: Hope,
    /// See [`Case::passed_ms`].
    pub(super) passed_ms: Option<i64>,
}

/// Reads everything that the verdict depends on.
pub(super) fn gather(
    tx: &dyn Tx,
    facts: &mut Facts,
    case: &Case<'_>,
    sums: &HashMap<i64, StageSums>,
) -> Done<Gathered> {
    let mut up = Side::load(tx, facts, case, case.from, sums)?;
    let mut down = Side::load(tx, facts, case, case.to, sums)?;
    // Of all classes, whatever is compared: what is left out is told too.
    let (u_last_ms, d_last_ms) = (up.sums.all.last_ms, down.sums.all.last_ms);
    let grace_ms = millis(case.pipeline.grace);
    let settles_at_ms = settles_at(case.span.end_ms(), u_last_ms, grace_ms);
    let mut evidence = counts(&up, &down, case);
    if facts.now_ms < case.span.end_ms() {
        evidence.progress = Progress::Open;
        return Ok(Gathered { evidence, settles_at_ms, hope: Hope::None, passed_ms: None });
    }
    for member in up.members.iter_mut().chain(&mut down.members) {
        member.open = OpenSlots::load(tx, facts, case, &member.source)?;
    }
    evidence.in_flight = up.members.iter().fold(0, |sum, m| sum.saturating_add(m.open.in_flight));
    evidence.progress = settle(&Settling {
        now_ms: facts.now_ms,
        end_ms: case.span.end_ms(),
        last_arrival_ms: u_last_ms,
        grace_ms,
        audit: &audit(facts, case),
        upstream: &up.marks,
        downstream: &down.marks,
        in_flight: evidence.in_flight,
    });
    let mut passed_ms = None;
    if evidence.progress == Progress::Settled && evidence.may_lack() {
        let times = (u_last_ms, settles_at_ms);
        let (passage, at_ms) = passing::passage(tx, facts, case, (&up, &down), times)?;
        evidence.passage = passage;
        // What it was first seen to have passed stands, unless a message arrived later than that.
        passed_ms = at_ms.map(|at| case.passed_ms.filter(|p| Some(*p) >= u_last_ms).unwrap_or(at));
        if let Some(at_ms) = passed_ms {
            evidence.progress = settle_passed(at_ms, &down.marks);
        }
    }
    // A message counted downstream was upstream before: nothing is too many, and no ids differ, before the upstream
    // stage has reported through the last arrival downstream. What is absent is so all the more.
    if evidence.progress == Progress::Settled
        && evidence.downstream.is_some()
        && !evidence.lacks()
        && let (false, Some(last_ms)) = (evidence.is_ok(), d_last_ms)
    {
        evidence.progress = settle_passed(last_ms.saturating_add(grace_ms), &up.marks);
    }
    let mut caveats = Caveats::default();
    if evidence.progress == Progress::Settled {
        if caveats.in_part(facts, case, (&up, &down)) {
            // What both sides have by half may be the same half.
            evidence.complete = false;
        }
        let until_ms = passed_ms.max(d_last_ms.map(|last| last.saturating_add(grace_ms))).unwrap_or(settles_at_ms);
        let lost_ms = (case.span.start_ms.saturating_sub(grace_ms), until_ms.max(settles_at_ms));
        caveats.settled(tx, facts, case, (&up, &down), &evidence, (passed_ms, lost_ms))?;
    }
    // Said while it is waited for: no watermark passes an open transaction, so that the window cannot settle before.
    for (side, doubt) in [(&up, Doubt::Upstream), (&down, Doubt::Downstream)] {
        caveats.held((side, doubt), facts.now_ms, settles_at_ms, grace_ms);
    }
    evidence.caveats = caveats.all;
    evidence.members.doubted = caveats.doubted;
    Ok(Gathered { evidence, settles_at_ms, hope: caveats.hope, passed_ms })
}

/// The audit partitions, and whoever may report there unheard, that the hop waits for.
fn audit(facts: &Facts, case: &Case<'_>) -> Vec<Mark> {
    let stages: Vec<&str> = [case.from, case.to].into_iter().flat_map(Stage::reported).map(String::as_str).collect();
    let mut audit = facts.audit(&stages);
    for stage in [case.from, case.to].into_iter().filter(|stage| stage.kind == StageKind::Client) {
        for name in stage.reported() {
            audit.extend(facts.unheard(name, millis(case.pipeline.silent_after)));
        }
    }
    audit
}

/// What the hop compares of a stage.
fn compared<'a>(sums: &'a StageSums, case: &Case<'_>) -> &'a StageSum {
    if case.from.stamped_only { &sums.stamped } else { &sums.all }
}

fn counts(up: &Side, down: &Side, case: &Case<'_>) -> Evidence {
    let (of_up, of_down) = (&up.sums, &down.sums);
    let (u, d) = (compared(of_up, case), compared(of_down, case));
    // What it failed to pass on is not there.
    let passed_on = |sum: &StageSum| sum.n.saturating_sub(sum.failed);
    let left_out = LeftOut {
        acked: of_up.all.acked.saturating_sub(u.acked),
        downstream: passed_on(&of_down.all).saturating_sub(passed_on(d)),
    };
    Evidence {
        attempted: u.n,
        acked: u.acked,
        failed: u.failed,
        in_flight: 0,
        downstream: down.ever().then(|| passed_on(d)),
        upstream_reports: up.ever(),
        f_in: u.f_in,
        f_acked: u.f_acked,
        f_failed: u.f_failed,
        f_down: d.f_in.minus(d.f_failed),
        progress: Progress::Settled,
        passage: Passage::None,
        caveats: Vec::new(),
        complete: case.from.complete || case.from.kind == StageKind::Kafka,
        at_least_once: case.to.at_least_once,
        left_out: case.from.stamped_only.then_some(left_out),
        expect: case.to.expect,
        members: Members { never: up.never().chain(down.never()).collect(), doubted: Vec::new() },
    }
}

/// Slots of a window that are not final.
#[derive(Default)]
struct OpenSlots {
    /// Messages without a delivery report whose reporter lives.
    in_flight: u64,
    /// A reporter that will not finish its slots has some here, unless it may after all.
    abandoned: Option<Hope>,
    /// A reporter has some here whose last word may be lost.
    lost: bool,
}

impl OpenSlots {
    fn load(tx: &dyn Tx, facts: &Facts, case: &Case<'_>, source: &Source) -> Done<Self> {
        let Source::Client(stage, known) = source else { return Ok(Self::default()) };
        let mut open = Self::default();
        let end_ms = case.span.end_ms();
        let place = params![case.topic, case.span.start_ms, end_ms, stage];
        tx.each(include_str!("sql/open_windows.sql"), place, &mut |r| {
            let reporter: i64 = r.get(0)?;
            if r.get::<Option<i64>>(4)?.is_some_and(|lost_ms| case.span.start_ms <= lost_ms) {
                open.lost = true;
                return Ok(true);
            }
            if known.live_ids.contains(&reporter) {
                open.in_flight = open.in_flight.saturating_add(count(r.get(1)?));
                return Ok(true);
            }
            let ended = r.get::<Option<String>>(2)?.as_deref().and_then(end_of);
            let life = Life::of(ended, r.get(3)?, facts.now_ms, millis(case.pipeline.silent_after));
            let hope = match life {
                Life::Goodbye => None,
                Life::Ended(_) => Some(Hope::Late),
                Life::Live | Life::Gone => Some(Hope::Return),
            };
            open.abandoned = open.abandoned.max(hope);
            Ok(true)
        })?;
        Ok(open)
    }
}
