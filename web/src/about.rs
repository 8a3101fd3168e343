//! `/about`: what this build is made of, what it promises in numbers and by which run that holds, and the audit of the
//! audit: whether every record that was read has a fate, how large the store is, which limits were hit.
//!
//! Invariant: a figure that is not built in is not shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::account::{Book, Books};
use chaperone_collector::query::{ProcessState, ReporterState, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{self, Format};
use crate::csv::{self, known, text};
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::params::Params;
use crate::topic::links::{self, Choice};
use crate::zone::Zone;
use crate::{App, Build, Promise};

/// Partitions on the page.
const PARTITIONS_MAX: usize = 500;

#[derive(Template)]
#[template(path = "about.html")]
struct AboutPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    title: String,
    lede: String,
    zones: Vec<Choice>,
    parts: Vec<(&'static str, String)>,
    sums: Vec<Sum>,
    through: String,
    lines: Vec<BookLine>,
    more: String,
    limits: Vec<Limit>,
    processes: Vec<ProcessLine>,
    promises: Vec<Section>,
    promised: String,
    broken: Vec<Promise>,
}

/// Records of one fate, of all partitions.
struct Sum {
    name: &'static str,
    count: String,
    zero: bool,
}

/// One audit partition.
struct BookLine {
    place: String,
    log: u32,
    closed: bool,
    next: String,
    fates: Vec<(String, bool)>,
    difference: String,
    wrong: bool,
    through: String,
}

/// A bound, and what it has met.
struct Limit {
    name: &'static str,
    text: String,
    hit: bool,
}

struct ProcessLine {
    role: String,
    host: String,
    pid: u32,
    version: String,
    clusters: String,
    beat: String,
    problems: String,
}

/// Promises of one section.
struct Section {
    name: String,
    held: usize,
    rows: Vec<Promise>,
}

/// What the store says of itself.
struct Known {
    books: Books,
    status: Status,
    reporters: Vec<ReporterState>,
    processes: Vec<ProcessState>,
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let (now_ms, zone, store) = (app.now_ms(), params.zone()?, &app.state.store);
    let revision = *store.revisions().borrow();
    let known = Known {
        books: store.books().await?,
        status: store.status().await?,
        reporters: store.reporters(now_ms).await?,
        processes: store.processes().await?,
    };
    let mut page = view(&app.state.build, app.state.version, &known, zone, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about = About { title: "About · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::About) };
    Ok(frame::page(app, headers, &about, &page))
}

/// Rows → page. Pure.
fn view(build: &Build, version: &'static str, known: &Known, zone: Zone, now_ms: i64) -> AboutPage {
    let books = &known.books;
    let read: u64 = books.partitions.iter().map(|b| b.read).fold(0, u64::saturating_add);
    let wrong = books.partitions.iter().filter(|b| b.difference() != 0).count() as u64;
    let title = match (wrong, books.partitions.len()) {
        (_, 0) => "No audit topic has been read yet".to_owned(),
        (0, _) => format!("Every one of {} has a fate", format::plural(read, "record")),
        (n, _) => format!("The books of {} are wrong", format::plural(n, "audit partition")),
    };
    let total = |of: fn(&Book) -> u64| books.partitions.iter().map(of).fold(0, u64::saturating_add);
    let sums = [
        ("read", total(|b| b.read)),
        ("applied", total(|b| b.applied)),
        ("no news", total(|b| b.noop)),
        ("fenced", total(|b| b.fenced)),
        ("left a hole", total(|b| b.hole)),
        ("quarantined", total(|b| b.quarantined)),
    ];
    let mut parts = vec![("chaperone", version.to_owned())];
    parts.extend(build.parts.iter().map(|(name, text)| (*name, format::name(text))));
    let held = build.promises.iter().filter(|p| p.holds == Some(true)).count();
    let measured = build.promises.iter().filter(|p| p.holds.is_some()).count();
    AboutPage {
        problems: Vec::new(),
        revision: 0,
        title,
        lede: "Read = applied + no news + fenced + left a hole + quarantined, for every audit partition. Fenced records and \
               those that left a hole were not counted; whoever sent them counts again."
            .to_owned(),
        zones: links::zones(zone, |z| format!("/about?tz={}", format::url(&z.param()))),
        parts,
        sums: sums.map(|(name, n)| Sum { name, count: format::count(n), zero: n == 0 }).into(),
        through: known.status.applied_through_ms.map_or_else(
            || "not known yet".to_owned(),
            |ms| format!("{}, {} ago", zone.stamp(ms), format::age(now_ms.saturating_sub(ms))),
        ),
        lines: books.partitions.iter().take(PARTITIONS_MAX).map(|b| line(b, zone)).collect(),
        more: match books.partitions.len().saturating_sub(PARTITIONS_MAX) {
            0 => String::new(),
            n => format!("{} more; the JSON has all", format::plural(n as u64, "partition")),
        },
        limits: limits(known),
        processes: known.processes.iter().map(|p| process(p, now_ms)).collect(),
        promised: match build.promises.len() {
            0 => "No evidence is built in.".to_owned(),
            n if n > measured => format!(
                "{held} of {measured} held when they were last measured, each at its own commit; {} not measured",
                n - measured
            ),
            n => format!("{held} of {n} held when they were last measured, each at its own commit"),
        },
        broken: build.promises.iter().filter(|p| p.holds == Some(false)).cloned().collect(),
        promises: sections(&build.promises),
    }
}

fn line(b: &Book, zone: Zone) -> BookLine {
    let fates = [b.read, b.applied, b.noop, b.fenced, b.hole, b.quarantined];
    BookLine {
        place: format!("{} / {} / {}", format::name(&b.cluster), format::name(&b.topic), b.partition),
        log: b.log,
        closed: b.closed,
        next: format::count(u64::try_from(b.next).unwrap_or(0)),
        fates: fates.map(|n| (format::count(n), n == 0)).into(),
        difference: b.difference().to_string(),
        wrong: b.difference() != 0,
        through: b.applied_through_ms.map_or_else(|| "not known yet".to_owned(), |ms| zone.stamp(ms)),
    }
}

/// `12 KB`, `3.4 MB`.
fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{} bytes", format::count(n)),
        10_000..10_000_000 => format!("{} KB", format::count(n / 1_000)),
        10_000_000..1_000_000_000 => format!("{}.{} MB", n / 1_000_000, n / 100_000 % 10),
        _ => format!("{}.{} GB", format::count(n / 1_000_000_000), n / 100_000_000 % 10),
    }
}

/// Every bound that leaves a trace in the store, and whether it was met (I7).
fn limits(known: &Known) -> Vec<Limit> {
    let books = &known.books;
    let dropped = |of: fn(&chaperone_audit::wire::Dropped) -> u64| -> u64 {
        known.reporters.iter().filter_map(|r| r.dropped.as_ref()).map(of).fold(0, u64::saturating_add)
    };
    let limit = |name, n: u64, what: &str| Limit {
        name,
        text: if n == 0 { "not met".to_owned() } else { format!("{} {what}", format::count(n)) },
        hit: n > 0,
    };
    let odd = |kind: &str| books.oddities.get(kind).copied().unwrap_or(0);
    let overflowed: Vec<String> = books.overflowed.iter().map(|s| format::name(s)).collect();
    vec![
        Limit { name: "store", text: bytes(books.store_bytes), hit: false },
        Limit { name: "windows not settled", text: format::count(known.status.pending), hit: false },
        Limit {
            name: "slot table full at",
            text: if overflowed.is_empty() { "no stage".to_owned() } else { overflowed.join(", ") },
            hit: !overflowed.is_empty(),
        },
        limit("messages without attribution", dropped(|d| d.overflow), "counted in the overflow slot"),
        limit("log short of room, slots widened", dropped(|d| d.coalesced), "slots"),
        limit("log not writable", dropped(|d| d.unlogged), "records were sent without it"),
        limit("neither logged nor sent", dropped(|d| d.records), "records"),
        limit("too many gaps in slot numbers", odd("gaps"), "records were not applied"),
        limit("words that contradict each other", odd("divergent"), "in quarantine"),
        limit("lost with an audit topic", odd("written_off"), "times"),
    ]
}

fn process(p: &ProcessState, now_ms: i64) -> ProcessLine {
    let problems: Vec<String> = p.problems.iter().map(|t| format::name(&t.text)).collect();
    ProcessLine {
        role: format::name(&p.role),
        host: format::name(&p.host),
        pid: p.pid,
        version: format::name(&p.version),
        clusters: format::name(&p.clusters),
        beat: format!("{} ago", format::age(now_ms.saturating_sub(p.beat_ms))),
        problems: problems.join("; "),
    }
}

fn sections(promises: &[Promise]) -> Vec<Section> {
    let mut by_name: BTreeMap<&str, Vec<Promise>> = BTreeMap::new();
    for promise in promises {
        let section = promise.name.split('.').next().unwrap_or_default();
        by_name.entry(section).or_default().push(promise.clone());
    }
    let section = |(name, rows): (&str, Vec<Promise>)| Section {
        name: name.to_owned(),
        held: rows.iter().filter(|p| p.holds == Some(true)).count(),
        rows,
    };
    by_name.into_iter().map(section).collect()
}

#[derive(Serialize, ToSchema)]
#[schema(as = About)]
pub(crate) struct Answer<'a> {
    #[schema(value_type = serde_json::Value)]
    version: BTreeMap<&'static str, &'a str>,
    books: Books,
    #[schema(value_type = Vec<Promise>)]
    promises: &'a [Promise],
}

