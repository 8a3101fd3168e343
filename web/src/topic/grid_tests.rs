//! Windows and hops laid out on one axis.

use chaperone_collector::{Stage, Verdict};

use super::*;

fn pipeline() -> Pipeline {
    let stage = |name: &str, kind| Stage { complete: true, ..Stage::new(name, kind) };
    let stages = vec![stage("a", StageKind::Client), stage("b", StageKind::Kafka), stage("c", StageKind::Client)];
    Pipeline { cluster: "c".into(), ..Pipeline::new("p", Vec::new(), stages) }
}

fn window(hop: (&str, &str), window_ms: i64, width_ms: i64, verdict: Verdict) -> HopWindow {
    HopWindow {
        topic: "t".into(),
        from_stage: hop.0.into(),
        to_stage: hop.1.into(),
        window_ms,
        width_ms,
        verdict,
        missing_min: 0,
        surplus_min: 0,
        delayed: 0,
        caveats: Vec::new(),
        why: String::new(),
        settled_ms: None,
        amendments: 0,
    }
}

fn count(stage: &str, window_ms: i64, n: u64, acked: u64, failed: u64) -> StageWindow {
    StageWindow {
        topic: "t".into(),
        stage: stage.into(),
        window_ms,
        width_ms: 10_000,
        n,
        acked,
        failed,
        bytes: 0,
        f_in: chaperone_audit::Fingerprint::ZERO,
        hist: Histogram::new(),
        last_ms: 0,
        rule: None,
    }
}

#[test]
fn finer_counts_belong_to_the_window_that_holds_them() {
    let hops = vec![window(("a", "b"), 0, 60_000, Verdict::Ok), window(("a", "b"), 60_000, 60_000, Verdict::Ok)];
    let counts = [
        count("a", 0, 5, 5, 0),
        count("a", 50_000, 2, 2, 0),
        count("a", 60_000, 1, 1, 0),
        count("a", 120_000, 9, 9, 0),
    ];
    let grid = Grid::build(&pipeline(), hops, &counts, &[]);
    let sums: Vec<Option<u64>> = grid.rows.iter().map(|r| r.count(0).map(|c| c.n)).collect();
    assert_eq!(sums, [Some(7), Some(1)]);
}

#[test]
fn empty_is_not_zero_and_failed_is_not_expected() {
    let hops = vec![window(("a", "b"), 0, 10_000, Verdict::Ok), window(("x", "y"), 0, 10_000, Verdict::Missing)];
    let grid = Grid::build(&pipeline(), hops, &[count("a", 0, 10, 7, 2)], &[]);
    let row = &grid.rows[0];
    assert_eq!((row.count(0).map(|c| (c.n, c.failed, c.doubt)), row.count(1)), (Some((8, 2, 1)), None));
    assert_eq!(grid.stages.iter().map(|s| s.known).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(grid.strangers, 1);
    assert_eq!(grid.ends(), None);
}

#[test]
fn a_group_is_the_sum_of_its_members_and_known_when_all_of_them_are() {
    let group = Stage::group("b", StageKind::Kafka, ["b1", "b2"].map(str::to_owned));
    let stages = vec![Stage::new("a", StageKind::Client), group];
    let pipeline = Pipeline::new("p", Vec::new(), stages);
    let hops = || vec![window(("a", "b"), 0, 10_000, Verdict::Ok)];
    let counts = [count("a", 0, 5, 5, 0), count("b1", 0, 3, 3, 0), count("b2", 0, 2, 2, 0), count("b", 0, 9, 9, 0)];
    let grid = Grid::build(&pipeline, hops(), &counts, &[]);
    let row = &grid.rows[0];
    assert_eq!(row.count(1).map(|c| c.n), Some(5), "nothing reports as the group itself");
    let parts: Vec<_> = row.parts.iter().map(|(at, c)| (*at, c.n)).collect();
    assert_eq!(parts, [((1, 0), 3), ((1, 1), 2)]);
    assert!(grid.stages[1].known);
    let silent = Grid::build(&pipeline, hops(), &counts[..2], &[]);
    assert!(!silent.stages[1].known, "one of them was never heard");
    assert_eq!(silent.stages[1].members, [("b1".to_owned(), true), ("b2".to_owned(), false)]);
    let sources = crate::topic::flow::Sources { reporters: &[], partitions: &[], topic: "t" };
    let flow = |grid: &Grid| crate::topic::flow::flow(grid, &pipeline.stages, &sources, 60_000);
    let told = |grid: &Grid| (flow(grid)[1].count.clone(), flow(grid)[1].members.clone());
    let member = |name: &str, count: &str| (name.to_owned(), count.to_owned());
    assert_eq!(told(&grid), ("5".to_owned(), vec![member("b1", "3"), member("b2", "2")]));
    assert_eq!(told(&silent), ("unknown".to_owned(), vec![member("b1", "3"), member("b2", "unknown")]));
}

#[test]
fn sums_compare_like_with_like() {
    let counted = |verdicts: [Verdict; 2]| {
        let [a, b] = verdicts;
        let hops = vec![window(("a", "b"), 0, 10_000, a), window(("b", "c"), 0, 10_000, b)];
        Grid::build(&pipeline(), hops, &[], &[]).rows[0].is_counted()
    };
    assert!(counted([Verdict::Ok, Verdict::Ok]));
    assert!(counted([Verdict::Delayed, Verdict::Settling]), "what settles waits for known trouble");
    assert!(!counted([Verdict::Ok, Verdict::Settling]), "messages may be on their way");
    assert!(!counted([Verdict::Settling, Verdict::NoReport]), "trouble downstream excuses nothing upstream");
    assert!(!counted([Verdict::Missing, Verdict::Open]));
}

#[test]
fn what_is_absent_is_late_and_never_on_time() {
    let mut hist = Histogram::new();
    (0..98).for_each(|_| hist.record(100));
    let plain = quantile(&hist, &[], 990).expect("delay");
    assert_eq!((plain.ms, plain.at_least), (96, false));
    let bound = quantile(&hist, &[(2, 188_000)], 990).expect("delay");
    assert!(bound.at_least && bound.ms > 170_000, "{bound:?}");
    assert!(!quantile(&hist, &[(2, 188_000)], 500).expect("delay").at_least);
    assert_eq!(quantile(&Histogram::new(), &[], 990), None);
    assert!(bound.text().starts_with("≥ "));
}
