//! What each page is made of in each of its states, as a whole: a change that nobody meant is seen here.
//! `INSTA_UPDATE=always` writes them anew.

use chaperone_collector::account::{Account, Books, Unbelieved};
use chaperone_collector::{Pipelines, TopicPattern};

use super::*;
use fake::{FakeStore, bench, config, pipeline};

/// `<main>`, a tag a line.
fn main_of(page: &Answer) -> String {
    let from = page.body.find("<main").unwrap_or_else(|| panic!("no main in {}", page.body));
    let to = page.body.find("</main>").expect("its end");
    page.body[from..to].replace('\n', "").replace("><", ">\n<")
}

async fn snap(name: &str, router: &Router, path: &str) {
    let page = get(router, path).await;
    assert_eq!(page.status, StatusCode::OK, "{path}");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, main_of(&page));
    });
}

fn empty() -> Router {
    app(bench(FakeStore::default(), Pipelines::default()).state, config())
}

#[tokio::test]
async fn reporters() {
    let (router, _bench) = scene();
    snap("reporters", &router, "/reporters?q=sjc").await;
    snap("reporters_by_host", &router, "/reporters?q=freight&by=host&back=15m&tz=%2B02:00").await;
    snap("reporters_filtered", &router, "/reporters?q=nobody").await;
    snap("reporters_empty", &empty(), "/reporters").await;
}

#[tokio::test]
async fn pipelines() {
    let (router, _bench) = scene();
    snap("pipelines", &router, "/pipelines").await;
    let mut found = pipeline("discovered", "sjc", "audit.trail", &["kafka:sjc", "kafka:agg"]);
    found.topics = vec![TopicPattern::Name("audit.trail".into())];
    let found = app(bench(fake::scene::store(), Pipelines::from(vec![found])).state, config());
    snap("pipelines_discovered", &found, "/pipelines").await;
    snap("pipelines_empty", &empty(), "/pipelines").await;
}

#[tokio::test]
async fn quarantine() {
    let (router, _bench) = scene();
    snap("quarantine", &router, "/quarantine").await;
    let mut some = Unbelieved { kept: [1, 0, 0, 0], ..fake::account::unbelieved() };
    some.quarantined.truncate(1);
    let some = Unbelieved { audit_lost: vec![], unaudited: vec![], oddities: vec![], ..some };
    let some = app(bench(FakeStore { unbelieved: some, ..FakeStore::default() }, Pipelines::default()).state, config());
    snap("quarantine_of_one_kind", &some, "/quarantine").await;
    snap("quarantine_empty", &empty(), "/quarantine").await;
}

#[tokio::test]
async fn report() {
    let (router, _bench) = scene();
    snap("report", &router, "/report?day=2026-11-20").await;
    let hops = vec![fake::account::proven("t", "a", "b")];
    let account = Account { hops, ..Account::default() };
    let whole = app(bench(FakeStore { account, ..FakeStore::default() }, Pipelines::default()).state, config());
    snap("report_nothing_missing", &whole, "/report?day=today").await;
    snap("report_empty", &empty(), "/report").await;
}

#[tokio::test]
async fn about() {
    let (router, _bench) = scene();
    snap("about", &router, "/about").await;
    let mut wrong = fake::scene::store();
    wrong.books = Books { overflowed: vec![], ..wrong.books };
    wrong.books.partitions.truncate(1);
    wrong.books.partitions[0].read += 2;
    wrong.reporters.clear();
    snap("about_wrong_books", &app(bench(wrong, Pipelines::default()).state, config()), "/about").await;
    snap("about_empty", &empty(), "/about").await;
}
