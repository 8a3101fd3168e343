//! One of the two clusters, as the command line names it.

use std::path::Path;

use chaperone_collector::TopicPattern;

use crate::config::check::{bootstrap_servers, owned};
use crate::config::references::{self, Lookup};
use crate::config::{Cluster, Properties};
use crate::exit::{Code, Failure};
use crate::kafka::names::{Names, Rename, Wrong};
use crate::kafka::wanted::{Called, Wanted};

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is called on the page.
    pub name: String,
    /// Brokers to ask first.
    pub servers: String,
    properties: Properties,
    /// What its topics are called on the other side.
    pub names: Names,
}

impl Side {
    /// Reads `[NAME=]HOST:PORT[,HOST:PORT…]`, the value of `flag`; `name` is for those who give none.
    ///
    /// # Errors
    /// [`Code::Usage`] with what is allowed.
    pub fn parse(flag: &str, name: &str, text: &str) -> Result<Self, Failure> {
        let (name, servers) = text.split_once('=').unwrap_or((name, text));
        let wrong = |why: String| Failure::new(Code::Usage, format!("{flag} '{text}': {why}"));
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(wrong("a cluster's name has 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned()));
        }
        let servers = bootstrap_servers(servers).map_err(wrong)?;
        Ok(Self { name: name.to_owned(), servers, properties: Properties::default(), names: Names::default() })
    }

    /// Adds the librdkafka properties of a file, `key=value` a line, `#` for remarks; values may be `@file:/path` and
    /// contain `${NAME}`.
    ///
    /// # Errors
    /// [`Code::Configuration`], naming file, line and key, never the value.
    pub fn properties_of(&mut self, flag: &str, path: &Path, lookup: &dyn Lookup) -> Result<(), Failure> {
        let wrong = |why: String| Failure::new(Code::Configuration, format!("{flag} {}{why}", path.display()));
        let text = lookup.file(path).map_err(|e| wrong(format!(": {e}")))?;
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) =
                line.split_once('=').ok_or_else(|| wrong(format!(" line {}: is not key=value", i + 1)))?;
            self.property(key.trim(), value.trim(), lookup).map_err(|why| wrong(format!(" line {}: {why}", i + 1)))?;
        }
        Ok(())
    }

    /// Adds one property, `KEY=VALUE`, the value of `flag`.
    ///
    /// # Errors
    /// [`Code::Usage`], naming the key, never the value.
    pub fn property_of(&mut self, flag: &str, text: &str, lookup: &dyn Lookup) -> Result<(), Failure> {
        let wrong = |why: String| Failure::new(Code::Usage, format!("{flag}: {why}"));
        let (key, value) = text.split_once('=').ok_or_else(|| wrong("is not KEY=VALUE".to_owned()))?;
        self.property(key.trim(), value, lookup).map_err(wrong)
    }

    /// Adds a rename, `REGEX=REPLACEMENT`, the value of `flag`.
    ///
    /// # Errors
    /// [`Code::Usage`] with what is wrong.
    pub fn rename(&mut self, flag: &str, text: &str) -> Result<(), Failure> {
        let wrong = |why: String| Failure::new(Code::Usage, format!("{flag} '{text}': {why}"));
        // No topic's name has a '=' in it.
        let (from, to) = text.rsplit_once('=').ok_or_else(|| wrong("is not REGEX=REPLACEMENT".to_owned()))?;
        let rule = Rename::parse(&format!("^{}", from.trim_start_matches('^')), to);
        self.names.0.push(rule.map_err(|e| match e {
            Wrong::From(why) => wrong(why),
            Wrong::To(why) => wrong(format!("'{to}' {why}")),
        })?);
        Ok(())
    }

    /// Which of its topics are meant by `topics`, the names on the other side.
    pub fn wanted(&self, topics: &[TopicPattern]) -> Wanted {
        Wanted { topics: topics.to_vec(), called: Called::ByPipelines, names: self.names.clone(), ..Wanted::default() }
    }

    fn property(&mut self, key: &str, value: &str, lookup: &dyn Lookup) -> Result<(), String> {
        // Files made for other tools name the brokers too; ours are on the command line.
        if let Some(instead) = owned(key).filter(|_| key != "bootstrap.servers") {
            return Err(format!("{key} is chaperone's own: {instead}"));
        }
        let value = references::resolve(value, lookup).map_err(|e| format!("{key}: {e}"))?;
        self.properties.0.insert(key.to_owned(), value);
        Ok(())
    }

    /// Its stage.
    pub fn stage(&self) -> String {
        format!("kafka:{}", self.name)
    }

    /// The same as in a configuration.
    pub fn cluster(&self) -> Cluster {
        Cluster {
            lag: None,
            name: self.name.clone(),
            bootstrap_servers: self.servers.clone(),
            datacenter: String::new(),
            properties: self.properties.clone(),
            tap: None,
            audit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct World(BTreeMap<&'static str, &'static str>);

    impl Lookup for World {
        fn env(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|v| (*v).to_owned())
        }
        fn file(&self, path: &Path) -> std::io::Result<String> {
            self.env(&path.to_string_lossy()).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        }
    }

    #[test]
    fn a_name_is_optional_and_brokers_are_checked() {
        let side = Side::parse("--from", "from", "a:9092,b:9093").expect("good");
        assert_eq!(
            (side.name.as_str(), side.servers.as_str(), side.stage().as_str()),
            ("from", "a:9092,b:9093", "kafka:from")
        );
        assert_eq!(Side::parse("--from", "from", "sjc=a:9092").expect("good").name, "sjc");
        for (text, why) in
            [("a", "is not host:port"), ("=a:1", "1 to 64 characters"), ("", "is empty"), ("x y=a:1", "1 to 64")]
        {
            let failure = Side::parse("--to", "to", text).expect_err(text);
            assert!(failure.code == Code::Usage && failure.message.contains(why), "{failure}");
        }
    }

    #[test]
    fn a_rename_speaks_of_whole_names_and_mistakes_are_told() {
        let mut side = Side::parse("--to", "to", "a:1").expect("good");
        side.rename("--to-rename", r"regional\.(.*)=$1").expect("good");
        assert_eq!(side.names.audited("regional.orders").as_deref(), Ok("orders"));
        assert_eq!(side.names.audited("my-regional.orders").as_deref(), Ok("my-regional.orders"));
        let wanted = side.wanted(&[TopicPattern::parse("^orders.*").expect("good")]);
        assert!(wanted.has("regional.orders-eu") && wanted.has("orders") && !wanted.has("regional.pay"));
        for (text, words) in
            [("regional", "is not REGEX=REPLACEMENT"), ("r(=x", "regular expression"), ("r.*=$1", "no group 1")]
        {
            let failure = side.rename("--to-rename", text).expect_err(text);
            assert!(failure.code == Code::Usage && failure.message.contains(words), "{failure}");
        }
    }

    #[test]
    fn properties_come_from_files_like_other_tools_and_no_message_shows_a_value() {
        let file = "# mine\nbootstrap.servers=x:1\nsecurity.protocol = SASL_SSL\n\nsasl.password=${PASSWORD}\n";
        let world = World(BTreeMap::from([
            ("/c", file),
            ("PASSWORD", "hidden"),
            ("/bad", "group.id=secret\n"),
            ("/no", "sasl.password"),
        ]));
        let mut side = Side::parse("--from", "from", "a:9092").expect("good");
        side.properties_of("--from-config", Path::new("/c"), &world).expect("good");
        let cluster = side.cluster();
        assert_eq!(cluster.bootstrap_servers, "a:9092");
        assert_eq!(cluster.properties.0.get("sasl.password").map(String::as_str), Some("hidden"));
        assert!(!format!("{side:?}").contains("hidden"));
        for (path, why) in [
            ("/bad", "line 1: group.id is chaperone's own"),
            ("/no", "line 1: is not key=value"),
            ("/gone", "not found"),
        ] {
            let failure = side.properties_of("--from-config", Path::new(path), &world).expect_err(path);
            assert!(failure.message.contains(why) && failure.code == Code::Configuration, "{failure}");
            assert!(!failure.message.contains("secret"));
        }
        let failure = side.property_of("--to-property", "sasl.password=${NOT_SET}", &world).expect_err("unset");
        assert!(failure.code == Code::Usage && failure.message.contains("NOT_SET"), "{failure}");
    }
}
