//! The log beside its rivals and the disk itself: appends of 1 KB, each durable before it returns. Prints Markdown and,
//! as lines `figure NAME = VALUE`, what docs/PERFORMANCE.md promises.
//!
//! All engines stay open and take turns, so that a disk that is busy with others is busy for all of them; ratios are those
//! of the medians. That an append is durable is not believed but seen from outside (`flushes`, needs `strace`).
//!
//! `cargo bench -p chaperone-wal --features rivals --bench rivals [-- DIR [ROUNDS]]`; DIR defaults to `target`, which must
//! be on a disk (a `tmpfs` flushes nothing).

mod engines;
mod flushes;

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use engines::{Engine, ROWS, Row};
use flushes::{CONTROL, Seen, seen};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TURN: Duration = Duration::from_millis(150);
const ROUNDS: usize = 31;
const APPENDERS: [usize; 3] = [1, 8, 64];
/// Under `strace`; less than half a segment, so that the log makes none meanwhile.
const TRACED: usize = 1024;

/// Appends a second.
fn turn(engine: &dyn Engine, appenders: usize) -> Outcome<f64> {
    let start = Barrier::new(appenders + 1);
    let one = || -> Outcome<u32> {
        start.wait();
        let (began, mut appends) = (Instant::now(), 0);
        while began.elapsed() < TURN {
            engine.append()?;
            appends += 1;
        }
        Ok(appends)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..appenders).map(|_| scope.spawn(one)).collect();
        start.wait();
        let began = Instant::now();
        let appends: Outcome<Vec<u32>> =
            threads.into_iter().map(|t| t.join().map_err(|_| "an appender panicked")?).collect();
        Ok(f64::from(appends?.iter().sum::<u32>()) / began.elapsed().as_secs_f64())
    })
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The medians of all engines, in the order of the rows.
fn rates(engines: &[(&Row, Box<dyn Engine>)], appenders: usize, rounds: usize) -> Outcome<Vec<f64>> {
    let mut all = vec![Vec::new(); engines.len()];
    for round in 0..rounds {
        // Nobody always comes after the same one.
        for n in (0..engines.len()).map(|n| (n + round) % engines.len()) {
            let (row, engine) = &engines[n];
            all[n].push(turn(&**engine, if row.alone { 1 } else { appenders })?);
        }
    }
    Ok(all.into_iter().map(median).collect())
}

/// What each engine asks of the disk, by numbers of appenders; the control first.
fn traced(base: &Path) -> Outcome<Vec<Vec<Seen>>> {
    flushes::checked()?;
    let trace = |name: &str, appenders| {
        let dir = tempfile::tempdir_in(base)?;
        seen(name, appenders, TRACED, dir.path())
    };
    let control = trace(CONTROL, 1)?;
    if control.unflushed != TRACED {
        return Err(format!("the control, which never syncs, is not found out: {control:?}").into());
    }
    let all = |row: &Row| APPENDERS.iter().map(|n| trace(row.name, if row.alone { 1 } else { *n })).collect();
    ROWS.iter().map(all).collect()
}

/// The version that the lock file has.
fn version(package: &str) -> String {
    let lock = include_str!("../../../Cargo.lock");
    let after = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).map(|(_, after)| after);
    let version = after.and_then(|after| after.split('"').next()).unwrap_or_default();
    if package == "rusqlite" {
        format!(" {} by rusqlite {version}", rusqlite::version())
    } else {
        format!(" {version}")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn report(medians: &[Vec<f64>], seen: &[Vec<Seen>]) {
    println!("| | what makes it durable | 1 appender | 8 | 64 | appends a flush: 1 | 8 | 64 | returned unflushed |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let raw: Vec<f64> = medians.iter().map(|rates| rates[0]).collect();
    for (n, (row, seen)) in ROWS.iter().zip(seen).enumerate() {
        let version = if row.package.is_empty() { String::new() } else { version(row.package) };
        print!("| {}{version} | {} ", row.name, row.settings);
        for (rates, raw) in medians.iter().zip(&raw) {
            print!("| {:.0}/s ({:.2}) ", rates[n], rates[n] / raw);
        }
        for seen in seen {
            print!("| {:.2} ", seen.appends as f64 / seen.flushes as f64);
        }
        let unflushed: usize = seen.iter().map(|s| s.unflushed).sum();
        println!("| {unflushed} of {} |", seen.iter().map(|s| s.appends).sum::<usize>());
    }
    println!(
        "\nIn brackets: × the disk itself in the same rounds. *Returned unflushed*: appends that came back although"
    );
    println!(
        "no `fsync` or `fdatasync` had begun and ended since they were called, by `strace`; a writer that never syncs,"
    );
    println!("the control, has all of them.");
    for (appenders, rates) in APPENDERS.iter().zip(medians) {
        println!("figure wal_raw_{appenders} = {:.3}", rates[1] / rates[0]);
        println!("figure wal_okaywal_{appenders} = {:.3}", rates[1] / rates[2]);
    }
    let batches: usize = seen[1].iter().map(|s| s.writes).sum();
    let flushes: usize = seen[1].iter().map(|s| s.flushes).sum();
    println!("figure wal_flushes_per_batch = {}", flushes as f64 / batches as f64);
    println!("figure wal_unflushed = {}", seen[1].iter().map(|s| s.unflushed).sum::<usize>());
    let rivals = seen.iter().skip(2).flatten().map(|s| s.unflushed);
    println!("figure wal_rivals_unflushed = {}", rivals.sum::<usize>());
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [flag, name, appenders, appends, dir] = &arguments[..]
        && flag == "--child"
    {
        return flushes::child(name, appenders.parse()?, appends.parse()?, Path::new(dir));
    }
    let base =
        arguments.first().map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let rounds = arguments.get(1).map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    std::fs::create_dir_all(&base)?;
    let seen = traced(&base)?;
    let mut medians = Vec::new();
    for appenders in APPENDERS {
        let dirs = tempfile::tempdir_in(&base)?;
        let open = |(n, row): (usize, &'static Row)| {
            let dir = dirs.path().join(n.to_string());
            std::fs::create_dir(&dir)?;
            Ok((row, (row.open)(&dir)?))
        };
        let engines: Outcome<Vec<_>> = ROWS.iter().enumerate().map(open).collect();
        medians.push(rates(&engines?, appenders, rounds)?);
    }
    report(&medians, &seen);
    Ok(())
}
