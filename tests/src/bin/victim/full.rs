//! A disk of its own, a MiB large, that is full to the last page again and again, also where a file system had promised
//! room: the log by itself, then a recorder. What was taken is there, what was refused says what to do, and with room it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chaperone_audit::clock::{Clock, ManualClock};
use chaperone_audit::recorder::{Behaviour, Config, MemorySink, Recorder, StartError, Stepper};
use chaperone_audit::state::flag;
use chaperone_tests::witness::Told;
use chaperone_wal::{Config as LogConfig, Error, Log, Seq};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::fs::{FallocateFlags, fallocate};
use uuid::Uuid;

use crate::{Witness, config, message};

const STEPS: u32 = 600;
const LARGEST: usize = 12_000;
const PAGE: u64 = 4096;
const LOG: LogConfig = LogConfig { segment_bytes: 64 << 10, max_bytes: 512 << 10, background: false };
/// More entries than this and half of them are done.
const WAITING: usize = 40;
/// What every refusal says: of the disk, or of the log's own limit.
const ADVICE: &str = "make room";
const OTHER_ADVICE: &str = "must be done first";
const CHECKPOINT: Duration = Duration::from_secs(10);

/// Tells how many appends were refused, how many torn ends were found later, how many records a recorder sent without its
/// log, and how many entries a plain file lost, the control.
pub(crate) fn run(disk: &Path, seed: u64) -> anyhow::Result<()> {
    let mut story = Story::begin(disk, seed)?;
    for step in 0..STEPS {
        story.step().with_context(|| format!("step {step}"))?;
    }
    let (refused, torn) = story.end()?;
    let unlogged = recorder(disk)?;
    let control = plain_file(disk)?;
    let told = format!("refused {refused}\ntorn {torn}\nunlogged {unlogged}\ncontrol_lost {control}\n");
    Ok(Witness::new()?.tell(&told)?)
}

/// What takes the rest of the disk.
struct Filler(PathBuf);

