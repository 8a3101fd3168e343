//! What surrounds every page, and the page that only has something to say.

use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use crate::App;
use crate::access::{self, login};
use crate::assets::{self, Addresses};
use crate::zone::Zone;

/// A request for the part of a page that changes: `X-Fragment: main`.
const FRAGMENT: HeaderName = HeaderName::from_static("x-fragment");
/// The address says `kiosk=1`: see [`wishes`].
const KIOSK: HeaderName = HeaderName::from_static("x-kiosk");
/// What the cookie `theme` may say; anything else is as if there were none.
const THEMES: [&str; 2] = ["dark", "light"];

#[derive(Template)]
#[template(path = "frame.html")]
struct Frame<'a> {
    title: &'a str,
    main: &'a str,
    assets: Addresses,
    events: Option<&'a str>,
    updated: String,
    version: &'a str,
    places: Vec<Place>,
    /// Who has logged in, for the way out.
    who: Option<String>,
    theme: Option<&'static str>,
    kiosk: bool,
}

/// The places that every page leads to, in the order of the navigation. A screen of its own is one line here, one in
/// [`Tab::ALL`] and one in `routes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Overview,
    Lag,
    Reporters,
    Quarantine,
    Pipelines,
    Report,
    About,
}

impl Tab {
    const ALL: [Self; 7] =
        [Self::Overview, Self::Lag, Self::Reporters, Self::Quarantine, Self::Pipelines, Self::Report, Self::About];

    /// Where it is, and what it is called.
    const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Overview => ("/", "Overview"),
            Self::Lag => ("/lag", "Lag"),
            Self::Reporters => ("/reporters", "Reporters"),
            Self::Quarantine => ("/quarantine", "Quarantine"),
            Self::Pipelines => ("/pipelines", "Pipelines"),
            Self::Report => ("/report", "Report"),
            Self::About => ("/about", "About"),
        }
    }
}

/// One entry of the navigation.
struct Place {
    path: &'static str,
    name: &'static str,
    current: bool,
}

fn places(current: Option<Tab>) -> Vec<Place> {
    let place = |tab: Tab| {
        let (path, name) = tab.place();
        Place { path, name, current: current == Some(tab) }
    };
    Tab::ALL.into_iter().map(place).collect()
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
    /// The place of the navigation that it is; none for pages inside another.
    pub(crate) tab: Option<Tab>,
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
            places: places(about.tab),
            who: access::of_session(app, headers).map(|who| login::shown(&who.name, who.role)),
            theme: theme(headers),
            kiosk: headers.contains_key(KIOSK),
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

/// `?kiosk=1` is for the frame and not for the page: it is handed over as a header, so that no page has to know of it.
pub(crate) async fn wishes(mut request: Request, next: Next) -> Response {
    let kiosk = request.uri().query().is_some_and(|q| q.split('&').any(|part| part == "kiosk=1"));
    request.headers_mut().remove(KIOSK);
    if kiosk {
        request.headers_mut().insert(KIOSK, HeaderValue::from_static("1"));
    }
    next.run(request).await
}

/// The theme that was chosen in this browser: in a cookie, so that the first paint knows it and no script has to run before.
fn theme(headers: &HeaderMap) -> Option<&'static str> {
    let mut cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok()).flat_map(|c| c.split(';'));
    let chosen = cookies.find_map(|c| c.trim().strip_prefix("theme="))?;
    THEMES.into_iter().find(|theme| *theme == chosen)
}

/// Renders a page without data.
pub(crate) fn message(app: &App, message: &Message) -> Response {
    bare(app, message.title, message)
}

/// Renders a page that has no news and knows nobody.
pub(crate) fn bare(app: &App, title: &str, main: &impl Template) -> Response {
    let about = About { title, events: None, zone: Zone::utc(), now_ms: app.now_ms(), tab: None };
    page(app, &HeaderMap::new(), &about, main)
}

/// A template writes to memory only; this is for the case that it fails all the same.
fn cannot_render(error: &askama::Error) -> Response {
    tracing::error!(%error, "a page could not be rendered");
    (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered; the log has the reason\n").into_response()
}
