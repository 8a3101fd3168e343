//! Lag of groups at rest: a round replaces the one before, and the index of ends brackets arrivals within a minute.

use chaperone_collector::Store;
use chaperone_collector::lag::{Bracket, Ended, GroupLag, INDEX_KEPT_MS, LagRound, Round, Run, State, Trend};

use crate::sim::memory;

const NOW: i64 = 1_795_000_000_000;
/// At least so often the index gets a row.
const ROW_EVERY: i64 = 60_000;

fn row(group: &str, partition: i32) -> GroupLag {
    GroupLag {
        cluster: "main".into(),
        group: group.into(),
        topic: "orders".into(),
        partition: Some(partition),
        at_ms: NOW,
        state: State::Eaten,
        committed: Some(7),
        end: Some(1 << 40),
        log_start: None,
        messages: Some(u64::from(u32::MAX)),
        lag_ms: Some(90_000),
        error_ms: None,
        at_least: true,
        trend: Trend::Falling,
        lag_trend: Trend::Growing,
        produced_per_s: Some(1.5),
        consumed_per_s: None,
        catch_up_ms: None,
        retention_left_ms: Some(0),
        eaten: 3,
        held: true,
    }
}

fn round(at_ms: i64, rows: Vec<GroupLag>, index: Vec<Ended>) -> LagRound {
    let about = Round { cluster: "main".into(), at_ms, every_ms: 5_000, groups: 2, left_out: 0 };
    LagRound { about, rows, index }
}

fn ended(end: i64, first_ms: i64, last_ms: i64) -> Ended {
    let run = Run { end, first_ms, last_ms };
    Ended { topic: "k.orders".into(), partition: 3, run, log_start: None, anew: false }
}

async fn arrival(store: &dyn Store, offset: i64) -> Bracket {
    store.arrivals("main", vec![("k.orders".into(), 3, offset)]).await.expect("answers")[0]
}

#[tokio::test]
async fn a_round_replaces_the_one_before_and_is_read_as_it_was_written() {
    let store = memory();
    let revision = store.revisions();
    let before = *revision.borrow();
    store.note_lag(round(NOW, vec![row("a", 0), row("b", 1), row("b", 0)], vec![])).await.expect("notes");
    let report = store.lag(NOW - 1).await.expect("reads");
    assert_eq!(report.rows, [row("a", 0), row("b", 0), row("b", 1)]);
    assert_eq!(report.rounds, [round(NOW, vec![], vec![]).about]);
    assert!(*revision.borrow() > before, "open pages are told");
    store.note_lag(round(NOW + 5_000, vec![row("b", 1)], vec![])).await.expect("notes");
    assert_eq!(store.lag(NOW).await.expect("reads").rows, [row("b", 1)]);
    let old = store.lag(NOW + 5_001).await.expect("reads");
    assert!(old.rounds.is_empty() && old.rows.is_empty(), "a cluster that is not looked at any more");
}

/// The promise beyond a quarter of an hour: with a row a minute, every arrival is told within a minute. Traffic comes and
/// goes, so that a partition sometimes stands still; the control guesses by rate between the rows.
#[tokio::test]
async fn arrivals_are_told_within_a_minute_and_never_wrongly() {
    let store = memory();
    // Message k arrived at arrivals[k]: bursts of 500 in a second, then nothing for as long as it takes.
    let mut arrivals = Vec::new();
    for (burst, quiet) in [0, 7_000, 130_000, 61_000, 3_000, 599_000, 45_000].into_iter().enumerate() {
        let from = arrivals.last().copied().unwrap_or(NOW) + quiet;
        arrivals.extend((0..500).map(|i| from + i * 2 + i64::try_from(burst).unwrap_or(0)));
    }
    let until = arrivals.last().copied().unwrap_or(NOW) + 60_000;
    let mut run = Run { end: -1, first_ms: 0, last_ms: 0 };
    let mut asked = NOW - 1_000;
    while asked < until {
        let answered = asked + 40;
        let end = i64::try_from(arrivals.partition_point(|at| *at <= asked + 20)).expect("fits");
        if end != run.end {
            run = Run { end, first_ms: answered, last_ms: asked };
        }
        run.last_ms = asked;
        store.note_lag(round(answered, vec![], vec![ended(run.end, run.first_ms, run.last_ms)])).await.expect("notes");
        asked += ROW_EVERY - 40;
    }
    let mut guess_off = 0;
    for (offset, at) in arrivals.iter().enumerate() {
        let found = arrival(&*store, i64::try_from(offset).expect("fits")).await;
        let (Some(after), Some(before)) = (found.after_ms, found.before_ms) else { panic!("{offset}: {found:?}") };
        assert!(after <= *at && *at <= before, "{offset} arrived at {at}: {found:?}");
        assert!(before - after <= ROW_EVERY, "{offset}: {found:?}");
        // At the average rate of the whole time.
        let by_rate =
            NOW + i64::try_from(offset).expect("fits") * (until - NOW) / i64::try_from(arrivals.len()).expect("fits");
        guess_off = (by_rate - at).abs().max(guess_off);
    }
    assert!(guess_off > ROW_EVERY, "the control must be worse: {guess_off}");
}

