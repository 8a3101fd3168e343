//! Judges the windows that are due: open, settling, changed, or to be looked at again.
//!
//! A window leaves the queue when the verdict of every hop rests on evidence that only a new record can change; that
//! record puts it back. What silence or delay decided is looked at again, each time after a tenth of its age. So the work
//! is that of what changed and what is open, however much has settled (`growth_tests.rs` counts it).
//! Limit: at most [`Options::judge_at_most`](super::Options) windows a call, those that have waited
//! longest first.

use std::collections::{BTreeMap, HashMap};

use rusqlite::params;

use super::Options;
use super::db::{Db, Done};
use super::facts::Facts;
use super::gather::{Case, Gathered, Hope, Span, gather};
use super::inventory;
use super::offsets;
use super::slots;
use super::standing::{Row, Standing, record};
use super::totals::{StageSums, stage_sums};
use crate::pipeline::{Hop, Pipeline, Pipelines};
use crate::verdict::{Verdict, judge as decide};

/// The widest window: see [`chaperone_audit::Width::ALL`].
const WIDEST_MS: i64 = 600_000;
/// Settling windows are looked at again after this at least, and this at most.
const SETTLING_MS: (i64, i64) = (500, 5_000);
/// Windows decided by delay or silence likewise.
const DOUBTFUL_MS: (i64, i64) = (1_000, 600_000);
/// Older than this, a window that silence made uncertain is left alone until a record comes: where the silent may come
/// back, and where all of them have ended. A day of the dead would be looked at over and over for nothing.
const GIVEN_UP_MS: i64 = 86_400_000;
const GIVEN_UP_ENDED_MS: i64 = 900_000;
/// Rows of finals sealed per call.
const SEALED_PER_CALL: u32 = 512;

/// When a hop's window must be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// When a record changes it.
    Never,
    /// At this time.
    At { due_ms: i64, unsettled: bool },
}

/// What came of one hop in one window.
#[derive(Debug, Clone, Copy)]
struct Ruling {
    again: Again,
    ok: bool,
}

/// Judges what is due; returns how many verdicts changed.
pub(super) fn judge(db: &mut Db<'_>, now_ms: i64, pipelines: &Pipelines, options: &Options) -> Done<u64> {
    slots::seal(db, now_ms.saturating_sub(options.seal_after_ms), SEALED_PER_CALL)?;
    offsets::forget(db, now_ms)?;
    if inventory::take(db, now_ms, pipelines)? {
        db.bump()?;
    }
    let due = due(db, now_ms, options.judge_at_most)?;
    let Some(first) = due.iter().map(|d| d.window_ms).min() else { return Ok(0) };
    let facts = Facts::load(db, now_ms, first.saturating_sub(WIDEST_MS), &pipelines.sources)?;
    let mut court =
        Court { facts, pipelines, topics: HashMap::new(), rulings: HashMap::new(), changed: 0, wrote: false };
    for window in &due {
        court.window(db, window)?;
    }
    if court.wrote {
        db.bump()?;
    }
    Ok(court.changed)
}

/// A window in the queue.
#[derive(Debug, Clone, Copy)]
struct Due {
    topic: i64,
    window_ms: i64,
    width_ms: i64,
    touched: bool,
}

