//! The API over what is not believed: as JSON whole, as CSV one kind.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::account::Unbelieved;

use crate::App;
use crate::api::{self, Format, ROWS_MAX};
use crate::csv::{self, known, text};
use crate::error::WebError;
use crate::params::Params;

/// `GET /api/v1/quarantine`.
pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    api_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn api_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["kind", "format"])?;
    let format = api::format(&params, headers)?;
    let kind = params.get("kind")?.unwrap_or("records");
    let table: fn(&Unbelieved) -> String = match kind {
        "records" => records,
        "audit_lost" => audit_lost,
        "unaudited" => unaudited,
        "oddities" => oddities,
        other => {
            let allowed = "records, audit_lost, unaudited or oddities (of CSV; JSON has all)".to_owned();
            return Err(WebError::parameter("kind", other, allowed));
        }
    };
    let found = app.state.store.unbelieved(ROWS_MAX).await?;
    let lists = [found.quarantined.len(), found.audit_lost.len(), found.unaudited.len(), found.oddities.len()];
    let truncated = lists.into_iter().zip(found.kept).any(|(rows, kept)| (rows as u64) < kept);
    let response = match format {
        Format::Json => Json(found).into_response(),
        Format::Csv => (api::csv_headers(&format!("chaperone-{kind}.csv")), table(&found)).into_response(),
    };
    Ok(api::finish(response, truncated))
}

fn records(found: &Unbelieved) -> String {
    let columns = ["cluster", "topic", "partition", "offset", "received_ms", "length", "sha256", "reason"];
    csv::table(
        &columns,
        found.quarantined.iter().map(|q| {
            vec![
                text(&q.cluster),
                text(&q.topic),
                q.partition.to_string(),
                q.offset.to_string(),
                q.received_ms.to_string(),
                q.length.to_string(),
                text(&q.sha256),
                text(&q.reason),
            ]
        }),
    )
}

fn audit_lost(found: &Unbelieved) -> String {
    let columns = ["cluster", "topic", "partition", "from_offset", "to_offset", "from_ms", "to_ms", "at_ms", "cause"];
    csv::table(
        &columns,
        found.audit_lost.iter().map(|l| {
            vec![
                text(&l.cluster),
                text(&l.topic),
                l.partition.to_string(),
                l.from_offset.to_string(),
                known(l.to_offset),
                known(l.from_ms),
                l.to_ms.to_string(),
                l.at_ms.to_string(),
                text(&l.cause),
            ]
        }),
    )
}

fn unaudited(found: &Unbelieved) -> String {
    let columns =
        ["stage", "topic", "partition", "from_offset", "to_offset", "from_event_ms", "to_event_ms", "at_ms", "cause"];
    csv::table(
        &columns,
        found.unaudited.iter().map(|u| {
            vec![
                text(&u.stage),
                text(&u.topic),
                u.partition.to_string(),
                u.from_offset.to_string(),
                known(u.to_offset),
                known(u.from_event_ms),
                known(u.to_event_ms),
                u.at_ms.to_string(),
                text(&u.cause),
            ]
        }),
    )
}

fn oddities(found: &Unbelieved) -> String {
    csv::table(
        &["at_ms", "kind", "incarnation", "text"],
        found.oddities.iter().map(|o| vec![o.at_ms.to_string(), text(&o.kind), known(o.incarnation), text(&o.text)]),
    )
}
