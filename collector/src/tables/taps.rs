//! What taps say: intervals guarded by the claim chain, marks, partition counts; and the claims themselves.
//!
//! Invariant: an interval counts iff [`Chain::apply`] adds it and its log is the current one; what was counted is never
//! counted again. A mark counts only when every interval up to its position has been applied. Of a store that is made anew
//! [`again`] decides what counts.

pub(super) mod again;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use chaperone_audit::wire::{Anchor, GapCause, Gaps, Interval, IntervalKind, IntervalWindow, PartitionMark};
use uuid::Uuid;

use super::levels::Levels;
use super::offsets::{self, Span};
use super::reopen;
use super::reporters::Skew;
use super::totals::{Arrived, Key, Share, Totals};
use crate::db::{AsValue, Db, Done, Fault, Row, Value, int, params};
use crate::interval::{Chain, Outcome};
use crate::store::{Claim, ClaimRequest};

/// Stage, topic, partition.
type Place = (i64, i64, i32);

/// Writes over what is there.
const REPLACE: &str = include_str!("sql/tap_replace.sql");
/// Writes nothing where something is there.
const CLAIM: &str = include_str!("sql/tap_claim.sql");

/// A tapped partition's row.
#[derive(Debug, Clone)]
struct Tapped {
    stage: i64,
    topic: i64,
    partition: i32,
    log: u32,
    chain: Chain,
    claim_from: i64,
    tap: Vec<u8>,
    claimed_ms: i64,
    audited_since_ms: i64,
    anchor: Option<Anchor>,
    topic_id: Option<Uuid>,
    /// Smallest event time of the last counted interval.
    last_min_ms: Option<i64>,
    counted: u64,
    watermark_ms: Option<i64>,
    frontier_ms: Option<i64>,
    held_since_ms: Option<i64>,
    position: Option<i64>,
    dirty: bool,
}

impl Tapped {
    fn load(db: &Db<'_>, (stage, topic, partition): Place) -> Done<Option<Self>> {
        let key = params![stage, topic, partition];
        db.tx.first(include_str!("sql/tap_select.sql"), key, |r| Self::read((stage, topic, partition), r))
    }

    fn read((stage, topic, partition): Place, r: &Row<'_>) -> Done<Self> {
        let anchor: Option<String> = r.named("anchor")?;
        let anchor = anchor.map(|t| serde_json::from_str(&t)).transpose().map_err(Fault::stored("anchor"))?;
        Ok(Self {
            stage,
            topic,
            partition,
            log: r.named("log")?,
            chain: Chain { epoch: r.named::<i64>("epoch")?.cast_unsigned(), next: r.named("next")? },
            claim_from: r.named("claim_from")?,
            tap: r.named("tap")?,
            claimed_ms: r.named("claimed_ms")?,
            audited_since_ms: r.named("audited_since_ms")?,
            anchor,
            topic_id: r.named::<Option<[u8; 16]>>("topic_id")?.map(Uuid::from_bytes),
            last_min_ms: r.named("last_min_ms")?,
            counted: r.named::<i64>("counted")?.cast_unsigned(),
            watermark_ms: r.named("watermark_ms")?,
            frontier_ms: r.named("frontier_ms")?,
            held_since_ms: r.named("held_since_ms")?,
            position: r.named("position")?,
            dirty: false,
        })
    }

