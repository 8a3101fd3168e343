//! `inspect intervals`: a history of claims and intervals of one partition, and what counted.

use chaperone_collector::interval::{Chain, Outcome};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    events: Vec<Event>,
}

/// Either a claim or an interval; one struct, so that an unknown field is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    claim: Option<bool>,
    epoch: Option<u64>,
    from: Option<i64>,
    to: Option<i64>,
    n: Option<u64>,
}

#[derive(Serialize)]
struct Answer {
    next: i64,
    n: u64,
}

/// `{"events":[…]}` → `{"next","n"}`
///
/// # Errors
/// What is wrong with the line.
pub fn answer(line: &str) -> Result<String, String> {
    let history: History = super::read(line)?;
    let mut chain = Chain::default();
    let mut counted = 0u64;
    for (i, event) in history.events.into_iter().enumerate() {
        match event {
            Event { claim: Some(true), epoch: None, from: None, to: None, n: None } => {
                chain.claim();
            }
            Event { claim: None, epoch: Some(epoch), from: Some(from), to: Some(to), n: Some(n) } if from <= to => {
                if chain.apply(epoch, from, to) == Outcome::Add {
                    counted = counted.checked_add(n).ok_or_else(|| format!("events[{i}]: the sum does not fit"))?;
                }
            }
            _ => {
                return Err(format!(
                    "events[{i}]: allowed are {{\"claim\":true}} and {{\"epoch\",\"from\",\"to\",\"n\"}} with from ≤ to"
                ));
            }
        }
    }
    serde_json::to_string(&Answer { next: chain.next, n: counted }).map_err(|e| e.to_string())
}
