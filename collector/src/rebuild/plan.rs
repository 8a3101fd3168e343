//! Which intervals of taps count when audit topics are read again from their beginning. Pure.
//!
//! A collector that lives decides by its claims: an interval counts if its claim is the last and it begins at `next`. Who reads the
//! topic again sees no claims, only what was reported under them. But each report says where its claim began (`claim_from`),
//! which is where `next` stood then, and `next` never goes back. So, within one log of a partition (I10):
//!
//! 1. What a claim counted ends where the next claim that reported anything began. What it reports beyond that is a zombie's.
//! 2. All of it up to there was counted: what no report is left of was counted and its report is gone; nobody will count it again.
//! 3. The last claim counted as far as its reports follow each other without a hole. What is behind a hole is read again by taps.
//! 4. Each offset counts once, by the first report of it that 1 to 3 allow.
//!
//! 1 to 3 need all reports, so the topic is read twice: a [`Survey`] takes note of offsets, then a [`Plan`] rules on each
//! report, in whatever order they come. A claim that reported nothing counted nothing and needs no limit.
//! Limit: after a store of an earlier time was put back claims may have the same number twice; where their reports are cut
//! differently, offsets at the seam are taken for lost, and their windows are uncertain.

use std::collections::BTreeMap;

use chaperone_audit::wire::{AuditMessage, Interval, PartitionMark};
use uuid::Uuid;

use crate::interval::Outcome;

/// A tapped partition: stage, topic, number.
type Place = (String, String, i32);

/// A claim: where it began to read, its number, who made it. In this order they came one after the other, for neither of the
/// first two goes back.
type Claimed = (i64, u64, Uuid);

/// Runs of offsets `[from, to)` that do not touch each other.
#[derive(Debug, Clone, Default)]
struct Runs(BTreeMap<i64, i64>);

impl Runs {
    /// The end of the run that holds this offset.
    fn holds(&self, offset: i64) -> Option<i64> {
        self.0.range(..=offset).next_back().map(|(_, to)| *to).filter(|to| offset < *to)
    }

    fn overlaps(&self, from: i64, to: i64) -> bool {
        self.0.range(..to).next_back().is_some_and(|(_, end)| *end > from)
    }

    /// Adds offsets of which none is there; `false` if one is.
    fn add(&mut self, mut from: i64, mut to: i64) -> bool {
        if from >= to || self.overlaps(from, to) {
            return false;
        }
        if let Some((first, _)) = self.0.range(..from).next_back().filter(|(_, end)| **end == from) {
            from = *first;
        }
        if let Some(last) = self.0.remove(&to) {
            to = last;
        }
        self.0.insert(from, to);
        true
    }

    /// What of `[from, to)` is not there.
    fn missing(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let (mut at, mut missing) = (from, Vec::new());
        for (first, end) in &self.0 {
            if *first > at && at < to {
                missing.push((at, to.min(*first)));
            }
            at = at.max(*end);
        }
        if at < to {
            missing.push((at, to));
        }
        missing
    }
}

/// What one log of a partition is reported by.
#[derive(Debug, Default)]
struct Seen {
    claims: BTreeMap<Claimed, Runs>,
    /// The least position that a mark told.
    marked: Option<i64>,
}

/// Takes note of what taps reported: offsets only. Memory: a few dozen bytes for each claim of each partition.
#[derive(Debug, Default)]
pub struct Survey {
    places: BTreeMap<Place, BTreeMap<u32, Seen>>,
}

impl Survey {
    /// A record of an audit topic.
    pub fn note(&mut self, m: &AuditMessage) {
        for i in &m.intervals {
            let place = (m.stage.clone(), i.topic.clone(), i.partition);
            let seen = self.places.entry(place).or_default().entry(i.log).or_default();
            seen.claims.entry((i.claim_from, i.epoch, m.incarnation)).or_default().add(i.from, i.to);
        }
        for mark in &m.marks {
            let place = (m.stage.clone(), mark.topic.clone(), mark.partition);
            let seen = self.places.entry(place).or_default().entry(mark.log).or_default();
            seen.marked = Some(seen.marked.map_or(mark.position, |least| least.min(mark.position)));
        }
    }

    /// What counts. `whole`: nothing was deleted of the audit topics before it was noted.
    pub fn plan(self, whole: bool) -> Plan {
        let logs = |seen: BTreeMap<u32, Seen>| seen.into_iter().map(|(no, seen)| (no, Log::of(&seen, whole))).collect();
        Plan { places: self.places.into_iter().map(|(place, seen)| (place, logs(seen))).collect() }
    }
}

/// One log of a partition.
#[derive(Debug, Clone)]
struct Log {
    /// Where it begins to be counted.
    start: i64,
    /// Where it ends to be counted.
    end: i64,
    /// Up to where each claim counts.
    limits: BTreeMap<Claimed, i64>,
    /// The claim whose reports behind its limit are behind a hole.
    last: Option<Claimed>,
    /// What was counted and is reported by nobody.
    lost: BTreeMap<i64, i64>,
    counted: Runs,
    /// Everything before is counted, or lost.
    front: i64,
}

