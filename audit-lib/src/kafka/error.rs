//! Which errors prove what, and which configurations cannot be audited.

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Why a wrapper or the sink was not made.
#[derive(Debug, thiserror::Error)]
pub enum KafkaStartError {
    /// A librdkafka setting under which delivery reports do not tell the truth, or that is not supported yet.
    #[error("librdkafka setting {key}={value} cannot be audited: {why}")]
    Setting {
        /// The setting's key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why not, and what to set instead.
        why: &'static str,
    },
    /// librdkafka refused the configuration.
    #[error("cannot make the Kafka client: {0}")]
    Client(#[from] KafkaError),
}

/// Whether a delivery error proves that the message was **not** persisted; all others leave it in doubt.
///
/// | error | why it proves |
/// |---|---|
/// | `QueueFull` | it was never queued |
/// | `MessageSizeTooLarge`, `InvalidMessageSize`, `RecordListTooLarge` (`MSG_SIZE_TOO_LARGE`, …) | refused before it is sent, or by the broker before it appends |
/// | `KeySerialization`, `ValueSerialization` | never became a message |
/// | `UnknownTopic`, `UnknownPartition`, `UnknownTopicOrPartition`, `InvalidTopic` | there is no log to append to |
/// | `TopicAuthorizationFailed`, `ClusterAuthorizationFailed` | the broker refuses before it appends |
/// | `InvalidTimestamp`, `InvalidRecord`, `PolicyViolation`, `InvalidRequiredAcks`, `UnsupportedCompressionType` | the broker validates before it appends |
/// | `InvalidDifferentRecord` | another message of its batch was invalid, and a batch is appended whole or not at all |
/// | a topic name with a NUL (`KafkaError::Nul`) | never became a message |
///
/// **In doubt** are, among others: `MessageTimedOut` (it may have been sent), `PurgeInflight` (it was sent), `PurgeQueue` (it may have waited
/// for a second attempt: a message that was appended, and whose answer was lost, is purged under this code),
/// `BrokerTransportFailure`, `RequestTimedOut`, `NotEnoughReplicasAfterAppend` (it *is* appended),
/// `NotEnoughReplicas` and `NotLeaderForPartition` (an earlier attempt may have been appended), `Fatal` and whatever else
/// the idempotent producer raises, and every code that is not in the table: one that librdkafka learns later is no proof.
/// An error of `send` itself is always proof, whatever its code: the message was never queued.
///
/// Limit: librdkafka retries by itself and reports only the last error (its `rd_kafka_message_status` would tell; rdkafka's
/// safe interface does not have it). If an attempt was appended, its answer was lost, and before the retry the right to the
/// topic was withdrawn, the verdict is wrong for that message. Flush before dropping a producer: what is purged is in doubt.
pub fn proves_not_persisted(error: &KafkaError) -> bool {
    if matches!(error, KafkaError::Nul(_)) {
        return true;
    }
    let Some(code) = error.rdkafka_error_code() else { return false };
    matches!(
        code,
        Code::QueueFull
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::KeySerialization
            | Code::ValueSerialization
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::InvalidDifferentRecord
            | Code::PolicyViolation
            | Code::InvalidRequiredAcks
            | Code::UnsupportedCompressionType
    )
}

/// Refuses configurations whose delivery reports do not tell the truth (P4), by librdkafka's own reading of them.
pub(super) fn check_producer(config: &ClientConfig) -> Result<(), KafkaStartError> {
    let refuse = |key, value, why| Err(KafkaStartError::Setting { key, value, why });
    // librdkafka cannot be asked for its reading of a topic setting, so both names are read as it would read them.
    for key in ["acks", "request.required.acks"] {
        if let Some(value) = config.get(key).filter(|value| is_zero(value)) {
            return refuse(key, value.to_owned(), "no broker confirms anything; set acks=all (or 1)");
        }
    }
    let errors_only = config.create_native_config()?.get("delivery.report.only.error")?;
    if errors_only.trim_end_matches('\0') == "true" {
        let why = "messages without a report would look delivered; remove the setting";
        return refuse("delivery.report.only.error", "true".to_owned(), why);
    }
    Ok(())
}

/// As C's `strtol` with base 0 reads it: `0`, `+0`, `00`, `0x0`.
fn is_zero(value: &str) -> bool {
    let digits = value.trim().trim_start_matches(['+', '-']).trim_start_matches("0x");
    !digits.is_empty() && digits.bytes().all(|b| b == b'0')
}
