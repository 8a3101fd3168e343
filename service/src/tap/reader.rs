//! What a tap reads with: a reader of its own, which joins nothing and leaves nothing on the cluster; and, where several taps
//! share the work, a member of a group beside it, which says which partitions are whose and reads none of them.
//!
//! Apart, because librdkafka 2.12 ends the whole process by an assertion when a topic is deleted while partitions of it are
//! assigned to a member of a group. So the member answers each rebalance with an empty assignment.
//!
//! Partitions that are far behind can be read by a lane of their own, [`apart`](Reader::apart): librdkafka fetches nothing for
//! any partition whose lane is full, and what one has waiting fills it for all.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::{Membership, Settings};
use crate::config::Cluster;
use crate::exit::{Code, Failure};
use crate::ffi::batch::Batch;
use crate::ffi::{Alone, Lane};
use crate::kafka::asker::Tp;
use crate::kafka::context::{Member, Plain, Rebalance};
use crate::kafka::{RACK, by_leaders, capped, close, create, lone_consumer, member};
use crate::problems::Problems;

/// See the module's head.
pub struct Reader {
    member: Option<BaseConsumer<Member>>,
    alone: Alone<Plain>,
    config: ClientConfig,
    plain: Plain,
    /// What is read by the second lane.
    behind: BTreeSet<Tp>,
    turn: u8,
}

/// One of so many batches may be of partitions that are far behind, while others have some.
const BEHIND_EVERY: u8 = 4;
/// How long those are waited for before the others are looked at again.
const BEHIND_WAIT: Duration = Duration::from_millis(5);

/// The key of "a rack's copies are not believed".
pub fn rack_key(cluster: &str) -> String {
    format!("kafka.{cluster} rack")
}

fn alone(cluster: &Cluster, config: &ClientConfig, plain: Plain) -> Result<Alone<Plain>, Failure> {
    let failed = |e| Failure::new(Code::Software, format!("kafka.{}: cannot read: {e}", cluster.name));
    Alone::apart(create(cluster, config, plain)?).map_err(failed)
}

impl Reader {
    /// Makes the clients; connects later.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, problems: &Problems) -> Result<Self, Failure> {
        let cluster = &settings.cluster;
        let plain = Plain::new(&cluster.name, "tap", problems);
        problems.clear(&rack_key(&cluster.name));
        let mut config = lone_consumer(cluster, "tap", settings.tap.isolation);
        if let Some(cap) = settings.tap.max_bytes_per_second {
            capped(&mut config, cap);
        }
        if let Some(rack) = &settings.tap.client_rack {
            config.set(RACK, rack);
        }
        let alone = alone(cluster, &config, plain.clone())?;
        let member = match &settings.membership {
            Membership::Group(group) => Some(create(cluster, &member(cluster, group), Member::new(plain.clone()))?),
            Membership::Alone => None,
        };
        Ok(Self { member, alone, config, plain, behind: BTreeSet::new(), turn: 0 })
    }

    /// The rack whose copies are read; `None`: only leaders are read from.
    pub fn rack(&self) -> Option<&str> {
        self.config.get(RACK).filter(|rack| !rack.is_empty())
    }

    /// From now on reads nothing, and after the next [`assign`](Self::assign) from leaders only.
    ///
    /// # Errors
    /// When librdkafka makes no client.
    pub fn by_leaders(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        by_leaders(&mut self.config);
        let former = std::mem::replace(&mut self.alone, alone(cluster, &self.config, self.plain.clone())?);
        close(&format!("tap-{}", cluster.name), former);
        Ok(())
    }

    /// Serves the clients, and returns what they say is wrong. A member that is not served for minutes is put out of its
    /// group.
    pub fn serve(&self) -> Vec<KafkaError> {
        let member = self.member.as_ref().and_then(|member| member.poll(Duration::ZERO).and_then(Result::err));
        let alone = self.alone.poll(Duration::ZERO).and_then(Result::err);
        member.into_iter().chain(alone).collect()
    }

    /// The next messages, at most `most`: as soon as there are as many, else after `wait`. Who drops a part of them must
    /// [`assign`](Self::assign) anew.
    pub fn batch(&mut self, wait: Duration, most: usize) -> Option<Batch<'_>> {
        let (first, second) = (Lane::First, Lane::Second);
        if self.behind.is_empty() {
            return self.alone.batch(&[(first, wait)], most);
        }
        self.turn = (self.turn + 1) % BEHIND_EVERY;
        let last = (second, wait.min(BEHIND_WAIT));
        let now = |lane| (lane, Duration::ZERO);
        let from = if self.turn == 0 { [now(second), now(first), last] } else { [now(first), now(second), last] };
        self.alone.batch(&from, most)
    }

    /// Whether this partition is read apart from those that keep up.
    pub fn is_apart(&self, tp: &Tp) -> bool {
        self.behind.contains(tp)
    }

    /// Reads this partition, one of those assigned, from this offset on: apart from those that keep up, or among them.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn apart(&mut self, tp: &Tp, offset: i64, apart: bool) -> KafkaResult<()> {
        let lane = if apart { Lane::Second } else { Lane::First };
        self.alone.restart(&tp.0, tp.1, offset, lane)?;
        if apart {
            self.behind.insert(tp.clone());
        } else {
            self.behind.remove(tp);
        }
        Ok(())
    }

    /// What the group said since the last call; without a group nothing ever.
    pub fn said(&self) -> Vec<Rebalance> {
        self.member.as_ref().map(|member| member.context().take()).unwrap_or_default()
    }

    /// Whether nobody else decides which partitions are read.
    pub fn is_alone(&self) -> bool {
        self.member.is_none()
    }

    /// Follows these topics; without a group there is nobody to tell.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn subscribe(&self, topics: &[&str]) -> KafkaResult<()> {
        match &self.member {
            Some(member) if topics.is_empty() => {
                member.unsubscribe();
                Ok(())
            }
            Some(member) => member.subscribe(topics),
            None => Ok(()),
        }
    }

    /// Reads these partitions from these offsets, and no others; and takes what the group gave.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn assign(&mut self, list: &TopicPartitionList) -> KafkaResult<()> {
        let behind = &mut self.behind;
        behind.retain(|(topic, partition)| list.find_partition(topic, *partition).is_some());
        let is_behind = |topic: &str, partition| behind.contains(&(topic.to_owned(), partition));
        let lane = |topic: &str, partition| if is_behind(topic, partition) { Lane::Second } else { Lane::First };
        self.alone.assign_to(list, lane)?;
        self.member.as_ref().map_or(Ok(()), |member| member.assign(&TopicPartitionList::new()))
    }

    /// Reads nothing any more, and gives back what the group gave.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn unassign(&mut self) -> KafkaResult<()> {
        let stopped = self.alone.stop();
        self.member.as_ref().map_or(Ok(()), Consumer::unassign).and(stopped)
    }

    /// Where each partition stands.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn positions(&self) -> KafkaResult<TopicPartitionList> {
        self.alone.positions()
    }

    /// Stops fetching.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn pause(&self) -> KafkaResult<()> {
        self.alone.pause()
    }

    /// Fetches again.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn resume(&self) -> KafkaResult<()> {
        self.alone.resume()
    }

    /// Leaves, with a deadline.
    pub fn close(mut self, name: &str) {
        if let Some(member) = &self.member {
            member.context().closing();
        }
        if let Err(e) = self.unassign() {
            tracing::debug!("unassign at the end: {e}");
        }
        close(name, (self.member, self.alone));
    }
}
