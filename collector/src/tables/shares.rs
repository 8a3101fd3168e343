//! Who counted what of a window: reporter by reporter, beside the totals that forget it.
//!
//! A slot's state is dropped some minutes after it is final ([`seal`](super::slots::seal)). Whose it was is written into
//! `reporter_window` at that moment if its window is not proven by then; of proven windows it is forgotten. A slot is
//! sealed once and in one transaction with its row here, so that a reader may add up what is at hand and what was kept.
//!
//! Invariant: Σ of shares ≤ the stage's total. It is less, and the reader can see by how much, where a proven window was
//! amended after its slots were sealed, where a slot was final more than [`LATE_MS`] after its window began, and where rows
//! were dropped. Limits: the newest [`KEPT`] rows, none longer than its window; [`TROUBLE`] windows in trouble a call; a reader decodes
//! [`BYTES`] of slots at hand and says so (`cut`) if there are more.

use std::collections::{BTreeMap, HashMap};

use chaperone_audit::wire::SlotRecord;
use uuid::Uuid;

use super::codec;
use super::ids::IdSet;
use super::totals::Share;
use crate::db::{AsValue, Db, Done, Fault, Tx, Value, count, find_name, int, params};
use crate::query::{Amendment, DetailQuery, ReporterShare, WindowDetail};
use crate::verdict::Verdict;

/// Rows kept: some 100 MB.
const KEPT: i64 = 1_000_000;
/// Windows in trouble that one call looks at.
const TROUBLE: i64 = 20_000;
/// A slot that was final later than this after its window began leaves no row: the widest window, and some minutes.
const LATE_MS: i64 = 900_000;
/// Slots at hand that one reader decodes.
const BYTES: usize = 64 << 20;
/// Amendments of one window that are told.
const AMENDMENTS: i64 = 200;

/// Windows that are not proven, by topic.
#[derive(Debug, Default)]
pub(super) struct Trouble(HashMap<String, (i64, Vec<(i64, i64)>)>);

impl Trouble {
    /// Those that slots which became final between the two may belong to.
    pub(super) fn load(tx: &dyn Tx, (first_ms, last_ms): (i64, i64)) -> Done<Self> {
        let mut found = Self::default();
        let from_ms = first_ms.saturating_sub(LATE_MS);
        let of = params![from_ms, last_ms, TROUBLE];
        tx.each(include_str!("sql/trouble_windows.sql"), of, &mut |r| {
            let (topic, from_ms, width_ms): (i64, i64, i64) = (r.get(1)?, r.get(2)?, r.get(3)?);
            let (_, spans) = found.0.entry(r.get(0)?).or_insert_with(|| (topic, Vec::new()));
            spans.push((from_ms, from_ms.saturating_add(width_ms)));
            Ok(true)
        })?;
        Ok(found)
    }

    /// The topic's number, if the slot is of a window in trouble.
    fn topic(&self, slot: &SlotRecord) -> Option<i64> {
        let (topic, spans) = self.0.get(&slot.topic)?;
        let is_within = |(from, to): &(i64, i64)| (*from..*to).contains(&slot.window_ms.0);
        spans.iter().any(is_within).then_some(*topic)
    }
}

/// What one reporter counted of one window.
#[derive(Debug, Clone, Default)]
struct Part {
    n: u64,
    acked: u64,
    failed: u64,
    bytes: u64,
    last_ms: Option<i64>,
    /// Some of it may still grow.
    open: bool,
}

impl Part {
    fn add_slot(&mut self, slot: &SlotRecord) {
        let share = Share::of_slot(&slot.state);
        let of_slot = Self {
            n: share.n,
            acked: share.acked,
            failed: share.failed,
            bytes: share.bytes,
            last_ms: slot.state.last_ms,
            open: !slot.state.is_final,
        };
        self.add(&of_slot);
    }
    fn add(&mut self, o: &Self) {
        self.n = self.n.saturating_add(o.n);
        self.acked = self.acked.saturating_add(o.acked);
        self.failed = self.failed.saturating_add(o.failed);
        self.bytes = self.bytes.saturating_add(o.bytes);
        self.last_ms = self.last_ms.max(o.last_ms);
        self.open |= o.open;
    }
}

/// Writes down whose the slots of these segments were, before they are dropped. The reporter is held.
pub(super) fn keep(db: &Db<'_>, reporter: i64, segments: &[i64], trouble: &Trouble) -> Done<()> {
    if trouble.0.is_empty() {
        return Ok(());
    }
    let mut parts: BTreeMap<(i64, i64, i64), Part> = BTreeMap::new();
    for segment in segments {
        // Asked again now that the reporter is held: whoever sealed them in the meantime has written it down.
        let sql = "SELECT body FROM final_slots WHERE id = ?1";
        let Some(body) = db.tx.first(sql, params![segment], |r| r.get::<Vec<u8>>(0))? else { continue };
        for slot in codec::decode(&body).map_err(Fault::stored("slots"))?.values() {
            let r = &slot.record;
            if let Some(topic) = trouble.topic(r).filter(|_| r.class.has_time() && r.state.n > 0) {
                parts.entry((topic, r.window_ms.0, r.width_ms.ms())).or_default().add_slot(r);
            }
        }
    }
    let row = |((topic, window_ms, width_ms), p): (&(i64, i64, i64), &Part)| {
        let last_ms = p.last_ms.map_or(Value::Null, Value::Int);
        let counts = [p.n, p.acked, p.failed, p.bytes].map(|n| Value::Int(int(n)));
        [*topic, *window_ms, reporter, *width_ms].map(Value::Int).into_iter().chain(counts).chain([last_ms])
    };
    let rows: Vec<Value<'_>> = parts.iter().flat_map(row).collect();
    db.tx.execute_many(include_str!("sql/reporter_window_insert.sql"), 9, &rows)?;
    if !rows.is_empty() {
        let oldest = "DELETE FROM reporter_window WHERE id <= (SELECT max(id) FROM reporter_window) - ?1";
        db.tx.execute(oldest, params![KEPT])?;
    }
    Ok(())
}

