//! The routes from outside: requests through the router, answers as a browser or a script sees them.

mod about;
mod api;
mod bins;
mod door;
#[path = "../fake/mod.rs"]
mod fake;
mod flow;
mod guard;
mod lag;
mod listener;
mod live;
mod openapi;
mod overview;
mod pages;
mod pipelines;
mod quarantine;
mod readable;
mod report;
mod reporters;
mod roles;
mod slow;
mod snapshots;
mod states;
mod topic;
mod window;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chaperone_web::app;
use tower::ServiceExt as _;

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or("")
    }
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
    fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        builder = builder.header("host", "localhost:7979");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::empty()).expect("request")
}

async fn send(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let response = router.clone().oneshot(request(method, path, headers)).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.expect("body");
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(bytes.into()).expect("text") }
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path, &[]).await
}

/// The router over the scene.
fn scene() -> (Router, fake::Bench) {
    let bench = fake::bench(fake::scene::store(), fake::scene::pipelines());
    (app(bench.state.clone(), fake::config()), bench)
}

/// Names of all elements that a parser would find.
fn tags(html: &str) -> std::collections::BTreeSet<String> {
    let starts = html.match_indices('<').filter_map(|(i, _)| html.get(i + 1..));
    let names =
        starts.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '!').collect::<String>());
    names.filter(|n| !n.is_empty()).collect()
}
