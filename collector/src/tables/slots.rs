//! A reporter's slots at the collector: open ones in one row, finals written once beside it, sealed ones as ids only.
//!
//! `open` → (final) → `final_slots` → (15 minutes) → sealed. A record joins its slot wherever it is; one for a sealed
//! slot says nothing new. Invariants: every id known is in exactly one of the three places; a slot's whole state is
//! kept until it is sealed, so that duplicates and late, older reports merge by `Join` and change nothing.
//!
//! Limits: at most [`RUNS`] gaps in a reporter's ids and [`OPEN`] open slots; a record that would make more is not
//! applied (an honest reporter announces it again, when the gaps have closed).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chaperone_audit::wire::SlotRecord;
use chaperone_audit::{SlotState, state::flag};

use super::codec::{self, VERSION};
use super::ids::IdSet;
use super::shares;
use crate::db::{AsValue, Db, Done, Fault, Value, int, params};

/// Runs of ids of one reporter at most.
const RUNS: usize = 4096;
/// Open slots of one reporter at most: far more than its own table holds.
const OPEN: usize = 65_536;

/// A slot as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) record: SlotRecord,
    /// A divergent state of it was told already.
    pub(super) diverged: bool,
}

/// Finals of one batch.
#[derive(Debug)]
struct Segment {
    id: i64,
    slots: BTreeMap<u64, Slot>,
    dirty: bool,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Joined {
    /// Nothing new.
    Nothing,
    /// Its slot is new: it is as the record has it.
    Opened,
    /// Its slot changed.
    Changed {
        /// Before.
        old: Box<SlotState>,
        /// After.
        new: Box<SlotState>,
        /// The two cannot both be of one honest slot, and this was not told before.
        diverged: bool,
    },
    /// The id stands for another topic, window or class: the record is not believed.
    Impostor,
    /// Too many gaps in the ids, or too many open slots.
    Refused,
}

/// All slots of one reporter that a batch touches.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) known: IdSet,
    pub(super) sealed: IdSet,
    open: BTreeMap<u64, Slot>,
    segments: Vec<Segment>,
    open_dirty: bool,
    sealed_dirty: bool,
    /// Windows whose open slots changed: (topic, window, width).
    touched: BTreeSet<(String, i64, i64)>,
}

impl Book {
    /// Ids, without the slots behind them.
    pub(super) fn of(known: IdSet, sealed: IdSet) -> Self {
        Self { known, sealed, ..Self::default() }
    }

    /// Loads the open slots of reporters.
    pub(super) fn load(db: &Db<'_>, books: &mut [(i64, &mut Self)]) -> Done<()> {
        let keys: Vec<Value<'_>> = books.iter().map(|(reporter, _)| Value::Int(*reporter)).collect();
        let sql = "SELECT body FROM open_slots WHERE reporter = ?1";
        let bodies = db.tx.first_many(sql, 1, &keys, |r| decode(&r.get::<Vec<u8>>(0)?))?;
        for ((_, book), open) in books.iter_mut().zip(bodies) {
            book.open = open.unwrap_or_default();
        }
        Ok(())
    }

    /// Merges a record.
    pub(super) fn join(&mut self, db: &Db<'_>, reporter: i64, record: &SlotRecord) -> Done<Joined> {
        let id = record.id;
        if self.sealed.contains(id) {
            return Ok(Joined::Nothing);
        }
        if !self.known.contains(id) {
            return Ok(self.open_slot(record));
        }
        if !self.open.contains_key(&id) {
            self.load_segment(db, reporter, id)?;
        }
        let (slot, dirty) = match self.open.get_mut(&id) {
            Some(slot) => (slot, &mut self.open_dirty),
            None => {
                match self.segments.iter_mut().find_map(|s| s.slots.get_mut(&id).map(|slot| (slot, &mut s.dirty))) {
                    Some(found) => found,
                    None => return Err(Fault::stored("slot")(format!("slot {id} of reporter {reporter} is nowhere"))),
                }
            }
        };
        let joined = merge(slot, record);
        if let Joined::Changed { .. } = &joined {
            *dirty = true;
            self.touched.insert((record.topic.clone(), record.window_ms.0, record.width_ms.ms()));
        }
        Ok(joined)
    }

    fn open_slot(&mut self, record: &SlotRecord) -> Joined {
        let mut known = self.known.clone();
        if !known.insert(record.id) || known.ranges() > RUNS || self.open.len() >= OPEN {
            return Joined::Refused;
        }
        self.known = known;
        self.open.insert(record.id, Slot { record: record.clone(), diverged: false });
        self.open_dirty = true;
        // What is final when it is first told was never open: nobody knows its window as open.
        if !record.state.is_final {
            self.touched.insert((record.topic.clone(), record.window_ms.0, record.width_ms.ms()));
        }
        Joined::Opened
    }

