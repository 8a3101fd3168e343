//! One reporter (an incarnation at a stage): who it is, how its clock runs, what it has said, how it ended.
//!
//! A watermark is accepted only while the sums that came with it equal the sums applied: then everything that arrived
//! before it is here, whatever order the messages took. The newest one that does not fit yet is kept and tried again
//! after each message. Consumer positions travel with the sums for the same reason (a position promises that what lies
//! below it was counted), and so does an end.
//!
//! Broker time = reporter's clock + skew; skew = smallest (append − sent) of the last one to two hours.

use chaperone_audit::wire::{AuditMessage, End, Position, Sum};
use chaperone_audit::{Fingerprint, SlotState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::IdSet;
use super::manner::{self, Manner};
use super::owed::Owed;
use super::slots::{Book, Changes};
use crate::db::{AsValue, Db, Done, Fault, Row, Value, fingerprint, params};

const HOUR_MS: i64 = 3_600_000;

/// A watermark that waits for its sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Awaited {
    watermark_ms: i64,
    append_ms: i64,
    sum: Sum,
    positions: Vec<Position>,
}

/// An end that waits for its sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Farewell {
    end: End,
    sum: Sum,
}

/// The smallest (append − sent), by hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skew {
    hour: i64,
    least_ms: i64,
    before_ms: Option<i64>,
}

impl Skew {
    pub(super) fn new(sent_ms: i64, append_ms: i64) -> Self {
        Self { hour: append_ms.div_euclid(HOUR_MS), least_ms: append_ms.saturating_sub(sent_ms), before_ms: None }
    }
    pub(super) fn hear(&mut self, sent_ms: i64, append_ms: i64) {
        let new = Self::new(sent_ms, append_ms);
        if new.hour == self.hour {
            self.least_ms = self.least_ms.min(new.least_ms);
        } else if new.hour > self.hour {
            let before_ms = (new.hour == self.hour + 1).then_some(self.least_ms);
            *self = Self { before_ms, ..new };
        } else if new.hour == self.hour - 1 {
            self.before_ms = Some(self.before_ms.map_or(new.least_ms, |b| b.min(new.least_ms)));
        }
    }
    pub(super) fn ms(&self) -> i64 {
        self.before_ms.map_or(self.least_ms, |b| b.min(self.least_ms))
    }
    /// A reading of the reporter's clock, told by a message appended at `append_ms`, in broker time: it cannot lie
    /// after the append.
    pub(super) fn broker_ms(&self, clock_ms: i64, append_ms: i64) -> i64 {
        clock_ms.saturating_add(self.ms()).min(append_ms)
    }
}

/// One reporter with its slots, as a batch works on it.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) id: i64,
    pub(super) stage: i64,
    pub(super) skew: Skew,
    pub(super) book: Book,
    pub(super) manner: Manner,
    library: String,
    audited_since_ms: Option<i64>,
    last_append_ms: i64,
    last_sent_ms: i64,
    last_seq: i64,
    /// The newest accepted watermark by the reporter's own clock.
    promised_ms: Option<i64>,
    watermark_ms: Option<i64>,
    sums: Sum,
    awaited: Option<Awaited>,
    farewell: Option<Farewell>,
    owed: Option<Owed>,
    /// Until when what it counted may be lost.
    lost_ms: Option<i64>,
    written_off: Option<(i64, i64)>,
    ended: Option<End>,
    heap: bool,
    dropped: Option<String>,
}

fn json<T: Serialize>(v: &T) -> Done<String> {
    serde_json::to_string(v).map_err(Fault::stored("reporter"))
}

fn end_word(end: End) -> &'static str {
    match end {
        End::Clean => "clean",
        End::Crash => "crash",
        End::Power => "power",
    }
}
/// Reads a stored end.
pub(super) fn end_of(word: &str) -> Option<End> {
    [End::Clean, End::Crash, End::Power].into_iter().find(|e| end_word(*e) == word)
}
/// The graver of two ends stands.
fn graver(a: Option<End>, b: End) -> End {
    match (a, b) {
        (Some(End::Power), _) | (_, End::Power) => End::Power,
        (Some(End::Crash), _) | (_, End::Crash) => End::Crash,
        _ => End::Clean,
    }
}

