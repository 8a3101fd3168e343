//! Around every request: whom it is addressed to, how often and how many at once, for how long, and the headers of every
//! answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use chaperone_collector::within;

use crate::App;
use crate::error::WebError;
use crate::listen::Peer;

/// Headers that no answer leaves without.
const ALWAYS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Bytes of an address at most; hyper itself refuses much longer ones.
const ADDRESS_MAX: usize = 8 * 1024;

pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let encrypted = request.extensions().get::<Peer>().is_some_and(|peer| peer.encrypted);
    let mut response = admit(&app, request, next).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // Answers are about now; only what is addressed by its content may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn admit(app: &App, request: Request, next: Next) -> Response {
    if let Some(host) = foreign_host(&request, &app.config.allowed_hosts) {
        return WebError::ForeignHost { host }.into_problem();
    }
    let bytes = request.uri().path_and_query().map_or(0, |p| p.as_str().len());
    if bytes > ADDRESS_MAX {
        return WebError::LongAddress { bytes, allowed: ADDRESS_MAX }.into_problem();
    }
    if let Some(error) = too_often(app, &request) {
        return error.into_problem();
    }
    // Liveness must be told even when every place is taken; event streams have a limit of their own.
    let unlimited = matches!(request.uri().path(), "/healthz" | "/readyz" | "/events");
    let place = if unlimited { None } else { Some(app.in_flight.try_acquire()) };
    if let Some(Err(_)) = place {
        return WebError::Busy { what: "too many requests are being answered" }.into_problem();
    }
    let limit = app.config.request_timeout;
    // The store ends what is asked of it a little sooner, so that the page itself can say what is the matter.
    match tokio::time::timeout(limit, within(limit * 9 / 10, next.run(request))).await {
        Ok(response) => response,
        Err(_) => WebError::TooLong.into_problem(),
    }
}

/// What the client has to wait for. Only a request that came by a connection has a client.
fn too_often(app: &App, request: &Request) -> Option<WebError> {
    let path = request.uri().path();
    let client = app.client(request.headers(), request.extensions().get::<Peer>())?;
    let refused = |seconds, what| WebError::TooMany { what, seconds };
    if path == "/login" && request.method() == Method::POST {
        let wait = app.log_ins.take(client, app.now_ms()).err()?;
        return Some(refused(wait, "too many log-ins were tried from your address"));
    }
    if path.starts_with("/assets/") || matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return None;
    }
    let wait = app.rates.take(client, app.now_ms()).err()?;
    Some(refused(wait, "too many requests come from your address"))
}

/// The host that a request names, if it is not one of ours. Both places where HTTP/1.1 names it must agree to it.
fn foreign_host(request: &Request, allowed: &[String]) -> Option<String> {
    let mut named = request.headers().get_all(header::HOST).iter().map(|h| h.to_str().unwrap_or("?").to_owned());
    let authority = request.uri().authority().map(|a| a.as_str().to_owned());
    let (Some(first), None) = (named.next().or_else(|| authority.clone()), named.next()) else {
        return Some("(none, or more than one)".to_owned());
    };
    [Some(first), authority].into_iter().flatten().find(|host| !allowed.iter().any(|a| names(a, host)))
}

/// Whether an entry of the list names the host; an entry without a port names it on every port.
fn names(entry: &str, host: &str) -> bool {
    if entry == "*" || entry.eq_ignore_ascii_case(host) {
        return true;
    }
    match host.rsplit_once(':') {
        Some((name, port)) => {
            !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && entry.eq_ignore_ascii_case(name)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn refused(host: &str) -> bool {
        let allowed = ["localhost", "[::1]", "audit.example:8080"].map(str::to_owned);
        let request = Request::builder().uri("/").header("host", host).body(Body::empty()).expect("request");
        foreign_host(&request, &allowed).is_some()
    }

    #[test]
    fn only_listed_hosts_are_answered_for() {
        for ours in ["localhost", "LOCALHOST:7979", "[::1]:80", "[::1]", "audit.example:8080"] {
            assert!(!refused(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "evil.example:80",
            "audit.example",
            "audit.example:81",
            "",
            "localhost:",
            "localhost:x",
            "[::1",
            "localhost@evil.example",
            "xlocalhost",
        ] {
            assert!(refused(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_star_answers_for_every_host() {
        let request = Request::builder().uri("/").header("host", "10.1.2.3:9090").body(Body::empty()).expect("request");
        assert!(foreign_host(&request, &["*".to_owned()]).is_none());
        let none = Request::builder().uri("/").body(Body::empty()).expect("request");
        assert!(foreign_host(&none, &["*".to_owned()]).is_some());
    }

    #[test]
    fn no_host_and_two_hosts_are_refused() {
        let allowed = ["localhost".to_owned()];
        let none = Request::builder().uri("/").body(Body::empty()).expect("request");
        assert!(foreign_host(&none, &allowed).is_some());
        let two = Request::builder().uri("/").header("host", "localhost").header("host", "localhost");
        assert!(foreign_host(&two.body(Body::empty()).expect("request"), &allowed).is_some());
        let absolute = Request::builder().uri("http://evil.example/").header("host", "localhost");
        assert!(foreign_host(&absolute.body(Body::empty()).expect("request"), &allowed).is_some());
    }
}
