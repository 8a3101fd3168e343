//! What one run of the judge knows of stages, reporters and taps: read once, used for every window.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use chaperone_audit::wire::End;

use super::gather::Later;
use super::life::Life;
use super::reporters::end_of;
use crate::audit::LossCause;
use crate::caveat::CaveatKind;
use crate::db::{AsValue, Done, Tx, find_name, params};
use crate::passage::Partition;
use crate::pipeline::AuditSource;
use crate::settle::Mark;

/// A span of event time in which a reporter may have counted what nobody will ever report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubtful {
    pub(super) kind: CaveatKind,
    /// Its last watermark (or its beginning); grace is taken off by the reader.
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// Its counts lived where the death of the process loses some.
    pub(super) heap: bool,
    /// It is only silent, and may come back; who has ended does not.
    pub(super) may_return: bool,
}

/// A client stage.
#[derive(Debug, Default)]
pub(super) struct StageFacts {
    /// It has ever reported.
    pub(super) ever: bool,
    pub(super) audited_since_ms: Option<i64>,
    /// Its live reporters.
    pub(super) live: Vec<Mark>,
    pub(super) live_ids: HashSet<i64>,
    /// Watermarks of live and cleanly ended reporters.
    pub(super) watermarks: Vec<Option<i64>>,
    pub(super) doubtful: Vec<Doubtful>,
}

/// A broker stage, for one topic.
#[derive(Debug)]
pub(super) struct TapFacts {
    /// The stage has ever been tapped.
    pub(super) ever: bool,
    /// The topic's watermark, by what holds it back.
    pub(super) mark: Mark,
    pub(super) audited_since_ms: Option<i64>,
    pub(super) count: Option<i32>,
    pub(super) partitions: Vec<Partition>,
    /// Earliest time since which an open transaction has held a partition.
    pub(super) held_since_ms: Option<i64>,
    /// Event times that uncounted offsets may have had.
    pub(super) unaudited: Vec<(i64, i64)>,
}

/// What was lost so long before the earliest window touches none: grace, and more.
const LOST_BEFORE_MS: i64 = 86_400_000;

/// How far an audit partition has been applied.
#[derive(Debug)]
struct AuditMark {
    cluster: String,
    topic: String,
    mark: Mark,
}

/// Records of an audit partition that were lost, and between which broker times they were appended.
#[derive(Debug)]
struct AuditLost {
    cluster: String,
    topic: String,
    partition: i32,
    from_ms: i64,
    to_ms: i64,
    /// The store was made anew from what lies behind them.
    before: bool,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) now_ms: i64,
    audit: Vec<AuditMark>,
    lost: Vec<AuditLost>,
    /// Audit topics that are waited for; empty: all.
    sources: Vec<AuditSource>,
    /// The earliest window that will be judged.
    horizon_ms: i64,
    stages: HashMap<(i64, i64), Rc<StageFacts>>,
    taps: HashMap<(i64, i64), Rc<TapFacts>>,
    ids: HashMap<String, Option<i64>>,
    /// What windows of hops say of earlier ones, by topic, hop and start: see [`later`](super::gather).
    pub(super) later: HashMap<(i64, i64, i64, i64), Option<Later>>,
}

impl Facts {
    pub(super) fn load(tx: &dyn Tx, now_ms: i64, horizon_ms: i64, sources: &[AuditSource]) -> Done<Self> {
        let audit = tx.query(include_str!("sql/audit_marks.sql"), params![], |r| {
            let (topic, partition): (String, i32) = (r.get(1)?, r.get(2)?);
            let mark = Mark { name: format!("audit partition {topic}/{partition}"), through_ms: r.get(3)? };
            Ok(AuditMark { cluster: r.get(0)?, topic, mark })
        })?;
        let oldest_ms = horizon_ms.saturating_sub(LOST_BEFORE_MS);
        let sql =
            "SELECT cluster, topic, partition, coalesce(from_ms, ?2), to_ms, cause FROM audit_lost WHERE to_ms >= ?1";
        let lost = tx.query(sql, params![oldest_ms, i64::MIN], |r| {
            let (cluster, topic, partition) = (r.get(0)?, r.get(1)?, r.get(2)?);
            let before = r.get::<String>(5)? == LossCause::Before.as_str();
            Ok(AuditLost { cluster, topic, partition, from_ms: r.get(3)?, to_ms: r.get(4)?, before })
        })?;
        Ok(Self {
            now_ms,
            audit,
            lost,
            sources: sources.to_vec(),
            horizon_ms,
            stages: HashMap::new(),
            taps: HashMap::new(),
            ids: HashMap::new(),
            later: HashMap::new(),
        })
    }

    /// Records that were lost of audit topics on which the stage may report: between which broker times they were
    /// appended.
    pub(super) fn lost(&self, stage: &str) -> impl Iterator<Item = (i64, i64)> {
        self.lost_of(stage).map(|lost| (lost.from_ms, lost.to_ms))
    }

