//! What casts doubt on a stage in a span of event time: set when it is seen, read with the evidence.

use crate::db::{AsValue, Db, Done, params};

use super::reopen;
use super::totals::Key;

/// A broker that rewrites times does so for a topic, not for a window: its neighbours are touched as well, ms.
const AROUND_MS: i64 = 3_600_000;

/// A span that is there already grows.
const UPSERT: &str = include_str!("sql/stage_flag_upsert.sql");
/// No topic has this number.
const ANY_TOPIC: i64 = 0;

/// `kind` for the windows of every topic of the stage that touch the key's window, or what follows it until `to_ms`.
pub(super) fn set(db: &Db<'_>, key: &Key, kind: &str, to_ms: i64) -> Done<()> {
    let from_ms = key.window.0;
    if insert(db, key, kind, (from_ms, to_ms))? {
        reopen::span(db, key.stage, from_ms, to_ms)?;
    }
    Ok(())
}

/// Messages whose only time is the broker's: no window of their topic, for a while before and after, can be compared.
pub(super) fn rewritten(db: &Db<'_>, key: &Key) -> Done<()> {
    let hour = key.window.0.div_euclid(AROUND_MS).saturating_mul(AROUND_MS);
    let span = (hour.saturating_sub(AROUND_MS), hour.saturating_add(2 * AROUND_MS));
    if insert(db, key, "rewritten", span)? {
        reopen::topic(db, key.stage, key.topic, span.0)?;
    }
    Ok(())
}

/// Records of a reporter are lost that may have told of messages of any topic that arrived in this span.
pub(super) fn lost(db: &Db<'_>, stage: i64, (from_ms, to_ms): (i64, i64)) -> Done<()> {
    if db.tx.execute(UPSERT, params![stage, "audit_lost", ANY_TOPIC, from_ms, to_ms])? > 0 {
        reopen::span(db, stage, from_ms, to_ms)?;
    }
    Ok(())
}

fn insert(db: &Db<'_>, key: &Key, kind: &str, (from_ms, to_ms): (i64, i64)) -> Done<bool> {
    Ok(db.tx.execute(UPSERT, params![key.stage, kind, key.topic, from_ms, to_ms])? > 0)
}
