//! The store in SQLite: killed before each call that writes, of an open store, an apply, a close, and refused by each. What was
//! applied is there, what was not is sent again, and the store then holds to the letter what it would have held.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use chaperone_collector::query::WindowQuery;
use chaperone_collector::{SqliteStore, Store};
use chaperone_tests::batches::{BATCHES, PER_BATCH, TOPICS, batch, claim};
use chaperone_tests::figures;
use chaperone_tests::witness::{in_memory, victim};

use super::WORKERS;
use super::trace::{self, Call, calls};

const WRITES: &str = "pwrite64,write,fdatasync,fsync,ftruncate,fallocate,rename,unlink,unlinkat,openat";
const KILLED: i32 = 128 + 9;
const REFUSED: i32 = 73;

/// One call of one name, and what happens at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    name: String,
    nth: usize,
    /// An error; or else SIGKILL before it is done.
    error: Option<&'static str>,
}

impl Point {
    fn inject(&self) -> String {
        let what = self.error.map_or("signal=KILL".to_owned(), |error| format!("error={error}"));
        format!("inject={}:{what}:when={}", self.name, self.nth)
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// A store with its schema and the tap's claim.
fn place() -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let dir = in_memory()?;
    let path = dir.path().join("chaperone.sqlite");
    let store = SqliteStore::open(&path)?;
    run(async { store.claim(claim()).await })?;
    Ok((dir, path))
}

fn run<T>(answer: impl Future<Output = Result<T, chaperone_collector::StoreError>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(answer)?)
}

/// Every row of every table, but for those that say when the schema was made.
fn held(path: &Path) -> anyhow::Result<Vec<String>> {
    let conn = rusqlite::Connection::open(path)?;
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
    ensure!(sound == "ok", "{sound}");
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('refinery_schema_history') ORDER BY name";
    let tables: Vec<String> = conn.prepare(sql)?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for table in tables {
        let mut query = conn.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY 1"))?;
        let columns = query.column_count();
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let values: Result<Vec<_>, _> = (0..columns).map(|i| row.get::<_, rusqlite::types::Value>(i)).collect();
            rows.push(format!("{table} {:?}", values?));
        }
    }
    Ok(rows)
}

/// By stage, what is counted in all.
async fn totals(store: &SqliteStore) -> Result<Vec<(String, u64)>, chaperone_collector::StoreError> {
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
    let windows = store.stage_windows(all).await?;
    let of = |stage: &str| windows.iter().filter(|w| w.stage == stage).map(|w| w.n).sum();
    Ok(["producer", "kafka", "consumer"].map(|stage| (stage.to_owned(), of(stage))).into())
}

/// Applies everything, twice: what the store has changes nothing. Returns how many batches it had.
fn finish(path: &Path) -> anyhow::Result<u32> {
    let store = SqliteStore::open(path)?;
    let (next, totals) = run(async {
        let stands = store.audit_stands("c", "chaperone-audit").await?;
        for _ in 0..2 {
            for no in 0..BATCHES {
                store.apply(batch(no)).await?;
            }
        }
        Ok((stands.first().map_or(0, |stand| stand.next), totals(&store).await?))
    })?;
    let all = u64::from(BATCHES) * PER_BATCH;
    let linked = all * TOPICS.len() as u64;
    let expected = [("producer", linked), ("kafka", all), ("consumer", linked)];
    let exact = totals.iter().map(|(stage, n)| (stage.as_str(), *n)).eq(expected);
    ensure!(exact, "{totals:?}, not {expected:?}");
    Ok(u32::try_from((0..BATCHES).take_while(|no| batch(*no).next <= next).count())?)
}

/// Lets one call go wrong, and looks at what is left; `tamper`: after the newest writes are gone, the control.
fn try_point(point: &Point, expected: &[String], tamper: bool) -> anyhow::Result<()> {
    let (dir, path) = place()?;
    let (log, trace) = (dir.path().join("trace"), format!("trace={}", point.name));
    let ended = trace::run(&log, &["-e", &trace, "-e", &point.inject()], &victim(), &["store", text(&path)?])?;
    let allowed: &[i32] = if point.error.is_none() { &[KILLED] } else { &[0, REFUSED] };
    ensure!(allowed.contains(&ended.code), "ended with {}: {}", ended.code, ended.err);
    ensure!(!ended.err.contains("panicked"), "{}", ended.err);
    let injected = point.error.is_none() || std::fs::read_to_string(&log)?.contains("(INJECTED)");
    ensure!(injected, "the call was not made");
    if tamper {
        for helper in ["-wal", "-shm"] {
            drop(std::fs::remove_file(format!("{}{helper}", text(&path)?)));
        }
    }
    let told = u32::try_from(ended.out.lines().count())?;
    let had = finish(&path)?;
    ensure!(had >= told, "{told} batches were applied, {had} are there");
    ensure!(had <= told + 1, "{told} batches were applied, and {had} are there");
    let held = held(&path)?;
    let differ: Vec<_> = held.iter().zip(expected).filter(|(is, was)| is != was).take(3).collect();
    ensure!(
        held.len() == expected.len() && differ.is_empty(),
        "{} rows, not {}: {differ:?}",
        held.len(),
        expected.len()
    );
    Ok(())
}

