//! What a topic is called: by Kafka at one stage, and by the pipeline everywhere. The one place that maps one to the
//! other. Pure.
//!
//! Kafka's name is what clients, ACLs and problems speak of; the *audited* name is what claims, intervals, marks, windows
//! and pages speak of. A topic whose audited name is not certain is not counted: partition numbers of two topics would
//! mix, and nobody could tell them apart afterwards.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chaperone_collector::TopicPattern;

use crate::config::check::{is_topic_name, regex_words};

/// One rule: topics that it matches have another name in the pipelines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    from: TopicPattern,
    to: Vec<Part>,
}

/// A piece of the name that a rule makes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The name or expression that it matches.
    From(String),
    /// What it makes of it.
    To(String),
}

impl Rename {
    /// Reads a rule. `from` is a topic's name, or a regular expression that begins with `^` and matches the whole name;
    /// `to` is the audited name, in which `$1`, `${1}` and `${name}` are what a group of `from` matched.
    ///
    /// # Errors
    /// An expression that does not compile; a `to` that can only give what is no topic's name.
    pub fn parse(from: &str, to: &str) -> Result<Self, Wrong> {
        if !from.starts_with('^') && !is_topic_name(from) {
            let why = format!("'{from}' is no topic name; a regular expression begins with ^");
            return Err(Wrong::From(why));
        }
        let from = TopicPattern::parse(from).map_err(|e| Wrong::From(regex_words(&e)))?;
        let to = parts(&from, to).map_err(Wrong::To)?;
        // What is illegal with the shortest groups is illegal for every topic; what depends on the topic is told when it
        // is seen.
        let mut shortest: String = to.iter().map(Part::text).collect();
        if ["", ".", ".."].contains(&shortest.as_str()) && to.iter().any(|part| matches!(part, Part::Group(_))) {
            shortest.push('x');
        }
        if !is_topic_name(&shortest) {
            return Err(Wrong::To(format!("gives no topic name; {NAME_RULE}")));
        }
        Ok(Self { from, to })
    }

    fn apply(&self, kafka: &str) -> Option<String> {
        let captures = match &self.from {
            TopicPattern::Name(name) if name == kafka => None,
            TopicPattern::Name(_) => return None,
            TopicPattern::Regex(r) => Some(r.captures(kafka)?),
        };
        let group = |i: usize| captures.as_ref().and_then(|c| c.get(i)).map_or("", |m| m.as_str());
        Some(self.to.iter().map(|part| if let Part::Group(i) = part { group(*i) } else { part.text() }).collect())
    }
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Group(_) => "",
        }
    }
}

/// Kafka's rule, for people.
pub const NAME_RULE: &str = "a topic's name has 1 to 249 characters of A-Z a-z 0-9 . _ -";

