//! What taps must have counted, told by those that did not count it: the topic itself, and the control.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::{AuditMessage, Width};
use rdkafka::Message;

use crate::{Cluster, clients};

const PATIENCE: Duration = Duration::from_secs(120);

/// The truth: the first `messages` of a topic by window of their own timestamps.
pub fn by_window(cluster: &Cluster, topic: &str, messages: u64) -> anyhow::Result<BTreeMap<i64, u64>> {
    let all = clients::consume(&cluster.plain_config(), topic, "recount", usize::try_from(messages)?, PATIENCE)?;
    let mut counts = BTreeMap::new();
    for message in &all {
        let event_ms = message.timestamp().to_millis().context("a message without a timestamp")?;
        *counts.entry(Width::TEN_SECONDS.window_of(event_ms).0).or_default() += 1;
    }
    Ok(counts)
}

/// The control: what a collector without claims would have counted, every interval on the audit topic added up.
pub fn without_epochs(cluster: &Cluster, audit: &str) -> anyhow::Result<u64> {
    let records: i64 = cluster.offsets(audit)?.iter().map(|(from, to)| to - from).sum();
    let all = clients::consume(&cluster.plain_config(), audit, "control", usize::try_from(records)?, PATIENCE)?;
    let mut sum = 0;
    for record in &all {
        let message = AuditMessage::decode(record.payload().unwrap_or_default())?;
        sum += message.intervals.iter().flat_map(|i| &i.windows).map(|w| w.n).sum::<u64>();
    }
    Ok(sum)
}
