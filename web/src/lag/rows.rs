//! Which rows of lag a reader wants, and the API over them. A filter is a name, or a regular expression that begins with
//! `^` and matches the whole name, as in the configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use chaperone_collector::TopicPattern;
use chaperone_collector::lag::{GroupLag, LagReport, Round, by_topic};
use serde::Serialize;
use utoipa::ToSchema;

use super::csv;
use crate::App;
use crate::api::{self, Format, ROWS_MAX};
use crate::error::WebError;
use crate::format::url;
use crate::params::Params;

/// Clusters that were not looked at for so long are not shown any more, ms.
const SHOWN_MS: i64 = 86_400_000;

/// From when on a look is shown.
pub(crate) fn since_ms(now_ms: i64) -> i64 {
    now_ms.saturating_sub(SHOWN_MS)
}

/// A row that should have been renewed by now, three looks ago.
pub(crate) fn is_late(at_ms: i64, every_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(at_ms) > every_ms.saturating_mul(3).max(15_000)
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Topic,
    Partition,
}

impl By {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Partition => "partition",
        }
    }
}

/// What a request wants.
pub(crate) struct Filter {
    cluster: Option<TopicPattern>,
    group: Option<TopicPattern>,
    topic: Option<TopicPattern>,
    texts: [String; 3],
    pub(crate) by: By,
}

impl Filter {
    pub(crate) fn of(params: &Params) -> Result<Self, WebError> {
        let pattern = |name: &str| -> Result<(Option<TopicPattern>, String), WebError> {
            let text = params.get(name)?.unwrap_or_default();
            let parsed = Some(text).filter(|t| !t.is_empty()).map(TopicPattern::parse).transpose();
            let allowed = "a name, or a regular expression that begins with ^".to_owned();
            Ok((parsed.map_err(|_| WebError::parameter(name, text, allowed))?, text.to_owned()))
        };
        let (cluster, group, topic) = (pattern("cluster")?, pattern("group")?, pattern("topic")?);
        let by = match params.get("by")? {
            None | Some("" | "topic") => By::Topic,
            Some("partition") => By::Partition,
            Some(other) => return Err(WebError::parameter("by", other, "topic or partition".to_owned())),
        };
        Ok(Self { cluster: cluster.0, group: group.0, topic: topic.0, texts: [cluster.1, group.1, topic.1], by })
    }
    pub(crate) fn group_text(&self) -> &str {
        &self.texts[1]
    }
    pub(crate) fn topic_text(&self) -> &str {
        &self.texts[2]
    }
    fn wants(&self, row: &GroupLag) -> bool {
        let fits = |pattern: &Option<TopicPattern>, name: &str| pattern.as_ref().is_none_or(|p| p.matches(name));
        fits(&self.cluster, &row.cluster) && fits(&self.group, &row.group) && fits(&self.topic, &row.topic)
    }
    fn query(&self, by: By) -> String {
        let [cluster, group, topic] = &self.texts;
        format!("?cluster={}&group={}&topic={}&by={}", url(cluster), url(group), url(topic), by.as_str())
    }
    /// This page with other rows.
    pub(crate) fn link(&self, by: By, tz: &str) -> String {
        format!("/lag{}&tz={}", self.query(by), url(tz))
    }
    /// The partitions of one row.
    pub(crate) fn one(row: &GroupLag, tz: &str) -> String {
        let GroupLag { cluster, group, topic, .. } = row;
        format!("/lag?cluster={}&group={}&topic={}&by=partition&tz={}", url(cluster), url(group), url(topic), url(tz))
    }
    /// The rows of this page.
    pub(crate) fn rows(&self, format: &str) -> String {
        format!("/api/v1/lag{}&format={format}", self.query(self.by))
    }
}

/// The rows that are wanted, by cluster, group, topic, partition. Pure.
pub(crate) fn select(report: &LagReport, filter: &Filter) -> Vec<GroupLag> {
    let rows: Vec<GroupLag> = report.rows.iter().filter(|row| filter.wants(row)).cloned().collect();
    match filter.by {
        By::Partition => rows,
        By::Topic => by_topic(&rows),
    }
}

#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
pub(crate) struct Lag {
    clusters: Vec<Round>,
    lag: Vec<GroupLag>,
    /// There may be more; absent where there is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

/// `GET /api/v1/lag`.
pub(crate) async fn api(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    api_answer(&app, &uri, &headers).await.unwrap_or_else(WebError::into_problem)
}

async fn api_answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::only(uri, &["cluster", "group", "topic", "by", "format", "tz"])?;
    let (format, filter) = (api::format(&params, headers)?, Filter::of(&params)?);
    let report = app.state.store.lag(since_ms(app.now_ms())).await?;
    let mut lag = select(&report, &filter);
    let truncated = lag.len() > ROWS_MAX as usize;
    lag.truncate(ROWS_MAX as usize);
    let response = match format {
        Format::Json => Json(Lag { clusters: report.rounds, lag, truncated }).into_response(),
        Format::Csv => (api::csv_headers("chaperone-lag.csv"), csv::lag(&lag)).into_response(),
    };
    Ok(api::finish(response, truncated))
}
