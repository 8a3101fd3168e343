//! The one table of routes: path, method, least role, face, handler. A route that is not a row here is not served.
//!
//! Each row is wrapped in [`access::check`] with its own role, so that no handler can forget to ask. Held by
//! `tests/web/roles.rs`: every row × every role, and that nothing else in the crate makes a route.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use axum::{Router, response::IntoResponse as _};
use tower_http::csrf::CsrfLayer;

use crate::App;
use crate::access::{self, Gate, Role, login};
use crate::error::WebError;
use crate::{
    about, actions, api, assets, bins, compress, events, frame, guard, health, lag, openapi, overview, pipelines,
    quarantine, report, reporters, topic, window,
};

/// Makes the handler of a row, for its method.
type Serve = fn(MethodFilter) -> MethodRouter<Arc<App>>;

/// Who reads the answer: decides what a refusal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// A person: the way to the log-in.
    Page,
    /// A program: a problem (RFC 9457).
    Data,
    /// A supervisor or a scraper, also of processes without pages.
    Health,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// As HTTP writes it; `GET` answers `HEAD` too.
    pub method: &'static str,
    /// With `{name}` for a segment that may be anything.
    pub path: &'static str,
    /// The least role that is let in; none: everybody.
    pub role: Option<Role>,
    /// Who reads the answer.
    pub face: Face,
    serve: Serve,
}

const fn page(path: &'static str, role: Role, serve: Serve) -> Route {
    Route { method: "GET", path, role: Some(role), face: Face::Page, serve }
}
const fn data(path: &'static str, role: Role, serve: Serve) -> Route {
    Route { method: "GET", path, role: Some(role), face: Face::Data, serve }
}
const fn health_of(path: &'static str, serve: Serve) -> Route {
    Route { method: "GET", path, role: None, face: Face::Health, serve }
}
const fn open(path: &'static str, serve: Serve) -> Route {
    Route { method: "GET", path, role: None, face: Face::Data, serve }
}
/// What changes something: asked by forms of our own pages and by programs, never by a page from elsewhere.
const fn post(path: &'static str, role: Option<Role>, serve: Serve) -> Route {
    Route { method: "POST", path, role, face: Face::Data, serve }
}

use Role::{Admin, Viewer};

/// Every route. Those for everybody name no topic, host or cluster to whoever has not logged in.
pub const ROUTES: &[Route] = &[
    page("/", Viewer, |m| on(m, overview::page)),
    page("/t/{cluster}/{topic}", Viewer, |m| on(m, topic::page)),
    page("/t/{cluster}/{topic}/w/{window}", Viewer, |m| on(m, window::page)),
    page("/lag", Viewer, |m| on(m, lag::page)),
    page("/reporters", Viewer, |m| on(m, reporters::page)),
    page("/quarantine", Viewer, |m| on(m, quarantine::page)),
    page("/pipelines", Viewer, |m| on(m, pipelines::page)),
    page("/report", Viewer, |m| on(m, report::page)),
    page("/about", Viewer, |m| on(m, about::page)),
    data("/events", Viewer, |m| on(m, events::stream)),
    data("/api/v1/windows", Viewer, |m| on(m, api::windows)),
    data("/api/v1/flow", Viewer, |m| on(m, topic::rows::api)),
    data("/api/v1/bins", Viewer, |m| on(m, bins::answer)),
    data("/api/v1/topics", Viewer, |m| on(m, api::topics)),
    data("/api/v1/lag", Viewer, |m| on(m, lag::rows::api)),
    data("/api/v1/reporters", Viewer, |m| on(m, reporters::rows::api)),
    data("/api/v1/quarantine", Viewer, |m| on(m, quarantine::rows::api)),
    data("/api/v1/pipelines", Viewer, |m| on(m, pipelines::rows::api)),
    data("/api/v1/report", Viewer, |m| on(m, report::summary::api)),
    data("/api/v1/about", Viewer, |m| on(m, about::api)),
    data("/api/v1/status", Viewer, |m| on(m, api::status)),
    data("/api/v1/actions", Admin, |m| on(m, actions::list)),
    post("/api/v1/reload", Some(Admin), |m| on(m, actions::reload)),
    open("/api/v1/openapi.json", |m| on(m, openapi::serve)),
    health_of("/healthz", |m| on(m, health::live)),
    health_of("/readyz", |m| on(m, health::ready)),
    health_of("/metrics", |m| on(m, health::metrics)),
    open("/assets/{name}", |m| on(m, assets::serve)),
    open("/login", |m| on(m, login::form)),
    post("/login", None, |m| on(m, login::log_in).layer(DefaultBodyLimit::max(login::FORM_BYTES))),
    post("/logout", None, |m| on(m, login::log_out)),
];

pub(crate) fn router(app: Arc<App>) -> Router {
    let rows = ROUTES.iter().fold(Router::new(), |router, route| add(router, route, &app));
    // Whether an address exists is told to whom the pages are told.
    let gate = Gate::new(&app, Some(Viewer), Face::Page);
    let nothing = any(nothing).layer(from_fn_with_state(gate, access::check)).with_state(Arc::clone(&app));
    around(rows.fallback_service(nothing), app)
}

pub(crate) fn only_health(app: Arc<App>) -> Router {
    let rows = ROUTES.iter().filter(|r| r.face == Face::Health);
    around(rows.fold(Router::new(), |router, route| add(router, route, &app)).fallback(nothing_here), app)
}

fn add(router: Router<Arc<App>>, route: &Route, app: &Arc<App>) -> Router<Arc<App>> {
    let method = if route.method == "POST" { MethodFilter::POST } else { MethodFilter::GET };
    let gate = Gate::new(app, route.role, route.face);
    router.route(route.path, (route.serve)(method).route_layer(from_fn_with_state(gate, access::check)))
}

fn around(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .method_not_allowed_fallback(|| async { WebError::Method.into_problem().into_response() })
        .layer(CsrfLayer::new().with_rejection_response(|_| WebError::CrossSite.into_problem()))
        .layer(from_fn(frame::wishes))
        .layer(compress::layer())
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

async fn nothing_here() -> Response {
    let what = "page in this process; it has /healthz, /readyz and /metrics".to_owned();
    WebError::NotFound { what, advice: Vec::new() }.into_problem()
}

async fn nothing(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let advice = vec!["Every topic is listed on the overview.".to_owned()];
    let error = WebError::NotFound { what: "page at this address".to_owned(), advice };
    if uri.path().starts_with("/api/") { error.into_problem() } else { error.into_page(&app) }
}
