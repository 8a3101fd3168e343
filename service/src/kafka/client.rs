//! One client that asks a cluster: which topics there are, and where their partitions begin and end. Never reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::asker::{Answer, Tp};
use super::context::{Plain, reach_key};
use super::refusal::{self, Need};
use super::wanted::Wanted;
use super::{ASK_TIMEOUT, asking, create};
use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi::groups::{self, Committed, Listed};
use crate::problems::Problems;

/// What a cluster has of the topics that are wanted.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Topics and how many partitions they have.
    pub topics: BTreeMap<String, i32>,
    /// Topics that gave an error instead.
    pub refused: Vec<String>,
}

/// The client that asks; also for questions at once.
pub struct Client {
    pub(super) cluster: Cluster,
    uncommitted: BaseConsumer<Plain>,
    committed: BaseConsumer<Plain>,
    pub(super) problems: Problems,
}

impl Client {
    /// Connects when it first asks.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(cluster: &Cluster, problems: &Problems) -> Result<Self, Failure> {
        let plain = Plain::new(&cluster.name, "ask", problems);
        Ok(Self {
            uncommitted: create(cluster, &asking(cluster, Isolation::ReadUncommitted), plain.clone())?,
            committed: create(cluster, &asking(cluster, Isolation::ReadCommitted), plain)?,
            cluster: cluster.clone(),
            problems: problems.clone(),
        })
    }

    /// What there is of `wanted`, asked once.
    ///
    /// # Errors
    /// Why nobody answered, in one sentence, and the code for it.
    pub fn survey(&self, wanted: &Wanted) -> Result<Survey, (Code, String)> {
        let mut answer = Answer::default();
        let asked = self.topics(wanted, &mut answer);
        // librdkafka's own words about credentials are a better reason than "timed out".
        self.serve();
        match asked {
            Ok(()) => Ok(Survey { topics: answer.topics, refused: answer.unsure }),
            Err(e) => {
                let code = refusal::code_of(&e);
                let sentence = refusal::sentence(&self.cluster.name, &Need::Ask, code);
                let key = reach_key(&self.cluster.name);
                self.problems.suppose(&key, sentence.clone());
                let words = self.problems.get(&key).unwrap_or(sentence);
                let refused = refusal::is_authorisation(code) || words.contains("refuses our credentials");
                Err((if refused { Code::NotAuthorised } else { Code::Unavailable }, words))
            }
        }
    }

    /// Which consumer groups we may describe.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn groups(&self) -> KafkaResult<Listed> {
        groups::list(&self.uncommitted, ASK_TIMEOUT)
    }

    /// What groups have committed, in their order. Joins none.
    pub fn committed(&self, names: &[String]) -> Vec<KafkaResult<Committed>> {
        groups::committed(&self.uncommitted, names, ASK_TIMEOUT)
    }

    /// What there is of `wanted`, with the partitions that have no leader; what refuses us is noted among the problems.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn look(&self, wanted: &Wanted) -> KafkaResult<Answer> {
        let mut answer = Answer::default();
        self.topics(wanted, &mut answer)?;
        Ok(answer)
    }

    /// High watermarks; partitions that do not answer are absent.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ends(&self, partitions: &[Tp]) -> KafkaResult<BTreeMap<Tp, i64>> {
        offsets(&self.uncommitted, partitions, Offset::End)
    }

    /// Log starts.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn starts(&self, partitions: &[Tp]) -> KafkaResult<BTreeMap<Tp, i64>> {
        offsets(&self.uncommitted, partitions, Offset::Beginning)
    }

    /// Last stable offsets: who reads only what is committed gets no further.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn stable(&self, partitions: &[Tp]) -> KafkaResult<BTreeMap<Tp, i64>> {
        offsets(&self.committed, partitions, Offset::End)
    }

    /// Wanted topics with their partition counts. Those that refuse us, or whose names are not certain, are noted among
    /// the problems.
    pub(super) fn topics(&self, wanted: &Wanted, answer: &mut Answer) -> KafkaResult<()> {
        self.see_topics(wanted, answer)?;
        // Nothing is renamed: and whoever asks for other topics of this cluster must not say that all names are clear.
        if wanted.names.0.is_empty() {
            return Ok(());
        }
        // A topic that does not answer may be there all the same, and have the same name.
        let seen = answer.topics.keys().chain(&answer.unsure).map(String::as_str);
        answer.unclear = wanted.names.unclear(seen);
        answer.topics.retain(|topic, _| !answer.unclear.contains_key(topic));
        let words: BTreeSet<&str> = answer.unclear.values().map(String::as_str).collect();
        let words: Vec<&str> = words.into_iter().collect();
        let sentence = (!words.is_empty()).then(|| format!("kafka.{}: {}", self.cluster.name, words.join("; ")));
        self.problems.note(&format!("kafka.{} names", self.cluster.name), sentence);
        Ok(())
    }

    fn see_topics(&self, wanted: &Wanted, answer: &mut Answer) -> KafkaResult<()> {
        let Some(names) = wanted.names() else {
            let all = self.uncommitted.fetch_metadata(None, ASK_TIMEOUT)?;
            for topic in all.topics().iter().filter(|t| wanted.has(t.name())) {
                self.note_topic(topic.name(), Some(topic), answer);
            }
            return Ok(());
        };
        for name in names.into_iter().filter(|n| wanted.has(n)) {
            let metadata = self.uncommitted.fetch_metadata(Some(name), ASK_TIMEOUT)?;
            self.note_topic(name, metadata.topics().iter().find(|t| t.name() == name), answer);
        }
        Ok(())
    }

    fn note_topic(&self, name: &str, topic: Option<&MetadataTopic>, answer: &mut Answer) {
        let partitions = topic.map_or(0, |t| i32::try_from(t.partitions().len()).unwrap_or(i32::MAX));
        let code = topic.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        let key = format!("kafka.{} see {name}", self.cluster.name);
        match code {
            None if partitions > 0 => {
                self.problems.clear(&key);
                answer.topics.insert(name.to_owned(), partitions);
                let without =
                    topic.map(MetadataTopic::partitions).unwrap_or_default().iter().filter(|p| p.leader() < 0);
                answer.leaderless.extend(without.map(|p| (name.to_owned(), p.id())));
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                self.problems.clear(&key);
                answer.absent.push(name.to_owned());
            }
            Some(code) if refusal::is_authorisation(code) => {
                let need = Need::ReadTopic(name.to_owned());
                self.problems.set(key, refusal::sentence(&self.cluster.name, &need, code));
                answer.unsure.push(name.to_owned());
            }
            _ => answer.unsure.push(name.to_owned()),
        }
    }

    /// Serves log lines and errors, which wait in a queue until somebody polls: one a call, and no word whether there
    /// was one.
    pub(crate) fn serve(&self) {
        for client in [&self.uncommitted, &self.committed] {
            for _ in 0..64 {
                if let Some(Err(e)) = client.poll(Duration::ZERO) {
                    tracing::trace!(cluster = self.cluster.name, "asking: {e}");
                }
            }
        }
    }
}

