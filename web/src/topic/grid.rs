//! A topic in a range as rows of windows: for each its stages' counts and its hops' verdicts.
//!
//! Invariants: rows are in order of time and do not overlap, one per window, or per [slice](super::slices) of many; `counts`
//! has one place per stage and `hops` one per hop of the pipeline, empty where nothing was reported. Empty is not zero.

use std::collections::{BTreeMap, HashSet};

use chaperone_audit::Histogram;
use chaperone_collector::query::{HopWindow, ReporterState, StageWindow};
use chaperone_collector::{Pipeline, StageKind};

use crate::format;
use crate::look::{self, Look};

/// One stage of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageSeen {
    pub(crate) name: String,
    /// The same as it was reported, for addresses.
    pub(crate) raw: String,
    pub(crate) kind: StageKind,
    /// Something ever reported it, of a group each member; without that its counts are unknown.
    pub(crate) known: bool,
    /// Members of a group, and whether they are known.
    pub(crate) members: Vec<(String, bool)>,
}

/// What a stage counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// Attempted less failed, or seen: what the next stage may expect.
    pub(crate) n: u64,
    /// Acknowledged.
    pub(crate) acked: u64,
    /// Provably not persisted; nobody may expect them.
    pub(crate) failed: u64,
    /// Attempted, and no delivery report will tell.
    pub(crate) doubt: u64,
    /// Delay from event time.
    pub(crate) hist: Histogram,
}

impl Count {
    fn add(&mut self, w: &StageWindow) {
        let out = w.acked.saturating_add(w.failed);
        self.n = self.n.saturating_add(w.n.saturating_sub(w.failed));
        self.acked = self.acked.saturating_add(w.acked);
        self.failed = self.failed.saturating_add(w.failed);
        // A stage that only sees has no delivery reports, and nothing in doubt.
        if out > 0 {
            self.doubt = self.doubt.saturating_add(w.n.saturating_sub(out));
        }
        self.hist.add(&w.hist);
    }
    pub(crate) fn merge(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.acked = self.acked.saturating_add(other.acked);
        self.failed = self.failed.saturating_add(other.failed);
        self.doubt = self.doubt.saturating_add(other.doubt);
        self.hist.add(&other.hist);
    }
}

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) hops: Vec<Option<HopWindow>>,
    pub(crate) counts: Vec<Option<Count>>,
    /// Of groups, by stage and member.
    pub(crate) parts: BTreeMap<(usize, usize), Count>,
    /// Of a slice: its windows by look, for each hop. Of a window: empty.
    pub(crate) slice: Vec<BTreeMap<Look, u64>>,
}

impl Row {
    /// The worst hop, the first of equals.
    pub(crate) fn worst(&self) -> Option<(usize, &HopWindow)> {
        let hops = self.hops.iter().enumerate().filter_map(|(i, h)| h.as_ref().map(|h| (i, h)));
        hops.min_by_key(|(i, h)| (Look::of(h), *i))
    }
    /// The look of the window as a whole; nothing counted and nothing judged looks open.
    pub(crate) fn look(&self) -> Look {
        self.worst().map_or(Look::Open, |(_, h)| Look::of(h))
    }
    /// How many windows it stands for.
    pub(crate) fn windows(&self) -> u64 {
        self.slice.iter().map(|looks| looks.values().sum()).max().unwrap_or(1)
    }
    /// The looks of a hop's windows in it, and how many have each.
    pub(crate) fn looks(&self, hop: usize) -> Vec<(Look, u64)> {
        match self.slice.get(hop) {
            Some(looks) => looks.iter().map(|(look, n)| (*look, *n)).collect(),
            None => self.hop(hop).map(|h| (Look::of(h), 1)).into_iter().collect(),
        }
    }
    pub(crate) fn hop(&self, hop: usize) -> Option<&HopWindow> {
        self.hops.get(hop).and_then(Option::as_ref)
    }
    pub(crate) fn count(&self, stage: usize) -> Option<&Count> {
        self.counts.get(stage).and_then(Option::as_ref)
    }
    /// Whether sums over it compare like with like: it has ended, and a hop that still settles waits for trouble that
    /// is known upstream of it.
    pub(crate) fn is_counted(&self) -> bool {
        let mut trouble_upstream = false;
        let mut any = false;
        for look in self.hops.iter().flatten().map(Look::of) {
            any = true;
            trouble_upstream |= look.is_trouble();
            if look == Look::Open || (look.is_pending() && !trouble_upstream) {
                return false;
            }
        }
        any
    }
}

/// A topic in a range.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Grid {
    pub(crate) stages: Vec<StageSeen>,
    pub(crate) rows: Vec<Row>,
    /// Verdicts of hops that the pipeline no longer has.
    pub(crate) strangers: usize,
}