/// The pieces of `to`; groups that `from` does not have are refused, since they would silently be empty.
fn parts(from: &TopicPattern, to: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = to;
    while let Some((text, after)) = rest.split_once('$') {
        parts.push(Part::Text(text.to_owned()));
        let (group, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("has '${' without '}'")?,
            None => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
        };
        if group.is_empty() {
            return Err("has '$' without a group; write $1, ${1} or ${name}".to_owned());
        }
        parts.push(Part::Group(number(from, group).ok_or_else(|| format!("'from' has no group {group}"))?));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

fn number(from: &TopicPattern, group: &str) -> Option<usize> {
    let TopicPattern::Regex(regex) = from else { return None };
    let number = match group.parse::<usize>() {
        Ok(number) => number,
        Err(_) => regex.capture_names().position(|name| name == Some(group))?,
    };
    (number < regex.captures_len()).then_some(number)
}

/// The rules of one stage; the first that matches decides, and a topic that none matches keeps its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub Vec<Rename>);

impl Names {
    /// The audited name of Kafka's topic.
    ///
    /// # Errors
    /// What the rule makes of it, which is no topic's name.
    pub fn audited<'a>(&self, kafka: &'a str) -> Result<Cow<'a, str>, String> {
        match self.0.iter().find_map(|rule| rule.apply(kafka)) {
            None => Ok(Cow::Borrowed(kafka)),
            Some(name) if is_topic_name(&name) => Ok(Cow::Owned(name)),
            Some(name) => Err(name),
        }
    }

    /// Of Kafka's topics `names`, those whose audited name is not certain, each with the reason.
    pub fn unclear<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
        let mut unclear = BTreeMap::new();
        let mut by_name: BTreeMap<Cow<'_, str>, BTreeSet<&str>> = BTreeMap::new();
        for kafka in names {
            match self.audited(kafka) {
                Ok(name) => {
                    by_name.entry(name).or_default().insert(kafka);
                }
                Err(name) => {
                    let why = format!("topic '{kafka}' is renamed to '{name}', and {NAME_RULE}; it is not counted");
                    unclear.insert(kafka.to_owned(), why);
                }
            }
        }
        for (name, of) in by_name.iter().filter(|(_, of)| of.len() > 1) {
            let all: Vec<String> = of.iter().map(|kafka| format!("'{kafka}'")).collect();
            let why = format!(
                "topics {} are all called '{name}' after the stage's renames: none of them is counted, or their partitions would mix; exclude all but one, or rename them apart",
                all.join(", ")
            );
            unclear.extend(of.iter().map(|kafka| ((*kafka).to_owned(), why.clone())));
        }
        unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &[(&str, &str)]) -> Names {
        Names(rules.iter().map(|(from, to)| Rename::parse(from, to).expect("good")).collect())
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_name_decides() {
        let names = names(&[
            (r"^regional\.(.*)$", "$1"),
            ("^(?<dc>eu|us)_(.*)", "${2}.${dc}"),
            ("legacy-orders", "orders.v1"),
            ("^x-([a-z]+)", "$1_eu"),
            (r"^.*\.orders", "never"),
        ]);
        for (kafka, audited) in [
            ("regional.orders", "orders"),
            ("regional.us.orders", "us.orders"),
            ("eu_pay", "pay.eu"),
            ("legacy-orders", "orders.v1"),
            ("legacy-orders-2", "legacy-orders-2"),
            ("x-pay", "pay_eu"),
            ("my-regional.pay", "my-regional.pay"),
            ("orders", "orders"),
        ] {
            assert_eq!(names.audited(kafka).as_deref(), Ok(audited), "{kafka}");
        }
        assert_eq!(names.audited("regional."), Err(String::new()));
    }

    #[test]
    fn rules_that_cannot_give_a_topic_name_are_refused() {
        let from = |from: &str| match Rename::parse(from, "x") {
            Err(Wrong::From(why)) => why,
            other => panic!("{from}: {other:?}"),
        };
        assert!(from("^a(").contains("regular expression"), "{}", from("^a("));
        assert!(from("a b").contains("begins with ^") && from("").contains("begins with ^"));
        for (to, words) in [
            ("", "1 to 249"),
            ("..", "1 to 249"),
            ("a b$1", "1 to 249"),
            ("$2", "no group 2"),
            ("$99999999999999999999", "no group"),
            ("${dc}", "no group dc"),
            ("$x", "without a group"),
            ("a$", "without a group"),
            ("${1", "without '}'"),
            ("${}", "without a group"),
            ("/$1", "1 to 249"),
        ] {
            match Rename::parse("^r(.*)", to) {
                Err(Wrong::To(why)) => assert!(why.contains(words), "{to}: {why}"),
                other => panic!("{to}: {other:?}"),
            }
        }
        assert!(matches!(Rename::parse("orders", "$1"), Err(Wrong::To(_))), "a name has no groups");
        assert!(Rename::parse("^r(.*)", "$0").is_ok(), "the whole name");
    }

    #[test]
    fn two_topics_of_one_name_are_both_unclear_and_so_is_one_without() {
        let names = names(&[(r"^regional\.(.*)$", "$1"), ("^long(.*)", &format!("{}$1", "x".repeat(249)))]);
        let unclear = names.unclear(["orders", "pay", "regional.orders", "regional.", "long", "longer"]);
        assert_eq!(unclear.keys().collect::<Vec<_>>(), ["longer", "orders", "regional.", "regional.orders"]);
        assert!(unclear["orders"].contains("'orders', 'regional.orders' are all called 'orders'"), "{unclear:?}");
        assert_eq!(unclear["orders"], unclear["regional.orders"]);
        assert!(unclear["regional."].contains("'regional.' is renamed to ''"), "{unclear:?}");
        assert_eq!(names.unclear(["orders", "regional.pay", "pay2"]), BTreeMap::new());
    }
}
