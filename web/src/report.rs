//! `/report?day=2026-11-21`: one day for an auditor, to be printed: which windows were complete, what is missing and surplus,
//! how late messages were, who fell silent, what was amended; and a checksum over all of it.
//!
//! Invariants: a number that is only a bound from below says so; the checksum is over the bytes that `GET /api/v1/report`
//! answers, and over nothing else.

pub(crate) mod summary;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use chaperone_collector::account::{AMENDED_MAX, Account, HopSum, StageSum};
use chaperone_collector::query::WindowQuery;
use chaperone_collector::{Pipelines, Verdict};

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::look::{self, Look, Span};
use crate::params::Params;
use crate::strip::{Axis, MINI, Shape, Tick, shapes};
use crate::topic::links::{self, Choice, Links};
use crate::zone::Zone;
use summary::{Bounds, Day, PARTS};

/// Hops, and stages, on the page.
const LINES_MAX: usize = 500;
/// Tint of a strip's cells: counts to compare with are not read.
const TINT: usize = 5;

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    day: String,
    title: String,
    lede: String,
    before: String,
    after: Option<String>,
    today: String,
    tz: String,
    zones: Vec<Choice>,
    figures: Vec<Figure>,
    ticks: Vec<Tick>,
    hops: Vec<HopLine>,
    more_hops: String,
    stages: Vec<StageLine>,
    more_stages: String,
    silent: Vec<SilentLine>,
    amended: Vec<AmendedLine>,
    more_amended: bool,
    doubts: Vec<String>,
    sha256: String,
    command: String,
    json: String,
    csv: String,
    empty: bool,
    gone: bool,
}

struct Figure {
    name: &'static str,
    value: String,
    note: String,
    class: &'static str,
}

struct HopLine {
    id: &'static str,
    class: &'static str,
    word: &'static str,
    calm: bool,
    topic: String,
    href: Option<String>,
    hop: String,
    owner: String,
    cells: Vec<Cell>,
    label: String,
    windows: String,
    complete: Span,
    proven: Span,
    missing: Span,
    surplus: Span,
    delayed: Span,
    amended: Span,
    order: (Look, Reverse<u64>, String, usize),
}

struct Cell {
    x: String,
    width: String,
    shapes: Vec<Shape>,
}

struct StageLine {
    topic: String,
    stage: String,
    messages: String,
    untimed: Span,
    delays: [String; 3],
}

struct SilentLine {
    stage: String,
    application: String,
    host: String,
    last: String,
}

