//! A store that cannot be written, under traffic: locked by another program, on a full disk, or on one that was made read-only. Intake stops and says so
//! with what to do, memory stays where it was, it goes on by itself, and nothing is missing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, eventually, figures, process};
use rusqlite::Connection;
use rustix::process::Signal;

use crate::scene::{Folder, PATIENCE, Traffic, all_ok, becomes_ready, counted, difference, metric, says, send, topics};

const STAGE: &str = "kafka:main";
/// Room for the store of this test several times over.
const DISK: &str = "24m";
/// How long the store cannot be written, beyond the moment when that was noticed.
const REFUSED: Duration = Duration::from_secs(5);
/// By how much memory may grow meanwhile: queues are bounded and nothing is read.
const GROWTH_MB: f64 = 64.0;

#[test]
fn intake_waits_for_a_store_that_another_program_locks_and_goes_on_by_itself() -> anyhow::Result<()> {
    let place = Place::new("locked", None)?;
    let held = place.under_traffic(|traffic| {
        let other = Connection::open(place.data_dir()?.join("chaperone.sqlite"))?;
        eventually(PATIENCE, "the lock", || Ok(other.execute_batch("BEGIN IMMEDIATE")?))?;
        let words = ["database is locked", "another program holds its lock", "goes on by itself"];
        let held = place.stands(traffic, &words)?;
        other.execute_batch("ROLLBACK")?;
        Ok(held)
    })?;
    figures::record("processes", "locked_held_back", held)?;
    figures::record("processes", "locked_difference", place.ends()?)
}

#[test]
fn intake_waits_for_room_on_a_full_disk_and_goes_on_by_itself() -> anyhow::Result<()> {
    let place = Place::new("full", Some(DISK))?;
    let held = place.under_traffic(|traffic| {
        let path = place.outside(&place.folder.path("disk/filler"));
        let mut filler = std::fs::File::create(&path)?;
        // Smaller and smaller, to the last page.
        for size in [1 << 20, 1 << 16, 1 << 12] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
        let held = place.stands(traffic, &["disk is full", "make room on its disk", "goes on by itself"])?;
        drop(filler);
        std::fs::remove_file(&path)?;
        Ok(held)
    })?;
    figures::record("processes", "full_held_back", held)?;
    figures::record("processes", "full_difference", place.ends()?)
}

/// The kernel makes a file system read-only at once when its disk fails. `strace` answers so in its place.
#[test]
fn intake_waits_for_a_disk_that_was_made_read_only_and_goes_on_by_itself() -> anyhow::Result<()> {
    let place = Place::new("read-only", None)?;
    let held = place.under_traffic(|traffic| {
        let mut strace = process::command("strace");
        let inject = "inject=pwrite64,fdatasync,fsync:error=EROFS";
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync,fsync", "-e", inject, "-p"]);
        strace.arg(place.program.process.id().to_string());
        let mut strace = process::spawn(strace)?;
        let held = place.stands(traffic, &["disk I/O error", "or was made read-only", "goes on by itself"])?;
        // At the interrupt it lets go of whom it traces.
        strace.signal(Signal::INT)?;
        strace.wait(PATIENCE)?;
        Ok(held)
    })?;
    figures::record("processes", "read_only_held_back", held)?;
    figures::record("processes", "read_only_difference", place.ends()?)
}

/// A `chaperone run` whose store will be refused.
struct Place {
    bed: &'static Bed,
    folder: Folder,
    topic: String,
    audit: String,
    program: Program,
    url: String,
    /// The store is on a disk that only the program sees.
    hidden: bool,
}

impl Place {
    fn new(name: &str, disk: Option<&str>) -> anyhow::Result<Self> {
        let bed = Bed::get()?;
        let (topic, audit) = topics(&bed.regional, name, 4)?;
        let folder = Folder::new(name)?;
        std::fs::create_dir(folder.path("disk"))?;
        let text = format!(
            "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n\
             [kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\ngroup = \"{topic}-taps\"\n\
             [kafka.main.audit]\ntopic = {audit:?}\n[pipeline.refused]\ntopics = [{topic:?}]\n\
             stages = [\"producer\", {STAGE:?}]\ncomplete = [\"producer\"]\ngrace = \"2s\"\n",
            data = folder.path("disk/data").to_string_lossy(),
            servers = bed.regional.bootstrap_plain(),
        );
        let config = folder.write(&text)?;
        let mut program = match disk {
            None => programs::chaperone(&["run"], &config)?,
            Some(size) => programs::chaperone_on_small_disk(&["run"], &config, &folder.path("disk"), size)?,
        };
        let url = programs::listening(&mut program)?;
        becomes_ready(&url, || program.output())?;
        Ok(Self { bed, folder, topic, audit, program, url, hidden: disk.is_some() })
    }