    /// The store was made anew, and of what the stage had said before this time, ms, the audit topic had only a part.
    pub(super) fn whole_since_ms(&self, stage: &str) -> Option<i64> {
        self.lost_of(stage).filter(|lost| lost.before).map(|lost| lost.to_ms).max()
    }

    fn lost_of(&self, stage: &str) -> impl Iterator<Item = &AuditLost> {
        let read = |lost: &&AuditLost| {
            let mut sources = self.sources.iter().filter(|s| s.carries(stage));
            self.sources.is_empty() || sources.any(|s| (&s.cluster, &s.topic) == (&lost.cluster, &lost.topic))
        };
        self.lost.iter().filter(read)
    }

    /// Where records were lost, a reporter may live of which nothing is known yet: until it would count as silent, the
    /// audit topic is as far as it was before.
    pub(super) fn unheard(&self, stage: &str, silent_after_ms: i64) -> Vec<Mark> {
        let recent = self.lost_of(stage).filter(|lost| self.now_ms < lost.to_ms.saturating_add(silent_after_ms));
        let mark = |lost: &AuditLost| Mark {
            name: format!(
                "whoever reports on audit partition {}/{}, of which reports were lost",
                lost.topic, lost.partition
            ),
            through_ms: Some(lost.from_ms),
        };
        recent.map(mark).collect()
    }

    /// How far the audit topics have been applied on which one of these stages may report: condition (i) of *settled*. One that
    /// is no longer read holds up nothing, one that has never been read everything that it may carry.
    pub(super) fn audit(&self, stages: &[&str]) -> Vec<Mark> {
        if self.sources.is_empty() {
            return self.audit.iter().map(|a| a.mark.clone()).collect();
        }
        let mut marks = Vec::new();
        for source in self.sources.iter().filter(|s| stages.iter().any(|stage| s.carries(stage))) {
            let before = marks.len();
            let of_source = self.audit.iter().filter(|a| (&a.cluster, &a.topic) == (&source.cluster, &source.topic));
            marks.extend(of_source.map(|a| a.mark.clone()));
            if marks.len() == before {
                let name = format!("audit topic {} of kafka.{}", source.topic, source.cluster);
                marks.push(Mark { name, through_ms: None });
            }
        }
        marks
    }

    /// The number of a stage; `None` if nothing ever came from it.
    pub(super) fn id(&mut self, tx: &dyn Tx, stage: &str) -> Done<Option<i64>> {
        if let Some(id) = self.ids.get(stage) {
            return Ok(*id);
        }
        let id = find_name(tx, stage)?;
        self.ids.insert(stage.to_owned(), id);
        Ok(id)
    }

    /// A client stage.
    pub(super) fn stage(&mut self, tx: &dyn Tx, id: i64, name: &str, silent_after_ms: i64) -> Done<Rc<StageFacts>> {
        if let Some(known) = self.stages.get(&(id, silent_after_ms)) {
            return Ok(Rc::clone(known));
        }
        let facts = Rc::new(self.load_stage(tx, id, name, silent_after_ms)?);
        self.stages.insert((id, silent_after_ms), Rc::clone(&facts));
        Ok(facts)
    }

    fn load_stage(&self, tx: &dyn Tx, id: i64, name: &str, silent_after_ms: i64) -> Done<StageFacts> {
        let ever = tx.exists("SELECT 1 FROM reporter WHERE stage = ?1 LIMIT 1", params![id])?;
        let sql = "SELECT min(audited_since_ms) FROM reporter WHERE stage = ?1";
        let since = tx.one(sql, params![id], |r| r.get(0))?;
        let mut facts = StageFacts { ever, audited_since_ms: since, ..StageFacts::default() };
        // Who was last heard before the earliest window cannot touch any of them.
        let oldest = self.horizon_ms.min(self.now_ms).saturating_sub(silent_after_ms);
        tx.each(include_str!("sql/stage_reporters.sql"), params![id, oldest], &mut |r| {
            let (reporter, host): (i64, String) = (r.get(0)?, r.get(1)?);
            let (watermark_ms, last_ms): (Option<i64>, i64) = (r.get(2)?, r.get(3)?);
            let ended = r.get::<Option<String>>(5)?.as_deref().and_then(end_of);
            let from_ms = watermark_ms.map_or_else(|| r.get(6), Ok)?;
            let life = Life::of(ended, last_ms, self.now_ms, silent_after_ms);
            let doubtful = |kind, last: i64| -> Done<Doubtful> {
                let (to_ms, may_return) = (last.saturating_add(silent_after_ms), life == Life::Gone);
                Ok(Doubtful { kind, from_ms, to_ms, heap: r.get(7)?, may_return })
            };
            match life {
                Life::Live => {
                    facts.live.push(Mark { name: format!("reports of {name} on {host}"), through_ms: watermark_ms });
                    facts.live_ids.insert(reporter);
                    facts.watermarks.push(watermark_ms);
                }
                Life::Goodbye => facts.watermarks.push(watermark_ms),
                Life::Gone => facts.doubtful.push(doubtful(CaveatKind::ReporterGone, last_ms)?),
                // Recovered messages are as old as they say, not as their append.
                Life::Ended(End::Power) => facts.doubtful.push(doubtful(CaveatKind::MachineLost, r.get(4)?)?),
                // Its slots outlived it, and its sums prove that all of them are here.
                Life::Ended(_) if !r.get::<bool>(7)? => facts.watermarks.push(watermark_ms),
                // Slots on the heap: what was counted after the last checkpoint died with the process.
                Life::Ended(_) => facts.doubtful.push(doubtful(CaveatKind::ReporterGone, r.get(4)?)?),
            }
            Ok(true)
        })?;
        Ok(facts)
    }

