//! Answers of brokers → rows of lag. Pure: answers, times and what the index says come in; rows, questions to the index
//! and new rows for it go out.
//!
//! Order of the questions: first what groups have committed, then where partitions end. So a commit is never above its
//! end in a log that only grows, and a group that stands at its end has caught up, whatever happened in between. All bounds
//! are taken at the far end: a message lag may be too large by what came while the questions were answered, a time lag by
//! its error, and neither is ever too small.
//!
//! Limits: [`ROWS_MAX`] rows; a ring and a few log starts per partition, a short history per group and partition
//! ([`super::ring`], [`super::history`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chaperone_collector::lag::{Bracket, Ended, GroupLag, ROWS_MAX, Run, State, Trend};

use super::history::{Between, History, Point};
use super::retention::{self, Starts};
use super::ring::Ring;
use crate::ffi::groups::Committed;
use crate::kafka::asker::Tp;

/// The index gets a row of each partition no later than this after the one before, less the time to the next look: two
/// rows are never more than a minute apart, questions included.
const INDEX_EVERY_MS: i64 = 58_000;

/// One look's answers.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Before groups were asked, ms.
    pub groups_asked_ms: i64,
    /// After they had answered, ms.
    pub groups_answered_ms: i64,
    /// What each has committed; those that did not answer are absent.
    pub committed: BTreeMap<String, Committed>,
    /// Groups that did not answer.
    pub silent: BTreeSet<String>,
    /// Before ends were asked for, ms.
    pub ends_asked_ms: i64,
    /// After they were told, ms.
    pub ends_answered_ms: i64,
    /// Partitions that are wanted, whether or not they answered.
    pub partitions: BTreeSet<Tp>,
    /// High watermarks.
    pub ends: BTreeMap<Tp, i64>,
}

/// What is remembered of a group in a partition.
#[derive(Debug, Default)]
struct Followed {
    history: History,
    /// What the index said of a commit: nothing new can be said of it.
    told: Option<(i64, Bracket)>,
    row: Option<GroupLag>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Ledger {
    cluster: String,
    every_ms: i64,
    rings: HashMap<Tp, Ring>,
    starts: HashMap<Tp, Starts>,
    stable: BTreeMap<Tp, i64>,
    retention_ms: BTreeMap<String, i64>,
    followed: BTreeMap<(String, Tp), Followed>,
    indexed_ms: Option<i64>,
    anew: BTreeSet<Tp>,
}

impl Ledger {
    /// Knows nothing yet.
    pub fn new(cluster: &str, every_ms: i64) -> Self {
        Self {
            cluster: cluster.to_owned(),
            every_ms,
            rings: HashMap::new(),
            starts: HashMap::new(),
            stable: BTreeMap::new(),
            retention_ms: BTreeMap::new(),
            followed: BTreeMap::new(),
            indexed_ms: None,
            anew: BTreeSet::new(),
        }
    }

    /// Where logs begin and what is stable, asked less often: both only move on.
    pub fn note_bounds(&mut self, at_ms: i64, starts: &BTreeMap<Tp, i64>, stable: BTreeMap<Tp, i64>) {
        for (tp, start) in starts {
            self.starts.entry(tp.clone()).or_default().note(at_ms, *start);
        }
        self.stable = stable;
    }

    /// For how long topics keep messages, ms; topics that keep them for ever, or do not tell, are absent.
    pub fn note_retention(&mut self, retention_ms: BTreeMap<String, i64>) {
        self.retention_ms = retention_ms;
    }

