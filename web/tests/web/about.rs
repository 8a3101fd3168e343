//! What the product says of itself: versions, books, limits, promises.

use std::sync::Arc;

use chaperone_collector::Pipelines;
use chaperone_collector::account::Books;

use super::*;
use fake::{FakeStore, bench, config};

#[tokio::test]
async fn the_books_add_up_limits_are_named_and_promises_are_those_that_are_built_in() {
    let (router, _bench) = scene();
    let page = get(&router, "/about").await;
    for said in [
        "Every one of 7,232,247 records has a fate",
        "<dd class=\"id\">0a1b2c3d4e5f</dd>",
        "sjc / chaperone-audit / 5",
        "2.6 GB",
        "<dd class=\"c-delayed strong\">producer</dd>",
        "<dd class=\"c-delayed strong\">3 records were sent without it</dd>",
        "2 of 3 held when they were last measured, each at its own commit; 1 not measured",
        "perf.count_ns",
        "312",
        "not measured",
        "aria-current=\"page\">About</a>",
    ] {
        assert!(page.has(said), "{said}: {}", page.body);
    }
}

#[tokio::test]
async fn wrong_books_are_said_first() {
    let mut store = fake::scene::store();
    store.books.partitions[3].noop -= 1;
    let page = get(&app(bench(store, Pipelines::default()).state, config()), "/about").await;
    assert!(page.has("The books of 1 audit partition are wrong") && page.has("<b class=\"c-missing\">1</b>"));
}

#[tokio::test]
async fn json_and_csv_have_the_books() {
    let (router, _bench) = scene();
    let json = get(&router, "/api/v1/about").await.json();
    assert_eq!(
        (json["version"]["sqlite"].as_str(), json["version"]["chaperone"].as_str()),
        (Some("3.50.0"), Some("0.1.0-test"))
    );
    assert_eq!(json["books"]["partitions"].as_array().map(Vec::len), Some(6));
    assert_eq!(
        (&json["promises"][2]["holds"], &json["promises"][3]["holds"]),
        (&serde_json::Value::Null, &false.into())
    );
    let csv = get(&router, "/api/v1/about?format=csv").await;
    let lines: Vec<&str> = csv.body.trim_end().split("\r\n").collect();
    assert!(lines.len() == 7 && lines.iter().all(|l| l.split(',').count() == 14), "{lines:?}");
    assert!(lines[1].ends_with(",1204332,1204291,40,0,0,1,0"), "{}", lines[1]);
}

#[tokio::test]
async fn an_empty_store_says_what_to_do_and_nothing_is_made_up() {
    let mut bench = bench(FakeStore { books: Books::default(), ..FakeStore::default() }, Pipelines::default());
    bench.state.build = Arc::new(chaperone_web::Build::default());
    let page = get(&app(bench.state, config()), "/about").await;
    assert!(page.has("No audit topic has been read yet") && page.has("[kafka.NAME.audit]"), "{}", page.body);
    assert!(page.has("No evidence is built in.") && !page.has(" held</span></summary>"));
    let broken =
        app(fake::bench(FakeStore { broken: true, ..FakeStore::default() }, Pipelines::default()).state, config());
    for path in ["/about", "/api/v1/about"] {
        let answer = get(&broken, path).await;
        assert!(answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.has("SELECT"), "{path}");
    }
}
