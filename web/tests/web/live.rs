//! Events: revisions, resumption, the cap on clients.

use std::time::Duration;

use axum::body::BodyDataStream;
use tokio_stream::StreamExt as _;

use super::*;

/// Reads a stream until `text` has been seen; the deadline is for a broken build only.
async fn until(body: &mut BodyDataStream, text: &str) -> String {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(text) {
            let Some(chunk) = body.next().await else { break };
            seen.push_str(&String::from_utf8_lossy(&chunk.expect("chunk")));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.unwrap_or_else(|_| panic!("no {text}"));
    assert!(seen.contains(text), "the stream ended after {seen}");
    seen
}

async fn open(router: &Router) -> BodyDataStream {
    open_at(router, "/events").await
}

async fn open_at(router: &Router, path: &str) -> BodyDataStream {
    let response = router.clone().oneshot(request("GET", path, &[])).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn a_stream_tells_the_revision_and_every_change_of_it() {
    let (router, bench) = scene();
    let mut body = open(&router).await;
    let first = until(&mut body, "\n\n").await;
    assert!(first.contains("event: revision") && first.contains("id: 41"), "{first}");
    bench.store.revision.send_replace(42);
    until(&mut body, "id: 42").await;
    bench.problems.send_replace(vec![fake::stale("something")]);
    until(&mut body, "data: 42 1").await;
}

#[tokio::test]
async fn a_stream_of_a_topic_tells_of_that_topic_alone() {
    let (router, bench) = scene();
    let mut body = open_at(&router, "/events?topic=rides.events&from=now-30m&to=now").await;
    until(&mut body, "id: 41").await;
    // Nothing of this topic changed; the third is told, because something is wrong.
    bench.store.revision.send_replace(42);
    bench.store.answered(1).await;
    bench.store.revision.send_replace(43);
    bench.store.answered(2).await;
    bench.problems.send_replace(vec![fake::stale("something")]);
    let said = until(&mut body, "data: 43 1").await;
    assert!(!said.contains("id: 42") && !said.contains("data: 43 0"), "{said}");
    // Half an hour later the range holds other windows.
    bench.clock.advance(600_000);
    bench.store.revision.send_replace(44);
    until(&mut body, "id: 44").await;
    for bad in ["/events?from=soon", "/events?topic=a&topic=b"] {
        assert_eq!(get(&router, bad).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn many_streams_of_one_topic_cost_one_look_at_each_revision() {
    let bench = fake::bench(fake::scene::store(), fake::scene::pipelines());
    let config = chaperone_web::WebConfig { max_sse_clients: 50, ..fake::config() };
    let router = app(bench.state.clone(), config);
    let asked = || *bench.store.asked.borrow();
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(open_at(&router, "/events?topic=rides.events&from=now-24h").await);
    }
    for stream in &mut streams {
        until(stream, "id: 41").await;
    }
    assert_eq!(asked(), 1);
    bench.store.revision.send_replace(42);
    bench.store.answered(1).await;
    bench.problems.send_replace(vec![fake::stale("something")]);
    for stream in &mut streams {
        until(stream, "data: 42 1").await;
    }
    assert_eq!(asked(), 2);
    // Another range is another question, with an answer of its own.
    let mut other = open_at(&router, "/events?topic=rides.events&from=now-30m").await;
    until(&mut other, "id: 42").await;
    assert_eq!(asked(), 3);
    bench.clock.advance(600_000);
    bench.store.revision.send_replace(43);
    until(&mut other, "id: 43").await;
    bench.store.answered(4).await;
    assert_eq!(asked(), 5, "one for each range");
}

#[tokio::test]
async fn a_stream_that_cannot_ask_tells_of_everything() {
    let bench = fake::bench(fake::FakeStore { broken: true, ..fake::scene::store() }, fake::scene::pipelines());
    let router = app(bench.state.clone(), fake::config());
    let mut body = open_at(&router, "/events?topic=rides.events").await;
    until(&mut body, "id: 41").await;
    bench.store.revision.send_replace(42);
    until(&mut body, "id: 42").await;
}

#[tokio::test]
async fn a_stream_ends_with_the_process_it_tells_of() {
    let (router, bench) = scene();
    let mut body = open(&router).await;
    until(&mut body, "id: 41").await;
    drop(bench.problems);
    let rest = tokio::time::timeout(Duration::from_secs(10), async { while body.next().await.is_some() {} }).await;
    assert!(rest.is_ok(), "the stream did not end");
}

#[tokio::test]
async fn streams_are_limited_and_their_places_come_back() {
    let (router, _bench) = scene();
    let (first, second) = (open(&router).await, open(&router).await);
    let third = get(&router, "/events").await;
    assert_eq!((third.status, third.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
    drop((first, second));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let response = router.clone().oneshot(request("GET", "/events", &[])).await.expect("infallible");
        if response.status() == StatusCode::OK {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "a closed stream keeps its place");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_page_fetches_its_main_alone() {
    let (router, _bench) = scene();
    for path in ["/?from=now-30m", "/t/sjc/rides.events?from=now-30m"] {
        let whole = get(&router, path).await;
        let part = send(&router, "GET", path, &[("x-fragment", "main")]).await;
        assert!(part.body.starts_with("<main id=\"main\" data-revision=\"41\">"), "{path}");
        assert!(part.body.trim_end().ends_with("</main>") && !part.has("<html"));
        assert!(whole.has(part.body.trim()) && whole.has("</html>"), "the same main, in a frame");
        assert_eq!(part.header("vary"), "x-fragment");
        assert!(whole.has("<noscript><meta http-equiv=\"refresh\"") && whole.has("role=\"status\""));
    }
}

#[tokio::test]
async fn answers_are_compressed_for_who_accepts_it_and_events_never() {
    let (router, _bench) = scene();
    let asked = |path: &'static str, accept: &'static [(&'static str, &'static str)]| {
        router.clone().oneshot(request("GET", path, accept))
    };
    let gzip: &[(&str, &str)] = &[("accept-encoding", "gzip, br")];
    for path in ["/?from=now-30m", "/t/sjc/rides.events?from=now-30m", "/api/v1/windows?from=now-30m"] {
        let plain = get(&router, path).await;
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        let response = asked(path, gzip).await.expect("infallible");
        assert_eq!(response.headers()["content-encoding"], "gzip", "{path}");
        let varies: Vec<_> = response.headers().get_all("vary").iter().collect();
        assert!(varies.iter().any(|v| *v == "accept-encoding"), "{path}: {varies:?}");
        let bytes = to_bytes(response.into_body(), 64 << 20).await.expect("body");
        assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() * 3 < plain.body.len(), "{path}: {}", bytes.len());
    }
    let events = asked("/events", gzip).await.expect("infallible");
    assert!(!events.headers().contains_key("content-encoding"));
    until(&mut events.into_body().into_data_stream(), "id: 41").await;
}

#[tokio::test]
async fn the_theme_and_kiosk_are_known_before_the_first_paint() {
    let (router, _bench) = scene();
    let theme = async |cookie: &str| {
        let page = send(&router, "GET", "/", &[("cookie", cookie)]).await;
        page.body.split("<html lang=\"en\"").nth(1).and_then(|h| h.split('>').next()).map(str::to_owned).expect("html")
    };
    assert_eq!(theme("theme=dark").await, " data-theme=\"dark\"");
    assert_eq!(theme("session=x; theme=light").await, " data-theme=\"light\"");
    for odd in ["theme=green", "theme=dark\" onload=x", "xtheme=dark", ""] {
        assert_eq!(theme(odd).await, "", "{odd}");
    }
    for (path, kiosk) in
        [("/?kiosk=1", true), ("/?kiosk=0", false), ("/t/sjc/rides.events?from=now-30m&kiosk=1", true), ("/", false)]
    {
        let page = send(&router, "GET", path, &[("x-kiosk", "1")]).await;
        assert_eq!(page.has(" data-kiosk>"), kiosk, "{path}: only the address says so");
    }
}
