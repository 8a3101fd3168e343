//! `/quarantine`: what the auditor does not believe, and what nobody counted: refused records of audit topics, records of
//! them that are lost, offsets that taps could not count, and words that cannot both be true.
//!
//! Invariant: no page and no answer has a payload; of a refused record it has where it lies, its length and its SHA-256.

pub(crate) mod rows;

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use chaperone_collector::account::{AuditLost, Oddity, Unaudited, Unbelieved};
use chaperone_collector::query::Quarantined;

use crate::App;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::params::Params;
use crate::topic::links::{self, Choice};
use crate::zone::Zone;

/// Rows of each kind on the page.
const LINES_MAX: u32 = 200;
/// Rows of each kind that the store keeps, but for unaudited ranges.
const KEPT_MAX: u64 = 10_000;

#[derive(Template)]
#[template(path = "quarantine.html")]
struct QuarantinePage {
    problems: Vec<crate::Problem>,
    revision: u64,
    title: String,
    lede: &'static str,
    zones: Vec<Choice>,
    sections: Vec<Section>,
    calm: bool,
}

/// One kind of what is not believed.
struct Section {
    title: &'static str,
    sub: &'static str,
    kind: &'static str,
    columns: &'static [Column],
    lines: Vec<Vec<String>>,
    more: String,
    /// What its emptiness means.
    none: &'static str,
}

struct Column {
    name: &'static str,
    /// How its fields are set.
    class: &'static str,
}

const fn column(name: &'static str, class: &'static str) -> Column {
    Column { name, class }
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let (now_ms, zone) = (app.now_ms(), params.zone()?);
    let revision = *app.state.store.revisions().borrow();
    let found = app.state.store.unbelieved(LINES_MAX).await?;
    let mut page = view(&found, zone);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about =
        About { title: "Quarantine · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::Quarantine) };
    Ok(frame::page(app, headers, &about, &page))
}

const RECORDS: [Column; 6] = [
    column("when", ""),
    column("audit topic", ""),
    column("offset", "num"),
    column("bytes", "num"),
    column("SHA-256", "id"),
    column("reason", "wrap"),
];
const LOST: [Column; 5] = [
    column("noticed", ""),
    column("audit topic", ""),
    column("offsets", "num"),
    column("appended between", ""),
    column("cause", "wrap"),
];
const UNAUDITED: [Column; 6] = [
    column("noticed", ""),
    column("stage", ""),
    column("topic", ""),
    column("offsets", "num"),
    column("event times", ""),
    column("cause", "wrap"),
];
const ODDITIES: [Column; 4] = [column("when", ""), column("kind", ""), column("process", "id"), column("what", "wrap")];

/// Rows → page. Pure.
fn view(found: &Unbelieved, zone: Zone) -> QuarantinePage {
    let [refused, lost, unaudited, odd] = found.kept;
    let section = |title, sub, kind, columns, lines: Vec<Vec<String>>, kept: u64, none| Section {
        more: match kept.saturating_sub(lines.len() as u64) {
            0 => String::new(),
            n if kept >= KEPT_MAX => format!("{} more are kept, and older ones are forgotten", format::count(n)),
            n => format!("{} more; CSV and JSON have them", format::count(n)),
        },
        title,
        sub,
        kind,
        columns,
        lines,
        none,
    };
    let sections = vec![
        section(
            "Refused records",
            "of audit topics; their offset was passed over, nothing of them was counted",
            "records",
            &RECORDS,
            found.quarantined.iter().map(|q| refused_line(q, zone)).collect(),
            refused,
            "Every record that was read could be read and was believed.",
        ),
        section(
            "Lost of audit topics",
            "what the records said is not known: windows of their time are uncertain at linked stages, taps counted again",
            "audit_lost",
            &LOST,
            found.audit_lost.iter().map(|l| lost_line(l, zone)).collect(),
            lost,
            "No record of an audit topic was gone before it was read.",
        ),
        section(
            "Not counted by taps",
            "offsets of data topics; windows that they may belong to are uncertain, never proven",
            "unaudited",
            &UNAUDITED,
            found.unaudited.iter().map(|u| unaudited_line(u, zone)).collect(),
            unaudited,
            "Taps have counted every offset since they began.",
        ),
        section(
            "Odd words",
            "what an honest process does not say, and what was given up",
            "oddities",
            &ODDITIES,
            found.oddities.iter().map(|o| odd_line(o, zone)).collect(),
            odd,
            "No two reports contradict each other.",
        ),
    ];
    QuarantinePage {
        problems: Vec::new(),
        revision: 0,
        title: title([refused, lost, unaudited, odd]),
        lede: "Nothing here was counted, and nothing here was thrown away unseen: what it may have said makes windows uncertain, never proven.",
        zones: links::zones(zone, |z| format!("/quarantine?tz={}", format::url(&z.param()))),
        calm: sections.iter().all(|s| s.lines.is_empty()),
        sections,
    }
}

fn title([refused, lost, unaudited, odd]: [u64; 4]) -> String {
    let said = [(refused, "refused record"), (lost, "lost range"), (unaudited, "range not counted"), (odd, "odd word")];
    let some: Vec<String> = said
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, noun)| match noun {
            "range not counted" if n > 1 => format!("{} ranges not counted", format::count(n)),
            _ => format::plural(n, noun),
        })
        .collect();
    match some.split_last() {
        None => "Nothing is in quarantine".to_owned(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} and {end}", rest.join(", ")),
    }
}

