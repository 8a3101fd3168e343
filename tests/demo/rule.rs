//! A stranger's alert rule: the query for loss in docs/SQL.md, word for word, by the program `sqlite3` on the store's file,
//! read only, while the collector writes it. It knows of nothing but `v_hop_window`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::demo::Demo;
use chaperone_tests::eventually;

/// Until every loss has settled.
const DEADLINE: Duration = Duration::from_secs(120);

/// The rule finds exactly these losses: upstream stage, messages.
pub(crate) fn finds(demo: &Demo, losses: &[(&str, u64)]) -> anyhow::Result<()> {
    let rule = rule()?;
    let store = demo.data_dir().join("chaperone.sqlite");
    let mut expected: Vec<(String, u64)> = losses.iter().map(|(from, n)| ((*from).to_owned(), *n)).collect();
    expected.sort();
    eventually(DEADLINE, "the rule finds what was lost", || {
        let said = ask(&store, &rule)?;
        ensure!(said == expected, "expected {expected:?}, it says {said:?}");
        Ok(())
    })?;
    ensure!(ask(&store, "DELETE FROM hop_window").is_err(), "a reader can write");
    Ok(())
}

fn rule() -> anyhow::Result<String> {
    let text = include_str!("../../docs/SQL.md");
    let (_, rest) = text.split_once("Loss in the last hour, by hop:").context("the rule is gone")?;
    let rule = rest.split("```sql").nth(1).and_then(|sql| sql.split("```").next()).context("no SQL")?;
    ensure!(rule.contains("FROM v_hop_window") && !rule.contains("JOIN"), "{rule}");
    Ok(rule.trim().to_owned())
}

/// Upstream stage and messages of each row.
fn ask(store: &Path, sql: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let uri = format!("file:{}?mode=ro", store.display());
    let output =
        Command::new("sqlite3").args(["-batch", "-csv", &uri, sql]).output().context("cannot start sqlite3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().split(',').collect();
        let missing = cells.get(3).and_then(|n| n.parse().ok());
        Some((cells.get(1)?.trim_matches('"').to_owned(), missing?))
    };
    let mut rows = text.lines().map(row).collect::<Option<Vec<_>>>().with_context(|| text.clone())?;
    rows.sort();
    Ok(rows)
}
