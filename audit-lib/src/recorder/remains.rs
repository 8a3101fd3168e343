//! What a dead process left in its slot file, as messages that are ready to be sent.
//!
//! Every slot of it is final: nobody will count in it again. What has no outcome is in doubt for good. The same file
//! always becomes the same messages under the same UUIDs, so recovering it twice (a death while recovering, two that
//! recover at once) changes nothing.
//!
//! Invariants: nothing in a file is trusted. A slot whose words do not fit together is left out, and said; one whose
//! topic cannot be read is counted where attribution is lost. Numbers that the process gave its slots are kept; slots
//! that it had not numbered yet go on behind the highest.
//!
//! Limits: of a machine that died the pages may be of different times, so its file tells only that there was a process;
//! the log's checkpoint tells the counts.

use std::collections::BTreeMap;
use std::path::Path;

use chaperone_wal::slots::recovery::{Contents, Life, SlotFile, list, remove_unfinished};
use chaperone_wal::slots::{Error, Limits, Slot, Trouble};
use uuid::Uuid;

use super::home::About;
use super::message::{Head, split};
use super::recover::derived;
use super::slot::{LEDGER, Ledger, Purpose, SCHEMA, Tally};
use crate::wire::{self, AuditMessage, End, OVERFLOW_TOPIC, SlotRecord, Sum};

/// A dead process's file.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) file: SlotFile,
    pub(super) incarnation: Uuid,
    /// Its last words. After the machine's death only that it ended.
    pub(super) words: Vec<AuditMessage>,
    /// Slots that could not be trusted.
    pub(super) refused: u64,
}

impl Remains {
    /// Whether its words tell counts, so that the log's checkpoint has nothing to add.
    pub(super) fn words_count(&self) -> bool {
        self.words.iter().all(|m| m.end != Some(End::Power))
    }
}

/// The files of a directory whose processes are dead and that `mine` says yes to. What cannot be read is left and said.
pub(super) fn dead_in(dir: &Path, mine: impl Fn(&About) -> bool) -> Vec<Remains> {
    let paths = list(dir).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for the counts of dead processes");
        Vec::new()
    });
    paths.iter().filter_map(|path| dead(path, &mine)).collect()
}

/// Slot files of dead processes that nobody has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Abandoned {
    /// How many.
    pub files: u64,
    /// Bytes of memory that they take.
    pub bytes: u64,
}

impl Abandoned {
    /// What is to be done about them, in one sentence; `None` if there are none. `dir`: where they are.
    pub fn advice(&self, dir: &Path) -> Option<String> {
        let (Self { files, bytes }, dir) = (*self, dir.display());
        (files > 0).then(|| {
            format!(
                "{files} slot files of dead processes take {} MB of memory in {dir}, and what they counted is not told: \
                 chaperone recover --dir {dir} shows it, and with --config FILE sends it and removes them",
                bytes.div_ceil(1_000_000)
            )
        })
    }
}

/// Looks for slot files of dead processes in a directory. They wait for a process that starts with the same `data_dir`, or
/// for `chaperone recover`; a process that died a moment ago may have a successor soon.
pub fn abandoned(dir: &Path) -> Abandoned {
    others_in(dir, |_| false)
}

/// The same without those of whoever `mine` says yes to. What cannot be read is nobody's.
pub(super) fn others_in(dir: &Path, mine: impl Fn(&About) -> bool) -> Abandoned {
    let mut found = Abandoned::default();
    for path in list(dir).unwrap_or_default() {
        let Ok(file) = SlotFile::open(&path) else { continue };
        if file.life() != Life::Alive && !About::decode(&file.header().about).is_some_and(|about| mine(&about)) {
            found.files += 1;
            found.bytes += std::fs::metadata(&path).map_or(0, |m| m.len());
        }
    }
    found
}

