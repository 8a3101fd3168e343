//! A demo's account of itself, checked against the store that it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use chaperone_tests::demo::{Demo, Event};
use rusqlite::{Connection, OpenFlags};

/// Stages, upstream first.
const STAGES: [&str; 5] = ["producer", "proxy", "kafka:regional", "kafka:aggregate", "consumer"];

/// A fault as it was announced.
#[derive(Debug, Clone, PartialEq)]
struct Fault {
    kind: String,
    hop: usize,
    window_ms: i64,
    count: u64,
}

/// What a demo said, consistent in itself and with its store.
pub(crate) struct Account {
    faults: BTreeMap<u64, Fault>,
    seconds: Vec<f64>,
    pub(crate) caught: u64,
    pub(crate) invented: u64,
    pub(crate) settled_ok: u64,
}

impl Account {
    /// Reads the events of a demo that has ended, and its store.
    pub(crate) fn of(demo: &Demo) -> anyhow::Result<Self> {
        let events = demo.events()?;
        Self::read(&events, &demo.data_dir()).with_context(|| demo.told())
    }

    fn read(events: &[Event], data_dir: &Path) -> anyhow::Result<Self> {
        let [Event::Ready { url }, middle @ .., Event::End { injected, caught, invented, settled_ok }] = events else {
            anyhow::bail!("it does not begin with ready and end with end");
        };
        let mut account =
            Self { faults: BTreeMap::new(), seconds: vec![], caught: 0, invented: *invented, settled_ok: *settled_ok };
        for event in middle {
            account.add(event, url)?;
        }
        ensure!((account.injected(), account.caught) == (*injected, *caught), "the sums are not those of the lines");
        let cells: BTreeSet<_> = account.faults.values().map(|f| (f.hop, f.window_ms)).collect();
        ensure!(cells.len() == account.faults.len(), "two faults on one hop in one window");
        account.invented += account.compare(data_dir)?;
        Ok(account)
    }

    fn add(&mut self, event: &Event, base: &str) -> anyhow::Result<()> {
        match event {
            Event::Injected { id, kind, hop, window_ms, count } => {
                let fault = Fault { kind: kind.clone(), hop: *hop, window_ms: *window_ms, count: *count };
                ensure!((1..=4).contains(hop) && window_ms % 10_000 == 0, "{fault:?}");
                ensure!(self.faults.insert(*id, fault).is_none(), "{id} was injected twice");
            }
            Event::Caught { id, verdict, count, after_s, url } => {
                let fault = self.faults.get(id).with_context(|| format!("{id} was caught before it was injected"))?;
                let right = match (fault.kind.as_str(), verdict.as_str()) {
                    ("loss", "missing") | ("dup", "surplus") => *count == fault.count,
                    ("stall", "delayed" | "overdue") => *count >= fault.count,
                    ("masked", "mixed")
                    | ("kill", "ok" | "uncertain" | "unproven" | "partial" | "delayed" | "overdue") => true,
                    _ => false,
                };
                ensure!(right, "{fault:?} was caught as {verdict} {count}");
                let cell = format!("&w={}", fault.window_ms);
                ensure!(url.starts_with(base) && url.ends_with(&cell) && *after_s > 0.0, "{event:?}");
                self.caught += 1;
                self.seconds.push(*after_s);
            }
            Event::Ready { .. } | Event::End { .. } => anyhow::bail!("{event:?} in the middle"),
        }
        Ok(())
    }

    /// What the store says in red, now or at any time, that was not injected; and whether it says what was.
    fn compare(&self, data_dir: &Path) -> anyhow::Result<u64> {
        let db = Connection::open_with_flags(data_dir.join("chaperone.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut unexplained = BTreeSet::new();
        let now = "SELECT from_stage, window_ms, verdict, missing_min, surplus_min, caveats FROM v_hop_window";
        let earlier = "SELECT from_stage, window_ms, new_verdict, new_missing, new_surplus, '' FROM v_amendment \
                       UNION ALL SELECT from_stage, window_ms, old_verdict, old_missing, old_surplus, '' FROM v_amendment";
        for (sql, last) in [(now, true), (earlier, false)] {
            let mut query = db.prepare(sql)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let (stage, window_ms): (String, i64) = (row.get(0)?, row.get(1)?);
                let (verdict, missing, surplus): (String, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
                let hop = STAGES.iter().position(|s| *s == stage).context("a stage of no pipeline")? + 1;
                let fault = self.faults.values().find(|f| (f.hop, f.window_ms) == (hop, window_ms));
                let red = matches!(verdict.as_str(), "missing" | "surplus" | "mixed");
                let truth = fault.map_or(("", 0, 0), Fault::truth);
                if red && (verdict.as_str(), missing, surplus) != truth {
                    println!("unexplained: hop {hop} at {window_ms} {verdict} {missing} {surplus}, is {truth:?}");
                    unexplained.insert((hop, window_ms));
                }
                let caveats: String = row.get(5)?;
                let Some(fault) = fault.filter(|_| last) else { continue };
                let shown = match fault.kind.as_str() {
                    "stall" => verdict == "ok",
                    "kill" => caveats.contains("reporter gone"),
                    _ => red,
                };
                ensure!(shown || self.caught < self.injected(), "the store says {verdict} ({caveats}) of {fault:?}");
            }
        }
        Ok(unexplained.len() as u64)
    }

    /// Seconds from the injection until each was seen, the slowest.
    pub(crate) fn slowest(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }

    /// Faults injected.
    pub(crate) fn injected(&self) -> u64 {
        self.faults.len() as u64
    }

    /// Different kinds among them.
    pub(crate) fn kinds(&self) -> usize {
        self.faults.values().map(|f| &f.kind).collect::<BTreeSet<_>>().len()
    }

    /// As `--faults` would be told.
    pub(crate) fn specification(&self) -> String {
        let told = self.faults.values().map(|f| format!("{}:hop={},count={}", f.kind, f.hop, f.count));
        told.collect::<Vec<_>>().join(";")
    }
}

impl Fault {
    /// Verdict, missing and surplus that the store must show; for what is not red, nothing red.
    fn truth(&self) -> (&'static str, i64, i64) {
        let count = self.count.cast_signed();
        match self.kind.as_str() {
            "loss" => ("missing", count, 0),
            "dup" => ("surplus", 0, count),
            "masked" => ("mixed", 0, 0),
            _ => ("", 0, 0),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.slowest();
        let (injected, caught, invented, ok) = (self.injected(), self.caught, self.invented, self.settled_ok);
        write!(f, "{injected} injected, {caught} caught (after {longest} s at most), {invented} invented, {ok} ok")
    }
}
