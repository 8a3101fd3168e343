//! Evidence: what is known of one hop in one window, read from the totals and the facts.

mod caveats;

use std::collections::HashMap;
use std::rc::Rc;

use super::facts::{Facts, StageFacts, TapFacts};
use super::life::Life;
use super::reporters::end_of;
use super::sums::{StageSum, StageSums};
use crate::caveat::Doubt;
use crate::db::{AsValue, Done, Row, Tx, Value, count, params};
use crate::passage::{self, Held, by_frontier, by_position, by_watermark};
use crate::pipeline::{Pipeline, Stage, StageKind};
use crate::settle::{Mark, Settling, settle, settle_passed, settles_at};
use crate::verdict::{Evidence, LeftOut, Passage, Progress};
use caveats::Caveats;

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

/// A stage as one side of a hop.
enum Side {
    /// Nothing ever came from it.
    Unknown,
    Client(i64, Rc<StageFacts>),
    Kafka(i64, Rc<TapFacts>),
}

impl Side {
    fn load(tx: &dyn Tx, facts: &mut Facts, stage: &Stage, pipeline: &Pipeline, topic: i64) -> Done<Self> {
        let Some(id) = facts.id(tx, &stage.name)? else { return Ok(Self::Unknown) };
        Ok(match stage.kind {
            StageKind::Client => Self::Client(id, facts.stage(tx, id, &stage.name, millis(pipeline.silent_after))?),
            StageKind::Kafka => Self::Kafka(id, facts.tap(tx, id, &stage.name, topic)?),
        })
    }
    fn id(&self) -> Option<i64> {
        match self {
            Self::Unknown => None,
            Self::Client(id, _) | Self::Kafka(id, _) => Some(*id),
        }
    }
    fn ever(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Client(_, f) => f.ever,
            Self::Kafka(_, f) => f.ever,
        }
    }
    fn marks(&self) -> &[Mark] {
        match self {
            Self::Unknown => &[],
            Self::Client(_, f) => &f.live,
            Self::Kafka(_, f) => std::slice::from_ref(&f.mark),
        }
    }
    fn audited_since_ms(&self) -> Option<i64> {
        match self {
            Self::Unknown => None,
            Self::Client(_, f) => f.audited_since_ms,
            Self::Kafka(_, f) => f.audited_since_ms,
        }
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
    let up = Side::load(tx, facts, case.from, case.pipeline, case.topic)?;
    let down = Side::load(tx, facts, case.to, case.pipeline, case.topic)?;
    let none = StageSums::default();
    let sum = |side: &Side| side.id().and_then(|id| sums.get(&id)).unwrap_or(&none);
    let (u, d) = (sum(&up), sum(&down));
    // Of all classes, whatever is compared: what is left out is told too.
    let (u_last_ms, d_last_ms) = (u.all.last_ms, d.all.last_ms);
    let grace_ms = millis(case.pipeline.grace);
    let settles_at_ms = settles_at(case.span.end_ms(), u_last_ms, grace_ms);
    let mut evidence = counts(u, d, case);
    evidence.upstream_reports = up.ever();
    evidence.downstream = evidence.downstream.filter(|_| down.ever());
    if facts.now_ms < case.span.end_ms() {
        evidence.progress = Progress::Open;
        return Ok(Gathered { evidence, settles_at_ms, hope: Hope::None, passed_ms: None });
    }
    let open_up = OpenSlots::load(tx, facts, case, &up)?;
    let open_down = OpenSlots::load(tx, facts, case, &down)?;
    evidence.in_flight = open_up.in_flight;
    let mut audit = facts.audit(&case.from.name, &case.to.name);
    for stage in [case.from, case.to].into_iter().filter(|stage| stage.kind == StageKind::Client) {
        audit.extend(facts.unheard(&stage.name, millis(case.pipeline.silent_after)));
    }
    evidence.progress = settle(&Settling {
        now_ms: facts.now_ms,
        end_ms: case.span.end_ms(),
        last_arrival_ms: u_last_ms,
        grace_ms,
        audit: &audit,
        upstream: up.marks(),
        downstream: down.marks(),
        in_flight: open_up.in_flight,
    });
    let mut passed_ms = None;
    if evidence.progress == Progress::Settled && evidence.may_lack() {
        let times = (u_last_ms, settles_at_ms);
        let (passage, at_ms) = passage(tx, case, (&up, &down), times)?;
        evidence.passage = passage;
        // What it was first seen to have passed stands, unless a message arrived later than that.
        passed_ms = at_ms.map(|at| case.passed_ms.filter(|p| Some(*p) >= u_last_ms).unwrap_or(at));
        if let Some(at_ms) = passed_ms {
            evidence.progress = settle_passed(at_ms, down.marks());
        }
    }
    // A message counted downstream was upstream before: nothing is too many, and no ids differ, before the upstream
    // stage has reported through the last arrival downstream. What is absent is so all the more.
    if evidence.progress == Progress::Settled
        && evidence.downstream.is_some()
        && !evidence.lacks()
        && let (false, Some(last_ms)) = (evidence.is_ok(), d_last_ms)
    {
        evidence.progress = settle_passed(last_ms.saturating_add(grace_ms), up.marks());
    }
    let mut caveats = Caveats::default();
    if evidence.progress == Progress::Settled {
        caveats.rules(tx, case, (compared(u, case), up.id()), (compared(d, case), down.id()))?;
        caveats.stamps(tx, case, &evidence, down.id())?;
        if caveats.in_part(facts, case) {
            // What both sides have by half may be the same half.
            evidence.complete = false;
        }
        caveats.early((&up, &down), (compared(u, case), compared(d, case)), &evidence, grace_ms);
        caveats.side(tx, case, (&up, Doubt::Upstream), open_up.abandoned, None)?;
        caveats.side(tx, case, (&down, Doubt::Downstream), open_down.abandoned, passed_ms)?;
        let until_ms = passed_ms.max(d_last_ms.map(|last| last.saturating_add(grace_ms))).unwrap_or(settles_at_ms);
        for (stage, doubt, open) in [(case.from, Doubt::Upstream, &open_up), (case.to, Doubt::Downstream, &open_down)] {
            let until_ms = until_ms.max(settles_at_ms);
            caveats.audit_lost(
                facts,
                (stage, doubt),
                open.lost,
                (case.span.start_ms.saturating_sub(grace_ms), until_ms),
            );
        }
    }
    // Said while it is waited for: no watermark passes an open transaction, so that the window cannot settle before.
    for (side, doubt) in [(&up, Doubt::Upstream), (&down, Doubt::Downstream)] {
        caveats.held((side, doubt), facts.now_ms, settles_at_ms, grace_ms);
    }
    evidence.caveats = caveats.all;
    Ok(Gathered { evidence, settles_at_ms, hope: caveats.hope, passed_ms })
}