/// `kafka.main audit/3`.
fn place(cluster: &str, topic: &str, partition: i32) -> String {
    format!("{} / {} / {partition}", format::name(cluster), format::name(topic))
}

/// `[from, to)`, end exclusive as everywhere.
fn offsets(from: i64, to: Option<i64>) -> String {
    let number = |offset: i64| format::signed(offset).trim_start_matches('+').to_owned();
    match to {
        Some(to) if to == from.saturating_add(1) => number(from),
        Some(to) => format!("{} – {}", number(from), number(to)),
        None => format!("{} – ?", number(from)),
    }
}

fn between(from_ms: Option<i64>, to_ms: Option<i64>, zone: Zone) -> String {
    let at = |ms: Option<i64>, none: &str| ms.map_or_else(|| none.to_owned(), |ms| zone.stamp(ms));
    match (from_ms, to_ms) {
        (None, None) => "any time".to_owned(),
        _ => format!("{} – {}", at(from_ms, "any earlier"), at(to_ms, "not known yet")),
    }
}

fn refused_line(q: &Quarantined, zone: Zone) -> Vec<String> {
    vec![
        zone.stamp(q.received_ms),
        place(&q.cluster, &q.topic, q.partition),
        offsets(q.offset, Some(q.offset.saturating_add(1))),
        format::count(q.length),
        format::name(&q.sha256),
        format::name(&q.reason),
    ]
}

fn lost_line(l: &AuditLost, zone: Zone) -> Vec<String> {
    vec![
        zone.stamp(l.at_ms),
        place(&l.cluster, &l.topic, l.partition),
        offsets(l.from_offset, l.to_offset),
        between(l.from_ms, Some(l.to_ms), zone),
        format::name(&l.cause),
    ]
}

fn unaudited_line(u: &Unaudited, zone: Zone) -> Vec<String> {
    vec![
        zone.stamp(u.at_ms),
        format::name(&u.stage),
        format!("{} / {}", format::name(&u.topic), u.partition),
        offsets(u.from_offset, u.to_offset),
        between(u.from_event_ms, u.to_event_ms, zone),
        format::name(&u.cause),
    ]
}

fn odd_line(o: &Oddity, zone: Zone) -> Vec<String> {
    vec![
        zone.stamp(o.at_ms),
        format::name(&o.kind.replace('_', " ")),
        o.incarnation.map(|id| id.to_string()).unwrap_or_default(),
        format::name(&o.text),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_before_their_end_and_what_is_not_known_is_said() {
        assert_eq!(
            [offsets(5, Some(6)), offsets(5_000, Some(7_000)), offsets(5, None)],
            ["5", "5,000 – 7,000", "5 – ?"]
        );
        let zone = Zone::utc();
        assert_eq!(between(None, None, zone), "any time");
        assert_eq!(between(None, Some(0), zone), "any earlier – 1970-01-01 00:00:00");
        assert_eq!(between(Some(0), None, zone), "1970-01-01 00:00:00 – not known yet");
    }

    #[test]
    fn the_title_counts_what_there_is() {
        assert_eq!(title([0; 4]), "Nothing is in quarantine");
        assert_eq!(title([1, 0, 0, 0]), "1 refused record");
        assert_eq!(title([1, 0, 2, 1]), "1 refused record, 2 ranges not counted and 1 odd word");
    }
}