impl Reporter {
    /// Those of these reporters that are known, held until the end of the transaction. Keys in ascending order.
    pub(super) fn load(db: &Db<'_>, keys: &[(Uuid, i64)]) -> Done<Vec<Option<Self>>> {
        let values: Vec<Value<'_>> =
            keys.iter().flat_map(|(id, stage)| [Value::Blob(id.as_bytes()), Value::Int(*stage)]).collect();
        let mut found: Vec<Option<Self>> = Vec::new();
        found.resize_with(keys.len(), || None);
        db.tx.each_many(include_str!("sql/reporter_select.sql"), 2, &values, &mut |i, r| {
            if let (Some(found), Some((_, stage))) = (found.get_mut(i), keys.get(i)) {
                *found = Some(Self::read(r, *stage)?);
            }
            Ok(())
        })?;
        let mut books: Vec<(i64, &mut Book)> = found.iter_mut().flatten().map(|r| (r.id, &mut r.book)).collect();
        Book::load(db, &mut books)?;
        Ok(found)
    }

    /// Which of them are known; nothing is held.
    pub(super) fn known(db: &Db<'_>, keys: &[(Uuid, i64)]) -> Done<Vec<bool>> {
        let values: Vec<Value<'_>> =
            keys.iter().flat_map(|(id, stage)| [Value::Blob(id.as_bytes()), Value::Int(*stage)]).collect();
        let sql = "SELECT id FROM reporter WHERE incarnation = ?1 AND stage = ?2";
        let found = db.tx.first_many(sql, 2, &values, |r| r.get::<i64>(0))?;
        Ok(found.iter().map(Option::is_some).collect())
    }

    /// The reporter of a message that was not known; `None` if somebody else has made it known in the meantime.
    pub(super) fn create(db: &Db<'_>, stage: i64, m: &AuditMessage, append_ms: i64) -> Done<Option<Self>> {
        let skew = Skew::new(m.sent_ms, append_ms);
        let (seq, nothing) = (m.seq.cast_signed(), Fingerprint::ZERO.to_bytes());
        let row = params![
            m.incarnation.as_bytes(),
            stage,
            m.reporter.host,
            m.reporter.application,
            m.reporter.library,
            m.reporter.pid,
            m.cluster,
            m.datacenter,
            m.audited_since_ms,
            append_ms,
            seq,
            skew.hour,
            skew.least_ms,
            nothing,
        ];
        let id = db.tx.first(include_str!("sql/reporter_insert.sql"), row, |r| r.get(0))?;
        Ok(id.map(|id| Self::new(id, stage, m, append_ms, skew)))
    }

    fn new(id: i64, stage: i64, m: &AuditMessage, append_ms: i64, skew: Skew) -> Self {
        Self {
            id,
            stage,
            skew,
            book: Book::default(),
            manner: Manner::default(),
            library: m.reporter.library.clone(),
            audited_since_ms: m.audited_since_ms,
            last_append_ms: append_ms,
            last_sent_ms: i64::MIN,
            last_seq: m.seq.cast_signed(),
            promised_ms: None,
            watermark_ms: None,
            sums: Sum::default(),
            awaited: None,
            farewell: None,
            owed: None,
            lost_ms: None,
            written_off: None,
            ended: None,
            heap: false,
            dropped: None,
        }
    }

