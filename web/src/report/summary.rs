//! A day as canonical JSON, whose SHA-256 the report prints, and the API over it.
//!
//! Canonical: RFC 8785 as far as it is needed: members sorted by name, no blanks, whole numbers with all digits. The answer of
//! `GET /api/v1/report` is these bytes and nothing else, so that `curl … | sha256sum` gives the checksum of the page. It says
//! that page and answer are one; who made them it does not say (that takes a key).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use chaperone_collector::account::{Account, HopSum, StageSum};
use chrono::{Days, NaiveDate};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::App;
use crate::api::{self, Format};
use crate::csv::{self, known, text};
use crate::error::WebError;
use crate::format;
use crate::params::Params;
use crate::zone::Zone;

pub(super) use chaperone_collector::account::PARTS;

/// The answer, as it is described.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description: the answer is canonical bytes")]
pub(crate) struct Report {
    kind: String,
    day: String,
    tz: String,
    from_ms: i64,
    to_ms: i64,
    totals: Value,
    hops: Vec<Value>,
    stages: Vec<Value>,
    silent: Vec<Value>,
    truncated: Value,
    audit_lost: Value,
    unaudited: Value,
}

/// What the summary is.
const KIND: &str = "chaperone-report-1";
const DAY_MS: i64 = 86_400_000;
/// The checksum of an answer.
const CHECKSUM: HeaderName = HeaderName::from_static("chaperone-sha256");

/// A day of a zone.
pub(crate) struct Day {
    /// `2026-11-21`.
    pub(crate) text: String,
    date: NaiveDate,
    pub(crate) zone: Zone,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

impl Day {
    /// `day`, by default the last one that is over.
    pub(crate) fn of(params: &Params, zone: Zone, now_ms: i64) -> Result<Self, WebError> {
        let allowed = || "a day such as 2026-11-21, today or yesterday, from 2000 to 2100".to_owned();
        let today = zone.at(now_ms).map(|t| t.date_naive()).unwrap_or_default();
        let said = params.get("day")?.filter(|day| !day.is_empty()).unwrap_or("yesterday");
        let date = match said {
            "today" => Some(today),
            "yesterday" => today.checked_sub_days(Days::new(1)),
            text => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10),
        };
        let in_range = |date: &NaiveDate| (2000..=2100).contains(&chrono::Datelike::year(date));
        let date = date.filter(in_range).ok_or_else(|| WebError::parameter("day", said, allowed()))?;
        Ok(Self::at(date, zone))
    }
    fn at(date: NaiveDate, zone: Zone) -> Self {
        let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
        let from_ms = midnight.saturating_sub(zone.offset_ms());
        Self { text: date.format("%Y-%m-%d").to_string(), date, zone, from_ms, to_ms: from_ms.saturating_add(DAY_MS) }
    }
    /// The page of a day so many days later.
    pub(crate) fn link(&self, days: i64) -> String {
        let date = self.date.checked_add_signed(chrono::TimeDelta::days(days)).unwrap_or(self.date);
        format!("/report?day={}&tz={}", date.format("%Y-%m-%d"), format::url(&self.zone.param()))
    }
    /// Where its summary is.
    pub(crate) fn api_path(&self) -> String {
        format!("/api/v1/report?day={}&tz={}", self.text, format::url(&self.zone.param()))
    }
}

/// Bounds from below, and from above where there are any.
pub(crate) struct Bounds {
    pub(crate) missing: (u64, Option<u64>),
    pub(crate) surplus: (u64, Option<u64>),
}

impl Bounds {
    /// Of one hop. What is late may yet turn out to be lost.
    pub(crate) fn of(h: &HopSum) -> Self {
        let bounded = h.is_bounded();
        Self {
            missing: (h.missing_min, bounded.then(|| h.missing_min.saturating_add(h.delayed))),
            surplus: (h.surplus_min, bounded.then_some(h.surplus_min)),
        }
    }
    /// Of all hops.
    pub(crate) fn of_all(account: &Account) -> Self {
        let add = |(a, b): (u64, Option<u64>), (c, d): (u64, Option<u64>)| {
            (a.saturating_add(c), b.zip(d).map(|(b, d)| b.saturating_add(d)))
        };
        account.hops.iter().map(Self::of).fold(Self { missing: (0, Some(0)), surplus: (0, Some(0)) }, |a, b| Self {
            missing: add(a.missing, b.missing),
            surplus: add(a.surplus, b.surplus),
        })
    }
}

/// The day as it is summed up. Whatever is here is the store's; nothing depends on the configuration or on when it is asked.
pub(crate) fn of(account: &Account, day: &Day) -> Value {
    let bounds = Bounds::of_all(account);
    let sum = |of: fn(&HopSum) -> u64| account.hops.iter().map(of).fold(0, u64::saturating_add);
    json!({
        "kind": KIND,
        "day": day.text,
        "tz": day.zone.param(),
        "from_ms": day.from_ms,
        "to_ms": day.to_ms,
        "totals": {
            "windows": sum(HopSum::windows),
            "complete": sum(HopSum::settled),
            "incomplete": sum(|h| h.windows().saturating_sub(h.settled())),
            "missing_min": bounds.missing.0,
            "missing_max": bounds.missing.1,
            "surplus_min": bounds.surplus.0,
            "surplus_max": bounds.surplus.1,
            "delayed": sum(|h| h.delayed),
            "amendments": sum(|h| h.amendments),
        },
        "hops": account.hops.iter().map(hop).collect::<Vec<_>>(),
        "stages": account.stages.iter().map(stage).collect::<Vec<_>>(),
        "silent": account.silent.iter().map(|s| json!({
            "stage": s.stage, "application": s.application, "host": s.host, "last_ms": s.last_ms,
        })).collect::<Vec<_>>(),
        "truncated": account.truncated,
        "audit_lost": account.audit_lost,
        "unaudited": account.unaudited,
    })
}

