//! For programs: is the process alive, can what it says be believed, and its figures.
//!
//! Where log-in is configured, whoever has not logged in gets neither the sentences nor the figures that name a topic,
//! stage, host, group or cluster.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;

use crate::App;
use crate::access::Who;

/// Labels whose values are words of this program; a figure with any other label may name what is audited.
const OWN_LABELS: [&str; 9] = ["le", "quantile", "role", "state", "verdict", "version", "result", "reason", "commit"];

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    problems: Vec<String>,
    /// Problems that are told to whoever logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden: Option<usize>,
}

/// `GET /healthz`: the process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Whether the one who asks may read names.
fn knows(app: &App, who: Option<&Extension<Who>>) -> bool {
    who.is_some() || !app.access().is_on()
}

/// `GET /readyz`: 200 when nothing worse than a notice is wrong, else 503; with what is wrong either way.
pub(crate) async fn ready(State(app): State<Arc<App>>, who: Option<Extension<Who>>) -> Response {
    let problems = app.problems();
    let ready = problems.iter().all(|problem| problem.notice);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (problems, hidden) = if knows(&app, who.as_ref()) {
        (problems.into_iter().map(|problem| problem.text).collect(), None)
    } else {
        (Vec::new(), Some(problems.len()))
    };
    (status, Json(Readiness { ready, problems, hidden })).into_response()
}

/// `GET /metrics`: figures for programs.
pub(crate) async fn metrics(State(app): State<Arc<App>>, who: Option<Extension<Who>>) -> Response {
    let text = app.state.metrics.text().await;
    let text = if knows(&app, who.as_ref()) { text } else { without_names(&text) };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The figures without those that have a label which is not [ours](OWN_LABELS). Pure.
fn without_names(text: &str) -> String {
    let nameless = |line: &&str| {
        line.starts_with('#') || labels(line).is_some_and(|all| all.iter().all(|l| OWN_LABELS.contains(l)))
    };
    text.lines().filter(nameless).flat_map(|line| [line, "\n"]).collect()
}

/// The names of a line's labels; `None` where the line is not understood.
fn labels(line: &str) -> Option<Vec<&str>> {
    let Some((_, mut rest)) = line.split_once('{') else { return Some(Vec::new()) };
    let mut names = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if rest.starts_with('}') {
            return Some(names);
        }
        let (name, value) = rest.split_once("=\"")?;
        names.push(name);
        let mut escaped = false;
        let end = value.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        })?;
        rest = value.get(end.0 + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_name_what_is_audited_are_left_out() {
        let text = "# HELP x \"{topic}\"\nx 1\nx{le=\"0.5\"} 2\nx{verdict=\"ok\",topic=\"rides\"} 3\ny{host=\"a\\\"}\",le=\"1\"} 4\n\
                    y{le=\"a\\\\\",role=\"run\"} 5\nz{le=\"1\" 6\n";
        let kept = without_names(text);
        assert_eq!(kept, "# HELP x \"{topic}\"\nx 1\nx{le=\"0.5\"} 2\ny{le=\"a\\\\\",role=\"run\"} 5\n");
    }
}
