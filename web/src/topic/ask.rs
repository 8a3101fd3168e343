//! What a topic's page asks the store.
//!
//! A range of no more windows than are drawn is read window by window; a longer one, or one whose windows are kept no more,
//! in [slices] and then those windows in which something is to be seen.

use chaperone_collector::query::{BinQuery, PartitionState, ReporterState, TopicSummary, WindowQuery};
use chaperone_collector::{Pipeline, StageKind};

use crate::App;
use crate::api::ROWS_MAX;
use crate::error::WebError;
use crate::topic::grid::Grid;
use crate::topic::links::Links;
use crate::topic::slices;

/// The narrowest window: a page of those has no slices.
const NARROWEST_MS: i64 = 10_000;

/// What the store said.
pub(super) struct Answers {
    pub(super) grid: Grid,
    /// Where the page begins, ms.
    pub(super) first_ms: i64,
    pub(super) summary: Option<TopicSummary>,
    pub(super) reporters: Vec<ReporterState>,
    pub(super) partitions: Vec<Vec<PartitionState>>,
    pub(super) revision: u64,
}

pub(super) async fn ask(app: &App, pipeline: &Pipeline, links: &Links, now_ms: i64) -> Result<Answers, WebError> {
    let store = &app.state.store;
    // Read first: a page that shows more than its revision says is fetched once too often, never too seldom.
    let revision = *store.revisions().borrow();
    let (topics, reporters) = tokio::try_join!(store.topics(whole(links)), store.reporters(now_ms))?;
    let (grid, first_ms) = grid(app, pipeline, links, &reporters).await?;
    let mut partitions = Vec::new();
    for stage in &pipeline.stages {
        let mut of_stage = Vec::new();
        for name in stage.reported().iter().filter(|_| stage.kind == StageKind::Kafka) {
            of_stage.extend(store.partitions(name).await?);
        }
        partitions.push(of_stage);
    }
    let summary = topics.into_iter().find(|t| t.topic == links.topic);
    Ok(Answers { grid, first_ms, summary, reporters, partitions, revision })
}

/// The rows, and where they begin.
pub(super) async fn grid(
    app: &App,
    pipeline: &Pipeline,
    links: &Links,
    reporters: &[ReporterState],
) -> Result<(Grid, i64), WebError> {
    let narrowest = BinQuery {
        range: WindowQuery { limit: Some(1), ..whole(links) },
        width_ms: None,
        at_most: Some(slices::at_most(pipeline)),
    };
    match app.state.store.hop_bins(narrowest).await?.width_ms {
        NARROWEST_MS => {
            let range = (links.range.from_ms, links.range.to_ms);
            Ok((windows(app, pipeline, &links.topic, range, reporters).await?, links.range.from_ms))
        }
        width_ms => sliced(app, pipeline, links, width_ms, reporters).await,
    }
}

fn whole(links: &Links) -> WindowQuery {
    let range = &links.range;
    let topic = Some(links.topic.clone());
    WindowQuery { topic, from_ms: range.from_ms, to_ms: range.to_ms, limit: Some(ROWS_MAX) }
}

/// Window by window.
async fn windows(
    app: &App,
    pipeline: &Pipeline,
    topic: &str,
    (from_ms, to_ms): (i64, i64),
    reporters: &[ReporterState],
) -> Result<Grid, WebError> {
    let store = &app.state.store;
    let query = WindowQuery { topic: Some(topic.to_owned()), from_ms, to_ms, limit: Some(ROWS_MAX) };
    let (windows, counts) = tokio::try_join!(store.windows(query.clone()), store.stage_windows(query))?;
    Ok(Grid::build(pipeline, windows, &counts, reporters))
}

/// In slices of that width, and where they begin.
async fn sliced(
    app: &App,
    pipeline: &Pipeline,
    links: &Links,
    width_ms: i64,
    reporters: &[ReporterState],
) -> Result<(Grid, i64), WebError> {
    let store = &app.state.store;
    let query = BinQuery { range: whole(links), width_ms: Some(width_ms), at_most: None };
    let (bins, counts) = tokio::try_join!(store.hop_bins(query.clone()), store.stage_bins(query))?;
    let first_ms = bins.from_ms;
    let mut grid = slices::grid(pipeline, bins, &counts.rows, reporters);
    let mut exact = Grid::default();
    for span in slices::spans(&grid, links.window_ms) {
        exact.rows.append(&mut windows(app, pipeline, &links.topic, span, reporters).await?.rows);
    }
    slices::refine(&mut grid, exact);
    Ok((grid, first_ms))
}
