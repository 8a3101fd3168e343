//! The lines that a thread counts in, as the thread finds them: no lock and no allocation once a line is known.
//!
//! Invariants: a thread's lines go with the thread, which hands them over to whoever counts there next. Whatever a line
//! refuses is counted in another one or, when there is none, is said to be missed; nothing is counted twice.
//!
//! Limit: a thread that counts or reports no more keeps the memory of its last recorders until it ends.
#![expect(clippy::inline_always, reason = "calls between its parts cost a count as much as the parts")]

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use chaperone_wal::slots::{At, Line, Refused};
use rustc_hash::FxHashMap;

use super::registry::{Common, Way};
use super::slot::{Addition, Kind};
use super::table::{Number, Table};
use crate::fingerprint::Fingerprint;
use crate::message::Message;
use crate::rule::{Class, Rule, Stamp};
use crate::short::same;
use crate::window::WindowStart;

/// Lines that are remembered before it is looked for closed ones.
const PRUNE_AT: usize = 64;
/// How often another line is asked for; a slot is seldom closed twice between two looks.
const TURNS: u32 = 16;

/// Every table, by its number: so a ticket, which goes from thread to thread, need not hold on to its own. Not behind a
/// lock, which a child would wait for without end if a thread of its parent held it at the fork.
static TABLES: ArcSwapOption<Vec<(Number, Weak<Table>)>> = ArcSwapOption::const_empty();

thread_local! {
    static MINE: RefCell<Vec<Mine>> = const { RefCell::new(Vec::new()) };
}

/// A message on its way into a line.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) topic: &'a str,
    pub(super) class: Class,
    pub(super) kind: Kind,
    pub(super) addition: Addition,
    /// The arrival, as it was read before.
    pub(super) now_ms: i64,
}

/// Why a message is in no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// There is no room but in an overflow slot.
    Full,
    /// Nothing is counted any more, or this process is a child of the one that counts.
    Closed,
}

/// Puts a table on the list.
pub(super) fn enlist(table: &Arc<Table>) {
    TABLES.rcu(|tables| {
        let known = tables.iter().flat_map(|tables| tables.iter()).filter(|(_, known)| known.strong_count() > 0);
        let new = (table.number(), Arc::downgrade(table));
        Some(Arc::new(known.cloned().chain([new]).collect::<Vec<_>>()))
    });
}

fn listed(number: Number) -> Option<Arc<Table>> {
    TABLES.load().as_ref()?.iter().find(|(other, _)| *other == number)?.1.upgrade()
}

/// Does something with the table of a number, unless nobody has it any more.
#[inline]
pub(super) fn with<R>(number: Number, f: impl Fn(&Table) -> R) -> Option<R> {
    let done = MINE.try_with(|mine| {
        let mut mine = mine.try_borrow_mut().ok()?;
        let mine = match mine.iter().position(|m| m.number == number) {
            Some(at) => mine.get(at)?,
            None => Mine::insert(&mut mine, &listed(number)?)?,
        };
        Some(f(&mine.table))
    });
    match done {
        Ok(Some(done)) => Some(done),
        // As in `count`.
        _ => listed(number).map(|table| f(&table)),
    }
}

/// Counts a message in a line of this thread's, or in one that it shares; `keep` gets what a report of it must say.
#[inline(always)]
pub(super) fn count<R>(
    table: &Arc<Table>,
    message: &Message<'_>,
    kind: Kind,
    keep: impl Fn(At, Fingerprint) -> R,
) -> Result<R, Missed> {
    // One function with one frame for what audited producers stamped, and one for all else.
    let counted = match table.look_at(message, kind) {
        Glance::Brief(b) => {
            let at = with_mine(table, |mine| match mine.count_brief(&b, |topic| same(topic, message.topic)) {
                Some(at) => Ok(at),
                None => mine.count_elsewhere(table.complete(message.topic, &b)),
            });
            at.map(|at| at.map(|at| keep(at, b.addition.hash)))
        }
        Glance::Whole(stamp) => {
            count_whole(table, message, kind, stamp).map(|done| done.map(|(at, hash)| keep(at, hash)))
        }
    };
    match counted {
        Some(counted) => counted,
        // The thread is ending, or in the midst of it: a line for this one message.
        None => count_apart(table, message, kind).map(|(at, hash)| keep(at, hash)),
    }
}

#[inline(never)]
fn count_whole(
    table: &Arc<Table>,
    message: &Message<'_>,
    kind: Kind,
    stamp: Stamp,
) -> Option<Result<(At, Fingerprint), Missed>> {
    // Before the lines are borrowed: headers are the host's code.
    let a = table.observe_unstamped(message, kind, stamp);
    with_mine(table, |mine| mine.count(&a).map(|at| (at, a.addition.hash)))
}