impl Filler {
    fn on(disk: &Path) -> Self {
        Self(disk.join("filler"))
    }
    fn fill(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        for bytes in [64 << 10, 4096, 1] {
            while file.write_all(&vec![1; bytes]).is_ok() {}
        }
        Ok(())
    }
    fn leave(&self, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.0)?;
        file.set_len(file.metadata()?.len().saturating_sub(bytes))
    }
    fn release(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// A log under random orders, and what must be in it.
struct Story {
    dir: PathBuf,
    filler: Filler,
    random: StdRng,
    log: Option<Log>,
    /// Taken and not done.
    pending: BTreeMap<u128, (Seq, usize)>,
    /// Refused or done: may come again.
    others: BTreeSet<u128>,
    next: u128,
    refused: u64,
    torn: u64,
}

fn payload(id: u128, bytes: usize) -> Vec<u8> {
    vec![u8::try_from(id % 251).unwrap_or(0) + 1; bytes]
}

impl Story {
    fn begin(disk: &Path, seed: u64) -> anyhow::Result<Self> {
        let dir = disk.join("log");
        let (log, _) = Log::open(&dir, LOG)?;
        Ok(Self {
            dir,
            filler: Filler::on(disk),
            random: StdRng::seed_from_u64(seed),
            log: Some(log),
            pending: BTreeMap::new(),
            others: BTreeSet::new(),
            next: 1,
            refused: 0,
            torn: 0,
        })
    }

    fn log(&self) -> anyhow::Result<&Log> {
        self.log.as_ref().context("the log is open")
    }

    fn step(&mut self) -> anyhow::Result<()> {
        if self.pending.len() > WAITING {
            for _ in 0..WAITING / 2 {
                self.finish_one()?;
            }
        }
        match self.random.random_range(0..14) {
            0..6 => drop(self.append()?),
            6..9 => self.finish_one()?,
            9 => self.filler.fill()?,
            10 | 11 => {
                self.filler.release()?;
                self.punch()?;
                self.filler.fill()?;
            }
            12 => self.filler.release()?,
            _ => self.open_again()?,
        }
        Ok(())
    }

    /// Why it was refused, if it was.
    fn append(&mut self) -> anyhow::Result<Option<String>> {
        let (id, bytes) = (self.next, self.random.random_range(1..LARGEST));
        self.next += 1;
        match self.log()?.append(Uuid::from_u128(id), &payload(id, bytes)) {
            Ok(seq) => {
                self.pending.insert(id, (seq, bytes));
                Ok(None)
            }
            Err(error) => {
                self.refused += 1;
                self.others.insert(id);
                let words = error.to_string();
                let advised = words.contains(ADVICE) || words.contains(OTHER_ADVICE);
                ensure!(advised || matches!(error, Error::Full { .. }), "{words}");
                Ok(Some(words))
            }
        }
    }

    fn finish_one(&mut self) -> anyhow::Result<()> {
        let turn = self.random.random_range(0..self.pending.len().max(1));
        let Some((id, seq)) = self.pending.iter().nth(turn).map(|(id, (seq, _))| (*id, *seq)) else { return Ok(()) };
        self.pending.remove(&id);
        self.others.insert(id);
        // A mark that is lost means that the entry comes again.
        self.log()?.done(seq).ok();
        Ok(())
    }

    /// Takes back what the file system promised: the pages of segments that nothing was written to, from somewhere on.
    fn punch(&mut self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "wal") {
                continue;
            }
            let bytes = fs::read(&path)?;
            let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1);
            let from = written.next_multiple_of(PAGE) + PAGE * self.random.random_range(0..4);
            let length = bytes.len() as u64;
            if from < length {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(OpenOptions::new().write(true).open(&path)?, how, from, length - from)?;
            }
        }
        Ok(())
    }

    /// As after the death of the process: everything that was taken is there, once and whole, and nothing was invented.
    fn open_again(&mut self) -> anyhow::Result<()> {
        self.log = None;
        let (log, recovered) = Log::open(&self.dir, LOG)?;
        ensure!(recovered.corrupt.is_empty(), "{:?}", recovered.corrupt);
        self.torn += recovered.torn.len() as u64;
        let mut found = BTreeMap::new();
        for entry in &recovered.entries {
            let id = entry.id.as_u128();
            ensure!(*entry.payload == *payload(id, entry.payload.len()), "{id} is harmed");
            ensure!(found.insert(id, (entry.seq, entry.payload.len())).is_none(), "{id} twice");
            if self.others.contains(&id) {
                log.done(entry.seq).ok();
            }
        }
        found.retain(|id, _| !self.others.contains(id));
        let taken: Vec<_> = self.pending.iter().map(|(id, (_, bytes))| (*id, *bytes)).collect();
        let here: Vec<_> = found.iter().map(|(id, (_, bytes))| (*id, *bytes)).collect();
        ensure!(taken == here, "taken {taken:?}, found {here:?}");
        (self.log, self.pending) = (Some(log), found);
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<(u64, u64)> {
        self.filler.release()?;
        // All: one that waits holds its whole segment.
        while !self.pending.is_empty() {
            self.finish_one()?;
        }
        for _ in 0..WAITING / 2 {
            if let Some(words) = self.append()? {
                bail!("there is room, and it is refused all the same: {words}");
            }
        }
        self.open_again()?;
        drop(self.log);
        fs::remove_dir_all(&self.dir)?;
        Ok((self.refused, self.torn))
    }
}

fn start(dir: &Path, sink: &MemorySink, clock: &Arc<ManualClock>) -> Result<(Recorder, Stepper), StartError> {
    let config =
        Config { grace: Duration::ZERO, checkpoint: CHECKPOINT, max_slots: 32, log_bytes: 1 << 20, ..config(dir) };
    Recorder::stepped(config, Box::new(sink.clone()), Arc::clone(clock) as Arc<dyn Clock>)
}

