//! What counts of reports by zombies, behind holes, of deleted beginnings, and cut differently.

use super::*;

use chaperone_audit::RuleId;
use chaperone_audit::wire::{Dropped, GapCause, IntervalKind, Reporter, VERSION};

/// A report of tap `tap`: claim `epoch` that began at `claim_from`, and what it read.
fn told(tap: u128, epoch: u64, claim_from: i64, (from, to): (i64, i64)) -> AuditMessage {
    let interval = Interval {
        topic: "orders".into(),
        partition: 0,
        log: 0,
        epoch,
        claim_from,
        from,
        to,
        rule: RuleId(7),
        kind: IntervalKind::Counted,
        cause: GapCause::Gone,
        anchor: None,
        gaps: None,
        windows: vec![],
    };
    AuditMessage {
        v: VERSION,
        uuid: Uuid::nil(),
        incarnation: Uuid::from_u128(tap),
        seq: 0,
        reporter: Reporter { host: "h".into(), application: "tap".into(), library: "l".into(), pid: 1 },
        stage: "kafka".into(),
        cluster: String::new(),
        datacenter: String::new(),
        sent_ms: 0,
        watermark_ms: None,
        audited_since_ms: None,
        slots: vec![],
        merged: vec![],
        intervals: vec![interval],
        marks: vec![],
        topics: vec![],
        positions: vec![],
        sum: None,
        cadence_ms: None,
        late: 0,
        dropped: Dropped::default(),
        end: None,
    }
}

/// What became of each, where the count stands at last, and what is lost.
fn ruled(all: &[AuditMessage], shown: &[usize], whole: bool) -> (Vec<Outcome>, i64, Vec<(i64, i64)>) {
    let mut survey = Survey::default();
    for m in all {
        survey.note(m);
    }
    let mut plan = survey.plan(whole);
    let rulings: Vec<Ruling> = shown.iter().flat_map(|i| plan.rule(&all[*i]).intervals).collect();
    let next = rulings.last().map_or(0, |r| r.stand.next);
    let mut lost: Vec<(i64, i64)> = rulings.iter().flat_map(|r| r.lost.clone()).collect();
    let given_up = plan.give_up();
    lost.extend(given_up.iter().flat_map(|g| g.lost.clone()));
    let next = given_up.first().map_or(next, |g| g.next);
    (rulings.into_iter().map(|r| r.outcome).collect(), next, lost)
}

use Outcome::{Add, Duplicate, Fenced, Hole};

#[test]
fn a_zombies_reports_end_where_the_next_claim_that_reported_began() {
    // Claim 2 reported nothing; claim 3 began at 8, so what the zombie read from there on was counted by others.
    let all = [
        told(1, 1, 0, (0, 4)),
        told(1, 1, 0, (4, 8)),
        told(1, 1, 0, (8, 12)),
        told(3, 3, 8, (8, 11)),
        told(3, 3, 8, (8, 11)),
        told(3, 3, 8, (11, 20)),
    ];
    let expected = (vec![Add, Add, Fenced, Add, Duplicate, Add], 20, vec![]);
    assert_eq!(ruled(&all, &[0, 1, 2, 3, 4, 5], true), expected);
    // In any order the same count.
    let (mut outcomes, next, lost) = ruled(&all, &[5, 2, 4, 1, 3, 0], true);
    outcomes.sort_by_key(|o| format!("{o:?}"));
    assert_eq!((next, lost), (20, vec![]));
    assert_eq!(outcomes, [Add, Add, Add, Add, Duplicate, Fenced]);
}

#[test]
fn behind_a_hole_of_the_last_claim_nothing_counts_and_a_hole_of_an_earlier_one_is_lost() {
    let all = [told(1, 1, 0, (0, 4)), told(1, 1, 0, (6, 9)), told(1, 1, 0, (9, 10))];
    assert_eq!(ruled(&all, &[0, 1, 2], true), (vec![Add, Hole, Hole], 4, vec![]));
    // The same, but somebody claimed from 9: until there all was counted once.
    let all = [told(1, 1, 0, (0, 4)), told(1, 1, 0, (6, 9)), told(1, 1, 0, (9, 10)), told(2, 2, 9, (9, 12))];
    assert_eq!(ruled(&all, &[0, 1, 2, 3], true), (vec![Add, Add, Fenced, Add], 12, vec![(4, 6)]));
}

#[test]
fn what_was_deleted_at_the_beginning_is_not_waited_for() {
    let all = [told(1, 4, 100, (500, 510)), told(1, 4, 100, (510, 530))];
    assert_eq!(ruled(&all, &[0, 1], false), (vec![Add, Add], 530, vec![]));
    // The control: of a topic from which nothing was deleted the taps read it again, from where the claim began.
    assert_eq!(ruled(&all, &[0, 1], true), (vec![Hole, Hole], 100, vec![]));
}

#[test]
fn reports_that_are_cut_differently_are_never_added_twice() {
    // A store of an earlier time was put back: claim 2 is there twice, and a later claim of before began at 25.
    let all = [
        told(1, 1, 0, (0, 10)),
        told(2, 2, 10, (10, 20)),
        told(2, 2, 10, (20, 25)),
        told(2, 3, 25, (25, 30)),
        told(2, 2, 10, (10, 18)),
        told(2, 2, 10, (18, 28)),
        told(4, 3, 28, (28, 40)),
    ];
    let (outcomes, next, lost) = ruled(&all, &[0, 1, 2, 3, 4, 5, 6], true);
    assert_eq!(outcomes, [Add, Add, Add, Fenced, Duplicate, Fenced, Add]);
    assert_eq!((next, lost), (40, vec![(25, 28)]), "the seam is uncertain");
}

#[test]
fn what_was_noted_and_is_not_shown_is_given_up() {
    let all = [told(1, 1, 0, (0, 4)), told(1, 1, 0, (4, 8)), told(1, 1, 0, (8, 9))];
    assert_eq!(ruled(&all, &[0, 2], true), (vec![Add, Add], 9, vec![(4, 8)]));
    assert_eq!(ruled(&all, &[0, 1, 2], true), (vec![Add, Add, Add], 9, vec![]));
}

#[test]
fn runs_join_and_know_what_is_missing() {
    let mut runs = Runs::default();
    assert!(runs.add(4, 8) && runs.add(0, 2) && runs.add(2, 4) && runs.add(10, 12));
    assert!(!runs.add(7, 9) && !runs.add(0, 1) && !runs.add(3, 3) && !runs.add(9, 20));
    assert_eq!((runs.holds(0), runs.holds(7), runs.holds(8), runs.holds(11)), (Some(8), Some(8), None, Some(12)));
    assert_eq!(runs.missing(-2, 15), [(-2, 0), (8, 10), (12, 15)]);
    assert_eq!(runs.missing(1, 3), []);
}
