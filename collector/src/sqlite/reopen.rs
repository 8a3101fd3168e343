//! Windows that must be judged again although none of their counts moved.

use rusqlite::params;

use super::db::{Db, Done};

/// A stage reports for the first time: what was `no report` for want of it can be judged.
pub(super) fn first_report(db: &Db<'_>, stage: i64) -> Done<()> {
    db.conn.prepare_cached(include_str!("sql/reopen_no_report.sql"))?.execute([stage])?;
    Ok(())
}

/// Doubt about a topic at a stage, for windows that end after `from_ms`.
pub(super) fn topic(db: &Db<'_>, stage: i64, topic: i64, from_ms: i64) -> Done<()> {
    db.conn.prepare_cached(include_str!("sql/reopen_topic.sql"))?.execute(params![stage, topic, from_ms])?;
    Ok(())
}

/// Doubt about every topic at a stage, for windows that touch `[from_ms, to_ms)`.
pub(super) fn span(db: &Db<'_>, stage: i64, from_ms: i64, to_ms: i64) -> Done<()> {
    db.conn.prepare_cached(include_str!("sql/reopen_span.sql"))?.execute(params![stage, from_ms, to_ms])?;
    Ok(())
}

/// A window whose counts moved.
pub(super) fn touch(db: &Db<'_>, topic: i64, window_ms: i64, width_ms: i64) -> Done<()> {
    db.conn.prepare_cached(include_str!("sql/pending_touch.sql"))?.execute(params![topic, window_ms, width_ms])?;
    Ok(())
}
