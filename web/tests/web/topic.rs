//! The topic page: every verdict's cell, hostile names, fragments.

use chaperone_collector::{Caveat, CaveatKind, Doubt, Pipelines, Verdict};

use super::*;
use fake::scene::at;
use fake::{FakeStore, NOW_MS, bench, config, hop, pipeline, seen};

const PAGE: &str = "/t/sjc/rides.events?from=now-30m&to=now";

/// One hop of two stages, one window per given verdict, newest last.
fn one_hop(verdicts: &[(Verdict, u64)]) -> Router {
    let mut store = FakeStore::default();
    for (i, (verdict, amount)) in verdicts.iter().enumerate() {
        let ms = NOW_MS - 8_000 - 10_000 * i64::try_from(verdicts.len() - 1 - i).expect("few");
        let mut row = hop("t", ("a", "kafka:b"), ms, *verdict);
        match verdict {
            Verdict::Missing => row.missing_min = *amount,
            Verdict::Surplus | Verdict::ReRead => row.surplus_min = *amount,
            Verdict::Delayed | Verdict::Overdue => row.delayed = *amount,
            _ => {}
        }
        store.windows.push(row);
        store.counts.push(seen("t", "a", ms, 1_000));
        if *verdict != Verdict::NoReport {
            store.counts.push(seen("t", "kafka:b", ms, 1_000));
        }
    }
    let pipelines = Pipelines::from(vec![pipeline("p", "b", "t", &["a", "kafka:b"])]);
    app(bench(store, pipelines).state, config())
}

fn strip(page: &Answer) -> &str {
    page.body.split("class=\"p strip\"").nth(1).and_then(|s| s.split("</svg>").next()).expect("strip")
}

#[tokio::test]
async fn every_verdict_has_its_cell_its_word_and_its_glyph() {
    let expected = [
        (Verdict::Ok, "k-ok", "proven"),
        (Verdict::Missing, "m4", "missing"),
        (Verdict::Surplus, "s4", "surplus"),
        (Verdict::ReRead, "k-reread", "reread"),
        (Verdict::Mixed, "k-mixed", "mixed"),
        (Verdict::Unproven, "k-unproven", "unproven"),
        (Verdict::Partial, "k-ok", "partial"),
        (Verdict::Delayed, "d4", "delayed"),
        (Verdict::Overdue, "k-overdue", "overdue"),
        (Verdict::Open, "k-open", "open"),
        (Verdict::Settling, "k-settling", "settling"),
        (Verdict::NoReport, "k-noreport", "noreport"),
        (Verdict::Uncertain, "k-uncertain", "uncertain"),
    ];
    assert_eq!(expected.len(), Verdict::ALL.len());
    for (verdict, class, id) in expected {
        let page = get(&one_hop(&[(verdict, 1)]), "/t/b/t").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(strip(&page).contains(&format!("class=\"{class}\"")), "{verdict}: {}", strip(&page));
        assert!(
            page.has(&format!("<span class=\"verdict c-{id}\">")) && page.has(&format!("href=\"#g-{id}\"")),
            "{verdict}"
        );
        let cells = strip(&page).matches("<a ").count();
        assert_eq!((cells, strip(&page).matches("<title>").count()), (1, 1), "{verdict}: every cell is titled");
    }
}

#[tokio::test]
async fn missing_hangs_below_and_surplus_stands_above_the_band() {
    let y_and_height = |page: &Answer, class: &str| {
        let rect =
            strip(page).split("<rect ").find(|r| r.contains(&format!("class=\"{class}\""))).expect("rect").to_owned();
        let number = |name: &str| rect.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse::<i64>().ok();
        (number("y").expect("y"), number("height").expect("height"))
    };
    let missing = get(&one_hop(&[(Verdict::Missing, 1)]), "/t/b/t").await;
    assert_eq!(y_and_height(&missing, "m4"), (20, 20));
    let surplus = get(&one_hop(&[(Verdict::Surplus, 1)]), "/t/b/t").await;
    assert_eq!(y_and_height(&surplus, "s4"), (13, 17));
}

