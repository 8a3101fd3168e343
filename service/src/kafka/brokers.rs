//! Which broker leads which partition, and which brokers do not answer: one of them must not hold up what the others
//! know.
//!
//! librdkafka asks all leaders in one call and answers when the last one has; so whoever did not answer is left out of it
//! and asked by itself, now and then, until it answers again. Limit: brokers are told apart by their leaderships, so that
//! one that leads nothing is of no interest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::metadata::{Metadata, MetadataTopic};

use super::asker::Tp;

/// Pause before a broker that did not answer is asked again.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Partitions that a sentence names.
const NAMED: usize = 3;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Brokers {
    leaders: BTreeMap<Tp, i32>,
    hosts: BTreeMap<i32, String>,
    /// When each that did not answer is asked again.
    silent: BTreeMap<i32, Instant>,
}

/// Partitions by who is to be asked about them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// At once.
    pub together: Vec<Tp>,
    /// By broker: those that did not answer before, and are due.
    pub again: BTreeMap<i32, Vec<Tp>>,
}

impl Brokers {
    /// What the cluster says of its brokers.
    pub fn learn(&mut self, metadata: &Metadata) {
        let hosts = metadata.brokers().iter().map(|b| (b.id(), format!("{}:{}", b.host(), b.port())));
        self.hosts = hosts.collect();
    }

    /// What the cluster says of a topic.
    pub fn learn_topic(&mut self, topic: &MetadataTopic) {
        let leads = |p: &rdkafka::metadata::MetadataPartition| ((topic.name().to_owned(), p.id()), p.leader());
        self.leaders.extend(topic.partitions().iter().map(leads));
    }

    /// Whom to ask about what.
    pub fn questions(&self, partitions: &[Tp], now: Instant) -> Questions {
        let mut questions = Questions::default();
        for tp in partitions {
            let leader = self.leaders.get(tp).copied();
            match leader.and_then(|leader| Some((leader, self.silent.get(&leader)?))) {
                None => questions.together.push(tp.clone()),
                Some((leader, at)) if now >= *at => questions.again.entry(leader).or_default().push(tp.clone()),
                Some(_) => {}
            }
        }
        questions
    }

    /// The same partitions by their leaders; those of unknown leaders under -1.
    pub fn apart(&self, partitions: &[Tp]) -> BTreeMap<i32, Vec<Tp>> {
        let mut apart: BTreeMap<i32, Vec<Tp>> = BTreeMap::new();
        for tp in partitions {
            apart.entry(self.leaders.get(tp).copied().unwrap_or(-1)).or_default().push(tp.clone());
        }
        apart
    }

    /// Whether `broker` answered.
    pub fn answered(&mut self, broker: i32, did: bool, now: Instant) {
        if did {
            self.silent.remove(&broker);
        } else {
            self.silent.insert(broker, now + ASK_AGAIN_AFTER);
        }
    }

    /// Those that did not answer and lead nothing any more are of no more interest; returns them.
    pub fn forget_idle(&mut self) -> Vec<i32> {
        let leaders: BTreeSet<i32> = self.leaders.values().copied().collect();
        let idle: Vec<i32> = self.silent.keys().filter(|broker| !leaders.contains(broker)).copied().collect();
        self.silent.retain(|broker, _| leaders.contains(broker));
        idle
    }

    /// Partitions whose leaders do not answer.
    pub fn unanswered<'a>(&self, partitions: impl Iterator<Item = &'a Tp>) -> BTreeSet<Tp> {
        let silent = |tp: &&Tp| self.leaders.get(*tp).is_some_and(|leader| self.silent.contains_key(leader));
        partitions.filter(silent).cloned().collect()
    }

    /// What it means that `broker` does not answer about these.
    pub fn sentence(&self, cluster: &str, broker: i32, partitions: &[Tp]) -> String {
        let host = self.hosts.get(&broker).map(|host| format!(" at {host}")).unwrap_or_default();
        let named: Vec<String> = partitions.iter().take(NAMED).map(|(t, p)| format!("{t}/{p}")).collect();
        let more = partitions.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "kafka.{cluster}: broker {broker}{host} does not answer, the others do; what it leads waits: {}{more}",
            named.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp(partition: i32) -> Tp {
        ("t".to_owned(), partition)
    }

    #[test]
    fn who_does_not_answer_is_asked_apart_and_now_and_then() {
        let leaders = [(tp(0), 1), (tp(1), 2), (tp(2), 1)].into();
        let mut b = Brokers { leaders, ..Brokers::default() };
        let (all, now) = ([tp(0), tp(1), tp(2), tp(3)], Instant::now());
        assert_eq!(b.questions(&all, now), Questions { together: all.to_vec(), again: BTreeMap::new() });
        assert_eq!(b.apart(&all), [(-1, vec![tp(3)]), (1, vec![tp(0), tp(2)]), (2, vec![tp(1)])].into());
        b.answered(1, false, now);
        assert_eq!(b.unanswered(all.iter()), [tp(0), tp(2)].into());
        let q = b.questions(&all, now);
        assert_eq!((q.together, q.again.len()), (vec![tp(1), tp(3)], 0));
        let q = b.questions(&all, now + ASK_AGAIN_AFTER);
        assert_eq!(q.again, [(1, vec![tp(0), tp(2)])].into());
        // It leads nothing any more.
        b.leaders = all.iter().map(|tp| (tp.clone(), 2)).collect();
        assert_eq!(b.questions(&all, now).together.len(), 4);
        assert_eq!((b.forget_idle(), b.forget_idle()), (vec![1], vec![]));
        b.answered(1, false, now);
        b.leaders.insert(tp(0), 1);
        assert_eq!(b.forget_idle(), [0; 0]);
        b.answered(1, true, now);
        assert_eq!(b.questions(&all, now).together.len(), 4);
        let said = b.sentence("main", 1, &all);
        assert!(said.contains("broker 1 does not answer") && said.ends_with("t/0, t/1, t/2 and 1 more"), "{said}");
    }
}
