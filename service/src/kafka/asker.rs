//! Asks a cluster, again and again, which topics there are and where their partitions end: a thread and a client of
//! its own, so that a slow answer never holds up counting.
//!
//! Each round takes the time first, then asks for metadata and ends, and for the topics' ids last: an answer with the id
//! of before speaks of the topic of before. `read_uncommitted`: the end that counts is the high watermark; the last
//! stable offset is asked for only where a reader is behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::client::Client;
use super::context::{Plain, reach_key};
use super::policies::Policies;
use super::refusal::{self, Need};
use super::wanted::{BY_NAME_MAX, Wanted};
use super::{ASK_TIMEOUT, create, lone_consumer};
use crate::config::{Cluster, Isolation};
use crate::exit::{Code, Failure};
use crate::ffi::Alone;
use crate::problems::Problems;

/// A partition.
pub type Tp = (String, i32);
/// How often topics that refused us are tried again.
const PROBE_EVERY: Duration = Duration::from_secs(15);

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
    /// Watched partitions whose leaders do not answer while others do: out of our reach.
    pub unanswered: BTreeSet<Tp>,
    /// High watermarks of the watched partitions.
    pub ends: BTreeMap<Tp, i64>,
    /// How far the owner had read before the question: an end below it is another log's.
    pub floors: BTreeMap<Tp, i64>,
    /// Log starts, where they were asked for.
    pub starts: BTreeMap<Tp, i64>,
    /// Last stable offsets, where they were asked for.
    pub stable: BTreeMap<Tp, i64>,
    /// Ids of the watched topics, asked for after everything else: what was read before the question, and the ends above,
    /// are of the topic of that id. Topics that are gone are absent, and all are where brokers have no ids.
    pub ids: BTreeMap<String, Uuid>,
    /// Wanted topics that compaction runs on, as far as we may know.
    pub compacted: BTreeSet<String>,
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

/// The key of "may not read this topic".
pub fn read_key(cluster: &str, topic: &str) -> String {
    format!("kafka.{cluster} read {topic}")
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

    /// Asks now, not when it is time.
    pub fn nudge(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
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
        let mut policies = Policies::default();
        while !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let answered = self.ask(&mut policies);
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

    fn ask(&self, policies: &mut Policies) -> KafkaResult<Answer> {
        let mut answer = Answer { asked_ms: self.clock.now_ms(), ..Answer::default() };
        self.client.topics(&self.wanted, &mut answer)?;
        self.client.policies(&answer.topics, policies)?;
        answer.compacted = policies.compacted().map(str::to_owned).collect();
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
        self.client.forget_brokers();
        answer.unanswered = self.client.unanswered(partitions.iter());
        let topics: BTreeSet<&str> = answer.floors.keys().map(|(topic, _)| topic.as_str()).collect();
        answer.ids = self.client.ids(&topics, ASK_TIMEOUT)?;
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
