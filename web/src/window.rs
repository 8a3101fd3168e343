//! `/t/{cluster}/{topic}/w/{window}`: one window of one topic: the sum of each stage, the verdict and its reason, who counted
//! what, on which partitions and offsets, when it arrived, and how the verdict came about.
//!
//! `{window}` is a moment inside the window, ms since 1970; with `.md`, `.json` or `.csv` behind it the answer is the same query
//! in that form. `at` is the downstream stage of the hop that is looked at; without it the worst. Invariants: what is not known,
//! or not known any more, is said in words where a number would stand; sums of parts are compared with the whole on the page.

mod arrival;
mod facts;
mod history;
mod hosts;
mod partitions;
mod rows;
mod sum;
mod text;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use chaperone_collector::query::{DetailQuery, OffsetsQuery, WindowQuery};
use chaperone_collector::{Pipeline, StageKind};

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About};
use crate::look::{Look, Span, class};
use crate::params::Params;
use crate::range::Range;
use crate::topic::grid::Grid;
use crate::topic::links::{Choice, Links};
use crate::topic::{self, sentence};
use crate::zone::Zone;
use facts::Facts;

/// How far around the window its neighbours are read: the widest window, and sixty of the narrowest.
const AROUND_MS: i64 = 600_000;

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Markdown,
    Json,
    Csv,
}

impl Form {
    /// The form that an address asks for, and the moment that it names.
    fn of(text: &str) -> Result<(Self, i64), WebError> {
        let forms = [(".md", Self::Markdown), (".json", Self::Json), (".csv", Self::Csv)];
        let found = forms.into_iter().find_map(|(suffix, form)| Some((form, text.strip_suffix(suffix)?)));
        let (form, moment) = found.unwrap_or((Self::Page, text));
        let ms = moment.parse::<i64>().ok().filter(|ms| *ms >= 0);
        let ms = ms.ok_or_else(|| {
            let allowed =
                "a moment inside the window, in milliseconds since 1970, alone or with .md, .json or .csv behind it";
            WebError::parameter("window", text, allowed.to_owned())
        })?;
        Ok((form, ms))
    }
}

/// The page.
#[derive(Template)]
#[template(path = "window.html")]
struct WindowPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    topic: String,
    topic_href: String,
    crumb: String,
    owner: String,
    runbook: Option<String>,
    title: String,
    date: String,
    hop_name: String,
    id: &'static str,
    class: &'static str,
    statement: Span,
    why: String,
    hops: Vec<HopChoice>,
    earlier: Option<Choice>,
    later: Option<Choice>,
    earlier_trouble: Option<Choice>,
    later_trouble: Option<Choice>,
    markdown: String,
    json: String,
    csv: String,
    empty: bool,
    sum: sum::Sum,
    arrival: Option<arrival::Arrival>,
    arrival_why: &'static str,
    partitions: Option<partitions::Partitions>,
    hosts: hosts::Hosts,
    caveats: Vec<Caveat>,
    history: Vec<history::Step>,
}

/// One hop of the window, to choose from.
struct HopChoice {
    name: String,
    href: String,
    current: bool,
    id: &'static str,
    class: &'static str,
    word: &'static str,
}

