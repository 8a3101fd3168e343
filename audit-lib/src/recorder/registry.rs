//! Which slots there are, and which lines each of them has: the part of the table that threads share.
//!
//! A slot has a line for each thread that counts in it, so that threads do not meet. When half of the lines are in use,
//! further ones are *common*: one to a slot, behind a lock. When all are, what is new is counted in the overflow slots,
//! which have lines of their own. A line whose thread has ended is adopted by the next thread that counts in its slot.
//!
//! Invariants: a slot that is not open gets no further line; it is *closed* when all of its lines are, and then it does
//! not change. An id is written into the file before anything is said under it, and never used again, so whoever finds
//! the file continues the numbers. At most `max_slots` lines beside those for overflow.
//!
//! Limits: one lock, taken when a line is opened (once for each thread, topic and window) and by the reporter, which
//! reads no line while it holds it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chaperone_wal::slots::{self, At, Line, Refused, TAGS};
use parking_lot::Mutex;

use super::slot::{Kind, LEDGER, Ledger, Place, Purpose, Tally};
use crate::rule::{Class, RuleId};
use crate::window::{Width, WindowStart};
use crate::wire::{OVERFLOW_TOPIC, SlotRecord};

/// Overflow slots of one kind, one per arrival window, so that the bound holds while Kafka is away.
const OVERFLOW_SLOTS: usize = 4;
/// Lines beside those for slots: for both kinds of overflow, and the ledger.
#[expect(clippy::cast_possible_truncation, reason = "it is 4")]
pub(super) const OTHER_LINES: u32 = 2 * OVERFLOW_SLOTS as u32 + 1;

/// A slot, for as long as it is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// How a thread counts in a slot.
#[derive(Debug, Clone)]
pub(super) struct Common(pub(super) Arc<Mutex<Line>>);

/// What a thread that asks for a line gets.
#[derive(Debug)]
pub(super) enum Way {
    /// One of its own.
    Own(Line),
    /// One that it shares.
    Common(Common),
    /// There is no room here.
    Full,
    /// Nothing is counted any more.
    Closed,
}

#[derive(Debug)]
struct Group {
    topic: Arc<str>,
    purpose: Purpose,
    lines: Vec<At>,
    common: Option<Common>,
    /// Given when it is first looked at.
    id: Option<u64>,
    /// The changes in the last state that the sink has.
    settled: u64,
    listed: bool,
    /// Its last state, when all of its lines are closed.
    last: Option<Tally>,
}

/// A slot as the reporter looks at it.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) key: Key,
    pub(super) id: u64,
    pub(super) topic: Arc<str>,
    pub(super) purpose: Purpose,
    pub(super) lines: Vec<At>,
    pub(super) settled: u64,
    /// It gets no further lines: it is being closed.
    pub(super) closing: bool,
    pub(super) last: Option<Tally>,
}

impl Look {
    pub(super) fn record(&self, tally: &Tally, is_final: bool) -> SlotRecord {
        tally.record(self.id, &self.topic, &self.purpose, is_final)
    }
}

#[derive(Debug)]
pub(super) struct Registry {
    closed: bool,
    max_slots: usize,
    groups: BTreeMap<Key, Group>,
    /// Those that are open.
    open: HashMap<Arc<str>, BTreeMap<Place, Key>>,
    next_key: u64,
    /// Lines in use, without those for overflow.
    lines: usize,
    /// Of the slots that were freed.
    freed: Ledger,
    /// Where that is kept in the file.
    ledger: Option<Line>,
}

impl Registry {
    pub(super) fn new(table: &slots::Table, max_slots: usize) -> Self {
        keep_a_name_for_overflow(table);
        Self {
            closed: false,
            max_slots,
            groups: BTreeMap::new(),
            open: HashMap::new(),
            next_key: 0,
            lines: 0,
            freed: Ledger::default(),
            ledger: table.open(0, LEDGER, &[u64::MAX; TAGS]).ok(),
        }
    }

    /// Nothing is opened from now on.
    pub(super) fn shut(&mut self) {
        self.closed = true;
    }

    pub(super) fn slots(&self) -> usize {
        self.groups.len()
    }

    /// What was counted in slots that were freed.
    pub(super) fn freed(&self) -> Ledger {
        self.freed
    }

