//! What later windows say of one that lacks messages, where several clusters flow into one place: that a partition of one of them
//! has been copied beyond it. [`passage::is_followed`](crate::passage::is_followed) is the rule; this finds what it is asked with.
//!
//! Only windows that have settled without a caveat and without a surplus are asked, and have not changed since. Limits:
//! [`NEAR`] windows after the one in question, and the [`NEAR`] newest: a partition in which neither holds a message says
//! nothing.

use std::collections::BTreeMap;

use super::passing::holding;
use super::side::{Member, Side};
use super::{Case, Facts, Span, StageSum, StageSums, compared, millis};
use crate::db::{AsValue, Done, Texts, Tx, params};
use crate::passage::{Follower, is_followed};
use crate::query::OffsetsQuery;
use crate::settle::settle_passed;
use crate::tables::offsets;
use crate::tables::standing::Standing;
use crate::tables::sums::stage_sums;
use crate::verdict::Progress;

/// See the module's head.
const NEAR: i64 = 12;

/// What a sound window says: both sides of its equation, and when the last of it arrived downstream.
#[derive(Debug, Clone, Copy)]
pub(in crate::tables) struct Later {
    expected: u64,
    arrived: u64,
    last_ms: i64,
}

/// If every partition of every member that holds messages of the window has been copied beyond them: until when downstream must
/// have reported, so that what was copied before is in its counts.
pub(super) fn passed_ms(
    tx: &dyn Tx,
    facts: &mut Facts,
    case: &Case<'_>,
    (up, down): (&Side, &Side),
) -> Done<Option<i64>> {
    let topic = Texts::of_all(tx, [case.topic])?.of(case.topic)?;
    let (a, _) = case.to.expect.factors();
    let mut latest = None;
    for (member, id, _) in up.taps() {
        let held = holding(tx, case, id)?;
        if held.is_empty() {
            continue;
        }
        let after = after(tx, facts, case, (&topic, &member.name))?;
        for (partition, max_offset) in held {
            let mut by = None;
            for (span, spots) in &after {
                let Some(spot) = spots.get(&partition).filter(|spot| spot.first > max_offset) else { continue };
                let Some(l) = later(tx, facts, case, (up, down), *span)? else { continue };
                let follower = Follower {
                    first_offset: spot.first,
                    messages: spot.n.saturating_mul(a),
                    expected: l.expected,
                    arrived: l.arrived,
                };
                if is_followed(max_offset, &follower) {
                    by = Some(l.last_ms);
                    break;
                }
            }
            let Some(by) = by else { return Ok(None) };
            latest = latest.max(Some(by));
        }
    }
    Ok(latest)
}

/// Messages of one partition in one window.
struct Spot {
    n: u64,
    first: i64,
}

/// What a member holds of later windows, by window, earliest first, and partition.
fn after(
    tx: &dyn Tx,
    facts: &Facts,
    case: &Case<'_>,
    (topic, stage): (&str, &str),
) -> Done<BTreeMap<i64, BTreeMap<i32, Spot>>> {
    let Span { width_ms, .. } = case.span;
    let (from_ms, reach_ms) = (case.span.end_ms(), width_ms.saturating_mul(NEAR));
    let now_ms = Span::holding(facts.now_ms, width_ms).start_ms;
    let near = (from_ms, from_ms.saturating_add(reach_ms));
    let newest = (near.1.max(now_ms.saturating_sub(reach_ms)), now_ms);
    let mut found: BTreeMap<i64, BTreeMap<i32, Spot>> = BTreeMap::new();
    for (from_ms, to_ms) in [near, newest].into_iter().filter(|(from_ms, to_ms)| from_ms < to_ms) {
        let query = OffsetsQuery { topic: topic.to_owned(), stage: stage.to_owned(), from_ms, to_ms };
        for o in offsets::read(tx, &query)? {
            let spots = found.entry(Span::holding(o.window_ms, width_ms).start_ms).or_default();
            let spot = spots.entry(o.partition).or_insert(Spot { n: 0, first: o.first });
            spot.n = spot.n.saturating_add(o.n);
            spot.first = spot.first.min(o.first);
        }
    }
    Ok(found)
}

/// A window's own evidence, if it is sound; read once.
fn later(
    tx: &dyn Tx,
    facts: &mut Facts,
    case: &Case<'_>,
    (up, down): (&Side, &Side),
    start_ms: i64,
) -> Done<Option<Later>> {
    let (Some(from), Some(to)) = (facts.id(tx, &case.from.name)?, facts.id(tx, &case.to.name)?) else {
        return Ok(None);
    };
    let key = (case.topic, from, to, start_ms);
    if let Some(known) = facts.later.get(&key) {
        return Ok(*known);
    }
    let span = Span { start_ms, ..case.span };
    let found = sound(tx, case, (up, down), (from, to), span)?;
    facts.later.insert(key, found);
    Ok(found)
}

/// Reads it. Downstream may be told of a message before upstream is: what is expected is known once upstream has reported through
/// the last arrival downstream.
fn sound(tx: &dyn Tx, case: &Case<'_>, (up, down): (&Side, &Side), hop: (i64, i64), span: Span) -> Done<Option<Later>> {
    let standing = Standing::load(tx, case.topic, span.start_ms, hop)?;
    let end_ms = span.end_ms();
    let of_span = params![case.topic, span.start_ms, end_ms];
    if !standing.is_some_and(|s| s.is_sound()) || tx.exists(include_str!("../sql/pending_changed.sql"), of_span)? {
        return Ok(None);
    }
    let sums = stage_sums(tx, case.levels, case.topic, span)?;
    let of = |side: &Side| StageSums::of(side.members.iter().filter_map(Member::id).filter_map(|id| sums.get(&id)));
    let (of_up, of_down) = (of(up), of(down));
    let Some(last_ms) = of_down.all.last_ms else { return Ok(None) };
    if settle_passed(last_ms.saturating_add(millis(case.pipeline.grace)), &up.marks) != Progress::Settled {
        return Ok(None);
    }
    let (a, b) = case.to.expect.factors();
    let passed_on = |sum: &StageSum| sum.n.saturating_sub(sum.failed);
    Ok(Some(Later {
        expected: passed_on(compared(&of_up, case)).saturating_mul(a),
        arrived: passed_on(compared(&of_down, case)).saturating_mul(b),
        last_ms,
    }))
}
