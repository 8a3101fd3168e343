//! Two clusters of this suite's own, because no consumer may ever have been there; `b` wants a login.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use chaperone_tests::clients::traces;
use chaperone_tests::kafka::Spec;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Acl, Cluster, eventually, paths};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

/// On both clusters.
pub(crate) const TOPICS: [&str; 2] = ["orders-eu", "orders-us"];
/// On both, and `b` puts its own time in place of the producer's: no window of it can be compared.
pub(crate) const REWRITTEN: &str = "orders-rewritten";
/// Of each topic.
pub(crate) const PARTITIONS: i32 = 3;

/// See the module's head.
pub(crate) struct Scene {
    pub(crate) from: Cluster,
    pub(crate) to: Cluster,
    dir: TempDir,
}

impl Scene {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (from, to) = thread::scope(|scope| {
            let from = scope.spawn(|| Cluster::start(&Spec::new("watch-a")));
            (from.join(), Cluster::start(&Spec::new("watch-b")))
        });
        let (from, to) = (from.ok().context("the thread that starts a cluster panicked")??, to?);
        for cluster in [&from, &to] {
            for topic in TOPICS.into_iter().chain(["others"]) {
                cluster.create_topic(topic, PARTITIONS.unsigned_abs() as usize, &[])?;
            }
        }
        from.create_topic(REWRITTEN, 1, &[])?;
        to.create_topic(REWRITTEN, 1, &[("message.timestamp.type", "LogAppendTime")])?;
        // Exactly what docs/OPERATIONS.md asks for.
        for operation in ["read", "describe"] {
            to.add_acl(&Acl::allow("watch", operation, "topic", "orders-").prefixed())?;
        }
        Ok(Self { from, to, dir: TempDir::with_prefix_in("watch-", paths::scratch("watch")?)? })
    }

    /// `chaperone watch` from `a` to `b`.
    pub(crate) fn watch(&self, arguments: &[&str]) -> anyhow::Result<Program> {
        let (from, to) = (format!("a={}", self.from.bootstrap_plain()), format!("b={}", self.to.bootstrap_secure()?));
        let config = self.properties("b.properties", &self.to.client_settings("watch")?)?;
        let mut all = vec!["--from", &from, "--to", &to, "--to-config", &config];
        all.extend(arguments);
        programs::chaperone_verb("watch", &all)
    }

    /// A configuration that taps and audits `a`.
    pub(crate) fn config(&self) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join("chaperone.toml");
        let text = format!(
            "data_dir = {:?}\n[kafka.a]\nbootstrap_servers = {:?}\n[kafka.a.tap]\ntopics = [\"^orders-.*\"]\nstart = \"end\"\n\
             [kafka.a.audit]\ntopic = \"others\"\n",
            self.dir.path().join("data").to_string_lossy(),
            self.from.bootstrap_plain()
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes a file of librdkafka properties; returns its path.
    pub(crate) fn properties(&self, name: &str, settings: &[(&str, String)]) -> anyhow::Result<String> {
        let lines: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let path = self.dir.path().join(Path::new(name));
        std::fs::write(&path, lines.concat())?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// The control: what a consumer with a group leaves behind, even one that is told its partitions by hand.
pub(crate) fn a_group_reads(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let mut config = cluster.plain_config();
    config.set("group.id", "control").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = BaseConsumer::from_config(&config)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPICS[0], 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    eventually(Duration::from_secs(60), "a consumer with a group shows", || {
        drop(consumer.poll(Duration::from_millis(200)));
        let seen = traces(cluster)?;
        anyhow::ensure!(seen.iter().any(|what| what.contains("__consumer_offsets")), "{seen:?}");
        Ok(seen)
    })
}
