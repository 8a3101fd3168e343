//! Verdicts in wider slices: how many windows of a hop have each verdict, and the sums of their bounds.
//!
//! Whoever writes a verdict takes what stood there out of the levels that its window lies in, and adds what stands there
//! now: the worst verdict of a slice is the worst that any window in it has, and its bounds are sums, whatever was amended
//! and in whatever order. Invariant: a level's row is the sum over the rows of `hop_window` that are narrower, of those that
//! were dropped as well. Limit: bounds are stored saturated at 2^63 − 1.

use std::collections::BTreeMap;

use super::levels::Levels;
use crate::db::{Db, Done, Fault, Row, Value};
use crate::retention::{LEVELS_MS, floor_ms};
use crate::verdict::Verdict;

/// Verdicts that there are.
pub(super) const VERDICTS: usize = Verdict::ALL.len();
/// Columns that are summed: a number for each verdict, three bounds, amendments.
const SUMS: usize = VERDICTS + 4;

/// What one verdict, or several, count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Place of the hop in its pipeline.
    pub(super) hop: i64,
    /// By [`Verdict::ALL`], then missing, surplus, delayed, amendments.
    pub(super) sums: [i128; SUMS],
}

/// A sum as readers get it.
fn told(sum: i128) -> u64 {
    u64::try_from(sum).unwrap_or(if sum < 0 { 0 } else { u64::MAX })
}

impl Counted {
    const fn nothing(hop: i64) -> Self {
        Self { hop, sums: [0; SUMS] }
    }

    /// Of one verdict with its bounds: missing, surplus, delayed, amendments.
    pub(super) fn of(hop: i64, verdict: &str, bounds: [u64; 4]) -> Done<Self> {
        let place = Verdict::ALL.iter().position(|v| v.as_str() == verdict);
        let place = place.ok_or_else(|| Fault::stored("verdict")(format!("'{verdict}' is none")))?;
        let mut one = Self::nothing(hop);
        for (i, sum) in one.sums.iter_mut().enumerate() {
            *sum = match i.checked_sub(VERDICTS) {
                None => i128::from(i == place),
                Some(i) => bounds.get(i).copied().map_or(0, i128::from),
            };
        }
        Ok(one)
    }

    /// A row of `hop_level` from its column `first` on.
    pub(super) fn read(r: &Row<'_>, first: usize) -> Done<Self> {
        let mut row = Self::nothing(r.get(first)?);
        for (i, sum) in row.sums.iter_mut().enumerate() {
            *sum = r.get::<i64>(first + 1 + i)?.into();
        }
        Ok(row)
    }

    pub(super) fn add(&mut self, o: &Self, sign: i128) {
        for (sum, other) in self.sums.iter_mut().zip(o.sums) {
            *sum += sign * other;
        }
    }

    /// How many windows have each verdict that any has.
    pub(super) fn verdicts(&self) -> BTreeMap<Verdict, u64> {
        Verdict::ALL.into_iter().zip(self.sums.map(told)).filter(|(_, n)| *n > 0).collect()
    }

    /// Missing, surplus, delayed, amendments.
    pub(super) fn bounds(&self) -> [u64; 4] {
        std::array::from_fn(|i| self.sums.get(VERDICTS + i).copied().map_or(0, told))
    }

    /// As it is stored.
    fn columns(&self) -> impl Iterator<Item = Value<'static>> + use<> {
        let stored = |sum: i128| Value::Int(i64::try_from(sum.max(0)).unwrap_or(i64::MAX));
        std::iter::once(Value::Int(self.hop)).chain(self.sums.map(stored))
    }
}

/// How far rows of `hop_level` move: by topic, level, start, from, to.
#[derive(Debug, Default)]
pub(super) struct Tallies(BTreeMap<[i64; 5], Counted>);

impl Tallies {
    /// A verdict stands for a window: topic, start, from, to.
    pub(super) fn add(&mut self, key: [i64; 4], width_ms: i64, new: &Counted) {
        self.moved(key, width_ms, new, 1);
    }

    /// It does not any more.
    pub(super) fn take(&mut self, key: [i64; 4], width_ms: i64, old: &Counted) {
        self.moved(key, width_ms, old, -1);
    }

    fn moved(&mut self, [topic, start_ms, from, to]: [i64; 4], width_ms: i64, by: &Counted, sign: i128) {
        for level_ms in LEVELS_MS.into_iter().filter(|level_ms| *level_ms > width_ms) {
            let key = [topic, level_ms, floor_ms(start_ms, level_ms), from, to];
            let moved = self.0.entry(key).or_insert(Counted::nothing(by.hop));
            moved.hop = by.hop;
            moved.add(by, sign);
        }
    }

    /// Takes what is about to be deleted because a wider window takes its place: parameters of `hop_window_finer`, six
    /// each. What begins where the wider one begins is not among it: it stood there.
    pub(super) fn take_finer(&mut self, db: &Db<'_>, finer: &[Value<'_>]) -> Done<()> {
        let mut found = Vec::new();
        db.tx.each_many(include_str!("sql/hop_window_finer_rows.sql"), 6, finer, &mut |_, r| {
            let key: [i64; 4] = [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?];
            let bounds = [r.get(7)?, r.get(8)?, r.get(9)?, r.get(10)?].map(crate::db::count);
            found.push((key, r.get(4)?, Counted::of(r.get(5)?, &r.get::<String>(6)?, bounds)?));
            Ok(())
        })?;
        for (key, width_ms, old) in found {
            self.take(key, width_ms, &old);
        }
        Ok(())
    }

    /// Writes all of them, in the order of their keys. What was dropped is not made again.
    pub(super) fn write(self, db: &Db<'_>) -> Done<()> {
        let levels = Levels::now(db.tx)?;
        let mut moved = Vec::with_capacity(self.0.len());
        for (key, by) in self.0 {
            let [topic, level_ms, start_ms, ..] = key;
            let is_moved = by.sums.iter().any(|sum| *sum != 0);
            if is_moved && levels.holds(db.tx, topic, start_ms, level_ms)? {
                moved.push((key, by));
            }
        }
        let keys: Vec<Value<'_>> = moved.iter().flat_map(|(key, _)| key.map(Value::Int)).collect();
        let stored = db.tx.first_many(include_str!("sql/hop_level_select.sql"), 5, &keys, |r| Counted::read(r, 0))?;
        let mut values = Vec::with_capacity(moved.len() * (6 + SUMS));
        for ((key, by), old) in moved.iter().zip(stored) {
            let mut row = *by;
            if let Some(old) = old {
                row.add(&old, 1);
            }
            values.extend(key.map(Value::Int));
            values.extend(row.columns());
        }
        db.tx.execute_many(include_str!("sql/hop_level_replace.sql"), 6 + SUMS, &values)?;
        Ok(())
    }
}