/// What the hop compares of a stage.
fn compared<'a>(sums: &'a StageSums, case: &Case<'_>) -> &'a StageSum {
    if case.from.stamped_only { &sums.stamped } else { &sums.all }
}

fn counts(of_up: &StageSums, of_down: &StageSums, case: &Case<'_>) -> Evidence {
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
        downstream: Some(passed_on(d)),
        upstream_reports: true,
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
    fn load(tx: &dyn Tx, facts: &Facts, case: &Case<'_>, side: &Side) -> Done<Self> {
        let Side::Client(stage, known) = side else { return Ok(Self::default()) };
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

/// Whether the hop has passed the window; with positions, also when that was known at the latest.
fn passage(
    tx: &dyn Tx,
    case: &Case<'_>,
    (up, down): (&Side, &Side),
    (last_ms, settles_at_ms): (Option<i64>, i64),
) -> Done<(Passage, Option<i64>)> {
    let passage = match (up, down) {
        (Side::Unknown, _) | (_, Side::Unknown) => Passage::None,
        (Side::Client(..), Side::Kafka(..)) => Passage::Passed,
        (Side::Client(..), Side::Client(_, f)) => by_watermark(f.watermarks.iter().copied(), settles_at_ms),
        (Side::Kafka(from, _), Side::Client(to, _)) => {
            let (held, at_ms) = held(tx, case, *from, *to)?;
            let passage = by_position(&held);
            return Ok((passage, at_ms.filter(|_| passage == Passage::Passed)));
        }
        (Side::Kafka(from, f), Side::Kafka(_, t)) => {
            let holding: Vec<i32> = holding(tx, case, *from)?.into_iter().map(|(q, _)| q).collect();
            let relevant = passage::relevant((f.count, t.count), &holding, &f.partitions, &t.partitions);
            by_frontier(case.span.end_ms(), last_ms, &relevant)
        }
    };
    Ok((passage, None))
}

/// Partitions that hold messages of the window at a broker stage, with the largest offset.
fn holding(tx: &dyn Tx, case: &Case<'_>, stage: i64) -> Done<Vec<(i32, i64)>> {
    let end_ms = case.span.end_ms();
    let place = params![case.topic, case.span.start_ms, end_ms, stage];
    tx.query(include_str!("sql/holding.sql"), place, |r| Ok((r.get(0)?, r.get(1)?)))
}

/// Those partitions with the consumer's positions, and the latest time of the positions.
fn held(tx: &dyn Tx, case: &Case<'_>, from: i64, to: i64) -> Done<(Vec<Held>, Option<i64>)> {
    let holding = holding(tx, case, from)?;
    let keys: Vec<Value<'_>> = holding.iter().flat_map(|(partition, _)| *params![to, case.topic, partition]).collect();
    let read = |r: &Row<'_>| Ok((r.get::<i64>(0)?, r.get::<i64>(1)?));
    let positions = tx.first_many(include_str!("sql/position_select.sql"), 3, &keys, read)?;
    let latest = positions.iter().flatten().map(|(_, at_ms)| *at_ms).max();
    let held = holding.iter().zip(positions);
    let held =
        held.map(|((_, max_offset), p)| Held { max_offset: *max_offset, position: p.map(|(position, _)| position) });
    Ok((held.collect(), latest))
}
