//! Windows that must be judged again although none of their counts moved: those of a stage's hops, and of the hops of the groups
//! that it is a member of.
//!
//! Where others write as well, the judge may be at work on a window whose verdict is not there yet: what is in its queue
//! is put there again too, so that it does not keep a verdict from before.

use super::groups;
use crate::db::{AsValue, Db, Done, Value, params};

fn all(db: &Db<'_>, sql: &'static str, params: &[Value<'_>], unsettled: bool) -> Done<()> {
    db.tx.each(sql, params, &mut |r| {
        db.reopen((r.get(0)?, r.get(1)?, r.get(2)?), unsettled);
        Ok(true)
    })
}

/// A stage reports for the first time: what was `no report` for want of it can be judged.
pub(super) fn first_report(db: &Db<'_>, stage: i64) -> Done<()> {
    for stage in groups::with(db.tx, stage)? {
        all(db, include_str!("sql/reopen_no_report.sql"), params![stage], true)?;
    }
    Ok(())
}

/// Doubt about a topic at a stage, for windows that end after `from_ms`.
pub(super) fn topic(db: &Db<'_>, stage: i64, topic: i64, from_ms: i64) -> Done<()> {
    for stage in groups::with(db.tx, stage)? {
        all(db, include_str!("sql/reopen_topic.sql"), params![stage, topic, from_ms], false)?;
    }
    Ok(())
}

/// Doubt about every topic at a stage, for windows that touch `[from_ms, to_ms)`.
pub(super) fn span(db: &Db<'_>, stage: i64, from_ms: i64, to_ms: i64) -> Done<()> {
    for stage in groups::with(db.tx, stage)? {
        all(db, include_str!("sql/reopen_span.sql"), params![stage, from_ms, to_ms], false)?;
    }
    Ok(())
}
