//! `/t/{cluster}/{topic}`: one topic in a range: what is wrong, on which hop, when, how big and why.
//!
//! What it [asks](ask) is of one range; everything after that is pure.

mod ask;
pub(crate) mod charts;
mod delay;
mod evidence;
mod flow;
pub(crate) mod grid;
pub(crate) mod links;
mod matrix;
mod parts;
pub(crate) mod rows;
pub(crate) mod sentence;
pub(crate) mod slices;
mod table;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chaperone_collector::Pipeline;

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About};
use crate::look::Span;
use crate::params::Params;
use crate::strip::{Axis, Tick};
use crate::topic::ask::Answers;
use crate::topic::grid::Grid;
use crate::topic::links::{Choice, Links};
use crate::topic::table::Content;

/// The page.
#[derive(Template)]
#[template(path = "topic.html")]
struct TopicPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    topic: String,
    crumb: String,
    owner: String,
    runbook: Option<String>,
    through: Option<Through>,
    sentence: Vec<Span>,
    /// The legend tells of what is late.
    late_legend: bool,
    ranges: Vec<Choice>,
    zones: Vec<Choice>,
    from: String,
    to: String,
    tz: String,
    /// What else the address has: nothing.
    kept: [(&'static str, String); 0],
    notes: Vec<String>,
    empty: bool,
    extent: String,
    flow: Vec<flow::StageBox>,
    cells: String,
    stage_names: Vec<String>,
    axis: AxisView,
    hops: Vec<matrix::HopRow>,
    selected: Option<matrix::Selected>,
    evidence: Option<evidence::Evidence>,
    counts: Option<charts::Counts>,
    difference: Option<charts::Difference>,
    delays: Option<delay::Delays>,
    table: table::Table,
    csv: String,
    json: String,
}

/// The shared x axis.
struct AxisView {
    ticks: Vec<Tick>,
    from_ms: i64,
    to_ms: i64,
    width_ms: i64,
}

/// How far everything is settled.
struct Through {
    clock: String,
    age: String,
    late: bool,
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    answer(&app, &cluster, &topic, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, cluster: &str, topic: &str, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let pipelines = app.pipelines();
    let Some(pipeline) = pipelines.of(topic) else {
        return Err(unknown(topic));
    };
    if pipeline.cluster != cluster {
        return Ok(moved(&Links::path(&pipeline.cluster, topic), uri.query()));
    }
    let params = Params::of(uri);
    let now_ms = app.now_ms();
    let zone = params.zone()?;
    let range = params.range(now_ms, zone)?;
    let window_ms = match params.get("w")? {
        None | Some("") => None,
        Some(text) => Some(text.parse::<i64>().map_err(|_| {
            WebError::parameter("w", text, "the start of a window, in milliseconds since 1970".to_owned())
        })?),
    };
    let links = Links { cluster: pipeline.cluster.clone(), topic: topic.to_owned(), range, zone, window_ms };
    let answers = ask::ask(app, pipeline, &links, now_ms).await?;
    let mut page = view(pipeline, &links, answers, now_ms);
    page.problems = app.problems_shown();
    let title = format!("{} · Chaperone", page.topic);
    let events = links.events();
    let about = About { title: &title, events: Some(&events), zone, now_ms, tab: None };
    Ok(frame::page(app, headers, &about, &page))
}

pub(crate) fn unknown(topic: &str) -> WebError {
    WebError::NotFound {
        what: format!("topic '{}' here", topic.chars().take(249).collect::<String>()),
        advice: vec![
            "No pipeline matches this name. Check the spelling, or find the topic on the overview.".to_owned(),
            "To audit it, add its name or a pattern to a pipeline in the configuration of this process.".to_owned(),
        ],
    }
}

pub(crate) fn moved(path: &str, query: Option<&str>) -> Response {
    let to = query.map_or_else(|| path.to_owned(), |q| format!("{path}?{q}"));
    match HeaderValue::from_str(&to) {
        Ok(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Err(_) => WebError::parameter("query", "(not text)", "a percent-encoded query".to_owned()).into_problem(),
    }
}

/// Rows → page. Pure.
fn view(pipeline: &Pipeline, links: &Links, answers: Answers, now_ms: i64) -> TopicPage {
    let zone = links.zone;
    let grid = answers.grid;
    let axis = Axis::new(answers.first_ms, links.range.to_ms, grid.width_ms());
    let selected_row = links.window_ms.and_then(|ms| grid.row_at(ms)).and_then(|i| grid.rows.get(i));
    let sources = flow::Sources { reporters: &answers.reporters, partitions: &answers.partitions, topic: &links.topic };
    let through = answers.summary.and_then(|s| s.complete_through_ms).map(|ms| Through {
        clock: zone.clock(ms),
        age: format::age(now_ms.saturating_sub(ms)),
        late: now_ms.saturating_sub(ms) > late_after_ms(pipeline, grid.width_ms()),
    });
    TopicPage {
        problems: Vec::new(),
        revision: answers.revision,
        late_legend: grid.objective_ms.is_some(),
        topic: format::name(&links.topic),
        crumb: format::name(&format!("{} / {}", pipeline.name, pipeline.cluster)),
        owner: pipeline.owner.as_deref().map(format::name).unwrap_or_default(),
        runbook: runbook(pipeline),
        through,
        sentence: sentence::sentence(&grid, zone),
        ranges: links::quick_ranges(&links.range, |from, to| links.range(from, to)),
        zones: links::zones(zone, |z| links.zone(z)),
        from: links.range.from.clone(),
        to: links.range.to.clone(),
        tz: zone.param(),
        kept: [],
        notes: notes(&grid),
        empty: grid.rows.is_empty(),
        extent: extent(&grid, links),
        flow: flow::flow(&grid, &pipeline.stages, &sources, now_ms),
        cells: cells(&grid),
        stage_names: grid.stages.iter().map(|s| s.name.clone()).collect(),
        axis: AxisView { ticks: axis.ticks(zone), from_ms: axis.from_ms, to_ms: axis.to_ms, width_ms: grid.width_ms() },
        hops: matrix::matrix(&grid, axis, links, selected_row),
        selected: selected_row.map(|row| matrix::selected(row, axis, zone)),
        evidence: links.window_ms.map(|ms| evidence::evidence(&grid, links, ms)),
        counts: charts::counts(&grid, axis),
        difference: charts::difference(&grid, axis),
        delays: delay::delays(&grid, axis, now_ms),
        table: table::table(&grid, links, now_ms),
        csv: links.rows("csv"),
        json: links.rows("json"),
    }
}

/// Where it is written what to do, if that is an address that a browser may follow.
pub(crate) fn runbook(pipeline: &Pipeline) -> Option<String> {
    let address = pipeline.runbook.as_deref()?;
    ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme)).then(|| address.to_owned())
}

/// Settled this late is worth a second look: twice what it takes when all is well, and never less than half a minute.
pub(crate) fn late_after_ms(pipeline: &Pipeline, width_ms: i64) -> i64 {
    let grace = i64::try_from(pipeline.grace.as_millis()).unwrap_or(i64::MAX);
    width_ms.saturating_add(grace).saturating_add(15_000).saturating_mul(2).max(30_000)
}

fn extent(grid: &Grid, links: &Links) -> String {
    let width = format!("{} s", grid.width_ms() / 1000);
    match flow::extent(grid) {
        Some((n, from_ms, to_ms)) => {
            let when = links.zone.dated_span(from_ms, to_ms);
            format!("{when} · {} of {width}", format::plural(n, "settled window"))
        }
        None => "no window is settled yet".to_owned(),
    }
}

fn cells(grid: &Grid) -> String {
    let width = format!("{} s each, event time", grid.width_ms() / 1000);
    match grid.slice_ms() {
        Some(ms) => format!("{width} · calm ones by {}", format::length(ms)),
        None if matrix::is_condensed(grid) => format!("{width} · a cell is the worst of several"),
        None => width,
    }
}

fn notes(grid: &Grid) -> Vec<String> {
    let mut notes = Vec::new();
    if grid.strangers > 0 {
        let n = format::plural(u64::try_from(grid.strangers).unwrap_or(u64::MAX), "verdict");
        notes.push(format!("{n} of hops that the pipeline no longer has are told by /api/v1/windows only."));
    }
    notes
}
