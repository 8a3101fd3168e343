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
use crate::overview::details::{Crowd, Details};
use crate::overview::filter::{By, Filter};
use crate::overview::groups::{Figure, Group, Tally};
use crate::overview::pages::Shown;
use crate::params::Params;
use crate::range::Range;
use crate::strip::{self, Axis, MINI, Piece, Shape, Tick};
use crate::topic::grid::objective_ms;
use crate::topic::late_after_ms;
use crate::topic::links::{self, Choice, Links};
use crate::zone::Zone;

pub(crate) mod details;
pub(crate) mod filter;
mod groups;
mod pages;
mod strips;

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
    figures: Vec<Figure>,
    /// Some topic has one.
    owners: bool,
    groups: Vec<Group>,
    more: String,
    pages: Vec<Choice>,
    q: String,
    kept: Vec<(&'static str, String)>,
    /// Everything but the name that is looked for.
    hidden: Vec<(&'static str, String)>,
    only: Vec<Choice>,
    by: Vec<Choice>,
    /// There are topics, and none of them fits; the way to all of them.
    filtered: Option<String>,
    json: String,
    csv: String,
    pipelines: Vec<String>,
    empty: bool,
}

/// One topic.
struct TopicLine {
    name: String,
    owner: String,
    cluster: String,
    /// None where no pipeline matches the name any more.
    href: Option<String>,
    look: Look,
    id: &'static str,
    class: &'static str,
    word: &'static str,
    strip: Option<Vec<MiniCell>>,
    missing: Span,
    /// What is missing as a part of what was expected.
    share: Option<String>,
    surplus: Span,
    delay: Span,
    delayed: Option<Span>,
    reporters: Span,
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
    let filter = Filter::of(&params)?;
    let pipelines = app.pipelines();
    let mut topics = store.topics_judged(query.clone()).await?;
    let known = topics.len();
    topics.retain(|t| filter.names(t, owner_of(&pipelines, t)));
    topics.sort_by_cached_key(pages::place);
    let after = pages::after(&params)?;
    let rows = Shown::of(&topics, &filter, after.as_ref()).rows;
    let (strips, (details, crowd), through) = tokio::try_join!(
        strips::read(app, rows, &query),
        details::read(app, &pipelines, rows, &query, strips::drawn(rows, &query)),
        async { Ok(store.complete_through().await?) },
    )?;
    let through: HashMap<String, Option<i64>> = through.into_iter().collect();
    for topic in &mut topics {
        topic.complete_through_ms = through.get(&topic.topic).copied().flatten();
    }
    let shown = Shown::of(&topics, &filter, after.as_ref());
    let read = Read { topics: &topics, shown, known, strips, details, crowd };
    let mut page = view(&pipelines, &read, &filter, &range, zone, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about =
        About { title: "Overview · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::Overview) };
    Ok(frame::page(app, headers, &about, &page))
}

/// Who looks after the topic, where that is configured.
pub(crate) fn owner_of<'a>(pipelines: &'a Pipelines, topic: &TopicSummary) -> Option<&'a str> {
    pipelines.of(&topic.topic).and_then(|p| p.owner.as_deref())
}

/// What a page is made of.
struct Read<'a> {
    /// Those that fit the filter, worst first.
    topics: &'a [TopicSummary],
    shown: Shown<'a>,
    /// How many there are.
    known: usize,
    /// By topic.
    strips: HashMap<String, Vec<Piece>>,
    /// Of the topics that are shown, in their order.
    details: Vec<Details>,
    crowd: Crowd,
}

