//! `chaperone store stats | export | vacuum | rebuild` on a store of a few windows: what they print, what they refuse, and that a process
//! that has the store open is not in their way, but for `vacuum`.

use std::path::Path;
use std::process::{Command, Output};

use chaperone_audit::{Clock, SystemClock};
use chaperone_collector::query::ProcessState;
use chaperone_collector::{SqliteStore, Store};
use uuid::Uuid;

fn chaperone(dir: &Path, arguments: &[&str]) -> Output {
    let config = dir.join("chaperone.toml");
    let text =
        format!("data_dir = \"{}\"\n[kafka.k]\nbootstrap_servers = \"127.0.0.1:1\"\n", dir.join("data").display());
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.arg("store").args(arguments).arg("--config").arg(config).env("RUST_LOG", "warn");
    command.output().expect("runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A store with so many windows of totals and verdicts, written as others see them.
fn filled(dir: &Path, windows: i64) -> SqliteStore {
    std::fs::create_dir(dir.join("data")).expect("a directory");
    let path = dir.join("data/chaperone.sqlite");
    let store = SqliteStore::open(&path).expect("opens");
    let conn = rusqlite::Connection::open(&path).expect("opens");
    conn.execute_batch("INSERT INTO name VALUES (1, 'a'), (2, 'b'), (3, 'orders')").expect("names");
    let now_ms = SystemClock.now_ms().div_euclid(10_000) * 10_000;
    for window_ms in (0..windows).map(|i| now_ms - (i + 1) * 10_000) {
        for stage in [1, 2] {
            let sql = "INSERT INTO stage_window VALUES (3, ?1, ?2, 1, 10000, 7, 7, 5, 5, 0, 50, zeroblob(16), zeroblob(16), zeroblob(16), '', NULL, NULL, NULL, NULL)";
            conn.execute(sql, [window_ms, stage]).expect("a total");
        }
        let sql = "INSERT INTO hop_window (topic, window_ms, from_stage, to_stage, hop, width_ms, verdict, missing_min, surplus_min,
                       delayed, caveats, why, settled_missing, settled_surplus, amendments)
                   VALUES (3, ?1, 1, 2, 0, 10000, 'missing', 2, 0, 0, '[]', 'so', 0, 0, 0)";
        conn.execute(sql, [window_ms]).expect("a verdict");
    }
    store
}

#[test]
fn sizes_and_rows_are_told_while_the_store_is_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = filled(dir.path(), 30);
    let stats = chaperone(dir.path(), &["stats", "--json"]);
    assert!(stats.status.success(), "{}", String::from_utf8_lossy(&stats.stderr));
    let told: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("json");
    let table = |name: &str| {
        told["tables"].as_array().expect("tables").iter().find(|t| t["table"] == name).expect("it").clone()
    };
    assert_eq!((&table("stage_window")["rows"], &table("hop_window")["rows"]), (&60.into(), &30.into()));
    assert!(table("stage_window")["bytes"].as_u64() > Some(4_096) && told["bytes_per_window"].as_f64() > Some(50.0));
    assert_eq!(told["widths"][0]["width_ms"], 10_000);
    let text = said(&chaperone(dir.path(), &["stats"]));
    assert!(text.contains("bytes a (topic, stage, window) at rest") && text.contains("10 s"), "{text}");
    for (what, rows) in [("windows", 30), ("stages", 60), ("reporters", 0)] {
        let csv = said(&chaperone(dir.path(), &["export", what]));
        assert_eq!(csv.lines().count(), rows + 1, "{csv}");
        let json = said(&chaperone(dir.path(), &["export", what, "--format", "jsonl", "--topic", "orders"]));
        assert_eq!(json.lines().count(), rows, "{json}");
    }
    let row = said(&chaperone(dir.path(), &["export", "windows", "--format", "jsonl"]));
    let row: serde_json::Value = serde_json::from_str(row.lines().next().expect("a row")).expect("json");
    assert_eq!(
        (&row["missing_min"], &row["verdict"], &row["owner"]),
        (&2.into(), &"missing".into(), &serde_json::Value::Null)
    );
    assert_eq!(said(&chaperone(dir.path(), &["export", "windows", "--topic", "no-such"])).lines().count(), 1);
    let wrong = chaperone(dir.path(), &["export", "windows", "--from", "yesterdayish"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", String::from_utf8_lossy(&wrong.stderr));
    drop(store);
}

#[test]
fn room_is_given_back_only_when_nobody_has_the_store_open() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = filled(dir.path(), 3_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let now_ms = SystemClock.now_ms();
    let process = ProcessState {
        id: Uuid::now_v7(),
        role: "run".into(),
        clusters: "k".into(),
        reads: String::new(),
        host: "h".into(),
        pid: 4711,
        version: "0".into(),
        started_ms: now_ms,
        beat_ms: now_ms,
        problems: vec![],
    };
    runtime.block_on(store.beat(process.clone())).expect("beats");
    let refused = |words: &str| {
        let refused = chaperone(dir.path(), &["vacuum"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(73) && text.contains(words), "{text}");
    };
    refused("process 4711 on h): stop it first");
    runtime.block_on(store.farewell(process.id)).expect("farewell");
    // It has said goodbye and has the file open all the same.
    refused("locked");
    drop(store);
    let path = dir.path().join("data/chaperone.sqlite");
    rusqlite::Connection::open(&path).expect("opens").execute_batch("DELETE FROM hop_window").expect("deleted");
    let done = chaperone(dir.path(), &["vacuum", "--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("json");
    assert!(told["freed"].as_u64() > Some(100_000), "{told}");
    assert_eq!(Some(std::fs::metadata(&path).expect("there").len()), told["after"].as_u64());
    let stats = chaperone(dir.path(), &["stats", "--json"]);
    let after: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("json");
    assert_eq!(after["widths"][0]["rows"], 6_000, "totals are as they were");
    // A missing store is nobody's to make.
    std::fs::remove_file(&path).expect("removed");
    let none = chaperone(dir.path(), &["stats"]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("no store yet"));
}

#[test]
fn a_rebuild_touches_nothing_that_is_there_and_needs_something_to_read() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = filled(dir.path(), 1);
    let to = dir.path().join("data/chaperone.sqlite");
    let before = std::fs::read(&to).expect("there");
    let rebuild = |to: &str| {
        let output = chaperone(dir.path(), &["rebuild", "--to", to]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = rebuild(&to.to_string_lossy());
    assert!(code == Some(73) && words.contains("is there already"), "{code:?}: {words}");
    // Nothing is made before there is something to make it from.
    let (code, words) = rebuild(&dir.path().join("new.sqlite").to_string_lossy());
    assert!(code == Some(69) && words.contains("127.0.0.1:1"), "{code:?}: {words}");
    let (code, words) = rebuild("postgres://chaperone:hidden@db/other");
    assert!(code == Some(64) && words.contains("[store]") && !words.contains("hidden"), "{code:?}: {words}");
    assert_eq!(std::fs::read(&to).expect("there"), before);
    assert!(!dir.path().join("new.sqlite").exists());
    drop(store);
}

#[test]
fn nobody_works_on_a_store_that_was_half_made() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = filled(dir.path(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let maker = ProcessState {
        id: Uuid::now_v7(),
        role: "rebuild".into(),
        clusters: String::new(),
        reads: String::new(),
        host: "h".into(),
        pid: 4711,
        version: "0".into(),
        started_ms: 1,
        beat_ms: 1,
        problems: vec![],
    };
    runtime.block_on(store.beat(maker.clone())).expect("beats");
    let config = dir.path().join("chaperone.toml");
    // The verb writes the configuration too.
    assert!(chaperone(dir.path(), &["stats"]).status.success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    let output = command.arg("collect").arg("--config").arg(&config).env("RUST_LOG", "warn").output().expect("runs");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = words.contains("half-made store") && words.contains("process 4711 on h");
    assert!(output.status.code() == Some(73) && said, "{:?}: {words}", output.status);
}
