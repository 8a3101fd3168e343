//! What readers get. Capped rows, newest first; no statement here can write.

use std::collections::HashMap;

use chaperone_audit::{Histogram, RuleId};
use uuid::Uuid;

use super::life::Life;
use super::manner;
use super::owed::Owed;
use super::reporters::end_of;
use crate::db::{AsValue, Done, Fault, Row, Tx, count, find_name, fingerprint, params};
use crate::query::{
    HopWindow, PartitionState, Quarantined, ReporterState, StageWindow, Status, WindowKey, WindowQuery,
};
use crate::verdict::Verdict;

/// Rows per answer.
pub(super) const ROWS: u32 = 10_000;

/// A query's bounds as parameters; `None` if it names a topic that does not exist.
pub(super) fn bounds(tx: &dyn Tx, q: &WindowQuery) -> Done<Option<(Option<i64>, u32)>> {
    let limit = q.limit.unwrap_or(ROWS).min(ROWS);
    match &q.topic {
        None => Ok(Some((None, limit))),
        Some(topic) => Ok(find_name(tx, topic)?.map(|id| (Some(id), limit))),
    }
}

pub(super) fn verdict_of(word: &str) -> Done<Verdict> {
    Verdict::parse(word).ok_or_else(|| Fault::stored("verdict")(format!("'{word}' is none")))
}

/// Verdicts: by window, newest first, then topic, then hop.
pub(crate) fn windows(tx: &dyn Tx, q: &WindowQuery) -> Done<Vec<HopWindow>> {
    let Some((topic, limit)) = bounds(tx, q)? else { return Ok(Vec::new()) };
    match topic {
        Some(topic) => {
            let of = params![q.from_ms, q.to_ms, limit, topic];
            tx.query(include_str!("sql/windows_of_topic.sql"), of, hop_window)
        }
        None => tx.query(include_str!("sql/windows.sql"), params![q.from_ms, q.to_ms, limit], hop_window),
    }
}

/// Verdicts in an order without ties, from after a row on.
pub(crate) fn windows_page(tx: &dyn Tx, q: &WindowQuery, after: Option<&WindowKey>) -> Done<Vec<HopWindow>> {
    let Some((topic, limit)) = bounds(tx, q)? else { return Ok(Vec::new()) };
    // All of what comes after a row is in its window or in an earlier one.
    let to_ms = after.map_or(q.to_ms, |k| q.to_ms.min(k.window_ms.saturating_add(1)));
    let before_ms = after.map_or(q.to_ms, |k| k.window_ms);
    let names = after.map(|k| [k.topic.clone(), k.from_stage.clone(), k.to_stage.clone()]);
    let [name, from, to] = names.unwrap_or_default();
    if let Some(topic) = topic {
        let of = params![q.from_ms, to_ms, limit, before_ms, name, from, to, topic];
        return tx.query(include_str!("sql/windows_page_of_topic.sql"), of, hop_window);
    }
    let of = params![q.from_ms, to_ms, limit, before_ms, name, from, to];
    tx.query(include_str!("sql/windows_page.sql"), of, hop_window)
}

fn hop_window(r: &Row<'_>) -> Done<HopWindow> {
    Ok(HopWindow {
        topic: r.get(0)?,
        from_stage: r.get(1)?,
        to_stage: r.get(2)?,
        window_ms: r.get(3)?,
        width_ms: r.get(4)?,
        verdict: verdict_of(&r.get::<String>(5)?)?,
        missing_min: count(r.get(6)?),
        surplus_min: count(r.get(7)?),
        delayed: count(r.get(8)?),
        caveats: serde_json::from_str(&r.get::<String>(9)?).map_err(Fault::stored("caveats"))?,
        why: r.get(10)?,
        settled_ms: r.get(11)?,
        amendments: r.get(12)?,
    })
}

/// Totals by stage and window: classes with a time, summed.
pub(crate) fn stage_windows(tx: &dyn Tx, q: &WindowQuery) -> Done<Vec<StageWindow>> {
    let Some((topic, limit)) = bounds(tx, q)? else { return Ok(Vec::new()) };
    let mut found: Vec<StageWindow> = Vec::new();
    let read = &mut |r: &Row<'_>| {
        let one = stage_window(r)?;
        let full = found.len() >= limit as usize;
        match found.last_mut().filter(|last| same_place(last, &one)) {
            Some(last) => add(last, &one),
            None if full => return Ok(false),
            None => found.push(one),
        }
        Ok(true)
    };
    // Two classes become one row.
    let rows = i64::from(limit) * 2;
    match topic {
        Some(topic) => {
            let of = params![q.from_ms, q.to_ms, rows, topic];
            tx.each(include_str!("sql/stage_windows_of_topic.sql"), of, read)?;
        }
        None => tx.each(include_str!("sql/stage_windows.sql"), params![q.from_ms, q.to_ms, rows], read)?,
    }
    Ok(found)
}

