//! The stage set: topics and ACLs on both clusters, configuration, the five stages.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::kafka::KafkaSink;
use chaperone_audit::recorder::{Config, Recorder, Slots};
use chaperone_audit::{SystemClock, Width};
use chaperone_tests::{Acl, Bed, Cluster, paths};
use tempfile::TempDir;

use crate::acls;

/// Identity seed of the suite's deployment.
pub(crate) const SEED: &str = "00c0ffee00c0ffee";
/// Partitions of the data topic on both clusters.
pub(crate) const PARTITIONS: i32 = 4;
/// Grace of the suite's pipelines, as the design has it for tests.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// Stages, upstream first.
pub(crate) const STAGES: [&str; 5] = ["producer", "proxy", "kafka:regional", "kafka:agg", "consumer"];

/// Everything that one test of the suite shares.
pub(crate) struct Scene {
    pub(crate) bed: &'static Bed,
    pub(crate) topic: String,
    /// Where reporters and taps write.
    pub(crate) audit: String,
    /// Where the collector reads; the same unless a relay stands between.
    pub(crate) collected: String,
    pub(crate) group: String,
    pub(crate) dir: TempDir,
    granted: Vec<(bool, Acl)>,
}

impl Scene {
    /// Fresh topics, and exactly the ACLs that docs/OPERATIONS.md lists.
    pub(crate) fn new(relayed: bool) -> anyhow::Result<Self> {
        let bed = Bed::get()?;
        let topic = bed.regional.fresh_topic("spine", PARTITIONS.unsigned_abs() as usize, &[])?;
        bed.agg.create_topic(&topic, PARTITIONS.unsigned_abs() as usize, &[])?;
        let audit = format!("{topic}-audit");
        let collected = if relayed { format!("{audit}-relayed") } else { audit.clone() };
        std::fs::create_dir_all(paths::target())?;
        let mut dir = TempDir::with_prefix_in("spine-", paths::target())?;
        // For looking at a failure: the store and the configuration stay.
        dir.disable_cleanup(std::env::var_os("CHAPERONE_TEST_KEEP").is_some());
        let mut scene = Self { bed, group: format!("{topic}-billing"), topic, audit, collected, dir, granted: vec![] };
        for role in ["producer", "proxy", "consumer", "chaperone"] {
            for (cluster, acl) in acls::of_role(&scene, role)? {
                scene.grant(cluster, acl)?;
            }
        }
        // The replicator is not ours: it gets what any copier needs.
        let topic = scene.topic.clone();
        scene.grant("regional", Acl::allow("replicator", "read", "topic", &topic))?;
        scene.grant("agg", Acl::allow("replicator", "write", "topic", &topic))?;
        Ok(scene)
    }

    /// The cluster of that name.
    pub(crate) fn cluster(&self, name: &str) -> &'static Cluster {
        if name == "agg" { &self.bed.agg } else { &self.bed.regional }
    }

    pub(crate) fn grant(&mut self, cluster: &str, acl: Acl) -> anyhow::Result<()> {
        self.cluster(cluster).add_acl(&acl)?;
        self.granted.push((cluster == "agg", acl));
        Ok(())
    }

    /// A folder of this scene.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.dir.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Where the store is.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("chaperone")
    }

    /// Writes `chaperone.toml` for the given audit topic; returns its path.
    pub(crate) fn config(&self, audit: &str) -> anyhow::Result<PathBuf> {
        let mut text = String::new();
        let data_dir = self.data_dir();
        writeln!(
            text,
            "data_dir = {:?}\nseed = \"{SEED}\"\n[web]\nlisten = \"127.0.0.1:0\"",
            data_dir.to_string_lossy()
        )?;
        for name in ["regional", "agg"] {
            let cluster = self.cluster(name);
            writeln!(text, "[kafka.{name}]\nbootstrap_servers = {:?}", cluster.bootstrap_secure()?)?;
            writeln!(text, "[kafka.{name}.properties]")?;
            for (key, value) in cluster.client_settings("chaperone")? {
                if key != "bootstrap.servers" {
                    writeln!(text, "{key:?} = {value:?}")?;
                }
            }
            writeln!(
                text,
                "[kafka.{name}.tap]\ntopics = [{:?}]\nstart = \"earliest\"\naudit = \"regional\"",
                self.topic
            )?;
            writeln!(text, "group = \"chaperone-tap\"")?;
            writeln!(text, "[kafka.{name}.lag]\ngroups = [{:?}]", self.group)?;
        }
        writeln!(text, "[kafka.regional.audit]\ntopic = {audit:?}\npartitions = 3\nreplication = 1")?;
        writeln!(text, "[pipeline.spine]\ntopics = [{:?}]\nstages = {STAGES:?}", self.topic)?;
        writeln!(text, "complete = [\"producer\", \"proxy\"]\ngrace = \"2s\"\nsilent_after = \"30s\"")?;
        let path = self.dir.path().join(format!("{audit}.toml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// A recorder of this test's own process, reporting as `user`.
    pub(crate) fn recorder(&self, stage: &str, user: &str) -> anyhow::Result<Recorder> {
        let sink = KafkaSink::new(&self.bed.regional.client_config(user)?, &self.audit)?;
        let config = Config {
            data_dir: Some(self.folder(stage)?),
            slots: Slots::Dir(self.folder(stage)?),
            seed: u64::from_str_radix(SEED, 16)?,
            width: Width::TEN_SECONDS,
            grace: GRACE,
            ..Config::new(stage, "spine")
        };
        Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for (agg, acl) in &self.granted {
            let cluster = if *agg { &self.bed.agg } else { &self.bed.regional };
            if let Err(e) = cluster.remove_acl(acl) {
                eprintln!("an ACL is left behind: {acl:?}: {e:#}");
            }
        }
    }
}

/// Where the documentation is.
pub(crate) fn operations() -> PathBuf {
    Path::new(paths::root()).join("docs/OPERATIONS.md")
}