#[tokio::test]
async fn the_title_can_be_read_out() {
    let (router, _bench) = scene();
    let page = get(&router, PAGE).await;
    for text in [
        "<span class=\"c-missing\">37 messages are missing</span> between proxy and kafka:sjc, 12:41:20 – 12:41:40.",
        "<span class=\"c-mixed\">1 window is mixed</span>",
        "are delayed</span> before kafka:agg since 12:46:30.",
        "complete through <b class=\"late\">12:46:30</b>, 3 m 28 s ago",
    ] {
        assert!(page.has(text), "{text}");
    }
    let calm = get(&one_hop(&[(Verdict::Ok, 0), (Verdict::Ok, 0), (Verdict::Open, 0)]), "/t/b/t").await;
    assert!(calm.has("Every message of 2 settled windows arrived at every stage, proven by ids."));
    let early = get(&one_hop(&[(Verdict::Settling, 0), (Verdict::Open, 0)]), "/t/b/t").await;
    assert!(early.has("No verdict yet: 2 windows are not settled.") && !early.has("proven by ids"));
    let partial = get(&one_hop(&[(Verdict::Partial, 0)]), "/t/b/t").await;
    assert!(partial.has("No loss is known, and none is excluded"));
}

#[tokio::test]
async fn the_flow_compares_what_can_be_compared() {
    let (router, _bench) = scene();
    let page = get(&router, PAGE).await;
    for text in [
        "edge e-missing",
        "−37</span>",
        "edge e-delayed",
        "23 of 24 reporters",
        "1 tap · 32 partitions",
        "3 in doubt",
        "+412",
        "p99 ≥",
    ] {
        assert!(page.has(text), "{text}");
    }
}

#[tokio::test]
async fn a_stage_that_never_reported_is_unknown_and_never_zero() {
    let page = get(&one_hop(&[(Verdict::NoReport, 0), (Verdict::NoReport, 0)]), "/t/b/t?w=1795265390000").await;
    let stage =
        page.body.split("class=\"stage unknown\"").nth(1).and_then(|s| s.split("class=\"edge").next()).expect("box");
    assert!(stage.contains("<div class=\"c\">unknown</div>") && stage.contains("no tap yet"), "{stage}");
    assert!(page.has("kafka:b has not reported") && page.has("kafka:b unknown"));
    let table = page.body.split("class=\"windows\"").nth(1).expect("table");
    assert!(table.contains("<td class=\"num c-noreport\">unknown</td>") && !table.contains(">0<"), "{table}");
    let edge = page.body.split("edge e-noreport").nth(1).expect("edge");
    assert!(edge.contains("unknown</span>"));
}

#[tokio::test]
async fn a_stage_that_saw_nothing_of_a_settled_window_saw_zero() {
    let mut store = FakeStore::default();
    let ms = NOW_MS - 58_000;
    for (ms, verdict) in [(ms, Verdict::Missing), (ms + 10_000, Verdict::Ok), (ms + 20_000, Verdict::Open)] {
        store.windows.push(hop("t", ("a", "b"), ms, verdict));
        store.counts.push(seen("t", "a", ms, 7));
    }
    store.windows[0].missing_min = 7;
    store.counts.push(seen("t", "b", ms + 10_000, 7));
    let router = app(bench(store, Pipelines::from(vec![pipeline("p", "-", "t", &["a", "b"])])).state, config());
    let page = get(&router, "/t/-/t").await;
    let table = page.body.split("class=\"windows\"").nth(1).expect("table");
    assert!(table.contains("0<span class=\"x c-missing\">−7 (−100 %)</span>"), "{table}");
    assert!(table.contains("<td class=\"num quiet\">–</td>"), "not yet is not zero: {table}");
}

#[tokio::test]
async fn a_selected_window_shows_its_evidence() {
    let (router, _bench) = scene();
    let page = get(&router, &format!("{PAGE}&w={}", at(128))).await;
    for text in [
        "Window 12:41:20 – 12:41:30",
        "at least 23 missing; the hop has passed this window",
        "−23 missing at least (−475 ppm)",
        "class=\"sel-row\"",
        "class=\"selbox\"",
        "settled 12:41:42",
        "earlier trouble",
    ] {
        assert!(page.has(text), "{text}");
    }
    let plots = page.body.matches("<line class=\"sel\"").count();
    assert_eq!(plots, 4 + 3, "one line through every plot");
    let doubt = get(&router, &format!("{PAGE}&w={}", at(37) + 4_321)).await;
    assert!(
        doubt.has("reporter gone upstream: 3") && doubt.has("Window 12:26:10"),
        "any moment inside selects the window"
    );
    let none = get(&router, &format!("{PAGE}&w=1")).await;
    assert!(none.has("Nothing was counted in this window"));
    let bad = get(&router, &format!("{PAGE}&w=soon")).await;
    assert!(bad.status == StatusCode::BAD_REQUEST && bad.has("w is &#39;soon&#39;"), "{}", bad.body);
}

