//! docs/OPERATIONS.md and the schema name the same keys; the ACL table has the form that machines read.

use std::collections::BTreeSet;
use std::path::Path;

use chaperone::config::reload::{EFFECTS, Effect};
use chaperone::config::schema;
use chaperone::metrics::families;
use chaperone::plan::estimate::{
    BYTES_PER_CORE, FINALS, HOP_ROW_BYTES, MESSAGES_ENOUGH, MESSAGES_PER_CORE, ROWS_A_DAY_MAX, STAGE_ROW_BYTES,
};
use chaperone::plan::observe::{SAMPLE_BYTES, SAMPLE_MESSAGES};
use chaperone::tap::{HEARTBEAT, HEARTBEAT_LARGE, MANY_PARTITIONS};
use chaperone_audit::Width;
use chaperone_audit::recorder::{Config, LARGE_EVERY, SMALL, told_width};

fn operations() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    std::fs::read_to_string(path).expect("docs/OPERATIONS.md")
}

/// The cells of a table's row.
fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// Headings that name a table, and the paths of the keys in the tables below them.
fn documented(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut tables, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut table: Option<String> = None;
    for line in text.lines() {
        if line.starts_with('#') {
            let name = line.strip_prefix("### `[").and_then(|l| l.strip_suffix("]`"));
            table = if line == "### Top level" { Some(String::new()) } else { name.map(str::to_owned) };
            tables.extend(name.map(str::to_owned));
        }
        let key = cells(line).first().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')).map(str::to_owned);
        if let (Some(table), Some(key), true) = (&table, key, line.starts_with('|')) {
            assert_eq!(cells(line).len(), 4, "key, unit, default, consequence: {line}");
            assert!(cells(line).iter().all(|cell| !cell.is_empty()), "{line}");
            keys.insert(if table.is_empty() { key } else { format!("{table}.{key}") });
        }
    }
    (tables, keys)
}

#[test]
fn every_key_of_the_schema_is_documented_and_no_other() {
    let (tables, keys) = documented(&operations());
    let of_schema = |table: bool| schema::keys().into_iter().filter(move |k| k.table == table).map(|k| k.path);
    assert_eq!(keys, of_schema(false).collect::<BTreeSet<_>>());
    // These hold one table a name.
    let named = |path: String| {
        if ["kafka", "pipeline", "web.token"].contains(&path.as_str()) { format!("{path}.NAME") } else { path }
    };
    assert_eq!(tables, of_schema(true).map(named).collect::<BTreeSet<_>>());
}

/// Required in the schema is required in the document, and the other way round.
#[test]
fn what_is_required_says_so() {
    let text = operations();
    for key in schema::keys().into_iter().filter(|k| !k.table) {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        let (head, _) = key.path.rsplit_once('.').unwrap_or_default();
        let heading = if head.is_empty() { "### Top level".to_owned() } else { format!("### `[{head}]`") };
        let section = text.split(&format!("{heading}\n")).nth(1).expect("the heading");
        let row = section.lines().find(|l| l.starts_with(&format!("| `{name}` |"))).expect("the row");
        let documented = cells(row).get(2) == Some(&"required");
        assert_eq!(documented, key.description.contains("Required."), "{}", key.path);
    }
}