    fn read(r: &Row<'_>, stage: i64) -> Done<Self> {
        let ids = |column: &'static str| -> Done<IdSet> {
            serde_json::from_str(&r.named::<String>(column)?).map_err(Fault::stored("ids"))
        };
        let sum = |column: &'static str| -> Done<u64> { Ok(r.named::<i64>(column)?.cast_unsigned()) };
        let (known, sealed) = (ids("known")?, ids("sealed")?);
        Ok(Self {
            id: r.named("id")?,
            stage,
            skew: Skew {
                hour: r.named("skew_hour")?,
                least_ms: r.named("skew_ms")?,
                before_ms: r.named("skew_before_ms")?,
            },
            library: r.named("library")?,
            audited_since_ms: r.named("audited_since_ms")?,
            last_append_ms: r.named("last_append_ms")?,
            last_sent_ms: r.named("last_sent_ms")?,
            last_seq: r.named("last_seq")?,
            promised_ms: r.named("promised_ms")?,
            watermark_ms: r.named("watermark_ms")?,
            sums: Sum {
                slots: known.len(),
                n: sum("sum_n")?,
                acked: sum("sum_acked")?,
                failed: sum("sum_failed")?,
                f_in: fingerprint(r.named("sum_f")?),
            },
            awaited: said(r, "awaited")?,
            farewell: said(r, "farewell")?,
            owed: said(r, "owed")?,
            lost_ms: r.named("lost_ms")?,
            written_off: None,
            ended: r.named::<Option<String>>("ended")?.as_deref().and_then(end_of),
            heap: r.named("heap")?,
            dropped: r.named("dropped")?,
            book: Book::of(known, sealed),
            manner: Manner::read(r)?,
        })
    }

    /// Notes that a message came, whatever it says; `true` if its head says something new.
    pub(super) fn hear(&mut self, m: &AuditMessage, append_ms: i64) -> Done<bool> {
        self.skew.hear(m.sent_ms, append_ms);
        let under_way_ms = append_ms.saturating_sub(m.sent_ms).saturating_sub(self.skew.ms());
        self.manner.hear(m, append_ms, under_way_ms);
        self.last_append_ms = self.last_append_ms.max(append_ms);
        self.last_sent_ms = self.last_sent_ms.max(self.skew.broker_ms(m.sent_ms, append_ms));
        let newest = m.seq.cast_signed() >= self.last_seq;
        self.last_seq = self.last_seq.max(m.seq.cast_signed());
        let mut news = false;
        let since = match (self.audited_since_ms, m.audited_since_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        news |= since != self.audited_since_ms;
        self.audited_since_ms = since;
        if newest && !m.dropped.is_empty() {
            let dropped = Some(json(&m.dropped)?);
            news |= dropped != self.dropped;
            self.dropped = dropped;
        }
        if newest && self.library != m.reporter.library {
            self.library.clone_from(&m.reporter.library);
            news = true;
        }
        Ok(news)
    }

    /// Moves the sums with a slot.
    pub(super) fn add(&mut self, old: &SlotState, new: &SlotState) {
        let s = &mut self.sums;
        s.n = s.n.wrapping_add(new.n).wrapping_sub(old.n);
        s.acked = s.acked.wrapping_add(new.acked).wrapping_sub(old.acked);
        s.failed = s.failed.wrapping_add(new.failed).wrapping_sub(old.failed);
        s.f_in = s.f_in.plus(new.f_in()).minus(old.f_in());
    }

    /// What is new in a record arrived at it after this, broker time: everything before is here already, or was before it
    /// began to count. `i64::MIN` where it does not say.
    pub(super) fn reported_until_ms(&self, append_ms: i64) -> i64 {
        let since_ms = self.audited_since_ms.map(|since| self.skew.broker_ms(since, append_ms));
        self.watermark_ms.max(since_ms).unwrap_or(i64::MIN)
    }

    /// Its counts live where the death of its process loses some.
    pub(super) fn note_heap(&mut self) {
        self.heap = true;
    }

    /// Takes a message's watermark, positions and end, as far as its sums allow; returns the positions that now hold,
    /// with the broker time by which they were reached, and whether anything is new. `lost_ms`: until when records of the
    /// audit topic may be lost.
    pub(super) fn promise(
        &mut self,
        m: &AuditMessage,
        append_ms: i64,
        lost_ms: Option<i64>,
    ) -> (Vec<(Position, i64)>, bool) {
        let before = self.promises();
        let mut positions = Vec::new();
        let mut reached = |at_ms| positions.extend(m.positions.iter().map(|p| (p.clone(), at_ms)));
        match (m.watermark_ms, m.sum) {
            // All that was counted before it is here already.
            (Some(watermark_ms), _) if self.promised_ms.is_some_and(|p| watermark_ms <= p) => {
                reached(self.skew.broker_ms(watermark_ms, append_ms));
            }
            (Some(watermark_ms), Some(sum)) => {
                self.wait_for(Awaited { watermark_ms, append_ms, sum, positions: m.positions.clone() });
            }
            // Nobody who counts speaks here: nothing to wait for.
            (_, None) => reached(append_ms),
            (None, Some(_)) => {}
        }
        self.end(m);
        positions.extend(self.settle());
        if self.owe(m, append_ms, lost_ms) {
            positions.extend(self.settle());
        }
        (positions, self.promises() != before)
    }

    fn promises(&self) -> impl PartialEq + use<> {
        (self.awaited.clone(), self.farewell.clone(), self.promised_ms, self.watermark_ms, self.ended)
    }

    fn wait_for(&mut self, mut new: Awaited) {
        match &mut self.awaited {
            Some(old) if old.watermark_ms >= new.watermark_ms => {}
            waiting => {
                // What an older position promises, newer sums contain.
                for p in waiting.iter().flat_map(|old| &old.positions) {
                    if !new.positions.iter().any(|q| (&q.topic, q.partition) == (&p.topic, p.partition)) {
                        new.positions.push(p.clone());
                    }
                }
                *waiting = Some(new);
            }
        }
    }

    fn end(&mut self, m: &AuditMessage) {
        let Some(end) = m.end else { return };
        // Whoever recovered it knows that it does not know all.
        self.heap |= end == End::Crash && m.sum.is_none();
        let end = graver(self.ended, end);
        match m.sum {
            _ if self.ended == Some(end) => {}
            Some(sum) => {
                self.farewell = Some(Farewell { end: graver(self.farewell.as_ref().map(|f| f.end), end), sum });
            }
            // Finals recovered from a checkpoint carry no sums: what the dead one had counted since is unknown in any
            // case. A goodbye without sums is believed of those who count no slots (taps).
            None if end != End::Clean || self.book.known.len() == 0 => self.ended = Some(end),
            None => {}
        }
    }

    /// Accepts what waits, if the sums allow it now; returns the positions that now hold.
    fn settle(&mut self) -> Vec<(Position, i64)> {
        let (sums, ours, owed) = (self.sums(), self.ours(), self.owed);
        let believed = |told: Sum| Some(told) == sums || owed.is_some_and(|owed| owed.explains(told, ours));
        let mut positions = Vec::new();
        if let Some(awaited) = self.awaited.take_if(|a| believed(a.sum)) {
            self.owed = self.owed.filter(|_| Some(awaited.sum) != sums);
            self.promised_ms = self.promised_ms.max(Some(awaited.watermark_ms));
            let now = self.skew.broker_ms(awaited.watermark_ms, awaited.append_ms);
            self.watermark_ms = self.watermark_ms.max(Some(now));
            positions = awaited.positions.into_iter().map(|p| (p, now)).collect();
        }
        if let Some(farewell) = self.farewell.take_if(|f| believed(f.sum)) {
            self.ended = Some(graver(self.ended, farewell.end));
        }
        positions
    }

    /// Takes note of what a heartbeat's sums have more than ours; `true` if that was written off now.
    fn owe(&mut self, m: &AuditMessage, append_ms: i64, lost_ms: Option<i64>) -> bool {
        let Some(awaited) = self.awaited.as_ref().filter(|a| m.watermark_ms == Some(a.watermark_ms)) else {
            return false;
        };
        // Who began later had nothing to lose.
        let is_known = lost_ms.is_some_and(|lost| self.audited_since_ms.is_none_or(|since| since <= lost));
        let (owed, since) = Owed::note(self.owed, (awaited.sum, self.ours()), append_ms, is_known);
        self.owed = owed;
        if let Some(owed) = owed {
            self.manner.lack(append_ms, owed.since_ms());
        }
        let Some(until_ms) = since else { return false };
        self.lost_ms = self.lost_ms.max(Some(until_ms));
        let from_ms = self.watermark_ms.or(self.audited_since_ms).unwrap_or(0);
        self.written_off = Some((from_ms, until_ms));
        true
    }

    /// The span of time whose counts were written off by the last message.
    pub(super) fn written_off(&mut self) -> Option<(i64, i64)> {
        self.written_off.take()
    }

    /// The sums over all slots, if there is no gap in their ids.
    fn sums(&self) -> Option<Sum> {
        let known = &self.book.known;
        (known.len() == known.end()).then_some(self.ours())
    }

    /// The sums over all slots that are here.
    fn ours(&self) -> Sum {
        Sum { slots: self.book.known.len(), ..self.sums }
    }

    /// Writes what changed in these, in ascending order of their keys.
    pub(super) fn save(db: &mut Db<'_>, all: &mut [Self], now_ms: i64) -> Done<()> {
        let mut changes = Changes::default();
        for r in all.iter_mut() {
            r.book.save(db, (r.id, r.stage), now_ms, &mut changes)?;
        }
        changes.write(db)?;
        let rows = all.iter().map(Self::row).collect::<Done<Vec<_>>>()?;
        let mut values: Vec<Value<'_>> = Vec::with_capacity(all.len() * 28);
        for (r, row) in all.iter().zip(&rows) {
            values.extend(params![r.id, r.audited_since_ms, r.last_append_ms, r.last_sent_ms, r.last_seq]);
            values.extend(params![r.skew.hour, r.skew.least_ms, r.skew.before_ms, r.promised_ms, r.watermark_ms]);
            values.extend(row.sums.iter().map(AsValue::value));
            values.extend(params![row.sum_f, row.known, row.awaited, row.farewell, row.ended]);
            values.extend(params![r.heap, r.dropped, r.library, row.owed, r.lost_ms, row.manner.checkins]);
            values.extend(row.manner.counts.iter().map(AsValue::value));
        }
        db.tx.execute_many(include_str!("sql/reporter_update.sql"), 28, &values)?;
        Ok(())
    }

    fn row(&self) -> Done<Written> {
        Ok(Written {
            sums: [self.sums.n, self.sums.acked, self.sums.failed].map(u64::cast_signed),
            sum_f: self.sums.f_in.to_bytes(),
            known: json(&self.book.known)?,
            awaited: self.awaited.as_ref().map(json).transpose()?,
            farewell: self.farewell.as_ref().map(json).transpose()?,
            owed: self.owed.as_ref().map(json).transpose()?,
            ended: self.ended.map(end_word),
            manner: self.manner.written(),
        })
    }
}

