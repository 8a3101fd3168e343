//! The report of a day: bounds, sums, a checksum that anybody can make again.

use chaperone_collector::account::Account;
use chaperone_collector::{Pipelines, Verdict};

use super::*;
use fake::{FakeStore, bench, config};

fn over(account: Account) -> Router {
    app(bench(FakeStore { account, ..FakeStore::default() }, Pipelines::default()).state, config())
}

fn line(page: &Answer, text: &str) -> String {
    let found = page.body.split("<tr").find(|row| row.contains(text));
    found.unwrap_or_else(|| panic!("{text} in {}", page.body)).to_owned()
}

#[tokio::test]
async fn a_day_says_what_is_missing_in_bounds_and_what_was_not_complete() {
    let (router, _bench) = scene();
    let page = get(&router, "/report?day=2026-11-20").await;
    assert!(page.has("2026-11-20: at least 37 messages are missing"), "{}", page.body);
    let proxy = line(&page, "proxy → kafka:sjc");
    for said in ["</svg>missing</span>", ">37</span>", "99.97 %", ">all</span>", "trip-platform"] {
        assert!(proxy.contains(said), "{said}: {proxy}");
    }
    let replicator = line(&page, "kafka:sjc → kafka:agg");
    assert!(replicator.contains("0 … 1,204") && replicator.contains(">1,204</span>"), "{replicator}");
    let consumer = line(&page, "kafka:agg → consumer:billing");
    assert!(consumer.contains("35 not") && consumer.contains("0 … ?") && consumer.contains("≥ 412"), "{consumer}");
    for said in
        ["dispatch-sjc-03", "unproven → missing", "a reporter came back", "1 range of offsets", "at least; not known"]
    {
        assert!(page.has(said), "{said}");
    }
    assert!(!page.has("data-events"), "a day that is over has no news");
    assert!(page.has("day=2026-11-19") && page.has("day=2026-11-21"));
}

#[tokio::test]
async fn the_checksum_is_that_of_the_answer() {
    let (router, _bench) = scene();
    let page = get(&router, "/report?day=2026-11-20&tz=%2B02:00").await;
    let answer = get(&router, "/api/v1/report?day=2026-11-20&tz=%2B02:00").await;
    let again = get(&router, "/api/v1/report?day=2026-11-20&tz=%2B02:00").await;
    assert_eq!(answer.body, again.body);
    let sum: String = {
        use sha2::Digest as _;
        sha2::Sha256::digest(answer.body.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat()
    };
    assert_eq!(answer.header("chaperone-sha256"), sum);
    assert!(page.has(&sum), "{}", page.body);
    assert!(page.has("http://localhost:7979/api/v1/report?day=2026-11-20"), "{}", page.body);
    let json = answer.json();
    assert_eq!((json["kind"].as_str(), json["tz"].as_str()), (Some("chaperone-report-1"), Some("+02:00")));
    assert_eq!(
        (&json["totals"]["missing_min"], &json["totals"]["missing_max"]),
        (&37.into(), &serde_json::Value::Null)
    );
    assert_eq!(json["hops"][2]["missing_max"], 1_204);
    assert_eq!(json["stages"][0]["p50_ms"].as_i64().map(|ms| (2..=4).contains(&ms)), Some(true));
    // Anything that changes in the day is another checksum.
    let mut day = fake::account::day();
    day.hops[1].missing_min += 1;
    let other = get(&over(day), "/api/v1/report?day=2026-11-20&tz=%2B02:00").await;
    assert_ne!(other.header("chaperone-sha256"), sum);
    let csv = get(&router, "/api/v1/report?day=2026-11-20&format=csv").await;
    assert_eq!(csv.body.lines().count(), 1 + 7);
    assert!(csv.has("2026-11-20,rides.events,kafka:agg,consumer:billing,8640,8605,35,0,,412,,0,0"), "{}", csv.body);
}

#[tokio::test]
async fn a_day_is_understood_or_the_error_says_what_is_allowed() {
    let (router, _bench) = scene();
    assert!(get(&router, "/report").await.has("2026-11-20: at least"), "the last day that is over");
    let today = get(&router, "/report?day=today").await;
    assert!(today.has("The day is not over: these are its sums as of 12:49:58") && today.has("data-events"));
    for bad in ["2026-02-30", "1999-01-01", "tomorrow", "2026-1-1", "21.11.2026"] {
        let page = get(&router, &format!("/report?day={bad}")).await;
        assert!(page.status == StatusCode::BAD_REQUEST && page.has("today or yesterday"), "{bad}");
        let api = get(&router, &format!("/api/v1/report?day={bad}")).await;
        assert_eq!((api.status, api.json()["field"].as_str()), (StatusCode::BAD_REQUEST, Some("day")), "{bad}");
    }
}

#[tokio::test]
async fn days_without_windows_and_without_faults_say_so() {
    let none = get(&over(Account::default()), "/report").await;
    assert!(none.has("2026-11-20: nothing was counted") && none.has("retention has taken") && none.has("SHA-256"));
    let gone = get(&over(Account { gone: true, ..Account::default() }), "/report").await;
    assert!(gone.has("2026-11-20: nothing is kept") && gone.has("[retention]"));
    let hops = vec![fake::account::proven("<i>t</i>", "a", "b")];
    let page = get(&over(Account { hops, ..Account::default() }), "/report").await;
    assert!(page.has("2026-11-20: nothing is missing") && page.has("exactly") && !page.has("<i>t"), "{}", page.body);
    let mut doubted = fake::account::proven("t", "a", "b");
    doubted.verdicts.insert(Verdict::Uncertain, 1);
    let page = get(&over(Account { hops: vec![doubted], ..Account::default() }), "/report").await;
    assert!(page.has("1 hop cannot be told to be whole"), "never green when unsure");
    let broken = app(bench(FakeStore { broken: true, ..FakeStore::default() }, Pipelines::default()).state, config());
    for path in ["/report", "/api/v1/report"] {
        let answer = get(&broken, path).await;
        assert!(answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.has("SELECT"), "{path}");
    }
}
