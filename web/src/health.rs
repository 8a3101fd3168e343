//! Whether the process lives, whether it can be believed, and its figures.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::App;

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    problems: Vec<String>,
}

/// `GET /healthz`: the process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 when nothing worse than a notice is wrong, else 503; with what is wrong either way.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let problems = app.problems();
    let ready = problems.iter().all(|problem| problem.notice);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let problems = problems.into_iter().map(|problem| problem.text).collect();
    (status, Json(Readiness { ready, problems })).into_response()
}

/// `GET /metrics`: figures for programs.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.state.metrics.text().await)
        .into_response()
}
