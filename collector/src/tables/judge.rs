//! Judges the windows that are due: open, settling, changed, or to be looked at again.
//!
//! A window leaves the queue when the verdict of every hop rests on evidence that only a new record can change; that
//! record puts it back. What silence or delay decided is looked at again, each time after a tenth of its age. So the work
//! is that of what changed and what is open, however much has settled (`growth_tests.rs` counts it).
//! Limit: at most [`Options::judge_at_most`](super::Options) windows a call, those that have waited
//! longest first.

use std::collections::{BTreeMap, HashMap};

use super::Options;
use super::facts::Facts;
use super::gather::{Case, Gathered, Hope, Span, gather};
use super::groups;
use super::inventory;
use super::levels::Levels;
use super::offsets;
use super::slots;
use super::standing::{self, Entry, Row, Standing, record};
use super::sums::{StageSums, stage_sums};
use crate::db::{AsValue, Db, Done, Tx, Value, params};
use crate::pipeline::{Hop, Pipeline, Pipelines, Stage};
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

/// What was found: nothing is written yet.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    now_ms: i64,
    /// Whose findings they are: see [`pronounce`].
    term: i64,
    windows: Vec<(Due, Again, bool)>,
    entries: Vec<Entry>,
    /// Which pipeline a topic runs through.
    topics: Vec<(i64, Pipeline)>,
}

impl Findings {
    /// There was nothing to judge.
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

/// Drops what is kept for a while, and counts who reports of those who are expected to.
pub(crate) fn tidy(db: &mut Db<'_>, now_ms: i64, pipelines: &Pipelines, options: &Options) -> Done<()> {
    // Names are held before reporters are.
    groups::take(db, pipelines)?;
    slots::seal(db, now_ms.saturating_sub(options.seal_after_ms), SEALED_PER_CALL)?;
    offsets::forget(db, now_ms)?;
    if inventory::take(db, now_ms, pipelines)? {
        db.bump();
    }
    Ok(())
}

/// Judges what is due, by what is known at one moment.
pub(crate) fn deliberate(tx: &dyn Tx, now_ms: i64, pipelines: &Pipelines, options: &Options) -> Done<Findings> {
    let term = if tx.is_shared() { tx.one("SELECT term FROM judged", params![], |r| r.get(0))? } else { 0 };
    let due = due(tx, now_ms, options.judge_at_most)?;
    let Some(first) = due.iter().map(|d| d.window_ms).min() else { return Ok(Findings::default()) };
    let facts = Facts::load(tx, now_ms, first.saturating_sub(WIDEST_MS), &pipelines.sources)?;
    let found = Findings { now_ms, term, ..Findings::default() };
    let levels = Levels::now(tx)?;
    let mut court = Court { facts, levels, pipelines, topics: HashMap::new(), rulings: HashMap::new(), found };
    for window in &due {
        court.window(tx, window)?;
    }
    Ok(court.found)
}

/// Writes what was found; returns how many verdicts changed. Where several judge, nothing is written if another did since:
/// what it knew may have been newer. What was put into the queue again since then stays there.
pub(crate) fn pronounce(db: &mut Db<'_>, found: &Findings) -> Done<u64> {
    if db.tx.is_shared() {
        let next = "UPDATE judged SET term = term + 1 WHERE term = ?1";
        if db.tx.execute(next, params![found.term])? == 0 {
            return Ok(0);
        }
    }
    for (topic, p) in &found.topics {
        db.tx.execute(include_str!("sql/topic_pipeline_upsert.sql"), params![topic, p.name, p.owner, p.runbook])?;
    }
    standing::write(db, &found.entries, found.now_ms)?;
    leave(db, &found.windows)?;
    if !found.entries.is_empty() {
        db.bump();
    }
    Ok(found.entries.iter().filter(|e| e.changed).count() as u64)
}

/// A window in the queue.
#[derive(Debug, Clone, Copy)]
struct Due {
    topic: i64,
    window_ms: i64,
    width_ms: i64,
    touched: bool,
    version: i64,
}

fn due(tx: &dyn Tx, now_ms: i64, limit: u32) -> Done<Vec<Due>> {
    tx.query(include_str!("sql/pending_due.sql"), params![now_ms, limit], |r| {
        let (topic, window_ms, width_ms) = (r.get(0)?, r.get(1)?, r.get(2)?);
        Ok(Due { topic, window_ms, width_ms, touched: r.get(3)?, version: r.get(4)? })
    })
}

/// One session of the judge.
struct Court<'a> {
    facts: Facts,
    levels: Levels,
    pipelines: &'a Pipelines,
    topics: HashMap<i64, Option<&'a Pipeline>>,
    /// Hops judged in this session: a coarse window is in the queue once for each fine one in it.
    rulings: HashMap<(i64, usize, Span), Option<Ruling>>,
    found: Findings,
}

