//! What a tap reads with: a member of a group, which says which partitions are whose, or a reader of its own, which takes
//! all of them, joins nothing and leaves nothing on the cluster.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, TopicPartitionList};

use super::{Membership, Settings};
use crate::exit::Failure;
use crate::ffi::Alone;
use crate::kafka::context::{Member, Plain, Rebalance};
use crate::kafka::{capped, close, create, lone_consumer, tap_consumer};
use crate::problems::Problems;

/// See the module's head.
pub enum Reader {
    /// One of a group.
    Member(BaseConsumer<Member>),
    /// Of no group.
    Alone(Alone<Plain>),
}

impl Reader {
    /// Makes the client; connects later.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, problems: &Problems) -> Result<Self, Failure> {
        let cluster = &settings.cluster;
        let plain = Plain::new(&cluster.name, "tap", problems);
        let cap = |config: &mut ClientConfig| {
            if let Some(cap) = settings.tap.max_bytes_per_second {
                capped(config, cap);
            }
        };
        Ok(match &settings.membership {
            Membership::Group(group) => {
                let mut config = tap_consumer(cluster, group, settings.tap.isolation);
                cap(&mut config);
                Self::Member(create(cluster, &config, Member::new(plain))?)
            }
            Membership::Alone => {
                let mut config = lone_consumer(cluster, "tap", settings.tap.isolation);
                cap(&mut config);
                Self::Alone(Alone::new(create(cluster, &config, plain)?))
            }
        })
    }

    /// The next message, and whatever librdkafka wants served.
    pub fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        match self {
            Self::Member(consumer) => consumer.poll(wait),
            Self::Alone(alone) => alone.poll(wait),
        }
    }

    /// What the group said since the last call; without a group nothing ever.
    pub fn said(&self) -> Vec<Rebalance> {
        match self {
            Self::Member(consumer) => consumer.context().take(),
            Self::Alone(_) => Vec::new(),
        }
    }

    /// Whether nobody else decides which partitions are read.
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }

    /// Follows these topics; without a group there is nobody to tell.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn subscribe(&self, topics: &[&str]) -> KafkaResult<()> {
        match self {
            Self::Member(consumer) if topics.is_empty() => {
                consumer.unsubscribe();
                Ok(())
            }
            Self::Member(consumer) => consumer.subscribe(topics),
            Self::Alone(_) => Ok(()),
        }
    }

    /// Reads these partitions from these offsets, and no others.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn assign(&mut self, list: &TopicPartitionList) -> KafkaResult<()> {
        match self {
            Self::Member(consumer) => consumer.assign(list),
            Self::Alone(alone) => alone.assign(list),
        }
    }

    /// Reads nothing any more.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn unassign(&mut self) -> KafkaResult<()> {
        match self {
            Self::Member(consumer) => consumer.unassign(),
            Self::Alone(alone) => alone.stop(),
        }
    }

    /// Where each partition stands.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn positions(&self) -> KafkaResult<TopicPartitionList> {
        match self {
            Self::Member(consumer) => consumer.position(),
            Self::Alone(alone) => alone.positions(),
        }
    }

    /// Stops fetching.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn pause(&self) -> KafkaResult<()> {
        match self {
            Self::Member(consumer) => consumer.pause(&consumer.assignment()?),
            Self::Alone(alone) => alone.pause(),
        }
    }

    /// Fetches again.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn resume(&self) -> KafkaResult<()> {
        match self {
            Self::Member(consumer) => consumer.resume(&consumer.assignment()?),
            Self::Alone(alone) => alone.resume(),
        }
    }

    /// Leaves, with a deadline.
    pub fn close(mut self, name: &str) {
        if let Self::Member(consumer) = &self {
            consumer.context().closing();
        }
        if let Err(e) = self.unassign() {
            tracing::debug!("unassign at the end: {e}");
        }
        match self {
            Self::Member(consumer) => close(name, consumer),
            Self::Alone(alone) => close(name, alone),
        }
    }
}
