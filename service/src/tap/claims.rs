//! From "the group gave us this partition" to "we hold a claim and know where to read": the one place that claims.
//!
//! A claim needs to know where the log begins and ends, and which topic it is: the store tells by the topic's id whether
//! it is the one that was counted. A log of the same topic that ends before what was counted is looked at twice, a moment
//! apart, before it is believed to be another log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chaperone_collector::query::PartitionState;
use chaperone_collector::{Claim, ClaimRequest};
use rdkafka::error::KafkaResult;
use uuid::Uuid;

use super::partition::Partition;
use super::{Settings, Shared};
use crate::config::Start;
use crate::kafka::ASK_TIMEOUT;
use crate::kafka::asker::{Answer, Tp};
use crate::kafka::client::Client;
use crate::kafka::names::Names;
use crate::kafka::refusal::{self, Need};

/// Pause before a claim is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Heartbeats without any sign of the tap that fenced us, after which its partition is taken back.
const SILENT_HEARTBEATS: u32 = 3;

/// A partition that the group gave us and that we hold no claim on.
#[derive(Debug, Default)]
pub struct Candidate {
    /// Not before this.
    retry_at: Option<Instant>,
    /// The log of this number differs from the one that was counted: begin a new one.
    over: Option<u32>,
    /// Granted, but the log ends before it: to be looked at again.
    doubted: Option<Claim>,
    /// Somebody else claimed it: what the store showed then, and for how many heartbeats it has not changed.
    fenced: Option<(PartitionState, u32)>,
}

impl Candidate {
    /// To be claimed at once.
    pub fn now() -> Self {
        Self::default()
    }
    /// The log of this number was truncated or re-created.
    pub fn other_log(over: u32) -> Self {
        Self { over: Some(over), ..Self::default() }
    }
    /// Another tap claimed it; it is left alone while there is any sign of life.
    pub fn fenced(by: PartitionState) -> Self {
        Self { fenced: Some((by, 0)), ..Self::default() }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.fenced.is_none() && self.retry_at.is_none_or(|at| now >= at)
    }

    /// A heartbeat has passed and the store shows this.
    pub fn heartbeat(&mut self, state: Option<&PartitionState>) {
        let Some((before, silent)) = &mut self.fenced else { return };
        match state {
            Some(state) if state == before => {
                *silent += 1;
                if *silent >= SILENT_HEARTBEATS {
                    self.fenced = None;
                }
            }
            Some(state) => (*before, *silent) = (state.clone(), 0),
            None => self.fenced = None,
        }
    }
}

/// Partitions that wait for a claim.
pub struct Claims {
    tap: Uuid,
    waiting: BTreeMap<Tp, Candidate>,
    /// Partitions there were when this process first looked: the store decides by them which were born under audit.
    baseline: Option<BTreeMap<String, i32>>,
    leaderless: BTreeSet<Tp>,
}

impl Claims {
    /// For the tap process `tap`.
    pub fn new(tap: Uuid) -> Self {
        Self { tap, waiting: BTreeMap::new(), baseline: None, leaderless: BTreeSet::new() }
    }
    /// What the cluster looks like. What it looked like first stays known: topics that could not be looked at then count
    /// as old.
    pub fn look(&mut self, answer: &Answer) {
        self.leaderless.clone_from(&answer.leaderless);
        self.baseline.get_or_insert_with(|| {
            let unsure = answer.unsure.iter().chain(answer.unclear.keys()).map(|topic| (topic.clone(), i32::MAX));
            answer.topics.clone().into_iter().chain(unsure).collect()
        });
    }
    /// The group gave us this.
    pub fn add(&mut self, tp: Tp, candidate: Candidate) {
        self.waiting.insert(tp, candidate);
    }
    /// Whether this waits for a claim.
    pub fn has(&self, tp: &Tp) -> bool {
        self.waiting.contains_key(tp)
    }
    /// These topics are of no more interest.
    pub fn forget(&mut self, gone: impl Fn(&str) -> bool) {
        self.waiting.retain(|(topic, _), _| !gone(topic));
    }
    /// The group took everything back.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
    /// See [`Candidate::heartbeat`].
    pub fn heartbeat(&mut self, names: &Names, states: &BTreeMap<(&str, i32), &PartitionState>) {
        for ((topic, partition), candidate) in &mut self.waiting {
            let audited = names.audited(topic).ok();
            candidate.heartbeat(audited.and_then(|name| states.get(&(&*name, *partition)).copied()));
        }
    }

    /// Claims what is due and has a leader; returns what was granted and can be read.
    pub fn serve(
        &mut self,
        now: Instant,
        client: &Client,
        settings: &Settings,
        shared: &Shared,
    ) -> Vec<(Tp, Partition)> {
        let due = self.waiting.iter().filter(|(tp, c)| c.is_due(now) && !self.leaderless.contains(*tp));
        let due: Vec<Tp> = due.map(|(tp, _)| tp.clone()).collect();
        if due.is_empty() {
            return Vec::new();
        }
        let (starts, ends, ids) = match bounds(client, &due) {
            Ok(bounds) => bounds,
            Err(e) => {
                let sentence = refusal::sentence(&settings.cluster.name, &Need::Ask, refusal::code_of(&e));
                shared.problems.set(ask_key(settings), sentence);
                self.postpone(&due, now);
                return Vec::new();
            }
        };
        shared.problems.clear(&ask_key(settings));
        let mut granted = Vec::new();
        for tp in due {
            match (starts.get(&tp), ends.get(&tp), ids.get(&tp.0)) {
                (Some(start), Some(end), Some(id)) => {
                    let log = Log { start: *start, end: *end, id: *id };
                    granted.extend(self.claim(tp, &log, now, settings, shared));
                }
                _ => self.postpone(&[tp], now),
            }
        }
        granted
    }

