//! What auditors ask beyond windows. No statement here can write.
//!
//! A range in sums is read slice by slice from the widest level that does not reach beyond it, so that it costs the same for a
//! day of a year ago, whose windows are dropped, and no verdict counts twice. Limits: [`ROWS`] rows an answer, and a slice.

use std::collections::BTreeMap;

use chaperone_audit::{Histogram, RuleId};
use uuid::Uuid;

use super::bins;
use super::levels::{Levels, WINDOWS_MS};
use super::reader;
use crate::account::{
    AMENDED_MAX, Account, Amended, AuditLost, Book, Books, HopStand, HopSum, Oddity, PARTS, Silenced, StageRule,
    StageSum, Unaudited, Unbelieved,
};
use crate::db::{AsValue, Done, Row, Tx, count, params};
use crate::query::{BinQuery, WindowQuery};
use crate::retention::{BINS_MS, LEVELS_MS};

/// Rows an answer.
const ROWS: u32 = 10_000;
/// Slices that one range is read in: a day by the minute.
const SLICES_MAX: i64 = 1_440;

/// How far each hop is settled, by topic and hop.
pub(super) fn hops(tx: &dyn Tx) -> Done<Vec<HopStand>> {
    tx.query(include_str!("sql/hop_stands.sql"), params![ROWS], |r| {
        let (topic, from_stage, to_stage) = (r.get(0)?, r.get(1)?, r.get(2)?);
        Ok(HopStand { topic, from_stage, to_stage, complete_through_ms: r.get(3)? })
    })
}

/// By which rules stages have counted, by topic and stage.
pub(super) fn rules(tx: &dyn Tx) -> Done<Vec<StageRule>> {
    let sql = "SELECT t.text, s.text, r.rule, r.first_ms, r.last_ms
               FROM stage_rule r JOIN name t ON t.id = r.topic JOIN name s ON s.id = r.stage
               ORDER BY t.text, s.text, r.first_ms, r.rule LIMIT ?1";
    tx.query(sql, params![ROWS], |r| {
        let rule = RuleId(r.get::<i64>(2)?.cast_unsigned());
        Ok(StageRule { topic: r.get(0)?, stage: r.get(1)?, rule, first_ms: r.get(3)?, last_ms: r.get(4)? })
    })
}

/// What is not believed; of each the newest.
pub(super) fn unbelieved(tx: &dyn Tx, limit: u32) -> Done<Unbelieved> {
    let limit = limit.min(ROWS);
    let lost = "SELECT cluster, topic, partition, from_offset, to_offset, from_ms, to_ms, at_ms, cause
                FROM audit_lost ORDER BY id DESC LIMIT ?1";
    let audit_lost = tx.query(lost, params![limit], |r| {
        Ok(AuditLost {
            cluster: r.get(0)?,
            topic: r.get(1)?,
            partition: r.get(2)?,
            from_offset: r.get(3)?,
            to_offset: r.get(4)?,
            from_ms: r.get(5)?,
            to_ms: r.get(6)?,
            at_ms: r.get(7)?,
            cause: r.get(8)?,
        })
    })?;
    let oddities = "SELECT at_ms, kind, incarnation, text FROM event ORDER BY id DESC LIMIT ?1";
    let oddities = tx.query(oddities, params![limit], |r| {
        let incarnation = r.get::<Option<[u8; 16]>>(2)?.map(Uuid::from_bytes);
        Ok(Oddity { at_ms: r.get(0)?, kind: r.get(1)?, incarnation, text: r.get(3)? })
    })?;
    let kept = "SELECT (SELECT count(*) FROM quarantine), (SELECT count(*) FROM audit_lost),
                       (SELECT count(*) FROM unaudited), (SELECT count(*) FROM event)";
    let kept =
        tx.one(kept, params![], |r| Ok([count(r.get(0)?), count(r.get(1)?), count(r.get(2)?), count(r.get(3)?)]))?;
    let unaudited = tx.query(include_str!("sql/unaudited_newest.sql"), params![limit], unaudited)?;
    Ok(Unbelieved { quarantined: reader::quarantined(tx, limit)?, audit_lost, unaudited, oddities, kept })
}

fn unaudited(r: &Row<'_>) -> Done<Unaudited> {
    Ok(Unaudited {
        stage: r.get(0)?,
        topic: r.get(1)?,
        partition: r.get(2)?,
        from_offset: r.get(3)?,
        to_offset: r.get(4)?,
        from_event_ms: r.get(5)?,
        to_event_ms: r.get(6)?,
        at_ms: r.get(7)?,
        cause: r.get(8)?,
    })
}

