//! Topics at a glance: the worst verdict of a range, and sums.
//!
//! A range is told from two levels: the wider one in the middle, the narrower one at both ends. Up to a quarter of an hour
//! the narrower one are the windows themselves; longer ranges are widened to whole minutes, or, from six hours on, to ten
//! minutes. Invariant: no verdict counts twice.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxHashMap;

use super::levels::{Levels, WINDOWS_MS};
use super::reader::{bounds, verdict_of};
use crate::db::{AsValue, Done, Fault, Row, Texts, Tx, count, params};
use crate::query::{TopicSummary, WindowQuery};
use crate::retention::floor_ms;
use crate::verdict::Verdict;

/// Ranges up to this are told from windows and minutes.
const SHORT_MS: i64 = 900_000;
/// Ranges up to this from minutes and ten minutes, others from ten minutes and hours.
const MEDIUM_MS: i64 = 21_600_000;

/// What is known of a hop.
struct Hop {
    /// Its place in the pipeline.
    place: i64,
    worst: Verdict,
    missing: u64,
    surplus: u64,
    delayed: u64,
}

impl Hop {
    fn take(&mut self, place: i64, verdict: Verdict, [missing, surplus, delayed]: [u64; 3]) {
        self.place = self.place.max(place);
        if verdict.severity() > self.worst.severity() {
            self.worst = verdict;
        }
        self.missing = self.missing.saturating_add(missing);
        self.surplus = self.surplus.saturating_add(surplus);
        self.delayed = self.delayed.saturating_add(delayed);
    }
}

/// By numbers of topic, upstream and downstream stage.
#[derive(Default)]
pub(super) struct Hops(FxHashMap<[i64; 3], Hop>);

impl Hops {
    /// Columns: topic, stages and place of the hop; then three sums. Most rows say that nothing is wrong, their sums are zero:
    /// of a hop that is known no more is read of them than that it is.
    fn add(&mut self, r: &Row<'_>, verdict: Verdict) -> Done<()> {
        let key = [r.get(0)?, r.get(1)?, r.get(2)?];
        let hop = match self.0.entry(key) {
            Entry::Occupied(_) if verdict == Verdict::Ok => return Ok(()),
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                free.insert(Hop { place: r.get(3)?, worst: verdict, missing: 0, surplus: 0, delayed: 0 })
            }
        };
        let sums = [r.get(4)?, r.get(5)?, r.get(6)?].map(count);
        hop.take(r.get(3)?, verdict, sums);
        Ok(())
    }

    /// What both say.
    fn and(mut self, other: Self) -> Self {
        for (key, of) in other.0 {
            match self.0.entry(key) {
                Entry::Occupied(mut known) => {
                    known.get_mut().take(of.place, of.worst, [of.missing, of.surplus, of.delayed]);
                }
                Entry::Vacant(free) => {
                    free.insert(of);
                }
            }
        }
        self
    }

    /// From a level, and what was judged in windows as wide; or from the windows.
    fn read(&mut self, tx: &dyn Tx, topic: Option<i64>, (from_ms, to_ms): (i64, i64), level_ms: i64) -> Done<()> {
        if from_ms >= to_ms {
            return Ok(());
        }
        let window = &mut |r: &Row<'_>| {
            self.add(r, verdict_of(&r.get::<String>(7)?)?)?;
            Ok(true)
        };
        if level_ms == WINDOWS_MS {
            return match topic {
                Some(topic) => tx.each(include_str!("sql/topics_of_topic.sql"), params![from_ms, to_ms, topic], window),
                None => tx.each(include_str!("sql/topics.sql"), params![from_ms, to_ms], window),
            };
        }
        let all = params![level_ms, from_ms, to_ms, topic];
        let of = if topic.is_some() { all } else { all.get(..3).unwrap_or(all) };
        let (level, wide) = match topic {
            Some(_) => (include_str!("sql/topics_level_of_topic.sql"), include_str!("sql/topics_wide_of_topic.sql")),
            None => (include_str!("sql/topics_level.sql"), include_str!("sql/topics_wide.sql")),
        };
        tx.each(wide, of, window)?;
        tx.each(level, of, &mut |r| {
            self.add(r, severe(r.get(7)?)?)?;
            Ok(true)
        })
    }

    /// By name of the topic, with its number.
    fn topics(&self, tx: &dyn Tx) -> Done<BTreeMap<String, (i64, TopicSummary)>> {
        let names = Texts::of_all(tx, self.0.keys().flatten().copied())?;
        let mut hops: Vec<(&[i64; 3], &Hop)> = self.0.iter().collect();
        hops.sort_by_key(|([topic, from, to], hop)| (*topic, hop.place, *from, *to));
        let mut topics: BTreeMap<String, (i64, TopicSummary)> = BTreeMap::new();
        for (&[id, from, to], hop) in hops {
            let topic = names.of(id)?;
            let fresh = || TopicSummary {
                topic: topic.clone(),
                stages: Vec::new(),
                worst: hop.worst,
                missing_min: 0,
                surplus_min: 0,
                delayed: 0,
                complete_through_ms: None,
            };
            let (_, summary) = topics.entry(topic.clone()).or_insert_with(|| (id, fresh()));
            if hop.worst.severity() > summary.worst.severity() {
                summary.worst = hop.worst;
            }
            summary.missing_min = summary.missing_min.saturating_add(hop.missing);
            summary.surplus_min = summary.surplus_min.saturating_add(hop.surplus);
            summary.delayed = summary.delayed.saturating_add(hop.delayed);
            for stage in [names.of(from)?, names.of(to)?] {
                if !summary.stages.contains(&stage) {
                    summary.stages.push(stage);
                }
            }
        }
        Ok(topics)
    }
}

