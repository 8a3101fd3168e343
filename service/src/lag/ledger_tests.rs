//! A world with a clock of its own: messages whose arrival is known, a group that commits, brokers that take a moment to
//! answer, and looks that may be missed. The truth stands beside every row.

use chaperone_collector::lag::{LagRound, Round};
use chaperone_collector::{SqliteStore, Store};

use super::*;

const T0: i64 = 1_795_000_000_000;
const EVERY: i64 = 5_000;
/// Time of a question.
const TAKES: i64 = 30;

fn tp() -> Tp {
    ("orders".to_owned(), 0)
}

fn int(n: usize) -> i64 {
    i64::try_from(n).expect("fits")
}

/// Messages and when they arrived.
struct World {
    arrivals: Vec<i64>,
}

impl World {
    /// So many a second, each for so many seconds.
    fn of_rates(rates: &[(i64, i64)]) -> Self {
        let (mut arrivals, mut at) = (Vec::new(), T0);
        for (per_second, seconds) in rates {
            for i in 0..per_second * seconds {
                arrivals.push(at + i * 1_000 / per_second);
            }
            at += seconds * 1_000;
        }
        Self { arrivals }
    }
    fn end(&self, at_ms: i64) -> i64 {
        int(self.arrivals.partition_point(|arrived| *arrived <= at_ms))
    }
    /// Time lag of a group that stands at `committed`.
    fn lag_ms(&self, committed: i64, at_ms: i64) -> i64 {
        let oldest = usize::try_from(committed).ok().and_then(|at| self.arrivals.get(at));
        oldest.map_or(0, |arrived| (at_ms - arrived).max(0))
    }
    /// A look that begins at `at_ms`; brokers act in the middle of each question.
    fn look(&self, at_ms: i64, committed: i64) -> Answers {
        Answers {
            groups_asked_ms: at_ms,
            groups_answered_ms: at_ms + TAKES,
            committed: BTreeMap::from([("g".to_owned(), Committed::from([(tp(), committed)]))]),
            ends_asked_ms: at_ms + TAKES,
            ends_answered_ms: at_ms + 2 * TAKES,
            partitions: BTreeSet::from([tp()]),
            ends: BTreeMap::from([(tp(), self.end(at_ms + TAKES + TAKES / 2))]),
            ..Answers::default()
        }
    }
}

fn one(ledger: &mut Ledger, answers: &Answers) -> GroupLag {
    ledger.note_ends(answers);
    let (rows, _) = ledger.rows(answers, &HashMap::new(), |t| Some(t.to_owned()));
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    row.clone()
}

/// The stated error holds: the truth is at most `lag_ms`, and at least `lag_ms` less `error_ms`.
fn holds(row: &GroupLag, truth: i64, at_most_ms: i64) {
    let (Some(lag), Some(error)) = (row.lag_ms, row.error_ms) else { panic!("{row:?}") };
    assert!(truth <= lag && lag - error <= truth, "truth {truth}: {row:?}");
    assert!(error <= at_most_ms, "{row:?}");
}

/// Rate × 10 for a minute, the consumer at twice the base rate: from the end of the burst until its last message is
/// consumed, the backlog shrinks and every message in it gets older.
#[test]
fn in_a_burst_messages_fall_while_time_rises_both_within_the_stated_error() {
    let world = World::of_rates(&[(50, 60), (500, 60), (50, 300)]);
    let mut ledger = Ledger::new("c", EVERY);
    let mut rows = Vec::new();
    let (mut committed, mut estimate_off, mut worst_error) = (0, 0, 0);
    for second in 1..=400 {
        let now = T0 + second * 1_000;
        committed = world.end(now).min(committed + 100);
        if second % 5 != 0 {
            continue;
        }
        let answers = world.look(now, committed);
        let row = one(&mut ledger, &answers);
        let seen_at = answers.groups_asked_ms + TAKES / 2;
        let truth = world.lag_ms(committed, seen_at);
        if second > 5 {
            holds(&row, truth, 10_000);
        }
        worst_error = worst_error.max(row.error_ms.unwrap_or(0));
        // Never too few, and too many only by what came while the questions were answered.
        let messages = i64::try_from(row.messages.expect("known")).expect("fits");
        let (least, most) = (world.end(seen_at) - committed, world.end(answers.ends_answered_ms) - committed);
        assert!((least..=most).contains(&messages), "{least} to {most}: {row:?}");
        // The control: what is left at the rate of the moment.
        if let Some(rate) = row.produced_per_s.filter(|rate| *rate > 0.0) {
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a bad estimate")]
            let guess = (messages as f64 / rate * 1_000.0) as i64;
            estimate_off = estimate_off.max((guess - truth).abs());
        }
        rows.push((second, messages, row));
    }
    let both = rows.windows(2).filter(|two| matches!(two, [(_, m0, a), (_, m1, b)] if m1 < m0 && b.lag_ms > a.lag_ms));
    assert!(both.count() > 30, "message lag falls while time lag rises");
    assert!(estimate_off > 100_000, "the control must be worse than the bound: {estimate_off}");
    assert!(worst_error <= EVERY + 3 * TAKES, "{worst_error}");
    let at = |s: i64| rows.iter().find(|(second, ..)| *second == s).map(|(_, _, row)| row.clone()).expect("a row");
    let (burst, after) = (at(110), at(250));
    assert_eq!((burst.trend, burst.lag_trend), (Trend::Growing, Trend::Growing), "{burst:?}");
    assert_eq!((after.trend, after.lag_trend), (Trend::Falling, Trend::Growing), "{after:?}");
    // 24,000 behind when it ended, 50 fewer a second since.
    let catch_up = after.catch_up_ms.expect("it gains");
    assert!((catch_up - 350_000).abs() < 30_000, "{catch_up}");
}

