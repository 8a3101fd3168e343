//! Which offsets of each partition hold a window: what passage asks for while a window is open, and what
//! `chaperone recount` reads again later.
//!
//! A window that may still change has a row for each partition (`tap_window`). Once all its hops are *ok* the rows of a
//! stage become one, a few bytes a partition (`window_offsets`), which is kept for [`KEPT_MS`]. What comes after that is
//! a row again; readers see the sum.
//!
//! Form: version 1, then for each partition: number · log · n · first offset (signed) · last − first offset, as varints.

use std::collections::BTreeMap;

use super::codec::{Damaged, Input, put, put_signed};
use super::totals::Key;
use crate::db::{AsValue, Db, Done, Fault, Row, Tx, Value, count, int, params};
use crate::query::{Offsets, OffsetsQuery};

/// How long the offsets of a proven window are kept, ms.
const KEPT_MS: i64 = 7 * 86_400_000;
/// Version of the form.
const VERSION: u8 = 1;

/// Offsets of one partition in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) log: u32,
    pub(super) n: u64,
    pub(super) min_offset: i64,
    pub(super) max_offset: i64,
}

impl Span {
    /// Both spans; of two logs the newer one.
    pub(super) fn union(self, o: Self) -> Self {
        match self.log.cmp(&o.log) {
            std::cmp::Ordering::Less => o,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                log: self.log,
                n: self.n.saturating_add(o.n),
                min_offset: self.min_offset.min(o.min_offset),
                max_offset: self.max_offset.max(o.max_offset),
            },
        }
    }
}

/// By partition.
type Spans = BTreeMap<i32, Span>;

fn add(spans: &mut Spans, partition: i32, span: Span) {
    spans.entry(partition).and_modify(|s| *s = s.union(span)).or_insert(span);
}

fn encode(spans: &Spans) -> Vec<u8> {
    let mut out = vec![VERSION];
    for (partition, span) in spans {
        put(&mut out, u64::from(partition.cast_unsigned()));
        put(&mut out, u64::from(span.log));
        put(&mut out, span.n);
        put_signed(&mut out, span.min_offset);
        put(&mut out, span.max_offset.abs_diff(span.min_offset));
    }
    out
}

fn decode(bytes: &[u8]) -> Result<Spans, Damaged> {
    Input::new(bytes).whole(|input| {
        let mut spans = Spans::new();
        if input.byte()? != VERSION {
            return None;
        }
        while !input.is_empty() {
            let partition = u32::try_from(input.number()?).ok()?.cast_signed();
            let log = u32::try_from(input.number()?).ok()?;
            let (n, min_offset) = (input.number()?, input.signed()?);
            let max_offset = min_offset.checked_add_unsigned(input.number()?)?;
            spans.insert(partition, Span { log, n, min_offset, max_offset });
        }
        Some(spans)
    })
}

fn span(r: &Row<'_>, first: usize) -> Done<Span> {
    let n = count(r.get(first + 1)?);
    Ok(Span { log: r.get(first)?, n, min_offset: r.get(first + 2)?, max_offset: r.get(first + 3)? })
}

/// Adds spans to what is known of open windows, in the order of their keys.
pub(super) fn save(db: &Db<'_>, all: &[((Key, i32), Span)]) -> Done<()> {
    let place = |key: &Key, partition: i32| [key.topic, key.window.0, key.stage, i64::from(partition), key.width.ms()];
    let keys: Vec<Value<'_>> =
        all.iter().flat_map(|((key, partition), _)| place(key, *partition).map(Value::Int)).collect();
    let stored = db.tx.first_many(include_str!("sql/tap_window_select.sql"), 5, &keys, |r| span(r, 0))?;
    let mut rows: Vec<Value<'_>> = Vec::with_capacity(all.len() * 9);
    for (((key, partition), new), old) in all.iter().zip(stored) {
        let s = old.map_or(*new, |old| old.union(*new));
        rows.extend(place(key, *partition).map(Value::Int));
        rows.extend([i64::from(s.log), int(s.n), s.min_offset, s.max_offset].map(Value::Int));
    }
    db.tx.execute_many(include_str!("sql/tap_window_replace.sql"), 9, &rows)?;
    Ok(())
}

