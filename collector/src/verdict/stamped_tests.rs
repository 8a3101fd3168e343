//! A hop that compares stamped messages only: examples, and the exhaustive small world with messages of others in it.

use super::small_world::{FATES, Fate, count, each, world};
use super::tests::{fp, settled};
use super::*;
use crate::caveat::CaveatKind;

/// All numbers but `left` are of stamped messages; the stage is not declared complete.
fn stamped(t: u64, a: u64, down: u64, left: (u64, u64)) -> Evidence {
    let left_out = Some(LeftOut { acked: left.0, downstream: left.1 });
    Evidence { complete: false, left_out, ..settled(t, a, 0, down) }
}

#[test]
fn what_is_stamped_is_compared_and_what_is_left_out_is_told() {
    for (e, verdict, words) in [
        (stamped(10, 10, 10, (3, 90)), Verdict::Ok, "10 messages acked upstream, 10 seen downstream, and the ids"),
        (stamped(10, 10, 8, (3, 90)), Verdict::Missing, "at least 2 missing"),
        (Evidence { passage: Passage::None, ..stamped(10, 10, 8, (0, 0)) }, Verdict::Overdue, "2 absent"),
        (Evidence { passage: Passage::NotPassed, ..stamped(10, 10, 8, (0, 0)) }, Verdict::Delayed, "2 absent"),
        // `CloudEvents` of others, headers that were passed on.
        (stamped(10, 10, 12, (3, 90)), Verdict::Partial, "2 not audited at source"),
        (Evidence { complete: true, ..stamped(10, 10, 12, (3, 90)) }, Verdict::Surplus, "at least 2 surplus"),
        (Evidence { f_down: fp(99), ..stamped(10, 10, 10, (3, 90)) }, Verdict::Mixed, "ids do not"),
        // One of others' and one that is late would look the same.
        (
            Evidence { f_down: fp(99), passage: Passage::NotPassed, ..stamped(10, 10, 10, (3, 90)) },
            Verdict::Partial,
            "ids do not",
        ),
        (stamped(0, 0, 0, (3, 90)), Verdict::Partial, "nothing to compare"),
        (stamped(10, 10, 10, (4, 3)), Verdict::Partial, "of those without a stamp 1 did not arrive"),
    ] {
        let said = judge(&e);
        assert_eq!(said.verdict, verdict, "{said:?}");
        let LeftOut { acked, downstream } = e.left_out.expect("set");
        let left = format!("left out {acked} acked upstream and {downstream} seen downstream without a stamp");
        assert!(said.why.contains(words) && said.why.ends_with(&left), "{said:?}");
    }
    let open = judge(&Evidence { progress: Progress::Open, ..stamped(10, 10, 10, (3, 90)) });
    assert!(open.verdict == Verdict::Open && !open.why.contains("left out"), "{open:?}");
}

#[test]
fn stamps_that_may_not_survive_the_way_are_no_loss() {
    let caveats = vec![Caveat::new(CaveatKind::IdentityNotPreserved, Doubt::Downstream)];
    let lost = Evidence { caveats, ..stamped(10, 10, 0, (0, 90)) };
    assert_eq!(judge(&lost).verdict, Verdict::Uncertain);
    // Where everything is compared it only informs.
    assert_eq!(judge(&Evidence { left_out: None, ..lost }).verdict, Verdict::Missing);
}

#[test]
fn never_green_over_a_fault_and_never_red_for_others_in_the_whole_small_world() {
    let mut said_ok = 0;
    let worlds = each(&FATES, 4, |fates| {
        let (lost, doubled, others) =
            (count(fates, Fate::Lost), count(fates, Fate::Doubled), count(fates, Fate::Others));
        let (e, left) = world(fates);
        for complete in [false, true] {
            let said = judge(&Evidence { complete, left_out: Some(left), ..e.clone() });
            if lost + doubled + others > 0 || count(fates, Fate::BareLost) > count(fates, Fate::BareOthers) {
                assert_ne!(said.verdict, Verdict::Ok, "{fates:?}");
            }
            said_ok += u64::from(said.verdict == Verdict::Ok);
            assert!(said.missing_min <= lost, "{fates:?}: {said:?}");
            if complete {
                assert!(said.surplus_min <= doubled + others, "{fates:?}: {said:?}");
            } else {
                assert!(said.surplus_min == 0 && (!said.verdict.is_red() || lost > 0), "{fates:?}: {said:?}");
            }
        }
    });
    assert_eq!(worlds, 1 + 10 + 100 + 1_000 + 10_000);
    assert!(said_ok > 1_000, "{said_ok}");
}
