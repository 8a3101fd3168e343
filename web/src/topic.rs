//! `/t/{cluster}/{topic}`: one topic in a range: what is wrong, on which hop, when, how big and why.
//!
//! One query of the store per kind of row, all of the same range; everything after that is pure. A range of more
//! windows than one page can show is cut at its beginning, and the page says so.

pub(crate) mod charts;
mod delay;
mod evidence;
mod flow;
pub(crate) mod grid;
pub(crate) mod links;
mod matrix;
pub(crate) mod sentence;
mod table;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chaperone_collector::query::{HopWindow, PartitionState, ReporterState, StageWindow, TopicSummary, WindowQuery};
use chaperone_collector::{Pipeline, StageKind};

use crate::App;
use crate::api::ROWS_MAX;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About};
use crate::look::Span;
use crate::params::Params;
use crate::range::Range;
use crate::strip::{Axis, Tick};
use crate::topic::grid::Grid;
use crate::topic::links::{Choice, Links};
use crate::topic::table::Content;

/// The narrowest window: of a range of fewer than fit on a page nothing is cut.
const NARROWEST_MS: i64 = 10_000;

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
    ranges: Vec<Choice>,
    zones: Vec<Choice>,
    from: String,
    to: String,
    tz: String,
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

/// What the store said.
struct Answers {
    windows: Vec<HopWindow>,
    counts: Vec<StageWindow>,
    summary: Option<TopicSummary>,
    reporters: Vec<ReporterState>,
    partitions: Vec<Vec<PartitionState>>,
    revision: u64,
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
    let first_ms = first_ms(app, pipeline, &links).await?;
    let answers = ask(app, pipeline, topic, first_ms, links.range.to_ms, now_ms).await?;
    let mut page = view(pipeline, &links, first_ms, answers, now_ms);
    page.problems = app.problems_shown();
    let title = format!("{} · Chaperone", page.topic);
    let events = links.events();
    let about = About { title: &title, events: Some(&events), zone, now_ms, tab: None };
    Ok(frame::page(app, headers, &about, &page))
}

/// Where the page begins: at the beginning of the range, or as late as all windows after it fit on one page.
async fn first_ms(app: &App, pipeline: &Pipeline, links: &Links) -> Result<i64, WebError> {
    let Range { from_ms, to_ms, .. } = links.range;
    let most = i64::from(ROWS_MAX) / i64::try_from(pipeline.hops().count().max(1)).unwrap_or(i64::MAX);
    if to_ms - from_ms <= most * NARROWEST_MS {
        return Ok(from_ms);
    }
    let one = WindowQuery { topic: Some(links.topic.clone()), from_ms, to_ms, limit: Some(1) };
    let width_ms = app.state.store.windows(one).await?.first().map_or(NARROWEST_MS, |w| w.width_ms);
    Ok(from_ms.max(to_ms.saturating_sub(most * width_ms.max(NARROWEST_MS))))
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

async fn ask(
    app: &App,
    pipeline: &Pipeline,
    topic: &str,
    from_ms: i64,
    to_ms: i64,
    now_ms: i64,
) -> Result<Answers, WebError> {
    let store = &app.state.store;
    // Read first: a page that shows more than its revision says is fetched once too often, never too seldom.
    let revision = *store.revisions().borrow();
    let query = WindowQuery { topic: Some(topic.to_owned()), from_ms, to_ms, limit: Some(ROWS_MAX) };
    // There are more stages than hops: two halves keep their rows below the cap that the verdicts just meet.
    let middle_ms = i64::midpoint(from_ms, to_ms);
    let early = WindowQuery { to_ms: middle_ms, ..query.clone() };
    let late = WindowQuery { from_ms: middle_ms, ..query.clone() };
    let (windows, mut counts, more, topics, reporters) = tokio::try_join!(
        store.windows(query.clone()),
        store.stage_windows(early),
        store.stage_windows(late),
        store.topics(query),
        store.reporters(now_ms)
    )?;
    counts.extend(more);
    let mut partitions = Vec::new();
    for stage in &pipeline.stages {
        let mut of_stage = Vec::new();
        for name in stage.reported().iter().filter(|_| stage.kind == StageKind::Kafka) {
            of_stage.extend(store.partitions(name).await?);
        }
        partitions.push(of_stage);
    }
    let summary = topics.into_iter().find(|t| t.topic == topic);
    Ok(Answers { windows, counts, summary, reporters, partitions, revision })
}

/// Rows → page. Pure.
fn view(pipeline: &Pipeline, links: &Links, first_ms: i64, answers: Answers, now_ms: i64) -> TopicPage {
    let zone = links.zone;
    let grid = Grid::build(pipeline, answers.windows, &answers.counts, &answers.reporters);
    let axis = Axis::new(first_ms, links.range.to_ms, grid.width_ms());
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
        notes: notes(&grid, links, first_ms),
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
            let date = links.zone.date(from_ms);
            format!("{date} {} · {} of {width}", links.zone.span(from_ms, to_ms), format::plural(n, "settled window"))
        }
        None => "no window is settled yet".to_owned(),
    }
}

fn cells(grid: &Grid) -> String {
    let width = format!("{} s each, event time", grid.width_ms() / 1000);
    if matrix::is_condensed(grid) { format!("{width} · a cell is the worst of several") } else { width }
}

fn notes(grid: &Grid, links: &Links, first_ms: i64) -> Vec<String> {
    let mut notes = Vec::new();
    if first_ms > links.range.from_ms {
        let shown = format::age(links.range.to_ms - first_ms);
        notes.push(format!("This range has more windows than one page can show; these are its last {shown}."));
    }
    if grid.strangers > 0 {
        let n = format::plural(u64::try_from(grid.strangers).unwrap_or(u64::MAX), "verdict");
        notes.push(format!("{n} of hops that the pipeline no longer has are in the CSV only."));
    }
    notes
}
