//! The watcher: a client that reads only HTTP, as anybody could write it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use chaperone_audit::{Clock, SystemClock};
use serde::Deserialize;

use super::TOPIC;
use super::event::Event;
use super::ledger::Row;
use super::plan::WIDTH_MS;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than the API ever gives.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
struct Windows {
    windows: Vec<Row>,
}

/// Looks at `GET /api/v1/windows` from window `from_ms` on, until `stop`.
pub fn watch(url: &str, from_ms: &AtomicI64, events: &Sender<Event>, stop: &AtomicBool) {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT));
    let agent: ureq::Agent = config.build().into();
    while !stop.load(Ordering::SeqCst) {
        let to_ms = SystemClock.now_ms() + WIDTH_MS;
        match look(&agent, url, from_ms.load(Ordering::SeqCst), to_ms) {
            Ok(rows) => {
                if events.send(Event::Rows(rows)).is_err() {
                    return;
                }
            }
            Err(e) => tracing::warn!("the demo's watcher: {e}"),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn look(agent: &ureq::Agent, url: &str, from_ms: i64, to_ms: i64) -> Result<Vec<Row>, ureq::Error> {
    let mut answer = agent.get(format!("{url}/api/v1/windows?topic={TOPIC}&from={from_ms}&to={to_ms}")).call()?;
    let rows: Windows = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json()?;
    Ok(rows.windows)
}
