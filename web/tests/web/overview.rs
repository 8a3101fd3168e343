//! The overview: worst first, empty states.

use chaperone_collector::{Pipelines, Verdict};

use super::*;
use fake::{FakeStore, NOW_MS, bench, config, hop, summary};

#[tokio::test]
async fn topics_come_worst_first_with_word_number_and_time() {
    let (router, _bench) = scene();
    let page = get(&router, "/?from=now-30m").await;
    assert!(page.has("6 of 15 topics need a look"));
    let order = [
        "rides.events",
        "payments.captured",
        "notify.push",
        "driver.locations",
        "eats.orders",
        "support.tickets",
        "eats.menus",
        "search.queries",
        "freight.loads",
        "fraud.signals",
    ];
    let at: Vec<Option<usize>> = order.iter().map(|t| page.body.find(&format!(">{t}</a>"))).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?}");
    assert!(
        page.has("href=\"/t/sjc/rides.events?from=now-30m&#38;to=now&#38;tz=UTC\"")
            || page.has("href=\"/t/sjc/rides.events?from=now-30m&amp;to=now&amp;tz=UTC\"")
    );
    for text in ["<span class=\"c-missing\">−37</span>", "12:46:30", "3 m 28 s ago", "9 topics without trouble"] {
        assert!(page.has(text), "{text}");
    }
}