/// A range in sums. Who was last heard in it and before `heard_before_ms` is silent.
pub(super) fn account(tx: &dyn Tx, q: &WindowQuery, heard_before_ms: i64) -> Done<Account> {
    let range = params![q.from_ms, q.to_ms];
    let lost = "SELECT count(*) FROM audit_lost WHERE to_ms > ?1 AND coalesce(from_ms, at_ms) < ?2";
    let unaudited = "SELECT count(*) FROM unaudited
                     WHERE coalesce(to_event_ms, at_ms) >= ?1 AND coalesce(from_event_ms, at_ms) < ?2";
    let mut truncated = false;
    Ok(Account {
        hops: hop_sums(tx, q, &mut truncated)?,
        stages: stage_sums(tx, q, &mut truncated)?,
        gone: Levels::now(tx)?.is_dropped(0, q.from_ms, slices(q).0),
        truncated,
        amended: amended(tx, q)?,
        silent: silent(tx, q, heard_before_ms)?,
        audit_lost: tx.one(lost, range, |r| Ok(count(r.get(0)?)))?,
        unaudited: tx.one(unaudited, range, |r| Ok(count(r.get(0)?)))?,
    })
}

/// Slices that a range is read in: as wide as they may be without reaching beyond it.
fn slices(q: &WindowQuery) -> (i64, impl Iterator<Item = BinQuery>) {
    let fits = |width: &i64| q.from_ms.rem_euclid(*width) == 0 && q.to_ms.rem_euclid(*width) == 0;
    let width_ms = LEVELS_MS.into_iter().rev().find(fits).unwrap_or(BINS_MS[0]);
    let count = (q.to_ms.saturating_sub(q.from_ms).max(0) / width_ms).min(SLICES_MAX);
    let from_ms = q.from_ms;
    let slice = move |i: i64| {
        let from_ms = from_ms.saturating_add(i.saturating_mul(width_ms));
        let range = WindowQuery { from_ms, to_ms: from_ms.saturating_add(width_ms), ..WindowQuery::default() };
        BinQuery { range, width_ms: Some(width_ms), at_most: None }
    };
    (width_ms, (0..count).map(slice))
}

/// Sums of hops, by topic and place in the pipeline.
fn hop_sums(tx: &dyn Tx, q: &WindowQuery, truncated: &mut bool) -> Done<Vec<HopSum>> {
    let part_ms = (q.to_ms.saturating_sub(q.from_ms) / PARTS).max(1);
    let mut sums: BTreeMap<(String, String, String), (i64, HopSum)> = BTreeMap::new();
    for slice in slices(q).1 {
        let bins = bins::hops(tx, &slice)?;
        *truncated |= bins.rows.len() >= ROWS as usize;
        for bin in bins.rows {
            let part = bin.window_ms.saturating_sub(q.from_ms) / part_ms;
            let (hop, sum) = sums.entry((bin.topic, bin.from_stage, bin.to_stage)).or_default();
            *hop = bin.hop.max(*hop);
            for (verdict, n) in bin.verdicts {
                *sum.verdicts.entry(verdict).or_default() += n;
            }
            let worst = sum.parts.entry(part).or_insert(bin.worst);
            if bin.worst.severity() > worst.severity() {
                *worst = bin.worst;
            }
            sum.missing_min = sum.missing_min.saturating_add(bin.missing_min);
            sum.surplus_min = sum.surplus_min.saturating_add(bin.surplus_min);
            sum.delayed = sum.delayed.saturating_add(bin.delayed);
            sum.amendments = sum.amendments.saturating_add(bin.amendments);
        }
    }
    limited(tx, q, &mut sums)?;
    let named = sums
        .into_iter()
        .map(|((topic, from_stage, to_stage), (hop, sum))| (hop, HopSum { topic, from_stage, to_stage, ..sum }));
    let mut all: Vec<(i64, HopSum)> = named.collect();
    all.sort_by(|(a, x), (b, y)| (&x.topic, a).cmp(&(&y.topic, b)));
    Ok(all.into_iter().map(|(_, sum)| sum).collect())
}

/// How many countable verdicts have a caveat; those whose window is dropped may have had one.
fn limited(tx: &dyn Tx, q: &WindowQuery, sums: &mut BTreeMap<(String, String, String), (i64, HopSum)>) -> Done<()> {
    for (_, sum) in sums.values_mut() {
        sum.limited = sum.countable();
    }
    tx.each(include_str!("sql/account_limited.sql"), params![q.from_ms, q.to_ms], &mut |r| {
        if let Some((_, sum)) = sums.get_mut(&(r.get(0)?, r.get(1)?, r.get(2)?)) {
            sum.limited = sum.limited.saturating_sub(count(r.get(3)?));
        }
        Ok(true)
    })
}

