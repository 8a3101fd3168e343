//! Linear hops and shares: texts, examples, and the exhaustive small world of a hop that trebles.

use super::small_world::{COUNTED, FATES, Fate, count, each, world};
use super::tests::{fp, settled};
use super::*;
use crate::caveat::CaveatKind;

#[test]
fn texts_round_trip_and_what_is_allowed_is_said() {
    for text in ["1/1", "3/1", "1/2", "1000/999", "0%..100%", "20%..40%", "12.5%..12.5%", "0.0001%..99.9999%"] {
        let expect: Expect = text.parse().expect(text);
        assert_eq!(expect.to_string(), text);
    }
    for text in
        ["", "3", "0/1", "1001/1", "-1/1", "1/", "40%..20%", "1..2", "0%..101%", "1.00001%..2%", "a%..b%", ".5%..1%"]
    {
        let said = text.parse::<Expect>().expect_err(text).to_string();
        assert!(
            said.contains(&format!("'{text}'")) && said.contains("A/B") && said.contains("LEAST%..MOST%"),
            "{said}"
        );
    }
}

#[test]
fn a_linear_hop_is_proven_by_ids_and_counts_messages_of_the_downstream_stage() {
    let three = |down, ids| Evidence {
        expect: Expect::Linear { upstream: 3, downstream: 1 },
        f_down: fp(ids),
        ..settled(10, 10, 0, down)
    };
    let ok = judge(&three(30, 30));
    assert_eq!(ok.verdict, Verdict::Ok);
    assert!(ok.why.ends_with("upstream counts 3 times, downstream 1 times"), "{}", ok.why);
    assert_eq!(judge(&three(30, 31)).verdict, Verdict::Mixed);
    let lost = judge(&three(28, 28));
    assert_eq!((lost.verdict, lost.missing_min), (Verdict::Missing, 2));
    assert_eq!((judge(&three(31, 31)).verdict, judge(&three(31, 31)).surplus_min), (Verdict::Surplus, 1));
    // Two stages upstream that each have every message, summed: twenty are ten.
    let halves = |down| Evidence { expect: Expect::Linear { upstream: 1, downstream: 2 }, ..settled(20, 20, 0, down) };
    assert_eq!(judge(&halves(10)).verdict, Verdict::Ok);
    assert_eq!((judge(&halves(7)).verdict, judge(&halves(7)).missing_min), (Verdict::Missing, 3));
    // One upstream that is not reported may be three downstream.
    let caveats = vec![Caveat { kind: CaveatKind::ReporterGone, side: Doubt::Upstream, messages: Some(1) }];
    assert_eq!(judge(&Evidence { caveats: caveats.clone(), ..three(33, 33) }).verdict, Verdict::Uncertain);
    assert_eq!(judge(&Evidence { caveats, ..three(34, 34) }).surplus_min, 1);
}

#[test]
fn a_share_is_never_proven_and_red_only_beyond_its_bounds() {
    let share = |down| judge(&Evidence { expect: "20%..40%".parse().expect("text"), ..settled(10, 10, 0, down) });
    for (down, verdict, bounds) in [
        (0, Verdict::Missing, (2, 0)),
        (1, Verdict::Missing, (1, 0)),
        (2, Verdict::Unproven, (0, 0)),
        (4, Verdict::Unproven, (0, 0)),
        (5, Verdict::Surplus, (0, 1)),
        (10, Verdict::Surplus, (0, 6)),
    ] {
        let said = share(down);
        assert_eq!((said.verdict, (said.missing_min, said.surplus_min)), (verdict, bounds), "{said:?}");
        assert!(said.why.ends_with("expected is a share of 20%..40%"), "{said:?}");
    }
    let all = judge(&Evidence { expect: "100%..100%".parse().expect("text"), ..settled(10, 10, 0, 10) });
    assert_eq!(all.verdict, Verdict::Unproven, "which ones were passed on is not looked at");
}

/// Every message is expected three times; each of these worlds, with two more copies of what arrived.
#[test]
fn no_ok_over_a_fault_and_no_red_over_a_healthy_window_where_every_message_trebles() {
    let worlds = each(&FATES[..COUNTED], 4, |fates| {
        let (lost, doubled) = (count(fates, Fate::Lost), count(fates, Fate::Doubled));
        let e = world(fates).0;
        let copies = |f: Fingerprint| f.plus(f).plus(f);
        let (downstream, f_down) = (e.downstream.map(|n| 3 * n), copies(e.f_down));
        let expect = Expect::Linear { upstream: 3, downstream: 1 };
        let said = judge(&Evidence { downstream, f_down, expect, ..e });
        if lost + doubled > 0 {
            assert_ne!(said.verdict, Verdict::Ok, "{fates:?}");
        } else {
            assert!(!said.verdict.is_red(), "{fates:?}: {said:?}");
        }
        assert!(said.missing_min <= 3 * lost && said.surplus_min <= 3 * doubled, "{fates:?}: {said:?}");
    });
    assert_eq!(worlds, 1 + 6 + 36 + 216 + 1296);
}
