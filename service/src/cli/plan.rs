//! `chaperone plan`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chaperone_audit::SystemClock;
use chaperone_collector::{Stage, StageKind, TopicPattern};
use clap::Args;

use super::print;
use crate::config::{Cluster, Config, Isolation, System};
use crate::exit::{Code, Failure};
use crate::kafka::wanted::{Called, Wanted};
use crate::plan::estimate::estimate;
use crate::plan::observe::{Target, Watched};

/// What the cluster of `--bootstrap` is called.
const NAME: &str = "cluster";

/// Estimates what auditing topics would cost: messages and bytes a second, cores, audit records, rows and GB a day, and
/// the window width. Looks at offsets twice and reads a bounded sample; creates nothing and joins no group.
#[derive(Debug, Args)]
pub struct Plan {
    /// Brokers to ask first.
    #[arg(long, value_name = "HOST:PORT,…", required_unless_present = "config", conflicts_with = "config")]
    bootstrap: Option<String>,
    /// A librdkafka property for --bootstrap, again for each: security, timeouts. Its value may be `@file:/path` or
    /// have `${NAME}` in it.
    #[arg(long = "property", value_name = "KEY=VALUE", requires = "bootstrap")]
    properties: Vec<String>,
    /// Takes clusters, topics and pipelines from a configuration file instead.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Topics: names, or regular expressions that begin with ^ and match the whole name. Default: all, or those of the
    /// configuration's taps. Internal topics are never counted.
    #[arg(long, value_name = "TOPIC", num_args = 1..)]
    topics: Vec<String>,
    /// How long to look, 1 to 3600 seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Stages that a topic runs through, this cluster included, where no pipeline of a configuration says so; 1 to 20.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    stages: u32,
    /// Linked processes at each stage that is not a tap; 0 to 100000.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    hosts: u32,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.config()?;
        let in_own_words = |failure: Failure| if self.config.is_some() { failure } else { own_words(&failure) };
        let watched: Result<Vec<Watched<'_>>, Failure> =
            self.targets(&config)?.into_iter().map(Watched::begin).collect();
        let watched = watched.map_err(in_own_words)?;
        let (topics, partitions) =
            watched.iter().map(Watched::size).fold((0, 0), |(t, p), (topics, partitions)| (t + topics, p + partitions));
        eprintln!("chaperone: looking at {topics} topics with {partitions} partitions for {} s", self.seconds);
        let until = Instant::now() + Duration::from_secs(self.seconds);
        while Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        let stages = |topic: &str| self.stages_of(&config, topic);
        let mut seen = Vec::new();
        for cluster in watched {
            seen.extend(cluster.end(&config.rules, &SystemClock, stages).map_err(in_own_words)?);
        }
        let estimate = estimate(&seen, self.hosts);
        if self.json {
            let text = serde_json::to_string(&estimate);
            return print(&text.map_err(|e| Failure::new(Code::Software, format!("cannot write the estimate: {e}")))?);
        }
        print(crate::plan::print::text(&estimate, self.seconds, self.hosts).trim_end())
    }

    /// The file, or what the flags say as one.
    fn config(&self) -> Result<Config, Failure> {
        if let Some(path) = &self.config {
            return Ok(Config::load(path, &System)?);
        }
        let mut properties = toml::Table::new();
        for property in &self.properties {
            let Some((key, value)) = property.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                // What follows may be a secret.
                return Err(Failure::new(
                    Code::Usage,
                    "--property: write KEY=VALUE, for example security.protocol=ssl",
                ));
            };
            properties.insert(key.to_owned(), value.into());
        }
        let topics: Vec<toml::Value> = self.patterns().into_iter().map(toml::Value::from).collect();
        let table = toml::toml! {
            data_dir = "."
            [kafka.cluster]
            [kafka.cluster.tap]
            start = "end"
        };
        let mut table = table;
        if let Some(cluster) =
            table.get_mut("kafka").and_then(|kafka| kafka.get_mut(NAME)).and_then(|c| c.as_table_mut())
        {
            cluster.insert("bootstrap_servers".to_owned(), self.bootstrap.clone().unwrap_or_default().into());
            cluster.insert("properties".to_owned(), properties.into());
            if let Some(tap) = cluster.get_mut("tap").and_then(|tap| tap.as_table_mut()) {
                tap.insert("topics".to_owned(), topics.into());
            }
        }
        Config::parse(&table.to_string(), &System).map_err(|e| own_words(&e.into()))
    }

    /// What was asked for; everything if nothing was.
    fn patterns(&self) -> Vec<String> {
        if self.topics.is_empty() { vec!["^.*".to_owned()] } else { self.topics.clone() }
    }

    fn targets<'a>(&self, config: &'a Config) -> Result<Vec<Target<'a>>, Failure> {
        let own = || config.clusters.iter().filter_map(|c| Some(c.audit.as_ref()?.topic.clone())).collect();
        let asked: Result<Vec<TopicPattern>, Failure> = self
            .topics
            .iter()
            .map(|text| {
                TopicPattern::parse(text).map_err(|e| {
                    let text = e.to_string();
                    let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    Failure::new(Code::Usage, format!("--topics: cannot read the regular expression: {why}"))
                })
            })
            .collect();
        let asked = asked?;
        let target = |cluster: &'a Cluster| {
            let tap = cluster.tap.as_ref()?;
            let mut wanted = Wanted::of_tap(tap, own());
            if !asked.is_empty() {
                (wanted.topics, wanted.called) = (asked.clone(), Called::ByKafka);
            }
            Some(Target { cluster, wanted, isolation: tap.isolation })
        };
        let tapped: Vec<Target<'a>> = config.clusters.iter().filter_map(target).collect();
        if !tapped.is_empty() {
            return Ok(tapped);
        }
        if asked.is_empty() {
            let text = "no cluster has a [kafka.NAME.tap] table; write one, or say which --topics";
            return Err(Failure::new(Code::Configuration, text));
        }
        let wanted = || Wanted { topics: asked.clone(), own: own(), ..Wanted::default() };
        let every = |cluster| Target { cluster, wanted: wanted(), isolation: Isolation::default() };
        Ok(config.clusters.iter().map(every).collect())
    }

    /// How many stages a topic runs through, and how many of those are taps.
    fn stages_of(&self, config: &Config, topic: &str) -> (u32, u32) {
        let taps = config.clusters.iter().filter_map(|cluster| cluster.tap.as_ref());
        let mut called = taps.filter_map(|tap| tap.names.audited(topic).ok());
        let Some(pipeline) = called.find_map(|name| config.pipelines.of(&name)) else {
            return (self.stages, 1);
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let reported = |of: &dyn Fn(&Stage) -> bool| {
            pipeline.stages.iter().filter(|stage| of(stage)).map(|stage| stage.reported().len()).sum::<usize>()
        };
        let taps = reported(&|stage| stage.kind == StageKind::Kafka);
        (count(reported(&|_| true)), count(taps).max(1))
    }
}

/// Paths of a file that nobody wrote, as the flags that were written. A flag that cannot be used is bad usage.
fn own_words(failure: &Failure) -> Failure {
    let message = failure
        .message
        .replace("kafka.cluster.bootstrap_servers", "--bootstrap")
        .replace("kafka.cluster.properties.", "--property ")
        .replace("kafka.cluster.properties", "--property")
        .replace("kafka.cluster.tap.topics", "--topics")
        .replace("kafka.cluster: ", "");
    let code = if failure.code == Code::Configuration { Code::Usage } else { failure.code };
    Failure::new(code, message)
}
