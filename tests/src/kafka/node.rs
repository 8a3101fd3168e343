//! One Kafka process: its configuration, its format, its life.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::PoisonError;
use std::time::Duration;
use std::{collections::BTreeSet, sync::Mutex};

use anyhow::Context;
use rand::Rng;
use rustix::process::Signal;

use super::Spec;
use super::jars::Jars;
use super::tls::Tls;
use crate::process::{self, Guarded};

/// The controller of a cluster of several brokers is a process of its own, so that every broker may be stopped.
pub(super) const CONTROLLER_ID: usize = 100;

/// What a process does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Both,
    Broker,
    Controller,
}

/// The ports of one process; a broker keeps its ports over a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) secure: u16,
    /// Where clients are told that the secure listener is.
    pub(super) shown: u16,
    pub(super) controller: u16,
}

impl Ports {
    /// With a port of its own to show, if somebody is to stand before the secure listener.
    pub(super) fn pick(proxied: bool) -> anyhow::Result<Ports> {
        let secure = free_port()?;
        let shown = if proxied { free_port()? } else { secure };
        Ok(Ports { plain: free_port()?, secure, shown, controller: free_port()? })
    }
}

/// A free port below the range that the kernel gives to outgoing connections, so that none takes it meanwhile.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let port = rand::rng().random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && taken.insert(port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between 20000 and 32000")
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) ports: Ports,
    pub(super) role: Role,
    pub(super) dir: PathBuf,
    class_path: String,
    process: Option<Guarded>,
}

impl Node {
    pub(super) fn new(id: usize, role: Role, ports: Ports, dir: &Path, jars: &Jars) -> Node {
        Node { id, ports, role, dir: dir.to_owned(), class_path: jars.class_path(), process: None }
    }

    /// Writes the configuration and formats the data folder; `voter` is the controller's port.
    pub(super) fn format(&self, spec: &Spec, tls: &Tls, cluster_id: &str, voter: u16) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)?;
        fs::write(self.config_file(), self.config(spec, tls, voter))?;
        let mut format = self.java("256m", "kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", cluster_id, "--config"]).arg(self.config_file());
        if self.role != Role::Broker {
            format.arg("--standalone");
            for user in &spec.users {
                let password = super::password(user);
                format.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={user},password={password}]"));
            }
        }
        let log = File::create(self.dir.join("format.log"))?;
        format.stdout(log.try_clone()?).stderr(log);
        let status = process::spawn(format)?.wait(Duration::from_mins(1))?;
        anyhow::ensure!(status.success(), "cannot format node {}:\n{}", self.id, tail(&self.dir.join("format.log")));
        Ok(())
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "node {} runs already", self.id);
        let mut kafka = self.java("512m", "kafka.Kafka");
        kafka.arg(self.config_file());
        let log = File::options().create(true).append(true).open(self.log_file())?;
        kafka.stdout(log.try_clone()?).stderr(log);
        self.process = Some(process::spawn(kafka)?);
        Ok(())
    }

    /// A clean stop (SIGTERM).
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        self.take()?.terminate(Duration::from_mins(1))?;
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.take()?.kill()
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.as_ref().with_context(|| format!("node {} does not run", self.id))?.signal(signal)
    }

    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// An error with the end of its log when the process has ended on its own.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()?
        {
            anyhow::bail!("Kafka node {} ended with {status}:\n{}", self.id, tail(&self.log_file()));
        }
        Ok(())
    }

    /// The version that the broker itself gave at its start.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        let log = fs::read_to_string(self.log_file())?;
        let version = log.lines().find_map(|line| line.split_once("Kafka version: ")).map(|(_, version)| version);
        Ok(version.context("the broker's log names no Kafka version")?.trim().to_owned())
    }

    fn take(&mut self) -> anyhow::Result<Guarded> {
        self.process.take().with_context(|| format!("node {} does not run", self.id))
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("kafka.log")
    }

    fn config_file(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn java(&self, heap: &str, main: &str) -> Command {
        java(heap, &self.class_path, main)
    }

    fn config(&self, spec: &Spec, tls: &Tls, voter: u16) -> String {
        let Ports { plain, secure, shown, controller } = self.ports;
        let client_listeners = format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}");
        let advertised = format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{shown}");
        let controller_listener = format!("CONTROLLER://127.0.0.1:{controller}");
        let mut text = match self.role {
            Role::Both => format!(
                "process.roles=broker,controller\nlisteners={client_listeners},{controller_listener}\n\
                 advertised.listeners={advertised}\ninter.broker.listener.name=PLAINTEXT\n"
            ),
            Role::Broker => format!(
                "process.roles=broker\nlisteners={client_listeners}\nadvertised.listeners={advertised}\n\
                 inter.broker.listener.name=PLAINTEXT\n"
            ),
            Role::Controller => format!("process.roles=controller\nlisteners={controller_listener}\n"),
        };
        let (id, ca, server) = (self.id, tls.ca.display(), tls.server.display());
        let data = self.data_dir();
        let (data, copies) = (data.display(), spec.brokers.min(3));
        // Writing to a String cannot fail.
        writeln!(
            text,
            "node.id={id}\ncontroller.quorum.bootstrap.servers=127.0.0.1:{voter}\nlog.dirs={data}\n\
             ssl.keystore.location={server}\nssl.truststore.type=PEM\nssl.truststore.location={ca}\n\
             offsets.topic.replication.factor={copies}\ntransaction.state.log.replication.factor={copies}\n\
             share.coordinator.state.topic.replication.factor={copies}\ndefault.replication.factor={copies}\n{COMMON}"
        )
        .ok();
        if spec.racks && self.role == Role::Broker {
            let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
            writeln!(text, "broker.rack={}\nreplica.selector.class={selector}", super::rack(id)).ok();
        }
        for (key, value) in &spec.config {
            writeln!(text, "{key}={value}").ok();
        }
        text
    }
}

/// What is the same for all; small and quick, and strict about who may do what. A killed broker may register again only
/// once its old session is over, so that is short.
const COMMON: &str = "\
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS;User:admin
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.backoff.ms=500
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=5000
";

/// A JVM that dies with this process, small and quick to start; logs warnings, and the version, to standard error.
pub(super) fn java(heap: &str, class_path: &str, main: &str) -> Command {
    let mut java = process::command("java");
    java.arg(format!("-Xmx{heap}")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg("-Djava.net.preferIPv4Stack=true").arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    java.arg("-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=info");
    java.args(["-cp", class_path, main]);
    java
}

fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
