//! `/`: every topic, worst first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use chaperone_collector::Pipelines;
use chaperone_collector::query::{TopicSummary, WindowQuery};

use crate::App;
use crate::api::ROWS_MAX;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::look::{self, Look, Span};
use crate::params::Params;
use crate::range::Range;
use crate::strip::{self, Axis, MINI, Piece, Shape, Tick};
use crate::topic::late_after_ms;
use crate::topic::links::{self, Choice, Links};
use crate::zone::Zone;

mod strips;

/// Most topics on the page.
const TOPICS_MAX: usize = 500;
/// Cells of a strip.
const CELLS: i64 = 60;
/// Tint of a strip in the list, where counts to compare with are not read.
const MINI_TINT: usize = 5;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    title: String,
    lede: String,
    ranges: Vec<Choice>,
    zones: Vec<Choice>,
    from: String,
    to: String,
    tz: String,
    ticks: Vec<Tick>,
    from_ms: i64,
    to_ms: i64,
    trouble: Vec<TopicLine>,
    calm: Vec<TopicLine>,
    calm_title: String,
    more: String,
    json: String,
    csv: String,
    pipelines: Vec<String>,
    empty: bool,
}

/// One topic.
struct TopicLine {
    name: String,
    /// None where no pipeline matches the name any more.
    href: Option<String>,
    look: Look,
    id: &'static str,
    class: &'static str,
    word: &'static str,
    strip: Option<Vec<MiniCell>>,
    missing: Span,
    surplus: Span,
    delayed: Span,
    through: String,
    age: String,
    late: bool,
    order: (Look, Reverse<u64>, Reverse<u64>),
}