    fn postpone(&mut self, tps: &[Tp], now: Instant) {
        for tp in tps {
            if let Some(candidate) = self.waiting.get_mut(tp) {
                candidate.retry_at = Some(now + RETRY_AFTER);
            }
        }
    }

    fn claim(
        &mut self,
        tp: Tp,
        log: &Log,
        now: Instant,
        settings: &Settings,
        shared: &Shared,
    ) -> Option<(Tp, Partition)> {
        let candidate = self.waiting.get_mut(&tp)?;
        // Topics without a certain name are not subscribed to.
        let name = settings.tap.names.audited(&tp.0).ok()?;
        let claim = match candidate.doubted.take() {
            // The answer of a moment ago was a new leader's, and the topic is the same.
            Some(claim) if log.end >= claim.next && log.id == claim.topic_id => claim,
            doubted => {
                candidate.over = candidate.over.or(doubted.map(|claim| claim.log));
                let request =
                    request(self.tap, (&tp, &name), log, candidate.over, self.baseline.as_ref(), settings, shared);
                match shared.runtime.block_on(shared.store.claim(request)) {
                    Ok(claim) => {
                        shared.problems.clear(STORE_KEY);
                        candidate.over = None;
                        claim
                    }
                    Err(e) => {
                        shared.problems.set(STORE_KEY, format!("{e}; taps wait and try again"));
                        self.postpone(&[tp], now);
                        return None;
                    }
                }
            }
        };
        if log.end < claim.next {
            candidate.doubted = Some(claim);
            self.postpone(&[tp], now);
            return None;
        }
        self.waiting.remove(&tp);
        let (topic, number) = (tp.0.as_str(), tp.1);
        tracing::info!(
            topic,
            name = &*name,
            partition = number,
            epoch = claim.epoch,
            log = claim.log,
            next = claim.next,
            id = claim.topic_id.map(tracing::field::display),
            "claimed"
        );
        let partition = Partition::new(
            &name,
            number,
            claim,
            log.start,
            settings.rules.of(&name).clone(),
            settings.widths.of(&name),
        );
        Some((tp.clone(), partition))
    }
}

/// What a cluster says of a partition's log.
struct Log {
    start: i64,
    end: i64,
    /// The topic's, where brokers have ids.
    id: Option<Uuid>,
}

type Bounds = (BTreeMap<Tp, i64>, BTreeMap<Tp, i64>, BTreeMap<String, Option<Uuid>>);

/// Where logs begin and end, and whose they are. A topic that was made anew between two questions is left out.
fn bounds(client: &Client, due: &[Tp]) -> KafkaResult<Bounds> {
    let topics: BTreeSet<&str> = due.iter().map(|(topic, _)| topic.as_str()).collect();
    let before = client.ids(&topics, ASK_TIMEOUT)?;
    let (starts, ends) = (client.starts(due)?, client.ends(due)?);
    let after = client.ids(&topics, ASK_TIMEOUT)?;
    let same = topics.into_iter().filter(|topic| before.get(*topic) == after.get(*topic));
    let ids = same.map(|topic| (topic.to_owned(), after.get(topic).copied())).collect();
    Ok((starts, ends, ids))
}

/// The key of "the store does not answer", for taps.
pub const STORE_KEY: &str = "store tap";

fn ask_key(settings: &Settings) -> String {
    format!("kafka.{} claim", settings.cluster.name)
}

/// Where a partition begins that was never counted, and since when it counts as audited.
fn request(
    tap: Uuid,
    ((topic, partition), name): (&Tp, &str),
    log: &Log,
    over: Option<u32>,
    baseline: Option<&BTreeMap<String, i32>>,
    settings: &Settings,
    shared: &Shared,
) -> ClaimRequest {
    // After the ends were asked for: whatever arrives from now on lies behind them.
    let now_ms = shared.clock.now_ms();
    let whole = settings.tap.start == Start::Earliest;
    let first_next = if whole { log.start } else { log.end };
    // The part before `start` was deleted: its windows are not audited.
    let first_since_ms = if whole && log.start == 0 { i64::MIN } else { now_ms };
    ClaimRequest {
        stage: settings.tap.stage.clone(),
        topic: name.to_owned(),
        partition: *partition,
        tap,
        now_ms,
        first_next,
        first_since_ms,
        // None of a topic that was not there when we first looked; unknown of one that did not answer.
        partitions: baseline.map(|b| b.get(topic).copied().unwrap_or(0)).filter(|n| *n != i32::MAX),
        log_start: log.start,
        topic_id: log.id,
        over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(next: i64, watermark_ms: i64) -> PartitionState {
        PartitionState { topic: "t".into(), partition: 0, log: 0, epoch: 2, next, watermark_ms: Some(watermark_ms) }
    }

    #[test]
    fn a_fenced_partition_is_taken_back_only_when_nobody_moves_it() {
        let mut c = Candidate::fenced(state(5, 0));
        for round in 0..10 {
            c.heartbeat(Some(&state(5, round)));
            assert!(!c.is_due(Instant::now()), "a moving watermark is a sign of life");
        }
        for _ in 0..SILENT_HEARTBEATS {
            assert!(!c.is_due(Instant::now()));
            c.heartbeat(Some(&state(5, 9)));
        }
        assert!(c.is_due(Instant::now()));
    }
}
