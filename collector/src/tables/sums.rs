//! Sums of a stage over a span of event time, for the judge: from windows, or from a wider level where the windows of its
//! time may be gone.

use std::collections::HashMap;

use chaperone_audit::Fingerprint;

use super::gather::Span;
use super::levels::{Levels, WINDOWS_MS};
use super::totals::least;
use crate::db::{AsValue, Done, Row, Tx, count, fingerprint, params};

/// What the judge needs of a stage in a span of windows, summed over classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StageSum {
    pub(super) n: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) f_in: Fingerprint,
    pub(super) f_acked: Fingerprint,
    pub(super) f_failed: Fingerprint,
    pub(super) last_ms: Option<i64>,
    /// Nothing of it arrived before.
    pub(super) first_ms: Option<i64>,
    /// Smallest and largest rule id.
    pub(super) rules: Option<(i64, i64)>,
    /// The widest window in it.
    pub(super) width_ms: i64,
}

impl StageSum {
    fn add(&mut self, r: &Row<'_>) -> Done<()> {
        self.n = self.n.saturating_add(count(r.get(1)?));
        self.acked = self.acked.saturating_add(count(r.get(2)?));
        self.failed = self.failed.saturating_add(count(r.get(3)?));
        self.f_in = self.f_in.plus(fingerprint(r.get(4)?));
        self.f_acked = self.f_acked.plus(fingerprint(r.get(5)?));
        self.f_failed = self.f_failed.plus(fingerprint(r.get(6)?));
        self.last_ms = self.last_ms.max(r.get(7)?);
        let (low, high): (i64, i64) = (r.get(8)?, r.get(9)?);
        let (a, b) = self.rules.unwrap_or((low, high));
        self.rules = Some((a.min(low), b.max(high)));
        self.width_ms = self.width_ms.max(r.get(10)?);
        self.first_ms = least(self.first_ms, r.get(12)?);
        Ok(())
    }

    /// Adds what another stage of the same group counted.
    fn join(&mut self, o: &Self) {
        self.n = self.n.saturating_add(o.n);
        self.acked = self.acked.saturating_add(o.acked);
        self.failed = self.failed.saturating_add(o.failed);
        self.f_in = self.f_in.plus(o.f_in);
        self.f_acked = self.f_acked.plus(o.f_acked);
        self.f_failed = self.f_failed.plus(o.f_failed);
        self.last_ms = self.last_ms.max(o.last_ms);
        self.first_ms = least(self.first_ms, o.first_ms);
        self.rules = match (self.rules, o.rules) {
            (Some((a, b)), Some((low, high))) => Some((a.min(low), b.max(high))),
            (known, other) => known.or(other),
        };
        self.width_ms = self.width_ms.max(o.width_ms);
    }
}

/// A stage's sums: over all classes with a time, and over stamped messages alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StageSums {
    pub(super) all: StageSum,
    pub(super) stamped: StageSum,
}

impl StageSums {
    /// Of all members of a group, or of a stage alone.
    pub(super) fn of<'a>(members: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sums = Self::default();
        for member in members {
            sums.all.join(&member.all);
            sums.stamped.join(&member.stamped);
        }
        sums
    }
}

/// The sums of every stage that counted `topic` in windows that begin within the span. What was dropped of it is in its
/// level, with all narrower windows.
pub(super) fn stage_sums(tx: &dyn Tx, levels: &Levels, topic: i64, span: Span) -> Done<HashMap<i64, StageSums>> {
    let mut sums: HashMap<i64, StageSums> = HashMap::new();
    let read = &mut |r: &Row<'_>| {
        let of_stage = sums.entry(r.get(0)?).or_default();
        of_stage.all.add(r)?;
        if r.get(11)? {
            of_stage.stamped.add(r)?;
        }
        Ok(true)
    };
    let Span { start_ms, width_ms } = span;
    if width_ms > WINDOWS_MS && levels.is_dropped(topic, start_ms, WINDOWS_MS) {
        tx.each(include_str!("sql/stage_sums_level.sql"), params![topic, start_ms, span.end_ms(), width_ms], read)?;
    } else {
        tx.each(include_str!("sql/stage_sums.sql"), params![topic, start_ms, span.end_ms()], read)?;
    }
    Ok(sums)
}