/// What of a reporter is not stored as it is.
struct Written {
    sums: [i64; 3],
    sum_f: [u8; 16],
    known: String,
    awaited: Option<String>,
    farewell: Option<String>,
    owed: Option<String>,
    ended: Option<&'static str>,
    manner: manner::Written,
}

fn said<T: serde::de::DeserializeOwned>(r: &Row<'_>, column: &'static str) -> Done<Option<T>> {
    let text: Option<String> = r.named(column)?;
    text.map(|t| serde_json::from_str(&t)).transpose().map_err(Fault::stored(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_the_least_of_this_hour_and_the_last() {
        let mut skew = Skew::new(1_000, 1_500);
        skew.hear(2_000, 2_200);
        skew.hear(3_000, 3_900);
        assert_eq!(skew.ms(), 200);
        skew.hear(HOUR_MS, HOUR_MS + 700);
        assert_eq!(skew.ms(), 200, "the last hour still counts");
        skew.hear(1, 101);
        assert_eq!(skew.ms(), 100, "late news of the last hour too");
        skew.hear(2 * HOUR_MS, 2 * HOUR_MS + 900);
        assert_eq!(skew.ms(), 700);
        skew.hear(9 * HOUR_MS, 9 * HOUR_MS - 50);
        assert_eq!(skew.ms(), -50, "a clock ahead of the broker's");
        assert_eq!(skew.broker_ms(1_000, 5_000), 950);
        assert_eq!(skew.broker_ms(9_000, 5_000), 5_000, "never after the append");
    }

    #[test]
    fn the_graver_end_stands_in_any_order() {
        let all = [End::Clean, End::Crash, End::Power];
        for a in all {
            for b in all {
                assert_eq!(graver(Some(a), b), graver(Some(b), a));
            }
            assert_eq!(graver(None, a), a);
            assert_eq!(end_of(end_word(a)), Some(a));
        }
    }
}
