//! One batch, one transaction: everything that its records say, and where to read next.
//!
//! Invariants: an offset below `next` was counted when it was first read and is skipped; read = applied + no-op +
//! fenced + hole + quarantined (I5); applying anything twice, late or out of order changes no total (I1, I4). Rows are
//! loaded once a batch, changed in memory and written once, in key order.

use std::collections::{BTreeMap, BTreeSet};

use chaperone_audit::wire::{AuditMessage, SlotRecord};
use chaperone_audit::{SlotState, state::flag};
use uuid::Uuid;

use super::Options;
use super::audit;
use super::flags;
use super::levels::Levels;
use super::marks::Marks;
use super::reopen;
use super::reporters::Reporter;
use super::slots::{self, Joined};
use super::taps::Taps;
use super::taps::again::Under;
use super::totals::{Arrived, Key, Share, Totals};
use crate::audit::AuditThrough;
use crate::batch::{Applied, AuditPartition, Batch, Content, Item, Refused};
use crate::db::{AsValue, Db, Done, Fault, Value, count, int, params};
use crate::interval::Outcome;
use crate::rebuild::Rulings;

/// Rows of finals sealed per batch.
const SEALED_PER_BATCH: u32 = 512;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Applied,
    Noop,
    Fenced,
    Hole,
    Quarantined,
}

/// What a record said, as far as it goes.
#[derive(Debug, Clone, Copy, Default)]
struct News {
    changed: bool,
    fenced: bool,
    hole: bool,
}

impl News {
    fn fate(self) -> Fate {
        match self {
            Self { changed: true, .. } => Fate::Applied,
            Self { fenced: true, .. } => Fate::Fenced,
            Self { hole: true, .. } => Fate::Hole,
            _ => Fate::Noop,
        }
    }
}

/// An audit partition's row.
#[derive(Debug, Default)]
struct Source {
    log: u32,
    closed: bool,
    next: i64,
    through_ms: Option<i64>,
    /// Applied, noop, fenced, hole, quarantined.
    counts: [u64; 5],
    now: Applied,
}

impl Source {
    /// Held until the end of the transaction.
    fn load(db: &Db<'_>, p: &AuditPartition) -> Done<Self> {
        if let Some(found) = Self::find(db, p)? {
            return Ok(found);
        }
        let of = params![p.cluster, p.topic, p.partition];
        db.tx.execute(include_str!("sql/source_claim.sql"), of)?;
        Ok(Self::find(db, p)?.unwrap_or_default())
    }

    fn find(db: &Db<'_>, p: &AuditPartition) -> Done<Option<Self>> {
        let of = params![p.cluster, p.topic, p.partition];
        db.tx.first(include_str!("sql/source_select.sql"), of, |r| {
            let mut counts = [0; 5];
            for (i, c) in counts.iter_mut().enumerate() {
                *c = count(r.get(i + 2)?);
            }
            let (next, through_ms, log, closed) = (r.get(0)?, r.get(1)?, r.get(7)?, r.get(8)?);
            Ok(Self { log, closed, next, through_ms, counts, now: Applied::default() })
        })
    }

    fn note(&mut self, fate: Fate, item: &Item) {
        let [applied, noop, fenced, hole, quarantined] = &mut self.counts;
        let (ever, now) = match fate {
            Fate::Applied => (applied, &mut self.now.applied),
            Fate::Noop => (noop, &mut self.now.noop),
            Fate::Fenced => (fenced, &mut self.now.fenced),
            Fate::Hole => (hole, &mut self.now.hole),
            Fate::Quarantined => (quarantined, &mut self.now.quarantined),
        };
        *ever += 1;
        *now += 1;
        // What was appended before this record lies below it.
        self.through_ms = self.through_ms.max(Some(item.append_ms));
        self.next = item.offset.saturating_add(1);
    }

