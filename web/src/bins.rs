//! `GET /api/v1/bins`: verdicts or totals of a range in slices of one width; docs/FORMATS.md has the shapes.
//!
//! What is too old for its windows is told from the slices that are kept; the answer says which width it has.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::query::{BinQuery, Bins, HopBin, StageWindow, WindowQuery};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::api::{Format, ROWS_MAX, csv_headers, finish, format};
use crate::csv::text;
use crate::error::WebError;
use crate::params::Params;

/// Widths by the words that ask for them.
const WIDTHS: [(&str, i64); 4] = [("10s", 10_000), ("1m", 60_000), ("10m", 600_000), ("1h", 3_600_000)];

#[derive(Serialize)]
struct Answer<T> {
    #[serde(flatten)]
    bins: Bins<T>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// An answer of verdicts, as it is described.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description: the answer is made of the store's rows")]
pub(crate) struct Slices {
    /// Width of the slices, ms.
    width_ms: i64,
    /// Start of the first, ms.
    from_ms: i64,
    /// End of the last, ms.
    to_ms: i64,
    /// Newest first.
    rows: Vec<HopBin>,
    /// There may be more.
    truncated: Option<bool>,
}

/// Totals as they are told: without delays.
#[derive(Serialize)]
struct Total {
    topic: String,
    stage: String,
    window_ms: i64,
    width_ms: i64,
    n: u64,
    acked: u64,
    failed: u64,
    bytes: u64,
    f_in: String,
}

impl From<StageWindow> for Total {
    fn from(w: StageWindow) -> Self {
        let StageWindow { topic, stage, window_ms, width_ms, n, acked, failed, bytes, f_in, .. } = w;
        Self { topic, stage, window_ms, width_ms, n, acked, failed, bytes, f_in: f_in.to_string() }
    }
}

/// `GET /api/v1/bins`.
pub(crate) async fn answer(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    told(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn told(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["topic", "from", "to", "tz", "width", "of", "format"])?;
    let format = format(&params, headers)?;
    let range = params.range(app.now_ms(), params.zone()?)?;
    let topic = params.get("topic")?.filter(|t| !t.is_empty()).map(str::to_owned);
    let range = WindowQuery { topic, from_ms: range.from_ms, to_ms: range.to_ms, limit: Some(ROWS_MAX) };
    let query = BinQuery { range, width_ms: width(params.get("width")?)?, at_most: None };
    let store = &app.state.store;
    match params.get("of")? {
        None | Some("verdicts") => Ok(respond(store.hop_bins(query).await?, &format, VERDICTS, verdict_fields)),
        Some("totals") => {
            let Bins { width_ms, from_ms, to_ms, rows } = store.stage_bins(query).await?;
            let rows = rows.into_iter().map(Total::from).collect();
            Ok(respond(Bins { width_ms, from_ms, to_ms, rows }, &format, TOTALS, total_fields))
        }
        Some(other) => Err(WebError::parameter("of", other, "verdicts or totals".to_owned())),
    }
}

/// `None`: the one that fits.
fn width(said: Option<&str>) -> Result<Option<i64>, WebError> {
    match said {
        None | Some("auto") => Ok(None),
        Some(word) => match WIDTHS.iter().find(|(known, _)| *known == word) {
            Some((_, width_ms)) => Ok(Some(*width_ms)),
            None => Err(WebError::parameter("width", word, "auto, 10s, 1m, 10m or 1h".to_owned())),
        },
    }
}

const VERDICTS: &str = "topic,from_stage,to_stage,hop,window_ms,width_ms,worst,windows,windows_ok,missing_min,surplus_min,delayed,amendments";
const TOTALS: &str = "topic,stage,window_ms,width_ms,n,acked,failed,bytes,f_in";

fn verdict_fields(b: &HopBin) -> Vec<String> {
    let ok = b.verdicts.get(&chaperone_collector::Verdict::Ok).copied().unwrap_or_default();
    let mut fields = vec![text(&b.topic), text(&b.from_stage), text(&b.to_stage), b.hop.to_string()];
    fields.extend([b.window_ms, b.width_ms].map(|ms| ms.to_string()));
    fields.push(b.worst.as_str().to_owned());
    fields.extend([b.windows, ok, b.missing_min, b.surplus_min, b.delayed, b.amendments].map(|n| n.to_string()));
    fields
}

fn total_fields(t: &Total) -> Vec<String> {
    let mut fields = vec![text(&t.topic), text(&t.stage), t.window_ms.to_string(), t.width_ms.to_string()];
    fields.extend([t.n, t.acked, t.failed, t.bytes].map(|n| n.to_string()));
    fields.push(t.f_in.clone());
    fields
}

fn respond<T: Serialize>(bins: Bins<T>, format: &Format, header: &str, fields: fn(&T) -> Vec<String>) -> Response {
    let truncated = bins.rows.len() >= ROWS_MAX as usize;
    let response = match format {
        Format::Json => Json(Answer { bins, truncated }).into_response(),
        Format::Csv => {
            let mut out = format!("{header}\r\n");
            for row in &bins.rows {
                out.push_str(&fields(row).join(","));
                out.push_str("\r\n");
            }
            (csv_headers("chaperone-bins.csv"), out).into_response()
        }
    };
    finish(response, truncated)
}