    /// Ids that no record was ever told under: nothing will be. `false`: they would make too many gaps.
    pub(super) fn void(&mut self, ids: (u64, u64)) -> bool {
        let missing = self.known.missing_in(ids);
        if missing.is_empty() {
            return true;
        }
        let mut known = self.known.clone();
        known.insert_range(ids);
        if known.ranges() > RUNS {
            return false;
        }
        self.known = known;
        for run in missing {
            self.sealed.insert_range(run);
        }
        self.sealed_dirty = true;
        true
    }

    fn load_segment(&mut self, db: &Db<'_>, reporter: i64, id: u64) -> Done<()> {
        if self.segments.iter().any(|s| s.slots.contains_key(&id)) {
            return Ok(());
        }
        let sql = "SELECT id, body FROM final_slots WHERE reporter = ?1 AND last_id >= ?2 AND first_id <= ?2";
        db.tx.each(sql, params![reporter, int(id)], &mut |row| {
            let segment: i64 = row.get(0)?;
            if self.segments.iter().all(|s| s.id != segment) {
                let slots = decode(&row.get::<Vec<u8>>(1)?)?;
                self.segments.push(Segment { id: segment, slots, dirty: false });
            }
            Ok(true)
        })
    }

    /// Collects what changed. Finals leave the open row; `now_ms` is when they became final here.
    pub(super) fn save(
        &mut self,
        db: &mut Db<'_>,
        (reporter, stage): (i64, i64),
        now_ms: i64,
        out: &mut Changes,
    ) -> Done<()> {
        let finals: BTreeMap<_, _> = self.open.extract_if(.., |_, slot| slot.record.state.is_final).collect();
        if !finals.is_empty() {
            let mut ids = IdSet::default();
            for id in finals.keys() {
                ids.insert(*id);
            }
            let (first, last) = (finals.keys().next().copied(), finals.keys().next_back().copied());
            out.finals.push(Finals {
                numbers: [reporter, int(first.unwrap_or_default()), int(last.unwrap_or_default()), now_ms],
                ids: json(&ids)?,
                body: codec::encode(finals.values()),
            });
        }
        if self.open_dirty || !finals.is_empty() {
            out.open.push((reporter, codec::encode(self.open.values())));
            self.open_dirty = false;
        }
        if std::mem::take(&mut self.sealed_dirty) {
            db.tx.execute(SEAL, params![reporter, json(&self.sealed)?])?;
        }
        for segment in self.segments.iter_mut().filter(|s| s.dirty) {
            out.segments.push((segment.id, codec::encode(segment.slots.values())));
            segment.dirty = false;
        }
        self.save_open_windows(db, (reporter, stage), out)
    }

    /// Which windows have open slots, and what is in flight there.
    fn save_open_windows(&mut self, db: &mut Db<'_>, (reporter, stage): (i64, i64), out: &mut Changes) -> Done<()> {
        let mut open: HashMap<(&str, i64, i64), (i64, u64)> = HashMap::new();
        for slot in self.open.values() {
            let r = &slot.record;
            let entry = open.entry((&r.topic, r.window_ms.0, r.width_ms.ms())).or_default();
            entry.0 += 1;
            if !r.state.flags.contains(flag::SEEN) {
                entry.1 = entry.1.saturating_add(r.state.unreported());
            }
        }
        for (topic, window, width) in std::mem::take(&mut self.touched) {
            let place = [db.name(&topic)?, window, stage, reporter, width];
            match open.get(&(topic.as_str(), window, width)) {
                Some((slots, unreported)) => {
                    out.windows.extend(place);
                    out.windows.extend([*slots, int(*unreported)]);
                }
                None => out.gone.extend(place),
            }
        }
        Ok(())
    }
}

const SEAL: &str = "UPDATE reporter SET sealed = ?2 WHERE id = ?1";

fn json(ids: &IdSet) -> Done<String> {
    serde_json::to_string(ids).map_err(Fault::stored("ids"))
}

/// Finals of one reporter in one batch.
#[derive(Debug)]
struct Finals {
    /// Reporter, first id, last id, when they became final.
    numbers: [i64; 4],
    ids: String,
    body: Vec<u8>,
}

