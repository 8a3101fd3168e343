//! `/login`, `/logout`: a browser's session for a token.
//!
//! Log-ins are written into the log of actions, the refused ones too. A store that cannot be written does not keep
//! anybody out: the page is needed most when something is wrong. It is said in the process's own log then.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, body::Body};
use serde::Deserialize;

use super::{Role, session};
use crate::App;
use crate::actions::{self, Done};
use crate::error::WebError;
use crate::frame;
use crate::listen::Peer;
use crate::params::Params;

/// Bytes of a log-in form at most.
pub(crate) const FORM_BYTES: usize = 4 * 1024;
/// Longest address to go on to.
const TO_MAX: usize = 2_000;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    to: String,
    refused: bool,
    problems: Vec<crate::Problem>,
}

/// What the form holds.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    token: String,
    #[serde(default)]
    to: String,
}

/// `GET /login`: the form.
pub(crate) async fn form(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let to = Params::of(&uri).get("to").ok().flatten().map_or_else(|| "/".to_owned(), inside);
    if app.access().anonymous.is_some() {
        return see(&to);
    }
    render(&app, &to, false)
}

/// `POST /login`: begins a session.
pub(crate) async fn log_in(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    form: Result<Form<Credentials>, FormRejection>,
) -> Response {
    let Ok(Form(Credentials { token, to })) = form else {
        return WebError::Form.into_page(&app);
    };
    let address = app.client(&headers, peer.as_ref().map(|p| &p.0));
    let access = app.access();
    let known = access.tokens.iter().find(|t| t.is(token.trim()));
    let Some(known) = known else {
        actions::should(&app, Done { who: "", role: None, address, action: "log in", what: "", outcome: "refused" })
            .await;
        return render(&app, &inside(&to), true);
    };
    let now_ms = app.now_ms();
    let age = access.session;
    let ends_ms = now_ms.saturating_add(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let cookie = match app.sessions.begin(*known.hash(), now_ms, ends_ms) {
        Ok(cookie) => cookie,
        Err(error) => {
            tracing::error!("log-in: {error}");
            return WebError::Busy { what: "no session can be begun" }.into_page(&app);
        }
    };
    let who = known.who();
    let done = Done { who: &who.name, role: Some(who.role), address, action: "log in", what: "", outcome: "done" };
    actions::should(&app, done).await;
    with_cookie(see(&inside(&to)), Some(&cookie), age.as_secs())
}

/// `POST /logout`: ends the session.
pub(crate) async fn log_out(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let address = app.client(&headers, peer.as_ref().map(|p| &p.0));
    if let Some(who) = super::of_session(&app, &headers) {
        let done = Done { who: &who.name, role: Some(who.role), address, action: "log out", what: "", outcome: "done" };
        actions::should(&app, done).await;
    }
    app.sessions.end(&headers);
    with_cookie(see("/login"), None, 0)
}

fn render(app: &App, to: &str, refused: bool) -> Response {
    let page = LoginPage { to: to.to_owned(), refused, problems: Vec::new() };
    let mut response = frame::bare(app, "Log in · Chaperone", &page);
    if refused {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

fn see(to: &str) -> Response {
    let header = axum::http::HeaderValue::from_str(to).unwrap_or(axum::http::HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, header)], Body::empty()).into_response()
}

fn with_cookie(mut response: Response, text: Option<&str>, seconds: u64) -> Response {
    response.headers_mut().insert(header::SET_COOKIE, session::set_cookie(text, seconds));
    response
}

/// An address of ours to go on to, or `/`: nobody is led elsewhere by a link to the log-in.
pub(crate) fn inside(to: &str) -> String {
    let ours = to.starts_with('/')
        && !to.starts_with("//")
        && to.len() <= TO_MAX
        && to.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
        && !to.starts_with("/login");
    if ours { to.to_owned() } else { "/".to_owned() }
}

/// What somebody's role is called on the page.
pub(crate) fn shown(name: &str, role: Role) -> String {
    format!("{} · {role}", crate::format::name(name))
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn nobody_is_led_elsewhere() {
        for ours in ["/", "/t/sjc/rides?from=now-1h&to=now", "/lag?by=partition"] {
            assert_eq!(inside(ours), ours);
        }
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "/a\r\nx: y",
            "/login",
            "/é",
            "javascript:1",
        ] {
            assert_eq!(inside(foreign), "/", "{foreign}");
        }
    }
}
