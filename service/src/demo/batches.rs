//! How the demo's messages lie in the mock brokers: in few, well filled batches, of which few are kept.
//!
//! librdkafka's mock finds the batch of a fetch by walking all batches of the partition from the oldest on, and gives
//! one batch a fetch. So a fetch costs as much as there are batches, and there are as many fetches as batches: what the
//! brokers take grows with the square of the batches a second, times how long they are kept. It cannot be told to keep
//! less than 5 MiB a partition, and with a message of 60 bytes a batch that is a quarter of an hour and 40,000 batches.
//! Therefore whoever produces the topic waits [`LINGER_MS`] for a batch to fill, and a message is [`VALUE_BYTES`] long.
//!
//! Invariants, tested below: a partition keeps at least twice what [`retention`](super::retention) calls enough, and at
//! most [`BATCHES_MAX`] batches; both are reached within minutes and stay. Limit: the audit topic has fewer than three
//! batches a second, and so needs none of this.

use rdkafka::ClientConfig;

/// Bytes of a message's value.
pub const VALUE_BYTES: usize = 400;
/// How long a batch is waited for, ms.
pub const LINGER_MS: u32 = 100;
/// Batches of one partition that the mock may have to walk.
pub const BATCHES_MAX: u32 = 4_000;

/// What fills a message up.
const FILLER: &str = "nothing to see here; ";

/// How the topic is produced, to these brokers.
pub fn producer_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true");
    config.set("linger.ms", LINGER_MS.to_string());
    config
}

/// The value of the order `n` of the run `run`.
pub fn value(run: u64, n: u64) -> String {
    let cents = n.wrapping_mul(7_919) % 100_000;
    let mut value = format!("{{\"order\":\"{run:x}-{n}\",\"cents\":{cents},\"note\":\"");
    let end = "\"}";
    let room = VALUE_BYTES.saturating_sub(value.len() + end.len());
    value.extend(FILLER.chars().cycle().take(room));
    value.push_str(end);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::retention::ENOUGH;
    use crate::demo::{PARTITIONS, RATE};

    /// What librdkafka's mock keeps of a partition, and the head of a batch.
    const KEPT_BYTES: f64 = 5.0 * 1_048_576.0;
    const BATCH_HEAD: f64 = 61.0;

    /// Seconds kept and batches kept of a partition with so many times the average traffic.
    fn kept(share: f64) -> (f64, f64) {
        let linger_s = f64::from(LINGER_MS) / 1_000.0;
        let messages = (f64::from(RATE) / f64::from(PARTITIONS) * share * linger_s).max(1.0);
        // A record's own head and its key take some 25 bytes.
        let batch_bytes = BATCH_HEAD + messages * (f64::from(u32::try_from(VALUE_BYTES).expect("small")) + 25.0);
        let batches = KEPT_BYTES / batch_bytes;
        (batches * linger_s, batches)
    }

    #[test]
    fn a_partition_keeps_enough_for_the_slowest_reader_and_little_to_walk() {
        // The keys do not spread evenly.
        for share in [0.6, 1.0, 1.6] {
            let (seconds, batches) = kept(share);
            assert!(seconds > 2.0 * ENOUGH.as_secs_f64(), "share {share}: {seconds} s");
            assert!(seconds < 600.0, "share {share}: it grows for {seconds} s");
            assert!(batches < f64::from(BATCHES_MAX), "share {share}: {batches} batches");
        }
    }

    #[test]
    fn values_are_json_differ_and_have_their_length() {
        for (run, n) in [(0, 0), (1, 7), (u64::MAX, u64::MAX)] {
            let text = value(run, n);
            assert_eq!(text.len(), VALUE_BYTES, "{text}");
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(json["order"], format!("{run:x}-{n}"));
        }
        assert_ne!(value(1, 2), value(1, 3));
    }
}
