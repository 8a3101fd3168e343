//! What people did, by the store's log of actions, which only grows.
//!
//! [`must`] is for what changes something: what cannot be recorded is not done. [`should`] is for log-ins: they go on, and
//! the process's own log has them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chaperone_collector::query::{Action, NumberedAction};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::access::{Role, Who};
use crate::error::WebError;
use crate::listen::Peer;
use crate::page::Paging;
use crate::params::Params;

/// Longest text of a field, characters.
const TEXT_MAX: usize = 500;

/// Something that somebody did, or was refused.
#[derive(Clone, Copy)]
pub(crate) struct Done<'a> {
    /// Empty for who is not known.
    pub(crate) who: &'a str,
    pub(crate) role: Option<Role>,
    pub(crate) address: Option<IpAddr>,
    /// Verb, in words.
    pub(crate) action: &'static str,
    /// On what.
    pub(crate) what: &'a str,
    /// `done` or `refused`.
    pub(crate) outcome: &'static str,
}

/// Records it before it is done.
pub(crate) async fn must(app: &App, done: Done<'_>) -> Result<(), WebError> {
    Ok(app.state.store.note_action(row(app, done)).await?)
}

/// Records it, if it can be.
pub(crate) async fn should(app: &App, done: Done<'_>) {
    let row = row(app, done);
    tracing::info!(who = row.who, role = row.role, address = row.address, outcome = row.outcome, "{}", row.action);
    if let Err(error) = app.state.store.note_action(row).await {
        tracing::warn!("an action is recorded in this log only: {error}");
    }
}

fn row(app: &App, done: Done<'_>) -> Action {
    let cut = |text: &str| text.chars().take(TEXT_MAX).collect();
    Action {
        at_ms: app.now_ms(),
        who: cut(done.who),
        role: done.role.map_or_else(String::new, |role| role.to_string()),
        address: done.address.map_or_else(String::new, |address| address.to_string()),
        action: done.action.to_owned(),
        what: cut(done.what),
        outcome: done.outcome.to_owned(),
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Actions {
    actions: Vec<NumberedAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /api/v1/actions`: what people did, newest first.
pub(crate) async fn list(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let answer = async {
        let params = Params::only(&uri, &["limit", "after"])?;
        let paging = Paging::of(&params)?;
        let before = match paging.after() {
            None => i64::MAX,
            Some(after) => after.parse().map_err(|_| paging.wrong())?,
        };
        let actions = app.state.store.actions(before, paging.limit).await?;
        let next = paging.next(actions.len(), || actions.last().map_or_else(String::new, |a| a.number.to_string()));
        Ok(Json(Actions { actions, next }).into_response())
    };
    answer.await.unwrap_or_else(WebError::into_problem)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Asked {
    asked: bool,
}

/// `POST /api/v1/reload`: asks the process to read its configuration again, as SIGHUP does.
pub(crate) async fn reload(
    State(app): State<Arc<App>>,
    who: Option<Extension<Who>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let Some(ask) = &app.state.reload else {
            let what = "configuration file that this process could read again".to_owned();
            return Err(WebError::NotFound { what, advice: Vec::new() });
        };
        let (name, role) = who.as_ref().map_or(("", None), |w| (w.name.as_str(), Some(w.role)));
        let address = app.client(&headers, peer.as_ref().map(|p| &p.0));
        must(&app, Done { who: name, role, address, action: "ask for a reload", what: "", outcome: "done" }).await?;
        // One that waits already will read the same file.
        let asked = ask.try_send(()).is_ok();
        Ok((StatusCode::ACCEPTED, Json(Asked { asked })).into_response())
    };
    answer.await.unwrap_or_else(WebError::into_problem)
}
