//! The verdict that stands for a hop in a window, and its amendments.
//!
//! Invariants: `settled_ms` is set once, when settling first said so (I6); a later verdict with another word or other
//! bounds is an amendment, measured against the last settled one, however often the window was open again in between.

use std::collections::BTreeMap;

use super::gather::{Gathered, Span};
use super::hop_levels::{Counted, Tallies};
use crate::db::{AsValue, Db, Done, Fault, Tx, Value, count, int, params};
use crate::verdict::{Judgement, Progress, Verdict};

/// Which row of `hop_window`; stages by name, as some may have no number yet.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) topic: i64,
    pub(super) span: Span,
    pub(super) from: String,
    pub(super) to: String,
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
    /// Of the hop between two stages.
    pub(super) fn load(tx: &dyn Tx, topic: i64, start_ms: i64, (from, to): (i64, i64)) -> Done<Option<Self>> {
        let key = params![topic, start_ms, from, to];
        tx.first(include_str!("sql/hop_window_select.sql"), key, |r| {
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
        })
    }
}

impl Standing {
    /// Whether nothing limits it and nothing is too many: what was counted downstream came from upstream.
    pub(super) fn is_sound(&self) -> bool {
        let absent = [Verdict::Ok, Verdict::Missing, Verdict::Delayed, Verdict::Overdue];
        self.caveats == "[]" && absent.iter().any(|verdict| verdict.as_str() == self.verdict)
    }
    /// What counts of it in wider levels.
    fn counted(&self) -> Done<Counted> {
        let bounds = [self.missing, self.surplus, self.delayed, self.amendments.into()];
        Counted::of(self.hop, &self.verdict, bounds)
    }
}

/// A verdict that is to be written.
#[derive(Debug)]
pub(super) struct Entry {
    row: Row,
    /// What stood there: width, and what counts of it in wider levels.
    old: Option<(i64, Counted)>,
    new: Standing,
    amendment: Option<Amendment>,
    /// What is judged differs from what stood there.
    pub(super) changed: bool,
}

/// A settled verdict and what became of it.
#[derive(Debug)]
struct Amendment {
    old: (String, u64, u64),
    new: (String, u64, u64),
    cause: String,
}

/// What is to be written of a verdict; nothing if just that stands there.
pub(super) fn record(
    row: Row,
    old: Option<&Standing>,
    hop: usize,
    (gathered, j): (&Gathered, &Judgement),
    (now_ms, touched): (i64, bool),
) -> Done<Option<Entry>> {
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
    let mut amendment = None;
    if e.progress == Progress::Settled && j.verdict != Verdict::NoReport {
        debug_assert!(!j.verdict.is_pending() && e.in_flight == 0, "I6");
        let settled = (new.verdict.clone(), new.missing, new.surplus);
        if let Some(before) = new.settled.replace(settled.clone())
            && before != settled
        {
            new.amendments += 1;
            let cause = if touched { "a late record" } else { "new evidence" };
            amendment = Some(Amendment { old: before, new: settled, cause: format!("{cause}: {}", j.why) });
        }
        new.settled_ms = new.settled_ms.or(Some(now_ms));
    }
    if old == Some(&new) {
        return Ok(None);
    }
    let verdict = |s: &Standing| (s.verdict.clone(), s.missing, s.surplus, s.delayed);
    let changed = old.map(verdict) != Some(verdict(&new));
    let old = old.map(|o| o.counted().map(|counted| (o.width_ms, counted))).transpose()?;
    Ok(Some(Entry { row, old, new, amendment, changed }))
}

/// Writes verdicts and their amendments.
pub(super) fn write(db: &mut Db<'_>, entries: &[Entry], now_ms: i64) -> Done<()> {
    db.intern(entries.iter().flat_map(|e| [e.row.from.as_str(), e.row.to.as_str()]))?;
    let mut rows: BTreeMap<[i64; 4], &Entry> = BTreeMap::new();
    for e in entries {
        let (from, to) = (db.name(&e.row.from)?, db.name(&e.row.to)?);
        rows.insert([e.row.topic, e.row.span.start_ms, from, to], e);
    }
    let mut tallies = Tallies::default();
    let (mut finer, mut amended, mut values) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.len() * 18));
    for (key, Entry { row, old, new: s, amendment, .. }) in &rows {
        let [topic, start_ms, from, to] = *key;
        if let Some((width_ms, old)) = old {
            tallies.take(*key, *width_ms, old);
        }
        tallies.add(*key, s.width_ms, &s.counted()?);
        if row.span.width_ms > chaperone_audit::Width::TEN_SECONDS.ms() {
            // Finer verdicts of the same time, from before one of the stages was counted at this width.
            finer.extend([topic, start_ms, row.span.end_ms(), from, to, row.span.width_ms].map(Value::Int));
        }
        if let Some(Amendment { old, new, cause }) = amendment {
            amended.extend([topic, start_ms, from, to, now_ms].map(Value::Int));
            amended.extend([old.0.value(), new.0.value()]);
            amended.extend([old.1, new.1, old.2, new.2].map(|bound| Value::Int(int(bound))));
            amended.push(cause.value());
        }
        let (verdict, missing, surplus) = match &s.settled {
            Some((verdict, missing, surplus)) => (verdict.value(), *missing, *surplus),
            None => (Value::Null, 0, 0),
        };
        values.extend(key.iter().map(AsValue::value));
        values.extend(params![s.hop, s.width_ms, s.verdict]);
        values.extend([s.missing, s.surplus, s.delayed].map(|bound| Value::Int(int(bound))));
        values.extend(params![s.caveats, s.why, s.settled_ms]);
        values.extend([verdict, Value::Int(int(missing)), Value::Int(int(surplus))]);
        values.extend(params![s.passed_ms, s.amendments]);
    }
    db.tx.execute_many(include_str!("sql/amendment_insert.sql"), 12, &amended)?;
    tallies.take_finer(db, &finer)?;
    db.tx.execute_many(include_str!("sql/hop_window_finer.sql"), 6, &finer)?;
    tallies.write(db)?;
    db.tx.execute_many(include_str!("sql/hop_window_replace.sql"), 18, &values)?;
    Ok(())
}