#[tokio::test]
async fn a_row_tells_how_long_messages_take_and_who_of_its_reporters_is_heard() {
    let (router, _bench) = scene();
    let page = get(&router, "/?from=now-30m").await;
    let rows = get(&router, "/api/v1/topics?from=now-30m&with=details").await.json();
    let cell = |topic: &str, head: &str| {
        let row = page.body.split("<tr").find(|r| r.contains(&format!(">{topic}</a>"))).expect("row").to_owned();
        let cell = row.split(&format!("data-head=\"{head}\">")).nth(1).and_then(|t| t.split("</td>").next());
        cell.expect("cell").to_owned()
    };
    let mut seen = (0, 0);
    for row in rows["topics"].as_array().expect("rows") {
        let name = row["topic"].as_str().expect("name");
        let presence = format!(">{} of {}<", row["reporters_heard"], row["reporters"]);
        assert!(cell(name, "reporters").contains(&presence) || row["reporters"] == 0, "{name} {presence}");
        let delay = cell(name, "p99 delay");
        assert_eq!(row["p99_at_least"] == true, delay.contains("≥ "), "{name} {delay}");
        match row["p99_delay_ms"].as_i64() {
            Some(_) => assert!(!delay.contains("–") && !delay.contains("unknown"), "{name} {delay}"),
            None => assert!(delay.contains("–") || delay.contains("unknown"), "{name} {delay}"),
        }
        seen.0 += u32::from(row["p99_at_least"] == true);
        seen.1 += u32::from(row["reporters_heard"].as_u64() < row["reporters"].as_u64());
    }
    assert!(seen.0 > 0 && seen.1 > 0, "a lower bound, and somebody silent: {seen:?}");
    assert!(cell("rides.events", "p99 delay").contains(" delayed</span>"), "{}", cell("rides.events", "p99 delay"));
    assert!(page.has("silent reporters") && page.has("dispatch-sjc-03 since"));
    let csv = get(&router, "/api/v1/topics?from=now-30m&with=details&format=csv").await;
    assert!(csv.body.starts_with("topic,owner,stages,worst,") && csv.has("p99_delay_ms,p99_at_least,reporters_heard"));
    assert!(!get(&router, "/api/v1/topics?from=now-30m&format=csv").await.has("p99"));
    assert_eq!(get(&router, "/api/v1/topics?with=all").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_not_known_is_never_zero() {
    let store = FakeStore {
        topics: [
            Verdict::NoReport,
            Verdict::Unproven,
            Verdict::Uncertain,
            Verdict::Mixed,
            Verdict::Overdue,
            Verdict::Open,
        ]
        .map(|v| {
            let mut s = summary(v.as_str(), &["a", "b"], v);
            s.delayed = u64::from(v == Verdict::Overdue) * 9;
            s
        })
        .to_vec(),
        ..FakeStore::default()
    };
    let router = app(bench(store, Pipelines::default()).state, config());
    let page = get(&router, "/").await;
    for (topic, said) in [
        ("no_report", "unknown"),
        ("unproven", "0 … ?"),
        ("uncertain", "0 … ?"),
        ("mixed", "masked"),
        ("overdue", "0 … 9"),
        ("open", "–"),
    ] {
        let row = page.body.split("<tr").find(|r| r.contains(&format!(">{topic}</span>"))).expect("row");
        let missing = row.split("data-head=\"missing\">").nth(1).and_then(|t| t.split("</td>").next()).expect("cell");
        assert!(missing.contains(said), "{topic}: {missing}");
    }
    assert!(page.has("no pipeline matches it now"), "a topic without a page has no link");
}

#[tokio::test]
async fn an_open_window_at_the_end_does_not_hide_the_rest() {
    let rows =
        vec![hop("t", ("a", "b"), NOW_MS - 40_000, Verdict::Ok), hop("t", ("a", "b"), NOW_MS - 8_000, Verdict::Open)];
    let store =
        FakeStore { windows: rows, topics: vec![summary("t", &["a", "b"], Verdict::Open)], ..FakeStore::default() };
    let router = app(bench(store, Pipelines::default()).state, config());
    let page = get(&router, "/").await;
    assert!(page.has("</svg>proven</span>") && page.has("Every message of every settled window is proven"));
}

#[tokio::test]
async fn a_page_that_does_not_hold_all_topics_counts_them_all_the_same() {
    let worst = |i: i32| if i < 3 { Verdict::Missing } else { Verdict::Ok };
    let topics = (0..612).map(|i| summary(&format!("t{i:03}"), &["a", "b"], worst(i))).collect();
    let router = app(bench(FakeStore { topics, ..FakeStore::default() }, Pipelines::default()).state, config());
    let page = get(&router, "/").await;
    for said in ["3 of 612 topics need a look", "609 topics without trouble", "412 topics more", ">next 200</a>"] {
        assert!(page.has(said), "{said}");
    }
    assert!(page.has("t199") && !page.has("t200") && !page.has("first page"));
    let way = page.body.split("&#38;after=").nth(1).and_then(|rest| rest.split('"').next()).expect("a way on");
    let next = get(&router, &format!("/?q=t&after={way}")).await;
    for said in ["3 of 612 topics need a look", "212 topics more", ">next 200</a>", ">first page</a>"] {
        assert!(next.has(said), "{said}");
    }
    assert!(
        next.has("t200") && next.has("t399") && !next.has("t199") && !next.has("t400") && next.has("q=t&#38;after=")
    );
    let wrong = get(&router, "/?after=no").await;
    assert!(wrong.status == StatusCode::BAD_REQUEST && wrong.has("what an answer gave as"), "{}", wrong.body);
}

#[tokio::test]
async fn an_empty_store_says_what_to_do() {
    let router = app(bench(FakeStore::default(), Pipelines::default()).state, config());
    let page = get(&router, "/").await;
    assert_eq!(page.status, StatusCode::OK);
    for text in ["No topic has been counted yet", "No pipeline is configured", "chaperone demo"] {
        assert!(page.has(text), "{text}");
    }
    assert!(!page.has("<table"));
    let router = app(bench(FakeStore::default(), fake::scene::pipelines()).state, config());
    assert!(get(&router, "/").await.has("Configured: <b>main</b>, <b>eats</b>"));
}

#[tokio::test]
async fn a_process_that_is_not_ready_says_so_on_every_page() {
    let (router, bench) = scene();
    assert!(!get(&router, "/").await.has("class=\"banner\""));
    bench.problems.send_replace(vec![fake::stale("audit topic <b>x</b> was last read 48 s ago")]);
    for path in ["/", "/t/sjc/rides.events", "/nope"] {
        let page = get(&router, path).await;
        assert!(page.has("<b>stale:</b>") && page.has("was last read 48 s ago") && !page.has("<b>x</b>"), "{path}");
    }
}

#[tokio::test]
async fn a_name_or_an_owner_is_found_among_all_topics() {
    let (router, _bench) = scene();
    let page = get(&router, "/?from=now-30m&q=PAY").await;
    assert!(page.has(">payments.captured</a>") && !page.has(">rides.events</a>"), "{}", page.body);
    assert!(page.has("value=\"PAY\"") && page.has("q=PAY&#38;only=trouble") || page.has("q=PAY&amp;only=trouble"));
    // Those of the pipeline that is theirs, and nobody else's.
    let owned = get(&router, "/?from=now-30m&q=trip-platform").await;
    assert!(owned.has(">rides.events</a>") && !owned.has(">eats.orders</a>"));
    let none = get(&router, "/?from=now-30m&q=%3Cb%3E").await;
    assert!(none.has("<h1>No topic fits the filter</h1>") && none.has(">All topics</a>") && !none.has("<b>"));
}

#[tokio::test]
async fn only_what_needs_a_look_is_shown_and_all_is_counted() {
    let (router, _bench) = scene();
    let page = get(&router, "/?from=now-30m&only=trouble").await;
    assert!(page.has("6 of 15 topics need a look") && page.has("9 topics without trouble not shown"), "{}", page.body);
    assert!(page.has(">rides.events</a>") && !page.has(">search.queries</a>"));
    assert_eq!(get(&router, "/?only=ok").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn topics_stand_by_owner_or_by_cluster_the_worst_group_first() {
    let (router, _bench) = scene();
    for (by, first, second) in [("owner", "trip-platform · ", "no owner · "), ("cluster", "sjc · ", "phx · ")] {
        let page = get(&router, &format!("/?from=now-30m&by={by}")).await;
        let at = |text: &str| page.body.find(&format!("<td colspan=\"9\">{text}"));
        assert!(at(first).is_some() && at(first) < at(second), "{by}: {:?} {:?}", at(first), at(second));
    }
    assert_eq!(get(&router, "/?by=host").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_the_topics_come_to_stands_above_them() {
    let (router, _bench) = scene();
    let page = get(&router, "/?from=now-30m").await;
    let api = get(&router, "/api/v1/topics?from=now-30m").await.json();
    let topics = api["topics"].as_array().expect("topics");
    let missing: u64 = topics.iter().map(|t| t["missing_min"].as_u64().expect("a number")).sum();
    assert!(missing > 0 && page.has(&format!("<div class=\"v c-missing\">{missing}</div>")), "{missing}");
    assert!(page.has("of 15 topics, every id of every settled window"));
}