/// The window is proven: its rows become one a stage.
pub(super) fn fold(db: &Db<'_>, (topic, window_ms, width_ms): (i64, i64, i64)) -> Done<()> {
    let mut by_stage: BTreeMap<i64, Spans> = BTreeMap::new();
    db.tx.each(include_str!("sql/tap_window_rows.sql"), params![topic, window_ms, width_ms], &mut |r| {
        add(by_stage.entry(r.get(0)?).or_default(), r.get(1)?, span(r, 2)?);
        Ok(true)
    })?;
    if by_stage.is_empty() {
        return Ok(());
    }
    for (stage, mut spans) in by_stage {
        let place = params![window_ms, topic, stage, width_ms];
        let before: Option<Vec<u8>> =
            db.tx.first(include_str!("sql/window_offsets_select.sql"), place, |r| r.get(0))?;
        for (partition, span) in decode_stored(before.as_deref())? {
            add(&mut spans, partition, span);
        }
        let body = encode(&spans);
        let row = params![window_ms, topic, stage, width_ms, body];
        db.tx.execute(include_str!("sql/window_offsets_replace.sql"), row)?;
    }
    let sql = "DELETE FROM tap_window WHERE topic = ?1 AND window_ms = ?2 AND width_ms = ?3";
    db.tx.execute(sql, params![topic, window_ms, width_ms])?;
    Ok(())
}

/// Drops what is older than anybody recounts.
pub(super) fn forget(db: &Db<'_>, now_ms: i64) -> Done<()> {
    let oldest_ms = now_ms.saturating_sub(KEPT_MS);
    db.tx.execute("DELETE FROM window_offsets WHERE window_ms < ?1", params![oldest_ms])?;
    Ok(())
}

fn decode_stored(bytes: Option<&[u8]>) -> Done<Spans> {
    bytes.map_or_else(|| Ok(Spans::new()), |b| decode(b).map_err(Fault::stored("window_offsets")))
}

/// What a stage counted in the windows of a range, by window and partition. In one read transaction: a window may be
/// folded between the two questions.
pub(super) fn read(tx: &dyn Tx, q: &OffsetsQuery) -> Done<Vec<Offsets>> {
    let mut found: BTreeMap<(i64, i64), Spans> = BTreeMap::new();
    let bounds = params![q.topic, q.stage, q.from_ms, q.to_ms];
    tx.each(include_str!("sql/offsets_open.sql"), bounds, &mut |r| {
        add(found.entry((r.get(0)?, r.get(1)?)).or_default(), r.get(2)?, span(r, 3)?);
        Ok(true)
    })?;
    tx.each(include_str!("sql/offsets_folded.sql"), bounds, &mut |r| {
        let spans = found.entry((r.get(0)?, r.get(1)?)).or_default();
        for (partition, span) in decode_stored(Some(&r.get::<Vec<u8>>(2)?))? {
            add(spans, partition, span);
        }
        Ok(true)
    })?;
    let flat = found.into_iter().flat_map(|((window_ms, width_ms), spans)| {
        spans.into_iter().map(move |(partition, s)| {
            let (n, log) = (s.n, s.log);
            Offsets { window_ms, width_ms, partition, log, n, first: s.min_offset, last: s.max_offset }
        })
    });
    Ok(flat.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_span()(log in 0u32..3, n in any::<u64>(), first in -1i64..1 << 40, more in 0i64..1 << 30) -> Span {
            Span { log, n, min_offset: first, max_offset: first + more }
        }
    }

    proptest! {
        #[test]
        fn spans_round_trip_and_damage_is_noticed(
            spans in proptest::collection::btree_map(0i32..50_000, any_span(), 0..6), junk in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let bytes = encode(&spans);
            prop_assert_eq!(decode(&bytes), Ok(spans));
            prop_assert!(decode(&[bytes.as_slice(), &[0x80]].concat()).is_err());
            drop(decode(&junk));
        }
    }
}