impl<'a> Court<'a> {
    fn pipeline(&mut self, tx: &dyn Tx, topic: i64) -> Done<Option<&'a Pipeline>> {
        if let Some(known) = self.topics.get(&topic) {
            return Ok(*known);
        }
        let name: String = tx.one("SELECT text FROM name WHERE id = ?1", params![topic], |r| r.get(0))?;
        let found = self.pipelines.of(&name);
        if let Some(pipeline) = found {
            self.found.topics.push((topic, pipeline.clone()));
        }
        self.topics.insert(topic, found);
        Ok(found)
    }

    fn window(&mut self, tx: &dyn Tx, w: &Due) -> Done<()> {
        let mut again = Again::Never;
        let mut all_ok = true;
        if let Some(pipeline) = self.pipeline(tx, w.topic)? {
            let wider = wider(tx, w)?;
            let mut sums: BTreeMap<i64, HashMap<i64, StageSums>> = BTreeMap::new();
            for (no, hop) in pipeline.hops().enumerate() {
                let span = self.span(tx, w, hop, &wider)?;
                let key = (w.topic, no, span);
                let ruling = if let Some(known) = self.rulings.get(&key) {
                    *known
                } else {
                    if let std::collections::btree_map::Entry::Vacant(slot) = sums.entry(span.width_ms) {
                        slot.insert(stage_sums(tx, &self.levels, w.topic, span)?);
                    }
                    let none = HashMap::new();
                    let sums = sums.get(&span.width_ms).unwrap_or(&none);
                    let ruling = self.hop(tx, (pipeline, hop, no), (w.topic, span), sums, w.touched)?;
                    self.rulings.insert(key, ruling);
                    ruling
                };
                if let Some(ruling) = ruling {
                    again = sooner(again, ruling.again);
                    all_ok &= ruling.ok;
                }
            }
        }
        self.found.windows.push((*w, again, all_ok));
        Ok(())
    }

    /// The numbers of the stages that report for this one.
    fn reported(&mut self, tx: &dyn Tx, stage: &Stage) -> Done<Vec<i64>> {
        let mut ids = Vec::new();
        for name in stage.reported() {
            ids.extend(self.facts.id(tx, name)?);
        }
        Ok(ids)
    }

    /// The window at the width that all stages of the hop can be compared at.
    fn span(&mut self, tx: &dyn Tx, w: &Due, hop: Hop<'_>, wider: &[(i64, i64)]) -> Done<Span> {
        let mut width_ms = w.width_ms;
        if !wider.is_empty() {
            let stages = [self.reported(tx, hop.from)?, self.reported(tx, hop.to)?].concat();
            let of_hop = wider.iter().filter(|(stage, _)| stages.contains(stage));
            width_ms = of_hop.map(|(_, width)| *width).fold(width_ms, i64::max);
        }
        Ok(Span::holding(w.window_ms, width_ms))
    }

    fn hop(
        &mut self,
        tx: &dyn Tx,
        (pipeline, hop, no): (&Pipeline, Hop<'_>, usize),
        (topic, span): (i64, Span),
        sums: &HashMap<i64, StageSums>,
        touched: bool,
    ) -> Done<Option<Ruling>> {
        let stages = [self.reported(tx, hop.from)?, self.reported(tx, hop.to)?].concat();
        if !stages.iter().any(|id| sums.contains_key(id)) {
            return Ok(None);
        }
        let (from, to) = (self.facts.id(tx, &hop.from.name)?, self.facts.id(tx, &hop.to.name)?);
        let old = match (from, to) {
            (Some(from), Some(to)) => Standing::load(tx, topic, span.start_ms, (from, to))?,
            _ => None,
        };
        let passed_ms = old.as_ref().and_then(|o| o.passed_ms);
        let levels = &self.levels;
        let case = Case { pipeline, from: hop.from, to: hop.to, topic, span, passed_ms, levels };
        let gathered = gather(tx, &mut self.facts, &case, sums)?;
        let judgement = decide(&gathered.evidence);
        let now_ms = self.facts.now_ms;
        let row = Row { topic, span, from: hop.from.name.clone(), to: hop.to.name.clone() };
        let entry = record(row, old.as_ref(), no, (&gathered, &judgement), (now_ms, touched))?;
        self.found.entries.extend(entry);
        let again = again(now_ms, &gathered, span.end_ms(), judgement.verdict);
        Ok(Some(Ruling { again, ok: judgement.verdict == Verdict::Ok }))
    }
}

/// Stages that count this window's time in wider windows.
fn wider(tx: &dyn Tx, w: &Due) -> Done<Vec<(i64, i64)>> {
    if w.width_ms >= WIDEST_MS {
        return Ok(Vec::new());
    }
    let [minute, widest] = [60_000, WIDEST_MS].map(|width_ms| Span::holding(w.window_ms, width_ms).start_ms);
    let of = params![w.topic, minute, widest, w.width_ms];
    tx.query(include_str!("sql/wider.sql"), of, |r| Ok((r.get(0)?, r.get(1)?)))
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

/// Takes windows out of the queue, or puts them off.
fn leave(db: &Db<'_>, windows: &[(Due, Again, bool)]) -> Done<()> {
    let mut sorted: Vec<&(Due, Again, bool)> = windows.iter().collect();
    sorted.sort_unstable_by_key(|(w, ..)| (w.topic, w.window_ms, w.width_ms));
    let key = |w: &Due| [w.topic, w.window_ms, w.width_ms].map(Value::Int);
    if db.tx.is_shared() {
        let keys: Vec<Value<'_>> = sorted.iter().flat_map(|(w, ..)| key(w)).collect();
        let versions = db.tx.first_many(include_str!("sql/pending_held.sql"), 3, &keys, |r| r.get::<i64>(0))?;
        let mut now = versions.into_iter();
        sorted.retain(|(w, ..)| now.next().flatten() == Some(w.version));
    }
    let (mut later, mut gone) = (Vec::new(), Vec::new());
    for (w, again, _) in &sorted {
        match again {
            Again::At { due_ms, unsettled } => {
                later.extend(key(w));
                later.extend([Value::Int(*due_ms), Value::Int(i64::from(*unsettled))]);
            }
            Again::Never => gone.extend(key(w)),
        }
    }
    db.tx.execute_many(include_str!("sql/pending_again.sql"), 5, &later)?;
    db.tx.execute_many("DELETE FROM pending WHERE topic = ?1 AND window_ms = ?2 AND width_ms = ?3", 3, &gone)?;
    for (w, again, all_ok) in sorted {
        if *again == Again::Never && *all_ok {
            offsets::fold(db, (w.topic, w.window_ms, w.width_ms))?;
        }
    }
    Ok(())
}
