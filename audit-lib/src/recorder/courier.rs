//! Sending what dead recorders left, for whoever is no recorder itself: `chaperone recover` and the [`Agent`](super::Agent).
//!
//! Of each recorder's directory: if nobody holds its log, the last words of the dead go into that log, as their successor
//! would put them there, and the slot files go. Then the lock is given back, and the log's records are sent from copies;
//! what the sink has confirmed is marked done in a second moment under the lock. So a process that starts meanwhile finds
//! its log free, and takes over by itself: both send the same bytes under the same UUIDs, which changes nothing.
//! Slot files without a log are removed when the sink has all of their words.
//!
//! Invariants: what lives (log or slot file locked) is left alone. Nothing is marked or removed that is not confirmed by
//! the sink or in the log, so a death at any moment costs a repetition at most. Where a directory's log is held, its
//! slot files belong to whoever holds it. One directory at a time, at most [`LOADED`] records of it in memory.
//!
//! Limits: a slot file is found in the directories looked at and where the log's checkpoint says. A log must be writable:
//! its disk being full holds up what it has to take in. Without a log, the machine's death still takes the slot file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use chaperone_wal::slots;
use chaperone_wal::slots::recovery::{Life, SlotFile, list};
use chaperone_wal::{Entry, Error as LogError, Kind, is_in_use, peek_dir};
use uuid::Uuid;

use super::dispatch::Dispatch;
use super::home::{self, About};
use super::journal::Journal;
use super::outbox::{Letter, Outbox};
use super::pace::Pace;
use super::recover;
use super::remains::{Remains, dead};
use super::report::Counters;
use super::start::Left;
use super::{Nowhere, Sink, SinkError};

/// Records of a log that are in memory at one time.
const LOADED: usize = 1024;
/// Letters that are with the outbox at one time.
const POSTED: usize = 64;
/// A courier's tokens begin here, so that its owner can use the lower half for others on the same sink.
pub(super) const FIRST_TOKEN: u64 = 1 << 63;
/// A log that is opened to take in last words is given segments for so many slots.
const LOG_SLOTS: usize = 4096;
/// The owner may have allowed its log more than others do, and the last words must fit beside what waits in it.
const LOG_BYTES: u64 = 1 << 30;
/// Last words are told once, and wait for nobody: the sink's own queue is their bound.
const UNPACED: Pace = Pace::new(u32::MAX, u32::MAX);
/// How long is waited when the sink has nothing to say.
const SLICE: Duration = Duration::from_millis(10);

/// Whether the audit topic may report a stage.
pub type Allows = Box<dyn Fn(&str) -> bool + Send>;

/// What a courier did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Carried {
    /// Audit messages of the dead that the sink has confirmed.
    pub sent: u64,
    /// Slot lines, checkpoints and records that could not be read; the log says which.
    pub unreadable: u64,
    /// Directories and files that were left as they are, and why.
    pub left: BTreeMap<PathBuf, String>,
}

/// Sends what dead recorders left.
pub struct Courier {
    allows: Allows,
    boot: [u8; 16],
    queue: VecDeque<Place>,
    load: Option<Load>,
    outbox: Outbox,
    pace: Pace,
    token: u64,
    carried: Carried,
    /// What was said about what was left, so that it is said once.
    said: BTreeMap<PathBuf, String>,
    /// Logs in which nothing waited, and when their files had changed last.
    empty: BTreeMap<PathBuf, Option<SystemTime>>,
}

/// What belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Directory of a log that nobody holds.
    log: Option<PathBuf>,
    /// Slot files of the dead.
    files: Vec<PathBuf>,
}

impl Place {
    fn name(&self) -> &Path {
        self.log.as_deref().or(self.files.first().map(PathBuf::as_path)).unwrap_or(Path::new(""))
    }
}

