//! The ACLs of each role, read from docs/OPERATIONS.md: what is documented is what is granted, to the letter.

use anyhow::Context;
use chaperone_tests::Acl;

use crate::scene::{Scene, operations};

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    role: String,
    on: String,
    operation: String,
    resource: String,
    name: String,
}

fn rows() -> anyhow::Result<Vec<Row>> {
    let text = std::fs::read_to_string(operations())?;
    let table = text.split_once("<!-- acls -->").and_then(|(_, rest)| rest.split_once("<!-- /acls -->"));
    let (table, _) = table.context("docs/OPERATIONS.md has no ACL table")?;
    let mut rows = Vec::new();
    for line in table.lines().map(str::trim).filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|c| c.trim().replace('`', "")).collect();
        let [role, on, operation, resource, name, ..] = cells.as_slice() else {
            anyhow::bail!("a row of the ACL table is too short: {line}");
        };
        let [role, on, operation, resource, name] = [role, on, operation, resource, name].map(Clone::clone);
        rows.push(Row { role, on, operation, resource, name });
    }
    anyhow::ensure!(rows.len() >= 10, "the ACL table has only {} rows", rows.len());
    Ok(rows)
}

/// What docs/OPERATIONS.md says that a role needs, as (cluster, ACL) of the scene.
pub(crate) fn of_role(scene: &Scene, role: &str) -> anyhow::Result<Vec<(&'static str, Acl)>> {
    let mut acls = Vec::new();
    for row in rows()?.into_iter().filter(|row| row.role == role) {
        let clusters: &[&'static str] = match (row.on.as_str(), role) {
            ("tapped", _) => &["regional", "agg"],
            ("data", "consumer") => &["agg"],
            ("data" | "audit", _) => &["regional"],
            (other, _) => anyhow::bail!("the ACL table names a cluster '{other}'"),
        };
        let names: Vec<&str> = match row.name.as_str() {
            "<topic>" => vec![&scene.topic],
            "<group>" => vec![&scene.group],
            // The chaperone process reads the relayed topic where there is one; its taps write to the other.
            "<audit>" if role == "chaperone" && scene.audit != scene.collected => vec![&scene.audit, &scene.collected],
            "<audit>" => vec![&scene.audit],
            name => vec![name],
        };
        for cluster in clusters {
            for name in &names {
                let operation = row.operation.to_lowercase();
                acls.push((*cluster, Acl::allow(role, &operation, &row.resource.to_lowercase(), name)));
            }
        }
    }
    anyhow::ensure!(!acls.is_empty(), "the ACL table has no row for {role}");
    Ok(acls)
}
