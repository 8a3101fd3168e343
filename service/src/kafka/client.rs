//! One client that asks a cluster: which topics there are, and where their partitions begin and end. Never reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataBroker, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::asker::{Answer, Tp};
use super::brokers::{Brokers, Questions};
use super::context::{Plain, reach_key};
use super::policies::{self, Policies};
use super::refusal::{self, Need};
use super::wanted::Wanted;
use super::{ASK_TIMEOUT, asking, asking_groups, create};
use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi;
use crate::ffi::groups::{self, Committed, Listed};
use crate::problems::Problems;

/// How long a broker that did not answer may take when it is asked again.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Made when groups are first asked for.
    grouped: Mutex<Option<BaseConsumer<Plain>>>,
    /// The broker that last said which topics there are.
    answering: AtomicI32,
    pub(super) problems: Problems,
    brokers: Mutex<Brokers>,
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
            grouped: Mutex::default(),
            answering: AtomicI32::new(0),
            cluster: cluster.clone(),
            problems: problems.clone(),
            brokers: Mutex::default(),
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
        let mut grouped = self.grouped.lock();
        if grouped.is_none() {
            let plain = Plain::new(&self.cluster.name, "groups", &self.problems);
            *grouped = create(&self.cluster, &asking_groups(&self.cluster), plain).ok();
        }
        let Some(client) = &*grouped else {
            let refused = || Err(KafkaError::ClientCreation("no client for groups".to_owned()));
            return names.iter().map(|_| refused()).collect();
        };
        let answers = groups::committed(client, names, ASK_TIMEOUT);
        self.drain(client);
        answers
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
        self.offsets(&self.uncommitted, partitions, Offset::End)
    }

    /// Brokers that did not answer and lead nothing any more are no problem any more.
    pub(super) fn forget_brokers(&self) {
        for broker in self.brokers.lock().forget_idle() {
            self.problems.clear(&broker_key(&self.cluster.name, broker));
        }
    }

    /// Partitions whose leaders do not answer while others do.
    pub(super) fn unanswered<'a>(&self, partitions: impl Iterator<Item = &'a Tp>) -> BTreeSet<Tp> {
        self.brokers.lock().unanswered(partitions)
    }

    /// See [`offsets`]; a broker that does not answer holds up none but its own partitions.
    fn offsets(&self, asking: &BaseConsumer<Plain>, partitions: &[Tp], at: Offset) -> KafkaResult<BTreeMap<Tp, i64>> {
        let Questions { together, again } = self.brokers.lock().questions(partitions, Instant::now());
        let mut answers = match offsets(asking, &together, at) {
            Err(e) if refusal::is_unreachable(refusal::code_of(&e)) => self.offsets_apart(asking, &together, at, e)?,
            answered => answered?,
        };
        for (broker, tps) in again {
            let answered = offsets_at_once(asking, &tps, at, AGAIN_TIMEOUT).map(|some| answers.extend(some));
            self.note_broker(broker, &tps, !answered.is_err_and(|e| refusal::is_unreachable(refusal::code_of(&e))));
        }
        Ok(answers)
    }

    /// Asks leader by leader; `error` if none answers.
    fn offsets_apart(
        &self,
        asking: &BaseConsumer<Plain>,
        partitions: &[Tp],
        at: Offset,
        error: KafkaError,
    ) -> KafkaResult<BTreeMap<Tp, i64>> {
        let apart = self.brokers.lock().apart(partitions);
        if apart.len() < 2 {
            return Err(error);
        }
        let mut answers = BTreeMap::new();
        let mut silent = Vec::new();
        for (broker, tps) in apart {
            match offsets_at_once(asking, &tps, at, AGAIN_TIMEOUT) {
                Err(e) if refusal::is_unreachable(refusal::code_of(&e)) => silent.push((broker, tps)),
                answered => answers.extend(answered.unwrap_or_default()),
            }
        }
        if answers.is_empty() {
            return Err(error);
        }
        for (broker, tps) in silent {
            self.note_broker(broker, &tps, false);
        }
        Ok(answers)
    }

    fn note_broker(&self, broker: i32, partitions: &[Tp], answers: bool) {
        let mut brokers = self.brokers.lock();
        brokers.answered(broker, answers, Instant::now());
        let sentence = (!answers).then(|| brokers.sentence(&self.cluster.name, broker, partitions));
        self.problems.note(&broker_key(&self.cluster.name, broker), sentence);
    }

    /// Log starts.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn starts(&self, partitions: &[Tp]) -> KafkaResult<BTreeMap<Tp, i64>> {
        self.offsets(&self.uncommitted, partitions, Offset::Beginning)
    }

    /// Last stable offsets: who reads only what is committed gets no further.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn stable(&self, partitions: &[Tp]) -> KafkaResult<BTreeMap<Tp, i64>> {
        self.offsets(&self.committed, partitions, Offset::End)
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
            let all = self.metadata(None)?;
            self.brokers.lock().learn(&all);
            for topic in all.topics().iter().filter(|t| wanted.has(t.name())) {
                self.note_topic(topic.name(), Some(topic), answer);
            }
            return Ok(());
        };
        for name in names.into_iter().filter(|n| wanted.has(n)) {
            let metadata = self.metadata(Some(name))?;
            self.brokers.lock().learn(&metadata);
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
                if let Some(topic) = topic {
                    self.brokers.lock().learn_topic(topic);
                }
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

    /// Ids of topics. Those that are gone or refuse us are absent, and all are where brokers have no ids.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ids(&self, topics: &BTreeSet<&str>, timeout: Duration) -> KafkaResult<BTreeMap<String, Uuid>> {
        let topics: Vec<&str> = topics.iter().copied().collect();
        match ffi::topics::ids(self.answering(), &topics, timeout) {
            Err(e) if refusal::code_of(&e) == RDKafkaErrorCode::UnsupportedFeature => Ok(BTreeMap::new()),
            answered => answered,
        }
    }

    /// The client, and the broker that answers it.
    fn answering(&self) -> (&rdkafka::client::Client<Plain>, i32) {
        (self.uncommitted.client(), self.answering.load(Ordering::Relaxed))
    }

    /// Metadata of a topic, or of all.
    fn metadata(&self, topic: Option<&str>) -> KafkaResult<Metadata> {
        let metadata = self.uncommitted.fetch_metadata(topic, ASK_TIMEOUT)?;
        // A bootstrap connection has no number yet.
        let broker = match metadata.orig_broker_id() {
            known @ 0.. => Some(known),
            _ => metadata.brokers().first().map(MetadataBroker::id),
        };
        self.answering.store(broker.unwrap_or(0), Ordering::Relaxed);
        Ok(metadata)
    }

    /// Asks which topics compaction runs on, where that is due. Who does not say so does not: it is a hint in the log.
    pub(super) fn policies(&self, topics: &BTreeMap<String, i32>, policies: &mut Policies) -> KafkaResult<()> {
        let now = Instant::now();
        let due = policies.due(topics.keys().map(String::as_str), now);
        let mut unknown = Vec::new();
        for some in due.chunks(policies::AT_ONCE) {
            let answers = match ffi::topics::configs(self.answering(), some, policies::KEY, ASK_TIMEOUT) {
                Err(e) if refusal::is_unreachable(refusal::code_of(&e)) => return Err(e),
                answers => answers.unwrap_or_default(),
            };
            unknown.extend(policies.answered(some, &answers, now));
        }
        if !unknown.is_empty() {
            tracing::info!(
                cluster = self.cluster.name,
                topics = unknown.len(),
                first = unknown.first(),
                "cannot see whether these topics are compacted (DESCRIBE_CONFIGS is not granted, or the brokers cannot tell): gaps in their offsets are taken for transaction markers"
            );
        }
        Ok(())
    }

    /// Serves log lines and errors, which wait in a queue until somebody polls: one a call, and no word whether there
    /// was one.
    pub(crate) fn serve(&self) {
        for client in [&self.uncommitted, &self.committed] {
            self.drain(client);
        }
    }

    fn drain(&self, client: &BaseConsumer<Plain>) {
        for _ in 0..64 {
            if let Some(Err(e)) = client.poll(Duration::ZERO) {
                tracing::trace!(cluster = self.cluster.name, "asking: {e}");
            }
        }
    }
}

fn broker_key(cluster: &str, broker: i32) -> String {
    format!("kafka.{cluster} broker {broker}")
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
    let together = offsets_at_once(client, partitions, at, ASK_TIMEOUT);
    let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
    let Err(e) = together else { return together };
    if refusal::is_unreachable(refusal::code_of(&e)) {
        return Err(e);
    }
    let mut answers = BTreeMap::new();
    for topic in topics {
        let of_topic: Vec<Tp> = partitions.iter().filter(|(t, _)| t == topic).cloned().collect();
        match offsets_at_once(client, &of_topic, at, ASK_TIMEOUT) {
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
    timeout: Duration,
) -> KafkaResult<BTreeMap<Tp, i64>> {
    let mut answers = BTreeMap::new();
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        // For a question, librdkafka reads the offset as a time: -1 is the end, -2 the start.
        list.add_partition_offset(topic, *partition, at)?;
    }
    let answered = client.offsets_for_times(list, timeout)?;
    for element in answered.elements() {
        if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
            answers.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(answers)
}
