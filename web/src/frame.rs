//! What surrounds every page, and the page that only has something to say.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::App;
use crate::assets::{self, Addresses};
use crate::zone::Zone;

/// A request for the part of a page that changes: `X-Fragment: main`.
const FRAGMENT: HeaderName = HeaderName::from_static("x-fragment");

#[derive(Template)]
#[template(path = "frame.html")]
struct Frame<'a> {
    title: &'a str,
    main: &'a str,
    assets: Addresses,
    events: Option<&'a str>,
    updated: String,
    version: &'a str,
    is_overview: bool,
    is_lag: bool,
}

/// A page without data.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct Message {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    pub(crate) advice: Vec<String>,
    pub(crate) problems: Vec<crate::Problem>,
}

/// What a page is, apart from its content.
pub(crate) struct About<'a> {
    pub(crate) title: &'a str,
    /// Where its news comes from; none for a page that has no news.
    pub(crate) events: Option<&'a str>,
    pub(crate) zone: Zone,
    pub(crate) now_ms: i64,
    pub(crate) is_overview: bool,
    pub(crate) is_lag: bool,
}

/// Renders a page, or only its `<main>` if that was asked for.
pub(crate) fn page(app: &App, headers: &HeaderMap, about: &About<'_>, main: &impl Template) -> Response {
    let main = match main.render() {
        Ok(main) => main,
        Err(error) => return cannot_render(&error),
    };
    let only_main = headers.get(FRAGMENT).is_some_and(|h| h == "main");
    let html = if only_main {
        main
    } else {
        let frame = Frame {
            title: about.title,
            main: &main,
            assets: assets::addresses(),
            events: about.events,
            updated: format!("{} {}", about.zone.clock(about.now_ms), about.zone.label()),
            version: app.state.version,
            is_overview: about.is_overview,
            is_lag: about.is_lag,
        };
        match frame.render() {
            Ok(html) => html,
            Err(error) => return cannot_render(&error),
        }
    };
    let mut response = Html(html).into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("x-fragment"));
    response
}

/// Renders a page without data.
pub(crate) fn message(app: &App, message: &Message) -> Response {
    let about = About {
        title: message.title,
        events: None,
        zone: Zone::utc(),
        now_ms: app.now_ms(),
        is_overview: false,
        is_lag: false,
    };
    page(app, &HeaderMap::new(), &about, message)
}

/// A template writes to memory only; this is for the case that it fails all the same.
fn cannot_render(error: &askama::Error) -> Response {
    tracing::error!(%error, "a page could not be rendered");
    (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered; the log has the reason\n").into_response()
}