struct AmendedLine {
    at: String,
    window: String,
    topic: String,
    hop: String,
    change: String,
    missing: String,
    cause: String,
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let (now_ms, zone) = (app.now_ms(), params.zone()?);
    let day = Day::of(&params, zone, now_ms)?;
    let revision = *app.state.store.revisions().borrow();
    let account = account(app, &day, now_ms).await?;
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let mut page = view(&app.pipelines(), &account, &day, host, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let title = format!("Report of {} · Chaperone", day.text);
    // A day that is over changes by amendments only: nothing to wait for.
    let events = (now_ms < day.to_ms).then_some("/events");
    let about = About { title: &title, events, zone, now_ms, tab: Some(Tab::Report) };
    Ok(frame::page(app, headers, &about, &page))
}

/// The day in sums. Who was not heard for half a minute, or for as long as its pipeline allows, is silent.
pub(crate) async fn account(app: &App, day: &Day, now_ms: i64) -> Result<Account, WebError> {
    let patience = app.pipelines().list.iter().map(|p| p.silent_after.as_millis()).max().unwrap_or(30_000);
    let patience = i64::try_from(patience).unwrap_or(i64::MAX);
    let range = WindowQuery { from_ms: day.from_ms, to_ms: day.to_ms, ..WindowQuery::default() };
    Ok(app.state.store.account(range, now_ms.saturating_sub(patience)).await?)
}

/// Rows → page. Pure.
fn view(pipelines: &Pipelines, account: &Account, day: &Day, host: &str, now_ms: i64) -> ReportPage {
    let zone = day.zone;
    let axis = Axis::new(day.from_ms, day.to_ms, 10_000);
    let mut hops: Vec<HopLine> =
        account.hops.iter().enumerate().map(|(i, h)| hop_line(pipelines, h, i, axis, day)).collect();
    hops.sort_by(|a, b| a.order.cmp(&b.order));
    let rest = |found: usize, noun: &str| match found.saturating_sub(LINES_MAX) {
        0 => String::new(),
        n => format!("{} more; CSV and JSON have all", format::plural(n as u64, noun)),
    };
    let canonical = summary::canonical(&summary::of(account, day));
    let path = day.api_path();
    ReportPage {
        problems: Vec::new(),
        revision: 0,
        day: day.text.clone(),
        title: title(account, day),
        lede: lede(account, day, now_ms),
        before: day.link(-1),
        after: (day.to_ms <= now_ms).then(|| day.link(1)),
        today: format!("/report?day=today&tz={}", format::url(&zone.param())),
        tz: zone.param(),
        zones: links::zones(zone, |z| format!("/report?day={}&tz={}", day.text, format::url(&z.param()))),
        figures: figures(account),
        ticks: axis.ticks(zone).into_iter().step_by(2).collect(),
        more_hops: rest(hops.len(), "hop"),
        hops: hops.into_iter().take(LINES_MAX).collect(),
        stages: account.stages.iter().take(LINES_MAX).map(stage_line).collect(),
        more_stages: rest(account.stages.len(), "stage"),
        silent: account
            .silent
            .iter()
            .map(|s| SilentLine {
                stage: format::name(&s.stage),
                application: format::name(&s.application),
                host: format::name(&s.host),
                last: zone.stamp(s.last_ms),
            })
            .collect(),
        amended: account.amended.iter().map(|a| amended_line(a, zone)).collect(),
        more_amended: account.amended.len() >= AMENDED_MAX as usize,
        doubts: doubts(account),
        sha256: summary::sha256(&canonical),
        command: format!("curl -s '{}{path}' | sha256sum", origin(host)),
        csv: format!("{path}&format=csv"),
        json: path,
        empty: account.hops.is_empty(),
        gone: account.gone,
    }
}

/// Where this page was asked for, if that can be printed in a command.
fn origin(host: &str) -> String {
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    format!("http://{}", if plain { host } else { "HOST:PORT" })
}

fn title(account: &Account, day: &Day) -> String {
    let missing = account.hops.iter().map(|h| h.missing_min).fold(0, u64::saturating_add);
    let surplus = account.hops.iter().map(|h| h.surplus_min).fold(0, u64::saturating_add);
    let is_trouble = |h: &&HopSum| worst(h).is_trouble();
    let in_doubt = account.hops.iter().filter(is_trouble).count() as u64;
    let are = |n: u64| if n == 1 { "message is" } else { "messages are" };
    let said = match (account.hops.len(), missing, surplus, in_doubt) {
        (0, ..) if account.gone => "nothing is kept".to_owned(),
        (0, ..) => "nothing was counted".to_owned(),
        (_, 1.., _, _) => format!("at least {} {} missing", format::count(missing), are(missing)),
        (_, 0, 1.., _) => format!("at least {} {} too many", format::count(surplus), are(surplus)),
        (_, 0, 0, 1..) => format!("{} cannot be told to be whole", format::plural(in_doubt, "hop")),
        _ => "nothing is missing".to_owned(),
    };
    format!("{}: {said}", day.text)
}

fn lede(account: &Account, day: &Day, now_ms: i64) -> String {
    let until = if now_ms < day.to_ms {
        format!("The day is not over: these are its sums as of {}. ", day.zone.clock(now_ms))
    } else {
        String::new()
    };
    let open = account.hops.iter().any(|h| h.windows() > h.settled());
    let open = if open { " Windows that are not settled are in no sum but their own." } else { "" };
    format!(
        "{until}Event time from {} to the same time a day later, {}.{open}",
        day.zone.clock(day.from_ms),
        day.zone.label()
    )
}

fn figures(account: &Account) -> Vec<Figure> {
    let sum = |of: fn(&HopSum) -> u64| account.hops.iter().map(of).fold(0, u64::saturating_add);
    let (windows, settled, proven) = (sum(HopSum::windows), sum(HopSum::settled), sum(|h| h.of(Verdict::Ok)));
    let bounds = Bounds::of_all(account);
    let figure = |name, value: String, note: String, class| Figure { name, value, note, class };
    let of = |n: u64, class: &'static str| if n == 0 { "" } else { class };
    vec![
        figure("windows, by hop", format::count(windows), format!("{} complete", format::count(settled)), ""),
        figure("incomplete", format::count(windows.saturating_sub(settled)), "not settled, or no report".into(), ""),
        figure("proven by ids", format::count(proven), share(proven, windows), ""),
        figure("missing", format::count(bounds.missing.0), at_most(bounds.missing), of(bounds.missing.0, "c-missing")),
        figure("surplus", format::count(bounds.surplus.0), at_most(bounds.surplus), of(bounds.surplus.0, "c-surplus")),
        figure("reporters silent", format::count(account.silent.len() as u64), "and not heard since".into(), ""),
        figure("amendments", format::count(sum(|h| h.amendments)), "verdicts that changed later".into(), ""),
    ]
}

fn at_most((least, most): (u64, Option<u64>)) -> String {
    match most {
        Some(most) if most == least => "exactly".to_owned(),
        Some(most) => format!("at most {}", format::count(most)),
        None => "at least; not known how many more".to_owned(),
    }
}

/// `99.98 %`, never rounded up to all of it.
fn share(part: u64, of: u64) -> String {
    if of == 0 {
        return String::new();
    }
    let basis = u128::from(part) * 10_000 / u128::from(of);
    format!("{}.{:02} %", basis / 100, basis % 100)
}

/// The worst settled verdict of a hop.
fn worst(h: &HopSum) -> Look {
    let looks = h.verdicts.keys().copied().map(Look::of_verdict);
    look::worst(looks).unwrap_or(Look::Open)
}

/// Neighbouring parts that look alike: first, one past the last, look.
fn runs(parts: &BTreeMap<i64, Verdict>) -> Vec<(i64, i64, Look)> {
    let mut runs: Vec<(i64, i64, Look)> = Vec::new();
    for (part, verdict) in parts {
        let look = Look::of_verdict(*verdict);
        match runs.last_mut() {
            Some((_, to, same)) if *to == *part && *same == look => *to += 1,
            _ => runs.push((*part, *part + 1, look)),
        }
    }
    runs
}

fn hop_line(pipelines: &Pipelines, h: &HopSum, place: usize, axis: Axis, day: &Day) -> HopLine {
    let look = worst(h);
    let bounds = Bounds::of(h);
    let pipeline = pipelines.of(&h.topic);
    let part_ms = (day.to_ms - day.from_ms) / PARTS;
    let cells = runs(&h.parts).into_iter().map(|(from, to, look)| {
        let (from_ms, to_ms) = (day.from_ms + from * part_ms, day.from_ms + to * part_ms);
        Cell { x: axis.x(from_ms), width: axis.width(from_ms, to_ms), shapes: shapes(look, TINT, MINI) }
    });
    let number = |n: u64, class: &'static str, text: String| Span { class: if n == 0 { "zero" } else { class }, text };
    let bound = |(least, most): (u64, Option<u64>), own: Look| match (least, most) {
        (0, Some(0)) => Span { class: "zero", text: "0".to_owned() },
        (0, None) => Span::of(Look::Unproven, "0 … ?"),
        (n, None) => Span::of(own, format!("≥ {}", format::count(n))),
        (n, Some(most)) if n == most => Span::of(own, format::count(n)),
        (n, Some(most)) => Span::of(own, format!("{} … {}", format::count(n), format::count(most))),
    };
    let (windows, proven) = (h.windows(), h.of(Verdict::Ok));
    HopLine {
        id: look.id(),
        class: look::class(look),
        word: look.word(),
        calm: !look.is_trouble(),
        topic: format::name(&h.topic),
        href: pipeline.map(|p| {
            let (from, to) = (day.from_ms.to_string(), day.to_ms.to_string());
            format!("{}?from={from}&to={to}&tz={}", Links::path(&p.cluster, &h.topic), format::url(&day.zone.param()))
        }),
        hop: format!("{} → {}", format::name(&h.from_stage), format::name(&h.to_stage)),
        owner: pipeline.and_then(|p| p.owner.as_deref()).map(format::name).unwrap_or_default(),
        cells: cells.collect(),
        label: format!("worst verdict by hour: {}", look.word()),
        windows: format::count(windows),
        complete: match windows.saturating_sub(h.settled()) {
            0 => Span { class: "zero", text: "all".to_owned() },
            n => Span { class: "c-unproven strong", text: format!("{} not", format::count(n)) },
        },
        proven: Span { class: if proven == windows { "" } else { "strong" }, text: share(proven, windows) },
        missing: bound(bounds.missing, Look::Missing),
        surplus: bound(bounds.surplus, Look::Surplus),
        delayed: number(h.delayed, "c-delayed", format::count(h.delayed)),
        amended: number(h.amendments, "", format::count(h.amendments)),
        order: (look, Reverse(h.missing_min), h.topic.clone(), place),
    }
}

fn stage_line(s: &StageSum) -> StageLine {
    let quantile = |permille| s.delay.quantile_ms(permille).map_or_else(|| "–".to_owned(), format::delay);
    StageLine {
        topic: format::name(&s.topic),
        stage: format::name(&s.stage),
        messages: format::count(s.n),
        untimed: Span { class: if s.untimed == 0 { "zero" } else { "c-delayed" }, text: format::count(s.untimed) },
        delays: [quantile(500), quantile(950), quantile(990)],
    }
}

fn amended_line(a: &chaperone_collector::account::Amended, zone: Zone) -> AmendedLine {
    AmendedLine {
        at: zone.stamp(a.at_ms),
        window: zone.clock(a.window_ms),
        topic: format::name(&a.topic),
        hop: format!("{} → {}", format::name(&a.from_stage), format::name(&a.to_stage)),
        change: format!("{} → {}", format::name(&a.old_verdict), format::name(&a.new_verdict)),
        missing: format!("{} → {}", format::count(a.missing.0), format::count(a.missing.1)),
        cause: format::name(&a.cause),
    }
}

fn doubts(account: &Account) -> Vec<String> {
    let mut doubts = Vec::new();
    if account.truncated {
        doubts.push(
            "There are more topics than one answer has rows for: these sums are not those of all of them.".to_owned(),
        );
    }
    if account.audit_lost > 0 {
        doubts.push(format!(
            "{} of audit topics were lost: what they said is not known, and windows of linked stages are uncertain there.",
            format::plural(account.audit_lost, "range")
        ));
    }
    if account.unaudited > 0 {
        doubts.push(format!(
            "Taps could not count {} of offsets: windows that they may belong to are uncertain.",
            format::plural(account.unaudited, "range")
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_never_rounded_up_to_all() {
        assert_eq!([share(9_999_999, 10_000_000), share(1, 1), share(0, 3)], ["99.99 %", "100.00 %", "0.00 %"]);
        assert_eq!(share(0, 0), "");
    }

    #[test]
    fn equal_neighbours_are_one_and_what_was_not_counted_is_a_gap() {
        let parts = [(0, Verdict::Ok), (1, Verdict::Ok), (2, Verdict::Missing), (4, Verdict::Ok)].into();
        assert_eq!(runs(&parts), [(0, 2, Look::Proven), (2, 3, Look::Missing), (4, 5, Look::Proven)]);
    }

    #[test]
    fn a_host_that_is_no_host_is_not_printed_in_a_command() {
        assert_eq!(origin("audit.example:8080"), "http://audit.example:8080");
        for bad in ["", "a'; rm", "a b"] {
            assert_eq!(origin(bad), "http://HOST:PORT");
        }
    }
}
