//! Answers in pages: nothing twice, nothing left out, also while rows are added.

use chaperone_collector::{Pipelines, Verdict};

use super::*;
use fake::{FakeStore, NOW_MS, bench, config, hop};

fn rows() -> Vec<chaperone_collector::query::HopWindow> {
    let at = |n: i64| NOW_MS - 8_000 - n * 10_000;
    let mut rows = Vec::new();
    for n in 0..5 {
        for topic in ["orders", "rides", "=a,\"b\""] {
            rows.extend([("a", "b"), ("b", "c")].map(|stages| hop(topic, stages, at(n), Verdict::Ok)));
        }
    }
    rows
}

#[tokio::test]
async fn pages_hold_every_row_once_also_while_newer_ones_come() {
    let mut windows = rows();
    let mut seen: Vec<String> = Vec::new();
    let (mut after, mut pages) = (String::new(), 0);
    loop {
        let router = app(
            bench(FakeStore { windows: windows.clone(), ..FakeStore::default() }, Pipelines::default()).state,
            config(),
        );
        let answer = get(&router, &format!("/api/v1/windows?limit=7{after}")).await.json();
        let page = answer["windows"].as_array().expect("rows").clone();
        seen.extend(page.iter().map(|w| format!("{} {} {}", w["window_ms"], w["topic"], w["from_stage"])));
        pages += 1;
        // A newer window and another topic of the newest one appear between two pages.
        windows.push(hop("new", ("a", "b"), NOW_MS - pages, Verdict::Open));
        windows.push(hop("aaa", ("a", "b"), NOW_MS - 8_000, Verdict::Open));
        match answer.get("next").and_then(|n| n.as_str()) {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((pages, seen.len(), once.len()), (5, 30, 30), "{seen:#?}");
}

#[tokio::test]
async fn a_cursor_is_checked_like_any_parameter() {
    let router =
        app(bench(FakeStore { windows: rows(), ..FakeStore::default() }, Pipelines::default()).state, config());
    for query in
        ["limit=0", "limit=10001", "limit=x", "limit=-1", "after=%00", "after=!!", "after=eyJhIjoxfQ", "after=W10"]
    {
        let answer = get(&router, &format!("/api/v1/windows?{query}")).await;
        let field = query.split('=').next().unwrap_or_default();
        assert_eq!((answer.status, answer.json()["field"].as_str()), (StatusCode::BAD_REQUEST, Some(field)), "{query}");
    }
    let csv = get(&router, "/api/v1/windows?limit=7&format=csv").await;
    assert_eq!(csv.body.lines().count(), 8);
    let next = csv.header("chaperone-next").to_owned();
    let rest = get(&router, &format!("/api/v1/windows?format=csv&limit=100&after={next}")).await;
    assert_eq!((rest.body.lines().count(), rest.header("chaperone-next")), (24, ""));
}

#[tokio::test]
async fn without_limit_the_answer_is_the_fixed_one() {
    let router =
        app(bench(FakeStore { windows: rows(), ..FakeStore::default() }, Pipelines::default()).state, config());
    let answer = get(&router, "/api/v1/windows").await.json();
    let members: Vec<&String> = answer.as_object().expect("object").keys().collect();
    assert_eq!(members, ["windows"]);
}