#[test]
fn the_acl_table_has_the_form_that_machines_read() {
    let text = operations();
    let table =
        text.split_once("<!-- acls -->").and_then(|(_, rest)| rest.split_once("<!-- /acls -->")).expect("markers").0;
    let rows: Vec<Vec<String>> = table
        .lines()
        .filter(|l| l.starts_with('|'))
        .map(|l| cells(l).into_iter().map(|c| c.replace('`', "")).collect())
        .collect();
    assert_eq!(rows.first().map(|r| r.join(" ")), Some("role cluster operation resource name why".to_owned()));
    let found: BTreeSet<String> = rows.iter().skip(2).map(|r| r.get(..5).unwrap_or_default().join("/")).collect();
    let expected = [
        "producer/data/WRITE/topic/<topic>",
        "producer/audit/WRITE/topic/<audit>",
        "proxy/data/WRITE/topic/<topic>",
        "proxy/audit/WRITE/topic/<audit>",
        "consumer/data/READ/topic/<topic>",
        "consumer/data/READ/group/<group>",
        "consumer/audit/WRITE/topic/<audit>",
        "chaperone/tapped/READ/topic/<topic>",
        "chaperone/tapped/READ/group/chaperone-tap",
        "chaperone/tapped/DESCRIBE/group/<group>",
        "chaperone/audit/READ/topic/<audit>",
        "chaperone/audit/WRITE/topic/<audit>",
        "chaperone/audit/CREATE/topic/<audit>",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

/// What takes effect when is known in one table of the code; the document has the same, with its reasons.
#[test]
fn what_takes_effect_when_is_documented_as_it_is() {
    let text = operations();
    let table = text.split_once("<!-- reload -->").and_then(|(_, rest)| rest.split_once("<!-- /reload -->"));
    let rows = table.expect("markers").0.lines().filter(|l| l.starts_with("| `")).map(cells);
    let documented: Vec<(String, &str, &str)> = rows
        .map(|row| {
            let [key, when, why] = row.as_slice() else { panic!("key, takes effect at, why: {row:?}") };
            (key.replace('`', ""), *when, *why)
        })
        .collect();
    assert_eq!(documented.len(), EFFECTS.len());
    for ((key, when, why), (path, effect)) in documented.iter().zip(EFFECTS) {
        let expected = match effect {
            Effect::Reload => "SIGHUP",
            Effect::Restart(_) => "restart",
        };
        assert_eq!((key.as_str(), *when), (*path, expected));
        if let Effect::Restart(reason) = effect {
            assert_eq!(why, reason, "{key}");
        }
    }
}

/// Every family of `/metrics`: name, type, unit, labels and meaning.
#[test]
fn metrics_are_documented_as_they_are() {
    let text = operations();
    let table = text.split_once("<!-- metrics -->").and_then(|(_, rest)| rest.split_once("<!-- /metrics -->"));
    let rows: Vec<Vec<&str>> = table.expect("markers").0.lines().filter(|l| l.starts_with("| `")).map(cells).collect();
    assert_eq!(rows.len(), families::ALL.len());
    for (row, family) in rows.iter().zip(families::ALL) {
        let labels = if family.labels.is_empty() { "-".to_owned() } else { family.labels.join(", ") };
        let name = format!("`{}`", family.name);
        assert_eq!(*row, [&name, family.kind.as_str(), family.unit, &labels, family.help]);
    }
}

/// How many topics a linked process with the default budget tells at most in windows of this width.
fn topics_at(width: Width) -> f64 {
    let budget = Config::new("", "").records_per_second;
    let most = (1..100_000u32).rfind(|n| told_width(Width::default(), u64::from(*n), budget) <= width);
    f64::from(most.expect("some"))
}

/// The constants of the formulae, as the code has them.
#[test]
fn the_constants_of_a_plan_are_documented_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CAPACITY.md");
    let text = std::fs::read_to_string(path).expect("docs/CAPACITY.md");
    let constants = [
        ("messages per core", MESSAGES_PER_CORE),
        ("bytes per core", BYTES_PER_CORE),
        ("bytes of a stage's row", STAGE_ROW_BYTES),
        ("bytes of a hop's row", HOP_ROW_BYTES),
        ("rows a day", ROWS_A_DAY_MAX),
        ("small heartbeat", HEARTBEAT.as_secs_f64()),
        ("large heartbeat", HEARTBEAT_LARGE.as_secs_f64()),
        ("many partitions", f64::from(u32::try_from(MANY_PARTITIONS).expect("few"))),
        ("many slots", f64::from(u32::try_from(SMALL).expect("few"))),
        ("look at many", LARGE_EVERY.as_secs_f64()),
        ("states a second", f64::from(Config::new("", "").records_per_second)),
        ("tellings of a final", FINALS),
        ("topics at 10 s", topics_at(Width::ALL[0])),
        ("topics at 60 s", topics_at(Width::ALL[1])),
        ("enough messages", f64::from(u32::try_from(MESSAGES_ENOUGH).expect("few"))),
        ("sampled messages", f64::from(u32::try_from(SAMPLE_MESSAGES).expect("few"))),
        ("sampled bytes", f64::from(u32::try_from(SAMPLE_BYTES).expect("few"))),
    ];
    for (name, value) in constants {
        let row = text.lines().find(|l| l.starts_with(&format!("| {name} |"))).unwrap_or_else(|| panic!("{name}"));
        let written: Option<f64> = cells(row).get(1).and_then(|cell| cell.replace(',', "").parse().ok());
        assert_eq!(written, Some(value), "{row}");
    }
}

/// The codes of `exit.rs`, each with a row.
#[test]
fn every_exit_code_is_documented() {
    let text = operations();
    let section =
        text.split("## Exit codes\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let found: Vec<u8> = section.lines().filter_map(|l| cells(l).first()?.parse().ok()).collect();
    assert_eq!(found, [0, 1, 64, 69, 70, 73, 77, 78]);
}
