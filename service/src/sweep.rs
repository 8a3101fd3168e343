//! Rolls up and drops what is old, a short step at a time, so that whoever writes never waits long.
//!
//! Limit: a store that is far behind (its first sweep, a shorter retention) is worked on for a part of each second only.

use std::time::Duration;

use chaperone_collector::{Retention, StoreError};
use tokio::sync::watch;

use crate::tap::Shared;

/// How often it is looked whether there is anything to do.
const EVERY: Duration = Duration::from_secs(1);
/// Steps at a time.
const STEPS: usize = 8;

/// Goes on until it is aborted.
pub(crate) async fn run(shared: Shared, retention: watch::Receiver<Retention>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let mut failed = None;
        for _ in 0..STEPS {
            let now = *retention.borrow();
            match shared.store.sweep(shared.clock.now_ms(), now).await {
                Ok(swept) if swept.more => {}
                Ok(_) => break,
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        let sentence = |e: StoreError| {
            let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
            format!("{e}{advice}; what is old stays until it can be dropped")
        };
        shared.problems.note("store sweep", failed.map(sentence));
    }
}