    /// Writes rows, in the order of their keys; the number of those that were written.
    fn save(db: &Db<'_>, sql: &'static str, rows: &[&Self]) -> Done<u64> {
        let anchor = |row: &&Self| row.anchor.as_ref().map(serde_json::to_string).transpose();
        let anchors: Vec<Option<String>> =
            rows.iter().map(anchor).collect::<Result<_, _>>().map_err(Fault::stored("anchor"))?;
        let ids: Vec<Option<[u8; 16]>> = rows.iter().map(|row| row.topic_id.map(Uuid::into_bytes)).collect();
        let numbers: Vec<(i64, i64)> =
            rows.iter().map(|row| (row.chain.epoch.cast_signed(), int(row.counted))).collect();
        let mut values: Vec<Value<'_>> = Vec::with_capacity(rows.len() * 18);
        for (((row, anchor), id), (epoch, counted)) in rows.iter().zip(&anchors).zip(&ids).zip(&numbers) {
            values.extend(params![row.stage, row.topic, row.partition, row.log, epoch, row.chain.next]);
            values.extend(params![row.claim_from, row.tap, row.claimed_ms, row.audited_since_ms, anchor]);
            values.extend(params![row.last_min_ms, counted, row.watermark_ms, row.frontier_ms]);
            values.extend(params![row.held_since_ms, row.position, id]);
        }
        db.tx.execute_many(sql, 18, &values)
    }

    /// The earliest event time that messages after the last counted one may have, as far as is known.
    fn event_floor_ms(&self) -> Option<i64> {
        let anchor = self.anchor.as_ref().map(|a| a.time_ms).filter(|ms| *ms >= 0);
        [self.frontier_ms, anchor, self.last_min_ms].into_iter().flatten().min()
    }
}

/// The tapped partitions that a batch touches.
#[derive(Debug, Default)]
pub(super) struct Taps {
    rows: HashMap<Place, Option<Tapped>>,
    spans: HashMap<(Key, i32), Span>,
}

impl Taps {
    /// Loads the partitions that a batch speaks of, in their order.
    pub(super) fn load(&mut self, db: &Db<'_>, places: &BTreeSet<Place>) -> Done<()> {
        let places: Vec<Place> = places.iter().copied().collect();
        let keys: Vec<Value<'_>> = places.iter().flat_map(|p| *params![p.0, p.1, p.2]).collect();
        let mut found = vec![None; places.len()];
        db.tx.each_many(include_str!("sql/tap_select.sql"), 3, &keys, &mut |i, r| {
            if let (Some(found), Some(place)) = (found.get_mut(i), places.get(i)) {
                *found = Some(Tapped::read(*place, r)?);
            }
            Ok(())
        })?;
        self.rows.extend(places.iter().copied().zip(found));
        Ok(())
    }

    fn row(&mut self, db: &Db<'_>, stage: i64, topic: i64, partition: i32) -> Done<Option<&mut Tapped>> {
        Ok(match self.rows.entry((stage, topic, partition)) {
            Entry::Occupied(known) => known.into_mut().as_mut(),
            Entry::Vacant(unknown) => unknown.insert(Tapped::load(db, (stage, topic, partition))?).as_mut(),
        })
    }

    /// Decides about an interval by the claim chain.
    pub(super) fn decide(&mut self, db: &mut Db<'_>, stage: i64, i: &Interval) -> Done<Outcome> {
        let topic = db.name(&i.topic)?;
        // A partition that nobody claimed here: its records belong to claims of another store.
        let Some(row) = self.row(db, stage, topic, i.partition)? else { return Ok(Outcome::Fenced) };
        if i.log != row.log {
            return Ok(Outcome::Fenced);
        }
        Ok(row.chain.apply(i.epoch, i.from, i.to))
    }

