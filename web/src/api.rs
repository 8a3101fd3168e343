//! JSON and CSV of the store's rows. The shapes are fixed: docs/FORMATS.md.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use chaperone_collector::query::{HopWindow, TopicSummary, WindowQuery};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::csv;
use crate::error::WebError;
use crate::page::{self, Paging};
use crate::params::Params;

/// Most rows in one answer. An answer that reaches it says `truncated`: there may be more.
pub(crate) const ROWS_MAX: u32 = 10_000;
/// Says on a CSV what `"truncated": true` says in the JSON.
const TRUNCATED: HeaderName = HeaderName::from_static("chaperone-truncated");
/// Says on a CSV what `"next"` says in the JSON.
const NEXT: HeaderName = HeaderName::from_static("chaperone-next");

#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
pub(crate) struct Windows {
    windows: Vec<HopWindow>,
    /// There may be more; absent where there is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
    /// The following page, where pages were asked for and there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Topics {
    topics: Vec<TopicSummary>,
}

#[derive(PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

/// `GET /api/v1/windows`.
pub(crate) async fn windows(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    windows_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn windows_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["topic", "from", "to", "tz", "format", "limit", "after"])?;
    let (format, paging) = (format(&params, headers)?, Paging::of(&params)?);
    let query = query(app, &params)?;
    let (rows, truncated, next) = if paging.asked {
        let query = WindowQuery { limit: Some(paging.limit), ..query };
        let rows = app.state.store.windows_page(query, paging.after_window()?).await?;
        let next = paging.next(rows.len(), || rows.last().map(page::key_of).unwrap_or_default());
        (rows, false, next)
    } else {
        let rows = app.state.store.windows(query).await?;
        let truncated = rows.len() >= ROWS_MAX as usize;
        (rows, truncated, None)
    };
    let mut response = match format {
        Format::Json => Json(Windows { windows: rows, truncated, next: next.clone() }).into_response(),
        Format::Csv => (csv_headers("chaperone-windows.csv"), csv::windows(&rows)).into_response(),
    };
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(finish(response, truncated))
}

/// Headers of a CSV that is saved under this name.
pub(crate) fn csv_headers(file: &str) -> [(HeaderName, String); 2] {
    [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file}\"")),
    ]
}

/// What rows say in their headers.
pub(crate) fn finish(mut response: Response, truncated: bool) -> Response {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    if truncated {
        response.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    response
}

pub(crate) fn format(params: &Params, headers: &HeaderMap) -> Result<Format, WebError> {
    match params.get("format")? {
        Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some(other) => Err(WebError::parameter("format", other, "json or csv".to_owned())),
        None => {
            let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|h| h.to_str().ok());
            let csv = accepts
                .flat_map(|h| h.split(','))
                .any(|m| m.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/csv")));
            Ok(if csv { Format::Csv } else { Format::Json })
        }
    }
}

fn query(app: &App, params: &Params) -> Result<WindowQuery, WebError> {
    let range = params.range(app.now_ms(), params.zone()?)?;
    let topic = params.get("topic")?.filter(|t| !t.is_empty()).map(str::to_owned);
    Ok(WindowQuery { topic, from_ms: range.from_ms, to_ms: range.to_ms, limit: Some(ROWS_MAX) })
}

/// `GET /api/v1/topics`.
pub(crate) async fn topics(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let answer = async {
        let query = query(&app, &Params::only(&uri, &["topic", "from", "to", "tz"])?)?;
        Ok(Json(Topics { topics: app.state.store.topics(query).await? }).into_response())
    };
    answer.await.unwrap_or_else(WebError::into_problem)
}

/// `GET /api/v1/status`.
pub(crate) async fn status(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let answer = async {
        Params::only(&uri, &[])?;
        Ok(Json(app.state.store.status().await?).into_response())
    };
    answer.await.unwrap_or_else(WebError::into_problem)
}
