//! Asks a cluster, again and again, which topics there are and where their partitions end: a thread and a client of
//! its own, so that a slow answer never holds up counting.
//!
//! Each round takes the time first, then asks for metadata and ends. `read_uncommitted`: the end that counts is the high
//! watermark; the last stable offset is asked for only where a reader is behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::context::{Plain, reach_key};
use super::refusal::{self, Need};
use super::wanted::BY_NAME_MAX;
pub use super::wanted::Wanted;
use super::{ASK_TIMEOUT, asking, create, lone_consumer};
use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi::Alone;
use crate::problems::Problems;

/// A partition.
pub type Tp = (String, i32);
/// How often topics that refused us are tried again.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// What a cluster has of the topics that are wanted.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Topics and how many partitions they have.
    pub topics: BTreeMap<String, i32>,
    /// Topics that gave an error instead.
    pub refused: Vec<String>,
}

/// One round's answers. Everything in it was asked for at or after `asked_ms`.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Wall time before the first question, ms.
    pub asked_ms: i64,
    /// Wanted topics and how many partitions they have.
    pub topics: BTreeMap<String, i32>,
    /// Wanted names that do not exist.
    pub absent: Vec<String>,
    /// Wanted topics that gave an error instead of an answer.
    pub unsure: Vec<String>,
    /// Wanted topics whose name in the pipelines is not certain, and why; they are not in `topics`.
    pub unclear: BTreeMap<String, String>,
    /// Partitions without a leader: nobody can be asked about them.
    pub leaderless: BTreeSet<Tp>,
    /// High watermarks of the watched partitions.
    pub ends: BTreeMap<Tp, i64>,
    /// How far the owner had read before the question: an end below it is another log's.
    pub floors: BTreeMap<Tp, i64>,
    /// Log starts, where they were asked for.
    pub starts: BTreeMap<Tp, i64>,
    /// Last stable offsets, where they were asked for.
    pub stable: BTreeMap<Tp, i64>,
}

/// What the owner wants to know next; shared with the asking thread.
#[derive(Default)]
pub struct Interest {
    /// Partitions whose ends are asked for, and how far the owner has read them.
    pub partitions: Mutex<Vec<(Tp, i64)>>,
    /// Ask for log starts as well.
    pub starts: AtomicBool,
    /// Ask for last stable offsets as well.
    pub stable: AtomicBool,
    /// Some topic refused to be read: find out which.
    pub probe: AtomicBool,
    /// Milliseconds between rounds.
    pub period_ms: std::sync::atomic::AtomicU64,
}

/// The client that asks; also for questions at once.
pub struct Client {
    cluster: Cluster,
    uncommitted: BaseConsumer<Plain>,
    committed: BaseConsumer<Plain>,
    problems: Problems,
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

    fn stable(&self, partitions: &[Tp]) -> KafkaResult<BTreeMap<Tp, i64>> {
        offsets(&self.committed, partitions, Offset::End)
    }