/// Where partitions begin or end: one question for all; where that fails (a deleted topic spoils it), one a topic.
///
/// # Errors
/// Only if nobody answers.
pub fn offsets<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[Tp],
    at: Offset,
) -> KafkaResult<BTreeMap<Tp, i64>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let together = offsets_at_once(client, partitions, at);
    let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
    let Err(e) = together else { return together };
    if refusal::is_unreachable(refusal::code_of(&e)) {
        return Err(e);
    }
    let mut answers = BTreeMap::new();
    for topic in topics {
        let of_topic: Vec<Tp> = partitions.iter().filter(|(t, _)| t == topic).cloned().collect();
        match offsets_at_once(client, &of_topic, at) {
            Ok(some) => answers.extend(some),
            Err(e) => tracing::debug!(topic, "offsets: {e}"),
        }
    }
    Ok(answers)
}

fn offsets_at_once<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[Tp],
    at: Offset,
) -> KafkaResult<BTreeMap<Tp, i64>> {
    let mut answers = BTreeMap::new();
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        // For a question, librdkafka reads the offset as a time: -1 is the end, -2 the start.
        list.add_partition_offset(topic, *partition, at)?;
    }
    let answered = client.offsets_for_times(list, ASK_TIMEOUT)?;
    for element in answered.elements() {
        if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
            answers.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(answers)
}
