//! Appends of 1 KB, each durable before it returns, against the disk itself: a table.
//!
//! *Raw* is the limit for one appender: a file filled with zeros, written in place, a `fdatasync` after each write. Log and
//! raw take turns, so that a disk that is busy with others is busy for both; the ratio is the median over the turns.
//! Device flushes are counted where the log asks for them, by a storage that passes everything on to the real disk.
//!
//! `cargo bench --profile ci -p chaperone-wal --bench durable [-- DIR [TURNS [FLUSH_US]]]`; DIR defaults to `target`, which
//! must be on a disk (a `tmpfs` flushes nothing). With `FLUSH_US` every flush, of the log and of raw, sleeps for so long
//! besides: on a `tmpfs` a disk that no other process keeps busy.

use std::fs::{File as StdFile, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chaperone_wal::{Config, Disk, File, Log, Storage};
use uuid::Uuid;

const PAYLOAD: [u8; 1024] = [0x5a; 1024];
const TURN: Duration = Duration::from_millis(500);
const RAW_BYTES: u64 = 64 << 20;

/// The real disk, counting.
struct Counting {
    disk: Disk,
    flushes: Arc<AtomicU64>,
    pause: Duration,
}

struct CountingFile(Box<dyn File>, Arc<AtomicU64>, Duration);

fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

impl Storage for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        Ok(Box::new(CountingFile(self.disk.create(name, len)?, Arc::clone(&self.flushes), self.pause)))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(CountingFile(self.disk.rename(from, to)?, Arc::clone(&self.flushes), self.pause)))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

impl File for CountingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        pause(self.2);
        self.0.sync()
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A file whose blocks are there: zeros, or (`written` false) only allocated.
fn raw_file(path: &Path, written: bool) -> io::Result<StdFile> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    if written {
        let zeros = vec![0; 1 << 20];
        for _ in 0..RAW_BYTES >> 20 {
            file.write_all(&zeros)?;
        }
    } else {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RAW_BYTES)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Writes for a turn, one after the other.
fn raw(file: &StdFile, offset: &mut u64, flush: Duration) -> io::Result<f64> {
    let began = Instant::now();
    let mut writes = 0u32;
    while began.elapsed() < TURN {
        file.write_all_at(&PAYLOAD, *offset)?;
        pause(flush);
        file.sync_data()?;
        writes += 1;
        *offset = (*offset + PAYLOAD.len() as u64) % RAW_BYTES;
    }
    Ok(f64::from(writes) / began.elapsed().as_secs_f64())
}

struct Turn {
    rate: f64,
    appends: u64,
    flushes: u64,
    worst: Duration,
    /// Processor time of all threads, for one append.
    cpu: Duration,
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

fn log(dir: &Path, appenders: usize, flush: Duration) -> Outcome<Turn> {
    let flushes = Arc::new(AtomicU64::new(0));
    let storage = Arc::new(Counting { disk: Disk::open(dir)?, flushes: Arc::clone(&flushes), pause: flush });
    let (log, _) = Log::open_with(storage, Config::default())?;
    // The first segments are made before: it is their reuse that goes on for ever.
    log.append(Uuid::nil(), &PAYLOAD).and_then(|seq| log.done(seq)).and_then(|()| log.tend())?;
    flushes.store(0, Ordering::Relaxed);
    let (began, cpu) = (Instant::now(), cpu_time());
    let one = || -> Result<(u64, Duration), chaperone_wal::Error> {
        let (mut appends, mut worst) = (0, Duration::ZERO);
        while began.elapsed() < TURN {
            let before = Instant::now();
            let seq = log.append(Uuid::nil(), &PAYLOAD)?;
            worst = worst.max(before.elapsed());
            log.done(seq)?;
            appends += 1;
        }
        Ok((appends, worst))
    };
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..appenders).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|t| t.join().map_err(|_| "an appender panicked")?.map_err(Into::into)).collect()
    });
    let counts: Outcome<Vec<(u64, Duration)>> = counts;
    let elapsed = began.elapsed().as_secs_f64();
    let appends: u64 = counts.as_ref().map_or(0, |c| c.iter().map(|c| c.0).sum());
    let worst = counts?.iter().map(|c| c.1).max().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let many = appends as f64;
    let cpu = cpu_time().saturating_sub(cpu).div_f64(many.max(1.0));
    Ok(Turn { rate: many / elapsed, appends, flushes: flushes.load(Ordering::Relaxed), worst, cpu })
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let base =
        arguments.next().map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let turns: usize = arguments.next().map_or(Ok(9), |t| t.parse())?;
    let flush = Duration::from_micros(arguments.next().map_or(Ok(0), |t| t.parse())?);
    std::fs::create_dir_all(&base)?;
    let dir = tempfile::tempdir_in(&base)?;
    let zeros = raw_file(&dir.path().join("zeros"), true)?;
    let mut offset = 0;
    println!(
        "{:>9} {:>12} {:>12} {:>7} {:>9} {:>9} {:>9} {:>7}",
        "appenders", "appends/s", "raw/s", "ratio", "per flush", "flushes", "worst ms", "cpu us"
    );
    for appenders in [1, 8, 64] {
        let (mut ratios, mut raws, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..turns {
            let before = raw(&zeros, &mut offset, flush)?;
            let own = dir.path().join(format!("{appenders}-{turn}"));
            let one = log(&own, appenders, flush)?;
            std::fs::remove_dir_all(&own)?;
            let limit = f64::midpoint(before, raw(&zeros, &mut offset, flush)?);
            ratios.push(one.rate / limit);
            raws.push(limit);
            all.push(one);
        }
        let (appends, flushes) = all.iter().fold((0, 0), |sum, t| (sum.0 + t.appends, sum.1 + t.flushes));
        let rate = median(all.iter().map(|t| t.rate).collect());
        let worst = median(all.iter().map(|t| t.worst.as_secs_f64() * 1e3).collect());
        let cpu = median(all.iter().map(|t| t.cpu.as_secs_f64() * 1e6).collect());
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let per_flush = appends as f64 / flushes as f64;
        println!(
            "{appenders:>9} {rate:>12.0} {:>12.0} {:>7.2} {per_flush:>9.1} {flushes:>9} {worst:>9.1} {cpu:>7.1}",
            median(raws),
            median(ratios)
        );
    }
    let allocated = raw_file(&dir.path().join("allocated"), false)?;
    let (mut first, mut offset) = (0, 0);
    let fresh = raw(&allocated, &mut offset, flush)?;
    let written = raw(&zeros, &mut first, flush)?;
    println!("raw on blocks that are only allocated: {:.2} of raw on zeros", fresh / written);
    Ok(())
}
