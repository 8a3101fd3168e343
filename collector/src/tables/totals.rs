//! Totals by (topic, window, stage, class): moved by (new − old), coalesced in memory, written once a batch.
//!
//! A window's row and, once it was rolled up, the rows of the wider levels that it lies in move alike.
//!
//! Invariant (I1, I4): a total is Σ of the joined slots and the applied intervals behind it. Fingerprints are added in
//! Rust, modulo 2^64 a lane: SQL's `+` turns to floating point on overflow.

use std::collections::{BTreeMap, HashMap};

use chaperone_audit::wire::IntervalWindow;
use chaperone_audit::{Class, Fingerprint, Histogram, RuleId, SlotState, Width, WindowStart, state::flag};

use super::flags;
use super::late::Late;
use super::levels::Levels;
use crate::db::{AsValue, Db, Done, Fault, Row, Value, fingerprint};

/// What totals are kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) topic: i64,
    pub(super) window: WindowStart,
    pub(super) width: Width,
    pub(super) stage: i64,
    pub(super) class: Class,
}

impl Key {
    /// End of the window; no window of a reporter that lies may stop us.
    pub(super) fn end_ms(&self) -> i64 {
        self.window.0.saturating_add(self.width.ms())
    }
    /// As it is stored: topic, window, stage, class, width.
    fn columns(&self) -> [i64; 5] {
        [self.topic, self.window.0, self.stage, class_no(self.class), self.width.ms()]
    }
}

/// A class as it is stored: its place in [`Class::ALL`].
pub(super) fn class_no(class: Class) -> i64 {
    Class::ALL.iter().zip(0..).find(|(c, _)| **c == class).map_or(0, |(_, i)| i)
}

/// What one slot or interval window adds to its total.
#[derive(Debug, Clone, Default)]
pub(super) struct Share<'a> {
    pub(super) n: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) f_in: Fingerprint,
    pub(super) f_acked: Fingerprint,
    pub(super) f_failed: Fingerprint,
    /// `None`: empty. Not copied: it is the largest part of a slot.
    pub(super) hist: Option<&'a Histogram>,
    pub(super) min_ms: Option<i64>,
    pub(super) max_ms: Option<i64>,
}

impl<'a> Share<'a> {
    /// A slot's share. A stage that only sees has no delivery reports: what it saw counts as acked.
    pub(super) fn of_slot(s: &'a SlotState) -> Self {
        let seen = s.flags.contains(flag::SEEN);
        let (acked, f_acked) = if seen { (s.n, s.f_in()) } else { (s.acked, s.f_acked()) };
        Self {
            n: s.n,
            acked,
            failed: if seen { 0 } else { s.failed },
            bytes: s.bytes,
            f_in: s.f_in(),
            f_acked,
            f_failed: if seen { Fingerprint::ZERO } else { s.f_failed() },
            hist: s.hist.as_ref(),
            min_ms: s.min_ms,
            max_ms: s.max_ms,
        }
    }

    /// An interval window's share: a tap only sees.
    pub(super) fn of_interval(w: &'a IntervalWindow) -> Self {
        Self {
            n: w.n,
            acked: w.n,
            failed: 0,
            bytes: w.bytes,
            f_in: w.f,
            f_acked: w.f,
            f_failed: Fingerprint::ZERO,
            hist: Some(&w.hist),
            min_ms: Some(w.min_ms),
            max_ms: Some(w.max_ms),
        }
    }
}

/// Between which broker times what is new arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    /// Not before this: until then everything had been reported. `i64::MIN` where that is not known.
    pub(super) after_ms: i64,
    /// The last of it.
    pub(super) last_ms: Option<i64>,
}

/// How far a total moves.
#[derive(Debug, Clone, Default)]
struct Delta {
    rules: Option<(u64, u64)>,
    n: i128,
    acked: i128,
    failed: i128,
    bytes: i128,
    f_in: Fingerprint,
    f_acked: Fingerprint,
    f_failed: Fingerprint,
    plus: Histogram,
    minus: Histogram,
    min_ms: Option<i64>,
    max_ms: Option<i64>,
    last_ms: Option<i64>,
    first_ms: Option<i64>,
}