struct MiniCell {
    /// The worst window in it, where that is trouble.
    href: Option<String>,
    x: String,
    width: String,
    title: String,
    shapes: Vec<Shape>,
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let now_ms = app.now_ms();
    let zone = params.zone()?;
    let range = params.range(now_ms, zone)?;
    let store = &app.state.store;
    let revision = *store.revisions().borrow();
    let query = WindowQuery { topic: None, from_ms: range.from_ms, to_ms: range.to_ms, limit: Some(ROWS_MAX) };
    let mut topics = store.topics(query.clone()).await?;
    topics.sort_by_cached_key(|t| (Look::of_verdict(t.worst), Reverse(t.missing_min), t.topic.clone()));
    let strips = strips::read(app, shown(&topics).0, &query).await?;
    let mut page = view(&app.pipelines(), &topics, &strips, &range, zone, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about =
        About { title: "Overview · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::Overview) };
    Ok(frame::page(app, headers, &about, &page))
}

/// Those on the page, the worst; and the others.
fn shown(topics: &[TopicSummary]) -> (&[TopicSummary], &[TopicSummary]) {
    topics.split_at(topics.len().min(TOPICS_MAX))
}

/// Rows → page. Pure.
fn view(
    pipelines: &Pipelines,
    topics: &[TopicSummary],
    strips: &HashMap<String, Vec<Piece>>,
    range: &Range,
    zone: Zone,
    now_ms: i64,
) -> OverviewPage {
    let axis = Axis::new(range.from_ms, range.to_ms, 10_000);
    let query =
        format!("?from={}&to={}&tz={}", format::url(&range.from), format::url(&range.to), format::url(&zone.param()));
    let (shown, hidden) = shown(topics);
    let mut lines: Vec<TopicLine> = shown
        .iter()
        .map(|t| line(pipelines, t, strips.get(&t.topic).map(Vec::as_slice), axis, &query, zone, now_ms))
        .collect();
    lines.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    let (trouble, calm): (Vec<_>, Vec<_>) = lines.into_iter().partition(|l| l.look.is_trouble());
    let all = topics.len() as u64;
    // One that is not shown counts for what it is.
    let looks = |lines: &[TopicLine]| lines.iter().map(|l| l.look).collect::<Vec<_>>();
    let (more_trouble, more_calm): (Vec<Look>, Vec<Look>) =
        hidden.iter().map(|t| Look::of_verdict(t.worst)).partition(|look| look.is_trouble());
    let in_trouble = (trouble.len() + more_trouble.len()) as u64;
    let calm_looks = [looks(&calm), more_calm].concat();
    let proven = calm_looks.iter().filter(|look| **look == Look::Proven).count();
    let title = match (in_trouble, all) {
        (_, 0) => "No topic has been counted yet".to_owned(),
        (0, n) => format!("{} without trouble", format::plural(n, "topic")),
        (1, n) => format!("1 of {} needs a look", format::plural(n, "topic")),
        (t, n) => format!("{} of {} need a look", format::count(t), format::plural(n, "topic")),
    };
    let lede = match (proven, calm_looks.len()) {
        (_, 0) => String::new(),
        (p, n) if p == n && trouble.is_empty() => {
            "Every message of every settled window is proven to have arrived at every stage.".to_owned()
        }
        (p, n) if p == n => "Everything else is proven message by message.".to_owned(),
        (p, n) => format!(
            "{} proven message by message, {} without proof or fault so far.",
            format::plural(p as u64, "topic"),
            format::count((n - p) as u64)
        ),
    };
    let quick = |from: &str, to: &str| {
        format!("?from={}&to={}&tz={}", format::url(from), format::url(to), format::url(&zone.param()))
    };
    let rows_of = |format: &str| format!("/api/v1/windows{query}&format={format}");
    OverviewPage {
        problems: Vec::new(),
        revision: 0,
        title,
        lede,
        ranges: links::quick_ranges(range, quick),
        zones: links::zones(zone, |z| {
            format!("?from={}&to={}&tz={}", format::url(&range.from), format::url(&range.to), format::url(&z.param()))
        }),
        from: range.from.clone(),
        to: range.to.clone(),
        tz: zone.param(),
        from_ms: axis.from_ms,
        to_ms: axis.to_ms,
        ticks: axis.ticks(zone).into_iter().step_by(2).collect(),
        calm_title: if trouble.is_empty() {
            String::new()
        } else {
            format!("{} without trouble", format::plural(calm_looks.len() as u64, "topic"))
        },
        empty: all == 0,
        trouble,
        calm,
        more: match hidden.len() as u64 {
            0 => String::new(),
            n => format!("{} more; the JSON has all", format::plural(n, "topic")),
        },
        json: rows_of("json"),
        csv: rows_of("csv"),
        pipelines: names(pipelines),
    }
}

/// Those that were discovered have one name.
fn names(pipelines: &Pipelines) -> Vec<String> {
    let mut names: Vec<String> = pipelines.list.iter().map(|p| format::name(&p.name)).collect();
    names.dedup();
    names
}

fn line(
    pipelines: &Pipelines,
    topic: &TopicSummary,
    pieces: Option<&[Piece]>,
    axis: Axis,
    query: &str,
    zone: Zone,
    now_ms: i64,
) -> TopicLine {
    let pipeline = pipelines.of(&topic.topic);
    let seen = pieces.and_then(|pieces| look::worst(pieces.iter().map(|p| p.look)));
    let look = seen.unwrap_or_else(|| Look::of_verdict(topic.worst));
    // Where nothing is too many, what arrived twice was expected to.
    let is_read_twice = pieces.is_some_and(|pieces| {
        let counts = |p: &Piece| matches!(p.look, Look::Missing | Look::Mixed | Look::Surplus);
        pieces.iter().any(|p| p.look == Look::ReRead) && !pieces.iter().any(counts)
    });
    let surplus_look = if is_read_twice { Look::ReRead } else { Look::Surplus };
    let late_after = pipeline.map_or(60_000, |p| late_after_ms(p, 10_000));
    let behind = topic.complete_through_ms.map(|ms| now_ms.saturating_sub(ms));
    TopicLine {
        name: format::name(&topic.topic),
        href: pipeline.map(|p| Links::path(&p.cluster, &topic.topic) + query),
        look,
        id: look.id(),
        class: look::class(look),
        word: look.word(),
        strip: pieces.map(|pieces| {
            let path = pipeline.map(|p| Links::path(&p.cluster, &topic.topic));
            let tinted = pieces.iter().map(|p| Piece { step: MINI_TINT, ..*p });
            let cells = strip::condense(tinted, axis, CELLS);
            cells.iter().map(|r| mini(r, axis, zone, path.as_deref(), query)).collect()
        }),
        missing: number(topic.missing_min, Look::Missing, look, topic.delayed, format::minus),
        surplus: number(topic.surplus_min, surplus_look, look, 0, |n| format::difference(n, 0)),
        delayed: match (topic.delayed, look) {
            (0, Look::NoReport) => Span::of(look, "unknown"),
            (0, _) => Span { class: "zero", text: "0".to_owned() },
            (n, Look::Overdue) => Span::of(look, format::count(n)),
            (n, _) => Span::of(Look::Delayed, format::count(n)),
        },
        through: topic.complete_through_ms.map_or_else(|| "nothing settled yet".to_owned(), |ms| zone.clock(ms)),
        age: behind.map(|ms| format!("{} ago", format::age(ms))).unwrap_or_default(),
        late: behind.is_none_or(|ms| ms > late_after),
        order: (look, Reverse(topic.missing_min), Reverse(topic.delayed)),
    }
}

/// A sum of lower bounds. Zero is printed only where zero is what is known; else what it may be.
fn number(value: u64, own: Look, topic: Look, overdue: u64, sign: fn(u64) -> i64) -> Span {
    if value > 0 {
        return Span::of(own, format::signed(sign(value)));
    }
    match topic {
        Look::NoReport => Span::of(topic, "unknown"),
        Look::Mixed => Span::of(topic, "masked"),
        Look::Overdue if overdue > 0 => Span::of(topic, format!("0 … {}", format::count(overdue))),
        Look::Unproven | Look::Uncertain | Look::NotYet => Span::of(topic, "0 … ?"),
        Look::Open | Look::Settling => Span { class: "quiet", text: "–".to_owned() },
        _ => Span { class: "zero", text: "0".to_owned() },
    }
}

fn mini(run: &strip::Run, axis: Axis, zone: Zone, path: Option<&str>, query: &str) -> MiniCell {
    let worst = &run.worst;
    let target = |path: &str| match worst.windows {
        1 => format!("{path}/w/{}{query}", worst.from_ms),
        _ => format!("{path}?from={}&to={}&tz={}", worst.from_ms, worst.to_ms, format::url(&zone.param())),
    };
    MiniCell {
        href: path.filter(|_| run.look.is_trouble()).map(target),
        x: axis.x(run.from_ms),
        width: axis.width(run.from_ms, run.to_ms),
        title: format!("{} {}", zone.span(run.from_ms, run.to_ms), run.look.word()),
        shapes: strip::shapes(run.look, run.step, MINI),
    }
}
