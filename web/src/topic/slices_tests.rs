//! Slices, and what they give way to.

use std::collections::BTreeMap;

use chaperone_collector::{Pipeline, Stage, StageKind, Verdict};

use super::*;

const MINUTE: i64 = 60_000;

fn pipeline() -> Pipeline {
    let stages = ["a", "b", "c"].map(|name| Stage::new(name, StageKind::Kafka));
    Pipeline::new("p", Vec::new(), stages.to_vec())
}

fn bin(hop: (&str, &str), minute: i64, verdicts: &[(Verdict, u64)], missing_min: u64) -> HopBin {
    let verdicts: BTreeMap<Verdict, u64> = verdicts.iter().copied().collect();
    HopBin {
        topic: "t".into(),
        from_stage: hop.0.into(),
        to_stage: hop.1.into(),
        hop: 0,
        window_ms: minute * MINUTE,
        width_ms: MINUTE,
        worst: verdicts.keys().copied().max_by_key(|v| v.severity()).expect("a verdict"),
        windows: verdicts.values().sum(),
        verdicts,
        missing_min,
        surplus_min: 0,
        delayed: 0,
        amendments: 0,
    }
}

fn sliced(rows: Vec<HopBin>) -> Grid {
    let to_ms = rows.iter().map(|b| b.window_ms + b.width_ms).max().expect("rows");
    grid(&pipeline(), Bins { width_ms: MINUTE, from_ms: 0, to_ms, rows }, &[], &[])
}

fn window(hop: (&str, &str), window_ms: i64, verdict: Verdict) -> HopWindow {
    HopWindow {
        topic: "t".into(),
        from_stage: hop.0.into(),
        to_stage: hop.1.into(),
        window_ms,
        width_ms: 10_000,
        verdict,
        missing_min: u64::from(verdict == Verdict::Missing) * 7,
        surplus_min: 0,
        delayed: 0,
        caveats: Vec::new(),
        why: String::new(),
        settled_ms: None,
        amendments: 0,
    }
}

/// All windows of a minute of one hop, one of them missing.
fn minute(minute: i64) -> Vec<HopWindow> {
    let verdict = |i| if i == 2 { Verdict::Missing } else { Verdict::Ok };
    (0..6).map(|i| window(("a", "b"), minute * MINUTE + i * 10_000, verdict(i))).collect()
}

#[test]
fn a_slice_has_the_worst_look_of_what_is_settled_and_says_how_many_windows_it_is() {
    let grid = sliced(vec![
        bin(("a", "b"), 0, &[(Verdict::Ok, 4), (Verdict::Open, 2)], 0),
        bin(("b", "c"), 0, &[(Verdict::Ok, 3), (Verdict::Missing, 2), (Verdict::Delayed, 1)], 14),
    ]);
    let row = &grid.rows[0];
    assert_eq!((row.from_ms, row.to_ms, row.windows()), (0, MINUTE, 6));
    assert_eq!(row.hop(0).map(|h| h.verdict), Some(Verdict::Ok));
    assert_eq!(row.hop(1).map(|h| (h.verdict, h.missing_min)), Some((Verdict::Missing, 14)));
    assert_eq!(row.looks(1), [(Look::Missing, 2), (Look::Delayed, 1), (Look::Proven, 3)]);
    assert_eq!((grid.width_ms(), grid.slice_ms()), (10_000, Some(MINUTE)));
}

#[test]
fn trouble_what_is_pending_and_what_is_selected_is_read_window_by_window() {
    let ok = |minute| bin(("a", "b"), minute, &[(Verdict::Ok, 6)], 0);
    let grid = sliced(vec![
        ok(0),
        bin(("a", "b"), 1, &[(Verdict::Ok, 5), (Verdict::Missing, 1)], 7),
        bin(("a", "b"), 2, &[(Verdict::Delayed, 6)], 0),
        ok(3),
        ok(4),
        bin(("a", "b"), 5, &[(Verdict::Ok, 2), (Verdict::Settling, 1)], 0),
    ]);
    let of = |minutes: std::ops::Range<i64>| (minutes.start * MINUTE, minutes.end * MINUTE);
    assert_eq!(spans(&grid, None), [of(1..3), of(5..6)]);
    assert_eq!(spans(&grid, Some(3 * MINUTE + 10_000)), [of(1..4), of(5..6)]);
}

#[test]
fn where_there_is_no_room_for_all_the_worst_and_the_selected_are_read() {
    let verdict = |minute: i64| if minute == 1_300 { Verdict::Missing } else { Verdict::Unproven };
    let rows = (0..1_400).filter(|m| m % 2 == 0).map(|m| bin(("a", "b"), m, &[(verdict(m), 6)], 0)).collect();
    let spans = spans(&sliced(rows), Some(2 * MINUTE));
    assert_eq!(spans.len(), SPANS_MAX);
    for minute in [2, 1_300] {
        assert!(spans.contains(&(minute * MINUTE, (minute + 1) * MINUTE)), "{minute}: {spans:?}");
    }
    let full = (0..1_400).map(|m| bin(("a", "b"), m, &[(Verdict::Unproven, 6)], 0)).collect();
    let read: i64 = super::spans(&sliced(full), None).iter().map(|(from, to)| (to - from) / 10_000).sum();
    assert_eq!(read.unsigned_abs(), WINDOWS_MAX);
}

#[test]
fn a_slice_gives_way_to_all_of_its_windows_or_to_none() {
    let troubled = |minute| bin(("a", "b"), minute, &[(Verdict::Ok, 5), (Verdict::Missing, 1)], 7);
    let mut grid = sliced(vec![bin(("a", "b"), 0, &[(Verdict::Ok, 6)], 0), troubled(1), troubled(2)]);
    // Of the last minute a window is kept no more.
    let exact: Vec<HopWindow> = minute(1).into_iter().chain(minute(2).into_iter().skip(1)).collect();
    refine(&mut grid, Grid::build(&pipeline(), exact, &[], &[]));
    let rows: Vec<_> = grid.rows.iter().map(|r| (r.from_ms / 10_000, r.windows(), r.slice.is_empty())).collect();
    let windows = (6..12).map(|at| (at, 1, true));
    let expected: Vec<_> = [(0, 6, false)].into_iter().chain(windows).chain([(12, 6, false)]).collect();
    assert_eq!(rows, expected);
    let missing: u64 = grid.hop(0).map(|(_, w)| w.missing_min).sum();
    assert_eq!(missing, 14, "sums stay what they were");
}