/// A place's messages on their way.
struct Load {
    place: Place,
    /// There was more in the log than was loaded.
    more: bool,
    waiting: VecDeque<(String, Arc<[u8]>)>,
    posted: BTreeSet<u64>,
    confirmed: BTreeSet<Arc<[u8]>>,
    /// To be removed when all is confirmed.
    files: Vec<SlotFile>,
}

/// Why a place is left as it is.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}; it is tried again")]
    Log(#[from] LogError),
    #[error("its log does not take what is in its slot file (a full disk?); it is tried again")]
    Refused,
    #[error("stage {0:?} may not report to this audit topic; recover it with the configuration that its process has")]
    Stage(String),
}

impl Courier {
    /// A courier for an audit topic that may report the stages that `allows` says yes to.
    pub fn new(allows: Allows) -> Self {
        Self {
            allows,
            boot: slots::boot_id(),
            queue: VecDeque::new(),
            load: None,
            outbox: Outbox::default(),
            pace: UNPACED,
            token: FIRST_TOKEN,
            carried: Carried::default(),
            said: BTreeMap::new(),
            empty: BTreeMap::new(),
        }
    }

    /// Looks for what the dead left in these directories, unless the last look's findings are still on their way.
    pub fn look(&mut self, dirs: &[PathBuf]) {
        if self.is_idle() {
            self.carried.left.clear();
            self.said.retain(|path, _| path.exists());
            self.queue = places(dirs);
        }
    }

