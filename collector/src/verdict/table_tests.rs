//! docs/VERDICTS.md, held to the code: every combination has exactly one row, and the verdict is that row's.

use super::tests::fp;
use super::*;
use crate::caveat::CaveatKind;

const TEXT: &str = include_str!("../../../docs/VERDICTS.md");
/// Columns that say when; after them verdict, bound, why.
const WHEN: usize = 10;

/// The rows between `<!-- NAME -->` and `<!-- /NAME -->`, without head and rule.
fn rows(name: &str) -> Vec<Vec<&'static str>> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let table = TEXT.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).expect("the table is there").0;
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    table.lines().filter(|line| line.starts_with('|')).skip(2).map(cells).collect()
}

/// How much of `difference` is in doubt.
fn doubt(e: &Evidence, side: Doubt, difference: u64) -> &'static str {
    match Caveat::total(&e.caveats, side) {
        Some(0) => "none",
        Some(v) if v < difference => "part",
        _ => "all",
    }
}

/// What the table's columns say of it, by the words above the table and not by the code's.
fn cells(e: &Evidence) -> [&'static str; WHEN] {
    let down = e.downstream.unwrap_or(0);
    let (least, most) = match e.expect {
        Expect::Share { .. } => (e.acked.div_ceil(4), (e.attempted - e.failed) / 2),
        Expect::Linear { .. } => (e.acked, e.attempted - e.failed),
    };
    let same = down == e.acked && e.f_down == e.f_acked || down == most && e.f_down == e.f_in.minus(e.f_failed);
    let share = e.expect != Expect::ALL;
    let saw = match () {
        () if !share && same => "same ids",
        () if down < least => "fewer",
        () if down > most => "more",
        () if share || least < most => "between",
        () => "other ids",
    };
    let compared = match e.left_out {
        None if share => "share",
        None => "all",
        Some(_) if e.attempted == 0 && down == 0 => "none",
        Some(left) if left.downstream < left.acked => "bare lack",
        Some(_) => "stamped",
    };
    let voids = |c: &Caveat| match c.kind {
        CaveatKind::RulesDiffer | CaveatKind::TimeRewritten | CaveatKind::NotAuditedYet => true,
        CaveatKind::IdentityNotPreserved => e.left_out.is_some(),
        _ => false,
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    [
        match e.progress {
            Progress::Open => "open",
            Progress::Settling { .. } => "settling",
            Progress::Settled => "settled",
        },
        match (e.upstream_reports, e.downstream) {
            (true, Some(_)) => "both",
            (false, None) => "none",
            _ => "one",
        },
        compared,
        saw,
        yes(e.caveats.iter().any(voids)),
        doubt(e, Doubt::Upstream, down.saturating_sub(most)),
        doubt(e, Doubt::Downstream, least.saturating_sub(down)),
        match e.passage {
            Passage::Passed => "yes",
            Passage::NotPassed => "no",
            Passage::None => "unknown",
        },
        yes(e.complete),
        yes(e.at_least_once),
    ]
}

fn fits(row: &[&str], cells: [&str; WHEN]) -> bool {
    row.iter().zip(cells).all(|(row, cell)| *row == "any" || row.split(", ").any(|value| value == cell))
}

/// Counts and ids of every window of at most four messages upstream, and what they are compared as.
fn numbers() -> Vec<Evidence> {
    let blank = tests::settled(0, 0, 0, 0);
    let left = |acked, downstream| Some(LeftOut { acked, downstream });
    let share = Expect::Share { least: 250_000, most: 500_000 };
    let compared = [
        (None, Expect::ALL),
        (None, share),
        (left(2, 2), Expect::ALL),
        (left(2, 1), Expect::ALL),
        (left(0, 3), Expect::ALL),
    ];
    let mut all = Vec::new();
    for attempted in 0..=4u64 {
        for acked in 0..=attempted {
            for failed in 0..=attempted - acked {
                for down in 0..=attempted + 2 {
                    for (other_ids, (left_out, expect)) in
                        [false, true].into_iter().flat_map(|o| compared.map(|c| (o, c)))
                    {
                        // Ids of nothing are nothing.
                        let f_down = fp(if other_ids && down > 0 { 99 } else { down });
                        let (f_in, f_acked, f_failed) = (fp(attempted), fp(acked), fp(failed));
                        let downstream = Some(down);
                        all.push(Evidence {
                            attempted,
                            acked,
                            failed,
                            downstream,
                            f_in,
                            f_acked,
                            f_failed,
                            f_down,
                            left_out,
                            expect,
                            ..blank.clone()
                        });
                    }
                }
            }
        }
    }
    all
}

fn caveats() -> Vec<Vec<Caveat>> {
    use CaveatKind::{IdentityNotPreserved, NoCrashRecovery, NotAuditedYet, Overflow, ReporterGone, RulesDiffer};
    let some = |kind, side, messages| Caveat { kind, side, messages };
    let mut all = vec![vec![], vec![Caveat::new(NoCrashRecovery, Doubt::Both)]];
    for side in [Doubt::Upstream, Doubt::Downstream, Doubt::Both] {
        all.extend([Some(1), Some(2), None].map(|messages| vec![some(ReporterGone, side, messages)]));
    }
    all.push(vec![some(ReporterGone, Doubt::Upstream, Some(1)), some(Overflow, Doubt::Downstream, Some(1))]);
    all.push(vec![Caveat::new(RulesDiffer, Doubt::Both)]);
    all.push(vec![Caveat::new(NotAuditedYet, Doubt::Downstream)]);
    all.push(vec![Caveat::new(IdentityNotPreserved, Doubt::Downstream)]);
    all
}

/// Every combination, through `see`.
fn each(mut see: impl FnMut(&Evidence)) {
    let (numbers, caveats) = (numbers(), caveats());
    let settling = Progress::Settling { awaited: "the tap".into() };
    for e in &numbers {
        for progress in [Progress::Open, settling.clone()] {
            for (upstream_reports, downstream) in
                [(true, e.downstream), (true, None), (false, e.downstream), (false, None)]
            {
                see(&Evidence { progress: progress.clone(), upstream_reports, downstream, ..e.clone() });
            }
        }
        for (upstream_reports, downstream) in [(true, None), (false, e.downstream), (false, None)] {
            see(&Evidence { downstream, upstream_reports, ..e.clone() });
        }
        for caveats in &caveats {
            for passage in [Passage::Passed, Passage::NotPassed, Passage::None] {
                for code in 0..4 {
                    let (complete, at_least_once) = (code & 1 == 1, code & 2 == 2);
                    let caveats = caveats.clone();
                    see(&Evidence { passage, caveats, complete, at_least_once, ..e.clone() });
                }
            }
        }
    }
}

/// What the bound is of: the difference of the row, less the doubt of the side that it is on.
fn bounds(e: &Evidence, what: &str) -> (u64, u64, u64) {
    let equation = e.equation();
    let down = equation.downstream.unwrap_or(0);
    let absent = equation.least().saturating_sub(down);
    let over = down.saturating_sub(equation.most());
    let less = |difference: u64, side| difference - Caveat::total(&e.caveats, side).unwrap_or(difference);
    match what {
        "missing" => (less(absent, Doubt::Downstream), 0, 0),
        "delayed" => (0, 0, less(absent, Doubt::Downstream)),
        "surplus" => (0, less(over, Doubt::Upstream), 0),
        _ => (0, 0, 0),
    }
}

#[test]
fn every_combination_has_exactly_one_row_and_is_judged_by_it() {
    let rows = rows("verdicts");
    let mut used = vec![0u64; rows.len()];
    each(|e| {
        let cells = cells(e);
        let fitting: Vec<usize> = (0..rows.len()).filter(|i| fits(&rows[*i], cells)).collect();
        let [only] = fitting[..] else { panic!("{cells:?} has {} rows: {e:?}", fitting.len()) };
        used[only] += 1;
        let row = &rows[only];
        let said = judge(e);
        assert_eq!(said.verdict.as_str(), row[WHEN], "{cells:?}: {said:?}");
        assert_eq!((said.missing_min, said.surplus_min, said.delayed), bounds(e, row[WHEN + 1]), "{cells:?}: {said:?}");
        assert!(said.why.contains(row[WHEN + 2]), "{cells:?}: {said:?}");
    });
    for (row, used) in rows.iter().zip(&used) {
        assert!(*used > 0, "no combination has the row {row:?}");
    }
    assert!(used.iter().sum::<u64>() > 300_000, "{}", used.iter().sum::<u64>());
}

#[test]
fn every_verdict_has_a_row_and_every_caveat_does_what_the_table_says() {
    let verdicts: Vec<&str> = rows("verdicts").iter().map(|row| row[WHEN]).collect();
    for verdict in Verdict::ALL {
        assert!(verdicts.contains(&verdict.as_str()), "{verdict}");
    }
    let caveats = rows("caveats");
    let names: Vec<&str> = caveats.iter().map(|row| row[0]).collect();
    assert_eq!(names, CaveatKind::ALL.map(CaveatKind::as_str));
    for (kind, row) in CaveatKind::ALL.into_iter().zip(&caveats) {
        let doubts = Caveat::total(&[Caveat::new(kind, Doubt::Upstream)], Doubt::Upstream) != Some(0);
        assert_eq!((doubts, kind.voids_comparison()), (row[1] == "yes", row[2] == "yes"), "{row:?}");
    }
}
