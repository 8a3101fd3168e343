//! Which topics are meant: a name, or a regular expression that begins with `^`. The same notation everywhere.

use regex::Regex;

/// A topic name or a pattern.
#[derive(Debug, Clone)]
pub enum TopicPattern {
    /// Exactly this topic.
    Name(String),
    /// Every topic that this matches as a whole.
    Regex(Regex),
}

/// Patterns are equal if they are written the same.
impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}
impl Eq for TopicPattern {}

impl TopicPattern {
    /// Reads a pattern: a leading `^` makes it a regular expression.
    ///
    /// # Errors
    /// When the regular expression cannot be read; the message shows where.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        if text.starts_with('^') {
            let whole = format!("^(?:{})$", text.trim_start_matches('^').trim_end_matches('$'));
            return Regex::new(&whole).map(Self::Regex);
        }
        Ok(Self::Name(text.to_owned()))
    }
    /// Whether it names `topic`.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Regex(r) => r.is_match(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_matches_the_whole_name_and_a_name_only_itself() {
        let p = TopicPattern::parse("^orders-.*").expect("regex");
        assert!(p.matches("orders-eu") && !p.matches("my-orders-eu"));
        let p = TopicPattern::parse("^a|b").expect("regex");
        assert!(p.matches("a") && p.matches("b") && !p.matches("ab"));
        assert!(!TopicPattern::parse("orders.eu").expect("name").matches("ordersXeu"));
    }
}