/// Rows → page. Pure.
fn view(
    pipelines: &Pipelines,
    read: &Read<'_>,
    filter: &Filter,
    range: &Range,
    zone: Zone,
    now_ms: i64,
) -> OverviewPage {
    let (topics, known) = (read.topics, read.known);
    let axis = Axis::new(range.from_ms, range.to_ms, 10_000);
    let at = |from: &str, to: &str, zone: Zone| {
        format!("?from={}&to={}&tz={}", format::url(from), format::url(to), format::url(&zone.param()))
    };
    let query = at(&range.from, &range.to, zone);
    let mut lines: Vec<TopicLine> = read
        .shown
        .rows
        .iter()
        .zip(&read.details)
        .map(|(t, details)| {
            let pieces = read.strips.get(&t.topic).map(Vec::as_slice);
            line(pipelines, (t, details, pieces), axis, &query, zone, now_ms)
        })
        .collect();
    let tally = Tally::of(&lines, read.shown.elsewhere());
    // What looked like trouble from afar may be none.
    lines.retain(|l| !filter.trouble || l.look.is_trouble());
    let other = |filter: Filter| query.clone() + &filter.address();
    let rows_of = |format: &str| {
        let rows = Filter { by: By::Look, ..filter.clone() };
        format!("/api/v1/topics{query}{}&with=details&format={format}", rows.address())
    };
    let (more, ways) = read.shown.ways(filter, tally.calm());
    let own = [("from", range.from.clone()), ("to", range.to.clone()), ("tz", zone.param())];
    OverviewPage {
        problems: Vec::new(),
        revision: 0,
        title: if known > 0 && topics.is_empty() { "No topic fits the filter".to_owned() } else { tally.title() },
        lede: tally.lede(),
        ranges: links::quick_ranges(range, |from, to| at(from, to, zone) + &filter.address()),
        zones: links::zones(zone, |z| at(&range.from, &range.to, z) + &filter.address()),
        from: range.from.clone(),
        to: range.to.clone(),
        tz: zone.param(),
        from_ms: axis.from_ms,
        to_ms: axis.to_ms,
        ticks: axis.ticks(zone).into_iter().step_by(2).collect(),
        empty: known == 0,
        filtered: (known > 0 && lines.is_empty()).then(|| query.clone()),
        more,
        pages: ways
            .into_iter()
            .map(|(text, tail)| Choice { text, href: other(filter.clone()) + &tail, current: false })
            .collect(),
        figures: groups::figures(topics, &tally, &read.crowd, zone),
        owners: lines.iter().any(|l| !l.owner.is_empty()),
        groups: groups::groups(lines, filter.by, tally.calm()),
        q: format::name(&filter.q),
        kept: filter.kept(),
        hidden: own.into_iter().chain(filter.kept().into_iter().filter(|(name, _)| *name != "q")).collect(),
        only: [(true, "only problems"), (false, "all")]
            .map(|(trouble, text)| Choice {
                text: text.to_owned(),
                href: other(Filter { trouble, ..filter.clone() }),
                current: trouble == filter.trouble,
            })
            .to_vec(),
        by: By::ALL
            .map(|(by, text)| Choice {
                text: text.to_owned(),
                href: other(Filter { by, ..filter.clone() }),
                current: by == filter.by,
            })
            .to_vec(),
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
    (topic, details, pieces): (&TopicSummary, &Details, Option<&[Piece]>),
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
        owner: pipeline.and_then(|p| p.owner.as_deref()).map(format::name).unwrap_or_default(),
        cluster: pipeline.map(|p| format::name(&p.cluster)).unwrap_or_default(),
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
        share: details.arrived().filter(|_| topic.missing_min > 0).and_then(|arrived| {
            format::share(format::minus(topic.missing_min), arrived.saturating_add(topic.missing_min))
        }),
        surplus: number(topic.surplus_min, surplus_look, look, 0, |n| format::difference(n, 0)),
        delay: delay(details, look, pipeline.and_then(objective_ms)),
        delayed: match (topic.delayed, look) {
            (0, _) => None,
            (n, Look::Overdue) => Some(Span::of(look, format!("{} overdue", format::short(n)))),
            (n, _) => Some(Span::of(Look::Delayed, format!("{} delayed", format::short(n)))),
        },
        reporters: match details.presence() {
            (_, 0) => Span { class: "zero", text: "none".to_owned() },
            (heard, all) => {
                let class = if heard < all { "strong" } else { "" };
                Span { class, text: format!("{} of {}", format::count(heard), format::count(all)) }
            }
        },
        through: topic.complete_through_ms.map_or_else(|| "nothing settled yet".to_owned(), |ms| zone.clock(ms)),
        age: behind.map(|ms| format!("{} ago", format::age(ms))).unwrap_or_default(),
        late: behind.is_none_or(|ms| ms > late_after),
        order: (look, Reverse(topic.missing_min), Reverse(topic.delayed)),
    }
}

/// Of those that arrived; where some are on their way it is as late as they are at least.
fn delay(details: &Details, look: Look, objective_ms: Option<i64>) -> Span {
    match details.p99() {
        Some(p99) if p99.at_least => Span::of(Look::Delayed, p99.text()),
        Some(p99) if objective_ms.is_some_and(|most_ms| p99.ms > most_ms) => Span::of(Look::Late, p99.text()),
        Some(p99) => Span { class: "", text: p99.text() },
        None if look == Look::NoReport => Span::of(look, "unknown"),
        None => Span { class: "zero", text: "–".to_owned() },
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