impl Delta {
    /// From nothing to what is stored.
    fn of(s: Stored) -> Self {
        let [n, acked, failed, bytes] = s.counts.map(i128::from);
        let [f_in, f_acked, f_failed] = s.sums;
        let [min_ms, max_ms, last_ms, first_ms] = s.times;
        let (rules, plus, minus) = (s.rules, s.hist, Histogram::new());
        Self { rules, n, acked, failed, bytes, f_in, f_acked, f_failed, plus, minus, min_ms, max_ms, last_ms, first_ms }
    }

    fn add(&mut self, d: &Self) {
        self.n += d.n;
        self.acked += d.acked;
        self.failed += d.failed;
        self.bytes += d.bytes;
        self.f_in = self.f_in.plus(d.f_in);
        self.f_acked = self.f_acked.plus(d.f_acked);
        self.f_failed = self.f_failed.plus(d.f_failed);
        self.plus.add(&d.plus);
        self.minus.add(&d.minus);
        self.min_ms = least(self.min_ms, d.min_ms);
        self.max_ms = self.max_ms.max(d.max_ms);
        self.last_ms = self.last_ms.max(d.last_ms);
        self.first_ms = least(self.first_ms, d.first_ms);
        self.rules = both(self.rules, d.rules);
    }
}

/// The span of two spans of rules.
fn both(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (some, None) | (None, some) => some,
    }
}

/// All totals that a batch moves.
#[derive(Debug, Default)]
pub(super) struct Totals {
    deltas: HashMap<Key, Delta>,
    /// By (topic, stage, rule): the first and the last arrival.
    rules: BTreeMap<(i64, i64, u64), (i64, i64)>,
}

const HOUR_MS: i64 = 3_600_000;

impl Totals {
    /// Moves a total from `old` to `new` of one contributor.
    pub(super) fn moved(&mut self, key: Key, rule: RuleId, old: &Share<'_>, new: &Share<'_>, arrived: Arrived) {
        if let Some(at_ms) = arrived.last_ms {
            let hour_ms = at_ms.div_euclid(HOUR_MS).saturating_mul(HOUR_MS);
            let used = self.rules.entry((key.topic, key.stage, rule.0)).or_insert((hour_ms, hour_ms));
            *used = (used.0.min(hour_ms), used.1.max(hour_ms.saturating_add(HOUR_MS)));
        }
        let d = self.deltas.entry(key).or_default();
        let difference = |new: u64, old: u64| i128::from(new) - i128::from(old);
        d.n += difference(new.n, old.n);
        d.acked += difference(new.acked, old.acked);
        d.failed += difference(new.failed, old.failed);
        d.bytes += difference(new.bytes, old.bytes);
        d.f_in = d.f_in.plus(new.f_in).minus(old.f_in);
        d.f_acked = d.f_acked.plus(new.f_acked).minus(old.f_acked);
        d.f_failed = d.f_failed.plus(new.f_failed).minus(old.f_failed);
        new.hist.into_iter().for_each(|hist| d.plus.add(hist));
        old.hist.into_iter().for_each(|hist| d.minus.add(hist));
        d.min_ms = least(d.min_ms, new.min_ms);
        d.max_ms = d.max_ms.max(new.max_ms);
        d.last_ms = d.last_ms.max(arrived.last_ms);
        if new.n > old.n {
            d.first_ms = least(d.first_ms, Some(arrived.after_ms));
        }
        let (low, high) = d.rules.unwrap_or((rule.0, rule.0));
        d.rules = Some((low.min(rule.0), high.max(rule.0)));
    }

