//! Slices of a long range through the router: shape, CSV, what is refused.

use chaperone_collector::{Pipelines, Verdict};

use super::*;
use fake::{FakeStore, NOW_MS, bench, config, hop};

fn one_row() -> Router {
    let mut row = hop("=orders", ("a", "b"), NOW_MS - 8_000, Verdict::Missing);
    row.missing_min = 3;
    let store = FakeStore { windows: vec![row], ..FakeStore::default() };
    app(bench(store, Pipelines::default()).state, config())
}

#[tokio::test]
async fn slices_are_the_documented_json_and_csv() {
    let (window_ms, width_ms) = (NOW_MS - 8_000, 600_000);
    let slice = |ms: i64| ms.div_euclid(width_ms) * width_ms;
    let (slice_ms, from_ms, to_ms) = (slice(window_ms), slice(NOW_MS - 900_000), slice(NOW_MS - 1) + width_ms);
    let answer = get(&one_row(), "/api/v1/bins?from=now-15m&to=now&width=10m").await;
    let want = format!(
        "{{\"width_ms\":600000,\"from_ms\":{from_ms},\"to_ms\":{to_ms},\"rows\":[{{\"topic\":\"=orders\",\"from_stage\":\"a\",\
         \"to_stage\":\"b\",\"hop\":0,\"window_ms\":{slice_ms},\"width_ms\":600000,\"worst\":\"missing\",\"windows\":1,\
         \"verdicts\":{{\"missing\":1}},\"missing_min\":3,\"surplus_min\":0,\"delayed\":0,\"amendments\":0}}]}}"
    );
    assert_eq!(answer.body, want);
    let csv = get(&one_row(), "/api/v1/bins?from=now-15m&to=now&format=csv").await.body;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2, "{csv}");
    assert!(
        lines[0].starts_with("topic,from_stage,to_stage,hop,window_ms,width_ms,worst,windows,windows_ok,"),
        "{csv}"
    );
    assert!(lines[1].starts_with(&format!("'=orders,a,b,0,{window_ms},10000,missing,1,0,3,")), "{csv}");
    assert!(get(&one_row(), "/api/v1/bins?of=totals").await.body.ends_with("\"rows\":[]}"));
}

#[tokio::test]
async fn a_width_that_there_is_not_is_refused_with_those_that_there_are() {
    for (query, words) in [("width=2h", "auto, 10s, 1m, 10m or 1h"), ("of=all", "verdicts or totals")] {
        let answer = get(&one_row(), &format!("/api/v1/bins?{query}")).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(words), "{}", answer.body);
    }
}
