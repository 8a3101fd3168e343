//! Whether a hop has passed a window, as far as the store can tell: what the pure rules of [`passage`](crate::passage) are
//! asked with.

use chaperone_audit::Width;

use super::later;
use super::side::{Side, Source};
use super::{Case, Facts};
use crate::db::{AsValue, Done, Row, Texts, Tx, Value, params};
use crate::passage::{self, Frontier, Held, by_frontier, by_position, by_watermark};
use crate::pipeline::StageKind;
use crate::query::OffsetsQuery;
use crate::tables::offsets;
use crate::verdict::Passage;

/// Whether the hop has passed the window; with positions, and with later windows, also when that was known at the latest.
pub(super) fn passage(
    tx: &dyn Tx,
    facts: &mut Facts,
    case: &Case<'_>,
    (up, down): (&Side, &Side),
    (last_ms, settles_at_ms): (Option<i64>, i64),
) -> Done<(Passage, Option<i64>)> {
    let all = || up.members.iter().chain(&down.members);
    if all().any(|m| matches!(m.source, Source::Unknown)) {
        return Ok((Passage::None, None));
    }
    if case.from.kind == StageKind::Client {
        let passed = case.to.kind == StageKind::Kafka
            || down
                .clients()
                .all(|(_, f)| by_watermark(f.watermarks.iter().copied(), settles_at_ms) == Passage::Passed);
        if !passed {
            return Ok((Passage::None, None));
        }
        return Ok((Passage::Passed, told_ms(facts, case)));
    }
    if let [_, _, ..] = up.members.as_slice() {
        // Neither a position nor a frontier downstream says which of several clusters it is about.
        if let Some(at_ms) = later::passed_ms(tx, facts, case, (up, down))? {
            return Ok((Passage::Passed, Some(at_ms)));
        }
        let passage = by_frontier(case.span.end_ms(), last_ms, &frontiers(tx, case, (up, down), last_ms)?);
        let is_behind = case.to.kind == StageKind::Kafka && passage == Passage::NotPassed;
        return Ok((if is_behind { passage } else { Passage::None }, None));
    }
    if case.to.kind == StageKind::Kafka {
        return Ok((by_frontier(case.span.end_ms(), last_ms, &frontiers(tx, case, (up, down), last_ms)?), None));
    }
    let (held, at_ms) = held(tx, case, up, down)?;
    let passage = by_position(&held);
    Ok((passage, at_ms.filter(|_| passage == Passage::Passed)))
}

/// When upstream had told what is compared, at the latest. A message is stored when it is acknowledged, which may be long
/// after its arrival: where one is absent, downstream must have come as far as upstream's own word that all of them were.
fn told_ms(facts: &Facts, case: &Case<'_>) -> Option<i64> {
    let stages: Vec<&str> = case.from.reported().iter().map(String::as_str).collect();
    facts.audit(&stages).into_iter().filter_map(|mark| mark.through_ms).max()
}

fn frontiers(tx: &dyn Tx, case: &Case<'_>, (up, down): (&Side, &Side), last_ms: Option<i64>) -> Done<Vec<Frontier>> {
    let (mut of_up, mut of_down) = (up.taps(), down.taps());
    let (Some((member, from, f)), None, Some((_, _, t)), None) =
        (of_up.next(), of_up.next(), of_down.next(), of_down.next())
    else {
        return Ok(passage::with_traffic(up.partitions(), down.partitions()));
    };
    let held = holding(tx, case, from)?;
    let numbers: Vec<i32> = held.iter().map(|(q, _)| *q).collect();
    let mut all = passage::relevant((f.count, t.count), &numbers, &f.partitions, &t.partitions);
    // Only where all partitions are compared with their own: else it is not known whose message downstream has read.
    if f.count.is_some() && f.count == t.count {
        let end_ms = case.span.end_ms();
        for (frontier, (partition, max_offset)) in all.iter_mut().zip(held) {
            if let Some(read_ms) = frontier.downstream_ms
                && frontier.is_beyond(end_ms)
                && !frontier.proves(end_ms, last_ms)
            {
                frontier.is_behind = is_behind(tx, case, &member.name, (partition, max_offset), read_ms)?;
            }
        }
    }
    Ok(all)
}

/// Whether the upstream stage holds messages of the time `at_ms` in the partition, all of them behind `max_offset`.
fn is_behind(tx: &dyn Tx, case: &Case<'_>, stage: &str, (partition, max_offset): (i32, i64), at_ms: i64) -> Done<bool> {
    let topic = Texts::of_all(tx, [case.topic])?.of(case.topic)?;
    let widest_ms = Width::ALL.map(Width::ms).into_iter().max().unwrap_or_default();
    // Reporters may have widened their windows: all that hold the time.
    let query = OffsetsQuery {
        topic,
        stage: stage.to_owned(),
        from_ms: at_ms.saturating_sub(widest_ms),
        to_ms: at_ms.saturating_add(1),
    };
    let all = offsets::read(tx, &query)?;
    let mut of_then = all.iter().filter(|o| o.partition == partition && at_ms < o.window_ms.saturating_add(o.width_ms));
    let first = of_then.next();
    Ok(first.is_some() && first.into_iter().chain(of_then).all(|o| o.first > max_offset))
}

/// Partitions that hold messages of the window at a broker stage, with the largest offset.
pub(super) fn holding(tx: &dyn Tx, case: &Case<'_>, stage: i64) -> Done<Vec<(i32, i64)>> {
    let end_ms = case.span.end_ms();
    let place = params![case.topic, case.span.start_ms, end_ms, stage];
    tx.query(include_str!("../sql/holding.sql"), place, |r| Ok((r.get(0)?, r.get(1)?)))
}

/// The partitions of a broker stage with the consumers' positions, and the latest time of the positions. Of a group of
/// consumers the one that is furthest behind counts, of those that have read the partition.
fn held(tx: &dyn Tx, case: &Case<'_>, up: &Side, down: &Side) -> Done<(Vec<Held>, Option<i64>)> {
    let mut holding_all = Vec::new();
    for (_, from, _) in up.taps() {
        holding_all.extend(holding(tx, case, from)?);
    }
    let mut held: Vec<Held> =
        holding_all.iter().map(|(_, max_offset)| Held { max_offset: *max_offset, position: None }).collect();
    let mut latest = None;
    for to in down.members.iter().filter_map(super::side::Member::id) {
        let keys: Vec<Value<'_>> =
            holding_all.iter().flat_map(|(partition, _)| *params![to, case.topic, partition]).collect();
        let read = |r: &Row<'_>| Ok((r.get::<i64>(0)?, r.get::<i64>(1)?));
        let positions = tx.first_many(include_str!("../sql/position_select.sql"), 3, &keys, read)?;
        for (held, (position, at_ms)) in held.iter_mut().zip(&positions).filter_map(|(h, p)| Some((h, (*p)?))) {
            held.position = Some(held.position.map_or(position, |least| least.min(position)));
            latest = latest.max(Some(at_ms));
        }
    }
    Ok((held, latest))
}