    /// A broker stage, for one topic.
    pub(super) fn tap(&mut self, tx: &dyn Tx, id: i64, name: &str, topic: i64) -> Done<Rc<TapFacts>> {
        if let Some(known) = self.taps.get(&(id, topic)) {
            return Ok(Rc::clone(known));
        }
        let facts = Rc::new(load_tap(tx, id, name, topic)?);
        self.taps.insert((id, topic), Rc::clone(&facts));
        Ok(facts)
    }
}

fn load_tap(tx: &dyn Tx, id: i64, name: &str, topic: i64) -> Done<TapFacts> {
    let sql = "SELECT partitions, asked_ms FROM tap_topic WHERE stage = ?1 AND topic = ?2";
    let topic_mark = tx.first(sql, params![id, topic], |r| Ok((r.get::<i32>(0)?, r.get::<i64>(1)?)))?;
    let mut partitions = Vec::new();
    let mut marks = Vec::new();
    let (mut audited_since_ms, mut held_since_ms) = (None, None::<i64>);
    tx.each(include_str!("sql/tap_facts.sql"), params![id, topic], &mut |r| {
        let number: i32 = r.get(0)?;
        marks.push((number, r.get::<Option<i64>>(1)?));
        partitions.push(Partition { number, frontier_ms: r.get(2)?, traffic: r.get::<i64>(3)? > 0 });
        audited_since_ms = audited_since_ms.max(Some(r.get::<i64>(4)?));
        let held: Option<i64> = r.get(5)?;
        held_since_ms = [held_since_ms, held].into_iter().flatten().min();
        Ok(true)
    })?;
    let ever = !partitions.is_empty() || {
        let tapped = "SELECT 1 FROM tap_partition WHERE stage = ?1 UNION ALL SELECT 1 FROM reporter WHERE stage = ?1";
        tx.exists(tapped, params![id])?
    };
    let sql =
        "SELECT coalesce(from_event_ms, ?3), coalesce(to_event_ms, ?4) FROM unaudited WHERE stage = ?1 AND topic = ?2";
    let unaudited = tx.query(sql, params![id, topic, i64::MIN, i64::MAX], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(TapFacts {
        ever,
        mark: tap_mark(name, topic_mark, &marks),
        audited_since_ms,
        count: topic_mark.map(|t| t.0),
        partitions,
        held_since_ms,
        unaudited,
    })
}

/// The topic's watermark: the least of the metadata answer's time and of every partition that it named. `marks` are in
/// the partitions' order.
fn tap_mark(name: &str, topic: Option<(i32, i64)>, marks: &[(i32, Option<i64>)]) -> Mark {
    let whole = || format!("the tap of {name}");
    let Some((count, asked_ms)) = topic else { return Mark { name: whole(), through_ms: None } };
    let mut least = Mark { name: whole(), through_ms: Some(asked_ms) };
    let mut next = 0;
    for (number, through_ms) in marks.iter().filter(|m| m.0 < count) {
        if *number != next || through_ms.is_none() {
            break;
        }
        if *through_ms < least.through_ms {
            least = Mark { name: format!("the tap of {name}, partition {number}"), through_ms: *through_ms };
        }
        next += 1;
    }
    if next < count {
        return Mark { name: format!("the tap of {name}, partition {next}"), through_ms: None };
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_as_far_as_its_last_partition() {
        let say = |topic, marks: &[(i32, Option<i64>)]| {
            let m = tap_mark("k", topic, marks);
            (m.name, m.through_ms)
        };
        assert_eq!(say(None, &[(0, Some(5))]), ("the tap of k".into(), None));
        assert_eq!(say(Some((2, 9)), &[(0, Some(5)), (1, Some(7))]), ("the tap of k, partition 0".into(), Some(5)));
        assert_eq!(say(Some((2, 4)), &[(0, Some(5)), (1, Some(7))]), ("the tap of k".into(), Some(4)));
        assert_eq!(say(Some((2, 9)), &[(0, Some(5))]), ("the tap of k, partition 1".into(), None));
        assert_eq!(say(Some((2, 9)), &[(1, Some(5))]), ("the tap of k, partition 0".into(), None));
        assert_eq!(say(Some((2, 9)), &[(0, Some(5)), (1, None)]), ("the tap of k, partition 1".into(), None));
        assert_eq!(say(Some((1, 9)), &[(0, Some(5)), (1, None)]), ("the tap of k, partition 0".into(), Some(5)));
        assert_eq!(say(Some((i32::MAX, 9)), &[]), ("the tap of k, partition 0".into(), None));
    }
}
