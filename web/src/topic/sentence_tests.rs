//! Bounds read as bounds, and nothing important is cut.

use chaperone_collector::query::{HopWindow, StageWindow};
use chaperone_collector::{Caveat, CaveatKind, Doubt, Pipeline, Stage, StageKind, Verdict};

use super::*;

const STAGES: [&str; 4] = ["a", "b", "c", "d"];

fn window(hop: usize, at: i64, verdict: Verdict, amount: u64) -> HopWindow {
    let amount_of = |kinds: &[Verdict]| if kinds.contains(&verdict) { amount } else { 0 };
    HopWindow {
        topic: "t".into(),
        from_stage: STAGES[hop].into(),
        to_stage: STAGES[hop + 1].into(),
        window_ms: at * 10_000,
        width_ms: 10_000,
        verdict,
        missing_min: amount_of(&[Verdict::Missing]),
        surplus_min: amount_of(&[Verdict::Surplus, Verdict::ReRead]),
        delayed: amount_of(&[Verdict::Delayed, Verdict::Overdue]),
        caveats: Vec::new(),
        why: String::new(),
        settled_ms: Some(at),
        amendments: 0,
    }
}

fn limited(window: HopWindow) -> HopWindow {
    HopWindow {
        caveats: vec![Caveat { kind: CaveatKind::ReporterGone, side: Doubt::Downstream, messages: Some(2) }],
        ..window
    }
}

fn count(stage: usize, at: i64, n: u64) -> StageWindow {
    StageWindow {
        topic: "t".into(),
        stage: STAGES[stage].into(),
        window_ms: at * 10_000,
        width_ms: 10_000,
        n,
        acked: n,
        failed: 0,
        bytes: 0,
        f_in: chaperone_audit::Fingerprint::ZERO,
        hist: chaperone_audit::Histogram::new(),
        last_ms: 0,
        rule: None,
    }
}

fn grid(windows: Vec<HopWindow>, counts: &[StageWindow]) -> Grid {
    let stages = STAGES.map(|name| Stage::new(name, StageKind::Client));
    Grid::build(&Pipeline::new("p", Vec::new(), stages.to_vec()), windows, counts, &[])
}

fn said(grid: &Grid) -> String {
    sentence(grid, Zone::utc()).into_iter().map(|span| span.text).collect()
}

#[test]
fn a_number_is_exact_only_where_the_verdicts_say_so() {
    let told = |windows: Vec<HopWindow>| said(&grid(windows, &[]));
    let missing = || window(0, 0, Verdict::Missing, 8);
    assert!(told(vec![missing()]).starts_with("8 messages are missing between a and b, 00:00:00"));
    assert!(told(vec![limited(missing())]).starts_with("At least 8 messages are missing between a and b"));
    let (surplus, delayed) = (window(1, 0, Verdict::Surplus, 1), window(1, 0, Verdict::Delayed, 3));
    assert!(told(vec![limited(surplus)]).starts_with("At least 1 message is surplus at c, compared with b"));
    assert!(told(vec![limited(delayed)]).starts_with("At least 3 are delayed before c since 00:00:00"));
    // A window between them that tells no number may hide some.
    let ends = vec![missing(), window(0, 1, Verdict::Unproven, 0), window(0, 2, Verdict::Missing, 1)];
    assert!(told(ends).starts_with("At least 9 messages are missing"));
    // Nobody knows the caveats of what a slice stands for.
    let mut slices = grid(vec![missing()], &[]);
    slices.rows[0].slice = vec![[(Look::Missing, 1), (Look::Proven, 5)].into_iter().collect()];
    assert!(said(&slices).starts_with("At least 8 messages are missing"));
    // What is in doubt may be missing, too.
    let doubt = StageWindow { acked: 990, ..count(0, 0, 1_000) };
    assert!(said(&grid(vec![missing()], &[doubt])).starts_with("At least 8 messages are missing"));
}

#[test]
fn the_verdict_on_one_window_is_a_bound_as_well() {
    let of = |window| of_window(grid(vec![window], &[]).rows.first(), 0, Look::Missing);
    assert_eq!(of(window(0, 0, Verdict::Missing, 8)), "8 messages are missing");
    assert_eq!(of(limited(window(0, 0, Verdict::Missing, 8))), "At least 8 messages are missing");
}

#[test]
fn equal_looks_are_one_statement_so_that_none_is_cut() {
    let kinds =
        [Verdict::Missing, Verdict::Mixed, Verdict::Surplus, Verdict::Overdue, Verdict::Uncertain, Verdict::Unproven];
    let mut windows = Vec::new();
    for (at, kind) in (0i64..).zip(kinds) {
        for (hop, amount) in [5, 3, 20].into_iter().enumerate() {
            windows.push(window(hop, at, kind, amount));
        }
    }
    let counts = [count(0, 4, 1_000), count(1, 4, 626), count(2, 4, 626), count(3, 4, 626)];
    let text = said(&grid(windows, &counts));
    for part in [
        "28 messages are missing on 3 hops (a → b 5, b → c 3, c → d 20), 00:00:00",
        "3 windows are mixed on 3 hops (a → b 1, b → c 1, c → d 1)",
        "28 messages are surplus on 3 hops",
        "28 are overdue on 3 hops",
        "3 windows are uncertain on 3 hops (a → b 1, b → c 1, c → d 1), 00:00:40 – 00:00:50; counts differ by −374. ",
        "3 windows are unproven on 3 hops",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("more below"), "{text}");
}
