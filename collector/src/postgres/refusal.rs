//! Why PostgreSQL did not do it, and whether it is worth another attempt.

use std::time::Duration;

use tokio_postgres::error::SqlState;

/// Why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The server's words, or the connection's end.
    #[error("{}", words(.0))]
    Said(#[from] tokio_postgres::Error),
    /// No answer.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// Nobody waits for an answer any longer; nothing was asked.
    #[error("nobody waits for it any longer")]
    TooLong,
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Ended(String),
    /// It could not be reached a moment ago, for this reason.
    #[error("{0}")]
    Away(String),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
    /// A statement has no form for many rows.
    #[error("this build has no form for many rows of: {0}")]
    Form(&'static str),
}

/// What to do about a server that does not answer.
const UNREACHED: &str = "look whether the server runs and can be reached from here at store.url";

/// What to do about a certificate that is not believed.
const DISTRUST: &str = "store.ca_file must hold who signed the server's certificate, and the certificate must name the host of \
                        store.url";

/// The error with what caused it: by itself it says only where.
fn words(e: &tokio_postgres::Error) -> String {
    if let Some(db) = e.as_db_error() {
        let detail = db.detail().map(|d| format!(" ({d})")).unwrap_or_default();
        return format!("{} {}{detail}", db.code().code(), db.message());
    }
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(c) = cause {
        let said = c.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = c.source();
    }
    text
}

/// The server's certificate was refused: another attempt finds the same.
fn is_distrust(e: &tokio_postgres::Error) -> bool {
    e.code().is_none() && words(e).contains("certificate verify failed")
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The same again: others were in the way.
    Again,
    /// The same again on another connection: this one is over, and it is not known what became of the last statement.
    Reconnect,
    /// Nothing helps by itself.
    None,
}

impl Refusal {
    pub(super) fn remedy(&self) -> Remedy {
        let e = match self {
            Self::Said(e) => e,
            Self::Silent(_) | Self::Ended(_) => return Remedy::Reconnect,
            // Away: whoever found that tries again.
            Self::Away(_) | Self::Tls(_) | Self::Form(_) | Self::TooLong => return Remedy::None,
        };
        if is_distrust(e) {
            return Remedy::None;
        }
        let Some(code) = e.code() else { return Remedy::Reconnect };
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED | SqlState::LOCK_NOT_AVAILABLE => {
                Remedy::Again
            }
            // It restarts, or is no longer the one that may write; or a pooler hands us a connection that does not know our
            // statements.
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::TOO_MANY_CONNECTIONS
            | SqlState::READ_ONLY_SQL_TRANSACTION
            | SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
            | SqlState::INVALID_SQL_STATEMENT_NAME
            | SqlState::FEATURE_NOT_SUPPORTED => Remedy::Reconnect,
            _ if code.code().starts_with("08") => Remedy::Reconnect,
            _ => Remedy::None,
        }
    }

    /// The server stopped at the deadline that it was told, or nothing was asked because that had passed.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            Self::TooLong => true,
            Self::Said(e) => e.code() == Some(&SqlState::QUERY_CANCELED),
            _ => false,
        }
    }

    pub(crate) fn advice(&self) -> Option<&'static str> {
        let e = match self {
            Self::Said(e) => e,
            Self::Silent(_) | Self::Ended(_) => return Some("look at the server's load, and at the network between"),
            Self::Away(_) => return Some(UNREACHED),
            Self::Tls(_) | Self::Form(_) | Self::TooLong => return None,
        };
        if is_distrust(e) {
            return Some(DISTRUST);
        }
        let Some(code) = e.code() else { return Some(UNREACHED) };
        match *code {
            SqlState::DISK_FULL => Some("make room on the server's disk"),
            SqlState::TOO_MANY_CONNECTIONS => Some("lower store.connections, or raise the server's max_connections"),
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Some("look at store.url and store.password, and at the server's pg_hba.conf")
            }
            SqlState::INSUFFICIENT_PRIVILEGE => Some("the user must own the schema, or have been granted its tables"),
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                Some("this server only reads: name all of them in store.url, with target_session_attrs=read-write")
            }
            SqlState::INVALID_CATALOG_NAME => Some("make the database: createdb"),
            _ => None,
        }
    }
}
