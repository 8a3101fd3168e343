//! docs/SQL.md is the interface for strangers: columns, their order, types and units are those of the database, and every
//! query in it and in docs/grafana runs.

use std::collections::BTreeSet;
use std::path::Path;

use chaperone_collector::lag::{GroupLag, LagRound, Round, State, Trend};
use chaperone_collector::query::{ProcessState, WindowQuery};
use chaperone_collector::{Expected, Pipeline, SqliteStore, Stage, StageKind, Store, TopicPattern};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::readers::filled;
use crate::sim::START;

const TEXT: &str = include_str!("../../../docs/SQL.md");
/// These may never be gone.
const KEPT: [&str; 13] = [
    "v_hop_window",
    "v_hop_bin",
    "v_topic",
    "v_stage_window",
    "v_stage_bin",
    "v_reporter",
    "v_lag",
    "v_amendment",
    "v_unaudited",
    "v_audit_lost",
    "v_expected",
    "v_stage_group",
    "v_process",
];

/// A documented column: name, type, whether it may be NULL, unit.
#[derive(Debug, PartialEq)]
struct Column {
    name: &'static str,
    kind: &'static str,
    null: bool,
    unit: &'static str,
}

/// The views of the document, in its order.
fn documented() -> Vec<(&'static str, Vec<Column>)> {
    let mut views = vec![];
    for part in TEXT.split("<!-- view ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("a name");
        let table = rest.split_once("<!-- /view -->").expect("an end").0;
        let column = |line: &'static str| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let (kind, null) =
                cells[1].split_once(", ").map_or((cells[1], false), |(kind, null)| (kind, null == "NULL"));
            Column { name: cells[0].trim_matches('`'), kind, null, unit: cells[2] }
        };
        views.push((name, table.lines().filter(|l| l.starts_with("| `")).map(column).collect()));
    }
    views
}

fn lag() -> LagRound {
    let row = GroupLag {
        cluster: "main".into(),
        group: "billing".into(),
        topic: "orders".into(),
        partition: Some(0),
        at_ms: START,
        state: State::Behind,
        committed: Some(7),
        end: Some(9),
        log_start: None,
        messages: Some(2),
        lag_ms: Some(90_000),
        error_ms: Some(10),
        at_least: false,
        trend: Trend::Falling,
        lag_trend: Trend::Growing,
        produced_per_s: Some(1.5),
        consumed_per_s: None,
        catch_up_ms: Some(5),
        retention_left_ms: Some(0),
        eaten: 0,
        held: false,
    };
    let about = Round { cluster: "main".into(), at_ms: START, every_ms: 5_000, groups: 1, left_out: 0 };
    LagRound { about, rows: vec![row], index: vec![] }
}

/// A store that has something in every view that can be filled by hand.
async fn store(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).expect("open");
    let mut pipelines = filled(&store).await;
    pipelines.list[0].owner = Some("orders on call".into());
    pipelines.list[0].expected = vec![Expected { stage: "consumer".into(), application: "app".into(), at_least: 2 }];
    let group = Stage::group("both", StageKind::Client, ["one", "two"].map(str::to_owned));
    let stages = vec![group, Stage::new("consumer", StageKind::Client)];
    pipelines.list.push(Pipeline::new("grouped", vec![TopicPattern::Name("others".into())], stages));
    store.judge(START + 61_000, &pipelines).await.expect("judge");
    store.note_lag(lag()).await.expect("lag");
    let process = ProcessState {
        id: crate::sim::uuid(5),
        role: "run".into(),
        clusters: "main".into(),
        reads: "main/audit".into(),
        host: "h".into(),
        pid: 1,
        version: "0".into(),
        started_ms: START,
        beat_ms: START,
        problems: vec![],
    };
    store.beat(process).await.expect("beat");
    store
}

fn reader(path: &Path) -> Connection {
    Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).expect("others read while it runs")
}

