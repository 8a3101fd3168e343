//! The page of what is not believed, and its API.

use chaperone_collector::Pipelines;
use chaperone_collector::account::Unbelieved;

use super::*;
use fake::{FakeStore, bench, config};

fn over(unbelieved: Unbelieved) -> Router {
    app(bench(FakeStore { unbelieved, ..FakeStore::default() }, Pipelines::default()).state, config())
}

#[tokio::test]
async fn each_kind_has_its_table_and_says_how_much_more_there_is() {
    let (router, _bench) = scene();
    let page = get(&router, "/quarantine").await;
    assert!(
        page.has("<h1>10,000 refused records, 1 lost range, 1 range not counted and 1 odd word</h1>"),
        "{}",
        page.body
    );
    for said in [
        "sjc / chaperone-audit / 2",
        "48,211",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "may not report on this audit topic",
        "9,998 more are kept, and older ones are forgotten",
        "1,000 – 1,412",
        "rides.events / 7",
        "881,204 – ?",
        "not known yet",
        "divergent",
        "aria-current=\"page\">Quarantine</a>",
    ] {
        assert!(page.has(said), "{said}: {}", page.body);
    }
}

#[tokio::test]
async fn csv_has_one_kind_and_json_all() {
    let (router, _bench) = scene();
    let json = get(&router, "/api/v1/quarantine").await;
    assert_eq!(json.header("chaperone-truncated"), "true", "10,000 are kept and two were answered");
    let json = json.json();
    assert_eq!(json["quarantined"].as_array().map(Vec::len), Some(2));
    assert_eq!((&json["unaudited"][0]["to_offset"], &json["kept"][0]), (&serde_json::Value::Null, &10_000.into()));
    for (kind, rows, columns) in [("records", 2, 8), ("audit_lost", 1, 9), ("unaudited", 1, 9), ("oddities", 1, 4)] {
        let csv = get(&router, &format!("/api/v1/quarantine?kind={kind}&format=csv")).await;
        assert_eq!(csv.body.lines().count(), 1 + rows, "{kind}");
        assert_eq!(csv.body.lines().next().map(|l| l.split(',').count()), Some(columns), "{kind}");
        assert!(csv.header("content-disposition").contains(&format!("chaperone-{kind}.csv")));
    }
    let bad = get(&router, "/api/v1/quarantine?kind=all&format=csv").await;
    assert_eq!((bad.status, bad.json()["field"].as_str()), (StatusCode::BAD_REQUEST, Some("kind")));
}

#[tokio::test]
async fn an_empty_quarantine_says_what_that_means_and_texts_are_text() {
    let page = get(&over(Unbelieved::default()), "/quarantine").await;
    assert!(page.has("Nothing is in quarantine") && page.has("Taps have counted every offset") && !page.has("<table"));
    let mut found = fake::account::unbelieved();
    found.quarantined.truncate(1);
    found.quarantined[0].reason = "<script>x</script>\u{202e}".into();
    found.quarantined[0].topic = "=1+1".into();
    found.kept = [1, 1, 1, 1];
    let router = over(found);
    let page = get(&router, "/quarantine").await;
    assert!(!page.has("<script>x") && page.has("\\u{202e}") && page.has("<h1>1 refused record, "));
    assert!(get(&router, "/api/v1/quarantine?format=csv").await.has(",'=1+1,"));
    let broken = app(bench(FakeStore { broken: true, ..FakeStore::default() }, Pipelines::default()).state, config());
    for path in ["/quarantine", "/api/v1/quarantine"] {
        let answer = get(&broken, path).await;
        assert!(answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.has("SELECT"), "{path}");
    }
}