    fn save(&self, db: &Db<'_>, p: &AuditPartition) -> Done<()> {
        let [applied, noop, fenced, hole, quarantined] = self.counts.map(int);
        let read: i64 = self.counts.iter().copied().map(int).sum();
        let row = params![
            p.cluster,
            p.topic,
            p.partition,
            self.next,
            self.through_ms,
            read,
            applied,
            noop,
            fenced,
            hole,
            quarantined,
        ];
        db.tx.execute(include_str!("sql/source_replace.sql"), row)?;
        Ok(())
    }
}

/// What of a batch counts, by offset, where that was decided before: a store that is made anew.
pub(super) type Ruled = BTreeMap<i64, Rulings>;

/// Applies a batch.
pub(super) fn apply(db: &mut Db<'_>, batch: &Batch, options: &Options, ruled: Option<&Ruled>) -> Done<Applied> {
    let mut source = Source::load(db, &batch.source)?;
    // Begun behind `next`: between the two lies what an older store has not.
    let ahead = batch.from.is_some_and(|from| from > source.next);
    if source.closed || batch.log != source.log || ahead {
        return Err(audit::moved(&batch.source, batch.log));
    }
    if batch.next <= source.next {
        return Ok(Applied { revision: db.revision()?, ..Applied::default() });
    }
    let now_ms = batch.items.iter().map(|i| i.received_ms).max();
    if let Some(now_ms) = now_ms.filter(|_| !db.tx.is_shared()) {
        slots::seal(db, now_ms.saturating_sub(options.seal_after_ms), SEALED_PER_BATCH)?;
    }
    let mut run = Run { lost_ms: audit::lost_until(db, &batch.source)?, ..Run::default() };
    let first = source.next;
    if let (Some(_), Some(item)) = (run.lost_ms, batch.items.iter().find(|i| i.offset >= first)) {
        audit::bound(db, &batch.source, source.log, (item.offset, item.append_ms))?;
    }
    let unruled = Rulings::default();
    let new = || batch.items.iter().filter(|i| (first..batch.next).contains(&i.offset));
    run.load(db, new().filter_map(said))?;
    for item in new() {
        if item.offset < source.next {
            continue;
        }
        let fate = match &item.content {
            Content::Refused(refused) => quarantine(db, &batch.source, item, refused)?,
            Content::Message(message) => {
                let rulings = ruled.map(|ruled| ruled.get(&item.offset).unwrap_or(&unruled));
                run.message(db, message, item.append_ms, rulings)?
            }
        };
        source.note(fate, item);
    }
    run.save(db, now_ms.unwrap_or_default())?;
    source.next = batch.next;
    source.save(db, &batch.source)?;
    Ok(Applied { revision: db.revision()?, ..source.now })
}

/// What a record that is believed says, and when it was appended.
fn said(item: &Item) -> Option<(&AuditMessage, i64)> {
    match &item.content {
        Content::Message(message) => Some((message, item.append_ms)),
        Content::Refused(_) => None,
    }
}

fn quarantine(db: &mut Db<'_>, p: &AuditPartition, item: &Item, refused: &Refused) -> Done<Fate> {
    let length = int(refused.length);
    let row = params![
        p.cluster,
        p.topic,
        p.partition,
        item.offset,
        item.received_ms,
        length,
        refused.sha256,
        refused.reason,
    ];
    db.note(include_str!("sql/quarantine_insert.sql"), row, "DELETE FROM quarantine WHERE id <= ?1")?;
    db.bump();
    Ok(Fate::Quarantined)
}

/// What a batch works on.
#[derive(Debug, Default)]
struct Run {
    /// Until when records of the audit topic may be lost.
    lost_ms: Option<i64>,
    reporters: BTreeMap<(Uuid, i64), Reporter>,
    /// Of those, who was not known before and has not been heard yet.
    new: BTreeSet<(Uuid, i64)>,
    taps: Taps,
    marks: Marks,
    totals: Totals,
}

