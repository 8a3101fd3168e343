//! `/reporters`: who reports, how punctually, and whose silence is no zero; the same rows as `GET /api/v1/reporters`.
//!
//! A row is an application on a host at a stage, whatever its processes are called; its lives share one strip of check-ins.
//! Invariants: silence is an empty box with its age, never a count; one silent process is not hidden by others of its host.

pub(crate) mod lives;
pub(crate) mod rows;
mod ticks;

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use chaperone_collector::Presence;
use chaperone_collector::query::{ExpectedState, ReporterState};

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::look::Span;
use crate::params::Params;
use crate::strip::{Axis, Tick};
use crate::topic::links::{self, Choice};
use crate::zone::Zone;
use lives::{Group, Standing};
use rows::{By, Filter};
use ticks::Strip;

/// Most rows on the page.
const LINES_MAX: usize = 500;

#[derive(Template)]
#[template(path = "reporters.html")]
struct ReportersPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    title: String,
    lede: String,
    q: String,
    hidden: [(&'static str, String); 3],
    backs: Vec<Choice>,
    orders: Vec<Choice>,
    zones: Vec<Choice>,
    ticks: Vec<Tick>,
    lines: Vec<Line>,
    calm: Vec<Line>,
    calm_title: String,
    more: String,
    expected: Vec<ExpectedLine>,
    json: String,
    csv: String,
    empty: bool,
    filtered: bool,
}

/// One row.
struct Line {
    id: &'static str,
    class: &'static str,
    word: &'static str,
    calm: bool,
    host: String,
    processes: String,
    application: String,
    stage: String,
    strip: Strip,
    heard: Span,
    heard_at: String,
    skew: Span,
    library: String,
    late: Span,
    odd: Span,
    odd_title: String,
    dropped: Span,
    dropped_title: String,
}

/// One expectation.
struct ExpectedLine {
    id: &'static str,
    class: &'static str,
    word: &'static str,
    application: String,
    stage: String,
    at_least: u32,
    live: u32,
    few: bool,
    since: String,
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let (now_ms, zone, filter) = (app.now_ms(), params.zone()?, Filter::of(&params)?);
    let store = &app.state.store;
    let revision = *store.revisions().borrow();
    let reporters = store.reporters(now_ms).await?;
    let expected = store.expected().await?;
    let mut page = view(&reporters, &expected, &filter, zone, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about =
        About { title: "Reporters · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::Reporters) };
    Ok(frame::page(app, headers, &about, &page))
}

/// Rows → page. Pure.
fn view(
    reporters: &[ReporterState],
    expected: &[ExpectedState],
    filter: &Filter,
    zone: Zone,
    now_ms: i64,
) -> ReportersPage {
    let (groups, old) = lives::groups(reporters, now_ms);
    let all = groups.len();
    let mut groups: Vec<Group<'_>> = groups.into_iter().filter(|g| filter.wants(g.newest())).collect();
    groups.sort_by_cached_key(|g| filter.order(g));
    let axis = Axis::new(now_ms.saturating_sub(filter.back.ms()), now_ms, chaperone_collector::checkins::CELL_MS);
    let shown = groups.len().min(LINES_MAX);
    let line = |g: &Group<'_>| line(g, axis, zone, now_ms);
    let (lines, calm): (Vec<Line>, Vec<Line>) = match filter.by {
        By::Worst => groups.iter().take(LINES_MAX).map(line).partition(|line| !line.calm),
        By::Stage | By::Host => (groups.iter().take(LINES_MAX).map(line).collect(), Vec::new()),
    };
    let unshown = groups.len() - shown;
    let mut more = Vec::new();
    if unshown > 0 {
        more.push(format!("{} more; narrow the filter, or take the JSON", format::plural(unshown as u64, "row")));
    }
    if old > 0 {
        let gone = format::plural(old as u64, "process");
        more.push(format!("{}: last heard more than a day ago, left out here", gone.replace("processs", "processes")));
    }
    let tz = zone.param();
    let mut expected: Vec<ExpectedLine> = expected.iter().map(|e| expectation(e, zone, now_ms)).collect();
    expected.sort_by_key(|line| !line.few);
    ReportersPage {
        problems: Vec::new(),
        revision: 0,
        title: title(&groups, all),
        lede: lede(&groups, zone),
        q: format::name(&filter.q),
        hidden: [("by", filter.by.as_str().to_owned()), ("back", filter.back.as_str().to_owned()), ("tz", tz.clone())],
        backs: filter.backs(&tz),
        orders: filter.orders(&tz),
        zones: links::zones(zone, |z| filter.link(filter.by, filter.back, &z.param())),
        ticks: axis.ticks(zone).into_iter().step_by(2).collect(),
        calm_title: if lines.is_empty() || calm.is_empty() {
            String::new()
        } else {
            format!("{} without trouble", format::plural(calm.len() as u64, "row"))
        },
        lines,
        calm,
        more: more.join(" · "),
        expected,
        json: filter.rows("json"),
        csv: filter.rows("csv"),
        empty: all == 0,
        filtered: groups.is_empty() && all > 0,
    }
}

fn title(groups: &[Group<'_>], all: usize) -> String {
    let count = |standing| groups.iter().filter(|g| g.standing == standing).count() as u64;
    let (silent, lacks, late) = (count(Standing::Silent), count(Standing::Gap), count(Standing::Late));
    let died = count(Standing::Died);
    let of = format::plural(groups.len() as u64, "reporter");
    let is = |n: u64| if n == 1 { "1".to_owned() } else { format::count(n) };
    match (silent, lacks, late) {
        _ if all == 0 => "Nobody has reported yet".to_owned(),
        _ if groups.is_empty() => "Reporters".to_owned(),
        (1.., _, _) => format!("{} of {of} {} silent", is(silent), if silent == 1 { "is" } else { "are" }),
        (0, 1.., _) => format!("Reports of {} of {of} are missing", is(lacks)),
        (0, 0, 1..) => format!("{} of {of} {} late", is(late), if late == 1 { "is" } else { "are" }),
        _ if died > 0 => format!("{} of {of} died and did not come back", is(died)),
        _ if groups.len() == 1 => "The reporter is on time".to_owned(),
        _ => "Every reporter is on time".to_owned(),
    }
}

fn lede(groups: &[Group<'_>], zone: Zone) -> String {
    let named = |standing| groups.iter().find(|g| g.standing == standing);
    if let Some(g) = named(Standing::Silent) {
        let r = g.speaker();
        return format!(
            "{} has not been heard since {}. What {} may have counted there is not known: such windows are never called \
             proven, and not counted as loss.",
            format::name(&r.host),
            zone.clock(r.last_ms),
            format::name(&r.application)
        );
    }
    if let Some(g) = named(Standing::Gap) {
        let r = g.speaker();
        return format!(
            "{} has told of counts that have not come. Its watermark waits for them, and so do its windows.",
            format::name(&r.host)
        );
    }
    "Everyone says every few seconds until when everything that arrived there is told; windows wait for that."
        .to_owned()
}

fn expectation(e: &ExpectedState, zone: Zone, now_ms: i64) -> ExpectedLine {
    let (id, class, word) = match e.state {
        Presence::Ok => ("proven", "c-proven", "all here"),
        Presence::Few => ("uncertain", "c-delayed", "too few"),
        Presence::Silent => ("noreport", "c-noreport", "silent"),
        Presence::Never => ("notyet", "c-noreport", "never heard"),
    };
    let age = format::age(now_ms.saturating_sub(e.since_ms));
    ExpectedLine {
        id,
        class,
        word,
        application: format::name(&e.application),
        stage: format::name(&e.stage),
        at_least: e.at_least,
        live: e.live,
        few: e.state != Presence::Ok,
        since: format!("{}, {age} ago", zone.stamp(e.since_ms)),
    }
}

/// A count that is faint where it is nothing.
fn number(value: u64, class: &'static str) -> Span {
    let class = if value == 0 { "zero" } else { class };
    Span { class, text: format::count(value) }
}

/// A clock that is off by so much makes verdicts wait, ms.
const SKEW_MS: i64 = 1_000;

fn line(g: &Group<'_>, axis: Axis, zone: Zone, now_ms: i64) -> Line {
    let r = g.speaker();
    let (id, class, word) = g.standing.look();
    let heard_ms = now_ms.saturating_sub(r.last_ms);
    let [late, no_time, malformed, out_of_range] = g.sums();
    let dropped = g.dropped();
    let odd = no_time.saturating_add(malformed).saturating_add(out_of_range);
    Line {
        id,
        class,
        word,
        calm: g.standing.is_calm(),
        host: format::name(&r.host),
        processes: match g.live() {
            0 | 1 => String::new(),
            n => format!("{n} processes"),
        },
        application: format::name(&r.application),
        stage: format::name(&r.stage),
        strip: ticks::strip(g, axis, now_ms),
        heard: Span {
            class: if matches!(g.standing, Standing::Silent | Standing::Late) { "strong" } else { "" },
            text: format::age(heard_ms),
        },
        heard_at: zone.stamp(r.last_ms),
        skew: Span {
            class: if r.skew_ms.saturating_abs() >= SKEW_MS { "c-delayed strong" } else { "" },
            text: format!("{} ms", format::signed(r.skew_ms)),
        },
        library: format::name(&r.library),
        late: number(late, "soft"),
        odd: number(odd, "soft"),
        odd_title: format!(
            "no time {}, unreadable {}, out of range {}",
            format::count(no_time),
            format::count(malformed),
            format::count(out_of_range)
        ),
        dropped: number(dropped.overflow.saturating_add(dropped.unlogged).saturating_add(dropped.records), "c-delayed"),
        dropped_title: format!(
            "counted without attribution {}, sent without the log {}, records gone {}, slots widened {}",
            format::count(dropped.overflow),
            format::count(dropped.unlogged),
            format::count(dropped.records),
            format::count(dropped.coalesced)
        ),
    }
}
