//! The log of actions only grows, whoever asks; verdicts in pages keep their order.

use chaperone_collector::query::{Action, HopWindow, WindowKey, WindowQuery};

use crate::place::Place;
use crate::readers::filled;

fn action(n: i64) -> Action {
    Action {
        at_ms: n,
        who: format!("person {n}"),
        role: "admin".into(),
        address: "10.0.0.1".into(),
        action: "reload".into(),
        what: "'; DROP TABLE operator_action; --".into(),
        outcome: "done".into(),
    }
}

#[tokio::test]
async fn actions_are_read_as_they_were_recorded_newest_first_in_pages() {
    let place = Place::new();
    let store = place.open();
    for n in 0..5 {
        store.note_action(action(n)).await.expect("recorded");
    }
    let first = store.actions(i64::MAX, 3).await.expect("read");
    assert_eq!(first.iter().map(|a| a.action.clone()).collect::<Vec<_>>(), [action(4), action(3), action(2)]);
    let rest = store.actions(first[2].number, 3).await.expect("read");
    assert_eq!(rest.iter().map(|a| a.action.clone()).collect::<Vec<_>>(), [action(1), action(0)]);
}

/// Who touches the file or the database by hand cannot change what was recorded; reading it so, the control, is well.
#[tokio::test]
async fn no_action_can_be_changed_or_removed() {
    let place = Place::new();
    place.open().note_action(action(1)).await.expect("recorded");
    for sql in ["DELETE FROM operator_action", "UPDATE operator_action SET who = 'nobody'"] {
        let error = place.try_rows(sql).expect_err(sql);
        assert!(error.contains("rows are only added"), "{sql}: {error}");
    }
    assert_eq!(place.try_rows("SELECT who FROM operator_action"), Ok(vec![vec!["person 1".to_owned()]]));
}

#[tokio::test]
async fn verdicts_in_pages_are_all_verdicts_once_in_an_order_without_ties() {
    let place = Place::new();
    let store = place.open();
    filled(&*store).await;
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
    for topic in [None, Some("payments".to_owned())] {
        let query = WindowQuery { topic, limit: Some(4), ..all.clone() };
        let (mut seen, mut after): (Vec<HopWindow>, Option<WindowKey>) = (Vec::new(), None);
        loop {
            let page = store.windows_page(query.clone(), after.clone()).await.expect("page");
            let Some(last) = page.last().cloned() else { break };
            let HopWindow { window_ms, topic, from_stage, to_stage, .. } = last;
            after = Some(WindowKey { window_ms, topic, from_stage, to_stage });
            seen.extend(page);
        }
        let key = |w: &HopWindow| (std::cmp::Reverse(w.window_ms), w.topic.clone(), w.from_stage.clone());
        assert!(seen.is_sorted_by_key(key), "{seen:#?}");
        let whole = store.windows(WindowQuery { limit: None, ..query }).await.expect("windows");
        assert_eq!(seen, whole, "one hop a topic: both orders agree");
    }
}
