//! How fast a log is opened again: records of 1 KB that all are pending, read from the page cache, checked, and
//! handed over. Prints Markdown and a line `figure NAME = VALUE`; the copy of the bytes alone stands beside it.
//!
//! `cargo bench -p chaperone-wal --bench replay [-- DIR [RECORDS]]`; DIR defaults to `target`.

use std::path::PathBuf;
use std::time::Instant;

use chaperone_wal::{Config, Log};
use uuid::Uuid;

const PAYLOAD: [u8; 1024] = [0x5a; 1024];
const ROUNDS: usize = 15;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let base =
        arguments.next().map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let records: u32 = arguments.next().map_or(Ok(100_000), |r| r.parse())?;
    std::fs::create_dir_all(&base)?;
    let dir = tempfile::tempdir_in(&base)?;
    let config = Config { max_bytes: 1 << 30, ..Config::default() };
    let (log, _) = Log::open_with(std::sync::Arc::new(chaperone_wal::Disk::open(dir.path())?), config)?;
    for _ in 0..records / 100 {
        log.append_batch(&[(Uuid::nil(), &PAYLOAD[..]); 100])?;
    }
    drop(log);
    let (mut opened, mut copied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let (log, recovered) = Log::open(dir.path(), config)?;
        opened.push(f64::from(records) / began.elapsed().as_secs_f64());
        if log.pending_count() != usize::try_from(records)? / 100 * 100 || !recovered.corrupt.is_empty() {
            return Err(format!("{} of {records} records are back", log.pending_count()).into());
        }
        drop(log);
        let began = Instant::now();
        for entry in std::fs::read_dir(dir.path())? {
            std::hint::black_box(std::fs::read(entry?.path())?);
        }
        copied.push(f64::from(records) / began.elapsed().as_secs_f64());
    }
    let (opened, copied) = (median(opened), median(copied));
    println!("| {records} records of 1 KB | records/s |");
    println!("| --- | --- |");
    println!("| opened, checked, pending | {opened:.0} |");
    println!("| the bytes only, read from the page cache | {copied:.0} |");
    println!("figure wal_replay_per_s = {opened:.0}");
    Ok(())
}