impl Log {
    fn of(seen: &Seen, whole: bool) -> Self {
        let begins = |(claim, runs): (&Claimed, &Runs)| {
            // Reports before the first that is left were deleted; what they counted nobody counts again.
            let first = runs.0.keys().next().copied().filter(|_| !whole);
            first.map_or(claim.0, |first| first.max(claim.0))
        };
        let start = seen.claims.iter().next().map(begins).or(seen.marked).unwrap_or(0);
        let (mut limits, mut lost, mut end) = (BTreeMap::new(), BTreeMap::new(), start);
        let mut claims = seen.claims.iter().peekable();
        while let Some((claim, runs)) = claims.next() {
            let from = claim.0.max(start);
            let limit = match claims.peek() {
                Some((next, _)) => next.0.max(from),
                None => runs.holds(from).unwrap_or(from),
            };
            lost.extend(runs.missing(from, limit));
            limits.insert(*claim, limit);
            end = end.max(limit);
        }
        let newest = seen.claims.keys().next_back().copied();
        Self { start, end, limits, last: newest, lost, counted: Runs::default(), front: start }
    }

    fn rule(&mut self, claim: Claimed, i: &Interval) -> Ruling {
        let limit = self.limits.get(&claim).copied().unwrap_or(i64::MIN);
        let outcome = if i.to > limit {
            if self.last == Some(claim) { Outcome::Hole } else { Outcome::Fenced }
        } else if i.from >= self.start && self.counted.add(i.from, i.to) {
            Outcome::Add
        } else {
            Outcome::Duplicate
        };
        Ruling { outcome, lost: self.advance(), stand: self.stand() }
    }

    /// Moves the front over what is counted or lost; returns what of it is lost.
    fn advance(&mut self) -> Vec<(i64, i64)> {
        let mut lost = Vec::new();
        loop {
            if let Some(to) = self.counted.holds(self.front) {
                self.front = to;
            } else if let Some(to) = self.lost.remove(&self.front) {
                lost.push((self.front, to));
                self.front = to;
            } else {
                return lost;
            }
        }
    }

    fn stand(&self) -> Stand {
        Stand { start: self.start, next: self.front }
    }

    /// What a mark says up to `position` holds once all is applied: intervals that it promises may come by another audit
    /// partition, and later.
    fn marked(&self, position: i64) -> Stand {
        let next = if position <= self.end { self.front.max(position) } else { self.front };
        Stand { start: self.start, next }
    }

    /// What was to be counted and did not come: its report was cut differently, or is gone since it was noted.
    fn give_up(&mut self) -> Vec<(i64, i64)> {
        let missing = self.counted.missing(self.front, self.end);
        self.front = self.front.max(self.end);
        missing
    }
}

/// Where a partition's count begins and stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) start: i64,
    pub(crate) next: i64,
}

/// What becomes of an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) outcome: Outcome,
    /// What is known now to be reported by nobody, though it was counted once.
    pub(crate) lost: Vec<(i64, i64)>,
    pub(crate) stand: Stand,
}

/// What becomes of a record: of its intervals and its marks, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rulings {
    pub(crate) intervals: Vec<Ruling>,
    pub(crate) marks: Vec<Stand>,
}

/// Offsets of a partition that are given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    pub(crate) place: Place,
    pub(crate) log: u32,
    pub(crate) lost: Vec<(i64, i64)>,
    pub(crate) next: i64,
}

/// Rules on reports: each record is to be shown once, in any order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    places: BTreeMap<Place, BTreeMap<u32, Log>>,
}

impl Plan {
    /// A record that was noted.
    pub fn rule(&mut self, m: &AuditMessage) -> Rulings {
        let intervals = m.intervals.iter().map(|i| self.interval(m, i)).collect();
        Rulings { intervals, marks: m.marks.iter().map(|mark| self.mark(m, mark)).collect() }
    }

    fn interval(&mut self, m: &AuditMessage, i: &Interval) -> Ruling {
        let Some(log) = self.log(m, &i.topic, i.partition, i.log) else {
            let stand = Stand { start: i.from, next: i.from };
            return Ruling { outcome: Outcome::Fenced, lost: Vec::new(), stand };
        };
        log.rule((i.claim_from, i.epoch, m.incarnation), i)
    }

    fn mark(&mut self, m: &AuditMessage, mark: &PartitionMark) -> Stand {
        let log = self.log(m, &mark.topic, mark.partition, mark.log);
        log.map_or(Stand { start: mark.position, next: mark.position }, |log| log.marked(mark.position))
    }

    fn log(&mut self, m: &AuditMessage, topic: &str, partition: i32, log: u32) -> Option<&mut Log> {
        self.places.get_mut(&(m.stage.clone(), topic.to_owned(), partition))?.get_mut(&log)
    }

    /// What was to be counted and was not shown, once all was.
    pub fn give_up(&mut self) -> Vec<GivenUp> {
        let mut all = Vec::new();
        for (place, logs) in &mut self.places {
            for (no, log) in logs {
                let lost = log.give_up();
                if !lost.is_empty() {
                    all.push(GivenUp { place: place.clone(), log: *no, lost, next: log.front });
                }
            }
        }
        all
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