    /// Takes in where partitions ended, and returns what only the index can date: (topic, partition, offset).
    pub fn note_ends(&mut self, answers: &Answers) -> Vec<(String, i32, i64)> {
        self.rings.retain(|tp, _| answers.partitions.contains(tp));
        self.starts.retain(|tp, _| answers.partitions.contains(tp));
        let silent = &answers.silent;
        let known = |group: &String| silent.contains(group) || answers.committed.contains_key(group);
        self.followed.retain(|(group, tp), _| known(group) && answers.partitions.contains(tp));
        for (tp, end) in &answers.ends {
            let ring = self.rings.entry(tp.clone()).or_default();
            if ring.note(answers.ends_asked_ms, answers.ends_answered_ms, *end) {
                // What was known of the other log: its beginnings, and when its offsets arrived.
                self.anew.insert(tp.clone());
                self.starts.remove(tp);
                self.followed.iter_mut().filter(|((_, of), _)| of == tp).for_each(|(_, f)| f.told = None);
            }
        }
        let mut asked = Vec::new();
        for (group, committed) in &answers.committed {
            for (tp, offset) in committed.iter().filter(|(tp, _)| answers.ends.contains_key(tp)) {
                let here = self.rings.get(tp).map(|ring| ring.bracket(*offset)).unwrap_or_default();
                let told = self.followed.get(&(group.clone(), tp.clone())).and_then(|f| f.told);
                let behind = answers.ends.get(tp).is_some_and(|end| offset < end);
                // A log that was found to be another has nothing in the index that would be true.
                let void = self.anew.contains(tp);
                if behind && here.after_ms.is_none() && told.is_none_or(|(of, _)| of != *offset) && !void {
                    asked.push((tp.0.clone(), tp.1, *offset));
                }
            }
        }
        asked
    }

    /// The rows, with what the index said; and how many were left out.
    pub fn rows(
        &mut self,
        answers: &Answers,
        told: &HashMap<(String, i32, i64), Bracket>,
        called: impl Fn(&str) -> Option<String>,
    ) -> (Vec<GroupLag>, u32) {
        let mut rows = Vec::new();
        for (group, committed) in &answers.committed {
            let topics: BTreeSet<&str> = committed.keys().map(|(topic, _)| topic.as_str()).collect();
            for tp in answers.partitions.iter().filter(|(topic, _)| topics.contains(topic.as_str())) {
                let Some(topic) = called(&tp.0) else { continue };
                let key = (group.clone(), tp.clone());
                let mut followed = self.followed.remove(&key).unwrap_or_default();
                let offset = committed.get(tp).copied();
                if let Some(offset) = offset
                    && let Some(bracket) = told.get(&(tp.0.clone(), tp.1, offset))
                {
                    followed.told = Some((offset, *bracket));
                }
                let row = self.row(answers, group, topic, tp, offset, &mut followed);
                followed.row = Some(row.clone());
                self.followed.insert(key, followed);
                rows.push(row);
            }
        }
        // Who did not answer keeps the rows of before, with their times.
        let kept = self.followed.iter().filter(|((group, _), _)| answers.silent.contains(group));
        rows.extend(kept.filter_map(|(_, followed)| followed.row.clone()));
        let left_out = rows.len().saturating_sub(ROWS_MAX);
        if left_out > 0 {
            rows.sort_by_key(|r| std::cmp::Reverse((r.state, r.messages)));
            rows.truncate(ROWS_MAX);
        }
        rows.sort_by(|a, b| (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition)));
        (rows, u32::try_from(left_out).unwrap_or(u32::MAX))
    }

    fn row(
        &self,
        answers: &Answers,
        group: &str,
        topic: String,
        tp: &Tp,
        committed: Option<i64>,
        followed: &mut Followed,
    ) -> GroupLag {
        let end = answers.ends.get(tp).copied();
        let starts = self.starts.get(tp);
        let log_start = starts.and_then(Starts::newest);
        let mut row = GroupLag {
            cluster: self.cluster.clone(),
            group: group.to_owned(),
            topic,
            partition: Some(tp.1),
            at_ms: answers.groups_answered_ms,
            state: State::Unknown,
            committed,
            end,
            log_start,
            messages: None,
            lag_ms: None,
            error_ms: None,
            at_least: false,
            trend: Trend::Unknown,
            lag_trend: Trend::Unknown,
            produced_per_s: None,
            consumed_per_s: None,
            catch_up_ms: None,
            retention_left_ms: None,
            eaten: 0,
            held: false,
        };
        match (committed, end) {
            // Nothing was ever there: nobody can be behind.
            (None, Some(0)) => {
                row.state = State::CaughtUp;
                (row.messages, row.lag_ms, row.error_ms, row.catch_up_ms) = (Some(0), Some(0), Some(0), Some(0));
                (row.produced_per_s, row.consumed_per_s) = (Some(0.0), Some(0.0));
            }
            (None, _) => row.state = State::NoCommit,
            (Some(_), None) => {}
            (Some(committed), Some(end)) if committed > end => row.state = State::BeyondEnd,
            (Some(committed), Some(end)) => self.measure(&mut row, answers, tp, committed, end, followed),
        }
        row
    }