#[tokio::test]
async fn every_view_is_as_it_is_documented() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let _store = store(&path).await;
    let conn = reader(&path);
    let mut listed = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'view'").expect("views");
    let listed: BTreeSet<String> =
        listed.query_map([], |r| r.get(0)).expect("views").collect::<Result<_, _>>().expect("names");
    let documented = documented();
    let names: BTreeSet<String> = documented.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, names);
    assert_eq!(names, KEPT.map(str::to_owned).into());
    let mut filled = 0;
    for (view, columns) in &documented {
        let mut statement = conn.prepare(&format!("SELECT * FROM {view}")).expect(view);
        let found: Vec<String> = statement.column_names().map(str::to_owned).collect();
        assert_eq!(found, columns.iter().map(|c| c.name).collect::<Vec<_>>(), "{view}: columns and their order");
        for c in columns {
            let unit = match c.name.rsplit_once('_').map(|(_, end)| end) {
                Some("ms") => Some("ms"),
                Some("start" | "at") if c.name != "log_start" => Some("s"),
                Some("s") if !c.name.ends_with("per_s") => Some("s"),
                _ => None,
            };
            assert!(unit.is_none_or(|unit| c.unit == unit), "{view}: {c:?}");
        }
        let mut rows = statement.query([]).expect(view);
        while let Some(row) = rows.next().expect(view) {
            filled += 1;
            for (i, c) in columns.iter().enumerate() {
                let kind = match row.get::<_, Value>(i).expect(view) {
                    Value::Null if c.null => continue,
                    Value::Null => "NULL",
                    Value::Integer(_) => "integer",
                    Value::Real(_) => "real",
                    Value::Text(_) => "text",
                    Value::Blob(_) => "blob",
                };
                assert_eq!(kind, c.kind, "{view}: {c:?}");
            }
        }
    }
    assert!(filled > 50, "{filled}");
}

/// What a stranger's rule goes by: pairs of the same time, the stored decision, the owner.
#[tokio::test]
async fn seconds_are_those_of_the_milliseconds_and_what_decides_is_stored() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let store = store(&path).await;
    let conn = reader(&path);
    let count = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).expect(sql);
    assert_eq!(count("SELECT count(*) FROM v_hop_window WHERE window_start * 1000 <> window_ms"), 0);
    assert_eq!(count("SELECT count(*) FROM v_stage_window WHERE last_at <> last_ms / 1000"), 0);
    assert_eq!(count("SELECT count(*) FROM v_reporter WHERE heard_at <> last_append_ms / 1000"), 0);
    assert_eq!(count("SELECT count(*) FROM v_lag WHERE lag_s = 90.0 AND looked_at * 1000 = at_ms"), 1);
    assert_eq!(
        count("SELECT count(*) FROM v_hop_window WHERE settled = (verdict IN ('open', 'settling', 'no_report'))"),
        0
    );
    assert!(count("SELECT count(*) FROM v_hop_window WHERE settled = 1") >= 12);
    assert!(count("SELECT count(*) FROM v_hop_window WHERE settled = 0") >= 3);
    assert_eq!(
        count("SELECT count(DISTINCT topic) FROM v_hop_window WHERE pipeline = 'p' AND owner = 'orders on call'"),
        3
    );
    let stored = "SELECT count(*) FROM pragma_table_xinfo('hop_window') WHERE name IN \
                  ('verdict', 'missing_min', 'surplus_min', 'delayed', 'settled', 'why')";
    assert_eq!(count(stored), 6, "columns, not what a view makes of others");
    let topics = store.topics(WindowQuery { to_ms: i64::MAX, ..WindowQuery::default() }).await.expect("topics");
    assert_eq!(topics.len(), 3);
    for t in topics {
        let sql = format!("SELECT complete_through_ms FROM v_topic WHERE topic = '{}'", t.topic);
        assert_eq!(Some(count(&sql)), t.complete_through_ms, "the same as on the page");
    }
    let expected = store.expected().await.expect("expected");
    assert_eq!(expected.len(), 1);
    let e = &expected[0];
    assert_eq!((e.application.as_str(), e.at_least, e.live, e.state.as_str()), ("app", 2, 1, "few"));
    let trouble = store.trouble(START).await.expect("trouble");
    let missing: Vec<_> = trouble.iter().filter(|t| t.missing_min > 0).map(|t| (t.topic.as_str(), t.windows)).collect();
    assert_eq!(missing, [("payments", 1)]);
}