#[tokio::test]
async fn the_table_merges_runs_and_keeps_the_ends_of_bad_ones() {
    let (router, _bench) = scene();
    let page = get(&router, PAGE).await;
    let table = page.body.split("class=\"windows\"").nth(1).expect("table");
    let (newest, run, oldest) =
        (table.find(">12:49:10<"), table.find(" 12:46:40 – 12:49:10"), table.find(">12:46:30<"));
    assert!(newest.is_some() && newest < run && run < oldest, "{newest:?} {run:?} {oldest:?}");
    assert!(table.contains("15 windows · <span class=\"c-delayed\">"));
    assert!(table.contains("−14 (−290 ppm)") && table.contains("every id"));
    assert!(page.has("/api/v1/flow?") && page.has("format=csv") && page.has("format=json"));
}

#[tokio::test]
async fn another_cluster_leads_to_the_right_one_and_no_topic_to_advice() {
    let (router, _bench) = scene();
    let moved = get(&router, "/t/wrong/rides.events?from=now-1h&to=now").await;
    assert_eq!((moved.status, moved.header("location")), (StatusCode::FOUND, "/t/sjc/rides.events?from=now-1h&to=now"));
    let missing = get(&router, "/t/sjc/no-such-topic").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.has("No pipeline matches this name") && missing.has("href=\"/\""));
    let odd = get(&router, "/t/%2F%2Fevil.example/rides.events%0d%0aset-cookie:x").await;
    assert!(odd.headers.get("set-cookie").is_none() && odd.header("location").is_empty());
}

#[tokio::test]
async fn a_topic_without_counts_says_what_to_do() {
    let router = app(bench(FakeStore::default(), fake::scene::pipelines()).state, config());
    let page = get(&router, "/t/sjc/rides.events").await;
    assert_eq!(page.status, StatusCode::OK);
    for text in ["Nothing was counted between now-15m and now", "unknown", "Choose a longer range"] {
        assert!(page.has(text), "{text}");
    }
    assert!(!page.has(">0<") && !page.has("class=\"p strip\""));
    assert!(page.has(">unknown</div>"), "no stage has reported");
}

