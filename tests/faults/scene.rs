//! One plain cluster with a data topic and an audit topic, and a `chaperone run` over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::SystemClock;
use chaperone_audit::kafka::KafkaSink;
use chaperone_audit::recorder::{Config, Recorder};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Cluster, paths};
use tempfile::TempDir;

/// Topics and a folder of one test.
pub(crate) struct Scene<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) topic: String,
    pub(crate) audit: String,
    dir: TempDir,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(cluster: &'a Cluster, audit_configs: &[(&str, &str)]) -> anyhow::Result<Self> {
        let topic = cluster.fresh_topic("faults", 2, &[])?;
        let audit = format!("{topic}-audit");
        cluster.create_topic(&audit, 2, audit_configs)?;
        std::fs::create_dir_all(paths::target())?;
        Ok(Self { cluster, topic, audit, dir: TempDir::with_prefix_in("faults-", paths::target())? })
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("chaperone")
    }

    /// A configuration; only the stages `producer` and `kafka:main` may report.
    pub(crate) fn text(&self) -> String {
        format!(
            "data_dir = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n\
             [kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\n\
             group = \"{topic}-tap\"\n[kafka.main.audit]\ntopic = {audit:?}\nstages = [\"producer\", \"kafka:main\"]\n\
             [pipeline.faults]\ntopics = [{topic:?}]\nstages = [\"producer\", \"kafka:main\"]\n\
             complete = [\"producer\"]\ngrace = \"2s\"\n",
            data = self.data_dir().to_string_lossy(),
            servers = self.cluster.bootstrap_plain(),
            topic = self.topic,
            audit = self.audit,
        )
    }

    /// Writes the configuration file.
    pub(crate) fn write(&self, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join("chaperone.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts `chaperone run`.
    pub(crate) fn run(&self) -> anyhow::Result<(Program, String)> {
        let mut program = programs::chaperone(&["run"], &self.write(&self.text())?)?;
        let url = programs::listening(&mut program)?;
        Ok((program, url))
    }

    /// A recorder of this process, stage `producer`.
    pub(crate) fn recorder(&self) -> anyhow::Result<Recorder> {
        let sink = KafkaSink::new(&self.cluster.plain_config(), &self.audit)?;
        let config = Config {
            data_dir: Some(self.dir.path().join("recorder")),
            grace: Duration::from_secs(2),
            ..Config::new("producer", "faults")
        };
        Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
    }
}