/// A recorder that starts on a full disk, and one whose disk is full for most of its life while Kafka is away: both tell
/// all that they counted. Answers how many records were sent without the log.
fn recorder(disk: &Path) -> anyhow::Result<u64> {
    let (filler, dir) = (Filler::on(disk), disk.join("recorder"));
    let (sink, clock) = (MemorySink::new(), Arc::new(ManualClock::new(1_790_000_000_000)));
    let mut counted = 0;
    filler.fill()?;
    match start(&dir, &sink, &clock) {
        Err(error @ StartError::Log { .. }) => ensure!(error.to_string().contains(ADVICE), "{error}"),
        Err(error) => bail!("{error}"),
        Ok((recorder, mut stepper)) => {
            count(&recorder, &clock, &mut counted);
            stepper.beat();
            let told = sink.messages();
            let flagged = told.iter().flat_map(|m| &m.slots).all(|s| s.state.flags.contains(flag::NO_CRASH_RECOVERY));
            ensure!(flagged, "it does not say that its death would lose counts: {told:?}");
            let closed = stepper.close(CHECKPOINT);
            ensure!(closed.unsent == 0, "{closed:?}");
        }
    }
    filler.release()?;
    let (recorder, mut stepper) = start(&dir, &sink, &clock)?;
    sink.set(Behaviour::Refuse);
    for round in 0..60 {
        match round {
            10 => filler.fill()?,
            40 => filler.release()?,
            45 => sink.reset(),
            _ => {}
        }
        count(&recorder, &clock, &mut counted);
        stepper.beat();
        stepper.pass(CHECKPOINT);
        clock.advance(11_000);
    }
    let dropped = recorder.stats().dropped;
    ensure!(dropped.records == 0, "{dropped:?}");
    // It dies, and who comes next tells the rest.
    count(&recorder, &clock, &mut counted);
    drop((stepper, recorder));
    let (recorder, mut stepper) = start(&dir, &sink, &clock)?;
    for _ in 0..64 {
        stepper.pass(Duration::from_secs(31));
        if recorder.stats().waiting == 0 {
            break;
        }
    }
    let closed = stepper.close(CHECKPOINT);
    ensure!(closed.unsent == 0, "{closed:?}");
    let told = Told::of(sink.messages());
    ensure!(told.n() == counted && told.contradictions.is_empty(), "counted {counted}, told {}: {told:?}", told.n());
    Ok(dropped.unlogged)
}

fn count(recorder: &Recorder, clock: &ManualClock, counted: &mut u64) {
    for topic in ["orders", "payments", "refunds"] {
        for _ in 0..7 {
            recorder.attempt(&message(topic, &counted.to_le_bytes(), clock.now_ms())).acked();
            *counted += 1;
        }
    }
}

/// What most would write: a length and the bytes at the end of a file, and a sync. After an append that was refused in its
/// midst nothing is found where it is looked for. Answers how many of the entries that were taken are lost.
fn plain_file(disk: &Path) -> anyhow::Result<usize> {
    let (filler, path) = (Filler::on(disk), disk.join("plain"));
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let append = |file: &mut File, id: u32| -> io::Result<()> {
        let entry = [&[u8::try_from(id).unwrap_or(0); 4], &LARGEST.to_le_bytes()[..4], &vec![9; LARGEST]].concat();
        file.write_all(&entry)?;
        file.sync_all()
    };
    let mut taken: Vec<u32> = Vec::new();
    for id in 1..8 {
        if id == 4 {
            filler.fill()?;
            filler.leave(2 * PAGE)?;
        }
        taken.extend(append(&mut file, id).ok().map(|()| id));
        filler.release()?;
    }
    let bytes = fs::read(&path)?;
    let entry = LARGEST + 8;
    let found = (0..).map_while(|turn| bytes.get(turn * entry..(turn + 1) * entry));
    let sound = |entry: &&[u8]| entry.get(4..8) == LARGEST.to_le_bytes().get(..4);
    Ok(taken.len() - found.filter(sound).count())
}