    /// Writes all of them and clears; returns the windows that have an event time and are judged again.
    pub(super) fn write(&mut self, db: &Db<'_>, levels: &Levels) -> Done<Vec<(i64, i64, i64)>> {
        let used = std::mem::take(&mut self.rules);
        let row = |((topic, stage, rule), (first_ms, last_ms)): ((i64, i64, u64), (i64, i64))| {
            [topic, stage, rule.cast_signed(), first_ms, last_ms].map(Value::Int)
        };
        let rows: Vec<Value<'_>> = used.into_iter().flat_map(row).collect();
        db.tx.execute_many(include_str!("sql/stage_rule_upsert.sql"), 5, &rows)?;
        let mut deltas: Vec<_> = self.deltas.drain().collect();
        // In key order: neighbours share pages.
        deltas.sort_unstable_by_key(|(key, _)| *key);
        let (mut windows, mut wider) = (Vec::with_capacity(deltas.len()), Moves::default());
        let (mut touched, mut late) = (Vec::new(), Late::default());
        for (key, delta) in deltas {
            if key.class == Class::Rewritten {
                flags::rewritten(db, &key)?;
            }
            let [topic, window_ms, stage, class, width_ms] = key.columns();
            let placed = levels.place(db.tx, topic, window_ms, width_ms)?;
            for (start_ms, level_ms) in &placed.levels {
                wider.add([topic, *start_ms, stage, class, *level_ms], &delta);
            }
            match placed.judged {
                Some((start_ms, width_ms)) if key.class.has_time() => touched.push((topic, start_ms, width_ms)),
                Some(_) => {}
                None => late.note(delta.n, delta.last_ms, placed.window || !placed.levels.is_empty()),
            }
            if placed.window {
                windows.push((key.columns(), delta));
            }
        }
        write(db, &windows, &WINDOWS)?;
        wider.write(db)?;
        late.tell(db)?;
        touched.dedup();
        Ok(touched)
    }
}

/// How far rows of wider levels move, in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Moves(BTreeMap<[i64; 5], Delta>);

impl Moves {
    fn add(&mut self, key: [i64; 5], delta: &Delta) {
        self.0.entry(key).or_default().add(delta);
    }

    /// Adds a row that begins with the columns of a total to these slices: start and width.
    pub(super) fn roll(&mut self, r: &Row<'_>, (topic, stage, class): (i64, i64, i64), to: &[(i64, i64)]) -> Done<()> {
        let Some(stored) = Stored::read(r)? else { return Ok(()) };
        let delta = Delta::of(stored);
        for (start_ms, level_ms) in to {
            self.add([topic, *start_ms, stage, class, *level_ms], &delta);
        }
        Ok(())
    }

    /// Writes all of them.
    pub(super) fn write(self, db: &Db<'_>) -> Done<()> {
        write(db, &Vec::from_iter(self.0), &LEVELS)
    }
}

/// The smaller of two, where absent is larger than all.
pub(super) fn least(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (some, None) | (None, some) => some,
    }
}

/// In place of a histogram: the row is there so that it can be held, by the transaction that reads it.
const CLAIMED: &str = "-";

/// A total as it is stored.
struct Stored {
    /// Smallest and largest.
    rules: Option<(u64, u64)>,
    counts: [i64; 4],
    sums: [Fingerprint; 3],
    hist: Histogram,
    times: [Option<i64>; 4],
}

impl Stored {
    const NOTHING: Self =
        Self { rules: None, counts: [0; 4], sums: [Fingerprint::ZERO; 3], hist: Histogram::new(), times: [None; 4] };

    /// `None`: only claimed so far.
    fn read(r: &Row<'_>) -> Done<Option<Self>> {
        let hist: String = r.get(9)?;
        if hist == CLAIMED {
            return Ok(None);
        }
        Ok(Some(Self {
            rules: Some((r.get::<i64>(0)?.cast_unsigned(), r.get::<i64>(1)?.cast_unsigned())),
            counts: [r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?],
            sums: [fingerprint(r.get(6)?), fingerprint(r.get(7)?), fingerprint(r.get(8)?)],
            hist: Histogram::decode(&hist).map_err(Fault::stored("histogram"))?,
            times: [r.get(10)?, r.get(11)?, r.get(12)?, r.get(13)?],
        }))
    }