    /// A line for counting in the slot of that purpose, which is opened if there is none. `spent`: the line that it had
    /// can hold no more.
    pub(super) fn line(
        &mut self,
        table: &slots::Table,
        owner: u64,
        topic: &str,
        purpose: &Purpose,
        spent: bool,
    ) -> Way {
        if self.closed {
            return Way::Closed;
        }
        let known = self.open.get(topic).and_then(|slots| slots.get(&purpose.place)).copied();
        let key = match known {
            Some(key) => key,
            None if self.lines >= self.max_slots => return Way::Full,
            None => self.insert(topic, *purpose),
        };
        let way = self.line_of(table, owner, key, spent);
        if known.is_none() && matches!(way, Way::Full) {
            self.unlist(key);
            self.groups.remove(&key);
        }
        way
    }

    fn line_of(&mut self, table: &slots::Table, owner: u64, key: Key, spent: bool) -> Way {
        let room = self.lines < self.max_slots;
        let own = self.lines < self.max_slots.div_ceil(2);
        let Some(group) = self.groups.get_mut(&key) else { return Way::Full };
        if let Some(common) = group.common.as_ref().filter(|_| !spent) {
            return Way::Common(common.clone());
        }
        // What a thread that has ended left is counted on.
        if let Some(line) =
            group.lines.iter().filter(|at| table.is_orphan(**at)).find_map(|at| table.adopt(*at, owner).ok())
        {
            return if own { Way::Own(line) } else { group.share(line) };
        }
        if !room {
            return Way::Full;
        }
        let Some(line) = group.open(table, owner) else { return Way::Full };
        self.lines += 1;
        if own { Way::Own(line) } else { group.share(line) }
    }

    /// A common line of the overflow slot of a kind for an arrival window, else of the latest that is open: there is
    /// always one.
    pub(super) fn overflow_line(&mut self, table: &slots::Table, width: Width, window: WindowStart, kind: Kind) -> Way {
        if self.closed {
            return Way::Closed;
        }
        let place = (window, Class::NoTime, kind);
        let listed = self.open.get(OVERFLOW_TOPIC);
        let here = listed.and_then(|slots| slots.get(&place)).copied();
        let latest = || Some(*listed?.iter().rev().find(|((_, _, k), _)| *k == kind)?.1);
        let full = self.overflow_slots(kind) >= OVERFLOW_SLOTS;
        let key = here.or_else(|| if full { latest() } else { None });
        let purpose = Purpose { place, width, rule: RuleId(0), overflow: true };
        let key = key.unwrap_or_else(|| self.insert(OVERFLOW_TOPIC, purpose));
        let Some(group) = self.groups.get_mut(&key) else { return Way::Full };
        if let Some(common) = &group.common {
            return Way::Common(common.clone());
        }
        match group.open(table, 0) {
            Some(line) => group.share(line),
            None => Way::Full,
        }
    }

    fn overflow_slots(&self, kind: Kind) -> usize {
        self.groups.values().filter(|g| g.purpose.overflow && g.purpose.place.2 == kind).count()
    }

    /// Whether closing one more overflow slot of a kind leaves one that is open, or room to open one.
    pub(super) fn overflow_has_spare(&self, kind: Kind) -> bool {
        let gone = |g: &&Group| g.purpose.overflow && g.purpose.place.2 == kind && !g.listed;
        self.groups.values().filter(gone).count() + 1 < OVERFLOW_SLOTS
    }

