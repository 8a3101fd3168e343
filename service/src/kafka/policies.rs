//! Which topics compaction runs on: asked when a topic is first seen, and again from time to time, since operators change
//! it. Pure but for the monotonic clock that callers pass.
//!
//! Whose configuration we may not see (`DESCRIBE_CONFIGS`) is unknown, and treated as not compacted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The topic's key that says so.
pub const KEY: &str = "cleanup.policy";
/// After which a topic is asked for again.
const STALE: Duration = Duration::from_secs(60);
/// Topics in one question.
pub const AT_ONCE: usize = 500;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Policies {
    known: BTreeMap<String, (Instant, Option<bool>)>,
}

impl Policies {
    /// Forgets topics that are gone, and says which are to be asked for: those never asked for first.
    pub fn due<'a>(&mut self, topics: impl Iterator<Item = &'a str>, now: Instant) -> Vec<&'a str> {
        let topics: Vec<&str> = topics.collect();
        self.known.retain(|topic, _| topics.binary_search(&topic.as_str()).is_ok());
        let new = topics.iter().filter(|topic| !self.known.contains_key(**topic));
        let mut due: Vec<&str> = new.copied().collect();
        if due.is_empty() {
            let stale = |topic: &&&str| {
                self.known.get(**topic).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= STALE)
            };
            due = topics.iter().filter(stale).copied().collect();
            due.truncate(AT_ONCE);
        }
        due
    }

    /// What was answered to a question for `asked`; returns the topics whose policy is unknown and was not before.
    pub fn answered(&mut self, asked: &[&str], answers: &BTreeMap<String, String>, now: Instant) -> Vec<String> {
        let mut unknown = Vec::new();
        for topic in asked {
            let compacted = answers.get(*topic).map(|policy| is_compacted(policy));
            let before = self.known.insert((*topic).to_owned(), (now, compacted));
            if compacted.is_none() && before.is_none_or(|(_, known)| known.is_some()) {
                unknown.push((*topic).to_owned());
            }
        }
        unknown
    }

    /// Topics that are compacted.
    pub fn compacted(&self) -> impl Iterator<Item = &str> {
        self.known.iter().filter(|(_, (_, compacted))| *compacted == Some(true)).map(|(topic, _)| topic.as_str())
    }
}

/// `compact`, `delete`, or both.
fn is_compacted(policy: &str) -> bool {
    policy.split(',').any(|word| word.trim() == "compact")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_topics_are_asked_for_at_once_and_known_ones_now_and_then() {
        let begun = Instant::now();
        let mut p = Policies::default();
        assert_eq!(p.due(["a", "b"].into_iter(), begun), ["a", "b"]);
        let answers = BTreeMap::from([("a".to_owned(), "delete,compact".to_owned())]);
        assert_eq!(p.answered(&["a", "b"], &answers, begun), ["b"], "b's is not told");
        assert_eq!(p.compacted().collect::<Vec<_>>(), ["a"]);
        assert!(p.due(["a", "b"].into_iter(), begun + STALE / 2).is_empty());
        assert_eq!(p.due(["a", "b", "c"].into_iter(), begun + STALE), ["c"], "the new one is not held up");
        p.answered(&["c"], &BTreeMap::from([("c".to_owned(), "delete".to_owned())]), begun + STALE);
        assert_eq!(p.due(["a", "b", "c"].into_iter(), begun + STALE), ["a", "b"]);
        assert!(p.answered(&["b"], &BTreeMap::new(), begun + STALE).is_empty(), "it is said once");
        assert!(p.due(std::iter::empty(), begun).is_empty());
        assert_eq!(p.compacted().count(), 0, "topics that are gone are forgotten");
    }
}
