//! Which reporters a reader wants and in which order, and the API over them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::query::ReporterState;
use serde::Serialize;
use utoipa::ToSchema;

use super::lives::{Group, Standing};
use crate::App;
use crate::api::{self, Format, ROWS_MAX};
use crate::csv;
use crate::error::WebError;
use crate::format::url;
use crate::params::Params;
use crate::topic::links::Choice;

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Worst,
    Stage,
    Host,
}

impl By {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Worst, "worst first"), (Self::Stage, "by stage"), (Self::Host, "by host")];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Stage => "stage",
            Self::Host => "host",
        }
    }
}

/// How far back strips go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    Quarter,
    Half,
    Hour,
}

impl Back {
    const ALL: [Self; 3] = [Self::Quarter, Self::Half, Self::Hour];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Quarter => "15m",
            Self::Half => "30m",
            Self::Hour => "1h",
        }
    }
    pub(crate) const fn ms(self) -> i64 {
        match self {
            Self::Quarter => 900_000,
            Self::Half => 1_800_000,
            Self::Hour => 3_600_000,
        }
    }
}

/// What a request wants.
pub(crate) struct Filter {
    /// Part of a host's, application's or stage's name.
    pub(crate) q: String,
    pub(crate) by: By,
    pub(crate) back: Back,
}

impl Filter {
    pub(crate) fn of(params: &Params) -> Result<Self, WebError> {
        let by = match params.get("by")? {
            None | Some("") => By::Worst,
            Some(text) => By::ALL
                .into_iter()
                .map(|(by, _)| by)
                .find(|by| by.as_str() == text)
                .ok_or_else(|| WebError::parameter("by", text, "worst, stage or host".to_owned()))?,
        };
        let back = match params.get("back")? {
            None | Some("") => Back::Half,
            Some(text) => Back::ALL
                .into_iter()
                .find(|back| back.as_str() == text)
                .ok_or_else(|| WebError::parameter("back", text, "15m, 30m or 1h".to_owned()))?,
        };
        Ok(Self { q: params.get("q")?.unwrap_or_default().to_owned(), by, back })
    }
    pub(crate) fn wants(&self, r: &ReporterState) -> bool {
        let q = self.q.to_lowercase();
        [&r.host, &r.application, &r.stage].into_iter().any(|name| name.to_lowercase().contains(&q))
    }
    pub(super) fn order(&self, g: &Group<'_>) -> (Option<Standing>, String, String, String) {
        let r = g.newest();
        let (stage, application, host) = (r.stage.clone(), r.application.clone(), r.host.clone());
        match self.by {
            By::Worst => (Some(g.standing), stage, application, host),
            By::Stage => (None, stage, application, host),
            By::Host => (None, host, stage, application),
        }
    }
    /// This page, otherwise.
    pub(crate) fn link(&self, by: By, back: Back, tz: &str) -> String {
        format!("/reporters?q={}&by={}&back={}&tz={}", url(&self.q), by.as_str(), back.as_str(), url(tz))
    }
    pub(crate) fn backs(&self, tz: &str) -> Vec<Choice> {
        let choice = |back: Back| Choice {
            text: back.as_str().to_owned(),
            href: self.link(self.by, back, tz),
            current: back == self.back,
        };
        Back::ALL.map(choice).to_vec()
    }
    pub(crate) fn orders(&self, tz: &str) -> Vec<Choice> {
        let choice = |(by, text): (By, &str)| Choice {
            text: text.to_owned(),
            href: self.link(by, self.back, tz),
            current: by == self.by,
        };
        By::ALL.map(choice).to_vec()
    }
    /// The rows of this page.
    pub(crate) fn rows(&self, format: &str) -> String {
        format!("/api/v1/reporters?q={}&format={format}", url(&self.q))
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Reporters {
    reporters: Vec<ReporterState>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// `GET /api/v1/reporters`.
pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    api_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn api_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["q", "format"])?;
    let (format, filter) = (api::format(&params, headers)?, Filter::of(&params)?);
    let mut reporters = app.state.store.reporters(app.now_ms()).await?;
    let truncated = reporters.len() >= ROWS_MAX as usize;
    reporters.retain(|r| filter.wants(r));
    let response = match format {
        Format::Json => Json(Reporters { reporters, truncated }).into_response(),
        Format::Csv => (api::csv_headers("chaperone-reporters.csv"), table(&reporters)).into_response(),
    };
    Ok(api::finish(response, truncated))
}

const COLUMNS: [&str; 23] = [
    "incarnation",
    "stage",
    "host",
    "application",
    "library",
    "state",
    "watermark_ms",
    "last_ms",
    "first_ms",
    "pid",
    "datacenter",
    "silent_after_ms",
    "skew_ms",
    "late",
    "no_time",
    "malformed",
    "out_of_range",
    "dropped_overflow",
    "dropped_unlogged",
    "dropped_records",
    "dropped_coalesced",
    "lacking_since_ms",
    "checkins",
];

fn table(rows: &[ReporterState]) -> String {
    csv::table(
        &COLUMNS,
        rows.iter().map(|r| {
            let dropped = r.dropped.unwrap_or_default();
            let shown = serde_json::to_value(&r.checkins).unwrap_or_default();
            vec![
                r.incarnation.to_string(),
                csv::text(&r.stage),
                csv::text(&r.host),
                csv::text(&r.application),
                csv::text(&r.library),
                csv::text(&r.state),
                csv::known(r.watermark_ms),
                r.last_ms.to_string(),
                r.first_ms.to_string(),
                r.pid.to_string(),
                csv::text(&r.datacenter),
                r.silent_after_ms.to_string(),
                r.skew_ms.to_string(),
                r.late.to_string(),
                r.no_time.to_string(),
                r.malformed.to_string(),
                r.out_of_range.to_string(),
                dropped.overflow.to_string(),
                dropped.unlogged.to_string(),
                dropped.records.to_string(),
                dropped.coalesced.to_string(),
                csv::known(r.lacking_since_ms),
                shown.get("cells").and_then(|c| c.as_str()).unwrap_or_default().to_owned(),
            ]
        }),
    )
}