    /// Adds an interval that counts.
    pub(super) fn add(
        &mut self,
        db: &mut Db<'_>,
        (stage, skew): (i64, &Skew),
        i: &Interval,
        append_ms: i64,
        totals: &mut Totals,
    ) -> Done<()> {
        let topic = db.name(&i.topic)?;
        let Some(row) = self.row(db, stage, topic, i.partition)? else { return Ok(()) };
        row.dirty = true;
        let floor = row.event_floor_ms();
        if i.kind == IntervalKind::Unaudited {
            let cause = match i.cause {
                GapCause::Gone => "offsets were gone before they could be read",
                GapCause::Corrupt => "batches are corrupt and cannot be read",
                GapCause::Other => "offsets could not be read",
            };
            let range = Range { log: i.log, from: i.from, to: Some(i.to), at_ms: append_ms, floor, cause };
            return unaudited(db, stage, topic, i.partition, &range);
        }
        let timed = || i.windows.iter().filter(|w| w.class.has_time() && w.n > 0);
        let (first, last) = (timed().map(|w| w.min_ms).min(), timed().map(|w| w.max_ms).max());
        if let Some(gaps) = &i.gaps {
            let floor = gaps.since_ms.or(floor).map(|floor| first.map_or(floor, |first| floor.min(first)));
            removed(db, (stage, topic), i, gaps, append_ms, (floor, last))?;
        }
        if let Some(last) = last {
            row.last_min_ms = first;
            close_unaudited(db, stage, topic, i.partition, last)?;
        }
        row.counted = row.counted.saturating_add(i.windows.iter().map(|w| w.n).sum());
        if i.anchor.is_some() {
            row.anchor.clone_from(&i.anchor);
        }
        // Until its watermark everything of the partition is counted.
        let after_ms = row.watermark_ms.unwrap_or(i64::MIN);
        for w in &i.windows {
            let key = Key { topic, window: w.window_ms, width: w.width_ms, stage, class: w.class };
            let arrived = Arrived { after_ms, last_ms: Some(skew.broker_ms(w.last_ms, append_ms)) };
            totals.moved(key, i.rule, &Share::default(), &Share::of_interval(w), arrived);
            self.span(key, i, w);
        }
        Ok(())
    }

    fn span(&mut self, key: Key, i: &Interval, w: &IntervalWindow) {
        if !w.class.has_time() || w.n == 0 {
            return;
        }
        let new = Span { log: i.log, n: w.n, min_offset: w.min_offset, max_offset: w.max_offset };
        // Classes share a span: what matters is which offsets hold the window.
        let key = Key { class: chaperone_audit::Class::Bare, ..key };
        self.spans.entry((key, i.partition)).and_modify(|s| *s = s.union(new)).or_insert(new);
    }

    /// Takes a mark if everything up to its position has been applied; `true` if it moved anything.
    pub(super) fn mark(
        &mut self,
        db: &mut Db<'_>,
        (stage, skew): (i64, &Skew),
        m: &PartitionMark,
        append_ms: i64,
    ) -> Done<bool> {
        let topic = db.name(&m.topic)?;
        let Some(row) = self.row(db, stage, topic, m.partition)? else { return Ok(false) };
        if m.log != row.log || m.epoch != row.chain.epoch || m.position > row.chain.next {
            return Ok(false);
        }
        let asked = skew.broker_ms(m.asked_ms, append_ms);
        let before = (row.watermark_ms, row.frontier_ms, row.held_since_ms, row.position);
        // By position: while it stands still nothing else moves either, and broker time may go back by a better skew.
        if row.position.is_none_or(|p| p <= m.position) {
            row.held_since_ms = m.held_since_ms.map(|since| skew.broker_ms(since, append_ms));
        }
        row.watermark_ms = row.watermark_ms.max(Some(asked));
        row.frontier_ms = row.frontier_ms.max(m.frontier_ms);
        row.position = row.position.max(Some(m.position));
        let moved = before != (row.watermark_ms, row.frontier_ms, row.held_since_ms, row.position);
        row.dirty |= moved;
        Ok(moved)
    }

    /// Writes where partitions stand.
    pub(super) fn save(&self, db: &Db<'_>) -> Done<()> {
        let mut rows: Vec<&Tapped> = self.rows.values().flatten().filter(|r| r.dirty).collect();
        rows.sort_unstable_by_key(|r| (r.stage, r.topic, r.partition));
        Tapped::save(db, REPLACE, &rows)?;
        Ok(())
    }

