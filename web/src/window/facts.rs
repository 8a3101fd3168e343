//! What the store said of one window, and what follows from it. Pure.

use std::collections::BTreeMap;

use chaperone_audit::Histogram;
use chaperone_collector::query::{HopWindow, Offsets, ReporterState, StageWindow, WindowDetail};
use chaperone_collector::{Pipeline, Stage};

use crate::look::Look;
use crate::topic::grid::{Grid, Row};
use crate::zone::Zone;

/// One partition of one tapped stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) log: u32,
    pub(super) n: u64,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// What a stage counted in the window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Total {
    pub(super) n: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) hist: Histogram,
    pub(super) last_ms: i64,
}

impl Total {
    /// Neither acked nor failed.
    pub(super) fn unreported(&self) -> u64 {
        self.n.saturating_sub(self.acked).saturating_sub(self.failed)
    }
}

/// A stage that reports: the stage itself, or a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    /// As it was reported.
    pub(super) stage: String,
    pub(super) total: Option<Total>,
    /// Of a tapped stage.
    pub(super) offsets: BTreeMap<i32, Spot>,
}

/// All of it. Lists by stage and hop are in the order of the pipeline.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) topic: String,
    /// The window among its neighbours.
    pub(super) grid: Grid,
    /// The window; none: nothing was counted.
    pub(super) row: Option<Row>,
    /// Stages as they were reported.
    pub(super) names: Vec<String>,
    pub(super) totals: Vec<Option<Total>>,
    /// Who reports for each stage; one for each that is no group.
    pub(super) parts: Vec<Vec<Part>>,
    pub(super) detail: WindowDetail,
    pub(super) reporters: Vec<ReporterState>,
    pub(super) revision: u64,
    pub(super) now_ms: i64,
    pub(super) silent_after_ms: i64,
}

impl Facts {
    /// The verdict of a hop.
    pub(super) fn hop(&self, hop: usize) -> Option<&HopWindow> {
        self.row.as_ref().and_then(|r| r.hop(hop))
    }
    pub(super) fn look(&self, hop: usize) -> Look {
        self.hop(hop).map_or(Look::Open, Look::of)
    }
    pub(super) fn total(&self, stage: usize) -> Option<&Total> {
        self.totals.get(stage).and_then(Option::as_ref)
    }
    /// What the next stage may expect of this one.
    pub(super) fn expected(&self, stage: usize) -> u64 {
        self.total(stage).map_or(0, |t| t.n.saturating_sub(t.failed))
    }
    /// Who reports for a stage.
    pub(super) fn parts(&self, stage: usize) -> &[Part] {
        self.parts.get(stage).map(Vec::as_slice).unwrap_or_default()
    }
    /// Who reports for the stages of a hop.
    pub(super) fn parts_of_hop(&self, hop: usize) -> impl Iterator<Item = &Part> {
        self.parts(hop).iter().chain(self.parts(hop + 1))
    }
    pub(super) fn is_known(&self, stage: usize) -> bool {
        self.grid.stages.get(stage).is_some_and(|s| s.known)
    }
    /// `12:41:20 – 12:41:30`.
    pub(super) fn title(&self, zone: Zone, ms: i64) -> String {
        self.row.as_ref().map_or_else(|| zone.clock(ms), |r| zone.span(r.from_ms, r.to_ms))
    }
}

/// The sum of these stages in the window.
pub(super) fn total(stages: &[String], row: &Row, counts: &[StageWindow]) -> Option<Total> {
    let is_in = |c: &&StageWindow| stages.contains(&c.stage) && (row.from_ms..row.to_ms).contains(&c.window_ms);
    counts.iter().filter(is_in).fold(None::<Total>, |sum, c| {
        let mut sum = sum.unwrap_or_default();
        sum.n = sum.n.saturating_add(c.n);
        sum.acked = sum.acked.saturating_add(c.acked);
        sum.failed = sum.failed.saturating_add(c.failed);
        sum.bytes = sum.bytes.saturating_add(c.bytes);
        sum.hist.add(&c.hist);
        sum.last_ms = sum.last_ms.max(c.last_ms);
        Some(sum)
    })
}

/// Sums of the stages in the window, of groups over all members.
pub(super) fn totals(pipeline: &Pipeline, row: &Row, counts: &[StageWindow]) -> Vec<Option<Total>> {
    pipeline.stages.iter().map(Stage::reported).map(|stages| total(stages, row, counts)).collect()
}

/// Finer windows of a wide one are one; of two logs the newer one stands.
pub(super) fn by_partition(offsets: &[Offsets]) -> BTreeMap<i32, Spot> {
    let mut spots: BTreeMap<i32, Spot> = BTreeMap::new();
    for o in offsets {
        let new = Spot { log: o.log, n: o.n, first: o.first, last: o.last };
        let both = |old: &mut Spot| match old.log.cmp(&new.log) {
            std::cmp::Ordering::Less => *old = new,
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Equal => {
                old.n = old.n.saturating_add(new.n);
                old.first = old.first.min(new.first);
                old.last = old.last.max(new.last);
            }
        };
        spots.entry(o.partition).and_modify(both).or_insert(new);
    }
    spots
}
