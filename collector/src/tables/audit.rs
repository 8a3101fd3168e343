//! Which log of an audit topic is read and from where, and what of it is lost.
//!
//! Invariants: where a partition stands changes by a batch, or here by compare-and-set; a log's number only grows, and
//! whoever still works on an earlier one, or speaks of a topic that had the name before, changes nothing. What is lost is
//! recorded in the transaction that gives it up.

use uuid::Uuid;

use crate::audit::{AuditFollow, AuditLoss, AuditStand, LossCause};
use crate::batch::AuditPartition;
use crate::db::{AsValue, Db, Done, Fault, Row, Tx, Value, params};

fn stand(r: &Row<'_>) -> Done<AuditStand> {
    Ok(AuditStand {
        partition: r.get(0)?,
        log: r.get(1)?,
        next: r.get(2)?,
        topic_id: r.get::<Option<[u8; 16]>>(3)?.map(Uuid::from_bytes),
        closed: r.get(4)?,
        through_ms: r.get(5)?,
    })
}

/// Where the partitions of an audit topic stand.
pub(super) fn stands(tx: &dyn Tx, cluster: &str, topic: &str) -> Done<Vec<AuditStand>> {
    tx.query(include_str!("sql/audit_stands.sql"), params![cluster, topic], stand)
}

/// The topic with this id and so many partitions is read now.
pub(super) fn follow(db: &mut Db<'_>, f: &AuditFollow) -> Done<Vec<AuditStand>> {
    refuse_former(db, &f.cluster, &f.topic, f.topic_id)?;
    let id = f.topic_id.map(Uuid::into_bytes);
    let of = params![f.cluster, f.topic, f.partitions, id];
    let surplus = db.tx.query(include_str!("sql/audit_surplus.sql"), of, stand)?;
    for old in surplus {
        let source = AuditPartition { cluster: f.cluster.clone(), topic: f.topic.clone(), partition: old.partition };
        let cause = LossCause::Recreated;
        give_up(
            db,
            &old,
            &AuditLoss { source, log: old.log, next: old.next, resumes: 0, cause, topic_id: None, now_ms: f.now_ms },
            true,
        )?;
    }
    let partitions: Vec<i32> = (0..f.partitions).collect();
    let rows: Vec<Value<'_>> =
        partitions.iter().flat_map(|partition| *params![f.cluster, f.topic, partition, id]).collect();
    db.tx.execute_many(include_str!("sql/audit_follow.sql"), 4, &rows)?;
    stands(db.tx, &f.cluster, &f.topic)
}

/// Gives up what lies between where a partition stands and where it can be read.
pub(super) fn lost(db: &mut Db<'_>, loss: &AuditLoss) -> Done<AuditStand> {
    let p = &loss.source;
    refuse_former(db, &p.cluster, &p.topic, loss.topic_id)?;
    let of = params![p.cluster, p.topic, p.partition];
    let found = db.tx.first(include_str!("sql/audit_stand.sql"), of, stand)?;
    let Some(old) = found.filter(|s| (s.log, s.next) == (loss.log, loss.next)) else {
        return Err(moved(p, loss.log));
    };
    give_up(db, &old, loss, false)
}

fn give_up(db: &mut Db<'_>, old: &AuditStand, loss: &AuditLoss, closed: bool) -> Done<AuditStand> {
    let (p, cause) = (&loss.source, loss.cause.as_str());
    let log = old.log.saturating_add(u32::from(loss.cause.begins_a_log()));
    let to = (!loss.cause.begins_a_log()).then_some(loss.resumes);
    let row = params![p.cluster, p.topic, p.partition, log, to, loss.resumes, loss.now_ms, cause];
    db.note(include_str!("sql/audit_lost_insert.sql"), row, "DELETE FROM audit_lost WHERE id <= ?1")?;
    let is = loss.topic_id.map(Uuid::into_bytes);
    let row = params![p.cluster, p.topic, p.partition, log, loss.resumes, is, closed];
    db.tx.execute(include_str!("sql/audit_moved.sql"), row)?;
    if let Some(was) = old.topic_id.filter(|was| loss.cause == LossCause::Recreated && Some(*was) != loss.topic_id) {
        let sql = "INSERT INTO audit_former (cluster, topic, topic_id) VALUES (?1, ?2, ?3)
                   ON CONFLICT (cluster, topic, topic_id) DO NOTHING";
        db.tx.execute(sql, params![p.cluster, p.topic, was.into_bytes()])?;
    }
    let text = format!(
        "kafka.{} {}/{} from offset {} on: {cause}; reading goes on at {} of log {log}",
        p.cluster, p.topic, p.partition, old.next, loss.resumes
    );
    db.event(loss.now_ms, "audit_lost", None, &text)?;
    db.bump();
    let topic_id = loss.topic_id.or(old.topic_id);
    let through_ms = old.through_ms;
    Ok(AuditStand { partition: p.partition, log, next: loss.resumes, topic_id, closed, through_ms })
}

/// Refuses whoever works on a log that is over.
pub(super) fn moved(p: &AuditPartition, log: u32) -> Fault {
    Fault::Moved { topic: p.topic.clone(), partition: p.partition, log }
}

fn refuse_former(db: &Db<'_>, cluster: &str, topic: &str, id: Option<Uuid>) -> Done<()> {
    let sql = "SELECT 1 FROM audit_former WHERE cluster = ?1 AND topic = ?2 AND topic_id = ?3";
    if let Some(id) = id
        && db.tx.exists(sql, params![cluster, topic, id.into_bytes()])?
    {
        return Err(Fault::Former { topic: topic.to_owned() });
    }
    Ok(())
}

/// The first record read behind what was lost bounds when that was appended.
pub(super) fn bound(db: &Db<'_>, p: &AuditPartition, log: u32, (offset, append_ms): (i64, i64)) -> Done<()> {
    let row = params![p.cluster, p.topic, p.partition, log, offset, append_ms];
    db.tx.execute(include_str!("sql/audit_bound.sql"), row)?;
    Ok(())
}

/// Until when records of an audit topic may be lost, ms.
pub(super) fn lost_until(db: &Db<'_>, p: &AuditPartition) -> Done<Option<i64>> {
    let sql = "SELECT max(to_ms) FROM audit_lost WHERE cluster = ?1 AND topic = ?2";
    db.tx.one(sql, params![p.cluster, p.topic], |r| r.get(0))
}
