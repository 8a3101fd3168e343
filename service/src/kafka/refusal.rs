//! What a broker refused, in one sentence that names the cluster, what was tried and what to grant.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What we need from a broker. Each is one ACL of the role `chaperone` (docs/OPERATIONS.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// To read a topic.
    ReadTopic(String),
    /// To be a member of a group.
    ReadGroup(String),
    /// To see what a group has committed.
    DescribeGroup(String),
    /// To write to a topic.
    WriteTopic(String),
    /// To create a topic.
    CreateTopic(String),
    /// To list topics and offsets, which every client may that may read them.
    Ask,
}

impl Need {
    fn grant(&self) -> String {
        match self {
            Self::ReadTopic(t) => format!("READ on topic '{t}'"),
            Self::ReadGroup(g) => format!("READ on group '{g}'"),
            Self::DescribeGroup(g) => format!("DESCRIBE on group '{g}'"),
            Self::WriteTopic(t) => format!("WRITE on topic '{t}'"),
            Self::CreateTopic(t) => format!("CREATE on topic '{t}'"),
            Self::Ask => "DESCRIBE on its topics".to_owned(),
        }
    }
    fn attempt(&self) -> String {
        match self {
            Self::ReadTopic(t) => format!("cannot read topic '{t}'"),
            Self::ReadGroup(g) => format!("cannot join group '{g}'"),
            Self::DescribeGroup(g) => format!("cannot ask what group '{g}' has committed"),
            Self::WriteTopic(t) => format!("cannot write to topic '{t}'"),
            Self::CreateTopic(t) => format!("cannot create topic '{t}'"),
            Self::Ask => "cannot list topics and offsets".to_owned(),
        }
    }
}

/// Whether the broker said "you may not".
pub fn is_authorisation(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// Whether nobody answered: any answer later solves it.
pub fn is_unreachable(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
    )
}

/// The code of an error, also where rdkafka's own accessor has none.
pub fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        KafkaError::AdminOp(code) => *code,
        other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
    }
}

/// The sentence for an answer that stands against `need`.
pub fn sentence(cluster: &str, need: &Need, code: RDKafkaErrorCode) -> String {
    // An idempotent producer that may write to no topic at all is refused by the cluster before it names a topic.
    if code == RDKafkaErrorCode::ClusterAuthorizationFailed && matches!(need, Need::WriteTopic(_)) {
        let grant = format!("{} (and, on brokers before 3.0, IDEMPOTENT_WRITE on the cluster)", need.grant());
        return refused(cluster, &grant);
    }
    if is_authorisation(code) {
        return refused(cluster, &need.grant());
    }
    if is_unreachable(code) {
        return unreachable(cluster, code, "");
    }
    if code == RDKafkaErrorCode::UnknownTopicOrPartition || code == RDKafkaErrorCode::UnknownTopic {
        return format!("kafka.{cluster}: {}: it does not exist", need.attempt());
    }
    format!("kafka.{cluster}: {}: {code}", need.attempt())
}

fn refused(cluster: &str, grant: &str) -> String {
    format!("kafka.{cluster}: not authorised: role chaperone needs {grant} (docs/OPERATIONS.md, ACLs)")
}

/// The sentence for a cluster that does not answer, or not to us. The same trouble is always the same sentence: counts
/// and durations in librdkafka's words are left out.
pub fn unreachable(cluster: &str, code: RDKafkaErrorCode, reason: &str) -> String {
    let reason = reason.split(" (after ").next().unwrap_or_default();
    let reason: String = if reason.is_empty() { code.to_string() } else { reason.chars().take(300).collect() };
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => format!(
            "kafka.{cluster}: the broker refuses our credentials: check sasl.mechanism, sasl.username and sasl.password in kafka.{cluster}.properties ({reason})"
        ),
        RDKafkaErrorCode::SSL => {
            format!(
                "kafka.{cluster}: no TLS connection: check security.protocol and ssl.* in kafka.{cluster}.properties ({reason})"
            )
        }
        _ => format!(
            "kafka.{cluster}: no broker answers: check kafka.{cluster}.bootstrap_servers and security.protocol; it is tried again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_acl_is_named_with_role_operation_and_resource() {
        let denied = RDKafkaErrorCode::TopicAuthorizationFailed;
        let table = [
            (Need::ReadTopic("orders".into()), denied, "READ on topic 'orders'"),
            (Need::DescribeGroup("h".into()), RDKafkaErrorCode::GroupAuthorizationFailed, "DESCRIBE on group 'h'"),
            (Need::ReadGroup("g".into()), RDKafkaErrorCode::GroupAuthorizationFailed, "READ on group 'g'"),
            (Need::WriteTopic("chaperone-audit".into()), denied, "WRITE on topic 'chaperone-audit'"),
            (
                Need::CreateTopic("chaperone-audit".into()),
                RDKafkaErrorCode::ClusterAuthorizationFailed,
                "CREATE on topic 'chaperone-audit'",
            ),
        ];
        for (need, code, grant) in table {
            assert_eq!(
                sentence("regional", &need, code),
                format!("kafka.regional: not authorised: role chaperone needs {grant} (docs/OPERATIONS.md, ACLs)")
            );
        }
    }

    #[test]
    fn a_producer_that_is_not_let_in_lacks_write() {
        let said = sentence("k", &Need::WriteTopic("a".into()), RDKafkaErrorCode::ClusterAuthorizationFailed);
        assert!(said.contains("needs WRITE on topic 'a'") && said.contains("IDEMPOTENT_WRITE"), "{said}");
    }

    #[test]
    fn bad_credentials_and_silence_are_told_apart() {
        let bad = unreachable("k", RDKafkaErrorCode::Authentication, "sasl_plaintext://h:1: failed");
        assert!(bad.contains("credentials") && bad.contains("sasl.password") && bad.contains("h:1"), "{bad}");
        let silent = sentence("k", &Need::Ask, RDKafkaErrorCode::OperationTimedOut);
        assert!(silent.contains("no broker answers") && silent.contains("bootstrap_servers"), "{silent}");
    }
}