fn same_place(a: &StageWindow, b: &StageWindow) -> bool {
    (a.window_ms, a.width_ms, &a.topic, &a.stage) == (b.window_ms, b.width_ms, &b.topic, &b.stage)
}

fn one_rule(least: u64, greatest: u64) -> Option<RuleId> {
    (least == greatest).then_some(RuleId(least))
}

pub(super) fn add(to: &mut StageWindow, w: &StageWindow) {
    to.rule = to.rule.filter(|rule| w.rule == Some(*rule));
    to.n = to.n.saturating_add(w.n);
    to.acked = to.acked.saturating_add(w.acked);
    to.failed = to.failed.saturating_add(w.failed);
    to.bytes = to.bytes.saturating_add(w.bytes);
    to.f_in = to.f_in.plus(w.f_in);
    to.hist.add(&w.hist);
    to.last_ms = to.last_ms.max(w.last_ms);
}

pub(super) fn stage_window(r: &Row<'_>) -> Done<StageWindow> {
    Ok(StageWindow {
        topic: r.get(0)?,
        stage: r.get(1)?,
        window_ms: r.get(2)?,
        width_ms: r.get(3)?,
        n: count(r.get(4)?),
        acked: count(r.get(5)?),
        failed: count(r.get(6)?),
        bytes: count(r.get(7)?),
        f_in: fingerprint(r.get(8)?),
        hist: Histogram::decode(&r.get::<String>(9)?).map_err(Fault::stored("histogram"))?,
        last_ms: r.get::<Option<i64>>(10)?.unwrap_or_default(),
        rule: one_rule(r.get::<i64>(11)?.cast_unsigned(), r.get::<i64>(12)?.cast_unsigned()),
    })
}

/// Reporters and taps: the 10,000 last heard, newest first.
pub(super) fn reporters(tx: &dyn Tx, now_ms: i64, silent: &HashMap<String, i64>) -> Done<Vec<ReporterState>> {
    tx.query(include_str!("sql/reporters.sql"), params![ROWS], |r| {
        let stage: String = r.get(1)?;
        let last_ms: i64 = r.get(6)?;
        let ended = r.get::<Option<String>>(7)?.as_deref().and_then(end_of);
        let silent_after_ms = silent.get(&stage).copied().unwrap_or(super::SILENT_AFTER_MS);
        Ok(ReporterState {
            incarnation: Uuid::from_bytes(r.get(0)?),
            stage,
            host: r.get(2)?,
            application: r.get(3)?,
            library: r.get(4)?,
            state: Life::of(ended, last_ms, now_ms, silent_after_ms).as_str().to_owned(),
            watermark_ms: r.get(5)?,
            last_ms,
            first_ms: r.get(8)?,
            pid: r.get(9)?,
            datacenter: r.get(10)?,
            silent_after_ms,
            skew_ms: r.get(11)?,
            late: count(r.get(12)?),
            no_time: count(r.get(13)?),
            malformed: count(r.get(14)?),
            out_of_range: count(r.get(15)?),
            dropped: stored(r.get(16)?, "dropped")?,
            lacking_since_ms: stored(r.get(17)?, "owed")?.map(Owed::since_ms),
            checkins: manner::checkins(r.get(18)?)?,
        })
    })
}

fn stored<T: serde::de::DeserializeOwned>(text: Option<String>, what: &'static str) -> Done<Option<T>> {
    text.map(|t| serde_json::from_str(&t)).transpose().map_err(Fault::stored(what))
}

/// Where the partitions of a stage stand.
pub(super) fn partitions(tx: &dyn Tx, stage: &str) -> Done<Vec<PartitionState>> {
    tx.query(include_str!("sql/partitions.sql"), params![stage], |r| {
        Ok(PartitionState {
            topic: r.get(0)?,
            partition: r.get(1)?,
            log: r.get(2)?,
            epoch: r.get::<i64>(3)?.cast_unsigned(),
            next: r.get(4)?,
            watermark_ms: r.get(5)?,
        })
    })
}

/// Refused records, newest first.
pub(super) fn quarantined(tx: &dyn Tx, limit: u32) -> Done<Vec<Quarantined>> {
    tx.query(include_str!("sql/quarantined.sql"), params![limit.min(ROWS)], |r| {
        Ok(Quarantined {
            cluster: r.get(0)?,
            topic: r.get(1)?,
            partition: r.get(2)?,
            offset: r.get(3)?,
            received_ms: r.get(4)?,
            length: count(r.get(5)?),
            sha256: r.get(6)?,
            reason: r.get(7)?,
        })
    })
}

/// Health.
pub(crate) fn status(tx: &dyn Tx) -> Done<Status> {
    tx.one(include_str!("sql/status.sql"), params![], |r| {
        Ok(Status {
            revision: count(r.get(0)?),
            read: count(r.get(1)?),
            applied: count(r.get(2)?),
            noop: count(r.get(3)?),
            fenced: count(r.get(4)?),
            hole: count(r.get(5)?),
            quarantined: count(r.get(6)?),
            pending: count(r.get(7)?),
            applied_through_ms: r.get(8)?,
        })
    })
}