    fn insert(&mut self, topic: &str, purpose: Purpose) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        let topic = self.open.get_key_value(topic).map_or_else(|| Arc::from(topic), |(known, _)| Arc::clone(known));
        self.open.entry(Arc::clone(&topic)).or_default().insert(purpose.place, key);
        let group =
            Group { topic, purpose, lines: Vec::new(), common: None, id: None, settled: 0, listed: true, last: None };
        self.groups.insert(key, group);
        key
    }

    /// The slot gets no further lines; a later message opens another slot. Answers the lines that it has.
    pub(super) fn unlist(&mut self, key: Key) -> Vec<At> {
        let Some(group) = self.groups.get_mut(&key) else { return Vec::new() };
        group.listed = false;
        group.common = None;
        if let Some(listed) = self.open.get_mut(&group.topic) {
            if listed.get(&group.purpose.place) == Some(&key) {
                listed.remove(&group.purpose.place);
            }
            if listed.is_empty() {
                self.open.remove(&group.topic);
            }
        }
        group.lines.clone()
    }

    /// All lines of the slot are closed; this is its last state.
    pub(super) fn close(&mut self, key: Key, last: Tally) {
        if let Some(group) = self.groups.get_mut(&key) {
            group.last = Some(last);
        }
    }

    /// Every slot, numbered. `ids` is the number that the next one gets.
    pub(super) fn look(&mut self, table: &slots::Table, ids: &mut u64) -> Vec<Look> {
        let mut looks = Vec::with_capacity(self.groups.len());
        for (key, group) in &mut self.groups {
            let Some(id) = group.number(table, ids) else { continue };
            looks.push(Look {
                key: *key,
                id,
                topic: Arc::clone(&group.topic),
                purpose: group.purpose,
                lines: group.lines.clone(),
                settled: group.settled,
                closing: !group.listed,
                last: group.last.clone(),
            });
        }
        looks
    }

    /// The lines of all slots that are not closed, with their kinds, and the last states of those that are.
    pub(super) fn lines(&self) -> (Vec<(Kind, Vec<At>)>, Vec<Tally>) {
        let open = self.groups.values().filter(|g| g.last.is_none());
        let open = open.map(|g| (g.purpose.place.2, g.lines.clone())).collect();
        (open, self.groups.values().filter_map(|g| g.last.clone()).collect())
    }

    /// The sink has this state.
    pub(super) fn settle(&mut self, key: Key, changes: u64) {
        if let Some(group) = self.groups.get_mut(&key) {
            group.settled = group.settled.max(changes);
        }
    }

    /// Takes a closed slot out of the table.
    pub(super) fn free(&mut self, table: &slots::Table, key: Key) {
        let Some(group) = self.groups.get(&key) else { return };
        debug_assert!(group.last.is_some(), "a slot is freed after it was closed");
        let (Some(last), Some(id)) = (&group.last, group.id) else { return };
        self.freed.enter(id, last);
        if let Some(ledger) = &mut self.ledger {
            let words = self.freed.words();
            ledger
                .count(|now| {
                    *now = words;
                    0
                })
                .ok();
        }
        let Some(group) = self.groups.remove(&key) else { return };
        for at in group.lines {
            // It was closed by us and nobody else frees it.
            table.free(at).ok();
            self.lines -= usize::from(!group.purpose.overflow);
        }
    }
}

/// Names are kept for good, so this one has a place even when topics have filled all others.
fn keep_a_name_for_overflow(table: &slots::Table) {
    if let Ok(line) = table.open(0, OVERFLOW_TOPIC, &[u64::MAX; TAGS]) {
        let at = line.at();
        drop(line);
        if table.close_if(at, |_| true).is_ok() {
            table.free(at).ok();
        }
    }
}

impl Group {
    fn open(&mut self, table: &slots::Table, owner: u64) -> Option<Line> {
        let line = table.open(owner, &self.topic, &self.purpose.tags()).ok()?;
        self.lines.push(line.at());
        if let Some(id) = self.id {
            // Nothing is counted in it yet, so whoever finds the file meanwhile misses nothing.
            table.note(line.at(), id + 1).ok();
        }
        Some(line)
    }

    fn share(&mut self, line: Line) -> Way {
        let common = Common(Arc::new(Mutex::new(line)));
        self.common = Some(common.clone());
        Way::Common(common)
    }

    /// Its number; `None` if it could not be written into the file, which is another process's then.
    fn number(&mut self, table: &slots::Table, ids: &mut u64) -> Option<u64> {
        if let Some(id) = self.id {
            return Some(id);
        }
        let id = *ids;
        for at in &self.lines {
            match table.note(*at, id + 1) {
                Ok(()) | Err(Refused::Closed) => {}
                Err(_) => return None,
            }
        }
        // For the time when the slot is freed and its lines no longer tell that the number is taken.
        table.heartbeat(id + 1).ok()?;
        *ids = id + 1;
        self.id = Some(id);
        Some(id)
    }
}