fn due(db: &Db<'_>, now_ms: i64, limit: u32) -> Done<Vec<Due>> {
    let mut statement = db.conn.prepare_cached(include_str!("sql/pending_due.sql"))?;
    let rows = statement.query_map(params![now_ms, limit], |r| {
        Ok(Due { topic: r.get(0)?, window_ms: r.get(1)?, width_ms: r.get(2)?, touched: r.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One session of the judge.
struct Court<'a> {
    facts: Facts,
    pipelines: &'a Pipelines,
    topics: HashMap<i64, Option<&'a Pipeline>>,
    /// Hops judged in this session: a coarse window is in the queue once for each fine one in it.
    rulings: HashMap<(i64, usize, Span), Option<Ruling>>,
    changed: u64,
    wrote: bool,
}

impl<'a> Court<'a> {
    fn pipeline(&mut self, db: &Db<'_>, topic: i64) -> Done<Option<&'a Pipeline>> {
        if let Some(known) = self.topics.get(&topic) {
            return Ok(*known);
        }
        let found = self.pipelines.of(&db.text(topic)?);
        if let Some(p) = found {
            let mut statement = db.conn.prepare_cached(include_str!("sql/topic_pipeline_upsert.sql"))?;
            statement.execute(params![topic, p.name, p.owner, p.runbook])?;
        }
        self.topics.insert(topic, found);
        Ok(found)
    }

    fn window(&mut self, db: &mut Db<'_>, w: &Due) -> Done<()> {
        let mut again = Again::Never;
        let mut all_ok = true;
        if let Some(pipeline) = self.pipeline(db, w.topic)? {
            let wider = wider(db, w)?;
            let mut sums: BTreeMap<i64, HashMap<i64, StageSums>> = BTreeMap::new();
            for (no, hop) in pipeline.hops().enumerate() {
                let span = self.span(db, w, hop, &wider)?;
                let key = (w.topic, no, span);
                let ruling = if let Some(known) = self.rulings.get(&key) {
                    *known
                } else {
                    if let std::collections::btree_map::Entry::Vacant(slot) = sums.entry(span.width_ms) {
                        slot.insert(stage_sums(db, w.topic, span.start_ms, span.end_ms())?);
                    }
                    let none = HashMap::new();
                    let sums = sums.get(&span.width_ms).unwrap_or(&none);
                    let ruling = self.hop(db, (pipeline, hop, no), (w.topic, span), sums, w.touched)?;
                    self.rulings.insert(key, ruling);
                    ruling
                };
                if let Some(ruling) = ruling {
                    again = sooner(again, ruling.again);
                    all_ok &= ruling.ok;
                }
            }
        }
        leave(db, w, again, all_ok)
    }

    /// The window at the width that both stages of the hop can be compared at.
    fn span(&mut self, db: &Db<'_>, w: &Due, hop: Hop<'_>, wider: &[(i64, i64)]) -> Done<Span> {
        let mut width_ms = w.width_ms;
        if !wider.is_empty() {
            let stages = [self.facts.id(db, &hop.from.name)?, self.facts.id(db, &hop.to.name)?];
            let of_hop = wider.iter().filter(|(stage, _)| stages.contains(&Some(*stage)));
            width_ms = of_hop.map(|(_, width)| *width).fold(width_ms, i64::max);
        }
        Ok(Span::holding(w.window_ms, width_ms))
    }

    fn hop(
        &mut self,
        db: &mut Db<'_>,
        (pipeline, hop, no): (&Pipeline, Hop<'_>, usize),
        (topic, span): (i64, Span),
        sums: &HashMap<i64, StageSums>,
        touched: bool,
    ) -> Done<Option<Ruling>> {
        let counted = |id: Option<i64>| id.is_some_and(|id| sums.contains_key(&id));
        let (from, to) = (self.facts.id(db, &hop.from.name)?, self.facts.id(db, &hop.to.name)?);
        if !counted(from) && !counted(to) {
            return Ok(None);
        }
        let row = Row { topic, span, from: db.name(&hop.from.name)?, to: db.name(&hop.to.name)? };
        let old = Standing::load(db, &row)?;
        let passed_ms = old.as_ref().and_then(|o| o.passed_ms);
        let case = Case { pipeline, from: hop.from, to: hop.to, topic, span, passed_ms };
        let gathered = gather(db, &mut self.facts, &case, sums)?;
        let judgement = decide(&gathered.evidence);
        let now_ms = self.facts.now_ms;
        let (wrote, changed) = record(db, &row, old.as_ref(), no, (&gathered, &judgement), (now_ms, touched))?;
        self.wrote |= wrote;
        self.changed += u64::from(changed);
        let again = again(now_ms, &gathered, span.end_ms(), judgement.verdict);
        Ok(Some(Ruling { again, ok: judgement.verdict == Verdict::Ok }))
    }
}

/// Stages that count this window's time in wider windows.
fn wider(db: &Db<'_>, w: &Due) -> Done<Vec<(i64, i64)>> {
    if w.width_ms >= WIDEST_MS {
        return Ok(Vec::new());
    }
    let floor = |width_ms: i64| Span::holding(w.window_ms, width_ms).start_ms;
    let mut statement = db.conn.prepare_cached(include_str!("sql/wider.sql"))?;
    let rows = statement
        .query_map(params![w.topic, floor(60_000), floor(WIDEST_MS), w.width_ms], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn sooner(a: Again, b: Again) -> Again {
    match (a, b) {
        (Again::At { due_ms, unsettled }, Again::At { due_ms: other_ms, unsettled: other }) => {
            Again::At { due_ms: due_ms.min(other_ms), unsettled: unsettled || other }
        }
        (Again::Never, other) | (other, Again::Never) => other,
    }
}

fn again(now_ms: i64, gathered: &Gathered, end_ms: i64, verdict: Verdict) -> Again {
    let settles_at_ms = gathered.settles_at_ms;
    let age = now_ms.saturating_sub(settles_at_ms);
    let wait = |(least, most): (i64, i64), part: i64| now_ms.saturating_add((age / part).clamp(least, most));
    let at = |due_ms, unsettled| Again::At { due_ms, unsettled };
    match verdict {
        Verdict::Open => at(end_ms, true),
        Verdict::Settling if age < 0 => at(settles_at_ms, true),
        Verdict::Settling => at(wait(SETTLING_MS, 20), true),
        Verdict::Delayed | Verdict::Overdue => at(wait(DOUBTFUL_MS, 10), false),
        Verdict::Uncertain if age < given_up_ms(gathered.hope) => at(wait(DOUBTFUL_MS, 10), false),
        // The stage's first report puts `no report` back; a record of the window all the others.
        _ => Again::Never,
    }
}

/// How old a doubtful window may be to be looked at again by itself; none is younger than the least number.
const fn given_up_ms(hope: Hope) -> i64 {
    match hope {
        Hope::None => i64::MIN,
        Hope::Late => GIVEN_UP_ENDED_MS,
        Hope::Return => GIVEN_UP_MS,
    }
}

fn leave(db: &Db<'_>, w: &Due, again: Again, all_ok: bool) -> Done<()> {
    match again {
        Again::At { due_ms, unsettled } => {
            db.conn.prepare_cached(include_str!("sql/pending_again.sql"))?.execute(params![
                w.topic,
                w.window_ms,
                w.width_ms,
                due_ms,
                unsettled
            ])?;
        }
        Again::Never => {
            db.conn
                .prepare_cached("DELETE FROM pending WHERE topic = ?1 AND window_ms = ?2 AND width_ms = ?3")?
                .execute(params![w.topic, w.window_ms, w.width_ms])?;
            if all_ok {
                offsets::fold(db, (w.topic, w.window_ms, w.width_ms))?;
            }
        }
    }
    Ok(())
}
