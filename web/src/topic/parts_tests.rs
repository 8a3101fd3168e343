//! Edges add up to what the boxes differ by, and each number has the cause that it has.

use std::collections::BTreeMap;

use chaperone_collector::{Pipeline, Stage, StageKind, Verdict};

use super::*;
use crate::topic::flow;
use crate::topic::grid::{Count, Grid, StageSeen};

/// A window of one hop: its verdict, its bounds (missing, surplus, delayed), and what both stages counted.
type Told = (Verdict, [u64; 3], u64, u64);

fn row(at: usize, (verdict, [missing_min, surplus_min, delayed], up, down): Told) -> Row {
    let from_ms = i64::try_from(at).expect("few") * 10_000;
    let window = HopWindow {
        topic: "t".into(),
        from_stage: "a".into(),
        to_stage: "b".into(),
        window_ms: from_ms,
        width_ms: 10_000,
        verdict,
        missing_min,
        surplus_min,
        delayed,
        caveats: Vec::new(),
        why: String::new(),
        settled_ms: Some(from_ms),
        amendments: 0,
    };
    let counted = |n| Some(Count { n, ..Count::default() });
    Row {
        from_ms,
        to_ms: from_ms + 10_000,
        hops: vec![Some(window)],
        counts: vec![counted(up), counted(down)],
        parts: BTreeMap::new(),
        slice: Vec::new(),
    }
}

fn rows(all: &[Told]) -> Vec<Row> {
    all.iter().enumerate().map(|(at, told)| row(at, *told)).collect()
}

/// What the edge of these windows says: number, note, and what else.
fn edge(all: &[Told]) -> (String, String, Vec<String>) {
    let stage = |name: &str| Stage::new(name, StageKind::Client);
    let stages = [stage("a"), stage("b")];
    let seen = |s: &Stage| StageSeen {
        name: s.name.clone(),
        raw: s.name.clone(),
        kind: s.kind,
        known: true,
        members: Vec::new(),
    };
    let grid = Grid { stages: stages.iter().map(seen).collect(), rows: rows(all), strangers: 0, objective_ms: None };
    let pipeline = Pipeline::new("p", Vec::new(), stages.to_vec());
    let sources = flow::Sources { reporters: &[], partitions: &[], topic: "t" };
    let boxes = flow::flow(&grid, &pipeline.stages, &sources, 60_000);
    let edge = boxes.into_iter().next().and_then(|b| b.edge).expect("an edge");
    (edge.value.text, edge.note.text, edge.rest.into_iter().map(|r| r.text).collect())
}

const OK: Told = (Verdict::Ok, [0; 3], 1_000, 1_000);

#[test]
fn mixed_beside_uncertain_does_not_take_its_number() {
    let said = edge(&[OK, (Verdict::Mixed, [0; 3], 500, 500), (Verdict::Uncertain, [0; 3], 500, 475)]);
    let rest = vec!["−25 uncertain, 1 window".to_owned()];
    assert_eq!(said, ("0".to_owned(), "ids differ, 1 window".to_owned(), rest));
}

#[test]
fn a_number_comes_before_what_is_worse_and_has_none() {
    let delayed = (Verdict::Delayed, [0, 0, 12], 1_000, 988);
    let (value, note, rest) =
        edge(&[(Verdict::Mixed, [0; 3], 500, 500), delayed, (Verdict::Uncertain, [0; 3], 500, 475)]);
    assert_eq!((value.as_str(), note.as_str()), ("−12", "−0.60 %, not passed yet"));
    assert_eq!(rest, ["1 window mixed", "−25 uncertain, 1 window"]);
}

#[test]
fn surplus_beside_uncertain_names_both() {
    let (value, note, rest) =
        edge(&[OK, (Verdict::Surplus, [0, 8, 0], 1_000, 1_008), (Verdict::Uncertain, [0; 3], 1_000, 626)]);
    assert_eq!((value.as_str(), note.as_str()), ("+8", "+0.27 %"));
    assert_eq!(rest, ["−374 uncertain, 1 window"]);
}

