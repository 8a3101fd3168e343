//! Watches that the mock brokers keep messages for long enough.
//!
//! librdkafka's mock deletes silently: past 5 MiB or 100,000 batches a partition the oldest go, read or not. The demo's
//! slowest reader may be a whole stall behind. So the age of the oldest message that is still there is watched, and a
//! partition that keeps less than [`ENOUGH`] is reported before anything is lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::threads;

/// Three times what the slowest reader may be behind.
pub const ENOUGH: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks remembered; an hour is more than enough.
const LOOKS_MAX: usize = 720;

/// When a partition ended where, as far back as messages are kept.
#[derive(Debug, Default)]
struct Kept(VecDeque<(Instant, i64)>);

impl Kept {
    /// The partition holds `[start, end)`. How long messages stay, at least; `None` as long as nothing was deleted.
    fn look(&mut self, now: Instant, start: i64, end: i64) -> Option<Duration> {
        self.0.push_back((now, end));
        // Everything below such an end has been deleted.
        while self.0.front().is_some_and(|(_, e)| *e <= start) || self.0.len() > LOOKS_MAX {
            self.0.pop_front();
        }
        let oldest = self.0.front().map_or(now, |(seen, _)| *seen);
        (start > 0).then(|| now.saturating_duration_since(oldest))
    }
}

/// Topics on one cluster, each with its partitions.
pub struct Watched {
    /// Brokers.
    pub brokers: String,
    /// Name and number of partitions.
    pub topics: Vec<(&'static str, i32)>,
}

/// Looks until `stop`, and warns once per partition.
pub fn watch(clusters: &[Watched], stop: &AtomicBool) {
    let mut clients = Vec::new();
    for cluster in clusters {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &cluster.brokers).set("group.id", "demo-retention-unused");
        match BaseConsumer::from_config(&config) {
            Ok(client) => clients.push((client, cluster)),
            Err(e) => tracing::warn!("the demo does not watch the mock's retention: {e}"),
        }
    }
    let mut kept: BTreeMap<(usize, &str, i32), Kept> = BTreeMap::new();
    let mut warned = std::collections::BTreeSet::new();
    while !stop.load(Ordering::SeqCst) {
        for (at, (client, cluster)) in clients.iter().enumerate() {
            for (topic, partitions) in &cluster.topics {
                for partition in 0..*partitions {
                    let Ok((start, end)) = client.fetch_watermarks(topic, partition, ASK_TIMEOUT) else { continue };
                    let place = (at, *topic, partition);
                    let age = kept.entry(place).or_default().look(Instant::now(), start, end);
                    if age.is_some_and(|age| age < ENOUGH) && warned.insert(place) {
                        let seconds = age.unwrap_or_default().as_secs();
                        tracing::warn!(
                            "{topic}/{partition}: the mock broker deletes messages after {seconds} s (it keeps 5 MiB or \
                             100,000 batches a partition); slow readers may lose some, which is not the pipeline's fault"
                        );
                    }
                }
            }
        }
        threads::pause(stop, LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kept_since_the_partition_ended_above_what_is_deleted() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut kept = Kept::default();
        assert_eq!(kept.look(at(0), 0, 100), None);
        assert_eq!(kept.look(at(5), 0, 200), None, "nothing was deleted");
        assert_eq!(kept.look(at(10), 99, 300), Some(Duration::from_secs(10)), "99 was there at 0 s");
        assert_eq!(kept.look(at(15), 100, 400), Some(Duration::from_secs(10)), "100 came after 0 s");
        assert_eq!(kept.look(at(20), 350, 500), Some(Duration::from_secs(5)));
        assert_eq!(kept.look(at(25), 600, 600), Some(Duration::ZERO), "all is gone");
        assert!(kept.0.is_empty());
    }

    #[test]
    fn memory_is_bounded_by_what_is_kept() {
        let begin = Instant::now();
        let mut kept = Kept::default();
        for n in 0..10_000 {
            let end = i64::try_from(n).expect("small") * 100;
            kept.look(begin + Duration::from_secs(5 * n), (end - 1_000).max(0), end);
        }
        assert!(kept.0.len() <= 12, "{}", kept.0.len());
        let mut idle = Kept::default();
        for n in 0..10_000 {
            idle.look(begin + Duration::from_secs(5 * n), 0, 7);
        }
        assert_eq!(idle.0.len(), LOOKS_MAX);
    }
}
