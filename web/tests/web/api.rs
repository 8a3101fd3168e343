//! The API through the router: shape, CSV, ranges, problems.

use chaperone_collector::{Caveat, CaveatKind, Doubt, Pipelines, Verdict};

use super::*;
use fake::{FakeStore, NOW_MS, bench, config, hop, summary};

fn one_row() -> Router {
    let mut row = hop("orders", ("a", "b"), NOW_MS - 8_000, Verdict::Missing);
    row.missing_min = 3;
    row.caveats = vec![Caveat { kind: CaveatKind::ReporterGone, side: Doubt::Upstream, messages: Some(5) }];
    row.why = "at least 3 missing".into();
    let other = hop("other", ("a", "b"), NOW_MS - 8_000, Verdict::Ok);
    let store = FakeStore {
        windows: vec![row, other],
        topics: vec![summary("orders", &["a", "b"], Verdict::Missing)],
        ..FakeStore::default()
    };
    app(bench(store, Pipelines::default()).state, config())
}

#[tokio::test]
async fn windows_are_the_documented_json_and_nothing_else() {
    let answer = get(&one_row(), "/api/v1/windows?topic=orders&from=now-15m&to=now").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let want = format!(
        "{{\"windows\":[{{\"topic\":\"orders\",\"from_stage\":\"a\",\"to_stage\":\"b\",\"window_ms\":{},\"width_ms\":10000,\
         \"verdict\":\"missing\",\"missing_min\":3,\"surplus_min\":0,\"delayed\":0,\
         \"caveats\":[\"reporter gone upstream: 5\"],\"why\":\"at least 3 missing\"}}]}}",
        NOW_MS - 8_000
    );
    assert_eq!(answer.body, want);
}

#[tokio::test]
async fn topic_is_optional_and_the_default_range_is_the_last_quarter_of_an_hour() {
    let router = one_row();
    assert_eq!(get(&router, "/api/v1/windows").await.json()["windows"].as_array().map(Vec::len), Some(2));
    let earlier = get(&router, "/api/v1/windows?from=now-2h&to=now-1h").await;
    assert_eq!(earlier.body, "{\"windows\":[]}");
}

#[tokio::test]
async fn csv_has_the_same_columns_by_parameter_and_by_accept() {
    let router = one_row();
    let by_parameter = get(&router, "/api/v1/windows?topic=orders&format=csv").await;
    let by_accept =
        send(&router, "GET", "/api/v1/windows?topic=orders", &[("accept", "text/html;q=0.1, text/csv;q=0.9")]).await;
    assert_eq!(by_parameter.body, by_accept.body);
    assert!(by_parameter.header("content-type").starts_with("text/csv"));
    assert_eq!(by_parameter.header("vary"), "accept");
    let lines: Vec<&str> = by_parameter.body.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "topic,from_stage,to_stage,window_ms,width_ms,verdict,missing_min,surplus_min,delayed,caveats,why"
    );
    assert_eq!(
        lines[1],
        format!("orders,a,b,{},10000,missing,3,0,0,reporter gone upstream: 5,at least 3 missing", NOW_MS - 8_000)
    );
    let explicit = send(&router, "GET", "/api/v1/windows?format=json", &[("accept", "text/csv")]).await;
    assert_eq!(explicit.header("content-type"), "application/json");
}