/// What is expected and who reports: counted, silent is another thing than never heard, and what is expected no more is gone.
#[tokio::test]
async fn the_inventory_tells_few_silent_and_never_apart() {
    let store = crate::sim::memory();
    let mut pipelines = filled(&*store).await;
    let expect =
        |application: &str, at_least| Expected { stage: "consumer".into(), application: application.into(), at_least };
    pipelines.list[0].expected = vec![expect("app", 1), expect("nobody", 1)];
    for (after_s, app) in [(61, "ok"), (200, "silent"), (900, "silent")] {
        store.judge(START + after_s * 1_000, &pipelines).await.expect("judge");
        let said = store.expected().await.expect("expected");
        let said: Vec<_> =
            said.iter().map(|e| (e.application.as_str(), e.state.as_str(), e.since_ms - START)).collect();
        let since = if app == "ok" { 61_000 } else { 200_000 };
        assert_eq!(said, [("app", app, since), ("nobody", "never", 61_000)]);
    }
    pipelines.list[0].expected.clear();
    store.judge(START + 901_000, &pipelines).await.expect("judge");
    assert_eq!(store.expected().await.expect("expected"), []);
}

/// The views of a schema file by name, each on one line.
fn views(schema: &str) -> Vec<(String, String)> {
    let one = |text: &str| {
        let body = text.split_once(';').expect("an end").0.split_whitespace().collect::<Vec<_>>().join(" ");
        let (name, body) = body.split_once(' ').expect("a name");
        (name.to_owned(), body.to_owned())
    };
    schema.split("CREATE VIEW ").skip(1).map(one).collect()
}

/// PostgreSQL has the same views; only bytes are written as hex by another function.
#[test]
fn both_databases_have_the_same_views() {
    let sqlite = views(include_str!("../../src/sqlite/schema/V1__initial.sql"));
    let postgres = views(include_str!("../../src/postgres/schema/V1__initial.sql"));
    let mut other = 0;
    for ((name, here), (_, there)) in sqlite.iter().zip(&postgres) {
        other += here.matches("lower(hex(").count();
        let there = there.replace("encode(", "lower(hex(").replace(", 'hex')", "))");
        assert_eq!(*here, there, "{name}");
    }
    let names = |views: &[(String, String)]| views.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sqlite), names(&postgres));
    assert!(sqlite.len() == KEPT.len() && other == 11, "{other}");
}

/// The role for PostgreSQL may read the views, all of them, and nothing else.
#[test]
fn the_reader_role_may_read_every_view_and_nothing_else() {
    let script = include_str!("../../../docs/postgresql/reader.sql");
    let granted = script.split("GRANT SELECT ON").nth(1).and_then(|rest| rest.split("TO ").next()).expect("a grant");
    let granted: BTreeSet<&str> = granted.split(',').map(str::trim).collect();
    assert_eq!(granted, KEPT.into());
    assert_eq!(script.matches("GRANT ").count(), 3, "connect, usage, select");
}

/// The SQL of the document, and of every panel.
fn queries() -> Vec<String> {
    let mut all: Vec<String> =
        TEXT.split("```sql\n").skip(1).map(|part| part.split("```").next().expect("an end").to_owned()).collect();
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/grafana/dashboard.json")).expect("JSON");
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.extend(target["rawSql"].as_str().map(str::to_owned));
        }
    }
    all
}

#[tokio::test]
async fn every_query_that_is_documented_runs_and_the_rule_for_loss_finds_it() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let _store = store(&path).await;
    let conn = reader(&path);
    let queries = queries();
    assert!(queries.len() >= 4, "{queries:?}");
    let (from, to) = (START.to_string(), (START + 60_000).to_string());
    let mut found = 0;
    for query in &queries {
        // In a test it is always the hour of the data.
        let sql = query.replace("$__from", &from).replace("$__to", &to);
        let sql = sql.replace("unixepoch()", &(START / 1_000 + 60).to_string());
        let mut statement = conn.prepare(&sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([]).expect(&sql);
        while let Some(row) = rows.next().expect(&sql) {
            if columns.iter().any(|c| c == "missing") && row.get::<_, String>("topic").expect("a topic") == "payments" {
                found += row.get::<_, i64>("missing").expect("a sum");
            }
        }
    }
    assert!(found >= 1, "the lost message of `payments`");
}
