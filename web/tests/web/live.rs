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
    let response = router.clone().oneshot(request("GET", "/events?topic=rides.events", &[])).await.expect("infallible");
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