/// Does something with the lines of this thread. `None`: the thread is ending, or counting a message counted another one.
#[inline(always)]
fn with_mine<R>(table: &Arc<Table>, f: impl FnOnce(&mut Mine) -> R) -> Option<R> {
    let done = MINE.try_with(|mine| {
        let mut mine = mine.try_borrow_mut().ok()?;
        let mine = match mine.iter().position(|m| m.number == table.number()) {
            Some(at) => mine.get_mut(at)?,
            None => Mine::insert(&mut mine, table)?,
        };
        Some(f(mine))
    });
    done.ok().flatten()
}

#[cold]
#[inline(never)]
fn count_apart(table: &Arc<Table>, message: &Message<'_>, kind: Kind) -> Result<(At, Fingerprint), Missed> {
    let a = table.observe(message, kind);
    Mine::new(table).count_elsewhere(a).map(|at| (at, a.addition.hash))
}

/// What one thread has of one recorder, or one counter.
pub(super) struct Mine {
    number: Number,
    width_ms: u64,
    table: Arc<Table>,
    seats: Vec<Option<Seat>>,
    vacant: Vec<usize>,
    by_topic: FxHashMap<Arc<str>, Vec<usize>>,
    last: usize,
    prune_at: usize,
}

/// A line and what it is for.
struct Seat {
    topic: Arc<str>,
    window: WindowStart,
    class: Class,
    kind: Kind,
    /// The kind of stamped messages where the line is this thread's own.
    brief: Option<Kind>,
    line: Sitting,
}

/// What there is of a message before its line is looked for.
pub(super) enum Glance {
    Brief(Brief),
    /// All of it is needed.
    Whole(Stamp),
}

/// A message whose stamp says all; whether its time is in range is still to be seen.
#[derive(Clone, Copy)]
pub(super) struct Brief {
    pub(super) kind: Kind,
    pub(super) addition: Addition,
    /// The arrival by the clock alone.
    pub(super) now_ms: i64,
}

enum Sitting {
    Own(Line),
    Shared(Common),
}

impl Seat {
    #[inline(always)]
    fn is_for(&self, a: &Arrival<'_>, width_ms: u64) -> bool {
        self.is_in_place(a, width_ms) && same(&self.topic, a.topic)
    }

    /// Whatever the topic is.
    #[inline(always)]
    fn is_in_place(&self, a: &Arrival<'_>, width_ms: u64) -> bool {
        let into = a.addition.event_ms.wrapping_sub(self.window.0).cast_unsigned();
        into < width_ms && self.class == a.class && self.kind == a.kind
    }

    #[inline(always)]
    fn count(&mut self, a: &Arrival<'_>, table: &Table) -> Result<At, Refused> {
        match &mut self.line {
            Sitting::Own(line) => count_in(line, line.n() == 0, &a.addition, a.now_ms, table),
            Sitting::Shared(common) => count_in_shared(common, *a, table),
        }
    }
}

#[inline(always)]
fn count_in(line: &mut Line, first: bool, addition: &Addition, now_ms: i64, table: &Table) -> Result<At, Refused> {
    // The floor is read inside: what is not in a look at the table is dated at or after that look's watermark.
    line.count(
        #[inline(always)]
        |words| addition.count(words, first, now_ms.max(table.floor_ms())),
    )?;
    Ok(line.at())
}

/// The same behind the line's lock.
#[inline(never)]
pub(super) fn count_in_shared(common: &Common, a: Arrival<'_>, table: &Table) -> Result<At, Refused> {
    // In a child the lock may be held for ever, by a thread that only its parent has.
    if table.is_forked() {
        return Err(Refused::Forked);
    }
    let mut line = common.0.lock();
    let first = line.n() == 0;
    count_in(&mut line, first, &a.addition, a.now_ms, table)
}

impl Mine {
    pub(super) fn new(table: &Arc<Table>) -> Self {
        Self {
            number: table.number(),
            width_ms: table.width_ms(),
            table: Arc::clone(table),
            seats: Vec::new(),
            vacant: Vec::new(),
            by_topic: FxHashMap::default(),
            last: 0,
            prune_at: PRUNE_AT,
        }
    }

