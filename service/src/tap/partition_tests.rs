//! What a tap makes of one partition: claims, cuts, marks.

use super::*;
use chaperone_audit::wire::{GapCause, IntervalKind};
use chaperone_audit::{Class, Fingerprint, MessageId, Observation};

const T: i64 = 1_790_000_000_000;

fn seen(offset: i64) -> Seen {
    let id = MessageId(u128::from(offset.unsigned_abs()));
    Seen {
        offset,
        observation: Observation { id, class: Class::Bare, event_ms: Some(T) },
        bytes: 1,
        arrival_ms: T,
        now_ms: T,
        content: Fingerprint::from_u128(id.0),
        time_ms: T,
    }
}

fn claim(next: i64, anchor: Option<i64>) -> Claim {
    let anchor = anchor.map(|offset| Anchor { offset, hash: seen(offset).content, time_ms: T, rule: None });
    Claim { log: 0, epoch: 1, next, topic_id: None, anchor }
}

fn partition(next: i64, anchor: Option<i64>, log_start: i64) -> Partition {
    Partition::new("orders", 0, claim(next, anchor), log_start, Rule::new(0), Width::TEN_SECONDS)
}

#[test]
fn a_claim_reads_its_anchor_again_and_does_not_count_it() {
    let mut p = partition(5, Some(4), 0);
    assert_eq!(p.start(), 4);
    p.answer(T, (5, 0), None);
    assert!(p.mark(Instant::now()).is_none(), "nothing is said before the log is recognised");
    assert_eq!(p.deliver(&seen(4)), Counted::No);
    assert_eq!(p.deliver(&seen(5)), Counted::Yes);
    assert_eq!(p.start(), 6);
}

#[test]
fn another_message_at_the_anchor_is_another_log() {
    let mut p = partition(5, Some(4), 0);
    assert_eq!(p.deliver(&Seen { content: Fingerprint::ZERO, ..seen(4) }), Counted::OtherLog);
    let mut p = partition(5, Some(4), 0);
    assert_eq!(p.deliver(&Seen { time_ms: T + 1, ..seen(4) }), Counted::OtherLog);
}

/// A new seed hashes differently: the message is recognised by its time, and the log goes on.
#[test]
fn another_seed_does_not_make_another_log() {
    let made_under = |rule: Rule, delivered: Seen| {
        let mut claim = claim(5, Some(4));
        claim.anchor = claim.anchor.map(|a| Anchor { rule: Some(rule.id()), ..a });
        Partition::new("orders", 0, claim, 0, Rule::new(0), Width::TEN_SECONDS).deliver(&delivered)
    };
    let other_hash = Seen { content: Fingerprint::ZERO, ..seen(4) };
    assert_eq!(made_under(Rule::new(7), other_hash), Counted::No);
    assert_eq!(made_under(Rule::new(7), Seen { time_ms: T + 1, ..other_hash }), Counted::OtherLog);
    assert_eq!(made_under(Rule::new(0), other_hash), Counted::OtherLog);
}

#[test]
fn a_compacted_or_deleted_anchor_is_passed_by() {
    let mut p = partition(5, Some(4), 0);
    assert_eq!(p.deliver(&seen(6)), Counted::Yes);
    let mut p = partition(5, Some(4), 5);
    assert_eq!(p.start(), 5);
    assert_eq!(p.deliver(&seen(5)), Counted::Yes);
    let mut p = partition(5, Some(4), 0);
    p.answer(T, (5, 0), None);
    assert!(p.mark(Instant::now() + VERIFY_FOR).is_some(), "an idle partition is not held up for ever");
}

#[test]
fn a_position_of_an_earlier_assignment_is_not_believed() {
    let mut p = partition(5, None, 0);
    p.position(Some(50));
    assert_eq!(p.next(), 5);
    p.position(None);
    p.position(Some(7));
    assert_eq!(p.next(), 7);
    p.assigned();
    p.position(Some(50));
    assert_eq!(p.next(), 7);
    assert_eq!(p.deliver(&seen(7)), Counted::Yes);
    p.position(Some(9));
    assert_eq!(p.next(), 9);
}

#[test]
fn intervals_leave_one_at_a_time_in_order_and_return_as_they_are() {
    let now = Instant::now();
    let mut p = partition(0, None, 0);
    p.deliver(&seen(0));
    p.cut();
    p.deliver(&seen(1));
    p.cut();
    let (first, last) = p.depart(1, now).expect("one leaves");
    assert!((first.from, first.to, last) == (0, 1, false) && p.depart(2, now).is_none());
    p.returned(9, now);
    assert!(p.depart(2, now).is_none(), "another's failure is not ours");
    p.returned(1, now);
    assert!(p.depart(2, now).is_none(), "not at once");
    let (again, _) = p.depart(3, now + RETRY_AFTER).expect("it leaves again");
    assert_eq!(again, first);
    p.arrived(3, 2, 77);
    assert_eq!(p.acked(), Some(Acked { to: 1, audit_partition: 2, audit_offset: 77 }));
    let (second, last) = p.depart(4, now + RETRY_AFTER).expect("the next leaves");
    assert!((second.from, second.to, last) == (1, 2, true) && !p.is_settled());
    p.arrived(4, 2, 78);
    assert!(p.is_settled());
}