#[test]
fn missing_beside_delayed_is_not_its_sum() {
    let missing = (Verdict::Missing, [37, 0, 0], 1_000, 963);
    let delayed = (Verdict::Delayed, [0, 0, 12], 1_000, 988);
    let (value, note, rest) = edge(&[missing, delayed]);
    assert_eq!((value.as_str(), note.as_str()), ("−37", "−1.9 %"));
    assert_eq!(rest, ["−12 delayed, 1 window"]);
    // In one window as well.
    let (value, _, rest) = edge(&[(Verdict::Missing, [20, 0, 5], 1_000, 975)]);
    assert_eq!((value.as_str(), rest), ("−20", vec!["−5 delayed, 1 window".to_owned()]));
}

#[test]
fn what_a_bound_does_not_cover_is_told_apart() {
    let (value, _, rest) = edge(&[(Verdict::Missing, [5, 0, 0], 1_000, 985)]);
    assert_eq!((value.as_str(), rest), ("−5", vec!["−10 outside the bounds, 1 window".to_owned()]));
    let (value, _, rest) = edge(&[(Verdict::Missing, [5, 5, 0], 1_000, 1_000)]);
    assert_eq!((value.as_str(), rest), ("−5", vec!["+5 surplus, 1 window".to_owned()]));
    let (value, note, rest) = edge(&[(Verdict::ReRead, [0, 402, 0], 1_000, 1_402), (Verdict::Unproven, [0; 3], 10, 9)]);
    assert_eq!((value.as_str(), note.as_str()), ("−1", "0 in doubt, 1 window"));
    assert_eq!(rest, ["+402 re-read, 1 window"]);
}

#[test]
fn a_slice_gives_its_numbers_to_those_of_its_looks_that_tell_them() {
    let mut slice = row(0, (Verdict::Missing, [7, 0, 3], 6_000, 5_950));
    let looks = [(Look::Missing, 1), (Look::Overdue, 2), (Look::Uncertain, 1), (Look::Proven, 2)];
    slice.slice = vec![looks.into_iter().collect()];
    let parts = Parts::of([&slice], 0);
    let told = |look| parts.told(look).map(|p| (p.value, p.windows));
    assert_eq!(told(Look::Missing), Some((-7, 1)));
    assert_eq!(told(Look::Overdue), Some((-3, 2)));
    assert_eq!(told(Look::Uncertain), Some((-40, 1)));
    assert_eq!(parts.total(), -50);
}

#[test]
fn edges_add_up_to_what_the_boxes_differ_by_whatever_the_windows_are() {
    // A repeatable scatter.
    let mut state = 7u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for grid in 0..500 {
        let all: Vec<Row> = (0..next(20))
            .map(|at| {
                let verdict = Verdict::ALL[usize::try_from(next(Verdict::ALL.len() as u64)).expect("few")];
                let bounds = [next(3) * next(50), next(3) * next(50), next(3) * next(50)];
                let mut row = row(usize::try_from(at).expect("few"), (verdict, bounds, next(1_000), next(1_000)));
                match next(8) {
                    0 => row.hops = vec![None],
                    1 => row.counts[1] = None,
                    2 => row.slice = vec![[(Look::of_verdict(verdict), 2), (Look::Mixed, 1)].into_iter().collect()],
                    _ => {}
                }
                row
            })
            .collect();
        let seen = |stage: usize| all.iter().filter_map(|r| r.count(stage)).map(|c| c.n).sum::<u64>();
        let parts = Parts::of(&all, 0);
        assert_eq!(parts.total(), format::difference(seen(1), seen(0)), "grid {grid}");
        let named = parts.head().unwrap_or(Look::Open);
        let shown: i64 = parts.told(named).map_or(0, |p| p.value) + parts.rest(named).map(|p| p.value).sum::<i64>();
        assert_eq!(shown, parts.total(), "grid {grid}: {parts:?}");
    }
}
