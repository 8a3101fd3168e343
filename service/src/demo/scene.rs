//! The stage set: two mock clusters in this process, the directories, and the configuration of a real chaperone.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tempfile::TempDir;

use super::retention::Watched;
use super::wire::{Settings, Stage};
use super::{AUDIT_TOPIC, GRACE, OBJECTIVE, Options, PARTITIONS, SILENT_AFTER, STAGES, TOPIC};
use crate::config::{Config, System};
use crate::exit::{Code, Failure};

/// Partitions of the audit topic.
const AUDIT_PARTITIONS: i32 = 2;

/// Everything that the demo needs and that is gone after it. Not to be sent to another thread: librdkafka's mock
/// clusters are bound to the one that made them.
pub struct Scene {
    regional: MockCluster<'static, DefaultProducerContext>,
    aggregate: MockCluster<'static, DefaultProducerContext>,
    work: TempDir,
    /// Of the store.
    data_dir: PathBuf,
    /// Of content identities; new for each run.
    pub identity_seed: u64,
    port: u16,
}

impl Scene {
    /// Starts the clusters, makes topics and directories.
    ///
    /// # Errors
    /// [`Code::CannotWrite`] for the directories, [`Code::Software`] for the clusters.
    pub fn build(options: &Options, identity_seed: u64) -> Result<Self, Failure> {
        let work = tempfile::Builder::new().prefix("chaperone-demo-").tempdir().map_err(|e| {
            let dir = std::env::temp_dir();
            Failure::new(Code::CannotWrite, format!("cannot make a directory in {}: {e}; set TMPDIR", dir.display()))
        })?;
        let data_dir = match &options.data_dir {
            Some(dir) => own(dir)?,
            None => work.path().join("store"),
        };
        let broken = |e: KafkaError| Failure::new(Code::Software, format!("librdkafka's mock cluster: {e}"));
        let (regional, aggregate) = (MockCluster::new(1).map_err(broken)?, MockCluster::new(1).map_err(broken)?);
        // The mock knows no CreateTopics request.
        regional.create_topic(TOPIC, PARTITIONS, 1).map_err(broken)?;
        aggregate.create_topic(TOPIC, PARTITIONS, 1).map_err(broken)?;
        regional.create_topic(AUDIT_TOPIC, AUDIT_PARTITIONS, 1).map_err(broken)?;
        Ok(Self { regional, aggregate, work, data_dir, identity_seed, port: options.port })
    }

    /// Brokers of the regional cluster, which has the audit topic as well.
    pub fn regional(&self) -> String {
        self.regional.bootstrap_servers()
    }

    /// Brokers of the aggregate cluster.
    pub fn aggregate(&self) -> String {
        self.aggregate.bootstrap_servers()
    }

    /// Topics whose retention is watched.
    pub fn watched(&self) -> Vec<Watched> {
        let regional = vec![(TOPIC, PARTITIONS), (AUDIT_TOPIC, AUDIT_PARTITIONS)];
        vec![
            Watched { brokers: self.regional(), topics: regional },
            Watched { brokers: self.aggregate(), topics: vec![(TOPIC, PARTITIONS)] },
        ]
    }

    /// Where the recorder of a stage keeps its log.
    pub fn log_dir(&self, stage: &str) -> PathBuf {
        self.work.path().join(stage)
    }

    /// What a stage process is told.
    pub fn stage(&self, stage: Stage, fault_seed: u64) -> Settings {
        let brokers = match stage {
            Stage::Proxy => self.regional(),
            Stage::Consumer => self.aggregate(),
        };
        Settings {
            stage,
            brokers,
            audit_brokers: self.regional(),
            data_dir: self.log_dir(stage.as_str()),
            identity_seed: self.identity_seed,
            fault_seed,
        }
    }

    /// The configuration: what a user would write for this pipeline.
    ///
    /// # Errors
    /// Never in practice: it is ours.
    pub fn config(&self) -> Result<Config, Failure> {
        Ok(Config::parse(&self.config_text(), &System)?)
    }

    fn config_text(&self) -> String {
        let text = |s: &str| toml::Value::String(s.to_owned()).to_string();
        let path = |p: &Path| text(&p.to_string_lossy());
        format!(
            r#"
data_dir = {data_dir}
seed = "{seed:016x}"
[web]
listen = "127.0.0.1:{port}"
[kafka.regional]
bootstrap_servers = {regional}
[kafka.regional.tap]
topics = ["{TOPIC}"]
start = "earliest"
[kafka.regional.audit]
topic = "{AUDIT_TOPIC}"
partitions = {AUDIT_PARTITIONS}
create = false
[kafka.aggregate]
bootstrap_servers = {aggregate}
[kafka.aggregate.tap]
topics = ["{TOPIC}"]
start = "earliest"
audit = "regional"
[pipeline.demo]
topics = ["{TOPIC}"]
stages = {STAGES:?}
complete = ["producer", "proxy"]
grace = "{grace}ms"
silent_after = "{silent_after}ms"
objective = "{objective}ms"
"#,
            data_dir = path(&self.data_dir),
            seed = self.identity_seed,
            port = self.port,
            regional = text(&self.regional()),
            aggregate = text(&self.aggregate()),
            grace = GRACE.as_millis(),
            silent_after = SILENT_AFTER.as_millis(),
            objective = OBJECTIVE.as_millis(),
        )
    }

    /// Ends the clusters and removes what is temporary.
    ///
    /// # Errors
    /// [`Code::CannotWrite`], naming what is left behind.
    pub fn close(self) -> Result<(), Failure> {
        let Self { regional, aggregate, work, .. } = self;
        drop((regional, aggregate));
        let dir = work.path().to_owned();
        work.close().map_err(|e| Failure::new(Code::CannotWrite, format!("cannot remove {}: {e}", dir.display())))
    }
}

/// The user's directory for the store: made if need be, and without a store of an earlier run, whose offsets mean
/// nothing to new brokers.
fn own(dir: &Path) -> Result<PathBuf, Failure> {
    let wrong = |e: std::io::Error| Failure::new(Code::CannotWrite, format!("--data-dir {}: {e}", dir.display()));
    if !dir.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(wrong)?;
    }
    let dir = dir.canonicalize().map_err(wrong)?;
    let store = dir.join("chaperone.sqlite");
    if store.exists() {
        let advice = "its offsets mean nothing to new brokers; name another directory or remove it";
        return Err(Failure::new(Code::CannotWrite, format!("{} is there already; {advice}", store.display())));
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_of_an_earlier_run_is_not_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        let fresh = dir.path().join("a/b");
        assert!(own(&fresh).expect("made").ends_with("a/b"));
        std::fs::write(fresh.join("chaperone.sqlite"), "old").expect("written");
        let failure = own(&fresh).expect_err("refused");
        assert_eq!(failure.code, Code::CannotWrite);
        assert!(failure.message.contains("chaperone.sqlite is there already"), "{failure}");
    }
}
