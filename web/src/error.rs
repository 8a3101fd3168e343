//! What can go wrong with a request: one enum, two faces (RFC 9457 problem for programs, a page for people).
//!
//! An answer never carries the words of the database, a path or SQL: those go to the log under a number that the answer
//! names.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chaperone_collector::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::access::Role;
use crate::format;
use crate::frame::{self, Message};

/// When what was too much may be asked for again, s.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// A parameter that cannot be understood.
    #[error("{field} is '{value}'; allowed is {allowed}")]
    Parameter { field: String, value: String, allowed: String },
    /// There is nothing at this address.
    #[error("there is no {what}")]
    NotFound { what: String, advice: Vec<String> },
    /// The request names a host that this listener does not answer for.
    #[error("this server does not answer for the host '{host}'; add it to the web listener's allowed hosts")]
    ForeignHost { host: String },
    /// This address can only be read.
    #[error("this address can only be read with GET")]
    Method,
    /// A limit of this process was reached.
    #[error("{what}; try again in a moment")]
    Busy { what: &'static str },
    /// What was asked for is more than can be read in time.
    #[error("this took too long: choose a shorter range, or try again in a moment")]
    TooLong,
    /// More of one client than it may.
    #[error("{what}; try again in {seconds} s")]
    TooMany { what: &'static str, seconds: u64 },
    /// The address is longer than any of ours.
    #[error("the address has {bytes} bytes; allowed are {allowed}")]
    LongAddress { bytes: usize, allowed: usize },
    /// A form that is none.
    #[error("this form cannot be read: it has other fields, another media type, or is too long")]
    Form,
    /// A page from elsewhere asks to change something.
    #[error("another site's page asked for this; go to this one's own page and do it there")]
    CrossSite,
    /// Nobody is let in without saying who they are.
    #[error("this needs a log-in: a token as 'Authorization: Bearer ...', or a session from /login")]
    LogIn,
    /// Who it is may not do this.
    #[error("this needs the role {least}, and this log-in has {has}")]
    Role { least: Role, has: Role },
    /// The store did not answer.
    #[error("the store could not answer; the log has the reason under number {number}")]
    Store { number: u64 },
}

impl WebError {
    pub(crate) fn parameter(field: &str, value: &str, allowed: String) -> Self {
        let cut = |text: &str| text.chars().take(100).collect();
        Self::Parameter { field: cut(field), value: cut(value), allowed }
    }
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::ForeignHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::LongAddress { .. } => StatusCode::URI_TOO_LONG,
            Self::Form => StatusCode::UNPROCESSABLE_ENTITY,
            Self::LogIn => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::Role { .. } => StatusCode::FORBIDDEN,
            Self::Busy { .. } | Self::TooLong | Self::Store { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
    const fn title(&self) -> &'static str {
        match self {
            Self::Parameter { .. } => "A parameter cannot be understood",
            Self::NotFound { .. } => "Nothing is here",
            Self::ForeignHost { .. } => "Wrong host",
            Self::Method => "Read only",
            Self::TooMany { .. } => "Too often",
            Self::LongAddress { .. } => "Too long an address",
            Self::Form => "A form that cannot be read",
            Self::CrossSite => "Asked from elsewhere",
            Self::LogIn => "Log in first",
            Self::Role { .. } => "Not with this role",
            Self::Busy { .. } => "Too much at once",
            Self::TooLong => "Took too long",
            Self::Store { .. } => "The store could not answer",
        }
    }

    /// For programs.
    pub(crate) fn into_problem(self) -> Response {
        let (field, value, allowed) = match &self {
            Self::Parameter { field, value, allowed } => {
                (Some(field.as_str()), Some(value.as_str()), Some(allowed.as_str()))
            }
            _ => (None, None, None),
        };
        let problem = Problem {
            r#type: "about:blank",
            title: self.title(),
            status: self.status().as_u16(),
            detail: self.to_string(),
            field,
            value,
            allowed,
        };
        let mut response = (self.status(), Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Busy { .. } | Self::TooLong => drop(headers.insert(header::RETRY_AFTER, RETRY_AFTER)),
            Self::TooMany { seconds, .. } => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds))),
            _ => {}
        }
        if matches!(self, Self::LogIn) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"chaperone\""));
        }
        response
    }

    /// For people.
    pub(crate) fn into_page(self, app: &App) -> Response {
        let advice = match &self {
            Self::NotFound { advice, .. } => advice.clone(),
            Self::TooLong => vec!["A shorter range, or one topic, has less to be read.".to_owned()],
            Self::Parameter { .. } => vec!["Correct the address, or go back to the overview.".to_owned()],
            _ => Vec::new(),
        };
        // What is wrong with the process names what is audited: not for strangers.
        let stranger = matches!(self, Self::LogIn | Self::Form);
        let message = Message {
            title: self.title(),
            text: format::name(&self.to_string()),
            advice: advice.iter().map(|a| format::name(a)).collect(),
            problems: if stranger { Vec::new() } else { app.problems_shown() },
        };
        let mut response = frame::message(app, &message);
        *response.status_mut() = self.status();
        if matches!(self, Self::TooLong) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<StoreError> for WebError {
    fn from(error: StoreError) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        if matches!(error, StoreError::TooLong { .. }) {
            tracing::warn!("{error}");
            return Self::TooLong;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        tracing::error!(number, error = &error as &dyn std::error::Error, "the store did not answer a reader");
        Self::Store { number }
    }
}

/// RFC 9457, with three members of our own.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
}