    /// Wanted topics with their partition counts. Those that refuse us, or whose names are not certain, are noted among
    /// the problems.
    fn topics(&self, wanted: &Wanted, answer: &mut Answer) -> KafkaResult<()> {
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
    fn serve(&self) {
        for client in [&self.uncommitted, &self.committed] {
            for _ in 0..64 {
                if let Some(Err(e)) = client.poll(Duration::ZERO) {
                    tracing::trace!(cluster = self.cluster.name, "asking: {e}");
                }
            }
        }
    }
}

/// The key of "may not read this topic".
pub fn read_key(cluster: &str, topic: &str) -> String {
    format!("kafka.{cluster} read {topic}")
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

/// The asking thread.
pub struct Asker {
    /// What is asked for.
    pub interest: Arc<Interest>,
    /// The client, for questions at once.
    pub client: Arc<Client>,
    answers: Receiver<Answer>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// Starts asking.
    ///
    /// # Errors
    /// When librdkafka refuses a property or no thread can be started.
    pub fn start(
        cluster: &Cluster,
        wanted: Wanted,
        clock: Arc<dyn Clock>,
        problems: &Problems,
        period: Duration,
    ) -> Result<Self, Failure> {
        let client = Arc::new(Client::new(cluster, problems)?);
        let interest = Arc::new(Interest::default());
        interest.period_ms.store(u64::try_from(period.as_millis()).unwrap_or(1_000), Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        // Two rounds may wait; older ones say nothing that a newer one does not.
        let (sender, answers) = sync_channel(2);
        let round = Round { client: Arc::clone(&client), interest: Arc::clone(&interest), wanted, clock, sender };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("ask-{}", cluster.name))
            .spawn(move || round.run(&stopped))
            .map_err(|e| Failure::new(Code::Software, format!("cannot start a thread: {e}")))?;
        Ok(Self { interest, client, answers, stop, thread: Some(thread) })
    }

    /// The newest answers, oldest first.
    pub fn take(&self) -> Vec<Answer> {
        self.answers.try_iter().collect()
    }
}

impl Drop for Asker {
    /// Tells the thread to end and leaves it to itself: it may be waiting for a broker.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

struct Round {
    client: Arc<Client>,
    interest: Arc<Interest>,
    wanted: Wanted,
    clock: Arc<dyn Clock>,
    sender: SyncSender<Answer>,
}

impl Round {
    fn run(&self, stop: &AtomicBool) {
        let cluster = self.client.cluster.name.clone();
        let mut probed: Option<Instant> = None;
        let mut refused = false;
        while !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let answered = self.ask();
            self.client.serve();
            match answered {
                Ok(answer) => {
                    self.client.problems.clear(&reach_key(&cluster));
                    let due = probed.is_none_or(|at| at.elapsed() >= PROBE_EVERY);
                    if (self.interest.probe.swap(false, Ordering::SeqCst) || refused) && due {
                        refused = probe(&self.client, &answer.topics);
                        probed = Some(Instant::now());
                    }
                    if let Err(TrySendError::Disconnected(_)) = self.sender.try_send(answer) {
                        return;
                    }
                }
                Err(e) => {
                    // librdkafka's own words about credentials are a better reason than "timed out".
                    let sentence = refusal::sentence(&cluster, &Need::Ask, refusal::code_of(&e));
                    self.client.problems.suppose(&reach_key(&cluster), sentence);
                }
            }
            let period = Duration::from_millis(self.interest.period_ms.load(Ordering::Relaxed));
            std::thread::park_timeout(period.saturating_sub(began.elapsed()).max(Duration::from_millis(50)));
        }
    }

    fn ask(&self) -> KafkaResult<Answer> {
        let mut answer = Answer { asked_ms: self.clock.now_ms(), ..Answer::default() };
        self.client.topics(&self.wanted, &mut answer)?;
        answer.floors = self.interest.partitions.lock().iter().cloned().collect();
        let askable = answer.floors.keys().filter(|tp| !answer.leaderless.contains(*tp));
        let partitions: Vec<Tp> = askable.cloned().collect();
        answer.ends = self.client.ends(&partitions)?;
        if self.interest.starts.swap(false, Ordering::SeqCst) {
            answer.starts = self.client.starts(&partitions)?;
        }
        if self.interest.stable.swap(false, Ordering::SeqCst) {
            answer.stable = self.client.stable(&partitions)?;
        }
        Ok(answer)
    }
}

/// Tries to read each topic and notes which refuse: a consumer's error does not say which it was. Returns whether any
/// did.
fn probe(client: &Client, topics: &BTreeMap<String, i32>) -> bool {
    let cluster = &client.cluster;
    let plain = Plain::new(&cluster.name, "probe", &client.problems);
    let config = lone_consumer(cluster, "probe", Isolation::ReadUncommitted);
    let Ok(consumer) = create::<BaseConsumer<Plain>, _>(cluster, &config, plain) else {
        return false;
    };
    let mut reader = Alone::new(consumer);
    let mut any = false;
    for topic in topics.keys().take(BY_NAME_MAX) {
        let refused = refuses(&mut reader, topic);
        any |= refused.is_some();
        let need = Need::ReadTopic(topic.clone());
        let sentence = refused.map(|code| refusal::sentence(&cluster.name, &need, code));
        client.problems.note(&read_key(&cluster.name, topic), sentence);
    }
    super::close("probe", reader);
    any
}

fn refuses(reader: &mut Alone<Plain>, topic: &str) -> Option<RDKafkaErrorCode> {
    let mut list = TopicPartitionList::new();
    // Whether there is anything at this offset does not matter: a broker refuses before it looks.
    list.add_partition_offset(topic, 0, Offset::Offset(0)).ok()?;
    reader.assign(&list).ok()?;
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        match reader.poll(Duration::from_millis(100)) {
            Some(Err(e)) if refusal::code_of(&e) == RDKafkaErrorCode::TopicAuthorizationFailed => {
                return Some(refusal::code_of(&e));
            }
            Some(Ok(_)) => return None,
            _ => {}
        }
    }
    None
}
