//! The API over pipelines: as JSON whole, as CSV a row a hop.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::account::HopStand;
use chaperone_collector::{Counting, Expected, Pipeline, Pipelines, Stage};
use serde::Serialize;
use utoipa::ToSchema;

use super::{is_found, reporting, through, written};
use crate::App;
use crate::api::{self, Format};
use crate::csv;
use crate::error::WebError;
use crate::params::Params;

#[derive(Serialize, ToSchema)]
pub(crate) struct PipelineRows {
    pipelines: Vec<Row>,
}

/// One pipeline.
#[derive(Serialize, ToSchema)]
#[schema(as = PipelineRow)]
pub(crate) struct Row {
    name: String,
    discovered: bool,
    cluster: String,
    topics: Vec<String>,
    owner: Option<String>,
    runbook: Option<String>,
    #[schema(value_type = u64)]
    grace_ms: u128,
    #[schema(value_type = u64)]
    silent_after_ms: u128,
    /// Absent: nothing is called late.
    #[serde(skip_serializing_if = "Option::is_none")]
    objective_ms: Option<u128>,
    #[schema(value_type = serde_json::Value)]
    counting: Counting,
    #[schema(value_type = Vec<serde_json::Value>)]
    expected: Vec<Expected>,
    #[schema(value_type = Vec<serde_json::Value>)]
    stages: Vec<StageRow>,
    hops: Vec<HopRow>,
}

#[derive(Serialize)]
struct StageRow {
    #[serde(flatten)]
    stage: Stage,
    live: usize,
    silent: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PipelineHop)]
pub(crate) struct HopRow {
    from_stage: String,
    to_stage: String,
    expect: String,
    topics: usize,
    complete_through_ms: Option<i64>,
}

/// `GET /api/v1/pipelines`.
pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    api_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn api_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["format"])?;
    let format = api::format(&params, headers)?;
    let hops = app.state.store.hops().await?;
    let reporters = app.state.store.reporters(app.now_ms()).await?;
    let pipelines = app.pipelines();
    let count = |stage: &Stage| {
        let (live, silent) = reporting(&reporters, stage.reported());
        StageRow { stage: stage.clone(), live, silent }
    };
    let rows: Vec<Row> = pipelines.list.iter().map(|p| row(p, &pipelines, &hops, count)).collect();
    let response = match format {
        Format::Json => Json(PipelineRows { pipelines: rows }).into_response(),
        Format::Csv => (api::csv_headers("chaperone-pipelines.csv"), table(&rows)).into_response(),
    };
    Ok(api::finish(response, false))
}

fn row(p: &Pipeline, all: &Pipelines, hops: &[HopStand], count: impl Fn(&Stage) -> StageRow) -> Row {
    let is_its = |h: &&HopStand| all.of(&h.topic).is_some_and(|of| std::ptr::eq(of, p));
    let topics: BTreeSet<&str> = hops.iter().filter(is_its).map(|h| h.topic.as_str()).collect();
    Row {
        name: p.name.clone(),
        discovered: is_found(p),
        cluster: p.cluster.clone(),
        topics: p.topics.iter().map(written).collect(),
        owner: p.owner.clone(),
        runbook: p.runbook.clone(),
        grace_ms: p.grace.as_millis(),
        silent_after_ms: p.silent_after.as_millis(),
        objective_ms: p.objective.map(|of| of.as_millis()),
        counting: p.counting.clone(),
        expected: p.expected.clone(),
        stages: p.stages.iter().map(count).collect(),
        hops: p
            .hops()
            .map(|hop| HopRow {
                from_stage: hop.from.name.clone(),
                to_stage: hop.to.name.clone(),
                expect: hop.to.expect.to_string(),
                topics: topics.len(),
                complete_through_ms: through(hops, &topics, hop),
            })
            .collect(),
    }
}

const COLUMNS: [&str; 11] = [
    "pipeline",
    "discovered",
    "cluster",
    "owner",
    "runbook",
    "from_stage",
    "to_stage",
    "expect",
    "topics",
    "complete_through_ms",
    "width_ms",
];

fn table(rows: &[Row]) -> String {
    let hops = rows.iter().flat_map(|row| row.hops.iter().map(move |hop| (row, hop)));
    csv::table(
        &COLUMNS,
        hops.map(|(row, hop)| {
            vec![
                csv::text(&row.name),
                row.discovered.to_string(),
                csv::text(&row.cluster),
                csv::text(row.owner.as_deref().unwrap_or_default()),
                csv::text(row.runbook.as_deref().unwrap_or_default()),
                csv::text(&hop.from_stage),
                csv::text(&hop.to_stage),
                csv::text(&hop.expect),
                hop.topics.to_string(),
                csv::known(hop.complete_through_ms),
                row.counting.width_ms.to_string(),
            ]
        }),
    )
}
