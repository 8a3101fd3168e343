//! Which topic has which rule: the first pattern that matches decides, all other topics have the default rule.
//!
//! What a topic's patterns came to is remembered per thread, so that a message costs a hash of its topic's name and not a
//! regular expression. Limit: 256 topics a thread are remembered; of more, some are matched again.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::{Recipe, Rule, RuleError};
use crate::topic::TopicPattern;

/// Topics that a thread remembers, at most.
const REMEMBERED: usize = 256;

/// A recipe for the topics that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    /// The topics, by the names that all stages know them by.
    pub topics: TopicPattern,
    /// Where their time and identity are found.
    pub recipe: Recipe,
}

impl TopicRule {
    /// The default recipe for the topics of a name, or of a regular expression that begins with `^` and matches the
    /// whole name.
    ///
    /// # Errors
    /// [`RuleError::Topic`] where the regular expression cannot be read.
    pub fn new(topics: &str) -> Result<Self, RuleError> {
        let wrong = |e: regex::Error| RuleError::Topic(topics.to_owned(), e.to_string());
        Ok(Self { topics: TopicPattern::parse(topics).map_err(wrong)?, recipe: Recipe::default() })
    }
    /// The same with time and identity as rules say, for example `json:/meta/ts` in `us` and `header:x-id`.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn with(self, time: Option<&str>, unit: Option<&str>, id: Option<&str>) -> Result<Self, RuleError> {
        Ok(Self { recipe: Recipe::parse(time, unit, id)?, ..self })
    }
}

/// The rule of every topic.
#[derive(Clone)]
pub struct Rules {
    default: Rule,
    listed: Arc<[(TopicPattern, Rule)]>,
    /// Tells these rules from others in what threads remember.
    number: u64,
}

/// Equal if they give every topic the same rule as far as the patterns tell: what ends in the default says nothing.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.default == other.default && self.telling() == other.telling()
    }
}
impl Eq for Rules {}

/// Without the number, which means nothing.
impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("default", &self.default).field("listed", &self.listed).finish_non_exhaustive()
    }
}

impl Rules {
    /// The default rule for every topic.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Vec::new())
    }
    /// Recipes by topic, under the deployment's seed.
    pub fn with(seed: u64, topics: Vec<TopicRule>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let listed = topics.into_iter().map(|t| (t.topics, Rule::with(seed, t.recipe))).collect();
        Self { default: Rule::new(seed), listed, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }
    /// The seed of all of them.
    pub const fn seed(&self) -> u64 {
        self.default.seed()
    }
    /// The rule of topics that no pattern matches.
    pub const fn default_rule(&self) -> &Rule {
        &self.default
    }
    /// The rule of a topic.
    #[inline]
    pub fn of(&self, topic: &str) -> &Rule {
        if self.listed.is_empty() { &self.default } else { self.remembered(topic) }
    }

    fn telling(&self) -> &[(TopicPattern, Rule)] {
        let last = self.listed.iter().rposition(|(_, rule)| *rule != self.default);
        self.listed.get(..last.map_or(0, |at| at + 1)).unwrap_or_default()
    }

    fn first_match(&self, topic: &str) -> Option<usize> {
        self.listed.iter().position(|(pattern, _)| pattern.matches(topic))
    }

    fn remembered(&self, topic: &str) -> &Rule {
        let known = RECENT.try_with(|recent| {
            let mut recent = recent.try_borrow_mut().ok()?;
            if recent.is_empty() {
                recent.resize_with(REMEMBERED, Recent::default);
            }
            let place = usize::try_from(xxh3_64(topic.as_bytes()) % REMEMBERED as u64).ok()?;
            let recent = recent.get_mut(place)?;
            if recent.rules != self.number || recent.topic != topic {
                recent.at = self.first_match(topic);
                recent.rules = self.number;
                recent.topic.clear();
                recent.topic.push_str(topic);
            }
            Some(recent.at)
        });
        // A thread that ends has no memory any more.
        let at = known.ok().flatten().unwrap_or_else(|| self.first_match(topic));
        at.and_then(|at| self.listed.get(at)).map_or(&self.default, |(_, rule)| rule)
    }
}

/// What the patterns came to for a topic.
#[derive(Default)]
struct Recent {
    rules: u64,
    topic: String,
    at: Option<usize>,
}

thread_local! {
    static RECENT: RefCell<Vec<Recent>> = const { RefCell::new(Vec::new()) };
}
