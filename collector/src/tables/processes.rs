//! The processes that work on this store, as each says itself.
//!
//! A beat is no news for readers of verdicts: it leaves the revision alone. Limits: what fell silent is forgotten after
//! [`FORGET_AFTER_MS`], unless it is the last of its role, and [`KEPT`] rows are read.

use uuid::Uuid;

use crate::db::{AsValue, Db, Done, Fault, Tx, params};
use crate::query::ProcessState;

/// Who was silent for so long is forgotten at somebody else's beat, ms.
const FORGET_AFTER_MS: i64 = 3_600_000;
/// Most processes that a reader gets.
const KEPT: u32 = 1_000;

pub(super) fn beat(db: &Db<'_>, p: &ProcessState) -> Done<()> {
    let problems = serde_json::to_string(&p.problems).map_err(Fault::stored("problems"))?;
    let row = params![
        p.id.as_bytes(),
        p.role,
        p.clusters,
        p.reads,
        p.host,
        p.pid,
        p.version,
        p.started_ms,
        p.beat_ms,
        problems,
    ];
    db.tx.execute(include_str!("sql/process_replace.sql"), row)?;
    let oldest = p.beat_ms.saturating_sub(FORGET_AFTER_MS);
    db.tx.execute(include_str!("sql/process_forget.sql"), params![oldest])?;
    Ok(())
}

pub(super) fn farewell(db: &Db<'_>, id: Uuid) -> Done<()> {
    db.tx.execute(include_str!("sql/process_farewell.sql"), params![id.as_bytes()])?;
    Ok(())
}

pub(super) fn all(tx: &dyn Tx) -> Done<Vec<ProcessState>> {
    tx.query(include_str!("sql/processes.sql"), params![KEPT], |r| {
        Ok(ProcessState {
            id: Uuid::from_bytes(r.get(0)?),
            role: r.get(1)?,
            clusters: r.get(2)?,
            reads: r.get(3)?,
            host: r.get(4)?,
            pid: r.get(5)?,
            version: r.get(6)?,
            started_ms: r.get(7)?,
            beat_ms: r.get(8)?,
            problems: serde_json::from_str(&r.get::<String>(9)?).map_err(Fault::stored("problems"))?,
        })
    })
}
