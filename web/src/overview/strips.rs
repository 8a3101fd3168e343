//! What the strips of the topics draw: slices, and where there is trouble the windows themselves, which can be pointed at.
//!
//! Invariants: whatever the number of topics, no more is read than the limits here; a slice gives way only to all windows
//! that it stands for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use chaperone_collector::query::{BinQuery, Bins, Glance, TopicSummary, WindowQuery};
use chaperone_collector::retention::{BINS_MS, fitting_ms};

use crate::App;
use crate::error::WebError;
use crate::look::Look;
use crate::strip::Piece;

/// Most slices of all hops; topics beyond have no strip.
const SLICES_MAX: u64 = 4_800;
/// Most slices of a hop in trouble, and of one without.
const SLICES: (i64, i64) = (150, 90);
/// Most windows that slices give way to.
const WINDOWS_MAX: u64 = 2_400;
/// Most stretches of such windows.
const SPANS_MAX: usize = 120;

/// Pieces by topic, in order of time.
pub(super) async fn read(
    app: &App,
    topics: &[TopicSummary],
    query: &WindowQuery,
) -> Result<HashMap<String, Vec<Piece>>, WebError> {
    let store = &app.state.store;
    let (asked, queries): (Vec<&TopicSummary>, Vec<BinQuery>) = questions(topics, query).into_iter().unzip();
    let mut answers = store.glances(queries).await?;
    let (places, exact): (Vec<usize>, Vec<BinQuery>) = in_trouble(&asked, &answers).into_iter().unzip();
    if !exact.is_empty() {
        for (place, windows) in places.into_iter().zip(store.glances(exact).await?) {
            if let Some(slices) = answers.get_mut(place) {
                refine(slices, windows.rows);
            }
        }
    }
    let named = asked.iter().zip(answers).filter(|(_, bins)| !bins.rows.is_empty());
    Ok(named.map(|(t, bins)| (t.topic.clone(), bins.rows.iter().rev().map(Piece::seen).collect())).collect())
}

/// How many topics have a strip.
pub(super) fn drawn(topics: &[TopicSummary], query: &WindowQuery) -> usize {
    questions(topics, query).len()
}

/// The worst topics first, as long as there is room.
fn questions<'a>(topics: &'a [TopicSummary], query: &WindowQuery) -> Vec<(&'a TopicSummary, BinQuery)> {
    let range_ms = query.to_ms.saturating_sub(query.from_ms);
    let mut room = SLICES_MAX;
    let question = |topic: &'a TopicSummary| {
        let at_most = if Look::of_verdict(topic.worst).is_trouble() { SLICES.0 } else { SLICES.1 };
        let slices = u64::try_from(range_ms / fitting_ms(range_ms, at_most, 0)).unwrap_or_default().max(1);
        let hops = topic.stages.len().saturating_sub(1).max(1) as u64;
        room = room.checked_sub(slices.saturating_mul(hops))?;
        let range = WindowQuery { topic: Some(topic.topic.clone()), ..query.clone() };
        Some((topic, BinQuery { range, width_ms: None, at_most: Some(at_most) }))
    };
    topics.iter().map_while(question).collect()
}

/// Stretches to be read window by window, each with the place of its topic.
fn in_trouble(topics: &[&TopicSummary], answers: &[Bins<Glance>]) -> Vec<(usize, BinQuery)> {
    let mut room = WINDOWS_MAX;
    let mut found = Vec::new();
    for (place, (topic, slices)) in topics.iter().zip(answers).enumerate() {
        if slices.width_ms == BINS_MS[0] {
            continue;
        }
        for (from_ms, to_ms) in spans(slices, &mut room) {
            if found.len() == SPANS_MAX {
                return found;
            }
            let range = WindowQuery { topic: Some(topic.topic.clone()), from_ms, to_ms, limit: None };
            found.push((place, BinQuery { range, width_ms: Some(BINS_MS[0]), at_most: None }));
        }
    }
    found
}

/// Where a topic is in trouble, the newest first, neighbours as one; what has no room is left out.
fn spans(slices: &Bins<Glance>, room: &mut u64) -> Vec<(i64, i64)> {
    let mut by_start: BTreeMap<Reverse<i64>, (u64, bool)> = BTreeMap::new();
    for slice in &slices.rows {
        let (windows, is_trouble) = by_start.entry(Reverse(slice.window_ms)).or_default();
        *windows += slice.windows;
        *is_trouble |= Piece::seen(slice).look.is_trouble();
    }
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for (Reverse(start_ms), (windows, _)) in by_start.into_iter().filter(|(_, (_, is_trouble))| *is_trouble) {
        let Some(left) = room.checked_sub(windows) else { continue };
        *room = left;
        let end_ms = start_ms.saturating_add(slices.width_ms);
        match spans.last_mut() {
            Some(last) if last.0 == end_ms => last.0 = start_ms,
            _ => spans.push((start_ms, end_ms)),
        }
    }
    spans
}

/// Slices give way to their windows; both newest first.
fn refine(slices: &mut Bins<Glance>, windows: Vec<Glance>) {
    let width_ms = slices.width_ms.max(1);
    let mut inside: BTreeMap<i64, Vec<Glance>> = BTreeMap::new();
    for window in windows {
        inside.entry(window.window_ms.div_euclid(width_ms).saturating_mul(width_ms)).or_default().push(window);
    }
    let mut expected: HashMap<i64, u64> = HashMap::new();
    for slice in &slices.rows {
        *expected.entry(slice.window_ms).or_default() += slice.windows;
    }
    // Of which windows were dropped or came in between, a slice stays as it was read first.
    inside.retain(|start_ms, windows| expected.get(start_ms) == Some(&(windows.len() as u64)));
    slices.rows.retain(|slice| !inside.contains_key(&slice.window_ms));
    slices.rows.extend(inside.into_values().flatten());
    slices.rows.sort_by_key(|glance| Reverse(glance.window_ms));
}

#[cfg(test)]
#[path = "strips_tests.rs"]
mod tests;