/// Beyond the ring, and after a restart that lost it, the index in the store dates a commit within a minute.
#[tokio::test]
async fn beyond_a_quarter_of_an_hour_the_error_is_at_most_a_minute() {
    let world = World::of_rates(&[(3, 1_500), (40, 200), (1, 4_000)]);
    let store = SqliteStore::in_memory().expect("opens");
    let mut ledger = Ledger::new("c", EVERY);
    let (mut by_ring, mut by_index) = (0, 0);
    // The group stopped in the middle of the first hour; the process is replaced after 40 minutes.
    for look in 1..=1_100_i64 {
        let now = T0 + look * EVERY;
        if look == 480 {
            ledger = Ledger::new("c", EVERY);
        }
        let committed = world.end(now).min(7_000);
        let answers = world.look(now, committed);
        let asked = ledger.note_ends(&answers);
        let told = store.arrivals("c", asked.clone()).await.expect("answers");
        let told = asked.into_iter().zip(told).collect();
        let (rows, _) = ledger.rows(&answers, &told, |t| Some(t.to_owned()));
        let index = ledger.index(answers.ends_answered_ms);
        let row = rows.first().expect("a row");
        if look > 1 && committed == 7_000 {
            let truth = world.lag_ms(committed, now + TAKES / 2);
            let fresh = truth < 890_000 && look < 480;
            holds(row, truth, if fresh { 10_000 } else { 60_000 });
            *(if fresh { &mut by_ring } else { &mut by_index }) += 1;
        }
        let about =
            Round { cluster: "c".into(), at_ms: answers.ends_answered_ms, every_ms: EVERY, groups: 1, left_out: 0 };
        let indexed = !index.is_empty();
        store.note_lag(LagRound { about, rows, index }).await.expect("notes");
        if indexed {
            ledger.indexed(answers.ends_answered_ms);
        }
    }
    assert!(by_ring > 100 && by_index > 500, "{by_ring} by the ring, {by_index} by the index");
}

#[test]
fn what_arrived_before_anybody_asked_is_at_least_so_old() {
    let world = World::of_rates(&[(10, 600)]);
    let mut ledger = Ledger::new("c", EVERY);
    for look in 60..70 {
        let row = one(&mut ledger, &world.look(T0 + look * EVERY, 5));
        assert!(row.at_least && row.error_ms.is_none() && row.state == State::Behind, "{row:?}");
        let truth = world.lag_ms(5, T0 + look * EVERY);
        assert!(row.lag_ms.is_some_and(|ms| ms <= truth), "{row:?}");
        assert_eq!(row.retention_left_ms, None, "of unknown age");
    }
    let row = one(&mut ledger, &world.look(T0 + 70 * EVERY, world.end(T0 + 70 * EVERY)));
    assert_eq!((row.state, row.lag_ms, row.error_ms, row.messages), (State::CaughtUp, Some(0), Some(0), Some(0)));
}

#[test]
fn no_commit_no_answer_and_a_commit_beyond_the_end_are_not_zero() {
    let world = World::of_rates(&[(10, 100)]);
    let mut ledger = Ledger::new("c", EVERY);
    let second = ("orders".to_owned(), 1);
    let mut answers = world.look(T0 + 50_000, 100);
    answers.partitions.insert(second.clone());
    answers.partitions.insert(("other".to_owned(), 0));
    answers.partitions.insert(("orders".to_owned(), 2));
    answers.ends.insert(("orders".to_owned(), 2), 0);
    answers.ends.insert(second.clone(), 77);
    ledger.note_ends(&answers);
    let (rows, _) = ledger.rows(&answers, &HashMap::new(), |t| Some(t.to_uppercase()));
    let said: Vec<_> = rows.iter().map(|r| (r.topic.as_str(), r.partition, r.state, r.messages)).collect();
    let behind = u64::try_from(world.end(T0 + 50_045) - 100).expect("fits");
    assert_eq!(
        said,
        [
            ("ORDERS", Some(0), State::Behind, Some(behind)),
            ("ORDERS", Some(1), State::NoCommit, None),
            ("ORDERS", Some(2), State::CaughtUp, Some(0))
        ],
        "2 never had a message; and nothing of a topic that it never committed"
    );
    answers.ends.remove(&tp());
    let (rows, _) = ledger.rows(&answers, &HashMap::new(), |t| Some(t.to_owned()));
    assert_eq!((rows[0].state, rows[0].messages, rows[0].lag_ms), (State::Unknown, None, None));
    let beyond = one(&mut ledger, &world.look(T0 + 60_000, 100_000));
    assert_eq!((beyond.state, beyond.messages, beyond.lag_ms), (State::BeyondEnd, None, None));
}

