//! A missing ACL in one sentence: the operation and the resource to grant (docs/OPERATIONS.md, "ACLs per role").

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What a process needs from a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant<'a> {
    /// To write to a topic.
    WriteTopic(&'a str),
    /// To read a topic.
    ReadTopic(&'a str),
    /// To be a member of a group.
    ReadGroup(&'a str),
    /// To have transactions under a name.
    WriteTransactionalId(&'a str),
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteTopic(name) => write!(f, "WRITE on topic '{name}'"),
            Self::ReadTopic(name) => write!(f, "READ on topic '{name}'"),
            Self::ReadGroup(name) => write!(f, "READ on group '{name}'"),
            Self::WriteTransactionalId(name) => write!(f, "WRITE on transactional-id '{name}'"),
        }
    }
}

/// The sentence, if `error` says that `grant` is missing.
pub fn missing_grant(error: &KafkaError, grant: Grant<'_>) -> Option<String> {
    let code = error.rdkafka_error_code()?;
    let refused = match grant {
        // An idempotent producer that may write to no topic at all is refused by the cluster before it names a topic.
        Grant::WriteTopic(_) => {
            matches!(code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)
        }
        Grant::ReadTopic(_) => code == RDKafkaErrorCode::TopicAuthorizationFailed,
        Grant::ReadGroup(_) => code == RDKafkaErrorCode::GroupAuthorizationFailed,
        Grant::WriteTransactionalId(_) => code == RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
    };
    refused.then(|| format!("not authorised: this process needs {grant} (docs/OPERATIONS.md, ACLs)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_error_of_that_resource_names_the_grant() {
        let topic = KafkaError::MessageProduction(RDKafkaErrorCode::TopicAuthorizationFailed);
        let group = KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed);
        let said = missing_grant(&topic, Grant::WriteTopic("orders")).unwrap();
        assert!(said.contains("WRITE on topic 'orders'"), "{said}");
        assert!(missing_grant(&group, Grant::ReadGroup("g")).unwrap().contains("READ on group 'g'"));
        assert_eq!(missing_grant(&group, Grant::ReadTopic("orders")), None);
        let transactions = KafkaError::ClientCreation(String::new());
        assert_eq!(missing_grant(&transactions, Grant::WriteTransactionalId("t")), None);
        let named = KafkaError::Global(RDKafkaErrorCode::TransactionalIdAuthorizationFailed);
        let said = missing_grant(&named, Grant::WriteTransactionalId("t")).unwrap();
        assert!(said.contains("WRITE on transactional-id 't'"), "{said}");
        let other = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(missing_grant(&other, Grant::WriteTopic("orders")), None);
    }
}