    /// Writes which offsets hold which window: after the judge's queue, who folds them holds their windows there.
    /// Those of windows that were dropped nobody asks for.
    pub(super) fn save_spans(&mut self, db: &Db<'_>, levels: &Levels) -> Done<()> {
        let mut spans: Vec<_> = Vec::with_capacity(self.spans.len());
        for (place, span) in self.spans.drain() {
            let (key, _) = &place;
            if levels.holds(db.tx, key.topic, key.window.0, key.width.ms())? {
                spans.push((place, span));
            }
        }
        spans.sort_unstable_by_key(|(key, _)| *key);
        offsets::save(db, &spans)
    }
}

/// Offsets that nobody counted.
struct Range {
    log: u32,
    from: i64,
    to: Option<i64>,
    at_ms: i64,
    floor: Option<i64>,
    cause: &'static str,
}

/// Offsets that compaction may have emptied. A stretch of them is read in several intervals, and they are one row.
fn removed(
    db: &Db<'_>,
    (stage, topic): (i64, i64),
    i: &Interval,
    gaps: &Gaps,
    append_ms: i64,
    (floor, last): (Option<i64>, Option<i64>),
) -> Done<()> {
    if let Some(last) = last {
        let (claim, near) = (i.claim_from, gaps.from.saturating_sub(STRETCH));
        let of = params![stage, topic, i.partition, i.log, COMPACTED, claim, near, gaps.to, floor, last];
        if db.tx.execute(include_str!("sql/unaudited_extend.sql"), of)? > 0 {
            return reopen::topic(db, stage, topic, floor.unwrap_or(i64::MIN));
        }
    }
    let range = Range { log: i.log, from: gaps.from, to: Some(gaps.to), at_ms: append_ms, floor, cause: COMPACTED };
    unaudited(db, stage, topic, i.partition, &range)
}

/// Gaps that are closer to each other, and were read under one claim, are one stretch. In offsets.
const STRETCH: i64 = 1_000;
/// Why offsets of a compacted topic were not counted.
const COMPACTED: &str = "compaction may have removed messages before they were counted";

fn unaudited(db: &Db<'_>, stage: i64, topic: i64, partition: i32, r: &Range) -> Done<()> {
    let row = params![stage, topic, partition, r.log, r.from, r.to, r.at_ms, r.floor, r.cause];
    db.tx.execute(include_str!("sql/unaudited_insert.sql"), row)?;
    let text = format!(
        "{} {}/{partition} log {} from offset {}: {}; windows since {} are uncertain",
        db.text(stage)?,
        db.text(topic)?,
        r.log,
        r.from,
        r.cause,
        r.floor.map_or_else(|| "the beginning".to_owned(), |ms| ms.to_string())
    );
    db.event(r.at_ms, "unaudited", None, &text)?;
    reopen::topic(db, stage, topic, r.floor.unwrap_or(i64::MIN))
}

/// The first message counted after a gap bounds the event times of what lay in it. Times are not quite in order within
/// a log, so the bound is the largest event time of the first interval, not the smallest.
fn close_unaudited(db: &Db<'_>, stage: i64, topic: i64, partition: i32, last_ms: i64) -> Done<()> {
    db.tx.execute(include_str!("sql/unaudited_close.sql"), params![stage, topic, partition, last_ms])?;
    Ok(())
}

/// Grants a claim: epoch += 1, reading from `next`.
pub(super) fn claim(db: &mut Db<'_>, r: &ClaimRequest) -> Done<Claim> {
    let (stage, topic) = (db.name(&r.stage)?, db.name(&r.topic)?);
    let place = (stage, topic, r.partition);
    let mut known = Tapped::load(db, place)?;
    let mut first = None;
    if known.is_none() {
        let born = born(db, stage, topic, r)?;
        let row = first_claim(stage, topic, r, born);
        if Tapped::save(db, CLAIM, &[&row])? > 0 {
            reopen::first_report(db, stage)?;
            first = Some(row);
        } else {
            // Another claimed it in the meantime.
            known = Tapped::load(db, place)?;
        }
    }
    let row = match (first, known) {
        (Some(row), _) => row,
        (None, Some(row)) => {
            let row = reclaim(db, row, r)?;
            Tapped::save(db, REPLACE, &[&row])?;
            row
        }
        (None, None) => return Err(Fault::stored("claim")("it was made and is not there")),
    };
    db.bump();
    let anchor = row.anchor.clone();
    Ok(Claim { log: row.log, epoch: row.chain.epoch, next: row.chain.next, topic_id: row.topic_id, anchor })
}