#[test]
fn a_group_that_does_not_answer_keeps_its_rows_with_their_time() {
    let world = World::of_rates(&[(10, 100)]);
    let mut ledger = Ledger::new("c", EVERY);
    let before = one(&mut ledger, &world.look(T0 + 50_000, 100));
    let mut answers = world.look(T0 + 55_000, 100);
    answers.committed.clear();
    answers.silent.insert("g".to_owned());
    assert_eq!(one(&mut ledger, &answers), before);
    answers.silent.clear();
    ledger.note_ends(&answers);
    assert_eq!(ledger.rows(&answers, &HashMap::new(), |t| Some(t.to_owned())), (Vec::new(), 0), "it is gone");
}

#[test]
fn what_retention_ate_is_told_and_open_transactions_are() {
    let world = World::of_rates(&[(10, 100)]);
    let mut ledger = Ledger::new("c", EVERY);
    let at =
        |ledger: &mut Ledger, second: i64, committed: i64| one(ledger, &world.look(T0 + second * 1_000, committed));
    at(&mut ledger, 10, 90);
    at(&mut ledger, 15, 90);
    ledger.note_retention(BTreeMap::from([("orders".to_owned(), 60_000)]));
    ledger.note_bounds(T0 + 20_000, &BTreeMap::from([(tp(), 40)]), BTreeMap::from([(tp(), 120)]));
    let row = at(&mut ledger, 20, 120);
    assert_eq!((row.state, row.eaten, row.log_start, row.held), (State::Behind, 0, Some(40), true));
    let (left, lag) = (row.retention_left_ms.expect("known"), row.lag_ms.expect("known"));
    assert_eq!(left, 60_000 - lag);
    ledger.note_bounds(T0 + 25_000, &BTreeMap::from([(tp(), 150)]), BTreeMap::new());
    let row = at(&mut ledger, 25, 120);
    assert_eq!((row.state, row.eaten, row.retention_left_ms, row.held), (State::Eaten, 30, Some(0), false));
    assert_eq!(row.messages, Some(u64::try_from(world.end(T0 + 25_045) - 150).expect("fits")), "what is there");
}

/// The same name, other messages: nothing that was known of the old ones is said of the new.
#[test]
fn a_topic_made_anew_begins_anew() {
    let world = World::of_rates(&[(10, 100)]);
    let mut ledger = Ledger::new("c", EVERY);
    for look in 1..=10 {
        one(&mut ledger, &world.look(T0 + look * EVERY, 100));
    }
    assert!(!ledger.index(T0 + 50_060).is_empty());
    ledger.indexed(T0 + 50_060);
    let mut made_anew = world.look(T0 + 55_000, 5);
    made_anew.ends.insert(tp(), 30);
    assert!(ledger.note_ends(&made_anew).is_empty(), "the index knows only the other log");
    let (rows, _) = ledger.rows(&made_anew, &HashMap::new(), |t| Some(t.to_owned()));
    let row = &rows[0];
    assert!(row.at_least && row.lag_ms == Some(0), "it arrived before this look, and who knows when: {row:?}");
    let index = ledger.index(T0 + 55_060 + 58_000);
    assert!(index.iter().all(|ended| ended.anew && ended.run.end == 30), "{index:?}");
}

#[test]
fn rows_are_bounded_and_what_is_furthest_behind_stays() {
    let partitions: BTreeSet<Tp> = (0..500).map(|p| ("t".to_owned(), p)).collect();
    let ends: BTreeMap<Tp, i64> = partitions.iter().map(|tp| (tp.clone(), 1_000)).collect();
    let of = |group: i64| partitions.iter().map(|tp| (tp.clone(), 1_000 - group)).collect::<Committed>();
    let committed = (0..30).map(|g| (format!("g{g:02}"), of(g))).collect();
    let answers = Answers { partitions: partitions.clone(), ends, committed, ..Answers::default() };
    let mut ledger = Ledger::new("c", EVERY);
    ledger.note_ends(&answers);
    let (rows, left_out) = ledger.rows(&answers, &HashMap::new(), |t| Some(t.to_owned()));
    assert_eq!((rows.len(), left_out), (ROWS_MAX, 5_000));
    assert_eq!(rows.iter().filter_map(|r| r.messages).min(), Some(10));
    assert!(rows.is_sorted_by_key(|r| (r.group.clone(), r.partition)));
}
