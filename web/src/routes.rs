//! The one table of paths.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, response::IntoResponse as _};

use crate::App;
use crate::error::WebError;
use crate::{api, assets, events, guard, health, overview, topic};

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/t/{cluster}/{topic}", get(topic::page))
        .route("/events", get(events::stream))
        .route("/api/v1/windows", get(api::windows))
        .route("/api/v1/topics", get(api::topics))
        .route("/api/v1/reporters", get(api::reporters))
        .route("/api/v1/status", get(api::status))
        .merge(health_routes())
        .route("/assets/{name}", get(assets::serve))
        .fallback(nothing)
        .method_not_allowed_fallback(|| async { WebError::Method.into_problem().into_response() })
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

pub(crate) fn only_health(app: Arc<App>) -> Router {
    health_routes()
        .fallback(nothing_here)
        .method_not_allowed_fallback(|| async { WebError::Method.into_problem().into_response() })
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

fn health_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
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