    /// Whether all that was found is confirmed, or left.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.load.is_none()
    }

    /// Whether the sink has something of ours.
    pub fn has_in_flight(&self) -> bool {
        self.outbox.has_in_flight()
    }

    /// When there is next something to do without a report: now, or later while the sink refuses.
    pub fn due(&self) -> Option<Instant> {
        if self.is_idle() { None } else { Some(self.outbox.due().unwrap_or_else(Instant::now)) }
    }

    /// What it did so far, and what the last look left.
    pub fn carried(&self) -> &Carried {
        &self.carried
    }

    /// Hands to the sink what is due.
    pub fn post(&mut self, sink: &mut dyn Sink, now: Instant) {
        while self.load.is_none() {
            let Some(place) = self.queue.pop_front() else { return };
            match self.take(&place) {
                Ok(load) => self.load = load,
                // Somebody has come to life there, and takes over by itself.
                Err(Trouble::Log(LogError::Locked { .. })) => {}
                Err(trouble) => self.leave(place.name(), trouble.to_string()),
            }
            self.finish_if_done();
        }
        if let Some(load) = &mut self.load {
            while self.outbox.len() < POSTED {
                let Some((key, payload)) = load.waiting.pop_front() else { break };
                self.token = self.token.wrapping_add(1) | FIRST_TOKEN;
                self.outbox.push(self.token, Letter::new(key, payload));
                load.posted.insert(self.token);
            }
        }
        self.outbox.send_due(sink, &mut self.pace, (None, false), now);
    }

    /// Enters a delivery report of one of its tokens.
    pub fn report(&mut self, token: u64, result: &Result<(), SinkError>, now: Instant) {
        let Some(letter) = self.outbox.report(token, result, now) else { return };
        self.carried.sent += 1;
        if let Some(load) = &mut self.load {
            load.posted.remove(&token);
            load.confirmed.insert(letter.payload);
        }
        self.finish_if_done();
    }

    /// Looks once, and sends until all is confirmed or `patience` is over. True if all is.
    pub fn deliver(&mut self, dirs: &[PathBuf], sink: &mut dyn Sink, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.look(dirs);
        loop {
            let now = Instant::now();
            self.post(sink, now);
            let left = deadline.saturating_duration_since(now);
            if self.is_idle() || left.is_zero() {
                return self.is_idle();
            }
            let reports = sink.poll(left.min(SLICE));
            if reports.is_empty() {
                std::thread::sleep(left.min(SLICE));
            }
            for (token, result) in reports {
                self.report(token, &result, Instant::now());
            }
        }
    }

    fn leave(&mut self, path: &Path, why: String) {
        if self.said.get(path) != Some(&why) {
            tracing::warn!(path = %path.display(), "left as it is: {why}");
            self.said.insert(path.to_owned(), why.clone());
        }
        self.carried.left.insert(path.to_owned(), why);
    }

    /// Makes messages of a place. `None`: there is nothing to send.
    fn take(&mut self, place: &Place) -> Result<Option<Load>, Trouble> {
        let mut load = Load {
            place: place.clone(),
            more: false,
            waiting: VecDeque::new(),
            posted: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            files: Vec::new(),
        };
        let Some(dir) = &place.log else {
            for remains in place.files.iter().filter_map(|path| dead(path, |_| true)) {
                self.check(remains.words.iter().map(|m| m.stage.clone()))?;
                self.carried.unreadable += remains.refused;
                let encoded =
                    remains.words.iter().filter_map(|m| Some((m.incarnation.to_string(), m.encode().ok()?.into())));
                load.waiting.extend(encoded);
                load.files.push(remains.file);
            }
            return Ok(Some(load).filter(|load| !load.files.is_empty()));
        };
        let stamp = stamp(dir);
        if place.files.is_empty() && self.empty.get(dir) == Some(&stamp) {
            return Ok(None);
        }
        let mut entries = peek_dir(dir)?.entries;
        if !place.files.is_empty() || entries.iter().any(|e| e.kind == Kind::Checkpoint) {
            entries = self.settle(dir, &place.files)?;
        } else {
            self.check(entries.iter().filter_map(|e| recover::stage_of(&e.payload)))?;
        }
        if entries.is_empty() {
            self.empty.insert(dir.clone(), stamp);
            return Ok(None);
        }
        load.more = entries.len() > LOADED;
        for entry in entries.into_iter().take(LOADED) {
            if let Some((key, _)) = recover::key_of(&entry.payload) {
                load.waiting.push_back((key, entry.payload));
            } else {
                // Not ours, or damaged past its checksum: it can never be sent, and is done with.
                self.carried.unreadable += 1;
                load.confirmed.insert(entry.payload);
            }
        }
        Ok(Some(load))
    }

    /// Puts the last words of the dead into their log, which then has no checkpoint any more; what waits in it.
    fn settle(&mut self, dir: &Path, files: &[PathBuf]) -> Result<Vec<Entry>, Trouble> {
        let (journal, recovered) = Journal::open(dir, LOG_SLOTS, LOG_BYTES)?;
        let mut remains: Vec<Remains> = files.iter().filter_map(|path| dead(path, |_| true)).collect();
        let checkpoints = || recovered.entries.iter().filter(|e| e.kind == Kind::Checkpoint);
        let home = home::of_dir(dir);
        for checkpoint in checkpoints() {
            // One that is open already has a lock on it, and would seem alive.
            let key = recover::key_of(&checkpoint.payload).map(|(key, _)| key);
            let known = remains.iter().any(|r| Some(r.incarnation.to_string()) == key);
            let Some(path) = recover::slots_of(&checkpoint.payload).filter(|path| !known && path.exists()) else {
                continue;
            };
            if SlotFile::open(&path).is_ok_and(|file| file.life() == Life::Alive) {
                // A process without its log's lock that still counts: nobody may speak for it.
                return Ok(Vec::new());
            }
            remains.extend(dead(&path, |about| about.home() == home));
        }
        self.check(recovered.entries.iter().filter_map(|e| recover::stage_of(&e.payload)))?;
        self.check(remains.iter().flat_map(|r| &r.words).map(|m| m.stage.clone()))?;
        let checkpoints: Vec<_> = checkpoints().map(|e| e.seq).collect();
        let counters = Arc::new(Counters::default());
        let mut dispatch = Dispatch::new(Box::new(Nowhere), journal, UNPACED, Arc::clone(&counters));
        dispatch.take_over(Left { entries: recovered.entries, remains }, self.boot);
        if dispatch.outbox.unlogged() > 0 {
            // Files and checkpoint stay. Once what waits in the log is confirmed there is room.
            self.leave(dir, Trouble::Refused.to_string());
            return Ok(dispatch.journal.pending().collect());
        }
        self.carried.unreadable += counters.records.load(Ordering::Relaxed);
        // Their words are in the log.
        for seq in checkpoints {
            dispatch.journal.done(seq);
        }
        dispatch.journal.sync();
        Ok(dispatch.journal.pending().collect())
    }

    fn check(&self, stages: impl Iterator<Item = String>) -> Result<(), Trouble> {
        let mut last = None;
        for stage in stages {
            if last.as_ref() != Some(&stage) && !(self.allows)(&stage) {
                return Err(Trouble::Stage(stage));
            }
            last = Some(stage);
        }
        Ok(())
    }

    /// Marks and removes what is confirmed, once all of a load is.
    fn finish_if_done(&mut self) {
        let Some(load) = self.load.take_if(|load| load.waiting.is_empty() && load.posted.is_empty()) else { return };
        for file in load.files {
            if let Err(error) = file.remove() {
                // It is told again, which changes nothing.
                tracing::warn!(%error, "a slot file that is not needed any more");
            }
        }
        let Some(dir) = &load.place.log else { return };
        match Journal::open(dir, LOG_SLOTS, LOG_BYTES) {
            Ok((mut journal, _)) => {
                let done: Vec<_> = journal.pending().filter(|e| load.confirmed.contains(&e.payload)).collect();
                for entry in done {
                    journal.done(entry.seq);
                }
                journal.sync();
                if load.more {
                    self.queue.push_front(Place { files: Vec::new(), ..load.place });
                }
            }
            // Whoever lives there now sends it again.
            Err(LogError::Locked { .. }) => {}
            Err(error) => self.leave(load.place.name(), Trouble::from(error).to_string()),
        }
    }
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("carried", &self.carried).finish_non_exhaustive()
    }
}

