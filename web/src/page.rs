//! Answers in pages: `limit` rows, then `next`, which as `after` asks for those that follow. Pure.
//!
//! A cursor is the key of the last row, not its number, so that rows that are added meanwhile neither repeat nor hide
//! any. It is opaque to callers, but no secret: what it says is checked like any other parameter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chaperone_collector::query::{HopWindow, WindowKey};

use crate::error::WebError;
use crate::params::Params;

/// Rows of a page where nothing is said.
const LIMIT: u32 = 1_000;
/// Rows of a page at most.
const LIMIT_MAX: u32 = 10_000;

/// Which page of an answer.
pub(crate) struct Paging {
    pub(crate) limit: u32,
    after: Option<String>,
    raw: String,
    /// Whether pages were asked for at all.
    pub(crate) asked: bool,
}

impl Paging {
    pub(crate) fn of(params: &Params) -> Result<Self, WebError> {
        let (limit, raw) = (params.get("limit")?, params.get("after")?);
        let number = |text: &str| {
            let number = text.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
            number.ok_or_else(|| WebError::parameter("limit", text, format!("1 to {LIMIT_MAX}")))
        };
        let asked = limit.is_some() || raw.is_some();
        let limit = limit.map_or(Ok(LIMIT), number)?;
        let mut paging = Self { limit, after: None, raw: raw.unwrap_or_default().to_owned(), asked };
        if raw.is_some() {
            let decoded = URL_SAFE_NO_PAD.decode(&paging.raw).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            paging.after = Some(decoded.ok_or_else(|| paging.wrong())?);
        }
        Ok(paging)
    }

    /// The key that the page begins after.
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The cursor is none of ours.
    pub(crate) fn wrong(&self) -> WebError {
        WebError::parameter("after", &self.raw, "what an answer gave as 'next'".to_owned())
    }

    /// The cursor of the following page; none after one that is not full.
    pub(crate) fn next(&self, rows: usize, last: impl FnOnce() -> String) -> Option<String> {
        (rows >= self.limit as usize).then(|| cursor(&last()))
    }

    /// [`after`](Self::after) as the key of a verdict.
    pub(crate) fn after_window(&self) -> Result<Option<WindowKey>, WebError> {
        let Some(text) = self.after() else { return Ok(None) };
        let key: (i64, String, String, String) = serde_json::from_str(text).map_err(|_| self.wrong())?;
        let (window_ms, topic, from_stage, to_stage) = key;
        Ok(Some(WindowKey { window_ms, topic, from_stage, to_stage }))
    }
}

/// A key, as a cursor.
pub(crate) fn cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key of a verdict, as a cursor holds it.
pub(crate) fn key_of(row: &HopWindow) -> String {
    serde_json::json!([row.window_ms, row.topic, row.from_stage, row.to_stage]).to_string()
}
