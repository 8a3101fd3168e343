//! The verdict that stands for a hop in a window, and its amendments.
//!
//! Invariants: `settled_ms` is set once, when settling first said so (I6); a later verdict with another word or other
//! bounds is an amendment, measured against the last settled one, however often the window was open again in between.

use rusqlite::{OptionalExtension, params};

use super::db::{Db, Done, Fault, count, int};
use super::gather::{Gathered, Span};
use crate::verdict::{Judgement, Progress, Verdict};

/// Which row of `hop_window`.
pub(super) struct Row {
    pub(super) topic: i64,
    pub(super) span: Span,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    hop: i64,
    width_ms: i64,
    verdict: String,
    missing: u64,
    surplus: u64,
    delayed: u64,
    caveats: String,
    why: String,
    settled_ms: Option<i64>,
    /// The last settled verdict with its bounds.
    settled: Option<(String, u64, u64)>,
    /// When consumers' positions were first seen past it.
    pub(super) passed_ms: Option<i64>,
    amendments: u32,
}

impl Standing {
    pub(super) fn load(db: &Db<'_>, row: &Row) -> Done<Option<Self>> {
        let mut statement = db.conn.prepare_cached(include_str!("sql/hop_window_select.sql"))?;
        let found = statement.query_row(params![row.topic, row.span.start_ms, row.from, row.to], |r| {
            let settled: Option<String> = r.get(9)?;
            let bounds = (count(r.get(10)?), count(r.get(11)?));
            Ok(Self {
                hop: r.get(0)?,
                width_ms: r.get(1)?,
                verdict: r.get(2)?,
                missing: count(r.get(3)?),
                surplus: count(r.get(4)?),
                delayed: count(r.get(5)?),
                caveats: r.get(6)?,
                why: r.get(7)?,
                settled_ms: r.get(8)?,
                settled: settled.map(|verdict| (verdict, bounds.0, bounds.1)),
                passed_ms: r.get(12)?,
                amendments: r.get(13)?,
            })
        });
        Ok(found.optional()?)
    }

    fn save(&self, db: &Db<'_>, row: &Row) -> Done<()> {
        let (verdict, missing, surplus) = match &self.settled {
            Some((verdict, missing, surplus)) => (Some(verdict), *missing, *surplus),
            None => (None, 0, 0),
        };
        db.conn.prepare_cached(include_str!("sql/hop_window_replace.sql"))?.execute(params![
            row.topic,
            row.span.start_ms,
            row.from,
            row.to,
            self.hop,
            self.width_ms,
            self.verdict,
            int(self.missing),
            int(self.surplus),
            int(self.delayed),
            self.caveats,
            self.why,
            self.settled_ms,
            verdict,
            int(missing),
            int(surplus),
            self.passed_ms,
            self.amendments,
        ])?;
        Ok(())
    }
}

/// Writes a verdict if it differs from what stands; returns whether it was written, and whether the verdict changed.
pub(super) fn record(
    db: &Db<'_>,
    row: &Row,
    old: Option<&Standing>,
    hop: usize,
    (gathered, j): (&Gathered, &Judgement),
    (now_ms, touched): (i64, bool),
) -> Done<(bool, bool)> {
    let e = &gathered.evidence;
    let mut new = Standing {
        hop: i64::try_from(hop).unwrap_or(i64::MAX),
        width_ms: row.span.width_ms,
        verdict: j.verdict.as_str().to_owned(),
        missing: j.missing_min,
        surplus: j.surplus_min,
        delayed: j.delayed,
        caveats: serde_json::to_string(&e.caveats).map_err(Fault::stored("caveats"))?,
        why: j.why.clone(),
        settled_ms: old.and_then(|o| o.settled_ms),
        settled: old.and_then(|o| o.settled.clone()),
        passed_ms: gathered.passed_ms,
        amendments: old.map_or(0, |o| o.amendments),
    };
    if e.progress == Progress::Settled && j.verdict != Verdict::NoReport {
        debug_assert!(!j.verdict.is_pending() && e.in_flight == 0, "I6");
        let settled = (new.verdict.clone(), new.missing, new.surplus);
        if let Some(before) = new.settled.replace(settled.clone())
            && before != settled
        {
            new.amendments += 1;
            let cause = if touched { "a late record" } else { "new evidence" };
            amend(db, row, &before, &settled, now_ms, &format!("{cause}: {}", j.why))?;
        }
        new.settled_ms = new.settled_ms.or(Some(now_ms));
    }
    if old == Some(&new) {
        return Ok((false, false));
    }
    if row.span.width_ms > chaperone_audit::Width::TEN_SECONDS.ms() {
        // Finer verdicts of the same time, from before one of the stages was counted at this width.
        db.conn.prepare_cached(include_str!("sql/hop_window_finer.sql"))?.execute(params![
            row.topic,
            row.span.start_ms,
            row.span.end_ms(),
            row.from,
            row.to,
            row.span.width_ms
        ])?;
    }
    new.save(db, row)?;
    let verdict = |s: &Standing| (s.verdict.clone(), s.missing, s.surplus, s.delayed);
    Ok((true, old.map(verdict) != Some(verdict(&new))))
}

fn amend(
    db: &Db<'_>,
    row: &Row,
    old: &(String, u64, u64),
    new: &(String, u64, u64),
    now_ms: i64,
    cause: &str,
) -> Done<()> {
    db.conn.prepare_cached(include_str!("sql/amendment_insert.sql"))?.execute(params![
        row.topic,
        row.span.start_ms,
        row.from,
        row.to,
        now_ms,
        old.0,
        new.0,
        int(old.1),
        int(new.1),
        int(old.2),
        int(new.2),
        cause,
    ])?;
    Ok(())
}
