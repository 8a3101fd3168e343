//! Every route × every role. The table below is what is meant; the crate's own table is held to it, and every request
//! goes through the router.

use chaperone_web::{Access, Face, ROUTES, Role, Token, WebConfig, token};

use super::*;
use fake::{bench, config};

/// What is meant: method, path, least role (none: everybody).
const MEANT: &[(&str, &str, Option<Role>)] = &[
    ("GET", "/", Some(Role::Viewer)),
    ("GET", "/t/{cluster}/{topic}", Some(Role::Viewer)),
    ("GET", "/t/{cluster}/{topic}/w/{window}", Some(Role::Viewer)),
    ("GET", "/lag", Some(Role::Viewer)),
    ("GET", "/about", Some(Role::Viewer)),
    ("GET", "/report", Some(Role::Viewer)),
    ("GET", "/pipelines", Some(Role::Viewer)),
    ("GET", "/quarantine", Some(Role::Viewer)),
    ("GET", "/reporters", Some(Role::Viewer)),
    ("GET", "/events", Some(Role::Viewer)),
    ("GET", "/api/v1/windows", Some(Role::Viewer)),
    ("GET", "/api/v1/flow", Some(Role::Viewer)),
    ("GET", "/api/v1/bins", Some(Role::Viewer)),
    ("GET", "/api/v1/topics", Some(Role::Viewer)),
    ("GET", "/api/v1/lag", Some(Role::Viewer)),
    ("GET", "/api/v1/reporters", Some(Role::Viewer)),
    ("GET", "/api/v1/about", Some(Role::Viewer)),
    ("GET", "/api/v1/report", Some(Role::Viewer)),
    ("GET", "/api/v1/pipelines", Some(Role::Viewer)),
    ("GET", "/api/v1/quarantine", Some(Role::Viewer)),
    ("GET", "/api/v1/status", Some(Role::Viewer)),
    ("GET", "/api/v1/actions", Some(Role::Admin)),
    ("POST", "/api/v1/reload", Some(Role::Admin)),
    ("GET", "/api/v1/openapi.json", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", None),
    ("GET", "/assets/{name}", None),
    ("GET", "/login", None),
    ("POST", "/login", None),
    ("POST", "/logout", None),
];

/// A token of each role; the token's text is the role's name.
pub(crate) fn guarded(config: WebConfig) -> WebConfig {
    let tokens = Role::ALL.map(|role| Token::new(role.as_str(), role, &token::hash(role.as_str())).expect("hash"));
    WebConfig { access: Access { anonymous: None, tokens: tokens.to_vec(), ..Access::default() }.fixed(), ..config }
}

fn walled() -> Router {
    app(bench(fake::scene::store(), fake::scene::pipelines()).state, guarded(config()))
}

#[test]
fn the_table_is_as_meant() {
    let mut declared: Vec<_> = ROUTES.iter().map(|r| (r.method, r.path, r.role)).collect();
    let mut meant = MEANT.to_vec();
    declared.sort_unstable();
    meant.sort_unstable();
    assert_eq!(declared, meant);
    assert!(ROUTES.iter().all(|r| r.face != Face::Page || r.role.is_some()), "a page for everybody");
}

#[test]
fn nothing_else_in_the_crate_makes_a_route() {
    let mut makers = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("source");
            let calls = [".route(", ".nest(", ".route_service(", ".nest_service("];
            makers.extend(
                calls.iter().flat_map(|call| text.matches(call)).map(|call| format!("{} {call}", path.display())),
            );
        }
    }
    assert_eq!(makers.len(), 1, "only the fold over the table may add routes: {makers:#?}");
    assert!(makers[0].contains("routes.rs"), "{makers:#?}");
}

#[tokio::test]
async fn every_route_asks_for_its_role() {
    let router = walled();
    let mut checked = 0;
    for route in ROUTES {
        let path = route.path.replace("{cluster}", "sjc").replace("{topic}", "rides.events").replace("{name}", "x.css");
        let path = path.replace("{window}", "1795264880000");
        for who in [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)] {
            let bearer = who.map(|role| format!("Bearer {role}"));
            let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
            let response = router.clone().oneshot(request(route.method, &path, &headers)).await.expect("infallible");
            let status = response.status();
            let to = response.headers().get("location").and_then(|h| h.to_str().ok()).unwrap_or_default();
            let led_away = status == StatusCode::SEE_OTHER && to.starts_with("/login?to=");
            let refused = led_away || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            assert_eq!(refused, who < route.role, "{} {path} as {who:?}: {status}", route.method);
            if refused && who.is_some() {
                assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, ROUTES.len() * 4);
}

#[tokio::test]
async fn what_is_no_credential_is_refused_and_told_nothing() {
    let bench = bench(fake::scene::store(), fake::scene::pipelines());
    bench.problems.send_replace(vec![fake::stale("topic rides.events is stuck")]);
    let router = app(bench.state.clone(), guarded(config()));
    for authorization in ["Bearer nobody", "Bearer ", "Basic dmlld2VyOg==", "viewer", "Bearer viewer extra"] {
        for path in ["/", "/api/v1/windows", "/t/sjc/rides.events", "/nope", "/api/nope", "/events"] {
            let answer = send(&router, "GET", path, &[("authorization", authorization)]).await;
            assert_ne!(answer.status, StatusCode::OK, "{path} {authorization}");
            assert!(!answer.has("rides.events"), "{path}: {}", answer.body);
        }
    }
    let answer = get(&router, "/api/v1/windows").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"chaperone\"");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    // The control: with the token of a viewer it is all there.
    let known = send(&router, "GET", "/", &[("authorization", "Bearer viewer")]).await;
    assert!(known.status == StatusCode::OK && known.has("rides.events") && known.has("is stuck"));
}

#[tokio::test]
async fn without_log_in_everything_is_open_as_before() {
    let (router, _bench) = scene();
    assert_eq!(get(&router, "/").await.status, StatusCode::OK);
    // A credential that nobody knows is wrong even here: who sends one means to be somebody.
    let wrong = send(&router, "GET", "/", &[("authorization", "Bearer x")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
}