impl Grid {
    pub(crate) fn build(
        pipeline: &Pipeline,
        windows: Vec<HopWindow>,
        counts: &[StageWindow],
        reporters: &[ReporterState],
    ) -> Self {
        let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
        let stage_count = pipeline.stages.len();
        let hop_count = stage_count.saturating_sub(1);
        let mut strangers = 0;
        for window in windows {
            let hop = pipeline.hops().position(|h| h.from.name == window.from_stage && h.to.name == window.to_stage);
            let Some(hop) = hop else {
                strangers += 1;
                continue;
            };
            let row = rows.entry(window.window_ms).or_insert_with(|| Row {
                from_ms: window.window_ms,
                to_ms: window.window_ms,
                hops: vec![None; hop_count],
                counts: vec![None; stage_count],
                parts: BTreeMap::new(),
                slice: Vec::new(),
            });
            row.to_ms = row.to_ms.max(window.window_ms.saturating_add(window.width_ms));
            if let Some(place) = row.hops.get_mut(hop) {
                *place = Some(window);
            }
        }
        for count in counts {
            let Some(stage) = pipeline.stages.iter().position(|s| s.is_reported_by(&count.stage)) else { continue };
            let member =
                pipeline.stages.get(stage).and_then(|s| s.members.iter().position(|name| *name == count.stage));
            // A hop compares at the coarser width, so a finer count belongs to the window that holds it.
            let Some((_, row)) = rows.range_mut(..=count.window_ms).next_back() else { continue };
            if count.window_ms < row.to_ms
                && let Some(place) = row.counts.get_mut(stage)
            {
                place.get_or_insert_default().add(count);
                if let Some(member) = member {
                    row.parts.entry((stage, member)).or_default().add(count);
                }
            }
        }
        let heard: HashSet<&str> =
            counts.iter().map(|c| c.stage.as_str()).chain(reporters.iter().map(|r| r.stage.as_str())).collect();
        let stages = pipeline.stages.iter().map(|s| StageSeen {
            name: format::name(&s.name),
            raw: s.name.clone(),
            kind: s.kind,
            known: s.reported().iter().all(|name| heard.contains(name.as_str())),
            members: s.members.iter().map(|name| (format::name(name), heard.contains(name.as_str()))).collect(),
        });
        Self { stages: stages.collect(), rows: rows.into_values().collect(), strangers }
    }

    pub(crate) fn hop_count(&self) -> usize {
        self.stages.len().saturating_sub(1)
    }
    /// Names of a hop's stages.
    pub(crate) fn hop_names(&self, hop: usize) -> (&str, &str) {
        let name = |i: usize| self.stages.get(i).map_or("?", |s| s.name.as_str());
        (name(hop), name(hop + 1))
    }
    /// Where a hop leads to, as it was reported.
    pub(crate) fn hop_end(&self, hop: usize) -> Option<&str> {
        self.stages.get(hop + 1).map(|s| s.raw.as_str())
    }
    /// A hop's windows in order of time.
    pub(crate) fn hop(&self, hop: usize) -> impl Iterator<Item = (&Row, &HopWindow)> {
        self.rows.iter().filter_map(move |r| r.hop(hop).map(|h| (r, h)))
    }
    /// Width of the windows: that of the newest that is no slice.
    pub(crate) fn width_ms(&self) -> i64 {
        let newest = self.rows.iter().rev().find(|r| r.slice.is_empty());
        newest.map_or(10_000, |r| r.to_ms - r.from_ms).max(1)
    }
    /// Width of the slices, where there are any.
    pub(crate) fn slice_ms(&self) -> Option<i64> {
        self.rows.iter().find(|r| !r.slice.is_empty()).map(|r| r.to_ms - r.from_ms)
    }
    /// The window that holds a moment.
    pub(crate) fn row_at(&self, ms: i64) -> Option<usize> {
        self.rows.iter().position(|r| (r.from_ms..r.to_ms).contains(&ms))
    }
    /// How far upstream and downstream a comparison of ends can reach: the first and the last stage that is known.
    pub(crate) fn ends(&self) -> Option<(usize, usize)> {
        let first = self.stages.iter().position(|s| s.known)?;
        let last = self.stages.iter().rposition(|s| s.known)?;
        (first < last).then_some((first, last))
    }
}

/// The worst look of a hop over some rows.
pub(crate) fn worst<'a>(rows: impl IntoIterator<Item = &'a Row>, hop: usize) -> Option<Look> {
    look::worst(rows.into_iter().filter_map(|r| r.hop(hop)).map(Look::of))
}

/// A quantile of delay; `at_least` when messages that are still absent make it a lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) ms: i64,
    pub(crate) at_least: bool,
}

impl Delay {
    /// `1.6 s`, `≥ 3 m 8 s`.
    pub(crate) fn text(self) -> String {
        let text = format::delay(self.ms);
        if self.at_least { format!("≥ {text}") } else { text }
    }
}

/// The `permille`-th thousandth of what arrived and what is absent; the absent are at least `now − event time` late,
/// never on time.
pub(crate) fn quantile(hist: &Histogram, absent: &[(u64, i64)], permille: u64) -> Option<Delay> {
    let mut all = hist.clone();
    for (count, at_least_ms) in absent {
        all.add_cell(chaperone_audit::histogram::cell_of(*at_least_ms), *count);
    }
    let ms = all.quantile_ms(permille)?;
    let at_least =
        absent.iter().any(|(count, at_least_ms)| *count > 0 && *at_least_ms <= ms.max(1).saturating_mul(9) / 8);
    Some(Delay { ms, at_least })
}

/// What is absent at the downstream end of a hop, and how late it is at least.
pub(crate) fn absent<'a>(rows: impl IntoIterator<Item = &'a Row>, hop: usize, now_ms: i64) -> Vec<(u64, i64)> {
    let hops = rows.into_iter().filter_map(|r| r.hop(hop).map(|h| (h.delayed, (now_ms - r.to_ms).max(0))));
    hops.filter(|(count, _)| *count > 0).collect()
}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;