/// What a batch changes in the slots of all its reporters.
#[derive(Debug, Default)]
pub(super) struct Changes {
    finals: Vec<Finals>,
    open: Vec<(i64, Vec<u8>)>,
    segments: Vec<(i64, Vec<u8>)>,
    /// Rows of `open_window`, seven numbers each.
    windows: Vec<i64>,
    /// Keys of those that are gone, five numbers each.
    gone: Vec<i64>,
}

impl Changes {
    /// Writes all of it: one statement a table.
    pub(super) fn write(&self, db: &Db<'_>) -> Done<()> {
        let version = VERSION.value();
        let finals = self.finals.iter().flat_map(|f| {
            let [reporter, first, last, now_ms] = f.numbers.map(Value::Int);
            [reporter, first, last, f.ids.value(), now_ms, version, f.body.value()]
        });
        db.tx.execute_many(include_str!("sql/final_slots_insert.sql"), 7, &finals.collect::<Vec<_>>())?;
        let open: Vec<Value<'_>> =
            self.open.iter().flat_map(|(reporter, body)| [reporter.value(), version, body.value()]).collect();
        db.tx.execute_many(include_str!("sql/open_slots_replace.sql"), 3, &open)?;
        let segments: Vec<Value<'_>> =
            self.segments.iter().flat_map(|(id, body)| [id.value(), version, body.value()]).collect();
        db.tx.execute_many("UPDATE final_slots SET version = ?2, body = ?3 WHERE id = ?1", 3, &segments)?;
        let windows: Vec<Value<'_>> = self.windows.iter().map(AsValue::value).collect();
        db.tx.execute_many(include_str!("sql/open_window_replace.sql"), 7, &windows)?;
        let gone: Vec<Value<'_>> = self.gone.iter().map(AsValue::value).collect();
        db.tx.execute_many(include_str!("sql/open_window_delete.sql"), 5, &gone)?;
        Ok(())
    }
}

fn merge(slot: &mut Slot, record: &SlotRecord) -> Joined {
    let held = &slot.record;
    if (&held.topic, held.window_ms, held.width_ms, held.class)
        != (&record.topic, record.window_ms, record.width_ms, record.class)
    {
        return Joined::Impostor;
    }
    // Most duplicates are exact.
    if held.state == record.state {
        return Joined::Nothing;
    }
    let diverged = !slot.diverged && held.state.divergent(&record.state);
    let old = Box::new(held.state.clone());
    slot.record.state.join(&record.state);
    slot.diverged |= diverged;
    if *old == slot.record.state && !diverged {
        return Joined::Nothing;
    }
    Joined::Changed { old, new: Box::new(slot.record.state.clone()), diverged }
}

fn decode(body: &[u8]) -> Done<BTreeMap<u64, Slot>> {
    codec::decode(body).map_err(Fault::stored("slots"))
}

/// Seals slots that became final before `before_ms`: their states go, their ids stay. At most `limit` rows. A reporter that
/// somebody else is at work on is left for the next time. Whose they were is kept of windows in trouble.
pub(super) fn seal(db: &Db<'_>, before_ms: i64, limit: u32) -> Done<()> {
    let mut rows: BTreeMap<i64, (Vec<i64>, IdSet)> = BTreeMap::new();
    let mut span: Option<(i64, i64)> = None;
    let sql = "SELECT id, reporter, ids, final_ms FROM final_slots WHERE final_ms < ?1 ORDER BY final_ms LIMIT ?2";
    db.tx.each(sql, params![before_ms, limit], &mut |row| {
        let (segments, ids) = rows.entry(row.get(1)?).or_default();
        segments.push(row.get(0)?);
        ids.extend(&serde_json::from_str(&row.get::<String>(2)?).map_err(Fault::stored("ids"))?);
        let final_ms: i64 = row.get(3)?;
        span = Some((span.map_or(final_ms, |(first, _)| first), final_ms));
        Ok(true)
    })?;
    let Some(span) = span else { return Ok(()) };
    let trouble = shares::Trouble::load(db.tx, span)?;
    for (reporter, (segments, ids)) in rows {
        let sealed = db.tx.first(include_str!("sql/sealed_select.sql"), params![reporter], |r| r.get::<String>(0))?;
        let Some(sealed) = sealed else { continue };
        let mut sealed: IdSet = serde_json::from_str(&sealed).map_err(Fault::stored("ids"))?;
        sealed.extend(&ids);
        db.tx.execute(SEAL, params![reporter, json(&sealed)?])?;
        shares::keep(db, reporter, &segments, &trouble)?;
        let segments: Vec<Value<'_>> = segments.iter().map(AsValue::value).collect();
        db.tx.execute_many("DELETE FROM final_slots WHERE id = ?1", 1, &segments)?;
    }
    Ok(())
}
