//! The table of a terminal: one line a topic, trouble first. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chaperone_collector::query::StageWindow;
use chrono::{DateTime, Utc};

use super::ledger::{Ledger, Topic};

/// The widest a topic's name is shown.
const NAME_MAX: usize = 48;

/// Messages a second by topic, upstream and downstream.
#[derive(Debug, Default, PartialEq)]
pub struct Rates(BTreeMap<String, [f64; 2]>);

impl Rates {
    /// Over all windows that any topic has: at the beginning there are fewer than were asked for.
    pub fn of(windows: &[StageWindow], stages: [&str; 2]) -> Self {
        let mut rates = Self::default();
        let seen: BTreeMap<i64, i64> = windows.iter().map(|w| (w.window_ms, w.width_ms)).collect();
        let over_ms = seen.values().sum::<i64>().max(1);
        for window in windows {
            let of_topic = rates.0.entry(window.topic.clone()).or_default();
            for (rate, stage) in of_topic.iter_mut().zip(stages) {
                if window.stage == stage {
                    // Precise below 2⁵³ messages.
                    #[expect(clippy::cast_precision_loss, reason = "a rate on a screen")]
                    let share = window.n as f64 * 1_000.0 / over_ms as f64;
                    *rate += share;
                }
            }
        }
        rates
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

/// The time of day, as the page shows it.
pub fn clock(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).map(|t| t.format("%H:%M:%S").to_string()).unwrap_or_default()
}

/// The table, at most `lines` lines for topics.
pub fn table(ledger: &Ledger, rates: &Rates, names: [&str; 2], lines: usize) -> String {
    let nothing = Topic::default();
    let mut rows: Vec<(&str, &Topic)> = ledger.topics().iter().map(|(name, topic)| (name.as_str(), topic)).collect();
    rows.extend(rates.names().filter(|n| !ledger.topics().contains_key(*n)).map(|name| (name.as_str(), &nothing)));
    rows.sort_by_key(|(name, topic)| (std::cmp::Reverse((topic.sums.bad, topic.sums.other)), *name));
    let wide = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(5).clamp(5, NAME_MAX);
    let [from, to] = names.map(|name| format!("{name:.12}/s"));
    let mut text = format!(
        "{:<wide$}  {from:>14}  {to:>14}  {:>8}  {:>8}  {:>8}  {:>8}  newest verdict\n",
        "topic", "ok", "missing", "surplus", "delayed"
    );
    for (name, topic) in rows.iter().take(lines) {
        let [up, down] = rates.0.get(*name).copied().unwrap_or_default();
        let name = shortened(name);
        let newest = topic.newest.map_or_else(
            || "waiting for the first".to_owned(),
            |(window_ms, verdict)| format!("{} {verdict}", clock(window_ms)),
        );
        let sums = topic.sums;
        // A string takes everything.
        let written = writeln!(
            text,
            "{:<wide$}  {up:>14.1}  {down:>14.1}  {:>8}  {:>8}  {:>8}  {:>8}  {newest}",
            name, sums.ok, sums.missing, sums.surplus, sums.delayed
        );
        debug_assert!(written.is_ok());
    }
    if rows.is_empty() {
        text.push_str("no message yet\n");
    }
    if rows.len() > lines {
        let left = rows.len() - lines;
        let written = writeln!(text, "and {left} more topics, none of them worse");
        debug_assert!(written.is_ok());
    }
    text
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use chaperone_audit::{Fingerprint, Histogram};
    use chaperone_collector::Verdict;
    use chaperone_collector::query::HopWindow;

    use super::*;

    fn stage(topic: &str, stage: &str, n: u64) -> StageWindow {
        StageWindow {
            topic: topic.to_owned(),
            stage: stage.to_owned(),
            window_ms: 0,
            width_ms: 10_000,
            n,
            acked: n,
            failed: 0,
            bytes: 0,
            f_in: Fingerprint::default(),
            hist: Histogram::default(),
            last_ms: 0,
            rule: None,
        }
    }

    fn verdict(topic: &str, verdict: Verdict, missing_min: u64) -> HopWindow {
        HopWindow {
            topic: topic.to_owned(),
            from_stage: "kafka:from".to_owned(),
            to_stage: "kafka:to".to_owned(),
            window_ms: 1_790_000_000_000,
            width_ms: 10_000,
            verdict,
            missing_min,
            surplus_min: 0,
            delayed: 0,
            caveats: Vec::new(),
            why: String::new(),
            settled_ms: Some(1),
            amendments: 0,
        }
    }

    #[test]
    fn trouble_comes_first_and_rates_are_per_second() {
        let stages = ["kafka:from", "kafka:to"];
        let next = |w: StageWindow| StageWindow { window_ms: 10_000, ..w };
        let windows = [stage("a", stages[0], 100), next(stage("a", stages[0], 100)), stage("a", stages[1], 20)];
        let rates = Rates::of(&windows, stages);
        let mut ledger = Ledger::default();
        ledger.look(vec![verdict("a", Verdict::Ok, 0), verdict("b", Verdict::Missing, 7)], 0);
        let text = table(&ledger, &rates, ["from", "to"], 10);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["b", "0.0", "0.0", "0", "7", "0", "0", "14:13:20", "missing"], "{text}");
        assert_eq!(lines[2], ["a", "10.0", "1.0", "1", "0", "0", "0", "14:13:20", "ok"], "{text}");
        let short = table(&ledger, &rates, ["from", "to"], 1);
        assert!(short.ends_with("and 1 more topics, none of them worse\n"), "{short}");
    }

    #[test]
    fn a_topic_with_traffic_and_no_verdict_waits_and_long_names_are_cut() {
        let name = "n".repeat(200);
        let rates = Rates::of(&[stage(&name, "u", 60)], ["u", "d"]);
        let text = table(&Ledger::default(), &rates, ["u", "d"], 10);
        assert!(text.contains("n…  ") && text.contains("waiting for the first"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 160), "{text}");
        assert!(table(&Ledger::default(), &Rates::default(), ["u", "d"], 10).contains("no message yet"));
    }
}