impl Run {
    /// Loads whatever these messages speak of, and holds what they may change, in ascending order: names, reporters, tapped
    /// partitions.
    fn load<'m>(
        &mut self,
        db: &mut Db<'_>,
        messages: impl Iterator<Item = (&'m AuditMessage, i64)> + Clone,
    ) -> Done<()> {
        db.intern(messages.clone().flat_map(|(m, _)| names(m)))?;
        let mut firsts: BTreeMap<(Uuid, i64), (&AuditMessage, i64)> = BTreeMap::new();
        let (mut places, mut topics, mut positions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (m, append_ms) in messages {
            let stage = db.name(&m.stage)?;
            firsts.entry((m.incarnation, stage)).or_insert((m, append_ms));
            let intervals = m.intervals.iter().map(|i| (&i.topic, i.partition));
            for (topic, partition) in intervals.chain(m.marks.iter().map(|mark| (&mark.topic, mark.partition))) {
                places.insert((stage, db.name(topic)?, partition));
            }
            for t in &m.topics {
                topics.insert((stage, db.name(&t.topic)?));
            }
            for p in &m.positions {
                positions.insert((stage, db.name(&p.topic)?, p.partition));
            }
        }
        self.load_reporters(db, &firsts)?;
        let (topics, positions) = (Vec::from_iter(topics), Vec::from_iter(positions));
        self.marks.load(db, &topics, &positions)?;
        self.taps.load(db, &places)
    }

    /// Those that were not known are made before any that is known is held: who makes one holds nothing that another waits for
    /// who makes it too.
    fn load_reporters(&mut self, db: &Db<'_>, firsts: &BTreeMap<(Uuid, i64), (&AuditMessage, i64)>) -> Done<()> {
        let keys: Vec<(Uuid, i64)> = firsts.keys().copied().collect();
        let known = Reporter::known(db, &keys)?;
        let mut others = Vec::with_capacity(keys.len());
        for ((key, (m, append_ms)), is_known) in firsts.iter().zip(known) {
            let made = if is_known { None } else { Reporter::create(db, key.1, m, *append_ms)? };
            let Some(reporter) = made else {
                others.push(*key);
                continue;
            };
            self.new.insert(*key);
            first_of_stage(db, key.1, reporter.id)?;
            self.reporters.insert(*key, reporter);
        }
        for (key, found) in others.iter().zip(Reporter::load(db, &others)?) {
            let reporter = found.ok_or_else(|| Fault::stored("reporter")("it was known and is not there"))?;
            self.reporters.insert(*key, reporter);
        }
        Ok(())
    }

    fn message(&mut self, db: &mut Db<'_>, m: &AuditMessage, append_ms: i64, rulings: Option<&Rulings>) -> Done<Fate> {
        let stage = db.name(&m.stage)?;
        let key = (m.incarnation, stage);
        let mut news = News::default();
        news.changed |= self.new.remove(&key);
        let Some(mut reporter) = self.reporters.remove(&key) else {
            return Err(Fault::stored("reporter")(format!("{} of {} was not loaded", m.incarnation, m.stage)));
        };
        news.changed |= reporter.hear(m, append_ms)?;
        for record in &m.slots {
            news.changed |= self.slot(db, &mut reporter, m, record, append_ms)?;
        }
        if !m.merged.iter().all(|ids| reporter.book.void(*ids)) {
            too_many_gaps(db, m, "what was merged", append_ms)?;
        }
        self.taps(db, &mut reporter, (m, append_ms), rulings, &mut news)?;
        for topic in &m.topics {
            news.changed |= self.marks.topic(db, (stage, &reporter.skew), topic, append_ms)?;
        }
        let (positions, promised) = reporter.promise(m, append_ms, self.lost_ms);
        if let Some((from_ms, to_ms)) = reporter.written_off() {
            flags::lost(db, stage, (from_ms, to_ms))?;
            let text = format!(
                "reports of {} on {}: some were lost with the audit topic; windows from {from_ms} to {to_ms} are uncertain, what was counted later counts",
                m.stage, m.reporter.host
            );
            db.event(append_ms, "written_off", Some(m.incarnation.as_bytes()), &text)?;
        }
        news.changed |= promised;
        for (position, at_ms) in &positions {
            news.changed |= self.marks.position(db, stage, position, *at_ms)?;
        }
        self.reporters.insert(key, reporter);
        Ok(news.fate())
    }

    /// What a tap counted, and how far it is.
    fn taps(
        &mut self,
        db: &mut Db<'_>,
        reporter: &mut Reporter,
        (m, append_ms): (&AuditMessage, i64),
        rulings: Option<&Rulings>,
        news: &mut News,
    ) -> Done<()> {
        let (stage, skew) = (reporter.stage, reporter.skew);
        let under = Under { by: m, stage, append_ms };
        for (no, interval) in m.intervals.iter().enumerate() {
            let ruling = rulings.map(|rulings| rulings.intervals.get(no));
            let outcome = match ruling {
                None => self.taps.decide(db, stage, interval)?,
                Some(None) => Outcome::Fenced,
                Some(Some(ruling)) => self.taps.interval_again(db, &under, interval, ruling)?,
            };
            match outcome {
                Outcome::Add => {
                    self.taps.add(db, (stage, &skew), interval, append_ms, &mut self.totals)?;
                    news.changed = true;
                    interval.windows.iter().for_each(|w| reporter.manner.counted(w.class, w.n));
                }
                Outcome::Duplicate => {}
                Outcome::Fenced => news.fenced = true,
                Outcome::Hole => news.hole = true,
            }
            if let Some(Some(ruling)) = ruling {
                self.taps.lost(db, &under, interval, ruling)?;
            }
        }
        for (no, mark) in m.marks.iter().enumerate() {
            if let Some(stand) = rulings.and_then(|rulings| rulings.marks.get(no)) {
                self.taps.mark_again(db, &under, mark, *stand)?;
            }
            news.changed |= self.taps.mark(db, (stage, &skew), mark, append_ms)?;
        }
        Ok(())
    }

    fn slot(
        &mut self,
        db: &mut Db<'_>,
        reporter: &mut Reporter,
        m: &AuditMessage,
        record: &SlotRecord,
        append_ms: i64,
    ) -> Done<bool> {
        let (nothing, old, new);
        let (old, new, diverged) = match reporter.book.join(db, reporter.id, record)? {
            Joined::Nothing => return Ok(false),
            Joined::Opened => {
                nothing = SlotState::default();
                (&nothing, &record.state, false)
            }
            Joined::Refused => {
                too_many_gaps(db, m, &format!("slot {}", record.id), append_ms)?;
                return Ok(false);
            }
            Joined::Impostor => {
                let text = format!("slot {} was reported for two different windows; the later is ignored", record.id);
                db.event(append_ms, "divergent", Some(m.incarnation.as_bytes()), &text)?;
                return Ok(false);
            }
            Joined::Changed { old: before, new: after, diverged } => {
                (old, new) = (before, after);
                (&*old, &*new, diverged)
            }
        };
        let topic = db.name(&record.topic)?;
        let key =
            Key { topic, window: record.window_ms, width: record.width_ms, stage: reporter.stage, class: record.class };
        if diverged {
            let text = format!("slot {} ({}, window {})", record.id, record.topic, record.window_ms.0);
            db.event(append_ms, "divergent", Some(m.incarnation.as_bytes()), &text)?;
            flags::set(db, &key, "divergent", key.end_ms())?;
        }
        let last_ms = new.last_ms.map(|ms| reporter.skew.broker_ms(ms, append_ms));
        note_flags(db, reporter, &key, new, last_ms)?;
        reporter.add(old, new);
        reporter.manner.moved(record.class, old, new);
        let arrived = Arrived { after_ms: reporter.reported_until_ms(append_ms), last_ms };
        self.totals.moved(key, record.rule, &Share::of_slot(old), &Share::of_slot(new), arrived);
        Ok(true)
    }

    fn save(&mut self, db: &mut Db<'_>, now_ms: i64) -> Done<()> {
        let mut reporters: Vec<Reporter> = std::mem::take(&mut self.reporters).into_values().collect();
        Reporter::save(db, &mut reporters, now_ms)?;
        self.taps.save(db)?;
        self.marks.save(db)?;
        let levels = Levels::held(db.tx)?;
        for window in self.totals.write(db, &levels)? {
            db.touch(window);
            db.bump();
        }
        db.queue()?;
        self.taps.save_spans(db, &levels)
    }
}

/// Topics and stages that a message names.
fn names(m: &AuditMessage) -> impl Iterator<Item = &str> {
    let slots = m.slots.iter().map(|s| &s.topic);
    let taps = m.intervals.iter().map(|i| &i.topic).chain(m.marks.iter().map(|mark| &mark.topic));
    let others = m.topics.iter().map(|t| &t.topic).chain(m.positions.iter().map(|p| &p.topic));
    std::iter::once(&m.stage).chain(slots).chain(taps).chain(others).map(String::as_str)
}

fn too_many_gaps(db: &Db<'_>, m: &AuditMessage, what: &str, append_ms: i64) -> Done<()> {
    let text = format!("{what} was not applied: too many gaps in the reporter's slot ids, or too many open slots");
    db.event(append_ms, "gaps", Some(m.incarnation.as_bytes()), &text)
}

/// Notes what a slot's flags say about its reporter and its stage.
fn note_flags(db: &Db<'_>, reporter: &mut Reporter, key: &Key, s: &SlotState, last_ms: Option<i64>) -> Done<()> {
    if [flag::CRASH, flag::NO_CRASH_RECOVERY].iter().any(|f| s.flags.contains(*f)) {
        reporter.note_heap();
    }
    if s.flags.contains(flag::OVERFLOW) {
        // Its windows are those of arrival, and the last of them takes what comes after it.
        let to_ms = key.end_ms().max(last_ms.unwrap_or(i64::MIN));
        flags::set(db, key, "overflow", to_ms)?;
    }
    Ok(())
}

/// If nothing was known of a stage before this reporter, what waited for it can be judged.
fn first_of_stage(db: &Db<'_>, stage: i64, reporter: i64) -> Done<()> {
    let others = "SELECT 1 FROM reporter WHERE stage = ?1 AND id <> ?2 LIMIT 1";
    if db.tx.exists(others, params![stage, reporter])? {
        return Ok(());
    }
    reopen::first_report(db, stage)
}

/// Everything appended to these partitions before the given broker time has been applied.
pub(super) fn through(db: &Db<'_>, through: &[AuditThrough]) -> Done<()> {
    refuse_older(db, through)?;
    let mut latest: BTreeMap<&AuditPartition, i64> = BTreeMap::new();
    for AuditThrough { source, through_ms, .. } in through {
        latest.entry(source).and_modify(|known| *known = (*known).max(*through_ms)).or_insert(*through_ms);
    }
    let rows: Vec<Value<'_>> =
        latest.iter().flat_map(|(p, ms)| *params![p.cluster, p.topic, p.partition, ms]).collect();
    db.tx.execute_many(include_str!("sql/source_through.sql"), 4, &rows)?;
    Ok(())
}

/// Refuses whoever applied more than this store has: `next` only grows, so this is an older one.
fn refuse_older(db: &Db<'_>, through: &[AuditThrough]) -> Done<()> {
    let known: BTreeMap<&AuditPartition, i64> = through.iter().filter_map(|t| Some((&t.source, t.next?))).collect();
    let keys: Vec<Value<'_>> = known.keys().flat_map(|p| *params![p.cluster, p.topic, p.partition]).collect();
    let sql = "SELECT next, log FROM audit_partition WHERE cluster = ?1 AND topic = ?2 AND partition = ?3";
    let stands = db.tx.first_many(sql, 3, &keys, |r| Ok((r.get::<i64>(0)?, r.get::<u32>(1)?)))?;
    for ((source, next), stand) in known.into_iter().zip(stands) {
        let (stands_at, log) = stand.unwrap_or_default();
        if stands_at < next {
            return Err(audit::moved(source, log));
        }
    }
    Ok(())
}
