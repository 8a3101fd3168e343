//! The audit topic: found, or created so that broker time can be compared (`LogAppendTime`).

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::context::Plain;
use super::refusal::{self, Need};
use super::{ASK_TIMEOUT, base};
use crate::config::{Audit, Cluster};
use crate::exit::Failure;

/// The properties that the topic is created with.
pub fn properties(audit: &Audit) -> [(&'static str, String); 3] {
    [
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", audit.retention.as_millis().to_string()),
    ]
}

/// Creates audit topics.
pub struct Creator {
    admin: AdminClient<Plain>,
}

impl Creator {
    /// For `cluster`.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(cluster: &Cluster, context: Plain) -> Result<Self, Failure> {
        Ok(Self { admin: super::create(cluster, &base(cluster, "admin"), context)? })
    }

    /// Creates the topic; one that was created meanwhile is fine.
    ///
    /// # Errors
    /// One sentence for the list of problems.
    pub async fn create(&self, cluster: &str, audit: &Audit) -> Result<(), String> {
        let replication = TopicReplication::Fixed(audit.replication.unwrap_or(-1));
        let properties = properties(audit);
        let mut topic = NewTopic::new(&audit.topic, audit.partitions, replication);
        for (key, value) in &properties {
            topic = topic.set(key, value);
        }
        let options =
            AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(Duration::from_secs(3)));
        let need = Need::CreateTopic(audit.topic.clone());
        let code = match self.admin.create_topics([&topic], &options).await {
            Err(e) => refusal::code_of(&e),
            Ok(results) => match results.into_iter().next() {
                Some(Err((_, code))) => code,
                Some(Ok(_)) | None => return Ok(()),
            },
        };
        if code == RDKafkaErrorCode::TopicAlreadyExists {
            return Ok(());
        }
        Err(refusal::sentence(cluster, &need, code))
    }
}
