//! Whether a hop has passed a window, as far as the store can tell: what the pure rules of [`passage`](crate::passage) are
//! asked with.

use super::later;
use super::side::{Side, Source};
use super::{Case, Facts};
use crate::db::{AsValue, Done, Row, Tx, Value, params};
use crate::passage::{self, Frontier, Held, by_frontier, by_position, by_watermark};
use crate::pipeline::StageKind;
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
        let passage = by_frontier(case.span.end_ms(), last_ms, &frontiers(tx, case, up, down)?);
        let is_behind = case.to.kind == StageKind::Kafka && passage == Passage::NotPassed;
        return Ok((if is_behind { passage } else { Passage::None }, None));
    }
    if case.to.kind == StageKind::Kafka {
        return Ok((by_frontier(case.span.end_ms(), last_ms, &frontiers(tx, case, up, down)?), None));
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

fn frontiers(tx: &dyn Tx, case: &Case<'_>, up: &Side, down: &Side) -> Done<Vec<Frontier>> {
    let (mut of_up, mut of_down) = (up.taps(), down.taps());
    if let (Some((_, from, f)), None, Some((_, _, t)), None) =
        (of_up.next(), of_up.next(), of_down.next(), of_down.next())
    {
        let holding: Vec<i32> = holding(tx, case, from)?.into_iter().map(|(q, _)| q).collect();
        return Ok(passage::relevant((f.count, t.count), &holding, &f.partitions, &t.partitions));
    }
    Ok(passage::with_traffic(up.partitions(), down.partitions()))
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
