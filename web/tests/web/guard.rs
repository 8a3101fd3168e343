//! Foreign hosts, headers, limits.

use super::*;
use fake::{FakeStore, bench, config};

#[tokio::test]
async fn no_answer_leaves_without_the_security_headers() {
    let (router, _bench) = scene();
    let css =
        get(&router, "/").await.body.split('"').find(|t| t.starts_with("/assets/")).map(str::to_owned).expect("css");
    for path in [
        "/",
        "/t/sjc/rides.events",
        "/t/x/rides.events",
        "/t/sjc/nope",
        "/nope",
        "/api/v1/windows",
        "/api/nope",
        "/healthz",
        "/readyz",
        "/events",
        &css,
        "/assets/nope.js",
        "/?from=x",
    ] {
        let response = router.clone().oneshot(request("GET", path, &[])).await.expect("infallible");
        let header =
            |name: &str| response.headers().get(name).and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned();
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            "{path}"
        );
        assert_eq!(
            (header("x-content-type-options").as_str(), header("referrer-policy").as_str()),
            ("nosniff", "no-referrer")
        );
        assert!(!header("cache-control").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn pages_need_no_inline_style_or_script() {
    let (router, _bench) = scene();
    for path in
        ["/", "/t/sjc/rides.events?from=now-30m&w=1795264880000", "/t/sjc/rides.events/w/1795264880000", "/nope"]
    {
        let html = get(&router, path).await.body;
        for inline in [" style=", "<style", " onclick", " onload", "javascript:", "http://", "//cdn"] {
            assert!(!html.contains(inline), "{path} has {inline}");
        }
        assert!(
            html.matches("<script src=\"/assets/").count() == html.matches("<script").count()
                && !html.contains("<script>")
        );
    }
}

#[tokio::test]
async fn foreign_hosts_are_refused_everywhere() {
    let (router, _bench) = scene();
    for path in ["/", "/t/sjc/rides.events", "/api/v1/windows", "/events", "/readyz", "/assets/x.css"] {
        let answer = send(&router, "GET", path, &[("host", "evil.example")]).await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert!(!answer.has("rides.events"), "{path}");
    }
    for ours in ["localhost", "127.0.0.1:80", "[::1]:7979"] {
        assert_eq!(send(&router, "GET", "/", &[("host", ours)]).await.status, StatusCode::OK, "{ours}");
    }
}

#[tokio::test]
async fn everything_can_only_be_read() {
    let (router, _bench) = scene();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/api/v1/windows", "/t/sjc/rides.events"] {
            let answer = send(&router, method, path, &[]).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    assert_eq!(send(&router, "HEAD", "/", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_hangs_costs_the_timeout_and_no_more() {
    let store = FakeStore { hangs: true, ..FakeStore::default() };
    let config = chaperone_web::WebConfig {
        request_timeout: std::time::Duration::from_millis(20),
        max_in_flight: 1,
        ..config()
    };
    let router = app(bench(store, fake::scene::pipelines()).state, config);
    let (first, second) = tokio::join!(get(&router, "/"), get(&router, "/"));
    assert_eq!((first.status, second.status), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
    assert!(first.has("too long") && second.has("too many requests"), "{} {}", first.body, second.body);
    assert_eq!(first.header("retry-after"), "2");
    assert!(get(&router, "/").await.has("too long"), "the place was given back");
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_the_name_of_their_content() {
    let (router, _bench) = scene();
    let page = get(&router, "/").await.body;
    let assets: Vec<&str> = page.split('"').filter(|t| t.starts_with("/assets/")).collect();
    assert_eq!(assets.len(), 4, "{assets:?}");
    for asset in assets {
        let answer = get(&router, asset).await;
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (StatusCode::OK, "public, max-age=31536000, immutable")
        );
    }
    assert_eq!(get(&router, "/assets/chaperone-0000000000000000.css").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&router, "/assets/..%2F..%2FCargo.toml").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_process_without_pages_tells_only_whether_it_lives() {
    let bench = bench(FakeStore::default(), chaperone_collector::Pipelines::default());
    let router = chaperone_web::health(bench.state.clone(), config());
    assert_eq!(get(&router, "/healthz").await.body, "ok\n");
    assert!(get(&router, "/readyz").await.has("\"ready\":true"));
    let figures = get(&router, "/metrics").await;
    assert_eq!(
        (figures.body.as_str(), figures.header("content-type").starts_with("text/plain; version=0.0.4")),
        ("up 1\nlag{topic=\"rides.events\"} 3\n", true)
    );
    for path in ["/", "/api/v1/windows", "/events", "/assets/x.css"] {
        assert_eq!(get(&router, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    bench.problems.send_replace(vec![fake::stale("gone")]);
    assert_eq!(get(&router, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