fn reclaim(db: &Db<'_>, mut row: Tapped, r: &ClaimRequest) -> Done<Tapped> {
    row.chain.claim();
    // Who asked before the topic was made anew, and claims after somebody else did, changes nothing.
    let late = r.topic_id.map_or(Ok(false), |id| is_former(db, &row, id))?;
    let another = matches!((row.topic_id, r.topic_id), (Some(was), Some(is)) if was != is);
    if !late && (another || r.over == Some(row.log)) {
        let range = Range {
            log: row.log,
            from: row.chain.next,
            to: None,
            at_ms: r.now_ms,
            floor: row.event_floor_ms(),
            cause: if another { "the topic was re-created" } else { "the log was truncated or re-created" },
        };
        unaudited(db, row.stage, row.topic, row.partition, &range)?;
        if another {
            let was = row.topic_id.map(Uuid::into_bytes);
            let former = params![row.stage, row.topic, row.partition, was, row.log];
            db.tx.execute(include_str!("sql/tap_former.sql"), former)?;
        }
        row.log = row.log.saturating_add(1);
        row.chain.next = r.log_start;
        row.anchor = None;
        row.position = None;
        row.topic_id = r.topic_id;
    } else if !late {
        row.topic_id = row.topic_id.or(r.topic_id);
    }
    row.claim_from = row.chain.next;
    row.tap = r.tap.as_bytes().to_vec();
    row.claimed_ms = r.now_ms;
    Ok(row)
}

/// Whether the partition came into being after the stage had first claimed one of the topic, however long nobody tapped
/// it since.
fn born(db: &Db<'_>, stage: i64, topic: i64, r: &ClaimRequest) -> Done<bool> {
    if let Some(partitions) = r.partitions {
        // Who looked before the others knows of fewer.
        let sql = "INSERT INTO tap_begun (stage, topic, partitions) VALUES (?1, ?2, ?3)
                   ON CONFLICT (stage, topic) DO UPDATE SET partitions = excluded.partitions
                   WHERE excluded.partitions < tap_begun.partitions";
        db.tx.execute(sql, params![stage, topic, partitions])?;
    }
    let sql = "SELECT 1 FROM tap_begun WHERE stage = ?1 AND topic = ?2 AND partitions <= ?3";
    db.tx.exists(sql, params![stage, topic, r.partition])
}

/// Whether the name was another topic's of that id before.
fn is_former(db: &Db<'_>, row: &Tapped, id: Uuid) -> Done<bool> {
    let sql = "SELECT 1 FROM tap_former WHERE stage = ?1 AND topic = ?2 AND partition = ?3 AND topic_id = ?4";
    db.tx.exists(sql, params![row.stage, row.topic, row.partition, id.into_bytes()])
}

fn first_claim(stage: i64, topic: i64, r: &ClaimRequest, born: bool) -> Tapped {
    let whole_since_ms = if r.log_start == 0 { i64::MIN } else { r.now_ms };
    let (next, since_ms) = if born { (r.log_start, whole_since_ms) } else { (r.first_next, r.first_since_ms) };
    let mut chain = Chain { epoch: 0, next };
    chain.claim();
    Tapped {
        stage,
        topic,
        partition: r.partition,
        log: 0,
        chain,
        claim_from: next,
        tap: r.tap.as_bytes().to_vec(),
        claimed_ms: r.now_ms,
        audited_since_ms: since_ms,
        anchor: None,
        topic_id: r.topic_id,
        last_min_ms: None,
        counted: 0,
        watermark_ms: None,
        frontier_ms: None,
        held_since_ms: None,
        position: None,
        dirty: false,
    }
}
