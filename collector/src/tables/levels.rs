//! Which rows hold a window by now: its own, those of wider levels, or none any more.
//!
//! Rows of `stage_window` are added to `stage_level` once, by the job that rolls up; what comes later for such a window goes
//! to both. When a width's time is over its rows are dropped, and what comes for it later goes to the levels that are left.
//! So every level holds the sum of everything that was counted in its time (I1, I4), whatever came late.
//!
//! Invariants: `sweep` says for every topic and window whether it was rolled up and what was dropped; whoever writes totals
//! holds its rows shared from before the first total is read until the end of the transaction, whoever sweeps holds them
//! alone. Nothing is dropped before it was rolled up.

use crate::db::{AsValue, Db, Done, Tx, Value, params};
use crate::retention::{LEVELS_MS, floor_ms};

/// Slices that evidence is kept in, ms.
pub(super) const GROUP_MS: i64 = 600_000;
/// Job that rolls up.
pub(super) const ROLL: i64 = 0;
/// Job that drops what evidence kept.
pub(super) const AGED: i64 = 1;
/// The narrowest windows.
pub(super) const WINDOWS_MS: i64 = 10_000;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Done before this.
    pub(super) from_ms: i64,
    /// Before this too, for topics up to the one that follows.
    pub(super) to_ms: i64,
    /// A topic's number.
    pub(super) topic: i64,
}

impl Mark {
    const START: Self = Self { from_ms: -i64::MAX, to_ms: -i64::MAX, topic: 0 };

    pub(super) fn has_passed(&self, topic: i64, window_ms: i64) -> bool {
        window_ms < if topic <= self.topic { self.to_ms } else { self.from_ms }
    }
}

/// How far all jobs are.
#[derive(Debug, Clone)]
pub(super) struct Levels(Vec<(i64, Mark)>);

impl Levels {
    /// As of this moment; where others write, it stays so until the transaction ends.
    pub(super) fn held(tx: &dyn Tx) -> Done<Self> {
        Self::read(tx, include_str!("sql/sweep_held.sql"))
    }

    /// As of this moment.
    pub(super) fn now(tx: &dyn Tx) -> Done<Self> {
        Self::read(tx, "SELECT job, from_ms, to_ms, topic FROM sweep")
    }

    fn read(tx: &dyn Tx, sql: &'static str) -> Done<Self> {
        let row =
            |r: &crate::db::Row<'_>| Ok((r.get(0)?, Mark { from_ms: r.get(1)?, to_ms: r.get(2)?, topic: r.get(3)? }));
        Ok(Self(tx.query(sql, params![], row)?))
    }

    /// How far a job is.
    pub(super) fn mark(&self, job: i64) -> Mark {
        self.0.iter().find(|(of, _)| *of == job).map_or(Mark::START, |(_, mark)| *mark)
    }

    /// Moves a job's mark.
    pub(super) fn save(db: &Db<'_>, job: i64, mark: Mark) -> Done<()> {
        let row = params![job, mark.from_ms, mark.to_ms, mark.topic];
        db.tx.execute(include_str!("sql/sweep_replace.sql"), row)?;
        Ok(())
    }

    /// Whether the rows of this window were added to wider ones.
    pub(super) fn is_rolled(&self, topic: i64, window_ms: i64) -> bool {
        self.mark(ROLL).has_passed(topic, window_ms)
    }

    /// Whether the rows of this width are gone, but for those that evidence kept.
    pub(super) fn is_dropped(&self, topic: i64, window_ms: i64, width_ms: i64) -> bool {
        self.mark(width_ms).has_passed(topic, window_ms)
    }

    /// Whether there are rows of this width for this time.
    pub(super) fn holds(&self, tx: &dyn Tx, topic: i64, window_ms: i64, width_ms: i64) -> Done<bool> {
        if !self.is_dropped(topic, window_ms, width_ms) {
            return Ok(true);
        }
        let sql = "SELECT 1 FROM kept WHERE window_ms = ?1 AND level_ms = ?2 AND topic = ?3";
        tx.exists(sql, params![floor_ms(window_ms, GROUP_MS), width_ms, topic])
    }

    /// Where what is counted in a window now goes.
    pub(super) fn place(&self, tx: &dyn Tx, topic: i64, window_ms: i64, width_ms: i64) -> Done<Placed> {
        if !self.is_rolled(topic, window_ms) {
            let judged = Some((window_ms, width_ms));
            return Ok(Placed { window: true, levels: Vec::new(), judged });
        }
        let window = self.holds(tx, topic, window_ms, width_ms)?;
        let mut levels = Vec::new();
        for level_ms in LEVELS_MS.into_iter().filter(|level_ms| *level_ms > width_ms) {
            let start_ms = floor_ms(window_ms, level_ms);
            if self.holds(tx, topic, start_ms, level_ms)? {
                levels.push((start_ms, level_ms));
            }
        }
        // Verdicts over an hour are sums only; those of what evidence kept stand when it is dropped.
        let first = levels.first().copied().filter(|(_, level_ms)| *level_ms <= GROUP_MS);
        let judged = if window { Some((window_ms, width_ms)) } else { first };
        let judged = judged.filter(|_| !self.mark(AGED).has_passed(topic, window_ms));
        Ok(Placed { window, levels, judged })
    }
}

/// Which rows a window's counts go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its own.
    pub(super) window: bool,
    /// Of these levels: start and width.
    pub(super) levels: Vec<(i64, i64)>,
    /// What is judged again: start and width; `None`: nothing, it is too late.
    pub(super) judged: Option<(i64, i64)>,
}

/// Rows of a topic in `[from, to)` as parameters, with a width.
pub(super) fn range(topic: i64, (from_ms, to_ms): (i64, i64), width_ms: i64) -> [Value<'static>; 4] {
    [topic, from_ms, to_ms, width_ms].map(Value::Int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_up_to_the_mark_are_further() {
        let mark = Mark { from_ms: 100, to_ms: 200, topic: 5 };
        assert!(mark.has_passed(9, 99) && !mark.has_passed(9, 100));
        assert!(mark.has_passed(5, 199) && !mark.has_passed(5, 200) && !mark.has_passed(6, 150));
        assert!(!Mark::START.has_passed(1, -i64::MAX));
    }
}
