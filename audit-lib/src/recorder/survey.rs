//! What recorders left in a directory: read only, for people, for `chaperone recover` and for whoever checks us.
//!
//! A directory may hold logs and slot files, of dead and of living processes. Nothing is locked for long, changed or
//! removed, so looking twice shows the same.
//!
//! Limits: of an incarnation that said goodbye, and of one whose slot file is gone, only what its log still holds is
//! known: what Kafka has confirmed is no longer here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chaperone_wal::slots::recovery::{Life, SlotFile, is_ending, list};
use chaperone_wal::{Error as LogError, Kind, is_in_use, peek_dir};
use uuid::Uuid;

use super::remains::dead_in;
use crate::state::SlotState;
use crate::wire::{AuditMessage, End, Sum};

/// How long a process that is being killed is waited for.
const GOING: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Why a directory could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// It cannot be read.
    #[error("{}: {source}; give the directory of a recorder: its data_dir, or that of its slot files", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Its log cannot be read.
    #[error("{}: {source}", dir.display())]
    Log {
        /// The directory.
        dir: PathBuf,
        /// The log's words.
        source: LogError,
    },
}

/// One life of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Its name.
    pub incarnation: Uuid,
    /// What it counted.
    pub stage: String,
    /// Which application it was.
    pub application: String,
    /// Where it ran.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// It lives, and counts on: the sums are not told.
    pub alive: bool,
    /// How it ended, as far as it or its successor has said.
    pub end: Option<End>,
    /// The sums are of all that it ever counted; otherwise of what is still here.
    pub whole: bool,
    /// What it counted.
    pub sum: Sum,
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Survey {
    /// By incarnation, which is by age.
    pub accounts: Vec<Account>,
    /// Slot lines, files and log entries that cannot be read; the log on standard error says which.
    pub unreadable: u64,
}

impl Survey {
    /// The dead.
    pub fn dead(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().filter(|a| !a.alive)
    }

    /// Messages that the dead counted.
    pub fn n(&self) -> u64 {
        self.dead().map(|a| a.sum.n).sum()
    }
}

/// What is known of one incarnation.
struct Evidence {
    head: AuditMessage,
    slots: BTreeMap<u64, SlotState>,
    end: Option<End>,
    sum: Option<Sum>,
}

/// Looks at a directory. Who was killed a moment ago is waited for, two seconds at most.
///
/// # Errors
/// [`SurveyError`].
pub fn survey(dir: &Path) -> Result<Survey, SurveyError> {
    let until = Instant::now() + GOING;
    loop {
        let (survey, going) = look(dir)?;
        if !going || Instant::now() >= until {
            return Ok(survey);
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// One look, and whether somebody is just about to be gone.
fn look(dir: &Path) -> Result<(Survey, bool), SurveyError> {
    let unread = |source| SurveyError::Directory { dir: dir.to_owned(), source };
    let wrong = |source| SurveyError::Log { dir: dir.to_owned(), source };
    std::fs::read_dir(dir).map_err(unread)?;
    let mut survey = Survey::default();
    let (mut alive, mut going) = living(dir);
    // Before the log is read: who closes it meanwhile has said all in it.
    let in_use = is_in_use(dir).map_err(wrong)?;
    let mut known: BTreeMap<Uuid, Evidence> = BTreeMap::new();
    let mut dead = BTreeSet::new();
    for remains in dead_in(dir, |_| true) {
        survey.unreadable += remains.refused;
        dead.insert(remains.incarnation);
        remains.words.into_iter().for_each(|m| note(&mut known, m));
    }
    let log = peek_dir(dir).map_err(wrong)?;
    survey.unreadable += log.corrupt.len() as u64;
    for entry in &log.entries {
        let Ok(message) = AuditMessage::decode(&entry.payload) else {
            survey.unreadable += 1;
            continue;
        };
        // The living one's checkpoint is the only one: it superseded those before it. A process that dies lets go of its
        // files one after the other.
        if entry.kind == Kind::Checkpoint && in_use && !dead.contains(&message.incarnation) {
            going |= is_ending(message.reporter.pid);
            alive.insert(message.incarnation);
        }
        note(&mut known, message);
    }
    survey.accounts = known.into_values().map(|e| e.account(&alive)).collect();
    Ok((survey, going))
}

/// Whose files are in use, and whether one of them is about to be gone.
fn living(dir: &Path) -> (BTreeSet<Uuid>, bool) {
    let files = list(dir).unwrap_or_default();
    let files: Vec<_> = files.iter().filter_map(|path| SlotFile::open(path).ok()).collect();
    let alive = files.iter().filter(|f| f.life() == Life::Alive);
    (alive.map(|f| f.header().incarnation).collect(), files.iter().any(SlotFile::is_ending))
}

fn note(known: &mut BTreeMap<Uuid, Evidence>, message: AuditMessage) {
    let evidence = known.entry(message.incarnation).or_insert_with(|| Evidence {
        head: AuditMessage { slots: Vec::new(), ..message.clone() },
        slots: BTreeMap::new(),
        end: None,
        sum: None,
    });
    if let Some(end) = message.end {
        evidence.end = Some(end);
        evidence.sum = message.sum.or(evidence.sum);
    }
    for slot in message.slots {
        evidence.slots.entry(slot.id).or_default().join(&slot.state);
    }
}

impl Evidence {
    fn account(self, alive: &BTreeSet<Uuid>) -> Account {
        let Self { head, slots, end, sum } = self;
        let mut here = Sum::default();
        for (id, s) in &slots {
            here.slots = here.slots.max(id + 1);
            here.n = here.n.saturating_add(s.n);
            here.acked = here.acked.saturating_add(s.acked);
            here.failed = here.failed.saturating_add(s.failed);
            here.f_in = here.f_in.plus(s.f_in());
        }
        Account {
            incarnation: head.incarnation,
            stage: head.stage,
            application: head.reporter.application,
            host: head.reporter.host,
            pid: head.reporter.pid,
            alive: alive.contains(&head.incarnation),
            end,
            whole: sum.is_some(),
            sum: sum.unwrap_or(here),
        }
    }
}
