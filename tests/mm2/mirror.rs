//! The real `MirrorMaker` 2 in its dedicated mode, with its default renaming, from `regional` to `agg`.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::process::{self, Guarded};
use chaperone_tests::{Bed, eventually, kafka};
use rustix::process::Signal;

/// The alias of the source cluster, which comes before the names of its topics.
pub(crate) const ALIAS: &str = "regional";
/// A cold JVM that scans its whole class path, on a busy machine of two cores.
const START_DEADLINE: Duration = Duration::from_mins(2);

/// See the module's head.
pub(crate) struct Mirror {
    properties: PathBuf,
    log: PathBuf,
    process: Option<Guarded>,
}

impl Mirror {
    /// Writes `mm2.properties`; starts nothing.
    pub(crate) fn new(bed: &Bed, topic: &str, folder: &Path) -> anyhow::Result<Self> {
        let (regional, agg) = (bed.regional.bootstrap_plain(), bed.agg.bootstrap_plain());
        let mut text = format!(
            "clusters = regional, agg\nregional.bootstrap.servers = {regional}\nagg.bootstrap.servers = {agg}\n\
             regional->agg.enabled = true\nregional->agg.topics = {topic}\nagg->regional.enabled = false\n{SETTINGS}"
        );
        // What belongs to Connect's worker is found under the target's name only.
        for target in ["regional", "agg"] {
            writeln!(text, "{target}.offset.flush.interval.ms = 1000")?;
            writeln!(text, "{target}.scheduled.rebalance.max.delay.ms = 0")?;
        }
        let properties = folder.join("mm2.properties");
        std::fs::write(&properties, text)?;
        Ok(Self { properties, log: folder.join("mm2.log"), process: None })
    }

    /// Starts it; it connects and copies by itself.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "MirrorMaker runs already");
        let mut command = kafka::program("320m", "org.apache.kafka.connect.mirror.MirrorMaker")?;
        command.arg(&self.properties);
        let log = File::options().create(true).append(true).open(&self.log)?;
        command.stdout(log.try_clone()?).stderr(log);
        self.process = Some(process::spawn(command)?);
        Ok(())
    }

    /// Waits until `done`, which only a running `MirrorMaker` can bring about.
    pub(crate) fn until<T>(&mut self, what: &str, mut done: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let process = self.process.as_mut().context("MirrorMaker does not run")?;
        eventually(START_DEADLINE, what, || match process.ended()? {
            // An ended process is final: no reason to go on waiting.
            Some(status) => Ok(Err(anyhow::anyhow!("MirrorMaker ended with {status}"))),
            None => done().map(Ok),
        })
        .and_then(|done| done)
        .with_context(|| format!("the end of MirrorMaker's log:\n{}", tail(&self.log)))
    }

    /// SIGSTOP: connections stay open, nothing is copied.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("MirrorMaker does not run")?.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("MirrorMaker does not run")?.signal(Signal::CONT)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("MirrorMaker does not run")?.kill()
    }
}

/// Short intervals; one replica, since the bed's clusters have one broker; the bed's ACLs are not its business.
const SETTINGS: &str = "\
replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
refresh.topics.interval.seconds = 2
refresh.groups.interval.seconds = 5
emit.heartbeats.interval.seconds = 1
emit.checkpoints.interval.seconds = 2
sync.topic.acls.enabled = false
tasks.max = 1
";

fn tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