/// The verdict of this severity.
fn severe(severity: i64) -> Done<Verdict> {
    let found = Verdict::ALL.into_iter().find(|v| i64::from(v.severity()) == severity);
    found.ok_or_else(|| Fault::stored("verdict")(format!("severity {severity} is none")))
}

/// Each part of a range with the level that tells it: the beginning, the middle, the end.
pub(super) type Parts = [((i64, i64), i64); 3];

/// Which levels tell a range, each in which part of it.
pub(super) fn parts(levels: &Levels, from_ms: i64, to_ms: i64) -> Parts {
    let is_gone = |width_ms: i64| levels.is_dropped(0, floor_ms(from_ms, width_ms), width_ms);
    let (fine_ms, coarse_ms) = match to_ms.saturating_sub(from_ms) {
        ..=SHORT_MS if !is_gone(WINDOWS_MS) => (WINDOWS_MS, 60_000),
        ..=MEDIUM_MS => (60_000, 600_000),
        _ => (600_000, 3_600_000),
    };
    let up = |at_ms: i64, width_ms: i64| floor_ms(at_ms.saturating_sub(1), width_ms).saturating_add(width_ms);
    let edge_ms = match fine_ms {
        // Those that begin in the range, whenever that begins.
        WINDOWS_MS => 1,
        _ if is_gone(fine_ms) => coarse_ms,
        _ => fine_ms,
    };
    let (from_ms, to_ms) = (floor_ms(from_ms, edge_ms), up(to_ms, edge_ms));
    let (first_ms, last_ms) = (up(from_ms, coarse_ms).min(to_ms), floor_ms(to_ms, coarse_ms));
    let last_ms = last_ms.max(first_ms);
    [((from_ms, first_ms), fine_ms), ((first_ms, last_ms), coarse_ms), ((last_ms, to_ms), fine_ms)]
}

/// A share of what is asked of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Its middle.
    Middle,
    /// Both ends of it.
    Ends,
    /// All of it.
    Whole,
}

/// What a share of the range says, and how the range was cut: two readings fit together only if both cut it alike.
pub(super) fn read(tx: &dyn Tx, q: &WindowQuery, share: Share) -> Done<(Parts, Hops)> {
    let levels = Levels::now(tx)?;
    let parts = parts(&levels, q.from_ms, q.to_ms);
    let mut hops = Hops::default();
    let Some((topic, _)) = bounds(tx, q)? else { return Ok((parts, hops)) };
    for (i, (range, level_ms)) in parts.into_iter().enumerate() {
        let is_middle = i == 1;
        if share == Share::Whole || is_middle == (share == Share::Middle) {
            hops.read(tx, topic, range, level_ms)?;
        }
    }
    Ok((parts, hops))
}

/// Both readings as one, if they fit together.
pub(super) fn fitting((of_one, one): (Parts, Hops), (of_other, other): (Parts, Hops)) -> Option<Hops> {
    (of_one == of_other).then(|| one.and(other))
}

/// Topics with their worst verdict in the range, by name; not how far they are complete.
pub(super) fn named(tx: &dyn Tx, q: &WindowQuery, hops: &Hops) -> Done<Vec<TopicSummary>> {
    let Some((_, limit)) = bounds(tx, q)? else { return Ok(Vec::new()) };
    Ok(hops.topics(tx)?.into_values().take(limit as usize).map(|(_, summary)| summary).collect())
}

/// Topics with their worst verdict in the range, by name, each with its number.
fn numbered(tx: &dyn Tx, q: &WindowQuery) -> Done<Vec<(i64, TopicSummary)>> {
    let Some((_, limit)) = bounds(tx, q)? else { return Ok(Vec::new()) };
    let (_, hops) = read(tx, q, Share::Whole)?;
    Ok(hops.topics(tx)?.into_values().take(limit as usize).collect())
}

/// Topics with their worst verdict in the range, by name, and how far they are complete.
pub(crate) fn topics(tx: &dyn Tx, q: &WindowQuery) -> Done<Vec<TopicSummary>> {
    let judged = numbered(tx, q)?;
    // One question for all of them, not one each.
    let mut through: HashMap<i64, Option<i64>> = HashMap::new();
    if q.topic.is_none() {
        tx.each(include_str!("sql/complete_through_all.sql"), params![], &mut |r| {
            through.insert(r.get(0)?, r.get(1)?);
            Ok(true)
        })?;
    }
    let mut found = Vec::new();
    for (id, mut summary) in judged {
        summary.complete_through_ms = match through.get(&id) {
            Some(through_ms) => *through_ms,
            None => complete_through(tx, id)?,
        };
        found.push(summary);
    }
    Ok(found)
}

/// Every window of the topic before this time is settled.
fn complete_through(tx: &dyn Tx, topic: i64) -> Done<Option<i64>> {
    tx.one(include_str!("sql/complete_through.sql"), params![topic], |r| r.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_knows_the_severity_of_every_verdict() {
        for sql in [include_str!("sql/topics_level.sql"), include_str!("sql/topics_level_of_topic.sql")] {
            for verdict in Verdict::ALL.into_iter().filter(|v| *v != Verdict::Ok) {
                let (word, severity) = (verdict.as_str().replace('-', "_"), verdict.severity());
                assert!(
                    sql.contains(&format!("WHEN h.n_{word} > 0 THEN {severity}\n"))
                        || sql.contains(&format!("WHEN h.n_{word} > 0 THEN {severity} ELSE 0")),
                    "{word}"
                );
            }
            assert_eq!(sql.matches("WHEN").count(), Verdict::ALL.len() - 1);
        }
        for verdict in Verdict::ALL {
            assert_eq!(severe(i64::from(verdict.severity())).ok(), Some(verdict));
        }
    }
}
