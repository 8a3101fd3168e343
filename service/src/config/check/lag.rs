//! `[kafka.NAME.lag]`: from its shape to what is asked.

use std::ops::RangeInclusive;
use std::time::Duration;

use chaperone_collector::TopicPattern;

use super::{Mistakes, file, regex_words};
use crate::config::Lag;

const EVERY: Duration = Duration::from_secs(5);
const ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(9);

/// Checks `[kafka.NAME.lag]`; `path` is the cluster's.
pub(super) fn check(path: &str, raw: &file::Lag, tapped: bool, m: &mut Mistakes) -> Lag {
    let path = format!("{path}.lag");
    if !tapped {
        m.add(&path, "the topics are those that the tap counts, and this cluster has no [tap] table");
    }
    let every = raw.every.map_or(EVERY, |s| s.0);
    if !ALLOWED.contains(&every) {
        m.add(format!("{path}.every"), "allowed are 1s to 9s: with more, a time lag could be 10 s wrong");
    }
    let all = || vec!["^.*".to_owned()];
    let wanted = groups(&format!("{path}.groups"), &raw.groups.clone().unwrap_or_else(all), m);
    if raw.groups.as_ref().is_some_and(Vec::is_empty) {
        m.add(format!("{path}.groups"), "is empty; leave it out for all groups, or leave out the table for none");
    }
    Lag { groups: wanted, exclude: groups(&format!("{path}.exclude"), &raw.exclude, m), every }
}

/// Consumer groups may have any name.
fn groups(path: &str, texts: &[String], m: &mut Mistakes) -> Vec<TopicPattern> {
    let mut patterns = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if text.is_empty() {
            m.add(path, "is empty; name a group, or a regular expression that begins with ^");
            continue;
        }
        patterns.extend(m.take(path, TopicPattern::parse(text).map_err(|e| regex_words(&e))));
    }
    patterns
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, System};

    fn parse(lag: &str, tap: bool) -> Result<Config, String> {
        let tap = if tap { "[kafka.a.tap]\ntopics = ['t']\nstart = 'end'\n" } else { "" };
        let text = format!("data_dir = 'd'\n[kafka.a]\nbootstrap_servers = 'h:1'\n{tap}[kafka.a.lag]\n{lag}");
        Config::parse(&text, &System).map_err(|e| e.to_string())
    }

    #[test]
    fn every_mistake_names_its_key() {
        for (text, key, words) in [
            ("groups = []", "kafka.a.lag.groups: ", "is empty"),
            ("groups = ['a', '']", "kafka.a.lag.groups[1]: ", "is empty"),
            ("groups = ['^(']", "kafka.a.lag.groups[0]: ", "regular expression"),
            ("exclude = ['^(']", "kafka.a.lag.exclude[0]: ", "regular expression"),
            ("every = '10s'", "kafka.a.lag.every: ", "1s to 9s"),
            ("every = '900ms'", "kafka.a.lag.every: ", "1s to 9s"),
            ("topics = ['t']", "", "unknown key kafka.a.lag.topics"),
        ] {
            let said = parse(text, true).expect_err(text);
            assert!(said.contains(key) && said.contains(words), "{text}: {said}");
        }
        let said = parse("", false).expect_err("no tap");
        assert!(said.contains("kafka.a.lag: ") && said.contains("no [tap] table"), "{said}");
    }

    #[test]
    fn groups_have_any_name_and_all_is_the_default() {
        let lag = parse("", true).expect("good").clusters.remove(0).lag.expect("a table");
        assert!(lag.has("any group/at:all") && lag.lists() && lag.named().is_empty());
        let text = "groups = ['billing team', '^eu-.*', 'old']\nexclude = ['^eu-test.*', 'old']";
        let lag = parse(text, true).expect("good").clusters.remove(0).lag.expect("a table");
        assert!(lag.has("billing team") && lag.has("eu-1") && !lag.has("eu-test-1") && !lag.has("old"));
        assert_eq!(lag.named().into_iter().collect::<Vec<_>>(), ["billing team"]);
    }
}