    fn measure(
        &self,
        row: &mut GroupLag,
        answers: &Answers,
        tp: &Tp,
        committed: i64,
        end: i64,
        followed: &mut Followed,
    ) {
        let distance = |to: i64, from: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        let start = row.log_start.unwrap_or(0);
        row.eaten = distance(start, committed);
        let messages = distance(end, committed.max(start));
        row.messages = Some(messages);
        row.state = match (row.eaten, messages) {
            (1.., _) => State::Eaten,
            (0, 0) => State::CaughtUp,
            _ => State::Behind,
        };
        row.held = committed < end && self.stable.get(tp).is_some_and(|stable| committed >= *stable);
        let lag = if committed >= end {
            row.lag_ms = Some(0);
            row.error_ms = Some(0);
            Some(Between { least_ms: 0, most_ms: 0 })
        } else {
            self.date(row, answers, tp, committed, followed)
        };
        let now_ms = answers.groups_answered_ms;
        let (rates, lag_trend) = followed.history.note(Point { at_ms: now_ms, committed, end, lag });
        row.lag_trend = lag_trend;
        row.trend = Trend::of_messages(messages, rates);
        row.produced_per_s = rates.map(|r| r.produced);
        row.consumed_per_s = rates.map(|r| r.consumed);
        row.catch_up_ms = if messages == 0 { Some(0) } else { rates.and_then(|r| r.catch_up_ms(messages)) };
        if committed < end {
            let age = row.lag_ms.filter(|_| !row.at_least);
            let retention = self.retention_ms.get(&tp.0).copied();
            let (none, starts) = (Starts::default(), self.starts.get(tp));
            row.retention_left_ms = retention::left_ms(retention, age, starts.unwrap_or(&none), committed, now_ms);
        }
    }

    /// How long ago the message at `committed` arrived.
    fn date(
        &self,
        row: &mut GroupLag,
        answers: &Answers,
        tp: &Tp,
        committed: i64,
        followed: &Followed,
    ) -> Option<Between> {
        let here = self.rings.get(tp).map(|ring| ring.bracket(committed)).unwrap_or_default();
        let told = followed.told.filter(|(of, _)| *of == committed).map(|(_, bracket)| bracket).unwrap_or_default();
        let arrived = here.and(told);
        // The commit was seen at some moment between question and answer.
        let least = arrived.before_ms.map(|ms| (answers.groups_asked_ms - ms).max(0));
        let most = arrived.after_ms.map(|ms| answers.groups_answered_ms - ms);
        match (least, most) {
            (Some(least_ms), Some(most_ms)) => {
                row.lag_ms = Some(most_ms);
                row.error_ms = Some(most_ms - least_ms);
                return Some(Between { least_ms, most_ms });
            }
            (Some(least_ms), None) => {
                row.lag_ms = Some(least_ms);
                row.at_least = true;
            }
            _ => {}
        }
        None
    }

    /// New rows for the index, if it is time; every partition has one at least once a minute.
    pub fn index(&mut self, now_ms: i64) -> Vec<Ended> {
        let due = self.indexed_ms.is_none_or(|at| now_ms < at || now_ms + self.every_ms >= at + INDEX_EVERY_MS);
        if !due {
            return Vec::new();
        }
        let ended = self.rings.iter().filter_map(|((topic, partition), ring)| {
            let run: Run = ring.newest()?;
            let tp = (topic.clone(), *partition);
            let log_start = self.starts.get(&tp).and_then(Starts::newest);
            Some(Ended { topic: topic.clone(), partition: *partition, run, log_start, anew: self.anew.contains(&tp) })
        });
        ended.collect()
    }

    /// The index has the rows of [`index`](Self::index).
    pub fn indexed(&mut self, now_ms: i64) {
        self.indexed_ms = Some(now_ms);
        self.anew.clear();
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
