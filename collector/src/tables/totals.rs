//! Totals by (topic, window, stage, class): moved by (new − old), coalesced in memory, written once a batch.
//!
//! Invariant (I1, I4): a total is Σ of the joined slots and the applied intervals behind it. Fingerprints are added in
//! Rust, modulo 2^64 a lane: SQL's `+` turns to floating point on overflow.

use std::collections::{BTreeMap, HashMap};

use chaperone_audit::wire::IntervalWindow;
use chaperone_audit::{Class, Fingerprint, Histogram, RuleId, SlotState, Width, WindowStart, state::flag};

use super::flags;
use crate::db::{AsValue, Db, Done, Fault, Row, Tx, Value, count, fingerprint, params};

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
    /// As it is stored.
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
pub(super) struct Share {
    pub(super) n: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) f_in: Fingerprint,
    pub(super) f_acked: Fingerprint,
    pub(super) f_failed: Fingerprint,
    pub(super) hist: Histogram,
    pub(super) min_ms: Option<i64>,
    pub(super) max_ms: Option<i64>,
}

impl Share {
    /// A slot's share. A stage that only sees has no delivery reports: what it saw counts as acked.
    pub(super) fn of_slot(s: &SlotState) -> Self {
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
            hist: s.hist.clone().unwrap_or_default(),
            min_ms: s.min_ms,
            max_ms: s.max_ms,
        }
    }

    /// An interval window's share: a tap only sees.
    pub(super) fn of_interval(w: &IntervalWindow) -> Self {
        Self {
            n: w.n,
            acked: w.n,
            failed: 0,
            bytes: w.bytes,
            f_in: w.f,
            f_acked: w.f,
            f_failed: Fingerprint::ZERO,
            hist: w.hist.clone(),
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
    pub(super) fn moved(&mut self, key: Key, rule: RuleId, old: &Share, new: &Share, arrived: Arrived) {
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
        d.plus.add(&new.hist);
        d.minus.add(&old.hist);
        d.min_ms = least(d.min_ms, new.min_ms);
        d.max_ms = d.max_ms.max(new.max_ms);
        d.last_ms = d.last_ms.max(arrived.last_ms);
        if new.n > old.n {
            d.first_ms = least(d.first_ms, Some(arrived.after_ms));
        }
        let (low, high) = d.rules.unwrap_or((rule.0, rule.0));
        d.rules = Some((low.min(rule.0), high.max(rule.0)));
    }

    /// Writes all of them and clears; returns the windows that have an event time.
    pub(super) fn write(&mut self, db: &Db<'_>) -> Done<Vec<(i64, WindowStart, Width)>> {
        let used = std::mem::take(&mut self.rules);
        let row = |((topic, stage, rule), (first_ms, last_ms)): ((i64, i64, u64), (i64, i64))| {
            [topic, stage, rule.cast_signed(), first_ms, last_ms].map(Value::Int)
        };
        let rows: Vec<Value<'_>> = used.into_iter().flat_map(row).collect();
        db.tx.execute_many(include_str!("sql/stage_rule_upsert.sql"), 5, &rows)?;
        let mut deltas: Vec<_> = self.deltas.drain().collect();
        // In key order: neighbours share pages.
        deltas.sort_unstable_by_key(|(key, _)| *key);
        write(db, &deltas)?;
        let mut touched = Vec::new();
        for (key, _) in &deltas {
            if key.class == Class::Rewritten {
                flags::rewritten(db, key)?;
            }
            if key.class.has_time() {
                touched.push((key.topic, key.window, key.width));
            }
        }
        touched.dedup();
        Ok(touched)
    }
}

/// The smaller of two, where absent is larger than all.
fn least(a: Option<i64>, b: Option<i64>) -> Option<i64> {
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
        self.rules = match (self.rules, d.rules) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (some, None) | (None, some) => some,
        };
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
    fn of(key: &Key, s: &Stored) -> Self {
        let (low, high) = s.rules.unwrap_or_default();
        Self {
            key: key.columns(),
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

/// Moves totals, in the order of their keys.
fn write(db: &Db<'_>, deltas: &[(Key, Delta)]) -> Done<()> {
    if db.tx.is_shared() {
        let zero = Fingerprint::ZERO.to_bytes();
        let row = |(key, _): &(Key, Delta)| key.columns().map(Value::Int).into_iter().chain([zero.value()]);
        let rows: Vec<Value<'_>> = deltas.iter().flat_map(row).collect();
        db.tx.execute_many(include_str!("sql/total_claim.sql"), 6, &rows)?;
    }
    let keys: Vec<Value<'_>> = deltas.iter().flat_map(|(key, _)| key.columns().map(Value::Int)).collect();
    let stored = db.tx.first_many(include_str!("sql/total_select.sql"), 5, &keys, Stored::read)?;
    let moved = |((key, delta), old): (&(Key, Delta), Option<Option<Stored>>)| {
        Written::of(key, &old.flatten().unwrap_or(Stored::NOTHING).plus(delta))
    };
    let rows: Vec<Written> = deltas.iter().zip(stored).map(moved).collect();
    let values: Vec<Value<'_>> = rows.iter().flat_map(Written::values).collect();
    db.tx.execute_many(include_str!("sql/total_replace.sql"), 19, &values)?;
    Ok(())
}

/// What the judge needs of a stage in a span of windows, summed over classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StageSum {
    pub(super) n: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) f_in: Fingerprint,
    pub(super) f_acked: Fingerprint,
    pub(super) f_failed: Fingerprint,
    pub(super) last_ms: Option<i64>,
    /// Nothing of it arrived before.
    pub(super) first_ms: Option<i64>,
    /// Smallest and largest rule id.
    pub(super) rules: Option<(i64, i64)>,
    /// The widest window in it.
    pub(super) width_ms: i64,
}

impl StageSum {
    fn add(&mut self, r: &Row<'_>) -> Done<()> {
        self.n = self.n.saturating_add(count(r.get(1)?));
        self.acked = self.acked.saturating_add(count(r.get(2)?));
        self.failed = self.failed.saturating_add(count(r.get(3)?));
        self.f_in = self.f_in.plus(fingerprint(r.get(4)?));
        self.f_acked = self.f_acked.plus(fingerprint(r.get(5)?));
        self.f_failed = self.f_failed.plus(fingerprint(r.get(6)?));
        self.last_ms = self.last_ms.max(r.get(7)?);
        let (low, high): (i64, i64) = (r.get(8)?, r.get(9)?);
        let (a, b) = self.rules.unwrap_or((low, high));
        self.rules = Some((a.min(low), b.max(high)));
        self.width_ms = self.width_ms.max(r.get(10)?);
        self.first_ms = least(self.first_ms, r.get(12)?);
        Ok(())
    }
}

/// A stage's sums: over all classes with a time, and over stamped messages alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StageSums {
    pub(super) all: StageSum,
    pub(super) stamped: StageSum,
}

/// The sums of every stage that counted `topic` in windows that begin in `[from_ms, to_ms)`.
pub(super) fn stage_sums(tx: &dyn Tx, topic: i64, from_ms: i64, to_ms: i64) -> Done<HashMap<i64, StageSums>> {
    let mut sums: HashMap<i64, StageSums> = HashMap::new();
    tx.each(include_str!("sql/stage_sums.sql"), params![topic, from_ms, to_ms], &mut |r| {
        let of_stage = sums.entry(r.get(0)?).or_default();
        of_stage.all.add(r)?;
        if r.get(11)? {
            of_stage.stamped.add(r)?;
        }
        Ok(true)
    })?;
    Ok(sums)
}
