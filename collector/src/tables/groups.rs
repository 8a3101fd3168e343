//! Which stages make up a group, as the pipelines in effect say: whoever applies records knows no pipeline, and must find the hops
//! of a stage's groups.
//!
//! Invariant: `stage_group` has a row for each member of each group of the pipelines of the last judgement, and no other.

use std::collections::BTreeSet;

use crate::db::{AsValue, Db, Done, Tx, params};
use crate::pipeline::Pipelines;

/// Pipeline, group, member.
type Member = (String, String, String);

/// Writes what is new.
pub(super) fn take(db: &mut Db<'_>, pipelines: &Pipelines) -> Done<()> {
    let member = |p: &str, group: &str, stage: &str| (p.to_owned(), group.to_owned(), stage.to_owned());
    let mut wanted: BTreeSet<Member> = BTreeSet::new();
    for p in &pipelines.list {
        for group in p.stages.iter().filter(|stage| stage.is_group()) {
            wanted.extend(group.members.iter().map(|stage| member(&p.name, &group.name, stage)));
        }
    }
    let known: BTreeSet<Member> = db
        .tx
        .query("SELECT pipeline, of_group, stage FROM v_stage_group", params![], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })?
        .into_iter()
        .collect();
    if known == wanted {
        return Ok(());
    }
    db.intern(wanted.iter().flat_map(|(_, group, stage)| [group.as_str(), stage.as_str()]))?;
    for (pipeline, group, stage) in known.difference(&wanted) {
        let (group, stage) = (db.name(group)?, db.name(stage)?);
        let sql = "DELETE FROM stage_group WHERE stage = ?1 AND of_group = ?2 AND pipeline = ?3";
        db.tx.execute(sql, params![stage, group, pipeline])?;
    }
    for (pipeline, group, stage) in wanted.difference(&known) {
        let (group, stage) = (db.name(group)?, db.name(stage)?);
        db.tx.execute(include_str!("sql/stage_group_insert.sql"), params![stage, group, pipeline])?;
    }
    db.bump();
    Ok(())
}

/// The stage, and the groups that it is a member of.
pub(super) fn with(tx: &dyn Tx, stage: i64) -> Done<Vec<i64>> {
    let mut all = tx.query(include_str!("sql/groups_of_stage.sql"), params![stage], |r| r.get(0))?;
    all.push(stage);
    Ok(all)
}
