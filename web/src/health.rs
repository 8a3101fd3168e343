//! Whether the process lives, and whether it can be believed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
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

/// `GET /readyz`: 200 when nothing is wrong, else 503 with what is.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let problems = app.problems();
    let ready = problems.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, problems })).into_response()
}
