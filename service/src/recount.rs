//! Counts offsets again and compares with the store: what the store says against what Kafka still has. Pure.
//!
//! What is compared was read from the store first, so that messages which arrive meanwhile lie behind it. A partition's
//! part of a window is compared by its number of messages, a whole window also by its bytes and ids. Whatever cannot be
//! compared says why and is no difference. Limits: messages of a window outside the offsets that the store knows of it
//! are not looked for; one that was more than a day ahead of the clock when it was counted, and so had no window, has one
//! when it is counted again later.

pub mod print;
pub mod read;

use std::collections::{BTreeMap, BTreeSet};

use chaperone_audit::{Fingerprint, Rule, Width};
use chaperone_collector::query::{Offsets, StageWindow};
use serde::Serialize;

use crate::kafka::message::Seen;

/// Offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub from: i64,
    /// One past the last.
    pub to: i64,
}

/// What the store says of some windows of one topic at one stage.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// By window and partition.
    pub offsets: Vec<Offsets>,
    /// By window.
    pub totals: Vec<StageWindow>,
    /// Which log of each partition is the present one.
    pub logs: BTreeMap<i32, u32>,
}

/// What is asked for, beside a range of windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Only {
    /// Only this partition.
    pub partition: Option<i32>,
    /// Only these offsets of it.
    pub run: Option<Run>,
}

/// What is counted of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    n: u64,
    bytes: u64,
    f: Fingerprint,
}

/// Messages counted again.
#[derive(Debug)]
pub struct Again {
    rule: Rule,
    widths: BTreeSet<Width>,
    sums: BTreeMap<(i64, i64, i32), Sum>,
    /// Messages.
    pub messages: u64,
}

/// What was read of a partition: less than was asked for if the log does not reach as far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Where the log begins.
    pub start: i64,
    /// Where the log ends, or one past the last that was to be read.
    pub end: i64,
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The same messages.
    Equal,
    /// Another number of messages or bytes, or other ids.
    Differs,
    /// Retention has removed some of the offsets.
    Gone,
    /// The log ends before some of the offsets: it was truncated or made anew.
    Truncated,
    /// They were counted in a log of that name that is not the present one.
    OtherLog,
    /// Counted by another rule or under another seed: neither times nor ids can be compared.
    OtherRule,
    /// Only a part of them was asked for.
    InPart,
    /// The store does not know (any more) where all of the window's messages lie, or is about to.
    Unknown,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Window start, ms.
    pub window_ms: i64,
    /// Width, ms.
    pub width_ms: i64,
    /// Partition; `None`: the whole window.
    pub partition: Option<i32>,
    /// First and last offset; `None` for a whole window.
    pub offsets: Option<(i64, i64)>,
    /// Messages, says the store.
    pub stored: u64,
    /// Messages found.
    pub recounted: u64,
    /// What that comes to.
    pub outcome: Outcome,
}

impl Stored {
    /// What must be read: for each partition from the first to the last offset that holds one of the windows.
    pub fn runs(&self, only: Only) -> BTreeMap<i32, Run> {
        let mut runs: BTreeMap<i32, Run> = BTreeMap::new();
        for o in self.offsets.iter().filter(|o| only.partition.is_none_or(|p| p == o.partition) && self.is_present(o)) {
            let run = runs.entry(o.partition).or_insert(Run { from: o.first, to: o.last + 1 });
            *run = Run { from: run.from.min(o.first), to: run.to.max(o.last + 1) };
        }
        if let Some(only) = only.run {
            for run in runs.values_mut() {
                *run = Run { from: run.from.max(only.from), to: run.to.min(only.to) };
            }
            runs.retain(|_, run| run.from < run.to);
        }
        runs
    }

    fn is_present(&self, o: &Offsets) -> bool {
        self.logs.get(&o.partition) == Some(&o.log)
    }

    /// An empty count of these windows.
    pub fn again(&self, rule: Rule) -> Again {
        let widths =
            self.offsets.iter().filter_map(|o| Width::try_from(u32::try_from(o.width_ms).ok()?).ok()).collect();
        Again { rule, widths, sums: BTreeMap::new(), messages: 0 }
    }
}

impl Again {
    /// One more message.
    pub fn count(&mut self, partition: i32, seen: &Seen) {
        self.messages += 1;
        if !seen.observation.class.has_time() {
            return;
        }
        let time_ms = seen.observation.window_time_ms(seen.arrival_ms);
        for width in &self.widths {
            let sum = self.sums.entry((width.window_of(time_ms).0, width.ms(), partition)).or_default();
            sum.n += 1;
            sum.bytes = sum.bytes.saturating_add(seen.bytes);
            sum.f = sum.f.plus(seen.observation.id.hash(self.rule.seed()));
        }
    }

    /// The rule that it counts by.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    fn of(&self, o: &Offsets) -> Sum {
        self.sums.get(&(o.window_ms, o.width_ms, o.partition)).copied().unwrap_or_default()
    }
}

