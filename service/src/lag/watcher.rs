//! Asks one cluster, look by look, and hands each look to the store.
//!
//! Two paces: commits and ends every `every`; which groups and topics there are, where logs begin and what is stable
//! every `SURVEY_EVERY`; retention every `RETENTION_EVERY`. Every time is taken before the question and after the
//! answer. A look that fails writes nothing: the rows of before stay, with their time. Limit: `GROUPS_MAX` groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaperone_collector::lag::{LagRound, Round};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::error::{KafkaError, KafkaResult};

use super::ledger::{Answers, Ledger};
use super::settings::Settings;
use crate::config::Isolation;
use crate::exit::Failure;
use crate::kafka::asker::Tp;
use crate::kafka::client::Client;
use crate::kafka::context::{Plain, reach_key};
use crate::kafka::refusal::{self, Need};
use crate::kafka::{ASK_TIMEOUT, asking, create};
use crate::tap::Shared;
use crate::threads;

/// How often it is asked which groups and topics there are.
const SURVEY_EVERY: Duration = Duration::from_secs(30);
/// How often it is asked for how long topics keep messages.
const RETENTION_EVERY: Duration = Duration::from_mins(10);
/// Most groups of a cluster that are asked.
pub const GROUPS_MAX: usize = 1_000;
/// Topics whose configuration is asked for at once.
const CONFIGS_AT_ONCE: usize = 200;

/// How the keys of a cluster's problems here begin.
pub fn key(cluster: &str) -> String {
    format!("lag kafka.{cluster} ")
}

/// See the module's head.
pub struct Watcher {
    settings: Settings,
    shared: Shared,
    client: Client,
    admin: AdminClient<Plain>,
    ledger: Ledger,
    groups: BTreeSet<String>,
    partitions: BTreeSet<Tp>,
    leaderless: BTreeSet<Tp>,
    surveyed: Option<Instant>,
    retained: Option<Instant>,
    refused: BTreeSet<String>,
}

