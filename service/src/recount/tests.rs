//! Comparing: what is equal, what differs, and what cannot be compared.

use chaperone_audit::{Class, Fingerprint, Histogram, MessageId, Observation, Rule};

use super::*;

const W: i64 = 1_790_000_000_000;

fn seen(offset: i64, event_ms: i64) -> Seen {
    let id = MessageId(offset.unsigned_abs().into());
    let observation = Observation { id, class: Class::Bare, event_ms: Some(event_ms) };
    let content = Fingerprint::from_u128(id.0);
    Seen { offset, observation, bytes: 10, arrival_ms: event_ms, now_ms: event_ms, content, time_ms: event_ms }
}

/// Partition 0 with offsets 5..=8 and 1 with 0..=2, of which the last one is another window's.
fn messages() -> Vec<(i32, Seen)> {
    let zero = (5..=8).map(|offset| (0, seen(offset, W + offset)));
    zero.chain([(1, seen(0, W)), (1, seen(1, W + 9_999)), (1, seen(2, W + 10_000))]).collect()
}

fn scene() -> (Stored, Again, BTreeMap<i32, Reach>) {
    let rule = Rule::new(7);
    let at = |window_ms, partition, n, first, last| Offsets {
        window_ms,
        width_ms: 10_000,
        partition,
        log: 3,
        n,
        first,
        last,
    };
    let offsets = vec![at(W, 0, 4, 5, 8), at(W, 1, 2, 0, 1), at(W + 10_000, 1, 1, 2, 2)];
    let mut stored = Stored { offsets, totals: Vec::new(), logs: [(0, 3), (1, 3)].into() };
    let mut again = stored.again(rule.clone());
    for (partition, seen) in messages() {
        again.count(partition, &seen);
    }
    for (window_ms, n) in [(W, 6), (W + 10_000, 1)] {
        let of_window = messages().into_iter().filter(|(_, s)| s.time_ms - s.time_ms.rem_euclid(10_000) == window_ms);
        let f_in = of_window.fold(Fingerprint::ZERO, |f, (_, s)| f.plus(s.observation.id.hash(7)));
        stored.totals.push(StageWindow {
            topic: "orders".into(),
            stage: "kafka:k".into(),
            window_ms,
            width_ms: 10_000,
            n,
            acked: n,
            failed: 0,
            bytes: n * 10,
            f_in,
            hist: Histogram::new(),
            last_ms: 0,
            rule: Some(rule.id()),
        });
    }
    let reach = [(0, Reach { start: 0, end: 9 }), (1, Reach { start: 0, end: 3 })].into();
    (stored, again, reach)
}

fn outcomes(rows: &[Row]) -> Vec<(i64, Option<i32>, Outcome)> {
    rows.iter().map(|row| (row.window_ms - W, row.partition, row.outcome)).collect()
}

#[test]
fn what_is_the_same_is_equal_by_partition_and_as_a_whole() {
    let (stored, again, reach) = scene();
    let runs = stored.runs(Only::default());
    assert_eq!(runs, [(0, Run { from: 5, to: 9 }), (1, Run { from: 0, to: 3 })].into());
    let rows = compare(&stored, Only::default(), &again, &reach);
    let equal = Outcome::Equal;
    let expected =
        [(0, Some(0), equal), (0, Some(1), equal), (0, None, equal), (10_000, Some(1), equal), (10_000, None, equal)];
    assert_eq!(outcomes(&rows), expected);
    assert_eq!(Summary::of(&rows), Summary { equal: 2, differ: 0, not_compared: 0 });
}

#[test]
fn one_message_more_fewer_or_another_one_differs() {
    let (stored, _, reach) = scene();
    let recount = |messages: &[(i32, Seen)]| {
        let mut again = stored.again(Rule::new(7));
        for (partition, seen) in messages {
            again.count(*partition, seen);
        }
        compare(&stored, Only::default(), &again, &reach)
    };
    let all = messages();
    assert_eq!(Summary::of(&recount(&all)).differ, 0);
    assert_eq!(Summary::of(&recount(&all[1..])).differ, 2, "the partition's part and the whole");
    let twice: Vec<_> = all.iter().chain(&all[..1]).copied().collect();
    assert_eq!(Summary::of(&recount(&twice)).differ, 2);
    let mut other = all;
    other[0].1.observation.id = MessageId(99);
    assert_eq!(Summary::of(&recount(&other)).differ, 1, "as many, other ids: only the whole has ids");
}

#[test]
fn what_cannot_be_compared_says_why_and_is_no_difference() {
    let whole = Only::default();
    let (stored, again, mut reach) = scene();
    reach.insert(0, Reach { start: 6, end: 9 });
    let rows = compare(&stored, whole, &again, &reach);
    assert_eq!((rows[0].outcome, rows[2].outcome), (Outcome::Gone, Outcome::Gone));
    reach.insert(0, Reach { start: 0, end: 8 });
    assert_eq!(compare(&stored, whole, &again, &reach)[0].outcome, Outcome::Truncated);
    reach.remove(&0);
    assert_eq!(compare(&stored, whole, &again, &reach)[0].outcome, Outcome::Truncated);

    let (mut stored, again, reach) = scene();
    stored.logs.insert(0, 4);
    assert_eq!(stored.runs(whole).len(), 1);
    let rows = compare(&stored, whole, &again, &reach);
    assert_eq!((rows[0].outcome, rows[2].outcome), (Outcome::OtherLog, Outcome::OtherLog));

    let (mut stored, again, reach) = scene();
    stored.totals[0].rule = None;
    stored.totals[1].n = 5;
    let rows = compare(&stored, whole, &again, &reach);
    assert_eq!((rows[2].outcome, rows[4].outcome), (Outcome::OtherRule, Outcome::Unknown));
    assert_eq!(Summary::of(&rows), Summary { equal: 0, differ: 0, not_compared: 2 });

    let (mut stored, again, reach) = scene();
    stored.totals[0].rule = Some(Rule::new(8).id());
    stored.totals[0].n += 1;
    stored.offsets[0].n += 1;
    let rows = compare(&stored, whole, &again, &reach);
    assert_eq!((rows[0].outcome, rows[2].outcome), (Outcome::OtherRule, Outcome::OtherRule), "another window, perhaps");

    let (mut stored, again, reach) = scene();
    stored.offsets.clear();
    assert!(compare(&stored, whole, &again, &reach).iter().all(|row| row.outcome == Outcome::Unknown));
}

#[test]
fn a_part_is_compared_as_far_as_it_goes() {
    let (stored, again, reach) = scene();
    let only = Only { partition: Some(1), run: Some(Run { from: 1, to: 3 }) };
    assert_eq!(stored.runs(only), [(1, Run { from: 1, to: 3 })].into());
    let rows = compare(&stored, only, &again, &reach);
    assert_eq!(outcomes(&rows), [(0, Some(1), Outcome::InPart), (10_000, Some(1), Outcome::Equal)]);
    assert_eq!(Summary::of(&rows), Summary { equal: 1, differ: 0, not_compared: 1 });
    let text = print::text(&rows, &Summary::of(&rows), again.messages);
    assert!(text.contains("in part") && text.contains("1 equal, 0 differ, 1 not compared"), "{text}");
}