    /// A path as the program sees it, for others.
    fn outside(&self, path: &Path) -> PathBuf {
        let id = self.program.process.id().to_string();
        Path::new("/proc").join(id).join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where the store can be read. `SQLite` follows links and would leave the program's disk: there it is a copy, made
    /// while the program stands still, so that it is what a crash would have left.
    fn data_dir(&self) -> anyhow::Result<PathBuf> {
        let data = self.folder.path("disk/data");
        if !self.hidden {
            return Ok(data);
        }
        let (from, copy) = (self.outside(&data), self.folder.path("copy"));
        std::fs::create_dir_all(&copy)?;
        std::fs::remove_file(copy.join("chaperone.sqlite-shm")).ok();
        self.program.process.signal(Signal::STOP)?;
        let copied = ["chaperone.sqlite", "chaperone.sqlite-wal"]
            .into_iter()
            .try_for_each(|name| std::fs::copy(from.join(name), copy.join(name)).map(drop));
        self.program.process.signal(Signal::CONT)?;
        copied.context("copying the store")?;
        Ok(copy)
    }

    fn counted(&self) -> anyhow::Result<u64> {
        Ok(counted(&self.data_dir()?, &self.topic, STAGE))
    }

    fn counts(&self, messages: u64) -> anyhow::Result<()> {
        eventually(PATIENCE, &format!("{messages} messages are counted"), || {
            let n = self.counted()?;
            ensure!(n >= messages, "{n} of {messages}: {}", self.program.output());
            Ok(())
        })
    }

    fn difference(&self, messages: u64) -> anyhow::Result<u64> {
        difference(&self.data_dir()?, (&self.bed.regional, &self.topic, messages), STAGE)
    }

    /// Sends while `refuse` takes the store away and gives it back; all must be counted and ok afterwards.
    fn under_traffic(&self, refuse: impl FnOnce(&Traffic) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        let recorder = self.folder.recorder(&self.bed.regional, &self.audit)?;
        let producer = AuditedProducer::new(&self.bed.regional.exact_config(), recorder.clone())?;
        let traffic = Traffic::default();
        let one = |number, time_ms| send(&producer, &self.topic, number, time_ms);
        let held = traffic.during(one, |traffic| {
            self.counts(traffic.more(1_000)?)?;
            let held = refuse(traffic)?;
            becomes_ready(&self.url, || self.program.output())?;
            self.counts(traffic.more(500)?)?;
            Ok(held)
        })?;
        producer.flush(Duration::from_secs(60)).context("flush")?;
        let closed = recorder.close(Duration::from_secs(20));
        ensure!(closed.unsent == 0, "{closed:?}");
        self.counts(traffic.sent())?;
        let windows = all_ok(&self.url, &self.topic)?;
        println!("{} messages, {windows} windows ok, {held} held back meanwhile", traffic.sent());
        Ok(held)
    }

    /// It says why, counts nothing, and takes no more memory; returns by how much its counts lag: the control.
    fn stands(&self, traffic: &Traffic, words: &[&str]) -> anyhow::Result<u64> {
        let memory = metric(&self.url, "process_resident_memory_bytes", "")?;
        println!("{}", says(&self.url, words, Duration::from_secs(90))?);
        let (noticed, stood) = (Instant::now(), self.counted()?);
        eventually(PATIENCE, "the store has been refusing for long enough", || {
            ensure!(noticed.elapsed() >= REFUSED, "not yet");
            Ok(())
        })?;
        let sent = traffic.more(500)?;
        let now = self.counted()?;
        ensure!(now == stood, "it can write after all: {stood}, then {now}");
        ensure!(metric(&self.url, "chaperone_intake_paused", "")? > 0.0, "intake does not say that it waits");
        ensure!(metric(&self.url, "chaperone_intake_store_failures_total", "")? > 0.0, "no failure was counted");
        let grown = (metric(&self.url, "process_resident_memory_bytes", "")? - memory) / 1e6;
        ensure!(grown < GROWTH_MB, "memory grew by {grown} MB: {}", self.program.output());
        let held = self.difference(sent)?;
        ensure!(held > 0, "the control found no difference");
        Ok(held)
    }

    /// By how much the counts differ from the topic in the end.
    fn ends(mut self) -> anyhow::Result<u64> {
        let messages = self.bed.regional.offsets(&self.topic)?.iter().map(|(from, to)| to - from).sum::<i64>();
        let difference = self.difference(u64::try_from(messages)?)?;
        let status = self.program.process.terminate(Duration::from_secs(30))?;
        ensure!(status.success(), "{status}: {}", self.program.output());
        Ok(difference)
    }
}