/// `GET /api/v1/about`: as JSON whole, as CSV the books.
pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    api_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn api_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["format"])?;
    let format = api::format(&params, headers)?;
    let books = app.state.store.books().await?;
    let build = &app.state.build;
    let mut version: BTreeMap<&str, &str> = build.parts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    version.insert("chaperone", app.state.version);
    let response = match format {
        Format::Json => Json(Answer { version, books, promises: &build.promises }).into_response(),
        Format::Csv => (api::csv_headers("chaperone-books.csv"), table(&books.partitions)).into_response(),
    };
    Ok(api::finish(response, false))
}

const COLUMNS: [&str; 14] = [
    "cluster",
    "topic",
    "partition",
    "log",
    "closed",
    "next",
    "applied_through_ms",
    "read",
    "applied",
    "noop",
    "fenced",
    "hole",
    "quarantined",
    "difference",
];

fn table(books: &[Book]) -> String {
    csv::table(
        &COLUMNS,
        books.iter().map(|b| {
            let counts = [b.read, b.applied, b.noop, b.fenced, b.hole, b.quarantined].map(|n| n.to_string());
            let mut fields = vec![text(&b.cluster), text(&b.topic), b.partition.to_string(), b.log.to_string()];
            fields.extend([b.closed.to_string(), b.next.to_string(), known(b.applied_through_ms)]);
            fields.extend(counts);
            fields.push(b.difference().to_string());
            fields
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let said = [9_999, 48_211, 48_211_000, 12_345_678_901].map(bytes);
        assert_eq!(said, ["9,999 bytes", "48 KB", "48.2 MB", "12.3 GB"]);
    }
}
