//! The page of reporters and its API: silence is a box with its age, one row a place, the same rows everywhere.

use chaperone_collector::Pipelines;
use chaperone_collector::query::ReporterState;

use super::*;
use fake::reporters::{reporter, silent};
use fake::{FakeStore, NOW_MS, bench, config};

fn over(reporters: Vec<ReporterState>) -> Router {
    app(bench(FakeStore { reporters, ..FakeStore::default() }, Pipelines::default()).state, config())
}

fn line(page: &Answer, text: &str) -> String {
    let found = page.body.split("<tr").find(|row| row.contains(text));
    found.unwrap_or_else(|| panic!("{text} in {}", page.body)).to_owned()
}

#[tokio::test]
async fn who_is_silent_comes_first_and_is_no_zero() {
    let (router, _bench) = scene();
    let page = get(&router, "/reporters").await;
    assert!(page.has("<h1>1 of 41 reporters is silent</h1>"), "{}", page.body);
    assert!(page.has("dispatch-sjc-03 has not been heard since 12:38:40") && page.has("not counted as loss"));
    let order = ["dispatch-sjc-03", "proxy-sjc-05", "proxy-sjc-02", "freight-api-01", "billing-sjc-01"];
    let at: Vec<Option<usize>> =
        order.iter().map(|host| page.body.find(&format!("<span class=\"topicname\">{host}</span>"))).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?}");
    let silent = line(&page, ">dispatch-sjc-03<");
    for said in ["</svg>silent</span>", "k-noreport", ">silent 11 m</text>", ">11 m</span>"] {
        assert!(silent.contains(said), "{said}: {silent}");
    }
    let late = line(&page, ">proxy-sjc-02<");
    assert!(late.contains("tk-late") && late.contains("+2,120 ms") && late.contains("1,204"), "{late}");
    assert!(line(&page, ">proxy-sjc-05<").contains("href=\"#g-unproven\" class=\"c-unproven\""));
    assert!(line(&page, ">billing-sjc-08<").contains("class=\"inc\""), "a restart is a circle");
    assert_eq!(page.body.matches(">billing-sjc-08<").count(), 1, "one row a place");
    assert!(page.has("aria-current=\"page\">Reporters</a>"));
}

#[tokio::test]
async fn who_is_expected_and_not_there_is_told_apart() {
    let (router, _bench) = scene();
    let page = get(&router, "/reporters").await;
    for (application, word) in
        [("billing", "all here"), ("dispatch", "silent"), ("legacy-api", "never heard"), ("rides-api", "too few")]
    {
        assert!(line(&page, &format!(">{application}</span></td><td>")).contains(word), "{application}");
    }
}

#[tokio::test]
async fn page_json_and_csv_have_the_same_rows() {
    let (router, _bench) = scene();
    let page = get(&router, "/reporters?q=proxy&by=host&back=1h").await;
    assert_eq!(page.body.matches("<td class=\"w\">").count(), 6);
    let json = get(&router, "/api/v1/reporters?q=proxy").await.json();
    let rows = json["reporters"].as_array().expect("rows");
    assert_eq!((rows.len(), rows[4]["lacking_since_ms"].as_i64()), (6, Some(NOW_MS - 42_000)));
    assert!(rows[4]["checkins"]["cells"].as_str().is_some_and(|c| c.ends_with("ogggg")), "{}", rows[4]);
    let csv = get(&router, "/api/v1/reporters?q=proxy&format=csv").await;
    let lines: Vec<&str> = csv.body.trim_end().split("\r\n").collect();
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().all(|l| l.split(',').count() == 23), "{lines:?}");
    for (path, field) in [("reporters?by=x", "by"), ("reporters?back=9h", "back")] {
        let answer = get(&router, &format!("/{path}")).await;
        assert!(answer.status == StatusCode::BAD_REQUEST && answer.has(field), "{path}");
    }
    let unknown = get(&router, "/api/v1/reporters?host=x").await;
    assert_eq!((unknown.status, unknown.json()["field"].as_str()), (StatusCode::BAD_REQUEST, Some("host")));
}

#[tokio::test]
async fn nothing_to_show_says_what_to_do_and_names_are_text() {
    let none = get(&over(vec![]), "/reporters").await;
    assert!(none.has("Nobody has reported yet") && none.has("[kafka.NAME.tap]") && !none.has("<table"));
    let one = over(vec![reporter("s", "<i>a</i>", "h\u{202e}", 1)]);
    let page = get(&one, "/reporters").await;
    assert!(page.has("The reporter is on time") && page.has("h\\u{202e}") && !page.has("<i>a"));
    assert!(get(&one, "/reporters?q=nobody").await.has("No reporter fits the filter"));
    let dead = ReporterState { state: "ended".into(), ..reporter("s", "a", "h", 1) };
    let page = get(&over(vec![dead, reporter("s", "a", "other", 2)]), "/reporters").await;
    assert!(page.has("1 of 2 reporters died and did not come back"), "never well when one is not");
    let old = silent(reporter("s", "a", "h", 1), 90_000);
    let page = get(&over(vec![reporter("s", "a", "other", 2), old]), "/reporters").await;
    assert!(page.has("1 process: last heard more than a day ago"), "{}", page.body);
    let broken = app(bench(FakeStore { broken: true, ..FakeStore::default() }, Pipelines::default()).state, config());
    for path in ["/reporters", "/api/v1/reporters"] {
        let answer = get(&broken, path).await;
        assert!(answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.has("SELECT"), "{path}");
    }
}
