//! Verdicts: examples of each rule, and the exhaustive small world.

use super::small_world::{COUNTED, FATES, Fate, count, each, world};
use super::*;
use crate::caveat::CaveatKind;

pub(super) fn fp(v: u64) -> Fingerprint {
    Fingerprint { hi: 0, lo: v }
}

pub(super) fn settled(t: u64, a: u64, x: u64, down: u64) -> Evidence {
    Evidence {
        attempted: t,
        acked: a,
        failed: x,
        in_flight: 0,
        downstream: Some(down),
        upstream_reports: true,
        f_in: fp(t),
        f_acked: fp(a),
        f_failed: fp(x),
        f_down: fp(down),
        progress: Progress::Settled,
        passage: Passage::Passed,
        caveats: vec![],
        complete: true,
        at_least_once: false,
        left_out: None,
        expect: Expect::ALL,
        members: Members::default(),
    }
}

#[test]
fn each_rule_has_its_verdict() {
    let v = |e: &Evidence| judge(e).verdict;
    assert_eq!(v(&settled(10, 10, 0, 10)), Verdict::Ok);
    assert_eq!(v(&settled(10, 9, 1, 9)), Verdict::Ok);
    assert_eq!(v(&Evidence { f_acked: fp(5), ..settled(10, 9, 0, 10) }), Verdict::Ok);
    let lost = judge(&settled(10, 10, 0, 8));
    assert_eq!((lost.verdict, lost.missing_min), (Verdict::Missing, 2));
    assert!(lost.why.contains("at least 2 missing"), "{}", lost.why);
    assert_eq!(v(&Evidence { passage: Passage::NotPassed, ..settled(10, 10, 0, 8) }), Verdict::Delayed);
    assert_eq!(v(&Evidence { passage: Passage::None, ..settled(10, 10, 0, 8) }), Verdict::Overdue);
    let more = judge(&settled(10, 10, 0, 13));
    assert_eq!((more.verdict, more.surplus_min), (Verdict::Surplus, 3));
    assert_eq!(v(&Evidence { at_least_once: true, ..settled(10, 10, 0, 13) }), Verdict::ReRead);
    assert_eq!(v(&Evidence { f_down: fp(99), ..settled(10, 10, 0, 10) }), Verdict::Mixed);
    assert_eq!(v(&Evidence { f_down: fp(99), ..settled(10, 8, 0, 9) }), Verdict::Unproven);
    assert_eq!(v(&Evidence { complete: false, ..settled(10, 10, 0, 13) }), Verdict::Partial);
    assert_eq!(v(&Evidence { complete: false, ..settled(10, 10, 0, 10) }), Verdict::Partial);
    assert_eq!(v(&Evidence { downstream: None, ..settled(10, 10, 0, 0) }), Verdict::NoReport);
    assert_eq!(v(&Evidence { progress: Progress::Open, ..settled(10, 10, 0, 0) }), Verdict::Open);
    let waiting = Progress::Settling { awaited: "the tap".into() };
    assert_eq!(v(&Evidence { progress: waiting, ..settled(10, 10, 0, 0) }), Verdict::Settling);
}

#[test]
fn members_of_groups_are_named_and_decide_nothing() {
    let members = |never: &[&str], doubted: &[&str]| {
        let [never, doubted] = [never, doubted].map(|names| names.iter().map(|n| (*n).to_owned()).collect());
        Members { never, doubted }
    };
    let silent = Evidence { upstream_reports: false, members: members(&["dc2"], &[]), ..settled(10, 10, 0, 10) };
    let said = judge(&silent);
    assert_eq!(said.verdict, Verdict::NoReport);
    assert_eq!(said.why, "dc2 has never reported, and nothing stands in for a member: silence is not a zero");
    let both = judge(&Evidence { members: members(&["dc1", "dc2"], &[]), ..silent });
    assert!(both.why.starts_with("dc1, dc2 have never reported"), "{}", both.why);
    let caveats = vec![Caveat::new(CaveatKind::ReporterGone, Doubt::Downstream)];
    let doubted = Evidence { caveats, members: members(&[], &["dc2"]), ..settled(10, 10, 0, 8) };
    let (with, without) = (judge(&doubted), judge(&Evidence { members: Members::default(), ..doubted.clone() }));
    assert_eq!(with.why, format!("{}; its caveats are about dc2", without.why));
    assert_eq!((with.verdict, with.missing_min), (without.verdict, without.missing_min));
}

#[test]
fn caveats_void_only_what_they_touch() {
    let with = |side, messages, e: Evidence| {
        judge(&Evidence { caveats: vec![Caveat { kind: CaveatKind::ReporterGone, side, messages }], ..e })
    };
    let upstream = with(Doubt::Upstream, None, settled(10, 10, 0, 8));
    assert_eq!((upstream.verdict, upstream.missing_min), (Verdict::Missing, 2));
    let five = with(Doubt::Downstream, Some(1), settled(10, 10, 0, 8));
    assert_eq!((five.verdict, five.missing_min), (Verdict::Missing, 1));
    assert_eq!(with(Doubt::Downstream, None, settled(10, 10, 0, 8)).verdict, Verdict::Uncertain);
    assert_eq!(with(Doubt::Upstream, None, settled(10, 10, 0, 13)).verdict, Verdict::Uncertain);
    assert_eq!(with(Doubt::Downstream, None, settled(10, 10, 0, 13)).verdict, Verdict::Surplus);
    assert_eq!(with(Doubt::Both, None, settled(10, 10, 0, 10)).verdict, Verdict::Ok);
    let masked = Evidence { f_down: fp(99), ..settled(10, 10, 0, 10) };
    assert_eq!(with(Doubt::Both, None, masked).verdict, Verdict::Uncertain);
    let rules = Evidence {
        caveats: vec![Caveat::new(CaveatKind::RulesDiffer, Doubt::Both)],
        f_down: fp(99),
        ..settled(10, 10, 0, 4)
    };
    assert_eq!(judge(&rules).verdict, Verdict::Uncertain);
}

#[test]
fn no_ok_over_a_fault_and_no_red_over_a_healthy_window_in_the_whole_small_world() {
    let worlds = each(&FATES[..COUNTED], 5, |fates| {
        let (lost, doubled) = (count(fates, Fate::Lost), count(fates, Fate::Doubled));
        let said = judge(&world(fates).0);
        if lost + doubled > 0 {
            assert_ne!(said.verdict, Verdict::Ok, "{fates:?}");
        } else {
            assert!(!said.verdict.is_red(), "{fates:?}: {said:?}");
        }
        assert!(said.missing_min <= lost && said.surplus_min <= doubled, "{fates:?}: {said:?}");
        // Sums over topics leave out what is ok.
        let sums = (said.missing_min, said.surplus_min, said.delayed);
        assert!(said.verdict != Verdict::Ok || sums == (0, 0, 0), "{fates:?}: {said:?}");
        assert!(!said.why.is_empty());
    });
    assert_eq!(worlds, 1 + 6 + 36 + 216 + 1296 + 7776);
}