/// A file, if its process is dead and `mine` says yes to it.
pub(super) fn dead(path: &Path, mine: impl Fn(&About) -> bool) -> Option<Remains> {
    let file = match SlotFile::open(path) {
        Ok(file) => file,
        Err(Error::Unfinished { .. }) => {
            remove_unfinished(path).ok();
            return None;
        }
        Err(error) => {
            tracing::warn!(%error, "a slot file is left as it is");
            return None;
        }
    };
    let about = About::decode(&file.header().about).filter(|about| mine(about))?;
    if file.life() == Life::Alive {
        return None;
    }
    if file.header().schema != SCHEMA {
        let schema = file.header().schema;
        tracing::warn!(path = %path.display(), schema, "a slot file of another release is left as it is: recover it with that one");
        return None;
    }
    let head = about.head(file.header().incarnation);
    if file.machine_died() {
        let words = last_words(&head, file.header().started_ms, Vec::new(), End::Power, None);
        return Some(Remains { incarnation: head.incarnation, file, words, refused: 0 });
    }
    let contents = match file.read(Limits::default()) {
        Ok(contents) => contents,
        Err(error) => {
            tracing::warn!(%error, "a slot file is left as it is");
            return None;
        }
    };
    let Found { records, sum, refused } = found(&contents);
    if refused > 0 {
        tracing::warn!(path = %path.display(), refused, "slots of a dead process do not fit together and are not counted");
    }
    let sum = (refused == 0).then_some(sum);
    let words = last_words(&head, file.header().started_ms, records, End::Crash, sum);
    Some(Remains { incarnation: head.incarnation, file, words, refused })
}

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Final states of its slots.
    pub(super) records: Vec<SlotRecord>,
    /// Over all slots that the process ever had.
    pub(super) sum: Sum,
    /// Lines that cannot be trusted and are not in the others.
    pub(super) refused: u64,
}

/// Makes final states of the lines in a file.
pub(super) fn found(contents: &Contents) -> Found {
    let ledgers = contents.slots.iter().filter(|line| line.name == LEDGER);
    let ledger = ledgers.map(|line| Ledger::of(&line.words_in)).next().unwrap_or_default();
    let mut found = Found { sum: ledger.sum, refused: u64::from(contents.cut_off), ..Found::default() };
    let mut slots: BTreeMap<(u64, String, Purpose), Tally> = BTreeMap::new();
    for line in contents.slots.iter().filter(|line| line.name != LEDGER && !is_blank(line)) {
        let Some(purpose) = Purpose::of(&line.tags).filter(|_| is_sound(line)) else {
            found.refused += 1;
            continue;
        };
        // The process died while it freed this one: what is left of it is not all of it, and it is in a safe place.
        if line.note > 0 && line.note == ledger.last {
            continue;
        }
        let named = !line.name.is_empty() && !line.troubles.contains(&Trouble::Name);
        let topic = if named { line.name.clone() } else { OVERFLOW_TOPIC.to_owned() };
        let purpose = Purpose { overflow: purpose.overflow || !named, ..purpose };
        slots.entry((line.note, topic, purpose)).or_default().add(line);
    }
    let taken = slots.keys().map(|(note, ..)| *note).max().unwrap_or(0);
    let mut next = contents.heartbeat.max(taken);
    for ((note, topic, purpose), tally) in slots {
        // The note is the number plus one; the heartbeat is the next number.
        let id = if note > 0 { note - 1 } else { next };
        next = next.saturating_add(u64::from(note == 0));
        let record = tally.record(id, &topic, &purpose, true);
        match wire::check_slot(&record) {
            Ok(()) => {
                tally.add_to(&mut found.sum);
                found.records.push(record);
            }
            Err(error) => {
                tracing::warn!(%error, "a slot of a dead process");
                found.refused += 1;
            }
        }
    }
    found.sum.slots = next;
    found.records.sort_by_key(|r| r.id);
    found
}

/// Opened and not used: by a process that died as it made its table, say. There is nothing in it that could be lost.
fn is_blank(line: &Slot) -> bool {
    (line.note, line.n, line.m) == (0, 0, 0) && line.troubles.is_empty()
}

fn is_sound(line: &Slot) -> bool {
    let bad = |t: &Trouble| matches!(t, Trouble::MoreOut | Trouble::Implausible | Trouble::Control);
    let outcomes = line.words_out.iter().take(3).fold(0u64, |sum, n| sum.saturating_add(*n));
    !line.troubles.iter().any(bad) && outcomes == line.m
}

fn last_words(head: &Head, started_ms: u64, records: Vec<SlotRecord>, end: End, sum: Option<Sum>) -> Vec<AuditMessage> {
    let started_ms = i64::try_from(started_ms).unwrap_or(i64::MAX);
    let sent_ms = records.iter().filter_map(|r| r.state.last_ms).max().map_or(started_ms, |ms| ms.max(started_ms));
    let mut parts = split(records);
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let count = parts.len();
    let part = |(i, slots): (usize, Vec<SlotRecord>)| AuditMessage {
        uuid: derived(head.incarnation, 1 + i as u64),
        end: (i + 1 == count).then_some(end),
        sum: sum.filter(|_| i + 1 == count),
        ..head.message(0, sent_ms, slots)
    };
    parts.into_iter().enumerate().map(part).collect()
}
