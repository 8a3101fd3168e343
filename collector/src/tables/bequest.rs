//! What only a store knows, for one that is made anew from the audit topic: what people did, and of tapped partitions which topic
//! they are of, when their claims were made, and since when they are audited.
//!
//! Invariant: nothing of it is a count. A partition's row takes only what does not contradict what the topic told.

use uuid::Uuid;

use super::actions;
use crate::db::{AsValue, Db, Done, Tx, params};
use crate::query::Action;
use crate::rebuild::{Bequest, Former, TapIdentity};

pub(super) fn read(tx: &dyn Tx) -> Done<Bequest> {
    let id = |bytes: Option<[u8; 16]>| bytes.map(Uuid::from_bytes);
    let taps = tx.query(include_str!("sql/bequest_taps.sql"), params![], |r| {
        Ok(TapIdentity {
            stage: r.get(0)?,
            topic: r.get(1)?,
            partition: r.get(2)?,
            log: r.get(3)?,
            epoch: r.get::<i64>(4)?.cast_unsigned(),
            claimed_ms: r.get(5)?,
            audited_since_ms: r.get(6)?,
            topic_id: id(r.get(7)?),
        })
    })?;
    let begun =
        tx.query(include_str!("sql/bequest_begun.sql"), params![], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let former = tx.query(include_str!("sql/bequest_former.sql"), params![], |r| {
        let (stage, topic, partition) = (r.get(0)?, r.get(1)?, r.get(2)?);
        Ok(Former { stage, topic, partition, topic_id: Uuid::from_bytes(r.get(3)?), log: r.get(4)? })
    })?;
    let sql = "SELECT at_ms, who, role, address, action, what, outcome FROM operator_action ORDER BY id";
    let actions = tx.query(sql, params![], |r| {
        Ok(Action {
            at_ms: r.get(0)?,
            who: r.get(1)?,
            role: r.get(2)?,
            address: r.get(3)?,
            action: r.get(4)?,
            what: r.get(5)?,
            outcome: r.get(6)?,
        })
    })?;
    Ok(Bequest { taps, begun, former, actions })
}

/// `whole`: the audit topics were, so that the earlier store's word since when a partition is audited holds here too.
pub(super) fn take(db: &mut Db<'_>, b: &Bequest, whole: bool) -> Done<()> {
    for t in &b.taps {
        let (stage, topic) = (db.name(&t.stage)?, db.name(&t.topic)?);
        let (epoch, id) = (t.epoch.cast_signed(), t.topic_id.map(Uuid::into_bytes));
        let since_ms = if whole { t.audited_since_ms } else { i64::MAX };
        let row = params![stage, topic, t.partition, t.log, epoch, t.claimed_ms, since_ms, id];
        db.tx.execute(include_str!("sql/bequest_tap_take.sql"), row)?;
    }
    for (stage, topic, partitions) in &b.begun {
        let (stage, topic) = (db.name(stage)?, db.name(topic)?);
        let sql = "INSERT INTO tap_begun (stage, topic, partitions) VALUES (?1, ?2, ?3)";
        db.tx.execute(sql, params![stage, topic, partitions])?;
    }
    for f in &b.former {
        let (stage, topic, id) = (db.name(&f.stage)?, db.name(&f.topic)?, Some(f.topic_id.into_bytes()));
        db.tx.execute(include_str!("sql/tap_former.sql"), params![stage, topic, f.partition, id, f.log])?;
    }
    b.actions.iter().try_for_each(|action| actions::note(db, action))
}
