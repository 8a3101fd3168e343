//! One window: the sum, who counted it, where it lies, when it arrived; as a page, Markdown, JSON and CSV.

use chaperone_collector::query::WindowDetail;
use chaperone_collector::{Caveat, CaveatKind, Doubt, Verdict};

use super::*;
use fake::scene::at;
use fake::{FakeStore, NOW_MS, bench, config, hop, pipeline, seen};

fn path(window: i64) -> String {
    format!("/t/sjc/rides.events/w/{}", at(window))
}

#[tokio::test]
async fn a_lost_message_is_shown_with_its_hop_host_partition_and_time() {
    let (router, _bench) = scene();
    let page = get(&router, &path(128)).await;
    assert_eq!(page.status, StatusCode::OK);
    for text in [
        "Window 12:41:20 – 12:41:30",
        "23 messages are missing",
        "the hop has passed this window",
        "<span>counted at proxy</span><span class=\"num\">48,381</span>",
        "<span>seen at kafka:sjc</span><span class=\"num\">48,358</span>",
        "<span class=\"num tot c-missing\">−23</span>",
        "−475 ppm",
        "23 stay absent: lost, not late",
        "settled 12:41:42",
        "6 reporters, 48,381 of 48,381 messages",
        "proxy-04",
        "sjc-1 24,191 (3 reporters)",
        "kafka:sjc · 32 partitions",
        "8,318,820 – ",
        "window closed",
        "settled: missing −23",
        "No caveat",
        "aria-current=\"true\">proxy → kafka:sjc<",
        "href=\"/t/sjc/rides.events/w/1795264870000?",
        "class=\"btn copy\" href=\"/t/sjc/rides.events/w/1795264880000.md?tz=UTC",
    ] {
        assert!(page.has(text), "{text}: {}", page.body);
    }
    assert!(!page.has(">unknown<") && !page.has("not known any more"));
}

#[tokio::test]
async fn every_hop_of_a_window_has_an_address_and_any_moment_inside_it_is_the_window() {
    let (router, _bench) = scene();
    let other = get(&router, &format!("{}?at=kafka:agg", path(128))).await;
    assert!(
        other.has("aria-current=\"true\">kafka:sjc → kafka:agg<") && other.has("Every message arrived, proven by ids")
    );
    assert!(other.has("kafka:agg against kafka:sjc · 0 of 32 partitions differ"));
    let inside = get(&router, &format!("/t/sjc/rides.events/w/{}", at(128) + 4_321)).await;
    assert!(inside.has("Window 12:41:20 – 12:41:30"));
    let zone = get(&router, &format!("{}?tz=%2B05:30", path(128))).await;
    assert!(zone.has("Window 18:11:20 – 18:11:30") && zone.has("UTC+05:30"));
    let moved = get(&router, &format!("/t/wrong/rides.events/w/{}?at=proxy", at(128))).await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (StatusCode::FOUND, format!("{}?at=proxy", path(128)).as_str())
    );
    for (bad, said) in [
        ("/t/sjc/rides.events/w/soon".to_owned(), "in milliseconds since 1970"),
        ("/t/sjc/rides.events/w/-5".to_owned(), "in milliseconds since 1970"),
        (format!("{}?at=nowhere", path(128)), "a stage that a hop leads to: proxy, kafka:sjc"),
    ] {
        let page = get(&router, &bad).await;
        assert!(page.status == StatusCode::BAD_REQUEST && page.has(said), "{bad}: {}", page.body);
    }
}

#[tokio::test]
async fn a_delay_is_not_a_loss_and_a_doubt_is_not_a_zero() {
    let (router, _bench) = scene();
    let late = get(&router, &path(170)).await;
    for text in [
        "messages are delayed",
        "delayed, not passed yet",
        "still absent",
        "12 of 32 partitions differ",
        "cv-late",
        "class=\"d6\"",
    ] {
        assert!(late.has(text), "{text}");
    }
    assert!(!late.has("stay absent"));
    let doubt = get(&router, &path(37)).await;
    for text in [
        "Unproven: 3 messages in doubt",
        "0 … 3",
        "in flight or in doubt: no delivery report",
        "reporter gone upstream: 3",
        "a reporter fell silent without a goodbye",
        "3 without a delivery report",
        "1 slot not told",
        "silent for 23 m",
    ] {
        assert!(doubt.has(text), "{text}");
    }
}

