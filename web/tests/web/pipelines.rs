//! The page of pipelines and its API: what is configured, who reports, how far each hop is.

use chaperone_collector::{Pipelines, StageKind, TopicPattern};

use super::*;
use fake::{FakeStore, bench, config, pipeline};

fn panel(page: &Answer, name: &str) -> String {
    let found = page.body.split("<section").find(|s| s.contains(&format!("<h2>{name}</h2>")));
    found.unwrap_or_else(|| panic!("{name} in {}", page.body)).to_owned()
}

#[tokio::test]
async fn a_pipeline_is_shown_as_it_is_configured_and_as_it_stands() {
    let (router, _bench) = scene();
    let page = get(&router, "/pipelines").await;
    assert!(page.has("<h1>2 pipelines</h1>") && page.has("aria-current=\"page\">Pipelines</a>"), "{}", page.body);
    let main = panel(&page, "main");
    for said in [
        "^(rides|driver|payments",
        "trip-platform",
        "href=\"https://runbooks.example/audit/main\" rel=\"noreferrer noopener\"",
        "<dd>json:/meta/ts in us</dd>",
        "stages differ: 0000000000000007, 9f3a11c0224488ee",
        "8 × billing at consumer:billing",
        "23 reporters, 1 silent",
        "1 tap",
        "every message",
        "<b class=\"c-delayed\">12:46:30</b>",
        "3 m 28 s ago",
        "href=\"/t/sjc/rides.events\"",
    ] {
        assert!(main.contains(said), "{said}: {main}");
    }
    let eats = panel(&page, "eats");
    for said in ["no owner", "not declared complete", "20% … 40% pass", "nobody reports", "<dd>default</dd>"] {
        assert!(eats.contains(said), "{said}: {eats}");
    }
}

#[tokio::test]
async fn discovered_pipelines_are_in_the_order_of_their_delays() {
    let mut found = pipeline("discovered", "sjc", "audit.trail", &["kafka:sjc", "kafka:agg"]);
    found.topics = vec![TopicPattern::Name("audit.trail".into())];
    let store = fake::scene::store();
    let page = get(&app(bench(store, Pipelines::from(vec![found])).state, config()), "/pipelines").await;
    assert!(page.has("1 pipeline, discovered") && page.has("href=\"/t/sjc/audit.trail\""), "{}", page.body);
    assert!(page.has("kafka:sjc <span class=\"quiet\">quiet</span>") && page.has("12:49:14"));
}

#[tokio::test]
async fn page_json_and_csv_have_the_same_hops() {
    let (router, _bench) = scene();
    let json = get(&router, "/api/v1/pipelines").await.json();
    let main = &json["pipelines"][0];
    assert_eq!((main["hops"].as_array().map(Vec::len), main["hops"][2]["topics"].as_u64()), (Some(4), Some(4)));
    assert_eq!(main["stages"][0]["live"].as_u64(), Some(23));
    assert_eq!(main["topics"][0], "^(rides|driver|payments|maps|fraud|identity|pricing|notify|search)\\..*");
    let csv = get(&router, "/api/v1/pipelines?format=csv").await;
    assert_eq!(csv.body.lines().count(), 1 + 4 + 2);
    assert!(csv.has("main,false,sjc,trip-platform,https://runbooks.example/audit/main,kafka:sjc,kafka:agg,1/1,4,"));
    assert_eq!(get(&router, "/api/v1/pipelines?x=1").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nothing_to_show_says_what_to_do_and_names_are_text() {
    let over = |list: Vec<chaperone_collector::Pipeline>, discovers: bool| {
        let discover = discovers.then(Vec::new);
        app(bench(FakeStore::default(), Pipelines { discover, ..Pipelines::from(list) }).state, config())
    };
    let none = get(&over(vec![], false), "/pipelines").await;
    assert!(none.has("No pipeline is configured") && none.has("[pipeline.NAME]") && none.has("discover = true"));
    assert!(get(&over(vec![], true), "/pipelines").await.has("None has yet"));
    let odd = pipeline("<b>x</b>", "c", "t", &["<i>", "kafka:k"]);
    assert_eq!(odd.stages[1].kind, StageKind::Kafka);
    let page = get(&over(vec![odd], false), "/pipelines").await;
    assert!(page.has("No topic of it has been judged yet") && page.has("nothing settled yet") && !page.has("<b>x"));
    let broken = app(bench(FakeStore { broken: true, ..FakeStore::default() }, Pipelines::default()).state, config());
    for path in ["/pipelines", "/api/v1/pipelines"] {
        let answer = get(&broken, path).await;
        assert!(answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.has("SELECT"), "{path}");
    }
}