/// A caveat and what it means.
struct Caveat {
    text: String,
    meaning: &'static str,
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Path((cluster, topic, window)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let program = [".json", ".csv"].iter().any(|suffix| window.ends_with(suffix));
    match answer(&app, (&cluster, &topic, &window), &uri, &headers).await {
        Ok(response) => response,
        Err(error) if program => error.into_problem(),
        Err(error) => error.into_page(&app),
    }
}

async fn answer(
    app: &App,
    (cluster, topic, window): (&str, &str, &str),
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, WebError> {
    let pipelines = app.pipelines();
    let Some(pipeline) = pipelines.of(topic) else { return Err(topic::unknown(topic)) };
    if pipeline.cluster != cluster {
        let path = format!("{}/w/{}", Links::path(&pipeline.cluster, topic), format::url(window));
        return Ok(topic::moved(&path, uri.query()));
    }
    let (form, ms) = Form::of(window)?;
    let params = Params::of(uri);
    let (now_ms, zone) = (app.now_ms(), params.zone()?);
    let links = Links {
        cluster: pipeline.cluster.clone(),
        topic: topic.to_owned(),
        range: range(&params, ms, now_ms, zone)?,
        zone,
        window_ms: Some(ms),
    };
    let facts = ask(app, pipeline, topic, ms, now_ms).await?;
    let at = params.get("at")?.filter(|at| !at.is_empty());
    let hop = hop(pipeline, &facts, at)?;
    match form {
        Form::Json => Ok(rows::json(pipeline, &facts)),
        Form::Csv => Ok(rows::csv(&facts)),
        Form::Markdown => {
            let text = text::markdown(&facts, &links, hop, &origin(uri, headers));
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            Ok((kind, text).into_response())
        }
        Form::Page => {
            let mut page = view(pipeline, &links, &facts, (hop, at));
            page.problems = app.problems_shown();
            let title = format!("{} {} · Chaperone", page.title, page.topic);
            let events = links.events_between(ms.saturating_sub(AROUND_MS).max(0), ms.saturating_add(AROUND_MS));
            let about = About { title: &title, events: Some(&events), zone, now_ms, tab: None };
            Ok(frame::page(app, headers, &about, &page))
        }
    }
}

/// The range to go back to: the one that the address names, else half an hour around the window.
fn range(params: &Params, ms: i64, now_ms: i64, zone: Zone) -> Result<Range, WebError> {
    if params.get("from")?.is_some() || params.get("to")?.is_some() {
        return params.range(now_ms, zone);
    }
    let (from, to) = (ms.saturating_sub(900_000).max(0), ms.saturating_add(900_000).min(now_ms.max(ms + 10_000)));
    Range::parse(Some(&from.to_string()), Some(&to.to_string()), now_ms, zone)
        .map_err(|e| WebError::parameter("window", &ms.to_string(), e.allowed))
}

/// Which hop is looked at: the one that ends at the stage asked for, else the worst, else the first.
fn hop(pipeline: &Pipeline, facts: &Facts, at: Option<&str>) -> Result<usize, WebError> {
    if let Some(at) = at {
        let found = pipeline.hops().position(|h| h.to.name == at);
        return found.ok_or_else(|| {
            let stages: Vec<&str> = pipeline.hops().map(|h| h.to.name.as_str()).collect();
            WebError::parameter("at", at, format!("a stage that a hop leads to: {}", stages.join(", ")))
        });
    }
    Ok(facts.row.as_ref().and_then(|row| row.worst()).map_or(0, |(hop, _)| hop))
}

/// Where this page is, for a text that is read elsewhere.
fn origin(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| uri.authority().map(ToString::to_string)).unwrap_or_default();
    // Who copies by the page's button gets the page's own scheme; a proxy that ends TLS says what it was.
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    format!("{}://{host}", if secure { "https" } else { "http" })
}

async fn ask(app: &App, pipeline: &Pipeline, topic: &str, ms: i64, now_ms: i64) -> Result<Facts, WebError> {
    let store = &app.state.store;
    let revision = *store.revisions().borrow();
    let query = WindowQuery {
        topic: Some(topic.to_owned()),
        from_ms: ms.saturating_sub(AROUND_MS),
        to_ms: ms.saturating_add(AROUND_MS),
        limit: None,
    };
    let (windows, counts, reporters) =
        tokio::try_join!(store.windows(query.clone()), store.stage_windows(query), store.reporters(now_ms))?;
    let grid = Grid::build(pipeline, windows, &counts, &reporters);
    let row = grid.row_at(ms).and_then(|i| grid.rows.get(i)).cloned();
    let mut facts = Facts { topic: topic.to_owned(), grid, revision, now_ms, reporters, ..Facts::default() };
    let Some(row) = row else { return Ok(facts) };
    let stages =
        pipeline.stages.iter().filter(|s| s.kind == StageKind::Client).flat_map(|s| s.reported().to_vec()).collect();
    let (from_ms, to_ms) = (row.from_ms, row.to_ms);
    facts.detail = store.detail(DetailQuery { topic: topic.to_owned(), stages, from_ms, to_ms }).await?;
    for stage in &pipeline.stages {
        let mut parts = Vec::new();
        for name in stage.reported() {
            // Only a tap knows offsets.
            let query = OffsetsQuery { topic: topic.to_owned(), stage: name.clone(), from_ms, to_ms };
            let offsets = if stage.kind == StageKind::Kafka { store.offsets(query).await? } else { Vec::new() };
            let total = facts::total(std::slice::from_ref(name), &row, &counts);
            parts.push(facts::Part { stage: name.clone(), total, offsets: facts::by_partition(&offsets) });
        }
        facts.parts.push(parts);
    }
    facts.totals = facts::totals(pipeline, &row, &counts);
    facts.names = pipeline.stages.iter().map(|s| s.name.clone()).collect();
    facts.silent_after_ms = i64::try_from(pipeline.silent_after.as_millis()).unwrap_or(i64::MAX);
    facts.row = Some(row);
    Ok(facts)
}

/// Rows → page. Pure.
fn view(pipeline: &Pipeline, links: &Links, facts: &Facts, (hop, kept): (usize, Option<&str>)) -> WindowPage {
    let zone = links.zone;
    let look = facts.look(hop);
    let (from, to) = facts.grid.hop_names(hop);
    let window = facts.hop(hop);
    // Whoever chose a hop stays on it; trouble may be on any.
    let (earlier, later) = steps(facts, links, kept, |_| true);
    let (earlier_trouble, later_trouble) = steps(facts, links, None, Look::is_trouble);
    let arrival = arrival::arrival(facts, hop, links.zone);
    WindowPage {
        problems: Vec::new(),
        revision: facts.revision,
        topic: format::name(&links.topic),
        topic_href: Links::path(&links.cluster, &links.topic) + &links.window(links.window_ms),
        crumb: format::name(&format!("{} / {}", pipeline.name, pipeline.cluster)),
        owner: pipeline.owner.as_deref().map(format::name).unwrap_or_default(),
        runbook: topic::runbook(pipeline),
        title: facts.title(zone, links.window_ms.unwrap_or_default()),
        date: zone.date(links.window_ms.unwrap_or_default()) + " " + &zone.label(),
        hop_name: format!("{from} → {to}"),
        id: look.id(),
        class: class(look),
        statement: Span::of(look, sentence::of_window(facts.row.as_ref(), hop, look)),
        why: window.map(|w| format::name(&w.why)).unwrap_or_default(),
        hops: hops(pipeline, facts, links, hop),
        earlier,
        later,
        earlier_trouble,
        later_trouble,
        markdown: links.detail_as(".md", at(pipeline, hop)),
        json: links.detail_as(".json", None),
        csv: links.detail_as(".csv", None),
        empty: facts.row.is_none(),
        sum: sum::sum(pipeline, facts, hop),
        arrival_why: if arrival.is_some() { "" } else { arrival::why_none(facts, hop) },
        arrival,
        partitions: partitions::partitions(facts, hop),
        hosts: hosts::hosts(pipeline, facts, hop, zone),
        caveats: caveats(facts, hop),
        history: history::history(facts, hop, zone),
    }
}

fn at(pipeline: &Pipeline, hop: usize) -> Option<&str> {
    pipeline.stages.get(hop + 1).map(|s| s.name.as_str())
}

fn hops(pipeline: &Pipeline, facts: &Facts, links: &Links, current: usize) -> Vec<HopChoice> {
    let hops = (0..facts.grid.hop_count()).map(|hop| {
        let look = facts.look(hop);
        let (from, to) = facts.grid.hop_names(hop);
        let (name, href) =
            (format!("{from} → {to}"), links.detail_at(links.window_ms.unwrap_or_default(), at(pipeline, hop)));
        HopChoice { name, href, current: hop == current, id: look.id(), class: class(look), word: look.word() }
    });
    hops.collect()
}

/// The neighbours that are wanted, before and after.
fn steps(
    facts: &Facts,
    links: &Links,
    at: Option<&str>,
    wanted: impl Fn(Look) -> bool,
) -> (Option<Choice>, Option<Choice>) {
    let ms = links.window_ms.unwrap_or_default();
    let (from_ms, to_ms) = facts.row.as_ref().map_or((ms, ms), |r| (r.from_ms, r.to_ms));
    let rows = || facts.grid.rows.iter().filter(|r| wanted(r.look()));
    let choice = |ms: i64| Choice { text: links.zone.clock(ms), href: links.detail_at(ms, at), current: false };
    let before = rows().rev().find(|r| r.to_ms <= from_ms).map(|r| choice(r.from_ms));
    let after = rows().find(|r| r.from_ms >= to_ms && r.from_ms > ms).map(|r| choice(r.from_ms));
    (before, after)
}

fn caveats(facts: &Facts, hop: usize) -> Vec<Caveat> {
    let caveats = facts.hop(hop).map(|w| w.caveats.as_slice()).unwrap_or_default();
    caveats.iter().map(|c| Caveat { text: format::name(&c.to_string()), meaning: history::meaning(c.kind) }).collect()
}
