//! What is read for the strips, and when a slice gives way.

use chaperone_collector::Verdict;

use super::*;

const MINUTE: i64 = 60_000;

fn glance(window_ms: i64, width_ms: i64, verdicts: &[(Verdict, u64)]) -> Glance {
    let verdicts: BTreeMap<Verdict, u64> = verdicts.iter().copied().collect();
    let windows = verdicts.values().sum();
    Glance { window_ms, width_ms, windows, verdicts, caveats: vec![], missing_min: 0, surplus_min: 0, delayed: 0 }
}

fn summary(topic: String, worst: Verdict) -> TopicSummary {
    let stages = ["a", "b", "c"].map(str::to_owned).to_vec();
    TopicSummary { topic, stages, worst, missing_min: 0, surplus_min: 0, delayed: 0, complete_through_ms: None }
}

fn minutes(rows: Vec<Glance>) -> Bins<Glance> {
    Bins { width_ms: MINUTE, from_ms: 0, to_ms: 60 * MINUTE, rows }
}

#[test]
fn a_thousand_topics_are_no_more_to_read_than_some() {
    let topics: Vec<TopicSummary> = (0..1_000).map(|i| summary(format!("t{i}"), Verdict::Ok)).collect();
    let hour = WindowQuery { topic: None, from_ms: 0, to_ms: 60 * MINUTE, limit: None };
    let asked = questions(&topics, &hour);
    assert_eq!(asked.len(), 40, "4,800 slices of two hops and 60 minutes");
    assert_eq!(asked[39].0.topic, "t39");
    assert!(asked.iter().all(|(topic, q)| q.range.topic.as_ref() == Some(&topic.topic)));
}

#[test]
fn minutes_in_trouble_are_read_by_window_neighbours_at_once() {
    let calm = |at: i64| glance(at * MINUTE, MINUTE, &[(Verdict::Ok, 6)]);
    let bad = |at: i64| glance(at * MINUTE, MINUTE, &[(Verdict::Ok, 5), (Verdict::Missing, 1)]);
    let rows = vec![calm(9), bad(8), calm(8), bad(7), calm(6), bad(2), calm(1)];
    let mut room = 1_000;
    assert_eq!(spans(&minutes(rows.clone()), &mut room), [(7 * MINUTE, 9 * MINUTE), (2 * MINUTE, 3 * MINUTE)]);
    assert_eq!(room, 1_000 - 24);
    let mut scarce = 13;
    assert_eq!(spans(&minutes(rows.clone()), &mut scarce), [(8 * MINUTE, 9 * MINUTE)], "the newest, whole");
    let (a, b) = (summary("a".into(), Verdict::Missing), summary("b".into(), Verdict::Missing));
    let windows = Bins { width_ms: BINS_MS[0], ..minutes(rows.clone()) };
    let found = in_trouble(&[&a, &b], &[windows, minutes(rows)]);
    assert_eq!(found.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 1], "windows are windows");
    let many: Vec<Bins<Glance>> = (0..200).map(|_| minutes(vec![bad(1)])).collect();
    let topics: Vec<&TopicSummary> = (0..200).map(|_| &a).collect();
    assert_eq!(in_trouble(&topics, &many).len(), SPANS_MAX);
}

#[test]
fn a_slice_gives_way_to_all_of_its_windows_or_not_at_all() {
    let slice = |at: i64| glance(at * MINUTE, MINUTE, &[(Verdict::Ok, 2), (Verdict::Missing, 1)]);
    let window = |ms: i64, verdict| glance(ms, 10_000, &[(verdict, 1)]);
    let windows = vec![
        window(2 * MINUTE + 20_000, Verdict::Ok),
        window(2 * MINUTE + 10_000, Verdict::Missing),
        window(2 * MINUTE, Verdict::Ok),
        // One was dropped meanwhile.
        window(MINUTE + 10_000, Verdict::Missing),
        window(MINUTE, Verdict::Ok),
    ];
    let mut bins = minutes(vec![slice(3), slice(2), slice(1)]);
    refine(&mut bins, windows);
    let starts: Vec<(i64, u64)> = bins.rows.iter().map(|g| (g.window_ms / 1_000, g.windows)).collect();
    assert_eq!(starts, [(180, 3), (140, 1), (130, 1), (120, 1), (60, 3)]);
}