    fn plus(mut self, d: &Delta) -> Self {
        for (i, (stored, delta)) in self.counts.iter_mut().zip([d.n, d.acked, d.failed, d.bytes]).enumerate() {
            let moved = i128::from(*stored) + delta;
            // Bytes (the last) may have been saturated by a reporter that lies.
            debug_assert!(moved >= 0 || i == 3, "I4: a total is the sum of what is behind it");
            *stored = i64::try_from(moved.max(0)).unwrap_or(i64::MAX);
        }
        for (stored, delta) in self.sums.iter_mut().zip([d.f_in, d.f_acked, d.f_failed]) {
            *stored = stored.plus(delta);
        }
        // What is taken away was added before, so add first.
        self.hist.add(&d.plus);
        self.hist.subtract(&d.minus);
        self.rules = both(self.rules, d.rules);
        let [min_ms, max_ms, last_ms, first_ms] = self.times;
        self.times =
            [least(min_ms, d.min_ms), max_ms.max(d.max_ms), last_ms.max(d.last_ms), least(first_ms, d.first_ms)];
        self
    }
}

/// A total's row, as a statement takes it.
struct Written {
    key: [i64; 5],
    rules: [i64; 2],
    counts: [i64; 4],
    sums: [[u8; 16]; 3],
    hist: String,
    times: [Option<i64>; 4],
}

impl Written {
    fn of(key: [i64; 5], s: &Stored) -> Self {
        let (low, high) = s.rules.unwrap_or_default();
        Self {
            key,
            rules: [low.cast_signed(), high.cast_signed()],
            counts: s.counts,
            sums: s.sums.map(Fingerprint::to_bytes),
            hist: s.hist.encode(),
            times: s.times,
        }
    }
    fn values(&self) -> impl Iterator<Item = Value<'_>> {
        let numbers = self.key.iter().chain(&self.rules).chain(&self.counts).map(AsValue::value);
        let sums = self.sums.iter().map(AsValue::value);
        numbers.chain(sums).chain([self.hist.value()]).chain(self.times.iter().map(AsValue::value))
    }
}

/// Statements of a table of totals.
struct Table {
    claim: &'static str,
    select: &'static str,
    replace: &'static str,
}

const WINDOWS: Table = Table {
    claim: include_str!("sql/total_claim.sql"),
    select: include_str!("sql/total_select.sql"),
    replace: include_str!("sql/total_replace.sql"),
};
const LEVELS: Table = Table {
    claim: include_str!("sql/level_claim.sql"),
    select: include_str!("sql/level_select.sql"),
    replace: include_str!("sql/level_replace.sql"),
};

/// Moves totals, in the order in which they are given.
fn write(db: &Db<'_>, deltas: &[([i64; 5], Delta)], table: &Table) -> Done<()> {
    if db.tx.is_shared() {
        let zero = Fingerprint::ZERO.to_bytes();
        let row = |(key, _): &([i64; 5], Delta)| key.map(Value::Int).into_iter().chain([zero.value()]);
        let rows: Vec<Value<'_>> = deltas.iter().flat_map(row).collect();
        db.tx.execute_many(table.claim, 6, &rows)?;
    }
    let keys: Vec<Value<'_>> = deltas.iter().flat_map(|(key, _)| key.map(Value::Int)).collect();
    let stored = db.tx.first_many(table.select, 5, &keys, Stored::read)?;
    let moved = |((key, delta), old): (&([i64; 5], Delta), Option<Option<Stored>>)| {
        Written::of(*key, &old.flatten().unwrap_or(Stored::NOTHING).plus(delta))
    };
    let rows: Vec<Written> = deltas.iter().zip(stored).map(moved).collect();
    let values: Vec<Value<'_>> = rows.iter().flat_map(Written::values).collect();
    db.tx.execute_many(table.replace, 19, &values)?;
    Ok(())
}