/// What there is in these directories that nobody holds.
fn places(dirs: &[PathBuf]) -> VecDeque<Place> {
    let mut held = BTreeSet::new();
    let mut logs: BTreeMap<Uuid, Place> = BTreeMap::new();
    for dir in dirs {
        let home = home::of_dir(dir);
        match is_in_use(dir) {
            Ok(true) => drop(held.insert(home)),
            Ok(false) => drop(logs.insert(home, Place { log: Some(dir.clone()), files: Vec::new() })),
            Err(error) => tracing::warn!(dir = %dir.display(), %error, "cannot look for the log of a dead process"),
        }
    }
    let mut alone = Vec::new();
    for (path, home) in dirs.iter().flat_map(|dir| dead_files(dir)).filter(|(_, home)| !held.contains(home)) {
        match logs.get_mut(&home) {
            // Only where there is a log: opening one makes it.
            Some(place) if stamp(place.name()).is_some() => place.files.push(path),
            _ => alone.push(Place { log: None, files: vec![path] }),
        }
    }
    logs.into_values().filter(|place| stamp(place.name()).is_some()).chain(alone).collect()
}

/// Slot files of the dead, and whose they are.
fn dead_files(dir: &Path) -> Vec<(PathBuf, Uuid)> {
    let paths = list(dir).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for the counts of dead processes");
        Vec::new()
    });
    let home = |path: &PathBuf| match SlotFile::open(path) {
        Ok(file) if file.life() != Life::Alive => Some(About::decode(&file.header().about)?.home()),
        _ => None,
    };
    paths.into_iter().filter_map(|path| home(&path).map(|home| (path, home))).collect()
}

/// When the files of a log changed last. `None`: there is no log.
fn stamp(dir: &Path) -> Option<SystemTime> {
    let lock = std::fs::metadata(dir.join("lock")).ok()?.modified().ok()?;
    let files = std::fs::read_dir(dir).ok()?.flatten();
    let changed = files.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    Some(changed.fold(lock, SystemTime::max))
}
