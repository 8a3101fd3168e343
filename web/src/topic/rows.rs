//! `GET /api/v1/flow`: the rows of a topic's page as JSON and CSV, raw numbers. docs/FORMATS.md has the shapes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::Pipeline;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::api::{self, Format};
use crate::csv::{self, known, text};
use crate::error::WebError;
use crate::format;
use crate::params::Params;
use crate::topic::grid::{Grid, Row};
use crate::topic::{ask, links::Links, table, unknown};

/// A topic in a range.
#[derive(Serialize, ToSchema)]
pub(crate) struct Flow {
    cluster: String,
    pipeline: String,
    topic: String,
    from_ms: i64,
    to_ms: i64,
    rows: Vec<FlowRow>,
}

/// A window, or a slice of several.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlowRow {
    window_ms: i64,
    width_ms: i64,
    /// How many windows it stands for.
    windows: u64,
    stages: Vec<FlowStage>,
    hops: Vec<FlowHop>,
}

/// What a stage counted; null: unknown, or not yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlowStage {
    stage: String,
    /// Attempted, or seen.
    n: Option<u64>,
    acked: Option<u64>,
    failed: Option<u64>,
    /// To what the stage before it has to pass on: n less failed, of both.
    difference: Option<i64>,
    p50_ms: Option<i64>,
    p99_ms: Option<i64>,
}

/// The verdict on a hop, of a slice the worst, with its sums; null: none.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlowHop {
    from_stage: String,
    to_stage: String,
    verdict: Option<String>,
    missing_min: Option<u64>,
    surplus_min: Option<u64>,
    delayed: Option<u64>,
}

pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["topic", "from", "to", "tz", "format"])?;
    let (format, zone, now_ms) = (api::format(&params, headers)?, params.zone()?, app.now_ms());
    let range = params.range(now_ms, zone)?;
    let topic = params.get("topic")?.unwrap_or_default();
    if topic.is_empty() {
        return Err(WebError::parameter("topic", topic, "the name of a topic".to_owned()));
    }
    let pipelines = app.pipelines();
    let pipeline = pipelines.of(topic).ok_or_else(|| unknown(topic))?;
    let (cluster, topic) = (pipeline.cluster.clone(), topic.to_owned());
    let links = Links { cluster, topic, range, zone, window_ms: None };
    let reporters = app.state.store.reporters(now_ms).await?;
    let (grid, _) = ask::grid(app, pipeline, &links, &reporters).await?;
    let flow = flow(pipeline, links, &grid);
    let response = match format {
        Format::Json => Json(flow).into_response(),
        Format::Csv => (api::csv_headers("chaperone-flow.csv"), to_csv(pipeline, &flow)).into_response(),
    };
    Ok(api::finish(response, false))
}

/// Newest first, as on the page. Pure.
fn flow(pipeline: &Pipeline, links: Links, grid: &Grid) -> Flow {
    let row = |row: &Row| FlowRow {
        window_ms: row.from_ms,
        width_ms: row.to_ms - row.from_ms,
        windows: row.windows(),
        stages: (0..grid.stages.len()).map(|at| stage(grid, row, at)).collect(),
        hops: (0..grid.hop_count()).map(|at| hop(grid, row, at)).collect(),
    };
    Flow {
        cluster: links.cluster,
        pipeline: pipeline.name.clone(),
        topic: links.topic,
        from_ms: links.range.from_ms,
        to_ms: links.range.to_ms,
        rows: grid.rows.iter().rev().map(row).collect(),
    }
}

fn name(grid: &Grid, stage: usize) -> String {
    grid.stages.get(stage).map(|s| s.raw.clone()).unwrap_or_default()
}

fn stage(grid: &Grid, row: &Row, at: usize) -> FlowStage {
    let expected = |at: usize| table::counted(grid, row, at).map(|count| count.n);
    let upstream = at.checked_sub(1).and_then(expected);
    let count = table::counted(grid, row, at);
    let quantile = |permille| count.as_ref().and_then(|c| c.hist.quantile_ms(permille));
    FlowStage {
        stage: name(grid, at),
        n: count.as_ref().map(|c| c.n.saturating_add(c.failed)),
        acked: count.as_ref().map(|c| c.acked),
        failed: count.as_ref().map(|c| c.failed),
        difference: upstream.zip(expected(at)).map(|(up, down)| format::difference(down, up)),
        p50_ms: quantile(500),
        p99_ms: quantile(990),
    }
}

fn hop(grid: &Grid, row: &Row, at: usize) -> FlowHop {
    let window = row.hop(at);
    FlowHop {
        from_stage: name(grid, at),
        to_stage: name(grid, at + 1),
        verdict: window.map(|w| w.verdict.as_str().to_owned()),
        missing_min: window.map(|w| w.missing_min),
        surplus_min: window.map(|w| w.surplus_min),
        delayed: window.map(|w| w.delayed),
    }
}

/// A line a row: columns for each stage, then for each hop.
fn to_csv(pipeline: &Pipeline, flow: &Flow) -> String {
    let stages = pipeline.stages.iter().flat_map(|s| {
        ["n", "acked", "failed", "difference", "p50_ms", "p99_ms"].map(|what| text(&format!("{} {what}", s.name)))
    });
    let hops = pipeline.hops().flat_map(|h| {
        ["verdict", "missing_min", "surplus_min", "delayed"]
            .map(|what| text(&format!("{} > {} {what}", h.from.name, h.to.name)))
    });
    let columns: Vec<String> = ["topic", "window_ms", "width_ms", "windows"]
        .map(str::to_owned)
        .into_iter()
        .chain(stages)
        .chain(hops)
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let line = |row: &FlowRow| {
        let mut cells = vec![text(&flow.topic), row.window_ms.to_string(), row.width_ms.to_string()];
        cells.push(row.windows.to_string());
        for s in &row.stages {
            cells.extend([known(s.n), known(s.acked), known(s.failed)]);
            cells.extend([known(s.difference), known(s.p50_ms), known(s.p99_ms)]);
        }
        for h in &row.hops {
            cells.push(h.verdict.as_deref().map(text).unwrap_or_default());
            cells.extend([h.missing_min, h.surplus_min, h.delayed].map(known));
        }
        cells
    };
    csv::table(&columns, flow.rows.iter().map(line))
}