#[tokio::test]
async fn a_partition_that_stands_still_costs_one_row_and_another_log_voids_the_index() {
    let store = memory();
    for minute in 0..100 {
        let last = NOW + minute * 60_000;
        store.note_lag(round(last, vec![], vec![ended(500, NOW + 10, last)])).await.expect("notes");
    }
    let told = arrival(&*store, 500).await;
    assert_eq!(told, Bracket { after_ms: Some(NOW + 99 * 60_000), before_ms: None }, "not arrived yet");
    assert_eq!(
        arrival(&*store, 499).await,
        Bracket { after_ms: None, before_ms: Some(NOW + 10) },
        "before the index began"
    );
    let later = NOW + 100 * 60_000;
    store.note_lag(round(later, vec![], vec![ended(40, later, later)])).await.expect("notes");
    assert_eq!(arrival(&*store, 20).await, Bracket { after_ms: None, before_ms: Some(later) });
    assert_eq!(arrival(&*store, 450).await.before_ms, None);
    let anew = Ended { anew: true, ..ended(900, later + 1, later + 1) };
    store.note_lag(round(later + 1, vec![], vec![anew])).await.expect("notes");
    assert_eq!(arrival(&*store, 50).await, Bracket { after_ms: None, before_ms: Some(later + 1) });
    let unknown = store.arrivals("other", vec![("k.orders".into(), 3, 1)]).await.expect("answers");
    assert_eq!(unknown, [Bracket::default()]);
}

#[tokio::test]
async fn the_index_forgets_what_retention_ate_and_what_is_too_old() {
    let store = memory();
    for minute in 0..20 {
        let at = NOW + minute * 60_000;
        store.note_lag(round(at, vec![], vec![ended(100 * (minute + 1), at, at)])).await.expect("notes");
    }
    let at = NOW + 20 * 60_000;
    let eaten = Ended { log_start: Some(1_050), ..ended(2_100, at, at) };
    store.note_lag(round(at, vec![], vec![eaten])).await.expect("notes");
    let told = |offset| arrival(&*store, offset);
    assert_eq!(told(1_050).await, Bracket { after_ms: Some(NOW + 9 * 60_000), before_ms: Some(NOW + 10 * 60_000) });
    assert_eq!(told(600).await.after_ms, None, "nobody can ask for it any more");
    // Old rows go two by two; what one step leaves the next takes.
    let much_later = NOW + INDEX_KEPT_MS + 15 * 60_000;
    for step in 0..10 {
        let at = much_later + step;
        store.note_lag(round(at, vec![], vec![ended(3_000 + step, at, at)])).await.expect("notes");
    }
    assert_eq!(told(1_250).await.after_ms, None);
    assert_eq!(told(1_950).await.after_ms, Some(NOW + 18 * 60_000), "young enough");
    // A partition that nobody asks about goes whole.
    let other = Ended { partition: 4, ..ended(1, 0, 0) };
    let forgotten = much_later + INDEX_KEPT_MS + 60_000;
    store.note_lag(round(forgotten, vec![], vec![other])).await.expect("notes");
    assert_eq!(told(1_950).await, Bracket::default());
}
