//! Query parameters: each at most once, and on the API only those that are known.

use axum::extract::Query;
use axum::http::Uri;

use crate::error::WebError;
use crate::range::Range;
use crate::zone::Zone;

/// The parameters of one request, decoded.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads whatever is there; for pages, which links from elsewhere may decorate.
    pub(crate) fn of(uri: &Uri) -> Self {
        Self(Query::<Vec<(String, String)>>::try_from_uri(uri).map(|q| q.0).unwrap_or_default())
    }
    /// Reads only what is known; for the API, where a misspelt name must not look like a default.
    pub(crate) fn only(uri: &Uri, known: &'static [&'static str]) -> Result<Self, WebError> {
        let params = Self::of(uri);
        match params.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, value)) => Err(WebError::parameter(name, value, format!("one of: {}", known.join(", ")))),
            None => Ok(params),
        }
    }
    /// The one value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, WebError> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = values.next();
        match values.next() {
            Some(second) => Err(WebError::parameter(name, second, "one value only; this is the second".to_owned())),
            None => Ok(first),
        }
    }
    /// `from` and `to`, in `zone`.
    pub(crate) fn range(&self, now_ms: i64, zone: Zone) -> Result<Range, WebError> {
        Range::parse(self.get("from")?, self.get("to")?, now_ms, zone)
            .map_err(|e| WebError::parameter(e.field, &e.value, e.allowed))
    }
    /// `tz`.
    pub(crate) fn zone(&self) -> Result<Zone, WebError> {
        match self.get("tz")? {
            None | Some("") => Ok(Zone::utc()),
            Some(text) => Zone::parse(text).ok_or_else(|| WebError::parameter("tz", text, Zone::ALLOWED.to_owned())),
        }
    }
}