#[tokio::test]
async fn an_amendment_is_told_with_what_stood_there_before() {
    let (router, _bench) = scene();
    let page = get(&router, &path(129)).await;
    assert!(page.has("settled: missing −19") && page.has("amended: missing −19 → missing −14. a late record"));
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_said_and_what_was_never_counted_too() {
    let (router, _bench) = scene();
    // A proven window of which the store has nothing but totals.
    let page = get(&router, &path(60)).await;
    for text in
        ["Who counted them is not known any more", "kept for 15 minutes", "Every message arrived, proven by ids"]
    {
        assert!(page.has(text), "{text}");
    }
    assert!(!page.has("id=\"h-partitions\""), "no partition is made up");
    let none = get(&router, "/t/sjc/rides.events/w/1").await;
    assert_eq!(none.status, StatusCode::OK);
    for text in ["Nothing was counted in this window", "not known to be zero", "so there is no verdict"] {
        assert!(none.has(text), "{text}");
    }
    let stranger = get(&router, "/t/sjc/no-such-topic/w/1").await;
    assert!(stranger.status == StatusCode::NOT_FOUND && stranger.has("No pipeline matches this name"));
}

#[tokio::test]
async fn a_store_that_cannot_answer_and_a_process_that_is_behind_are_said() {
    let (router, bench) = scene();
    bench.problems.send_replace(vec![fake::stale("audit topic x was last read 48 s ago")]);
    let page = get(&router, &path(128)).await;
    assert!(page.has("<b>stale:</b> audit topic x was last read 48 s ago") && page.has("23 messages are missing"));
    let broken = fake::bench(FakeStore { broken: true, ..FakeStore::default() }, fake::scene::pipelines());
    let router = app(broken.state.clone(), config());
    for (form, said) in [("", "the log has the reason under number"), (".json", "\"status\":503")] {
        let answer = get(&router, &(path(128) + form)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{form}");
        assert!(answer.has(said) && !answer.has("SELECT") && !answer.has("/var/lib"), "{form}: {}", answer.body);
    }
}

#[tokio::test]
async fn no_name_from_outside_becomes_markup_in_any_form() {
    let evil = "\"><img src=x onerror=alert(1)>|`[x](javascript:alert(1))";
    let ms = NOW_MS - 60_000 - NOW_MS % 10_000;
    let mut row = hop(evil, (evil, "b"), ms, Verdict::Missing);
    (row.why, row.missing_min) = (evil.to_owned(), 1);
    let share = chaperone_collector::query::ReporterShare {
        stage: evil.to_owned(),
        incarnation: uuid::Uuid::nil(),
        host: evil.to_owned(),
        application: evil.to_owned(),
        datacenter: format!("={evil}"),
        library: evil.to_owned(),
        n: 5,
        acked: 5,
        failed: 0,
        bytes: 0,
        last_ms: None,
        open: false,
        watermark_ms: None,
        heard_ms: ms,
        last_seq: 1,
        untold: 0,
        ended: Some(evil.to_owned()),
    };
    let detail = WindowDetail { shares: vec![share], ..WindowDetail::default() };
    let store = FakeStore {
        windows: vec![row],
        counts: vec![seen(evil, evil, ms, 5), seen(evil, "b", ms, 4)],
        details: [((evil.to_owned(), ms), detail)].into(),
        ..FakeStore::default()
    };
    let mut p = pipeline(evil, evil, "x", &[evil, "b"]);
    p.topics = vec![chaperone_collector::TopicPattern::Name(evil.to_owned())];
    (p.owner, p.runbook) = (Some(evil.to_owned()), Some("javascript:alert(1)".to_owned()));
    let router = app(bench(store, chaperone_collector::Pipelines::from(vec![p])).state, config());
    let href = "/t/%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%7C%60%5Bx%5D%28javascript%3Aalert%281%29%29/\
                %22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%7C%60%5Bx%5D%28javascript%3Aalert%281%29%29/w/";
    let (known, _bench) = scene();
    let known = tags(&get(&known, &path(128)).await.body);
    let page = get(&router, &format!("{href}{ms}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let mut found = tags(&page.body);
    found.remove("ul");
    assert!(found.is_subset(&known) && !page.has("<img") && !page.has("href=\"javascript:"), "{found:?}");
    assert!(page.has("1 message is missing") && page.has("owner ") && !page.has(">runbook<"));
    let text = get(&router, &format!("{href}{ms}.md")).await;
    assert!(text.status == StatusCode::OK && !text.has("<img") && !text.has("[x]("), "{}", text.body);
    let csv = get(&router, &format!("{href}{ms}.csv")).await;
    assert!(csv.has("\"'=\"\"><img"), "a formula is a text: {}", csv.body);
}

#[tokio::test]
async fn a_stage_that_never_reported_is_unknown() {
    let stages = ["producer", "kafka:k"];
    let ms = NOW_MS - 60_000 - NOW_MS % 10_000;
    let mut row = hop("t", (stages[0], stages[1]), ms, Verdict::NoReport);
    row.caveats = vec![Caveat::new(CaveatKind::NotAuditedYet, Doubt::Downstream)];
    let store = FakeStore {
        windows: vec![row],
        counts: vec![seen("t", stages[0], ms, 7)],
        details: [(("t".to_owned(), ms), WindowDetail { cut: true, ..WindowDetail::default() })].into(),
        ..FakeStore::default()
    };
    let pipelines = chaperone_collector::Pipelines::from(vec![pipeline("p", "k", "t", &stages)]);
    let router = app(bench(store, pipelines).state, config());
    let page = get(&router, &format!("/t/k/t/w/{ms}")).await;
    for text in [
        "<span>seen at kafka:k</span><span class=\"num\">unknown</span>",
        "Nothing is known of the downstream stage",
        "Who counted them is not known any more",
        "More reports are at hand than one answer looks through",
        "the stage began to be audited in this window or after it",
    ] {
        assert!(page.has(text), "{text}: {}", page.body);
    }
}

#[tokio::test]
async fn a_ticket_gets_the_same_numbers_as_text() {
    let (router, _bench) = scene();
    let text = get(&router, &format!("/t/sjc/rides.events/w/{}.md", at(128))).await;
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    for line in [
        "## rides.events, window 2026-11-21 12:41:20 – 12:41:30 UTC",
        "**23 messages are missing** (proxy → kafka:sjc)",
        "| proxy → kafka:sjc | missing | 48,381 | 48,358 | 23 | 0 | 0 |",
        "| proxy | proxy-00 | proxy | 8,064 | 8,064 | 0 |",
        "- 12:41:42 settled: missing −23",
        "Evidence: <http://localhost:7979/t/sjc/rides.events/w/1795264880000?",
    ] {
        assert!(text.has(line), "{line}: {}", text.body);
    }
    assert!(!text.has("<script") && !text.has("<table"));
}

#[tokio::test]
async fn programs_get_the_same_query_as_json_and_csv() {
    let (router, _bench) = scene();
    let json = get(&router, &format!("{}.json", path(128))).await.json();
    assert_eq!((json["window_ms"].as_i64(), json["width_ms"].as_i64()), (Some(at(128)), Some(10_000)));
    let lost: u64 = json["hops"].as_array().expect("hops").iter().filter_map(|h| h["missing_min"].as_u64()).sum();
    assert_eq!(lost, 23);
    let of_proxy = json["shares"].as_array().expect("shares").iter().filter(|s| s["stage"] == "proxy");
    let proxy = json["stages"].as_array().expect("stages").iter().find(|s| s["stage"] == "proxy").expect("proxy");
    assert_eq!(of_proxy.filter_map(|s| s["n"].as_u64()).sum::<u64>(), proxy["n"].as_u64().expect("n"));
    let csv = get(&router, &format!("{}.csv", path(128))).await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    let lines: Vec<&str> = csv.body.lines().collect();
    let columns = lines.first().expect("header").split(',').count();
    assert!(
        columns == 22 && lines.iter().filter(|l| l.starts_with("partition,")).all(|l| l.split(',').count() == columns)
    );
    assert_eq!(lines.iter().filter(|l| l.starts_with("reporter,")).count(), 24 + 6 + 8);
    assert_eq!(lines.iter().filter(|l| l.starts_with("partition,")).count(), 64);
    assert!(csv.has("hop,rides.events,1795264880000,10000,proxy,kafka:sjc,"));
    let wrong = get(&router, "/t/sjc/rides.events/w/x.json").await;
    assert!(wrong.status == StatusCode::BAD_REQUEST && wrong.header("content-type") == "application/problem+json");
}

#[tokio::test]
async fn a_window_is_reached_from_the_matrix_the_table_and_the_overview() {
    let (router, _bench) = scene();
    let topic = get(&router, "/t/sjc/rides.events?from=now-30m&to=now").await;
    let link = format!("{}?from=now-30m&#38;to=now&#38;tz=UTC", path(128));
    assert!(topic.has(&format!("href=\"{link}&#38;at=kafka%3Asjc\"")), "a cell");
    assert!(topic.has(&format!("<td><a href=\"{link}\">12:41:20</a>")), "a row");
    let list = get(&router, "/?from=now-30m").await;
    let either =
        [128, 129].map(|w| format!("href=\"{}?from=now-30m&#38;to=now&#38;tz=UTC\" class=\"crisp bad\"", path(w)));
    assert!(either.iter().any(|href| list.has(href)), "a cell of the overview");
    let window = get(&router, &link.replace("&#38;", "&")).await;
    assert!(
        window.has(&format!("href=\"/t/sjc/rides.events?from=now-30m&#38;to=now&#38;tz=UTC&#38;w={}\"", at(128))),
        "and back"
    );
}
