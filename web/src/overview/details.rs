//! What a topic's row says besides its verdicts: how long its messages took, and how many of its reporters are heard.
//!
//! Invariants: what is on its way counts as late, never as on time; who said goodbye, or whose place another has taken, is not
//! missed.

use std::collections::HashMap;

use chaperone_collector::Pipelines;
use chaperone_collector::pipeline::Stage;
use chaperone_collector::query::{DelayQuery, Delays, ReporterState, TopicSummary, WindowQuery};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::WebError;
use crate::reporters::lives::{self, Standing};
use crate::topic::grid::{self, Delay};

/// Of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Details {
    /// Stage to which delays are told: the last that counted anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_stage: Option<String>,
    /// Messages that arrived there; absent where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    arrived: Option<u64>,
    /// 99 of 100 messages arrived there within this time, ms; absent where none arrived, or it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_delay_ms: Option<i64>,
    /// Some are still on their way: it is a lower bound.
    p99_at_least: bool,
    /// Reporters of its stages: an application on a host at a stage each.
    reporters: u64,
    /// Those of them that are heard.
    reporters_heard: u64,
}

impl Details {
    /// As [`Delay`].
    pub(crate) fn p99(&self) -> Option<Delay> {
        self.p99_delay_ms.map(|ms| Delay { ms, at_least: self.p99_at_least })
    }
    /// Messages that arrived at the stage to which delays are told.
    pub(crate) fn arrived(&self) -> Option<u64> {
        self.arrived
    }
    /// Heard, of how many.
    pub(crate) fn presence(&self) -> (u64, u64) {
        (self.reporters_heard, self.reporters)
    }
    /// As columns of a CSV, see [`COLUMNS`].
    pub(crate) fn cells(&self) -> [String; 6] {
        [
            crate::csv::text(self.delay_stage.as_deref().unwrap_or_default()),
            crate::csv::known(self.arrived),
            crate::csv::known(self.p99_delay_ms),
            u8::from(self.p99_at_least).to_string(),
            self.reporters_heard.to_string(),
            self.reporters.to_string(),
        ]
    }
}

/// Names of [`Details::cells`].
pub(crate) const COLUMNS: [&str; 6] =
    ["delay_stage", "arrived", "p99_delay_ms", "p99_at_least", "reporters_heard", "reporters"];

/// Who reports at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Crowd {
    /// Heard and all, by stage.
    by_stage: HashMap<String, (u64, u64)>,
    /// The one that fell silent last: its host, and when it was last heard, ms.
    pub(crate) newest_silent: Option<(String, i64)>,
}

impl Crowd {
    pub(crate) fn of(reporters: &[ReporterState], now_ms: i64) -> Self {
        let mut crowd = Self::default();
        for group in lives::groups(reporters, now_ms).0.iter().filter(|g| g.standing != Standing::Left) {
            let speaker = group.speaker();
            let (heard, all) = crowd.by_stage.entry(speaker.stage.clone()).or_default();
            *all += 1;
            if group.standing.is_heard() {
                *heard += 1;
            } else if crowd.newest_silent.as_ref().is_none_or(|(_, last_ms)| speaker.last_ms > *last_ms) {
                crowd.newest_silent = Some((speaker.host.clone(), speaker.last_ms));
            }
        }
        crowd
    }
    /// Heard, of how many, at these stages.
    fn at<'a>(&self, stages: impl Iterator<Item = &'a String>) -> (u64, u64) {
        let known = stages.filter_map(|stage| self.by_stage.get(stage));
        known.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
    /// Heard, of how many, in all.
    pub(crate) fn all(&self) -> (u64, u64) {
        self.at(self.by_stage.keys())
    }
}

/// Details of these topics, in their order; delays of the first `delays_of` only, which cost most.
pub(crate) async fn read(
    app: &App,
    pipelines: &Pipelines,
    topics: &[TopicSummary],
    query: &WindowQuery,
    delays_of: usize,
) -> Result<(Vec<Details>, Crowd), WebError> {
    let (store, now_ms) = (&app.state.store, app.now_ms());
    let question = |t: &TopicSummary| DelayQuery {
        range: WindowQuery { topic: Some(t.topic.clone()), ..query.clone() },
        stages: t.stages.clone(),
        delayed: t.delayed > 0,
    };
    let asked = topics.iter().take(delays_of).map(question).collect();
    let (delays, reporters) = tokio::try_join!(store.delays(asked), store.reporters(now_ms))?;
    let crowd = Crowd::of(&reporters, now_ms);
    let delays = delays.iter().map(Some).chain(std::iter::repeat(None));
    let details = topics.iter().zip(delays).map(|(t, d)| detail(pipelines, t, d, &crowd, now_ms)).collect();
    Ok((details, crowd))
}

fn detail(pipelines: &Pipelines, topic: &TopicSummary, delays: Option<&Delays>, crowd: &Crowd, now_ms: i64) -> Details {
    let (reporters_heard, reporters) = match pipelines.of(&topic.topic) {
        Some(pipeline) => crowd.at(pipeline.stages.iter().flat_map(Stage::reported)),
        None => crowd.at(topic.stages.iter()),
    };
    let p99 = delays.and_then(|d| {
        let absent: Vec<(u64, i64)> =
            d.absent.iter().map(|(count, end_ms)| (*count, now_ms.saturating_sub(*end_ms).max(0))).collect();
        grid::quantile(&d.hist, &absent, 990)
    });
    Details {
        arrived: delays.map(|d| d.hist.total()),
        delay_stage: delays.and_then(|d| d.stage.clone()),
        p99_delay_ms: p99.map(|p| p.ms),
        p99_at_least: p99.is_some_and(|p| p.at_least),
        reporters,
        reporters_heard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100_000_000;

    fn one(stage: &str, host: &str, last_ms: i64, life: &str) -> ReporterState {
        let (first_ms, host) = (NOW - 5_000_000, host.to_owned());
        ReporterState { stage: stage.into(), host, first_ms, last_ms, state: life.into(), ..Default::default() }
    }

    #[test]
    fn who_is_silent_is_missed_and_who_left_is_not() {
        let crowd = Crowd::of(
            &[
                one("a", "h1", NOW - 1_000, "live"),
                one("a", "h2", NOW - 60_000, "gone"),
                one("a", "h3", NOW - 50_000, "goodbye"),
                one("b", "h4", NOW - 90_000, "ended"),
                one("c", "h5", NOW - 1_000, "live"),
            ],
            NOW,
        );
        let at = |stages: &[&str]| crowd.at(stages.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().iter());
        assert_eq!((at(&["a"]), at(&["a", "b"]), at(&["d"])), ((1, 2), (1, 3), (0, 0)));
        assert_eq!((crowd.all(), crowd.newest_silent), ((2, 4), Some(("h2".to_owned(), NOW - 60_000))));
    }
}
