//! A hop that compares stamped messages only: examples, and the exhaustive small world with messages of others in it.

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

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    Lost,
    Doubled,
    Failed,
    DoubtArrived,
    DoubtLost,
    /// Nobody counted it at source.
    Others,
    BareDelivered,
    BareLost,
    BareOthers,
}

const FATES: [Fate; 10] = [
    Fate::Delivered,
    Fate::Lost,
    Fate::Doubled,
    Fate::Failed,
    Fate::DoubtArrived,
    Fate::DoubtLost,
    Fate::Others,
    Fate::BareDelivered,
    Fate::BareLost,
    Fate::BareOthers,
];

fn world(fates: &[Fate], complete: bool) -> Evidence {
    let mut e = Evidence { complete, ..stamped(0, 0, 0, (0, 0)) };
    (e.f_in, e.f_acked, e.f_failed, e.f_down) = Default::default();
    let (mut down, mut left) = (0, LeftOut::default());
    for (i, fate) in fates.iter().enumerate() {
        let id = chaperone_audit::MessageId(i as u128 + 1).hash(9);
        let (attempted, acked, failed, copies) = match fate {
            Fate::Delivered => (1, 1, 0, 1),
            Fate::Lost => (1, 1, 0, 0),
            Fate::Doubled => (1, 1, 0, 2),
            Fate::Failed => (1, 0, 1, 0),
            Fate::DoubtArrived => (1, 0, 0, 1),
            Fate::DoubtLost => (1, 0, 0, 0),
            Fate::Others => (0, 0, 0, 1),
            Fate::BareDelivered | Fate::BareLost | Fate::BareOthers => {
                left.acked += u64::from(*fate != Fate::BareOthers);
                left.downstream += u64::from(*fate != Fate::BareLost);
                continue;
            }
        };
        let times = |f: Fingerprint, n: u64| (0..n).fold(f, |f, _| f.plus(id));
        (e.attempted, e.f_in) = (e.attempted + attempted, times(e.f_in, attempted));
        (e.acked, e.f_acked) = (e.acked + acked, times(e.f_acked, acked));
        (e.failed, e.f_failed) = (e.failed + failed, times(e.f_failed, failed));
        (down, e.f_down) = (down + copies, times(e.f_down, copies));
    }
    (e.downstream, e.left_out) = (Some(down), Some(left));
    e
}

#[test]
fn never_green_over_a_fault_and_never_red_for_others_in_the_whole_small_world() {
    let mut said_ok = 0;
    for len in 0..=4u32 {
        for code in 0..FATES.len().pow(len) {
            let fates: Vec<Fate> = (0..len).map(|i| FATES[code / FATES.len().pow(i) % FATES.len()]).collect();
            let count = |fate: Fate| fates.iter().filter(|f| **f == fate).count() as u64;
            let (lost, doubled, others) = (count(Fate::Lost), count(Fate::Doubled), count(Fate::Others));
            for complete in [false, true] {
                let said = judge(&world(&fates, complete));
                if lost + doubled + others > 0 || count(Fate::BareLost) > count(Fate::BareOthers) {
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
        }
    }
    assert!(said_ok > 1_000, "{said_ok}");
}