fn hop(h: &HopSum) -> Value {
    let bounds = Bounds::of(h);
    json!({
        "topic": h.topic,
        "from_stage": h.from_stage,
        "to_stage": h.to_stage,
        "windows": h.windows(),
        "complete": h.settled(),
        "incomplete": h.windows().saturating_sub(h.settled()),
        "verdicts": h.verdicts.iter().map(|(v, n)| (v.as_str(), n)).collect::<std::collections::BTreeMap<_, _>>(),
        "missing_min": bounds.missing.0,
        "missing_max": bounds.missing.1,
        "surplus_min": bounds.surplus.0,
        "surplus_max": bounds.surplus.1,
        "delayed": h.delayed,
        "amendments": h.amendments,
    })
}

fn stage(s: &StageSum) -> Value {
    let quantile = |permille| s.delay.quantile_ms(permille);
    json!({
        "topic": s.topic,
        "stage": s.stage,
        "messages": s.n,
        "untimed": s.untimed,
        "bytes": s.bytes,
        "p50_ms": quantile(500),
        "p95_ms": quantile(950),
        "p99_ms": quantile(990),
    })
}

/// The bytes of it.
pub(crate) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => write_members(members, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        // Texts, numbers, null: as serde_json writes them, which is RFC 8785's way for texts and whole numbers.
        plain => out.push_str(&plain.to_string()),
    }
}

fn write_members(members: &Map<String, Value>, out: &mut String) {
    let mut names: Vec<&String> = members.keys().collect();
    names.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (i, name) in names.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        write(members.get(name).unwrap_or(&Value::Null), out);
    }
    out.push('}');
}

/// SHA-256, hex.
pub(crate) fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

/// `GET /api/v1/report`.
pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    api_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn api_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["day", "tz", "format"])?;
    let (format, now_ms) = (api::format(&params, headers)?, app.now_ms());
    let day = Day::of(&params, params.zone()?, now_ms)?;
    let account = super::account(app, &day, now_ms).await?;
    let response = match format {
        Format::Json => {
            let bytes = canonical(&of(&account, &day));
            let checksum = HeaderValue::from_str(&sha256(&bytes)).unwrap_or_else(|_| HeaderValue::from_static(""));
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (CHECKSUM, checksum)];
            (headers, bytes).into_response()
        }
        Format::Csv => {
            let file = format!("chaperone-report-{}.csv", day.text);
            (api::csv_headers(&file), table(&account, &day)).into_response()
        }
    };
    Ok(api::finish(response, false))
}

const COLUMNS: [&str; 13] = [
    "day",
    "topic",
    "from_stage",
    "to_stage",
    "windows",
    "complete",
    "incomplete",
    "missing_min",
    "missing_max",
    "surplus_min",
    "surplus_max",
    "delayed",
    "amendments",
];

fn table(account: &Account, day: &Day) -> String {
    csv::table(
        &COLUMNS,
        account.hops.iter().map(|h| {
            let bounds = Bounds::of(h);
            vec![
                day.text.clone(),
                text(&h.topic),
                text(&h.from_stage),
                text(&h.to_stage),
                h.windows().to_string(),
                h.settled().to_string(),
                h.windows().saturating_sub(h.settled()).to_string(),
                bounds.missing.0.to_string(),
                known(bounds.missing.1),
                bounds.surplus.0.to_string(),
                known(bounds.surplus.1),
                h.delayed.to_string(),
                h.amendments.to_string(),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_collector::Verdict;

    #[test]
    fn canonical_json_is_sorted_and_dense() {
        let value = json!({"b": [1, {"z": null, "a": "é\n\"\u{1}"}], "a": 18_446_744_073_709_551_615_u64, "B": true});
        let text = canonical(&value);
        assert_eq!(text, "{\"B\":true,\"a\":18446744073709551615,\"b\":[1,{\"a\":\"é\\n\\\"\\u0001\",\"z\":null}]}");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_day_is_that_of_its_zone() {
        let zone = Zone::parse("+02:00").expect("zone");
        let day = Day::at(NaiveDate::from_ymd_opt(2026, 11, 21).expect("date"), zone);
        assert_eq!(zone.stamp(day.from_ms), "2026-11-21 00:00:00");
        assert_eq!((day.to_ms - day.from_ms, day.link(1).as_str()), (DAY_MS, "/report?day=2026-11-22&tz=%2B02%3A00"));
    }

    #[test]
    fn bounds_are_known_only_where_every_window_says_how_many() {
        let mut h = HopSum {
            missing_min: 37,
            delayed: 5,
            verdicts: [(Verdict::Ok, 9), (Verdict::Missing, 2)].into(),
            ..HopSum::default()
        };
        assert_eq!(Bounds::of(&h).missing, (37, Some(42)));
        h.verdicts.insert(Verdict::Unproven, 1);
        assert_eq!((Bounds::of(&h).missing, Bounds::of(&h).surplus), ((37, None), (0, None)));
    }
}
