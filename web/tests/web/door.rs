//! Log-in, sessions, proxies, other sites' forms, what strangers are told, rates.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use chaperone_web::{Access, Peer, Rate, Role, Sso, WebConfig};

use super::*;
use fake::{Bench, bench, config};
use roles::guarded;

fn guarded_scene() -> (Router, Bench) {
    let bench = bench(fake::scene::store(), fake::scene::pipelines());
    (app(bench.state.clone(), guarded(config())), bench)
}

async fn post(router: &Router, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend(headers);
    let (parts, _) = request("POST", path, &all).into_parts();
    let request = Request::from_parts(parts, Body::from(form.to_owned()));
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.expect("body");
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(bytes.into()).expect("text") }
}

/// The `name=value` of the cookie that an answer sets.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_browser_logs_in_reads_and_logs_out() {
    let (router, bench) = guarded_scene();
    let away = get(&router, "/t/sjc/rides.events?from=now-30m").await;
    assert_eq!(away.status, StatusCode::SEE_OTHER);
    assert_eq!(away.header("location"), "/login?to=%2Ft%2Fsjc%2Frides.events%3Ffrom%3Dnow-30m");
    let form = get(&router, away.header("location")).await;
    assert!(form.has("name=\"to\" value=\"/t/sjc/rides.events?from=now-30m\"") && form.has("action=\"/login\""));

    let wrong = post(&router, "/login", "token=nobody&to=%2F", &[]).await;
    assert!(wrong.status == StatusCode::UNAUTHORIZED && wrong.has("not known") && !wrong.has("nobody"));
    assert_eq!(wrong.header("set-cookie"), "");

    let known = post(&router, "/login", "token=operator&to=%2Flag", &[("origin", "http://localhost:7979")]).await;
    assert_eq!((known.status, known.header("location")), (StatusCode::SEE_OTHER, "/lag"));
    assert!(known.header("set-cookie").ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200"));
    let cookie = cookie(&known);
    assert!(!cookie.contains("operator"), "a cookie holds no token");
    let page = send(&router, "GET", "/", &[("cookie", &cookie)]).await;
    assert!(page.status == StatusCode::OK && page.has("operator · operator") && page.has("action=\"/logout\""));
    // The role is the token's.
    let refused = send(&router, "GET", "/api/v1/actions", &[("cookie", &cookie)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    let out = post(&router, "/logout", "", &[("cookie", &cookie), ("sec-fetch-site", "same-origin")]).await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(send(&router, "GET", "/api/v1/status", &[("cookie", &cookie)]).await.status, StatusCode::UNAUTHORIZED);

    let actions = bench.store.actions.lock().expect("lock").clone();
    let said: Vec<_> = actions.iter().map(|a| (a.who.as_str(), a.action.as_str(), a.outcome.as_str())).collect();
    assert_eq!(said, [("", "log in", "refused"), ("operator", "log in", "done"), ("operator", "log out", "done")]);
}

#[tokio::test]
async fn a_session_ends_with_its_time_and_with_its_token() {
    let bench = bench(fake::scene::store(), fake::scene::pipelines());
    let all = Access::clone(&guarded(config()).access.borrow());
    let (sender, access) = tokio::sync::watch::channel(Arc::new(all.clone()));
    let router = app(bench.state.clone(), WebConfig { access, ..config() });
    let cookie = cookie(&post(&router, "/login", "token=viewer", &[]).await);
    let status = async || send(&router, "GET", "/api/v1/status", &[("cookie", &cookie)]).await.status;
    assert_eq!(status().await, StatusCode::OK);
    let fewer = all.tokens.iter().filter(|t| t.role != Role::Viewer).cloned().collect();
    sender.send_replace(Arc::new(Access { tokens: fewer, ..all.clone() }));
    assert_eq!(status().await, StatusCode::UNAUTHORIZED, "the token is gone");
    sender.send_replace(Arc::new(all));
    assert_eq!(status().await, StatusCode::OK);
    bench.clock.advance(12 * 3_600_000);
    assert_eq!(status().await, StatusCode::UNAUTHORIZED, "twelve hours later");
}

#[tokio::test]
async fn a_link_from_elsewhere_asks_once_more_from_here() {
    let (router, _bench) = guarded_scene();
    let cookie = cookie(&post(&router, "/login", "token=viewer", &[]).await);
    let from_elsewhere = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    // The browser keeps the cookie back.
    let first = send(&router, "GET", "/lag?x=%22%3E%3Cscript%3E'", &from_elsewhere).await;
    assert!(first.has("http-equiv=\"refresh\"") && !first.has("<script>"), "{}", first.body);
    let again = send(&router, "GET", "/lag", &[("cookie", &cookie), ("sec-fetch-site", "same-origin")]).await;
    assert_eq!(again.status, StatusCode::OK);
    let stranger = send(&router, "GET", "/lag", &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!(stranger.status, StatusCode::SEE_OTHER, "and no circle");
    let double = send(&router, "GET", "//evil.example/", &from_elsewhere).await;
    assert!(!double.has("evil.example"), "{}", double.body);
}

#[tokio::test]
async fn forms_of_other_sites_are_refused_with_and_without_log_in() {
    let (open, _a) = scene();
    let (walled, bench) = guarded_scene();
    for router in [&open, &walled] {
        for headers in [
            [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
            [("sec-fetch-site", "same-site"), ("origin", "http://localhost:8000")],
            [("x-none", ""), ("origin", "https://evil.example")],
            [("x-none", ""), ("origin", "null")],
        ] {
            for path in ["/login", "/logout", "/api/v1/reload"] {
                let answer = post(router, path, "token=admin", &headers).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
                assert!(answer.has("another site") && answer.header("set-cookie").is_empty());
            }
        }
    }
    assert!(bench.store.actions.lock().expect("lock").is_empty());
    // The control: the page's own form, and a program.
    for headers in [[("sec-fetch-site", "same-origin")], [("origin", "http://localhost:7979")], [("x-none", "")]] {
        assert_eq!(post(&walled, "/login", "token=admin", &headers).await.status, StatusCode::SEE_OTHER, "{headers:?}");
    }
}

#[tokio::test]
async fn only_the_proxy_says_who_people_are() {
    let sso = Sso {
        header: axum::http::HeaderName::from_static("x-user"),
        peers: vec!["10.0.0.5/32".parse().expect("net")],
        role: Role::Viewer,
        operators: vec![],
        admins: vec!["adam".into()],
    };
    let access = Access { anonymous: None, sso: Some(sso), ..Access::default() }.fixed();
    let bench = bench(fake::scene::store(), fake::scene::pipelines());
    let router = app(bench.state.clone(), WebConfig { access, ..config() });
    let from = |peer: &str| {
        let peer = Peer { address: peer.parse().expect("address"), encrypted: false };
        router.clone().layer(Extension(peer))
    };
    for (peer, user, path, status) in [
        ("10.0.0.5", "vera", "/", StatusCode::OK),
        ("10.0.0.5", "adam", "/api/v1/actions", StatusCode::OK),
        ("10.0.0.5", "vera", "/api/v1/actions", StatusCode::FORBIDDEN),
        ("10.0.0.6", "adam", "/api/v1/status", StatusCode::UNAUTHORIZED),
        ("10.0.0.6", "adam", "/", StatusCode::UNAUTHORIZED),
    ] {
        let answer = send(&from(peer), "GET", path, &[("x-user", user)]).await;
        assert_eq!(answer.status, status, "{user} by {peer}: {path}");
    }
    let nobody = send(&from("10.0.0.5"), "GET", "/api/v1/status", &[]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn strangers_are_told_no_names_by_health_and_figures() {
    let (router, bench) = guarded_scene();
    bench.problems.send_replace(vec![fake::stale("topic rides.events is stuck")]);
    let ready = get(&router, "/readyz").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "{\"ready\":false,\"problems\":[],\"hidden\":1}")
    );
    assert_eq!(get(&router, "/healthz").await.body, "ok\n");
    let known = [("authorization", "Bearer viewer")];
    assert!(send(&router, "GET", "/readyz", &known).await.has("rides.events"));
    let (stranger, viewer) = (get(&router, "/metrics").await, send(&router, "GET", "/metrics", &known).await);
    assert_eq!(stranger.body, "up 1\n");
    assert!(viewer.has("lag{topic=\"rides.events\"} 3"), "the control: {}", viewer.body);
}

#[tokio::test]
async fn an_admin_asks_for_a_reload_and_it_is_recorded_before() {
    let mut bench = bench(fake::scene::store(), fake::scene::pipelines());
    let (ask, mut asked) = tokio::sync::mpsc::channel(1);
    bench.state.reload = Some(ask);
    let router = app(bench.state.clone(), guarded(config()));
    let admin = [("authorization", "Bearer admin")];
    let answer = post(&router, "/api/v1/reload", "", &admin).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::ACCEPTED, "{\"asked\":true}"));
    assert_eq!(asked.try_recv(), Ok(()));
    let actions = send(&router, "GET", "/api/v1/actions", &admin).await.json();
    let first = &actions["actions"][0];
    assert_eq!(
        (&first["who"], &first["action"], &first["role"]),
        (&"admin".into(), &"ask for a reload".into(), &"admin".into())
    );
    // What cannot be recorded is not done.
    let broken = fake::FakeStore { broken: true, ..fake::scene::store() };
    let mut broken = fake::bench(broken, fake::scene::pipelines());
    let (ask, mut asked) = tokio::sync::mpsc::channel(1);
    broken.state.reload = Some(ask);
    let router = app(broken.state.clone(), guarded(config()));
    assert_eq!(post(&router, "/api/v1/reload", "", &admin).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_asks_too_often_waits_and_others_do_not() {
    let bench = bench(fake::scene::store(), fake::scene::pipelines());
    let rate = Rate { per_second: 2, burst: 3 };
    let access = Access { behind_proxy: true, ..Access::default() }.fixed();
    let router = app(bench.state.clone(), WebConfig { rate, access, ..config() });
    let proxy: IpAddr = [10, 0, 0, 5].into();
    let router = router.layer(Extension(Peer { address: proxy, encrypted: true }));
    let ask = async |client: &str, path: &str| send(&router, "GET", path, &[("x-forwarded-for", client)]).await;
    for _ in 0..3 {
        assert_eq!(ask("6.6.6.6, 192.0.2.1", "/api/v1/status").await.status, StatusCode::OK);
    }
    let refused = ask("7.7.7.7, 192.0.2.1", "/api/v1/status").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(ask("192.0.2.2", "/api/v1/status").await.status, StatusCode::OK, "another client");
    assert_eq!(ask("192.0.2.1", "/healthz").await.status, StatusCode::OK);
    bench.clock.advance(500);
    assert_eq!(ask("192.0.2.1", "/api/v1/status").await.status, StatusCode::OK, "half a second later");
}
