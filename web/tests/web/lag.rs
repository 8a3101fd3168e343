//! The page of lag and its API: worst first, words for what is not known, the same rows everywhere.

use chaperone_collector::Pipelines;
use chaperone_collector::lag::{GroupLag, LagReport};

use super::*;
use fake::{FakeStore, NOW_MS, bench, config, lag};

fn over(lag: LagReport) -> Router {
    app(bench(FakeStore { lag, ..FakeStore::default() }, Pipelines::default()).state, config())
}

/// The row of the page that has this text.
fn line(page: &Answer, text: &str) -> String {
    let found = page.body.split("<tr").find(|row| row.contains(text));
    found.unwrap_or_else(|| panic!("{text} in {}", page.body)).to_owned()
}

#[tokio::test]
async fn groups_come_furthest_behind_first_with_word_number_and_bound() {
    let page = get(&over(lag::scene()), "/lag").await;
    assert!(page.has("<h1>5 of 5 groups have not caught up</h1>"), "{}", page.body);
    let order = ["reports", "surge", "search-indexer", "billing", "settle"];
    let at: Vec<Option<usize>> =
        order.iter().map(|g| page.body.find(&format!("<span class=\"topicname\">{g}</span>"))).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?}");
    let billing = line(&page, ">billing<");
    for said in [
        "19,540",
        ">2 m 0 s<",
        "between 1 m 54 s and 2 m 0 s",
        ">falling<",
        ">growing, up to 5.0 s less<",
        "falling behind",
    ] {
        assert!(billing.contains(said), "{said}: {billing}");
    }
    let eaten = line(&page, ">reports<");
    for said in ["1,204 gone", "≥ 2 h 5 m", "nobody had asked when it arrived", "c-missing"] {
        assert!(eaten.contains(said), "{said}: {eaten}");
    }
    assert!(line(&page, ">search-indexer<").contains("never at this rate"));
    assert!(line(&page, ">settle<").contains("waits for an open transaction"));
    assert!(page.has("aria-current=\"page\">Lag</a>") && !page.has("green"));
}

#[tokio::test]
async fn what_is_not_known_is_never_zero() {
    let page = get(&over(lag::report(vec![lag::unknown("g", "t", 3)])), "/lag?by=partition").await;
    let row = line(&page, ">g<");
    assert!(row.contains("no commit") && row.matches(">unknown<").count() == 4 && !row.contains(">0<"), "{row}");
}

#[tokio::test]
async fn a_look_that_was_not_renewed_says_so() {
    let fresh = lag::row("g", "t", 0, 5, 900);
    let old = GroupLag { at_ms: NOW_MS - 16_000, group: "h".into(), ..fresh.clone() };
    let page = get(&over(lag::report(vec![fresh, old])), "/lag").await;
    assert!(!line(&page, ">g<").contains("c-delayed strong") && line(&page, ">h<").contains("c-delayed strong"));
}

#[tokio::test]
async fn page_json_and_csv_have_the_same_rows() {
    let router = over(lag::scene());
    let page = get(&router, "/lag?group=^s.*&by=partition").await;
    assert_eq!(page.body.matches("<tr").count() - 1, 5);
    assert!(page.has("/api/v1/lag?cluster=&#38;group=%5Es.%2A") || page.has("/api/v1/lag?cluster=&amp;group=%5Es.%2A"));
    let json = get(&router, "/api/v1/lag?group=^s.*&by=partition").await.json();
    let rows = json["lag"].as_array().expect("rows");
    assert_eq!(rows.len(), 5);
    assert_eq!((rows[0]["group"].as_str(), rows[0]["error_ms"].as_i64()), (Some("search-indexer"), Some(5_040)));
    assert_eq!((&rows[4]["messages"], &rows[4]["state"]), (&serde_json::Value::Null, &"no_commit".into()));
    assert_eq!(json["clusters"][0]["groups"], 6);
    let csv = get(&router, "/api/v1/lag?group=^s.*&by=partition&format=csv").await;
    let lines: Vec<&str> = csv.body.trim_end().split("\r\n").collect();
    assert_eq!(lines.len(), 6);
    let columns: Vec<&str> = lines[0].split(',').collect();
    let keys: Vec<&String> = rows[0].as_object().expect("an object").keys().collect();
    assert_eq!(columns.len(), keys.len());
    assert!(keys.iter().all(|key| columns.contains(&key.as_str())), "{columns:?} {keys:?}");
    assert!(lines[5].starts_with("sjc,surge,rides.events,7,") && lines[5].contains(",no_commit,,"), "{}", lines[5]);
    let topics = get(&router, "/api/v1/lag?group=surge&topic=driver.locations").await.json();
    assert_eq!(topics["lag"][0]["partition"], serde_json::Value::Null);
    assert_eq!(topics["lag"].as_array().map(Vec::len), Some(1));
    for (query, field) in [("by=group", "by"), ("group=^(", "group"), ("groups=a", "groups"), ("format=xml", "format")]
    {
        let answer = get(&router, &format!("/api/v1/lag?{query}")).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (StatusCode::BAD_REQUEST, Some(field)), "{query}");
    }
}

#[tokio::test]
async fn nothing_to_show_says_what_to_do() {
    let off = get(&over(LagReport::default()), "/lag").await;
    assert!(off.has("[kafka.NAME.lag]") && off.has("DESCRIBE") && !off.has("<table"), "{}", off.body);
    let silent = get(&over(lag::report(vec![])), "/lag").await;
    assert!(silent.has("No group has committed an offset") && silent.has("sjc: 6 groups asked at"), "{}", silent.body);
    let none = get(&over(lag::scene()), "/lag?group=nobody").await;
    assert!(none.has("No row fits the filter") && !none.has("<table"));
    // A cluster that is not looked at any more is not shown as if it were.
    let mut old = lag::scene();
    old.rounds[0].at_ms = NOW_MS - 90_000_000;
    assert!(get(&over(old), "/lag").await.has("[kafka.NAME.lag]"));
}

#[tokio::test]
async fn names_from_outside_are_text() {
    let page = get(&over(lag::report(vec![lag::row("<b>x</b>", "t\u{202e}", 0, 1, 1)])), "/lag").await;
    assert!(!page.has("<b>x</b>") && page.has("t\\u{202e}"));
    let broken = app(bench(FakeStore { broken: true, ..FakeStore::default() }, Pipelines::default()).state, config());
    for path in ["/lag", "/api/v1/lag"] {
        let answer = get(&broken, path).await;
        assert!(answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.has("SELECT"), "{path}");
    }
}