#[test]
fn a_mark_never_runs_ahead_of_what_was_cut() {
    let mut p = partition(0, None, 0);
    p.answer(T, (2, 0), None);
    p.deliver(&seen(0));
    p.deliver(&seen(1));
    assert!(p.mark(Instant::now()).is_none());
    p.cut();
    let mark = p.mark(Instant::now()).expect("reached");
    assert_eq!((mark.position, mark.asked_ms, mark.frontier_ms), (2, T, Some(T)));
    p.answer(T + 1_000, (3, 0), None);
    assert_eq!(p.mark(Instant::now()).map(|m| m.asked_ms), Some(T), "a later end that is not reached changes nothing");
}

#[test]
fn an_open_transaction_is_dated_from_when_it_was_first_seen() {
    let mut p = partition(0, None, 0);
    p.answer(T, (0, 0), None);
    p.answer(T + 1_000, (10, 0), Some(0));
    p.answer(T + 2_000, (12, 0), Some(0));
    assert_eq!(p.mark(Instant::now()).and_then(|m| m.held_since_ms), Some(T + 1_000));
    p.answer(T + 3_000, (12, 0), Some(5));
    assert_eq!(p.mark(Instant::now()).and_then(|m| m.held_since_ms), Some(T + 3_000), "it moved: another transaction");
    p.answer(T + 4_000, (12, 0), Some(12));
    assert_eq!(p.mark(Instant::now()).and_then(|m| m.held_since_ms), None);
    // Open from the beginning: there is no watermark yet, and it is told of all the same.
    let mut p = partition(0, None, 0);
    p.answer(T, (10, 0), Some(0));
    let mark = p.mark(Instant::now()).expect("held");
    assert_eq!((mark.position, mark.asked_ms, mark.held_since_ms), (0, 0, Some(T)));
}

#[test]
fn what_retention_took_is_unaudited_between_two_counted_runs() {
    let mut p = partition(3, None, 7);
    p.deliver(&seen(7));
    assert!(p.gone_below(20));
    p.deliver(&seen(20));
    p.cut();
    let mut runs = Vec::new();
    for id in 0.. {
        let Some((i, _)) = p.depart(id, Instant::now()) else { break };
        runs.push((i.from, i.to, i.windows.len()));
        p.arrived(id, 0, 0);
    }
    assert_eq!(runs, [(3, 7, 0), (7, 8, 1), (8, 20, 0), (20, 21, 1)]);
}

#[test]
fn a_log_that_ends_before_what_was_counted_is_believed_at_the_second_answer() {
    let mut p = partition(5, None, 0);
    assert!(!p.answer(T, (3, 5), None));
    assert!(!p.answer(T, (5, 5), None));
    assert!(!p.answer(T, (3, 5), None));
    assert!(!p.answer(T, (3, 3), None), "asked before the rest was read");
    assert!(!p.answer(T, (3, 5), None));
    assert!(p.answer(T, (3, 5), None));
}

/// Two topics of one name: what was read and not confirmed to be the first one's is never said.
#[test]
fn what_was_read_leaves_once_the_topic_is_known_to_be_the_same_still() {
    let now = Instant::now();
    let id = |n| Some(Uuid::from_u128(n));
    let claim = Claim { topic_id: id(1), ..claim(0, None) };
    let mut p = Partition::new("orders", 0, claim, 0, Rule::new(0), Width::TEN_SECONDS);
    for offset in 0..10 {
        p.deliver(&seen(offset));
    }
    p.cut();
    assert!(p.depart(1, now).is_none() && !p.is_sending(), "nobody has asked since");
    assert_eq!(p.identify(id(1), 9), Identity::Same);
    assert!(p.depart(1, now).is_none(), "one of them was read after the question");
    assert_eq!(p.identify(None, 10), Identity::Unknown);
    assert!(p.depart(1, now).is_none());
    assert_eq!(p.identify(id(1), 10), Identity::Same);
    assert!(p.is_sending());
    assert_eq!(p.depart(1, now).map(|(i, _)| i.to), Some(10));
    p.deliver(&seen(10));
    p.cut();
    assert_eq!(p.identify(id(2), 11), Identity::Other);
    assert!(p.depart(2, now).is_none());
    // Brokers without ids: as soon as it is cut; and once there are ids, they count.
    let mut p = partition(0, None, 0);
    p.deliver(&seen(0));
    p.cut();
    assert!(p.depart(1, now).is_some());
    assert_eq!(
        (p.identify(None, 1), p.identify(id(3), 1), p.identify(id(4), 1)),
        (Identity::Same, Identity::Same, Identity::Other)
    );
}

#[test]
fn what_is_corrupt_is_unaudited_and_what_lies_before_and_behind_it_counts() {
    let mut p = partition(0, None, 0);
    p.deliver(&seen(0));
    assert_eq!(p.skip_corrupt(3, 7), Some((3, 7)), "markers lay before it");
    p.deliver(&seen(7));
    p.cut();
    let mut sent = vec![];
    while let Some((interval, _)) = p.depart(1, Instant::now()) {
        sent.push((interval.from, interval.to, interval.kind, interval.cause));
        p.arrived(1, 0, 0);
    }
    let (counted, corrupt) = ((IntervalKind::Counted, GapCause::Gone), (IntervalKind::Unaudited, GapCause::Corrupt));
    assert_eq!(sent, [(0, 3, counted.0, counted.1), (3, 7, corrupt.0, corrupt.1), (7, 8, counted.0, counted.1)]);
    assert_eq!(p.skip_corrupt(3, 8), None, "it was counted before");
}

#[test]
fn an_anchor_that_cannot_be_read_is_given_up_once() {
    let mut p = partition(5, Some(4), 0);
    assert_eq!((p.start(), p.give_up_recognising(), p.start()), (4, true, 5));
    assert!(!p.give_up_recognising());
}
