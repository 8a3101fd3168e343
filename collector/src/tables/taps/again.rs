//! Tapped partitions of a store that is made anew from the audit topic: nobody claims there, so claims are known by the reports
//! that were made under them, and what counts by a [`Plan`](crate::rebuild::Plan).
//!
//! Invariant: a row stands where the plan's front is: all before it was counted, or is in `unaudited`.

use chaperone_audit::wire::{AuditMessage, Interval, PartitionMark};

use super::{Range, Tapped, Taps, unaudited};
use crate::db::{Db, Done};
use crate::interval::{Chain, Outcome};
use crate::rebuild::{GivenUp, Ruling, Stand};
use crate::tables::reopen;

/// Why offsets of a store that was made anew are not counted.
const LOST: &str = "they were counted once, and the report is not on the audit topic any more";

/// The claim under which something was reported, and when that was appended.
pub(in crate::tables) struct Under<'a> {
    /// Who reports.
    pub(in crate::tables) by: &'a AuditMessage,
    pub(in crate::tables) stage: i64,
    pub(in crate::tables) append_ms: i64,
}

struct Said<'a> {
    topic: &'a str,
    partition: i32,
    log: u32,
    epoch: u64,
    claim_from: Option<i64>,
    stand: Stand,
}

impl Taps {
    /// Takes note of the claim of an interval; the ruling's outcome.
    pub(in crate::tables) fn interval_again(
        &mut self,
        db: &mut Db<'_>,
        under: &Under<'_>,
        i: &Interval,
        ruling: &Ruling,
    ) -> Done<Outcome> {
        let (topic, partition, stand) = (i.topic.as_str(), i.partition, ruling.stand);
        let said = Said { topic, partition, log: i.log, epoch: i.epoch, claim_from: Some(i.claim_from), stand };
        self.stand(db, under, &said)?;
        Ok(ruling.outcome)
    }

    /// Likewise of a mark.
    pub(in crate::tables) fn mark_again(
        &mut self,
        db: &mut Db<'_>,
        under: &Under<'_>,
        m: &PartitionMark,
        stand: Stand,
    ) -> Done<()> {
        let (topic, partition) = (m.topic.as_str(), m.partition);
        let said = Said { topic, partition, log: m.log, epoch: m.epoch, claim_from: None, stand };
        self.stand(db, under, &said)
    }

    fn stand(&mut self, db: &mut Db<'_>, under: &Under<'_>, said: &Said<'_>) -> Done<()> {
        let topic = db.name(said.topic)?;
        let place = (under.stage, topic, said.partition);
        if self.row(db, place.0, place.1, place.2)?.is_none() {
            self.rows.insert(place, Some(begun(place, under, said)));
            return reopen::first_report(db, under.stage);
        }
        let Some(row) = self.row(db, place.0, place.1, place.2)? else { return Ok(()) };
        if said.log > row.log {
            let cause = "the log was truncated or re-created";
            let (from, at_ms, floor) = (row.chain.next, under.append_ms, row.event_floor_ms());
            let range = Range { log: row.log, from, to: None, at_ms, floor, cause };
            unaudited(db, place.0, place.1, place.2, &range)?;
            row.log = said.log;
            row.chain.next = said.stand.start;
            row.anchor = None;
            row.position = None;
        }
        if said.log == row.log {
            row.chain.next = row.chain.next.max(said.stand.next);
            if said.epoch > row.chain.epoch {
                row.chain.epoch = said.epoch;
                row.claim_from = row.chain.next;
                row.tap = under.by.incarnation.as_bytes().to_vec();
                row.claimed_ms = under.append_ms;
            }
            if said.epoch == row.chain.epoch {
                row.claim_from = said.claim_from.unwrap_or(row.claim_from);
            }
        }
        row.dirty = true;
        Ok(())
    }

    /// Records what was counted once and is reported by nobody.
    pub(in crate::tables) fn lost(
        &mut self,
        db: &mut Db<'_>,
        under: &Under<'_>,
        i: &Interval,
        ruling: &Ruling,
    ) -> Done<()> {
        let place = (under.stage, db.name(&i.topic)?, i.partition);
        for (from, to) in &ruling.lost {
            let Some(row) = self.row(db, place.0, place.1, place.2)? else { return Ok(()) };
            let (at_ms, floor) = (under.append_ms, row.event_floor_ms());
            let range = Range { log: i.log, from: *from, to: Some(*to), at_ms, floor, cause: LOST };
            unaudited(db, place.0, place.1, place.2, &range)?;
        }
        Ok(())
    }
}

fn begun((stage, topic, partition): (i64, i64, i32), under: &Under<'_>, said: &Said<'_>) -> Tapped {
    Tapped {
        stage,
        topic,
        partition,
        log: said.log,
        chain: Chain { epoch: said.epoch, next: said.stand.next },
        claim_from: said.claim_from.unwrap_or(said.stand.next),
        tap: under.by.incarnation.as_bytes().to_vec(),
        claimed_ms: under.append_ms,
        // What was appended later lies behind where the count begins.
        audited_since_ms: if said.stand.start == 0 { i64::MIN } else { under.append_ms },
        anchor: None,
        topic_id: None,
        last_min_ms: None,
        counted: 0,
        watermark_ms: None,
        frontier_ms: None,
        held_since_ms: None,
        position: None,
        dirty: true,
    }
}

/// Gives up what was to be counted and was not there, and goes on behind it.
pub(in crate::tables) fn give_up(db: &mut Db<'_>, all: &[GivenUp], at_ms: i64) -> Done<()> {
    let mut taps = Taps::default();
    for given_up in all {
        let (stage, topic, partition) = &given_up.place;
        let place = (db.name(stage)?, db.name(topic)?, *partition);
        let Some(row) = taps.row(db, place.0, place.1, place.2)? else { continue };
        for (from, to) in &given_up.lost {
            // Which event times it may have had is not known.
            let range = Range { log: given_up.log, from: *from, to: Some(*to), at_ms, floor: None, cause: LOST };
            unaudited(db, place.0, place.1, place.2, &range)?;
        }
        if row.log == given_up.log {
            row.chain.next = row.chain.next.max(given_up.next);
            row.dirty = true;
        }
    }
    taps.save(db)
}