/// What is known of a window beyond its totals and verdicts. In one read transaction: slots may be sealed between two
/// questions.
pub(super) fn read(tx: &dyn Tx, q: &DetailQuery) -> Done<WindowDetail> {
    let Some(topic) = find_name(tx, &q.topic)? else { return Ok(WindowDetail::default()) };
    let mut parts: BTreeMap<i64, Part> = BTreeMap::new();
    let bounds = params![topic, q.from_ms, q.to_ms];
    tx.each(include_str!("sql/reporter_window_select.sql"), bounds, &mut |r| {
        let kept = Part {
            n: count(r.get(1)?),
            acked: count(r.get(2)?),
            failed: count(r.get(3)?),
            bytes: count(r.get(4)?),
            last_ms: r.get(5)?,
            open: false,
        };
        parts.entry(r.get(0)?).or_default().add(&kept);
        Ok(true)
    })?;
    let mut room = BYTES;
    let mut cut = false;
    let mut take = |reporter: i64, body: &[u8]| -> Done<bool> {
        let Some(rest) = room.checked_sub(body.len()) else {
            cut = true;
            return Ok(false);
        };
        room = rest;
        for slot in codec::decode(body).map_err(Fault::stored("slots"))?.values() {
            let r = &slot.record;
            let is_in = r.topic == q.topic && (q.from_ms..q.to_ms).contains(&r.window_ms.0);
            if is_in && r.class.has_time() && r.state.n > 0 {
                parts.entry(reporter).or_default().add_slot(r);
            }
        }
        Ok(true)
    };
    let body = |r: &crate::db::Row<'_>| r.get::<Vec<u8>>(1);
    tx.each(include_str!("sql/open_slots_of_window.sql"), bounds, &mut |r| take(r.get(0)?, &body(r)?))?;
    for stage in &q.stages {
        let of = params![stage, q.from_ms];
        tx.each(include_str!("sql/final_slots_of_stage.sql"), of, &mut |r| take(r.get(0)?, &body(r)?))?;
    }
    Ok(WindowDetail { shares: name(tx, &parts)?, amendments: amendments(tx, topic, q)?, cut })
}

/// Who they are, by stage, host and application.
fn name(tx: &dyn Tx, parts: &BTreeMap<i64, Part>) -> Done<Vec<ReporterShare>> {
    let keys: Vec<Value<'_>> = parts.keys().map(AsValue::value).collect();
    let who = tx.first_many(include_str!("sql/reporter_named.sql"), 1, &keys, |r| {
        let known: IdSet = serde_json::from_str(&r.get::<String>(9)?).map_err(Fault::stored("ids"))?;
        Ok(ReporterShare {
            stage: r.get(0)?,
            incarnation: Uuid::from_bytes(r.get(1)?),
            host: r.get(2)?,
            application: r.get(3)?,
            datacenter: r.get(4)?,
            library: r.get(5)?,
            watermark_ms: r.get(6)?,
            heard_ms: r.get(7)?,
            last_seq: count(r.get(8)?),
            untold: known.end().saturating_sub(known.len()),
            ended: r.get(10)?,
            n: 0,
            acked: 0,
            failed: 0,
            bytes: 0,
            last_ms: None,
            open: false,
        })
    })?;
    let mut shares: Vec<ReporterShare> = Vec::with_capacity(parts.len());
    for (who, p) in who.into_iter().zip(parts.values()) {
        let Some(who) = who else { continue };
        let part = p.clone();
        shares.push(ReporterShare {
            n: part.n,
            acked: part.acked,
            failed: part.failed,
            bytes: part.bytes,
            last_ms: part.last_ms,
            open: part.open,
            ..who
        });
    }
    shares.sort_by(|a, b| {
        let key = |s: &ReporterShare| (s.stage.clone(), s.host.clone(), s.application.clone(), s.incarnation);
        key(a).cmp(&key(b))
    });
    Ok(shares)
}

fn amendments(tx: &dyn Tx, topic: i64, q: &DetailQuery) -> Done<Vec<Amendment>> {
    let of = params![topic, q.from_ms, q.to_ms, AMENDMENTS];
    tx.query(include_str!("sql/amendments.sql"), of, |r| {
        let verdict =
            |word: &str| Verdict::parse(word).ok_or_else(|| Fault::stored("verdict")(format!("'{word}' is none")));
        Ok(Amendment {
            at_ms: r.get(0)?,
            from_stage: r.get(1)?,
            to_stage: r.get(2)?,
            old_verdict: verdict(&r.get::<String>(3)?)?,
            new_verdict: verdict(&r.get::<String>(4)?)?,
            old_missing: count(r.get(5)?),
            new_missing: count(r.get(6)?),
            old_surplus: count(r.get(7)?),
            new_surplus: count(r.get(8)?),
            cause: r.get(9)?,
        })
    })
}
