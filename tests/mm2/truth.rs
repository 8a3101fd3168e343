//! What is true, message by message, and how far what was said is from it. Pure.

use std::collections::BTreeMap;

use anyhow::ensure;
use chaperone_tests::api::Window;

use crate::traffic::{Produced, window_of};

/// What became of a window's messages.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    produced: u64,
    missing: u64,
    surplus: u64,
}

/// See the module's head.
pub(crate) struct Truth {
    produced: BTreeMap<u64, Produced>,
    missing: Vec<Produced>,
    windows: BTreeMap<i64, Fate>,
    /// Copies of ids that nobody produced.
    strangers: u64,
}

/// How far what was said is from the truth.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Messages that were ever said to be missing beyond those that are.
    pub(crate) false_missing: u64,
    /// Messages said to be missing at the end.
    pub(crate) missing: u64,
    /// Σ of the windows' distances from the truth.
    pub(crate) difference: u64,
    /// Windows with another verdict than the true one.
    pub(crate) wrong: u64,
}

impl Truth {
    /// Of what was acknowledged upstream and how often each id is downstream.
    pub(crate) fn of(produced: BTreeMap<u64, Produced>, copies: &BTreeMap<u64, u64>) -> Self {
        let (mut windows, mut missing): (BTreeMap<i64, Fate>, _) = (BTreeMap::new(), Vec::new());
        for (id, message) in &produced {
            let fate = windows.entry(window_of(message.time_ms)).or_default();
            fate.produced += 1;
            match copies.get(id).copied().unwrap_or(0) {
                0 => {
                    fate.missing += 1;
                    missing.push(*message);
                }
                n => fate.surplus += n - 1,
            }
        }
        let strangers = copies.iter().filter(|(id, _)| !produced.contains_key(id)).map(|(_, n)| n).sum();
        Self { produced, missing, windows, strangers }
    }

    /// Messages that are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.windows.values().map(|fate| fate.missing).sum()
    }

    /// What is missing lies below the cut of its partition, and nothing above it is: retention alone has eaten it.
    pub(crate) fn check_eaten(&self, cuts: &[i64]) -> anyhow::Result<()> {
        let cut = |message: &Produced| usize::try_from(message.partition).ok().and_then(|p| cuts.get(p)).copied();
        let others: Vec<_> = self.missing.iter().filter(|m| cut(m).is_none_or(|cut| m.offset >= cut)).collect();
        ensure!(others.is_empty(), "MirrorMaker lost messages that were there: {others:?}");
        for (partition, cut) in (0_i32..).zip(cuts) {
            let gone = self.missing.iter().filter(|m| m.partition == partition).map(|m| m.offset);
            let (first, last, n) = gone.fold((i64::MAX, -1, 0), |(a, b, n), o| (a.min(o), b.max(o), n + 1));
            println!("partition {partition}: offsets {first} to {last} are gone, {n} messages; it begins at {cut}");
            ensure!(n > 0 && last == cut - 1 && last - first + 1 == n, "not one run of offsets up to the cut");
        }
        Ok(())
    }

    /// Both taps have counted exactly what the producer and the plain consumer know of.
    pub(crate) fn check_counts(&self, up: &BTreeMap<i64, u64>, down: &BTreeMap<i64, u64>) -> anyhow::Result<()> {
        ensure!(self.strangers == 0, "{} copies of what nobody produced", self.strangers);
        let produced: u64 = self.windows.values().map(|f| f.produced).sum();
        let copied: u64 = self.windows.values().map(|f| f.produced - f.missing + f.surplus).sum();
        println!("produced {produced}, copied {copied}, missing {}", self.missing());
        ensure!(produced == self.produced.len() as u64, "windows lose messages");
        for (window_ms, fate) in &self.windows {
            let counted = [up, down].map(|counts| counts.get(window_ms).copied().unwrap_or(0));
            let there = [fate.produced, fate.produced - fate.missing + fate.surplus];
            ensure!(counted == there, "window {window_ms}: the taps counted {counted:?}, there are {there:?}");
        }
        ensure!(up.values().sum::<u64>() == produced && down.values().sum::<u64>() == copied, "windows of nobody");
        Ok(())
    }

    /// Compares what was said in the end, and the most that was ever said to be missing, with this; the window `open_ms`
    /// has no verdict yet.
    pub(crate) fn compare(&self, said: &BTreeMap<i64, Window>, ever: &BTreeMap<i64, u64>, open_ms: i64) -> Account {
        let mut account = Account::default();
        for (window_ms, fate) in &self.windows {
            let most = ever.get(window_ms).copied().unwrap_or(0);
            account.false_missing += most.saturating_sub(fate.missing);
            if *window_ms == open_ms {
                continue;
            }
            let expected = match (fate.missing, fate.surplus) {
                (0, 0) => "ok",
                (0, _) => "surplus",
                _ => "missing",
            };
            let row = said.get(window_ms);
            let missing = row.map_or(0, |row| row.missing_min);
            account.missing += missing;
            account.difference += missing.abs_diff(fate.missing);
            let verdict = row.map_or("none", |row| row.verdict.as_str());
            println!("window {window_ms}: {fate:?}: {verdict}, {missing} missing");
            if verdict != expected || row.is_some_and(|row| row.surplus_min != fate.surplus) {
                println!("  wrong: {row:#?}");
                account.wrong += 1;
            }
        }
        let strange = said.keys().filter(|window_ms| !self.windows.contains_key(window_ms)).count();
        account.wrong += strange as u64;
        account
    }
}
