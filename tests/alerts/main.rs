//! What strangers alert by: the Prometheus rules, the Grafana dashboard and alert rules under docs/, run by `promtool`.
//!
//! Every alert fires in its test and is quiet before and beside it; every expression of dashboard and alerts is one that
//! Prometheus parses, and speaks of metrics and labels that `/metrics` has by docs/OPERATIONS.md (which another test holds
//! to the code). The controls: a rule with another bound fails its test, a metric that is not there is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use regex::Regex;
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn read(name: &str) -> anyhow::Result<String> {
    let path = docs().join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What promtool says of files in a directory; an error if it refuses them.
fn promtool(dir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("promtool").args(arguments).current_dir(dir).output().context("cannot start promtool")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "promtool {arguments:?}: {}: {said}", output.status);
    Ok(said)
}

/// A folder with the rules, changed by `change`, and their tests.
fn rules(change: impl Fn(String) -> String) -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("rules.yml"), change(read("prometheus/rules.yml")?))?;
    std::fs::write(dir.path().join("rules_test.yml"), read("prometheus/rules_test.yml")?)?;
    Ok(dir)
}

/// The values of a key in YAML that is written one key a line.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let line = |line: &'a str| line.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ");
    text.lines().filter_map(line).collect()
}

/// Alerts of the rules, with their expression.
fn alerts() -> anyhow::Result<Vec<(String, String)>> {
    let text = read("prometheus/rules.yml")?;
    let (names, expressions) = (values(&text, "alert"), values(&text, "expr"));
    ensure!(names.len() == expressions.len() && names.len() > 10, "{names:?}");
    Ok(names.into_iter().zip(expressions).map(|(name, e)| (name.to_owned(), e.to_owned())).collect())
}

/// The dashboard's panels: title, expressions.
fn panels() -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboard.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let expressions = |panel: &Value| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.filter_map(|t| t["expr"].as_str().map(str::to_owned)).collect()
    };
    Ok(panels.iter().map(|p| (p["title"].as_str().unwrap_or_default().to_owned(), expressions(p))).collect())
}

/// Metrics by docs/OPERATIONS.md, with their labels.
fn documented() -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let text = read("OPERATIONS.md")?;
    let table = text.split_once("<!-- metrics -->").and_then(|(_, rest)| rest.split_once("<!-- /metrics -->"));
    let mut all = BTreeMap::new();
    for line in table.context("no table of metrics")?.0.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let labels: BTreeSet<String> = cells[3].split(", ").filter(|l| *l != "-").map(str::to_owned).collect();
        all.insert(cells[0].trim_matches('`').to_owned(), labels);
    }
    ensure!(all.len() > 30, "{all:?}");
    Ok(all)
}

/// What is wrong with the metrics and labels of an expression.
fn unknown(expression: &str, known: &BTreeMap<String, BTreeSet<String>>) -> anyhow::Result<Vec<String>> {
    let selector = Regex::new(r"\b(chaperone_\w+)(?:\{([^}]*)\})?")?;
    let label = Regex::new(r"(\w+)\s*(?:=~|!~|!=|=)")?;
    let mut wrong = Vec::new();
    for found in selector.captures_iter(expression) {
        let name = found[1].trim_end_matches("_bucket");
        let Some(labels) = known.get(name) else {
            wrong.push(format!("no metric {name}"));
            continue;
        };
        let matchers = found.get(2).map_or("", |m| m.as_str());
        let named = label.captures_iter(matchers).map(|c| c[1].to_owned());
        wrong.extend(named.filter(|l| !labels.contains(l)).map(|l| format!("{name} has no label {l}")));
    }
    let all: BTreeSet<&String> = known.values().flatten().collect();
    let by = Regex::new(r"\bby \(([^)]*)\)")?;
    for found in by.captures_iter(expression) {
        let labels = found[1].split(',').map(str::trim).filter(|l| !["le", "instance"].contains(l));
        wrong.extend(labels.filter(|l| !all.contains(&(*l).to_owned())).map(|l| format!("nothing has the label {l}")));
    }
    Ok(wrong)
}

#[test]
fn every_alert_fires_in_its_test_and_a_rule_with_another_bound_fails_it() -> anyhow::Result<()> {
    let dir = rules(|text| text)?;
    promtool(dir.path(), &["check", "rules", "rules.yml"])?;
    promtool(dir.path(), &["test", "rules", "rules_test.yml"])?;
    let tests = read("prometheus/rules_test.yml")?;
    // The control.
    let expression = Regex::new("(?m)^        expr: .*$")?;
    let never = rules(|text| expression.replace_all(&text, "        expr: vector(1) > 2").into_owned())?;
    let said =
        promtool(never.path(), &["test", "rules", "rules_test.yml"]).err().context("rules that never fire pass")?;
    for (alert, _) in alerts()? {
        ensure!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels")), "{alert}");
        ensure!(said.to_string().contains(&format!("alertname: {alert},")), "{alert} passes when it never fires");
    }
    Ok(())
}

#[test]
fn every_query_of_dashboard_and_alerts_is_one_and_speaks_of_metrics_that_there_are() -> anyhow::Result<()> {
    let known = documented()?;
    let mut all: Vec<(String, String)> = alerts()?;
    for (title, expressions) in panels()? {
        all.extend(expressions.into_iter().map(|e| (title.clone(), e)));
    }
    let mut rules = String::from("groups:\n  - name: queries\n    rules:\n");
    for (i, (name, expression)) in all.iter().enumerate() {
        let wrong = unknown(expression, &known)?;
        ensure!(wrong.is_empty(), "{name}: {wrong:?}");
        writeln!(rules, "      - record: query_{i}\n        expr: '{}'", expression.replace('\'', "''"))?;
    }
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("queries.yml"), rules)?;
    let said = promtool(dir.path(), &["check", "rules", "queries.yml"])?;
    ensure!(said.contains(&format!("{} rules found", all.len())), "{said}");
    // The controls.
    for wrong in ["chaperone_hop_message > 0", "chaperone_ready{topic=\"t\"}", "sum by (tpoic) (chaperone_ready)"] {
        ensure!(!unknown(wrong, &known)?.is_empty(), "{wrong}");
    }
    Ok(())
}

#[test]
fn grafanas_alerts_are_prometheus_rules_and_its_sql_is_one_text_for_every_database() -> anyhow::Result<()> {
    let text = read("grafana/alerts.yml")?;
    let titles = values(&text, "title");
    let alerts = alerts()?;
    ensure!(titles == alerts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), "{titles:?}");
    for (alert, expression) in &alerts {
        ensure!(text.contains(&format!("expr: '{expression}' }}")), "{alert} is another in grafana/alerts.yml");
    }
    let (here, there) = (values(&text, "for"), values(&read("prometheus/rules.yml")?, "for").len());
    ensure!(here.iter().filter(|hold| **hold != "0s").count() == there, "{here:?}");
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboard.json")?)?;
    let mut sql = 0;
    for target in dashboard["panels"].as_array().into_iter().flatten().filter_map(|p| p["targets"].as_array()).flatten()
    {
        let texts = ["rawSql", "queryText", "rawQueryText"].map(|key| target[key].as_str());
        ensure!(texts.iter().all(|text| *text == texts[0]), "{target}");
        sql += usize::from(texts[0].is_some());
        ensure!(texts[0].is_some() != target["expr"].is_string(), "{target}");
    }
    ensure!(sql >= 2, "{sql} panels with SQL");
    Ok(())
}