impl Watcher {
    /// Makes its clients, which connect by themselves.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, shared: &Shared) -> Result<Self, Failure> {
        let cluster = &settings.cluster;
        let plain = Plain::new(&cluster.name, "lag", &shared.problems);
        let every_ms = i64::try_from(settings.lag.every.as_millis()).unwrap_or(i64::MAX);
        Ok(Self {
            client: Client::new(cluster, &shared.problems)?,
            admin: create(cluster, &asking(cluster, Isolation::default()), plain)?,
            ledger: Ledger::new(&cluster.name, every_ms),
            settings: settings.clone(),
            shared: shared.clone(),
            groups: BTreeSet::new(),
            partitions: BTreeSet::new(),
            leaderless: BTreeSet::new(),
            surveyed: None,
            retained: None,
            refused: BTreeSet::new(),
        })
    }

    /// Looks until told to stop.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            if !self.shared.share.borrow().leads {
                // One collector of a store asks.
                threads::pause(stop, self.settings.lag.every);
                continue;
            }
            match self.look(stop) {
                Ok(()) => self.shared.problems.clear(&reach_key(self.name())),
                Err(e) => {
                    // librdkafka's own words about credentials are a better reason than "timed out".
                    let sentence = refusal::sentence(self.name(), &Need::Ask, refusal::code_of(&e));
                    self.shared.problems.suppose(&reach_key(self.name()), sentence);
                }
            }
            self.client.serve();
            threads::pause(
                stop,
                self.settings.lag.every.saturating_sub(began.elapsed()).max(Duration::from_millis(100)),
            );
        }
    }

    fn name(&self) -> &str {
        &self.settings.cluster.name
    }
    fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    fn look(&mut self, stop: &AtomicBool) -> KafkaResult<()> {
        if self.surveyed.is_none_or(|at| at.elapsed() >= SURVEY_EVERY) {
            self.survey()?;
            self.surveyed = Some(Instant::now());
        }
        let mut answers = Answers { partitions: self.partitions.clone(), ..Answers::default() };
        answers.groups_asked_ms = self.now_ms();
        self.ask_groups(&mut answers);
        answers.groups_answered_ms = self.now_ms();
        let askable: Vec<Tp> = self.partitions.difference(&self.leaderless).cloned().collect();
        answers.ends_asked_ms = self.now_ms();
        answers.ends = self.client.ends(&askable)?;
        answers.ends_answered_ms = self.now_ms();
        if self.retained.is_none_or(|at| at.elapsed() >= RETENTION_EVERY) {
            self.ask_retention();
            self.retained = Some(Instant::now());
        }
        if !stop.load(Ordering::SeqCst) {
            self.hand_over(&answers);
        }
        Ok(())
    }

    /// Which groups and topics there are, and what only moves on.
    fn survey(&mut self) -> KafkaResult<()> {
        let found = self.client.look(&self.settings.wanted)?;
        // A topic that gave an error instead of an answer is there all the same.
        let unsure: BTreeSet<&String> = found.unsure.iter().collect();
        self.partitions.retain(|(topic, _)| unsure.contains(topic));
        for (topic, partitions) in &found.topics {
            self.partitions.extend((0..*partitions).map(|p| (topic.clone(), p)));
        }
        self.leaderless = found.leaderless;
        let mut groups = self.settings.lag.named();
        if self.settings.lag.lists() {
            let listed = self.client.groups();
            if listed.as_ref().is_ok_and(|l| !l.partial) {
                self.say("list", None);
            } else {
                // What a broker that is away has is not gone.
                groups.extend(std::mem::take(&mut self.groups));
            }
            match listed {
                Ok(listed) => groups.extend(listed.groups.into_iter().filter(|group| self.settings.lag.has(group))),
                Err(e) if refusal::is_unreachable(refusal::code_of(&e)) => return Err(e),
                Err(e) => self.say("list", Some(format!("kafka.{}: cannot list consumer groups: {e}", self.name()))),
            }
        }
        let more = groups.len().saturating_sub(GROUPS_MAX);
        let sentence = format!(
            "kafka.{}: {more} groups more than the {GROUPS_MAX} that are asked for their lag: name fewer in kafka.{0}.lag.groups",
            self.name()
        );
        self.say("groups", (more > 0).then_some(sentence));
        self.groups = groups.into_iter().take(GROUPS_MAX).collect();
        let at_ms = self.now_ms();
        let askable: Vec<Tp> = self.partitions.difference(&self.leaderless).cloned().collect();
        let starts = self.client.starts(&askable)?;
        self.ledger.note_bounds(at_ms, &starts, self.client.stable(&askable)?);
        Ok(())
    }

    fn ask_groups(&mut self, answers: &mut Answers) {
        let names: Vec<String> = self.groups.iter().cloned().collect();
        let mut refused = BTreeSet::new();
        for (group, answer) in names.iter().zip(self.client.committed(&names)) {
            match answer {
                Ok(mut committed) => {
                    committed.retain(|tp, _| self.partitions.contains(tp));
                    answers.committed.insert(group.clone(), committed);
                }
                Err(e) => {
                    tracing::debug!(cluster = self.name(), group, "committed offsets: {e}");
                    answers.silent.insert(group.clone());
                    self.note_refusal(group, &e, &mut refused);
                }
            }
        }
        for solved in self.refused.difference(&refused) {
            self.say(&format!("group {solved}"), None);
        }
        self.refused = refused;
    }

    fn note_refusal(&self, group: &str, e: &KafkaError, refused: &mut BTreeSet<String>) {
        let code = refusal::code_of(e);
        // Whoever answers for a group may be elsewhere for a moment: it is asked again.
        if refusal::is_authorisation(code) {
            let need = Need::DescribeGroup(group.to_owned());
            self.say(&format!("group {group}"), Some(refusal::sentence(self.name(), &need, code)));
            refused.insert(group.to_owned());
        }
    }

    /// Lag that is not known makes nothing else wrong: it is said, and takes nobody out of service.
    fn say(&self, what: &str, sentence: Option<String>) {
        let key = key(self.name()) + what;
        match sentence {
            Some(sentence) => self.shared.problems.notice(key, sentence),
            None => self.shared.problems.clear(&key),
        }
    }

    /// For how long topics keep messages, where we may ask (`DESCRIBE_CONFIGS`); where not, nothing is said of it.
    fn ask_retention(&mut self) {
        let topics: BTreeSet<&str> = self.partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
        let mut found = BTreeMap::new();
        for some in topics.chunks(CONFIGS_AT_ONCE) {
            let wanted: Vec<ResourceSpecifier<'_>> = some.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
            let answers = self.shared.runtime.block_on(self.admin.describe_configs(&wanted, &options));
            // In the order of the question.
            for (topic, answer) in some.iter().zip(answers.unwrap_or_default()) {
                found.extend(answer.ok().and_then(|a| retention_ms(&a)).map(|ms| ((*topic).to_owned(), ms)));
            }
        }
        self.ledger.note_retention(found);
    }

    fn hand_over(&mut self, answers: &Answers) {
        let asked = self.ledger.note_ends(answers);
        let told = if asked.is_empty() { Ok(Vec::new()) } else { self.arrivals(&asked) };
        let told = told.and_then(|told| {
            let told: HashMap<_, _> = asked.into_iter().zip(told).collect();
            let (rows, left_out) = self
                .ledger
                .rows(answers, &told, |topic| self.settings.wanted.names.audited(topic).ok().map(Into::into));
            let about = Round {
                cluster: self.settings.cluster.name.clone(),
                at_ms: answers.groups_answered_ms,
                every_ms: i64::try_from(self.settings.lag.every.as_millis()).unwrap_or(i64::MAX),
                groups: u32::try_from(self.groups.len()).unwrap_or(u32::MAX),
                left_out,
            };
            let index = self.ledger.index(answers.ends_answered_ms);
            let indexed = !index.is_empty();
            let round = LagRound { about, rows, index };
            self.shared.runtime.block_on(self.shared.store.note_lag(round))?;
            if indexed {
                self.ledger.indexed(answers.ends_answered_ms);
            }
            Ok(())
        });
        let sentence = told.err().map(|e| format!("{e}; the lag of groups waits"));
        self.shared.problems.note(&(key(self.name()) + "store"), sentence);
    }

    fn arrivals(
        &self,
        asked: &[(String, i32, i64)],
    ) -> Result<Vec<chaperone_collector::lag::Bracket>, chaperone_collector::StoreError> {
        self.shared.runtime.block_on(self.shared.store.arrivals(self.name(), asked.to_vec()))
    }
}

/// `retention.ms` of a topic that deletes what is old.
fn retention_ms(config: &ConfigResource) -> Option<i64> {
    let value = |key: &str| config.get(key).and_then(|entry| entry.value.as_deref());
    let deletes = value("cleanup.policy").is_some_and(|policy| policy.split(',').any(|p| p.trim() == "delete"));
    value("retention.ms").and_then(|ms| ms.parse().ok()).filter(|ms| deletes && *ms >= 0)
}