/// Compares: a row for each partition of each window, then one for the window.
pub fn compare(stored: &Stored, only: Only, again: &Again, reach: &BTreeMap<i32, Reach>) -> Vec<Row> {
    let mut windows: BTreeMap<(i64, i64), Vec<&Offsets>> = BTreeMap::new();
    for o in &stored.offsets {
        windows.entry((o.window_ms, o.width_ms)).or_default().push(o);
    }
    let totals: BTreeMap<(i64, i64), &StageWindow> =
        stored.totals.iter().map(|w| ((w.window_ms, w.width_ms), w)).collect();
    let mut rows = Vec::new();
    let whole = only.partition.is_none() && only.run.is_none();
    let keys: BTreeSet<(i64, i64)> =
        if whole { windows.keys().chain(totals.keys()).copied().collect() } else { windows.keys().copied().collect() };
    for key in keys {
        let parts = windows.remove(&key).unwrap_or_default();
        let asked = parts.iter().filter(|o| only.partition.is_none_or(|p| p == o.partition));
        let other_rule = totals.get(&key).is_some_and(|t| t.rule != Some(again.rule.id()));
        let of_partitions: Vec<Row> = asked.map(|o| part(stored, only, again, reach, o, other_rule)).collect();
        if whole {
            let total = totals.get(&key).copied();
            rows.push(window(key, total, &parts, &of_partitions, again));
        }
        rows.extend(of_partitions);
    }
    rows.sort_by_key(|row| (row.window_ms, row.width_ms, row.partition.is_none(), row.partition));
    rows
}

fn part(
    stored: &Stored,
    only: Only,
    again: &Again,
    reach: &BTreeMap<i32, Reach>,
    o: &Offsets,
    other_rule: bool,
) -> Row {
    let found = again.of(o);
    let in_part = only.run.is_some_and(|run| o.first < run.from || o.last >= run.to);
    let outcome = match reach.get(&o.partition) {
        _ if !stored.is_present(o) => Outcome::OtherLog,
        _ if in_part => Outcome::InPart,
        None => Outcome::Truncated,
        Some(reach) if o.first < reach.start => Outcome::Gone,
        Some(reach) if o.last >= reach.end => Outcome::Truncated,
        Some(_) if found.n == o.n => Outcome::Equal,
        // Another rule may have put it into another window.
        Some(_) if other_rule => Outcome::OtherRule,
        Some(_) => Outcome::Differs,
    };
    Row {
        window_ms: o.window_ms,
        width_ms: o.width_ms,
        partition: Some(o.partition),
        offsets: Some((o.first, o.last)),
        stored: o.n,
        recounted: found.n,
        outcome,
    }
}

fn window(
    (window_ms, width_ms): (i64, i64),
    total: Option<&StageWindow>,
    parts: &[&Offsets],
    rows: &[Row],
    again: &Again,
) -> Row {
    let found = parts.iter().map(|o| again.of(o)).fold(Sum::default(), |a, b| Sum {
        n: a.n + b.n,
        bytes: a.bytes.saturating_add(b.bytes),
        f: a.f.plus(b.f),
    });
    let of_parts: u64 = parts.iter().map(|o| o.n).sum();
    let limit = rows.iter().map(|row| row.outcome).filter(|o| !matches!(o, Outcome::Equal | Outcome::Differs)).max();
    let outcome = match (total, limit) {
        (Some(t), _) if t.n != of_parts => Outcome::Unknown,
        (None, _) => Outcome::Unknown,
        (_, Some(limit)) => limit,
        (Some(t), None) if t.rule != Some(again.rule.id()) => Outcome::OtherRule,
        (Some(t), None) if (t.n, t.bytes) != (found.n, found.bytes) => Outcome::Differs,
        (Some(t), None) if t.f_in != found.f => Outcome::Differs,
        (Some(_), None) => Outcome::Equal,
    };
    let stored = total.map_or(of_parts, |t| t.n);
    Row { window_ms, width_ms, partition: None, offsets: None, stored, recounted: found.n, outcome }
}

/// How many windows, or parts of windows where no whole ones were asked for, came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Compared and the same.
    pub equal: u64,
    /// Compared and not the same.
    pub differ: u64,
    /// Not comparable, or not wholly.
    pub not_compared: u64,
}

impl Summary {
    /// Of these rows. A difference in any of them counts.
    pub fn of(rows: &[Row]) -> Self {
        let whole = rows.iter().any(|row| row.partition.is_none());
        let mut summary = Self::default();
        for row in rows {
            match row.outcome {
                Outcome::Differs => summary.differ += 1,
                _ if whole && row.partition.is_some() => {}
                Outcome::Equal => summary.equal += 1,
                _ => summary.not_compared += 1,
            }
        }
        summary
    }
}

#[cfg(test)]
#[path = "recount/tests.rs"]
mod tests;
