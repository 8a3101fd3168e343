//! What has been seen of each window, so that every verdict is said once and sums are exact. Pure.
//!
//! Limit: windows before the horizon are forgotten, their share of the sums stays.

use std::collections::BTreeMap;

use chaperone_collector::query::HopWindow;
use chaperone_collector::{CaveatKind, Verdict};

/// The verdicts of some windows, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Proven.
    pub ok: u64,
    /// With something missing, surplus or mixed up.
    pub bad: u64,
    /// Late, or not to be told.
    pub other: u64,
    /// Σ missing, at least.
    pub missing: u64,
    /// Σ surplus, at least.
    pub surplus: u64,
    /// Σ absent and not known to be lost.
    pub delayed: u64,
}

impl Sums {
    fn of(row: &HopWindow) -> Self {
        let is = |those: &[Verdict]| u64::from(those.contains(&row.verdict));
        let bad = is(&[Verdict::Missing, Verdict::Surplus, Verdict::Mixed]);
        let ok = is(&[Verdict::Ok]);
        let (missing, surplus, delayed) = (row.missing_min, row.surplus_min, row.delayed);
        Self { ok, bad, other: 1 - ok - bad, missing, surplus, delayed }
    }

    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            ok: f(self.ok, other.ok),
            bad: f(self.bad, other.bad),
            other: f(self.other, other.other),
            missing: f(self.missing, other.missing),
            surplus: f(self.surplus, other.surplus),
            delayed: f(self.delayed, other.delayed),
        }
    }

    /// Together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }
    /// How many windows.
    pub fn windows(&self) -> u64 {
        self.ok + self.bad + self.other
    }
}

/// One topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topic {
    /// All of its windows.
    pub sums: Sums,
    /// The newest verdict: window and what it is.
    pub newest: Option<(i64, Verdict)>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Ledger {
    topics: BTreeMap<String, Topic>,
    recent: BTreeMap<(i64, String), HopWindow>,
}

impl Ledger {
    /// Takes the rows since `horizon_ms`, in any order; returns those that are news, oldest first: verdicts that are
    /// there for the first time, or changed.
    pub fn look(&mut self, rows: Vec<HopWindow>, horizon_ms: i64) -> Vec<HopWindow> {
        let mut news = Vec::new();
        for row in rows.into_iter().filter(|row| row.window_ms >= horizon_ms && is_said(row)) {
            let key = (row.window_ms, row.topic.clone());
            let before = self.recent.get(&key);
            let same = |b: &HopWindow| {
                (b.verdict, b.missing_min, b.surplus_min, b.delayed)
                    == (row.verdict, row.missing_min, row.surplus_min, row.delayed)
            };
            if before.is_some_and(same) {
                continue;
            }
            let taken_back = before.map(Sums::of).unwrap_or_default();
            let topic = self.topics.entry(row.topic.clone()).or_default();
            topic.sums = topic.sums.plus(Sums::of(&row)).each(taken_back, u64::saturating_sub);
            if topic.newest.is_none_or(|(window_ms, _)| row.window_ms >= window_ms) {
                topic.newest = Some((row.window_ms, row.verdict));
            }
            news.push(row.clone());
            self.recent.insert(key, row);
        }
        self.recent = self.recent.split_off(&(horizon_ms, String::new()));
        news.sort_by(|a, b| (a.window_ms, &a.topic).cmp(&(b.window_ms, &b.topic)));
        news
    }

    /// By name.
    pub fn topics(&self) -> &BTreeMap<String, Topic> {
        &self.topics
    }

    /// All topics together.
    pub fn sums(&self) -> Sums {
        self.topics.values().fold(Sums::default(), |sums, topic| sums.plus(topic.sums))
    }
}

/// Whether a row says something: windows that are not over do not, and neither do those from before we looked.
fn is_said(row: &HopWindow) -> bool {
    let before_us = row.caveats.iter().any(|caveat| caveat.kind == CaveatKind::NotAuditedYet);
    let over = row.settled_ms.is_some() && !matches!(row.verdict, Verdict::Open | Verdict::Settling);
    over && !before_us && row.verdict != Verdict::NoReport
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(topic: &str, window_ms: i64, verdict: Verdict, missing_min: u64) -> HopWindow {
        HopWindow {
            topic: topic.to_owned(),
            from_stage: "kafka:from".to_owned(),
            to_stage: "kafka:to".to_owned(),
            window_ms,
            width_ms: 10_000,
            verdict,
            missing_min,
            surplus_min: 0,
            delayed: 0,
            caveats: Vec::new(),
            why: String::new(),
            settled_ms: (verdict != Verdict::Open).then_some(window_ms + 30_000),
            amendments: 0,
        }
    }

    #[test]
    fn each_verdict_is_news_once_and_an_amendment_replaces_its_sums() {
        let mut ledger = Ledger::default();
        let rows = vec![
            row("b", 20_000, Verdict::Open, 0),
            row("b", 10_000, Verdict::Missing, 3),
            row("a", 10_000, Verdict::Ok, 0),
        ];
        let news = ledger.look(rows.clone(), 0);
        assert_eq!(news.iter().map(|r| r.topic.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(ledger.look(rows, 0).is_empty());
        assert_eq!(ledger.sums(), Sums { ok: 1, bad: 1, missing: 3, ..Sums::default() });
        assert_eq!(ledger.look(vec![row("b", 10_000, Verdict::Ok, 0)], 0).len(), 1);
        assert_eq!(ledger.sums(), Sums { ok: 2, ..Sums::default() });
        assert_eq!(ledger.topics()["b"].newest, Some((10_000, Verdict::Ok)));
    }

    #[test]
    fn what_is_past_the_horizon_is_forgotten_but_stays_in_the_sums() {
        let mut ledger = Ledger::default();
        ledger.look(vec![row("a", 10_000, Verdict::Missing, 3)], 0);
        assert!(ledger.look(vec![row("a", 10_000, Verdict::Ok, 0)], 20_000).is_empty());
        assert!(ledger.recent.is_empty());
        assert_eq!((ledger.sums().missing, ledger.sums().windows()), (3, 1));
    }
}
