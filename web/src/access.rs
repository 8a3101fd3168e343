//! Who may see and do what: roles, who a request comes from, and the one check in front of every route.
//!
//! A request is somebody's by the first that it brings: a bearer token, a session's cookie, a proxy's header from an
//! address that is believed. What it brings must be good: a wrong token is refused and never treated as absent (a session
//! that is over is, so that a browser can log in again). Who brings nothing has [`Access::anonymous`], which is nobody
//! wherever log-in is configured.
//!
//! Limits: tokens are compared by their SHA-256, in a time that does not depend on how much of them is right.

pub(crate) mod login;
pub(crate) mod session;
mod sso;
pub mod token;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};
pub use sso::Sso;
pub use token::Token;
use tokio::sync::watch;

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::listen::Peer;
use crate::routes::Face;

/// How long a session lasts by default.
pub const SESSION: Duration = Duration::from_hours(12);

/// What somebody may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// And says what is known, muted, resolved.
    Operator,
    /// And changes what the process does.
    Admin,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The role of who says nothing; none: they must log in.
    pub anonymous: Option<Role>,
    /// Tokens by name.
    pub tokens: Vec<Token>,
    /// A proxy that says who people are.
    pub sso: Option<Sso>,
    /// How long a session lasts.
    pub session: Duration,
    /// Everything comes through a proxy, which appends the client's address to `X-Forwarded-For`.
    pub behind_proxy: bool,
}

/// Whoever reaches the address may do everything: for loopback addresses.
impl Default for Access {
    fn default() -> Self {
        Self { anonymous: Some(Role::Admin), tokens: Vec::new(), sso: None, session: SESSION, behind_proxy: false }
    }
}

impl Access {
    /// That does not change while the process lives.
    pub fn fixed(self) -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::new(self)).1
    }

    /// Whether everybody must say who they are.
    pub fn is_on(&self) -> bool {
        self.anonymous.is_none()
    }
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// As the configuration or the proxy calls them; empty for who said nothing.
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// What a request brings is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrong;

/// Who the request comes from; `Ok(None)`: somebody who said nothing, where that is not enough.
pub(crate) fn who(app: &App, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Option<Who>, Wrong> {
    let access = app.access();
    if let Some(bearer) = bearer(headers)? {
        return access.tokens.iter().find(|t| t.is(bearer)).map(|t| Some(t.who())).ok_or(Wrong);
    }
    if let Some(who) = of_session(app, headers) {
        return Ok(Some(who));
    }
    let by_proxy = access.sso.as_ref().map(|sso| sso.who(headers, peer.map(|p| p.address))).transpose()?.flatten();
    Ok(by_proxy.or_else(|| access.anonymous.map(|role| Who { name: String::new(), role })))
}

/// Whose session it is, if its token is still good.
pub(crate) fn of_session(app: &App, headers: &HeaderMap) -> Option<Who> {
    let token = app.sessions.token_of(headers, app.now_ms())?;
    app.access().tokens.iter().find(|t| *t.hash() == token).map(Token::who)
}

/// The client's address, as far as it is known: that of the connection, or what the proxy in front says.
pub(crate) fn client(access: &Access, headers: &HeaderMap, peer: Option<&Peer>) -> Option<IpAddr> {
    let forwarded = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse().ok()
    };
    let said = if access.behind_proxy { forwarded() } else { None };
    said.or_else(|| peer.map(|p| p.address))
}

/// The token that a request brings, if it brings one. Two are none that could be right.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Wrong> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(first), None) = (all.next(), all.next()) else {
        return if headers.contains_key(header::AUTHORIZATION) { Err(Wrong) } else { Ok(None) };
    };
    let text = first.to_str().map_err(|_| Wrong)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Wrong),
    }
}

/// What stands in front of one route.
#[derive(Clone)]
pub(crate) struct Gate {
    app: Arc<App>,
    least: Option<Role>,
    face: Face,
}

impl Gate {
    pub(crate) fn new(app: &Arc<App>, least: Option<Role>, face: Face) -> Self {
        Self { app: Arc::clone(app), least, face }
    }
}

/// The check: lets a request through to its handler, with [`Who`] at hand if it is known, or refuses it.
pub(crate) async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let who = who(&gate.app, request.headers(), request.extensions().get::<Peer>());
    let refused = match (gate.least, &who) {
        // Open to everybody: a bad credential is as good as none.
        (None, _) => None,
        (Some(_), Err(Wrong) | Ok(None)) => Some(WebError::LogIn),
        (Some(least), Ok(Some(who))) => (who.role < least).then_some(WebError::Role { least, has: who.role }),
    };
    if let Some(error) = refused {
        return refusal(&gate, &request, error);
    }
    if let Ok(Some(who)) = who {
        request.extensions_mut().insert(who);
    }
    next.run(request).await
}

/// A problem for programs; for people the way to the log-in, and back.
fn refusal(gate: &Gate, request: &Request, error: WebError) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let fragment = request.headers().contains_key("x-fragment");
    if gate.face != Face::Page || fragment || request.uri().path().starts_with("/api/") {
        return error.into_problem();
    }
    let tokens = !gate.app.access().tokens.is_empty();
    if !matches!(error, WebError::LogIn) || !tokens || request.headers().contains_key(header::AUTHORIZATION) {
        return error.into_page(&gate.app);
    }
    let here = login::inside(request.uri().path_and_query().map_or("/", |p| p.as_str()));
    // A link from elsewhere: the browser keeps a strict cookie back until it is one of ours.
    if header("sec-fetch-site") == "cross-site" && header("sec-fetch-mode") == "navigate" {
        let again = Again { here };
        let page = askama::Template::render(&again).unwrap_or_default();
        return (StatusCode::UNAUTHORIZED, Html(page)).into_response();
    }
    let to = format!("/login?to={}", format::url(&here));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// Asks for the same page once more, from our own.
#[derive(askama::Template)]
#[template(path = "again.html")]
struct Again {
    here: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn roles_contain_one_another() {
        assert!(Role::ALL.is_sorted());
        assert_eq!(Role::ALL.map(|r| Role::parse(r.as_str())), Role::ALL.map(Some));
        assert_eq!(Role::parse("root"), None);
    }

    #[test]
    fn a_credential_is_one_bearer_token_or_wrong() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(|t| t.map(str::to_owned))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(of(&["bearer abc"]), Ok(Some("abc".to_owned())));
        for wrong in [&["Basic YTpi"][..], &["Bearer"], &[""], &["Bearer a", "Bearer b"]] {
            assert_eq!(of(wrong), Err(Wrong), "{wrong:?}");
        }
    }
}
