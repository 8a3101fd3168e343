//! Topics at a glance: the worst verdict of a range, and sums.
//!
//! Up to a quarter of an hour is told from its windows. Longer ranges are widened to whole minutes, or, from six hours on, to
//! ten minutes, and told from two levels: the wider one in the middle, the narrower one at both ends. Invariant: no verdict
//! counts twice.

use std::collections::{BTreeMap, HashMap};

use super::levels::{Levels, WINDOWS_MS};
use super::reader::{bounds, verdict_of};
use crate::db::{AsValue, Done, Fault, Row, Tx, count, params};
use crate::query::{TopicSummary, WindowQuery};
use crate::retention::floor_ms;
use crate::verdict::Verdict;

/// Ranges up to this are told from windows.
const SHORT_MS: i64 = 900_000;
/// Ranges up to this from minutes and ten minutes, others from ten minutes and hours.
const MEDIUM_MS: i64 = 21_600_000;

/// Stages of a topic's hops, by place in the pipeline.
type Hops = BTreeMap<i64, (String, String)>;

/// What is known of each topic, by name.
#[derive(Default)]
struct Topics(BTreeMap<String, (i64, TopicSummary, Hops)>);

impl Topics {
    /// Columns: topic's number and name, stages, place of the hop; then the worst verdict; then three sums.
    fn add(&mut self, r: &Row<'_>, verdict: Verdict) -> Done<()> {
        let name: String = r.get(1)?;
        let fresh = || TopicSummary {
            topic: name.clone(),
            stages: Vec::new(),
            worst: verdict,
            missing_min: 0,
            surplus_min: 0,
            delayed: 0,
            complete_through_ms: None,
        };
        let id: i64 = r.get(0)?;
        let (_, summary, hops) = self.0.entry(name.clone()).or_insert_with(|| (id, fresh(), Hops::new()));
        if verdict.severity() > summary.worst.severity() {
            summary.worst = verdict;
        }
        summary.missing_min = summary.missing_min.saturating_add(count(r.get(6)?));
        summary.surplus_min = summary.surplus_min.saturating_add(count(r.get(7)?));
        summary.delayed = summary.delayed.saturating_add(count(r.get(8)?));
        hops.insert(r.get(4)?, (r.get(2)?, r.get(3)?));
        Ok(())
    }

    fn windows(&mut self, tx: &dyn Tx, topic: Option<i64>, (from_ms, to_ms): (i64, i64)) -> Done<()> {
        let read = &mut |r: &Row<'_>| {
            self.add(r, verdict_of(&r.get::<String>(5)?)?)?;
            Ok(true)
        };
        match topic {
            Some(topic) => tx.each(include_str!("sql/topics_of_topic.sql"), params![from_ms, to_ms, topic], read),
            None => tx.each(include_str!("sql/topics.sql"), params![from_ms, to_ms], read),
        }
    }

    /// From a level, and what was judged in windows as wide.
    fn level(&mut self, tx: &dyn Tx, topic: Option<i64>, (from_ms, to_ms): (i64, i64), level_ms: i64) -> Done<()> {
        if from_ms >= to_ms {
            return Ok(());
        }
        let all = params![level_ms, from_ms, to_ms, topic];
        let of = if topic.is_some() { all } else { all.get(..3).unwrap_or(all) };
        let (level, wide) = match topic {
            Some(_) => (include_str!("sql/topics_level_of_topic.sql"), include_str!("sql/topics_wide_of_topic.sql")),
            None => (include_str!("sql/topics_level.sql"), include_str!("sql/topics_wide.sql")),
        };
        tx.each(level, of, &mut |r| {
            self.add(r, severe(r.get(5)?)?)?;
            Ok(true)
        })?;
        tx.each(wide, of, &mut |r| {
            self.add(r, verdict_of(&r.get::<String>(5)?)?)?;
            Ok(true)
        })
    }
}

/// The verdict of this severity.
fn severe(severity: i64) -> Done<Verdict> {
    let found = Verdict::ALL.into_iter().find(|v| i64::from(v.severity()) == severity);
    found.ok_or_else(|| Fault::stored("verdict")(format!("severity {severity} is none")))
}

/// Which levels tell a range, each in which part of it.
fn parts(levels: &Levels, from_ms: i64, to_ms: i64) -> [((i64, i64), i64); 3] {
    let (fine_ms, coarse_ms) =
        if to_ms.saturating_sub(from_ms) <= MEDIUM_MS { (60_000, 600_000) } else { (600_000, 3_600_000) };
    let up = |at_ms: i64, width_ms: i64| floor_ms(at_ms.saturating_sub(1), width_ms).saturating_add(width_ms);
    let gone = levels.is_dropped(0, floor_ms(from_ms, fine_ms), fine_ms);
    let edge_ms = if gone { coarse_ms } else { fine_ms };
    let (from_ms, to_ms) = (floor_ms(from_ms, edge_ms), up(to_ms, edge_ms));
    let (first_ms, last_ms) = (up(from_ms, coarse_ms).min(to_ms), floor_ms(to_ms, coarse_ms));
    let last_ms = last_ms.max(first_ms);
    [((from_ms, first_ms), fine_ms), ((first_ms, last_ms), coarse_ms), ((last_ms, to_ms), fine_ms)]
}

/// Topics with their worst verdict in the range, by name.
pub(crate) fn topics(tx: &dyn Tx, q: &WindowQuery) -> Done<Vec<TopicSummary>> {
    let Some((topic, limit)) = bounds(tx, q)? else { return Ok(Vec::new()) };
    let mut topics = Topics::default();
    let levels = Levels::now(tx)?;
    let short = q.to_ms.saturating_sub(q.from_ms) <= SHORT_MS;
    if short && !levels.is_dropped(0, q.from_ms, WINDOWS_MS) {
        topics.windows(tx, topic, (q.from_ms, q.to_ms))?;
    } else {
        for (range, level_ms) in parts(&levels, q.from_ms, q.to_ms) {
            topics.level(tx, topic, range, level_ms)?;
        }
    }
    // One question for all of them, not one each.
    let mut through: HashMap<i64, Option<i64>> = HashMap::new();
    if topic.is_none() {
        tx.each(include_str!("sql/complete_through_all.sql"), params![], &mut |r| {
            through.insert(r.get(0)?, r.get(1)?);
            Ok(true)
        })?;
    }
    let mut found = Vec::new();
    for (id, mut summary, hops) in topics.0.into_values().take(limit as usize) {
        for (from, to) in hops.into_values() {
            if !summary.stages.contains(&from) {
                summary.stages.push(from);
            }
            summary.stages.push(to);
        }
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