#[tokio::test]
async fn a_bad_range_is_a_page_that_says_what_is_allowed() {
    let (router, _bench) = scene();
    let page = get(&router, "/t/sjc/rides.events?from=%3Cscript%3E").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.has("now-15m") && !page.has("<script>") && page.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn times_follow_the_zone_of_the_address() {
    let (router, _bench) = scene();
    let page = get(&router, &format!("{PAGE}&tz=%2B05:30")).await;
    assert!(page.has("18:11:20 – 18:11:40") && page.has("UTC+05:30"));
}

#[tokio::test]
async fn the_foot_of_the_table_has_the_sums_of_the_flow() {
    let (router, _bench) = scene();
    let page = get(&router, PAGE).await;
    let foot = page.body.split("<tfoot>").nth(1).and_then(|f| f.split("</tfoot>").next()).expect("foot");
    let boxes: Vec<&str> = page.body.split("<div class=\"c\">").skip(1).filter_map(|b| b.split('<').next()).collect();
    assert_eq!(boxes.len(), 5);
    for count in boxes {
        assert!(foot.contains(&format!("<td class=\"num\">{count}<")), "{count}: {foot}");
    }
    assert!(foot.contains("<td>176 settled windows</td>") && foot.contains("−37 ("), "{foot}");
    assert!(foot.contains("<span class=\"x c-mixed\">1 window mixed</span>"), "{foot}");
    let early = get(&one_hop(&[(Verdict::Settling, 0)]), "/t/b/t").await;
    assert!(!early.has("<tfoot>"), "nothing is settled");
}

#[tokio::test]
async fn a_long_range_says_of_the_same_windows_what_a_short_one_says() {
    let (router, _bench) = scene();
    let page = get(&router, "/t/sjc/rides.events?from=now-7d&to=now").await;
    assert_eq!(page.status, StatusCode::OK);
    let short = get(&router, "/t/sjc/rides.events?from=now-30m&to=now").await;
    let told = |page: &Answer| {
        let lede = page.body.split("<p class=\"lede\">").nth(1).and_then(|t| t.split("</p>").next()).expect("sentence");
        lede.to_owned()
    };
    assert!(told(&short).contains("37 messages are missing"), "{}", told(&short));
    assert_eq!(told(&page), told(&short));
    let boxes = |page: &Answer| page.body.matches("<div class=\"c\">").count();
    assert_eq!(boxes(&page), boxes(&short));
    for (i, of) in short.body.split("<div class=\"c\">").skip(1).enumerate() {
        let count = of.split('<').next().expect("count");
        assert!(page.has(&format!("<div class=\"c\">{count}<")), "stage {i}: {count}");
    }
}

#[tokio::test]
async fn no_name_from_outside_becomes_markup() {
    let corpus = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'-alert(1)-'",
        "</title><svg onload=alert(1)>",
        "{{7*7}}",
        "&lt;b&gt;",
        "a\u{202e}b",
        "javascript:alert(1)",
        "</main><h1>x",
        "\u{0}\n\r\t",
    ];
    let known = {
        let (router, _bench) = scene();
        let mut all = tags(&get(&router, &format!("{PAGE}&w={}", at(37))).await.body);
        all.extend(tags(&get(&router, "/").await.body));
        all.extend(tags(&get(&router, "/nope").await.body));
        all
    };
    for evil in corpus {
        let mut store = FakeStore::default();
        let mut row = hop(evil, (evil, "b"), NOW_MS - 28_000, Verdict::Unproven);
        row.why = evil.to_owned();
        row.caveats = vec![Caveat::new(CaveatKind::Overflow, Doubt::Both)];
        store.windows.push(row);
        store.counts.push(seen(evil, evil, NOW_MS - 28_000, 5));
        store.topics.push(fake::summary(evil, &[evil, "b"], Verdict::Unproven));
        let mut p = pipeline(evil, evil, "x", &[evil, "b"]);
        p.topics = vec![chaperone_collector::TopicPattern::Name(evil.to_owned())];
        let bench = bench(store, Pipelines::from(vec![p]));
        bench.problems.send_replace(vec![fake::stale(evil)]);
        let router = app(bench.state.clone(), config());
        let list = get(&router, "/").await;
        let href =
            list.body.split("class=\"topicname\" href=\"").nth(1).and_then(|t| t.split('"').next()).expect("link");
        let href = href.replace("&#38;", "&").replace("&amp;", "&");
        let page = get(&router, &format!("{href}&w={}", NOW_MS - 28_000)).await;
        assert_eq!(page.status, StatusCode::OK, "{evil:?} at {href}");
        for html in [&list.body, &page.body, &get(&router, &format!("{href}&from={}", "%22%3E%3Ci%3E")).await.body] {
            assert!(tags(html).is_subset(&known), "{evil:?}: {:?}", tags(html).difference(&known).collect::<Vec<_>>());
            let hidden = html.find(['\u{202e}', '\u{0}']).map(|i| html.get(i.saturating_sub(80)..i));
            assert_eq!(hidden, None, "{evil:?}");
            for attribute in ["onerror=alert(1)>", "onload=alert(1)>", "href=\"javascript:"] {
                assert!(!html.contains(attribute), "{evil:?}: {attribute}");
            }
        }
    }
}

#[tokio::test]
async fn the_longest_page_in_the_worst_case_stays_small_enough() {
    let mut store = FakeStore::default();
    let stages = fake::scene::STAGES;
    for w in 0..2_000 {
        let ms = NOW_MS - 8_000 - w * 10_000;
        for (i, pair) in stages.windows(2).enumerate() {
            let odd = (w + i64::try_from(i).expect("few")) % 2 == 0;
            let mut row = hop("rides.x", (pair[0], pair[1]), ms, if odd { Verdict::Missing } else { Verdict::Ok });
            row.missing_min = u64::from(odd);
            store.windows.push(row);
        }
        for stage in stages {
            store.counts.push(seen("rides.x", stage, ms, 100));
        }
    }
    let router = app(bench(store, fake::scene::pipelines()).state, config());
    for (range, told) in [("4h", "a cell is the worst of several"), ("6h", "calm ones by 1 min")] {
        let page = get(&router, &format!("/t/sjc/rides.x?from=now-{range}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.len() < 1_500_000, "{} bytes", page.body.len());
        assert!(page.has(told), "{range}");
        assert!(page.has("more, older; narrow the range or take the CSV"), "{range}");
    }
}