/// The calls of a life without faults that concern the store, and what it then holds.
fn undisturbed() -> anyhow::Result<(Vec<Call>, Vec<String>)> {
    let (dir, path) = place()?;
    let log = dir.path().join("trace");
    let went = trace::run(&log, &["-y", "-e", &format!("trace={WRITES}")], &victim(), &["store", text(&path)?])?;
    ensure!(went.code == 0 && went.out.lines().count() == BATCHES as usize, "{}: {}", went.code, went.err);
    let ours = text(&path)?.to_owned();
    let calls: Vec<Call> = calls(&log)?.into_iter().filter(|call| call.text.contains(&ours)).collect();
    ensure!(finish(&path)? == BATCHES, "not all were applied");
    Ok((calls, held(&path)?))
}

/// Tries these, by several workers; what was wrong.
fn try_all(points: &[Point], expected: &[String]) -> anyhow::Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut wrong = Vec::new();
        while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = try_point(point, expected, false) {
                println!("{}: {error:#}", point.inject());
                wrong.push(format!("{}: {error:#}", point.inject()));
            }
        }
        wrong
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(|w| w.join().map_err(|_| anyhow::anyhow!("a worker panicked")));
        Ok(joined.collect::<anyhow::Result<Vec<_>>>()?.concat())
    })
}

/// A death at each call, and what may be refused, or as much of it, evenly chosen.
fn points(calls: &[Call], at_most: usize) -> Vec<Point> {
    let of = |call: &Call| {
        let errors: &[_] = if call.name == "openat" { &[] } else { &[Some("EIO"), Some("ENOSPC"), Some("EROFS")] };
        let faults = [None].into_iter().chain(errors.iter().copied());
        faults.map(|error| Point { name: call.name.clone(), nth: call.nth, error }).collect::<Vec<_>>()
    };
    let all: BTreeSet<Point> = calls.iter().flat_map(of).collect();
    let all: Vec<Point> = all.into_iter().collect();
    let (mut points, refused): (Vec<Point>, Vec<Point>) = all.into_iter().partition(|point| point.error.is_none());
    let wanted = at_most.min(refused.len());
    points.extend((0..wanted).filter_map(|i| refused.get(i * refused.len() / wanted).cloned()));
    points
}

fn injected(section: &str, at_most: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let (calls, expected) = undisturbed()?;
    let flushes = calls.iter().filter(|call| call.name.ends_with("sync")).count();
    ensure!(flushes >= BATCHES as usize, "only {flushes} flushes: what is committed is not durable");
    let points = points(&calls, at_most);
    let wrong = try_all(&points, &expected)?;
    // The control: without the write-ahead log what was applied is gone, and that is noticed.
    let late = points.iter().filter(|p| p.error.is_none() && p.name == "pwrite64").collect::<Vec<_>>();
    let missed = late.iter().rev().skip(8).step_by(8).filter(|p| try_point(p, &expected, true).is_err()).count();
    let seconds = began.elapsed().as_secs_f64();
    println!("{} calls, {flushes} of them flushes; {} points in {seconds:.1} s", calls.len(), points.len());
    figures::record(section, "store_points", points.len())?;
    figures::record(section, "store_kills", points.iter().filter(|p| p.error.is_none()).count())?;
    figures::record(section, "store_wrong", wrong.len())?;
    figures::record(section, "store_control_wrong", missed)?;
    ensure!(
        wrong.is_empty(),
        "{} of {} wrong: {:#?}",
        wrong.len(),
        points.len(),
        wrong.iter().take(5).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn each_call_of_a_store_that_writes_may_be_the_last_or_be_refused() -> anyhow::Result<()> {
    injected("syscall", 120)
}

#[test]
fn full_size_each_call_of_a_store() -> anyhow::Result<()> {
    injected("syscall_full", usize::MAX)
}
