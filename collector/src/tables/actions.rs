//! What people did, in the order in which it was recorded. Rows are only ever added: triggers of the database refuse to
//! change or remove one, whoever asks.

use crate::db::{AsValue, Db, Done, Tx, params};
use crate::query::{Action, NumberedAction};

/// Most rows that a reader gets.
const ROWS: u32 = 10_000;

pub(super) fn note(db: &Db<'_>, a: &Action) -> Done<()> {
    let row = params![a.at_ms, a.who, a.role, a.address, a.action, a.what, a.outcome];
    db.tx.execute(include_str!("sql/action_insert.sql"), row)?;
    Ok(())
}

pub(super) fn before(tx: &dyn Tx, number: i64, limit: u32) -> Done<Vec<NumberedAction>> {
    tx.query(include_str!("sql/actions.sql"), params![number, limit.min(ROWS)], |r| {
        let action = Action {
            at_ms: r.get(1)?,
            who: r.get(2)?,
            role: r.get(3)?,
            address: r.get(4)?,
            action: r.get(5)?,
            what: r.get(6)?,
            outcome: r.get(7)?,
        };
        Ok(NumberedAction { number: r.get(0)?, action })
    })
}