/// Sums of stages, by topic and stage.
fn stage_sums(tx: &dyn Tx, q: &WindowQuery, truncated: &mut bool) -> Done<Vec<StageSum>> {
    let fresh = |topic: &str, stage: &str| StageSum {
        topic: topic.to_owned(),
        stage: stage.to_owned(),
        n: 0,
        untimed: 0,
        bytes: 0,
        delay: Histogram::new(),
    };
    let mut sums: BTreeMap<(String, String), StageSum> = BTreeMap::new();
    let (width_ms, all) = slices(q);
    for slice in all {
        let bins = bins::stages(tx, &slice)?;
        *truncated |= bins.rows.len() >= ROWS as usize;
        for bin in bins.rows {
            let (topic, stage) = (bin.topic, bin.stage);
            let sum = sums.entry((topic.clone(), stage.clone())).or_insert_with(|| fresh(&topic, &stage));
            sum.n = sum.n.saturating_add(bin.n);
            sum.bytes = sum.bytes.saturating_add(bin.bytes);
            sum.delay.add(&bin.hist);
        }
    }
    let read = &mut |r: &Row<'_>| {
        let (topic, stage): (String, String) = (r.get(0)?, r.get(1)?);
        let sum = sums.entry((topic.clone(), stage.clone())).or_insert_with(|| fresh(&topic, &stage));
        sum.untimed = sum.untimed.saturating_add(count(r.get(2)?));
        Ok(true)
    };
    if Levels::now(tx)?.is_dropped(0, q.from_ms, WINDOWS_MS) {
        let of = params![q.from_ms, q.to_ms, width_ms];
        tx.each(include_str!("sql/account_untimed_level.sql"), of, read)?;
    } else {
        tx.each(include_str!("sql/account_untimed.sql"), params![q.from_ms, q.to_ms], read)?;
    }
    Ok(sums.into_values().collect())
}

fn amended(tx: &dyn Tx, q: &WindowQuery) -> Done<Vec<Amended>> {
    tx.query(include_str!("sql/account_amended.sql"), params![q.from_ms, q.to_ms, AMENDED_MAX], |r| {
        Ok(Amended {
            topic: r.get(0)?,
            from_stage: r.get(1)?,
            to_stage: r.get(2)?,
            window_ms: r.get(3)?,
            at_ms: r.get(4)?,
            old_verdict: r.get(5)?,
            new_verdict: r.get(6)?,
            missing: (count(r.get(7)?), count(r.get(8)?)),
            cause: r.get(9)?,
        })
    })
}

fn silent(tx: &dyn Tx, q: &WindowQuery, heard_before_ms: i64) -> Done<Vec<Silenced>> {
    let sql = "SELECT s.text, r.application, r.host, r.last_append_ms FROM reporter r JOIN name s ON s.id = r.stage
               WHERE r.ended IS NULL AND r.last_append_ms >= ?1 AND r.last_append_ms < ?2
               ORDER BY s.text, r.application, r.host, r.last_append_ms, r.id LIMIT ?3";
    tx.query(sql, params![q.from_ms, q.to_ms.min(heard_before_ms), ROWS], |r| {
        Ok(Silenced { stage: r.get(0)?, application: r.get(1)?, host: r.get(2)?, last_ms: r.get(3)? })
    })
}

/// The auditor's own books.
pub(super) fn books(tx: &dyn Tx) -> Done<Books> {
    let sql =
        "SELECT cluster, topic, partition, log, closed, next, applied_through_ms, read, applied, noop, fenced, hole,
                      quarantined
               FROM audit_partition ORDER BY cluster, topic, partition LIMIT ?1";
    let partitions = tx.query(sql, params![ROWS], |r| {
        Ok(Book {
            cluster: r.get(0)?,
            topic: r.get(1)?,
            partition: r.get(2)?,
            log: r.get(3)?,
            closed: r.get(4)?,
            next: r.get(5)?,
            applied_through_ms: r.get(6)?,
            read: count(r.get(7)?),
            applied: count(r.get(8)?),
            noop: count(r.get(9)?),
            fenced: count(r.get(10)?),
            hole: count(r.get(11)?),
            quarantined: count(r.get(12)?),
        })
    })?;
    let full = "SELECT DISTINCT s.text FROM stage_flag f JOIN name s ON s.id = f.stage
                WHERE f.kind = 'overflow' ORDER BY s.text";
    let odd = tx.query("SELECT kind, count(*) FROM event GROUP BY kind ORDER BY kind", params![], |r| {
        Ok((r.get(0)?, count(r.get(1)?)))
    })?;
    Ok(Books {
        partitions,
        store_bytes: tx.one(include_str!("sql/store_bytes.sql"), params![], |r| Ok(count(r.get(0)?)))?,
        overflowed: tx.query(full, params![], |r| r.get(0))?,
        oddities: odd.into_iter().collect(),
    })
}