#[tokio::test]
async fn csv_never_holds_a_formula() {
    let mut row = hop("=cmd|'/C calc'!A0", ("+a", "-b"), NOW_MS - 8_000, Verdict::Ok);
    row.why = "@SUM(1,2)\"\n".into();
    let router =
        app(bench(FakeStore { windows: vec![row], ..FakeStore::default() }, Pipelines::default()).state, config());
    let csv = get(&router, "/api/v1/windows?format=csv").await.body;
    assert!(csv.contains("'=cmd|'/C calc'!A0,'+a,'-b,") && csv.contains("\"'@SUM(1,2)\"\"\n\""), "{csv}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_named_with_what_is_allowed() {
    let router = one_row();
    for (query, field, value) in [
        ("from=yesterday", "from", "yesterday"),
        ("to=<b>", "to", "<b>"),
        ("from=now&to=now-1h", "from", "now"),
        ("from=now-401d", "from", "now-401d"),
        ("format=xml", "format", "xml"),
        ("tz=Mars", "tz", "Mars"),
        ("topics=orders", "topics", "orders"),
        ("topic=a&topic=b", "topic", "b"),
    ] {
        let answer = get(&router, &format!("/api/v1/windows?{}", query.replace('<', "%3C").replace('>', "%3E"))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!((problem["field"].as_str(), problem["value"].as_str()), (Some(field), Some(value)), "{query}");
        assert!(problem["allowed"].as_str().is_some_and(|a| !a.is_empty()));
        assert_eq!((problem["type"].as_str(), problem["status"].as_u64()), (Some("about:blank"), Some(400)));
    }
}

#[tokio::test]
async fn an_answer_that_reaches_the_cap_says_so() {
    let rows = (0..12_000).map(|i| hop("t", ("a", "b"), NOW_MS - 1 - i, Verdict::Ok)).collect();
    let router = app(bench(FakeStore { windows: rows, ..FakeStore::default() }, Pipelines::default()).state, config());
    let answer = get(&router, "/api/v1/windows").await;
    assert_eq!(answer.json()["windows"].as_array().map(Vec::len), Some(10_000));
    assert_eq!(answer.json()["truncated"], true);
    assert_eq!(get(&router, "/api/v1/windows?format=csv").await.header("chaperone-truncated"), "true");
}

#[tokio::test]
async fn topics_reporters_and_status_are_the_rows() {
    let (router, _bench) = scene();
    let topics = get(&router, "/api/v1/topics?from=now-30m").await.json();
    assert_eq!(topics["topics"][0]["topic"], "rides.events");
    assert_eq!(topics["topics"][0]["worst"], "missing");
    assert_eq!(topics["topics"][0]["owner"], "trip-platform");
    let some = get(&router, "/api/v1/topics?from=now-30m&q=rides&only=trouble&format=csv").await;
    let lines: Vec<&str> = some.body.lines().collect();
    assert_eq!(lines[0], "topic,owner,stages,worst,missing_min,surplus_min,delayed,complete_through_ms");
    assert!(lines.len() == 2 && lines[1].starts_with("rides.events,trip-platform,"), "{lines:?}");
    assert_eq!(get(&router, "/api/v1/topics?only=ok").await.status, StatusCode::BAD_REQUEST);
    let reporters = get(&router, "/api/v1/reporters").await.json();
    assert_eq!(reporters["reporters"].as_array().map(Vec::len), Some(42));
    let status = get(&router, "/api/v1/status").await.json();
    assert_eq!((status["revision"].as_u64(), status["read"].as_u64()), (Some(41), Some(7)));
    assert_eq!(get(&router, "/api/v1/status?x=1").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_store_that_fails_is_told_without_its_words() {
    let store = FakeStore { broken: true, ..FakeStore::default() };
    let router = app(bench(store, fake::scene::pipelines()).state, config());
    for path in ["/api/v1/windows", "/api/v1/topics", "/api/v1/reporters", "/api/v1/status", "/", "/t/sjc/rides.events"]
    {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.has("log has the reason under number"), "{path}: {}", answer.body);
        for secret in ["SELECT", "secret", "hidden.sqlite", "disk I/O"] {
            assert!(!answer.has(secret), "{path} says {secret}");
        }
    }
}

#[tokio::test]
async fn liveness_and_readiness() {
    let (router, bench) = scene();
    assert_eq!(get(&router, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(&router, "/readyz").await.body, "{\"ready\":true,\"problems\":[]}");
    bench.problems.send_replace(vec![fake::stale("audit topic \"x\" cannot be read")]);
    let answer = get(&router, "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["problems"][0], "audit topic \"x\" cannot be read");
    // What wants attention and makes nothing wrong is said, and takes nobody out of service.
    bench.problems.send_replace(vec![chaperone_web::Problem { text: "refused".to_owned(), notice: true }]);
    let answer = get(&router, "/readyz").await;
    assert_eq!(answer.body, "{\"ready\":true,\"problems\":[\"refused\"]}");
    let page = get(&router, "/").await.body;
    assert!(page.contains("<b>note:</b> refused") && !page.contains("stale:"), "{page}");
    assert_eq!(get(&router, "/healthz").await.status, StatusCode::OK, "a process that waits is alive");
}
