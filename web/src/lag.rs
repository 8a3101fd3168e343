//! `/lag`: how far consumer groups are behind, worst first; the same rows as `GET /api/v1/lag`.
//!
//! A topic is a row, or each of its partitions (`by=partition`). What is not known is a word, never a number; time lag is
//! printed with its error, or as "at least".

pub(crate) mod csv;
pub(crate) mod rows;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use chaperone_collector::lag::{GroupLag, LagReport, Round, State as Standing, Trend};

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::look::Span;
use crate::params::Params;
use crate::zone::Zone;
use rows::{By, Filter};

/// Most rows on the page.
const LINES_MAX: usize = 500;

#[derive(Template)]
#[template(path = "lag.html")]
struct LagPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    title: String,
    lede: String,
    group: String,
    topic: String,
    by: &'static str,
    other: Choice,
    rounds: Vec<String>,
    lines: Vec<Line>,
    more: String,
    json: String,
    csv: String,
    /// No cluster is asked at all.
    off: bool,
    /// The filter leaves nothing of what there is.
    filtered: bool,
}

struct Choice {
    text: &'static str,
    href: String,
}

/// One row.
struct Line {
    id: &'static str,
    class: &'static str,
    word: &'static str,
    calm: bool,
    cluster: String,
    group: String,
    topic: String,
    /// Its partitions, where the row is a topic.
    href: Option<String>,
    partition: String,
    messages: Span,
    trend: &'static str,
    lag: Span,
    between: String,
    lag_note: String,
    catch_up: Span,
    left: Span,
    at: String,
    late: bool,
    held: bool,
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let (now_ms, zone) = (app.now_ms(), params.zone()?);
    let filter = Filter::of(&params)?;
    let revision = *app.state.store.revisions().borrow();
    let report = app.state.store.lag(rows::since_ms(now_ms)).await?;
    let mut page = view(&report, &filter, zone, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about = About { title: "Lag · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::Lag) };
    Ok(frame::page(app, headers, &about, &page))
}

/// Rows → page. Pure.
fn view(report: &LagReport, filter: &Filter, zone: Zone, now_ms: i64) -> LagPage {
    let every = |cluster: &str| report.rounds.iter().find(|r| r.cluster == cluster).map_or(5_000, |r| r.every_ms);
    let mut rows = rows::select(report, filter);
    rows.sort_by_cached_key(|r| {
        let behind = (r.state, r.lag_ms, r.messages);
        (Reverse(behind), r.cluster.clone(), r.group.clone(), r.topic.clone(), r.partition)
    });
    let found = rows.len();
    let lines: Vec<Line> =
        rows.iter().take(LINES_MAX).map(|row| line(row, every(&row.cluster), filter, zone, now_ms)).collect();
    let groups = |rows: &mut dyn Iterator<Item = &GroupLag>| {
        rows.map(|r| (r.cluster.clone(), r.group.clone())).collect::<BTreeSet<_>>().len() as u64
    };
    let all = groups(&mut rows.iter());
    let title = match (all, groups(&mut rows.iter().filter(|r| r.state != Standing::CaughtUp))) {
        (0, _) => "Consumer lag".to_owned(),
        (1, 0) => "The group has caught up".to_owned(),
        (_, 0) => "Every group has caught up".to_owned(),
        (n, 1) => format!("1 of {} has not caught up", format::plural(n, "group")),
        (n, behind) => format!("{} of {} have not caught up", format::count(behind), format::plural(n, "group")),
    };
    let other = match filter.by {
        By::Topic => Choice { text: "by partition", href: filter.link(By::Partition, &zone.param()) },
        By::Partition => Choice { text: "by topic", href: filter.link(By::Topic, &zone.param()) },
    };
    LagPage {
        problems: Vec::new(),
        revision: 0,
        title,
        lede: "A group's time lag is the age of its oldest message that is not committed: a bound with its error, never an estimate.".to_owned(),
        group: format::name(filter.group_text()),
        topic: format::name(filter.topic_text()),
        by: filter.by.as_str(),
        other,
        rounds: report.rounds.iter().map(|round| about(round, zone, now_ms)).collect(),
        more: if found > LINES_MAX {
            format!("{} more; the JSON has all", format::plural((found - LINES_MAX) as u64, "row"))
        } else {
            String::new()
        },
        lines,
        json: filter.rows("json"),
        csv: filter.rows("csv"),
        off: report.rounds.is_empty(),
        filtered: found == 0 && !report.rows.is_empty(),
    }
}

fn about(round: &Round, zone: Zone, now_ms: i64) -> String {
    let asked = format::plural(u64::from(round.groups), "group");
    let age = format::age(now_ms.saturating_sub(round.at_ms));
    let left_out = match round.left_out {
        0 => String::new(),
        n => format!(", {} that are less behind left out", format::plural(u64::from(n), "row")),
    };
    format!("{}: {asked} asked at {}, {age} ago{left_out}", format::name(&round.cluster), zone.clock(round.at_ms))
}

fn line(row: &GroupLag, every_ms: i64, filter: &Filter, zone: Zone, now_ms: i64) -> Line {
    let (id, class, word) = look(row);
    let quiet = |text: &str| Span { class: "quiet", text: text.to_owned() };
    let plain = |text: String| Span { class: "", text };
    let zero = |text: &str| Span { class: "zero", text: text.to_owned() };
    let caught_up = row.state == Standing::CaughtUp;
    Line {
        id,
        class,
        word,
        calm: caught_up,
        cluster: format::name(&row.cluster),
        group: format::name(&row.group),
        topic: format::name(&row.topic),
        href: (filter.by == By::Topic).then(|| Filter::one(row, &zone.param())),
        partition: row.partition.map_or_else(String::new, |p| p.to_string()),
        messages: match row.messages {
            None => quiet("unknown"),
            Some(0) => zero("0"),
            Some(n) => plain(format::count(n)),
        },
        trend: arrow(row.trend, caught_up),
        lag: match row.lag_ms {
            None => quiet("unknown"),
            Some(0) if caught_up => zero("0"),
            Some(ms) if row.at_least => plain(format!("≥ {}", format::delay(ms))),
            Some(ms) => plain(format::delay(ms)),
        },
        between: match (row.lag_ms, row.error_ms) {
            (Some(ms), Some(error)) if error > 0 => {
                format!("between {} and {}", format::delay(ms - error), format::delay(ms))
            }
            (Some(_), None) => "nobody had asked when it arrived".to_owned(),
            _ => String::new(),
        },
        lag_note: match (arrow(row.lag_trend, caught_up), row.error_ms.filter(|error| *error > 0)) {
            (trend, None) => trend.to_owned(),
            ("", Some(error)) => format!("up to {} less", format::delay(error)),
            (trend, Some(error)) => format!("{trend}, up to {} less", format::delay(error)),
        },
        catch_up: match (row.catch_up_ms, row.rates()) {
            (Some(0), _) => zero("–"),
            (Some(ms), _) => plain(format::age(ms)),
            (None, Some(_)) => Span { class: "c-delayed", text: "never at this rate".to_owned() },
            (None, None) => quiet("unknown"),
        },
        left: match (row.eaten, row.retention_left_ms) {
            (1.., _) => Span { class: "c-missing", text: format!("{} gone", format::count(row.eaten)) },
            (0, Some(ms)) if ms < row.catch_up_ms.unwrap_or(i64::MAX) && !caught_up => {
                Span { class: "c-delayed", text: format::age(ms) }
            }
            (0, Some(ms)) => plain(format::age(ms)),
            (0, None) if caught_up => zero("–"),
            (0, None) => quiet("unknown"),
        },
        at: zone.clock(row.at_ms),
        late: rows::is_late(row.at_ms, every_ms, now_ms),
        held: row.held,
    }
}

/// Glyph, class and word of where a group stands.
fn look(row: &GroupLag) -> (&'static str, &'static str, &'static str) {
    let grows = row.trend == Trend::Growing || row.lag_trend == Trend::Growing;
    match row.state {
        Standing::Eaten => ("missing", "c-missing", "gone unread"),
        Standing::BeyondEnd => ("uncertain", "c-uncertain", "beyond the end"),
        Standing::Unknown => ("noreport", "c-noreport", "no answer"),
        Standing::NoCommit => ("notyet", "c-notyet", "no commit"),
        Standing::Behind if grows => ("delayed", "c-delayed", "falling behind"),
        Standing::Behind => ("open", "c-open", "behind"),
        Standing::CaughtUp => ("proven", "c-proven", "caught up"),
    }
}

fn arrow(trend: Trend, caught_up: bool) -> &'static str {
    match trend {
        _ if caught_up => "",
        Trend::Growing => "growing",
        Trend::Falling => "falling",
        Trend::Steady => "steady",
        Trend::Unknown => "",
    }
}
