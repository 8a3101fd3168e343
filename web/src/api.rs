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
use crate::overview::details::{self, Details};
use crate::overview::filter::Filter;
use crate::overview::owner_of;
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
    topics: Vec<Topic>,
    /// There may be more; absent where there is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Topic {
    #[serde(flatten)]
    summary: TopicSummary,
    /// Who looks after it, where its pipeline says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// With `with=details`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
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
pub(crate) async fn topics(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    topics_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn topics_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["topic", "from", "to", "tz", "q", "only", "with", "format"])?;
    let (format, filter, query) = (format(&params, headers)?, Filter::of_rows(&params)?, query(app, &params)?);
    let is_detailed = match params.get("with")? {
        None | Some("") => false,
        Some("details") => true,
        Some(text) => return Err(WebError::parameter("with", text, "details".to_owned())),
    };
    let pipelines = app.pipelines();
    let mut found = app.state.store.topics(query.clone()).await?;
    let truncated = found.len() >= ROWS_MAX as usize;
    found.retain(|t| filter.names(t, owner_of(&pipelines, t)) && filter.shows(t));
    let details =
        if is_detailed { details::read(app, &pipelines, &found, &query, found.len()).await?.0 } else { Vec::new() };
    let details = details.into_iter().map(Some).chain(std::iter::repeat(None));
    let rows = found.into_iter().zip(details).map(|(summary, details)| {
        let owner = owner_of(&pipelines, &summary).map(str::to_owned);
        Topic { summary, owner, details }
    });
    let topics: Vec<Topic> = rows.collect();
    let response = match format {
        Format::Json => Json(Topics { topics, truncated }).into_response(),
        Format::Csv => (csv_headers("chaperone-topics.csv"), topics_csv(&topics, is_detailed)).into_response(),
    };
    Ok(finish(response, truncated))
}

fn topics_csv(topics: &[Topic], is_detailed: bool) -> String {
    const COLUMNS: [&str; 8] =
        ["topic", "owner", "stages", "worst", "missing_min", "surplus_min", "delayed", "complete_through_ms"];
    let columns: Vec<&str> = COLUMNS.into_iter().chain(details::COLUMNS.into_iter().filter(|_| is_detailed)).collect();
    let row = |t: &Topic| {
        let s = &t.summary;
        let mut cells = vec![
            csv::text(&s.topic),
            csv::text(t.owner.as_deref().unwrap_or_default()),
            csv::text(&s.stages.join("; ")),
            csv::text(s.worst.as_str()),
            s.missing_min.to_string(),
            s.surplus_min.to_string(),
            s.delayed.to_string(),
            csv::known(s.complete_through_ms),
        ];
        cells.extend(t.details.iter().flat_map(Details::cells));
        cells
    };
    csv::table(&columns, topics.iter().map(row))
}

/// `GET /api/v1/status`.
pub(crate) async fn status(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let answer = async {
        Params::only(&uri, &[])?;
        Ok(Json(app.state.store.status().await?).into_response())
    };
    answer.await.unwrap_or_else(WebError::into_problem)
}