    #[cold]
    #[inline(never)]
    fn insert<'a>(all: &'a mut Vec<Self>, table: &Arc<Table>) -> Option<&'a mut Self> {
        all.retain(|m| !m.table.is_closed());
        all.push(Self::new(table));
        all.last_mut()
    }

    /// In the line of the message before this one, as a rule.
    #[inline(always)]
    fn count(&mut self, a: &Arrival<'_>) -> Result<At, Missed> {
        if let Some(Some(seat)) = self.seats.get_mut(self.last)
            && seat.is_for(a, self.width_ms)
            && let Ok(at) = seat.count(a, &self.table)
        {
            return Ok(at);
        }
        // By value: what nobody points to need not be in memory.
        self.count_elsewhere(*a)
    }

    /// The same where all messages are of one topic.
    #[inline(always)]
    pub(super) fn count_of_topic(&mut self, a: &Arrival<'_>) -> Result<At, Missed> {
        if let Some(Some(seat)) = self.seats.get_mut(self.last)
            && seat.is_in_place(a, self.width_ms)
            && let Ok(at) = seat.count(a, &self.table)
        {
            return Ok(at);
        }
        self.count_elsewhere(*a)
    }

    /// The same where a stamp says all; `None`: it belongs elsewhere, or nowhere.
    #[inline(always)]
    pub(super) fn count_brief(&mut self, b: &Brief, is_its_topic: impl Fn(&str) -> bool) -> Option<At> {
        let seat = self.seats.get_mut(self.last)?.as_mut()?;
        let into = b.addition.event_ms.wrapping_sub(seat.window.0).cast_unsigned();
        let fits = into < self.width_ms && seat.brief == Some(b.kind) && is_its_topic(&seat.topic);
        if !fits || !Rule::is_timely(b.addition.event_ms, b.now_ms) {
            return None;
        }
        match &mut seat.line {
            // The first message of a line takes the long way, which knows what that means for its words.
            Sitting::Own(line) if line.n() > 0 => count_in(line, false, &b.addition, b.now_ms, &self.table).ok(),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    #[inline(never)]
    fn count_elsewhere(&mut self, a: Arrival<'_>) -> Result<At, Missed> {
        let a = &a;
        let mut spent = false;
        for _ in 0..TURNS {
            let Some(at) = self.find(a) else {
                self.sit_down(a, spent)?;
                continue;
            };
            let Some(seat) = self.seats.get_mut(at).and_then(Option::as_mut) else { continue };
            match seat.count(a, &self.table) {
                Ok(at) => return Ok(at),
                Err(Refused::Forked) => return Err(Missed::Closed),
                Err(refused) => {
                    spent = refused == Refused::Spent;
                    self.stand_up(at);
                }
            }
        }
        Err(Missed::Full)
    }

    fn find(&mut self, a: &Arrival<'_>) -> Option<usize> {
        let fits = |at: usize| matches!(self.seats.get(at), Some(Some(seat)) if seat.is_for(a, self.width_ms));
        let found = self.by_topic.get(a.topic)?.iter().rev().copied().find(|at| fits(*at))?;
        self.last = found;
        Some(found)
    }

    /// Gets a line for messages like this one.
    #[cold]
    #[inline(never)]
    fn sit_down(&mut self, a: &Arrival<'_>, spent: bool) -> Result<(), Missed> {
        self.prune();
        let line = match self.table.line(a, spent) {
            Way::Own(line) => Sitting::Own(line),
            Way::Common(common) => Sitting::Shared(common),
            Way::Full => return Err(Missed::Full),
            Way::Closed => return Err(Missed::Closed),
        };
        let topic = match self.by_topic.get_key_value(a.topic) {
            Some((topic, _)) => Arc::clone(topic),
            None => Arc::from(a.topic),
        };
        let window = self.table.window_of(a.addition.event_ms);
        let brief = (a.class == Class::Stamped && matches!(line, Sitting::Own(_))).then_some(a.kind);
        let seat = Seat { topic: Arc::clone(&topic), window, class: a.class, kind: a.kind, brief, line };
        let at = self.vacant.pop().unwrap_or(self.seats.len());
        match self.seats.get_mut(at) {
            Some(vacant) => *vacant = Some(seat),
            None => self.seats.push(Some(seat)),
        }
        self.by_topic.entry(topic).or_default().push(at);
        self.last = at;
        Ok(())
    }

    /// Gives a line up that is closed.
    #[cold]
    fn stand_up(&mut self, at: usize) {
        let Some(seat) = self.seats.get_mut(at).and_then(Option::take) else { return };
        self.vacant.push(at);
        if let Some(list) = self.by_topic.get_mut(&seat.topic) {
            list.retain(|other| *other != at);
            if list.is_empty() {
                self.by_topic.remove(&seat.topic);
            }
        }
    }

    /// Forgets lines of slots that were closed meanwhile, now and then.
    fn prune(&mut self) {
        if self.seats.len() - self.vacant.len() < self.prune_at {
            return;
        }
        let closed = |seat: &Seat| match &seat.line {
            Sitting::Own(line) => line.is_closed(),
            Sitting::Shared(common) => common.0.lock().is_closed(),
        };
        let gone: Vec<usize> =
            (0..self.seats.len()).filter(|at| self.seats[*at].as_ref().is_some_and(closed)).collect();
        for at in gone {
            self.stand_up(at);
        }
        self.prune_at = PRUNE_AT.max(2 * (self.seats.len() - self.vacant.len()));
    }
}
