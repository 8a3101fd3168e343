//! Which schemas a build works on: its own, and those of later releases as long as they only add to it.
//!
//! A release brings the schema up to date at its first start, while processes of the release before go on with it: a migration
//! only adds (tables, indexes, columns that may be absent, views with more columns). What nothing uses any more is taken away
//! a release later at the earliest, by a migration that is called *contract* and raises `compatible.least` to the first schema whose
//! builds can do without. Invariant: who does not know `least` refuses the store and changes nothing. A test holds
//! every migration to this ([`rule_of`]).

use super::{Done, Fault, Tx, params};

/// How a store's schema stands to this build's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fits {
    /// It is this build's.
    Same,
    /// It is to be brought up to date.
    Older(i64),
    /// A later release's, which this build can work on.
    Later(i64),
}

/// How the schema of a store that has one stands to ours.
pub(crate) fn fits(tx: &dyn Tx, ours: i64) -> Done<Fits> {
    let newest = "SELECT CAST(max(version) AS BIGINT) FROM refinery_schema_history";
    let found: i64 = tx.one(newest, params![], |r| r.get::<Option<i64>>(0))?.ok_or(Fault::NotMade)?;
    if found == ours {
        return Ok(Fits::Same);
    }
    if found < ours {
        return Ok(Fits::Older(found));
    }
    let least: i64 = tx.one("SELECT least FROM compatible", params![], |r| r.get(0))?;
    if least > ours { Err(Fault::LaterSchema { found, least, ours }) } else { Ok(Fits::Later(found)) }
}

/// For who reads only: a schema that is not up to date has no columns that this build asks for.
pub(crate) fn readable(tx: &dyn Tx, ours: i64) -> Done<()> {
    match fits(tx, ours)? {
        Fits::Same | Fits::Later(_) => Ok(()),
        Fits::Older(found) => Err(Fault::OlderSchema { found, ours }),
    }
}

/// For who writes: whether there are migrations to run.
pub(crate) fn is_due(tx: &dyn Tx, ours: i64) -> Done<bool> {
    let fits = fits(tx, ours)?;
    if let Fits::Later(found) = fits {
        tracing::info!(
            found,
            ours,
            "the store has the schema of a later release, which only adds: this one works on it"
        );
    }
    Ok(!matches!(fits, Fits::Later(_)))
}

/// What is wrong with a migration, by its name (`V2__what_it_does`) and statements; for the first one nothing can be.
#[cfg(test)]
pub(crate) fn rule_of(version: i64, name: &str, sql: &str) -> Result<(), String> {
    if version == 1 {
        return Ok(());
    }
    let text: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let text = text.join(" ");
    let statements = text.split(';').map(|s| s.split_whitespace().collect::<Vec<_>>().join(" "));
    let contracts = name.starts_with("contract_");
    let mut raises = false;
    for statement in statements.filter(|s| !s.is_empty()) {
        let upper = statement.to_uppercase();
        raises |= upper.starts_with("UPDATE COMPATIBLE SET LEAST =");
        let may_be_absent = || !upper.contains(" NOT NULL") || upper.contains(" DEFAULT ");
        let adds = upper.starts_with("CREATE TABLE ")
            || upper.starts_with("CREATE INDEX ")
            || upper.starts_with("CREATE VIEW ")
            || upper.starts_with("CREATE OR REPLACE VIEW ")
            || upper.starts_with("DROP VIEW ") && upper_creates(&text, &upper)
            || upper.starts_with("ALTER TABLE ") && upper.contains(" ADD COLUMN ") && may_be_absent()
            || upper.starts_with("INSERT INTO ");
        if !adds && !contracts {
            return Err(format!("{name}: not an addition: {statement}; name it contract_… and raise compatible.least"));
        }
    }
    match (contracts, raises) {
        (true, false) => Err(format!("{name}: takes away and does not raise compatible.least")),
        (false, true) => Err(format!("{name}: raises compatible.least and takes nothing away")),
        _ => Ok(()),
    }
}

/// Whether the view that is dropped is made again.
#[cfg(test)]
fn upper_creates(text: &str, drop: &str) -> bool {
    let name = drop.split_whitespace().next_back().unwrap_or_default();
    let made = format!("CREATE VIEW {name} AS");
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase().contains(&made)
}

#[cfg(test)]
mod tests {
    use super::rule_of;

    #[test]
    fn a_migration_adds_or_says_that_it_takes_away() {
        let good = [
            ("more", "CREATE TABLE t (a BIGINT NOT NULL); CREATE INDEX i ON t (a);"),
            ("column", "-- why; not this\nALTER TABLE t ADD COLUMN b BIGINT;"),
            ("column", "ALTER TABLE t ADD COLUMN b BIGINT NOT NULL DEFAULT 0;"),
            ("view", "DROP VIEW v; CREATE VIEW v AS SELECT 1 AS a, 2 AS b;"),
            ("contract_t", "DROP TABLE t; UPDATE compatible SET least = 2;"),
        ];
        for (name, sql) in good {
            assert_eq!(rule_of(2, name, sql), Ok(()), "{sql}");
        }
        let bad = [
            ("gone", "DROP TABLE t;"),
            ("column", "ALTER TABLE t ADD COLUMN b BIGINT NOT NULL;"),
            ("column", "ALTER TABLE t DROP COLUMN b;"),
            ("name", "ALTER TABLE t RENAME TO u;"),
            ("view", "DROP VIEW v;"),
            ("values", "UPDATE t SET a = 1;"),
            ("contract_t", "DROP TABLE t;"),
            ("more", "CREATE TABLE t (a BIGINT); UPDATE compatible SET least = 2;"),
        ];
        for (name, sql) in bad {
            assert!(rule_of(2, name, sql).is_err(), "{sql}");
        }
    }
}
