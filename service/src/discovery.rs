//! Puts discovered pipelines beside the configured ones: every ten seconds, and whenever the configuration was read again.
//!
//! Invariant: what is in effect begins with what is configured, in its order. A store that does not answer changes nothing.

use std::sync::Arc;
use std::time::Duration;

use chaperone_collector::discover::discover;
use chaperone_collector::query::WindowQuery;
use chaperone_collector::{Pipeline, Pipelines, Store, TopicPattern};
use tokio::sync::watch;

use crate::tap::Shared;

const EVERY: Duration = Duration::from_secs(10);
/// Event time that is looked back on, ms.
const LOOKED_BACK_MS: i64 = 600_000;

/// Runs until it is aborted, or nobody configures any more.
pub(crate) async fn run(
    shared: Shared,
    mut configured: watch::Receiver<Arc<Pipelines>>,
    in_effect: watch::Sender<Arc<Pipelines>>,
) {
    let mut discovered = Vec::new();
    loop {
        let current = Arc::clone(&configured.borrow_and_update());
        // What was configured anew does not wait for the store.
        publish(&in_effect, together(&current, &discovered));
        discovered = look(&*shared.store, &current, discovered, shared.clock.now_ms()).await;
        publish(&in_effect, together(&current, &discovered));
        tokio::select! {
            () = tokio::time::sleep(EVERY), if current.discover.is_some() => {}
            changed = configured.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

fn publish(in_effect: &watch::Sender<Arc<Pipelines>>, new: Pipelines) {
    in_effect.send_if_modified(|known| {
        let news = !same(known, &new);
        if news {
            *known = Arc::new(new);
        }
        news
    });
}

/// What reports of topics that nobody configured; what was known if the store does not say.
async fn look(store: &dyn Store, current: &Pipelines, before: Vec<Pipeline>, now_ms: i64) -> Vec<Pipeline> {
    let Some(tapped) = &current.discover else { return Vec::new() };
    let recent =
        WindowQuery { from_ms: now_ms.saturating_sub(LOOKED_BACK_MS), to_ms: now_ms, ..WindowQuery::default() };
    let Ok(seen) = store.stage_windows(recent).await else { return before };
    let cluster = |stage: &str| tapped.iter().find(|(name, _)| name == stage).map(|(_, cluster)| cluster.clone());
    let found = discover(current, &before, &seen, cluster);
    for p in found.iter().filter(|p| before.iter().all(|b| (&b.topics, &b.stages) != (&p.topics, &p.stages))) {
        let stages: Vec<&str> = p.stages.iter().map(|s| s.name.as_str()).collect();
        let Some(TopicPattern::Name(topic)) = p.topics.first() else { continue };
        tracing::info!(topic = topic.as_str(), stages = stages.join(" → "), "a pipeline was discovered");
    }
    found
}

fn together(configured: &Pipelines, discovered: &[Pipeline]) -> Pipelines {
    let list = configured.list.iter().chain(discovered).cloned().collect();
    Pipelines { list, ..configured.clone() }
}

/// Whether they say the same.
fn same(a: &Pipelines, b: &Pipelines) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_collector::{SqliteStore, Stage, StageKind};

    #[tokio::test]
    async fn what_is_configured_comes_first_and_nothing_is_looked_for_unasked() {
        let store = SqliteStore::in_memory().expect("store");
        let pipeline = |name: &str, topic: &str| {
            let stages = ["a", "b"].map(|stage| Stage::new(stage, StageKind::Client)).into();
            Pipeline::new(name, vec![TopicPattern::Name(topic.into())], stages)
        };
        let mut configured = Pipelines::from(vec![pipeline("mine", "t")]);
        let before = vec![pipeline("discovered", "u")];
        assert!(look(&store, &configured, before.clone(), 0).await.is_empty(), "not asked for");
        configured.discover = Some(vec![]);
        let found = look(&store, &configured, before, 0).await;
        assert_eq!(found.len(), 1, "quiet is not gone");
        let both = together(&configured, &found);
        assert_eq!(both.list.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["mine", "discovered"]);
        assert!(both.of("t").is_some_and(|p| p.name == "mine") && both.of("u").is_some());
        assert!(same(&both, &together(&configured, &found)) && !same(&both, &configured));
    }
}
