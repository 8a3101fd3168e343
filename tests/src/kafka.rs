//! Real Apache Kafka clusters (`KRaft`) on free loopback ports, with TLS, SCRAM and ACLs.
//!
//! Each broker has two listeners: PLAINTEXT for the harness (every connection is a super user) and `SASL_SSL` for what is
//! tested (SCRAM-SHA-512; nothing is allowed that no ACL allows). Shared clusters come from [`crate::Bed::get`]; a suite
//! that stops brokers starts its own with [`Cluster::start`].

mod admin;
mod jars;
pub(crate) mod node;
pub(crate) mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use rdkafka::ClientConfig;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use admin::Acl;
pub use jars::Jars;

use crate::proxy::Proxy;
use crate::{clients, eventually, paths};
use node::{CONTROLLER_ID, Node, Ports, Role};

/// The SCRAM users of every cluster; `admin` may do everything, the others what an ACL allows.
pub const USERS: [&str; 8] = ["admin", "producer", "proxy", "replicator", "consumer", "chaperone", "watch", "nobody"];

/// A program of Apache Kafka's own, in a JVM with a heap of at most `heap`. Give it to [`crate::process::spawn`].
pub fn program(heap: &str, main: &str) -> anyhow::Result<Command> {
    Ok(node::java(heap, &Jars::installed()?.class_path(), main))
}

/// A cold JVM on a busy machine of two cores.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// The password of a SCRAM user of a test cluster.
pub fn password(user: &str) -> String {
    format!("{user}-secret")
}

/// The rack of a broker of a cluster with [racks](Spec::racks).
pub fn rack(broker: usize) -> String {
    format!("rack-{broker}")
}

/// What cluster to start.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    brokers: usize,
    users: Vec<String>,
    config: Vec<(String, String)>,
    severable: bool,
    racks: bool,
}

impl Spec {
    /// One broker with the users of [`USERS`]. The name is for folders and messages.
    pub fn new(name: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            brokers: 1,
            users: USERS.map(str::to_owned).to_vec(),
            config: Vec::new(),
            severable: false,
            racks: false,
        }
    }

    /// Several brokers; then the controller is a process of its own.
    #[must_use]
    pub fn brokers(mut self, brokers: usize) -> Spec {
        self.brokers = brokers.max(1);
        self
    }

    /// A further SCRAM user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Spec {
        self.users.push(user.to_owned());
        self
    }

    /// Clients reach the secure listeners through a [`Proxy`] each, so that [`Cluster::sever`] can take one broker out of
    /// their reach and nobody else's.
    #[must_use]
    pub fn severable(mut self) -> Spec {
        self.severable = true;
        self
    }

    /// Each broker in a rack of its own, [`rack`], and consumers who name theirs are sent to the copies there.
    #[must_use]
    pub fn racks(mut self) -> Spec {
        self.racks = true;
        self
    }

    /// A line of server.properties; the last one wins.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Spec {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// What a client needs to know of a running cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    /// For folders and messages.
    pub name: String,
    /// Bootstrap servers of the PLAINTEXT listeners.
    pub plain: String,
    /// Bootstrap servers of the `SASL_SSL` listeners; `None` on a cluster of someone else's.
    pub secure: Option<String>,
    /// The certificate authority of the `SASL_SSL` listeners.
    pub ca: Option<PathBuf>,
    /// The Kafka version in the broker's log; `None` on a cluster of someone else's.
    pub version: Option<String>,
}

/// A running cluster: one of ours, or attached to.
#[derive(Debug)]
pub struct Cluster {
    endpoints: Endpoints,
    nodes: Mutex<Vec<Node>>,
    /// By broker.
    proxies: BTreeMap<usize, Proxy>,
}

/// Starting, and the connection data.
impl Cluster {
    /// Starts a cluster and waits until both listeners answer; it stops when dropped or when this process dies.
    pub fn start(spec: &Spec) -> anyhow::Result<Cluster> {
        let jars = Jars::installed()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::try_start(spec, &jars) {
                // Somebody took a port in the moment between the choice and the start: choose again.
                Err(error) if attempts < 3 && format!("{error:#}").contains("already in use") => {}
                outcome => return outcome.with_context(|| format!("cannot start cluster {}", spec.name)),
            }
        }
    }

    fn try_start(spec: &Spec, jars: &Jars) -> anyhow::Result<Cluster> {
        let id = uuid::Uuid::now_v7();
        let dir = paths::scratch("clusters")?.join(format!("{}-{}", spec.name, id.simple()));
        std::fs::create_dir_all(&dir)?;
        let tls = tls::make(&dir)?;
        let mut nodes = Vec::new();
        for id in 1..=spec.brokers {
            let role = if spec.brokers == 1 { Role::Both } else { Role::Broker };
            nodes.push(Node::new(id, role, Ports::pick(spec.severable)?, &dir.join(format!("node-{id}")), jars));
        }
        if spec.brokers > 1 {
            nodes.push(Node::new(CONTROLLER_ID, Role::Controller, Ports::pick(false)?, &dir.join("controller"), jars));
        }
        let mut proxies = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.role != Role::Controller && spec.severable) {
            proxies.insert(node.id, Proxy::start(node.ports.shown, node.ports.secure)?);
        }
        let voter = nodes.last().context("a cluster has a node")?.ports.controller;
        let cluster_id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes());
        for node in &mut nodes {
            node.format(spec, &tls, &cluster_id, voter)?;
            node.start()?;
        }
        let bootstrap = |port: fn(&Ports) -> u16| {
            let brokers = nodes.iter().filter(|node| node.role != Role::Controller);
            brokers.map(|node| format!("127.0.0.1:{}", port(&node.ports))).collect::<Vec<_>>().join(",")
        };
        let endpoints = Endpoints {
            name: spec.name.clone(),
            plain: bootstrap(|ports| ports.plain),
            secure: Some(bootstrap(|ports| ports.shown)),
            ca: Some(tls.ca),
            version: None,
        };
        let mut cluster = Cluster { endpoints, nodes: Mutex::new(nodes), proxies };
        cluster.await_health(spec.brokers)?;
        let version = cluster.nodes()[0].version()?;
        cluster.endpoints.version = Some(version);
        Ok(cluster)
    }

    /// A cluster that somebody else runs.
    pub fn attach(endpoints: Endpoints) -> Cluster {
        Cluster { endpoints, nodes: Mutex::default(), proxies: BTreeMap::new() }
    }

    /// What a client needs to know.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Bootstrap servers for the harness: no login, everything allowed.
    pub fn bootstrap_plain(&self) -> &str {
        &self.endpoints.plain
    }

    /// Bootstrap servers for what is tested: TLS, SCRAM, ACLs.
    pub fn bootstrap_secure(&self) -> anyhow::Result<&str> {
        self.endpoints.secure.as_deref().context("this cluster has no SASL_SSL listener (CHAPERONE_TEST_BOOTSTRAP)")
    }

    /// The certificate authority's PEM file, for `ssl.ca.location`.
    pub fn ca_pem(&self) -> anyhow::Result<&Path> {
        self.endpoints.ca.as_deref().context("this cluster has no SASL_SSL listener (CHAPERONE_TEST_BOOTSTRAP)")
    }

    /// Whether the cluster has the `SASL_SSL` listener and ACLs.
    pub fn is_secure(&self) -> bool {
        self.endpoints.secure.is_some()
    }

    /// librdkafka's settings for `user` on the secure listener, as pairs for a configuration file.
    pub fn client_settings(&self, user: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("bootstrap.servers", self.bootstrap_secure()?.to_owned()),
            ("security.protocol", "sasl_ssl".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", user.to_owned()),
            ("sasl.password", password(user)),
            ("ssl.ca.location", self.ca_pem()?.display().to_string()),
        ])
    }

    /// A client on the secure listener as `user`.
    pub fn client_config(&self, user: &str) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new();
        for (key, value) in self.client_settings(user)? {
            config.set(key, value);
        }
        config.set("reconnect.backoff.max.ms", "200");
        Ok(config)
    }

    /// A client on the harness's listener.
    pub fn plain_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap_plain()).set("reconnect.backoff.max.ms", "200");
        config
    }
    /// That of a producer whose messages are stored once each, however late a busy broker acknowledges them: what such a
    /// test sends is what its topic holds.
    pub fn exact_config(&self) -> ClientConfig {
        let mut config = self.plain_config();
        config.set("enable.idempotence", "true");
        config
    }
}

/// Topics and access rules, by the helper JVM; each returns when the change is in force (on every broker only if there
/// is one broker).
impl Cluster {
    /// Creates a topic; returns when all partitions have leaders.
    pub fn create_topic(&self, name: &str, partitions: usize, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.ask("create_topic", json!({"topic": name, "partitions": partitions, "configs": configs})).map(drop)
    }

    /// Creates a topic of this test alone, `<prefix>-<random>`, and returns its name.
    pub fn fresh_topic(&self, prefix: &str, partitions: usize, configs: &[(&str, &str)]) -> anyhow::Result<String> {
        self.fresh_topic_of(prefix, partitions, None, configs)
    }

    /// The same with so many copies of each partition; `None`: as many as the cluster makes.
    pub fn fresh_topic_of(
        &self,
        prefix: &str,
        partitions: usize,
        copies: Option<usize>,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let name = format!("{prefix}-{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        let topic = json!({"topic": name, "partitions": partitions, "replication": copies, "configs": configs});
        self.ask("create_topic", topic)?;
        Ok(name)
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) -> anyhow::Result<()> {
        self.ask("delete_topic", json!({"topic": name})).map(drop)
    }

    /// Sets configuration keys of a topic.
    pub fn alter_topic(&self, name: &str, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.ask("alter_topic", json!({"topic": name, "configs": configs})).map(drop)
    }

    /// Raises the number of partitions to `total`.
    pub fn add_partitions(&self, name: &str, total: usize) -> anyhow::Result<()> {
        self.ask("add_partitions", json!({"topic": name, "total": total})).map(drop)
    }

    /// Deletes the records of a partition before an offset.
    pub fn delete_records(&self, name: &str, partition: i32, before: i64) -> anyhow::Result<()> {
        self.ask("delete_records", json!({"topic": name, "partition": partition, "before": before})).map(drop)
    }

    /// (first, next) offset of each partition, as the broker says now.
    pub fn offsets(&self, name: &str) -> anyhow::Result<Vec<(i64, i64)>> {
        Ok(serde_json::from_value(self.ask("offsets", json!({"topic": name}))?)?)
    }

    /// How many replicas of each partition are in sync.
    pub fn in_sync(&self, name: &str) -> anyhow::Result<Vec<usize>> {
        Ok(serde_json::from_value(self.ask("in_sync", json!({"topic": name}))?)?)
    }

    /// The broker that leads each partition.
    pub fn leaders(&self, topic: &str) -> anyhow::Result<Vec<usize>> {
        Ok(serde_json::from_value(self.ask("leaders", json!({"topic": topic}))?)?)
    }

    /// The broker that coordinates a consumer group.
    pub fn coordinator(&self, group: &str) -> anyhow::Result<usize> {
        Ok(serde_json::from_value(self.ask("coordinator", json!({"group": group}))?)?)
    }

    /// Adds an access rule; returns when it is in force.
    pub fn add_acl(&self, acl: &Acl) -> anyhow::Result<()> {
        self.add_acls(std::slice::from_ref(acl))
    }

    /// Adds access rules in one request.
    pub fn add_acls(&self, acls: &[Acl]) -> anyhow::Result<()> {
        self.ask("add_acls", json!({"acls": acls})).map(drop)
    }

    /// Removes an access rule; returns when it is out of force.
    pub fn remove_acl(&self, acl: &Acl) -> anyhow::Result<()> {
        self.remove_acls(std::slice::from_ref(acl))
    }

    /// Removes access rules in one request.
    pub fn remove_acls(&self, acls: &[Acl]) -> anyhow::Result<()> {
        self.ask("remove_acls", json!({"acls": acls})).map(drop)
    }

    /// The access rules in force.
    pub fn list_acls(&self) -> anyhow::Result<Vec<Acl>> {
        Ok(serde_json::from_value(self.ask("list_acls", json!({}))?)?)
    }

    /// The configuration of a broker, from the broker (`DescribeConfigs`).
    pub fn broker_config(&self, broker: usize) -> anyhow::Result<BTreeMap<String, Option<String>>> {
        let answer = self.ask("broker_config", json!({"broker": broker.to_string(), "timeout_ms": 5_000}))?;
        Ok(serde_json::from_value(answer)?)
    }

    /// The finalized feature levels (`metadata.version`, …), from the broker's answer to `ApiVersions`.
    pub fn features(&self) -> anyhow::Result<BTreeMap<String, i64>> {
        Ok(serde_json::from_value(self.ask("features", json!({"timeout_ms": 5_000}))?)?)
    }

    fn ask(&self, op: &str, arguments: serde_json::Value) -> anyhow::Result<serde_json::Value> {
        let answer = admin::ask(self.bootstrap_plain(), op, arguments);
        answer.with_context(|| format!("on cluster {}", self.endpoints.name))
    }
}

/// Faults. Only on clusters that this process started: brokers are numbered from 1.
impl Cluster {
    /// Stops a broker cleanly.
    pub fn stop_broker(&self, broker: usize) -> anyhow::Result<()> {
        self.with_broker(broker, Node::stop)
    }

    /// Kills a broker with SIGKILL.
    pub fn kill_broker(&self, broker: usize) -> anyhow::Result<()> {
        self.with_broker(broker, Node::kill)
    }

    /// Starts a stopped or killed broker on its old ports and data, and waits until the cluster is healthy.
    pub fn start_broker(&self, broker: usize) -> anyhow::Result<()> {
        self.with_broker(broker, Node::start)?;
        let running = self.nodes().iter().filter(|node| node.role != Role::Controller && node.runs()).count();
        self.await_health(running)
    }

    /// Freezes a broker (SIGSTOP): connections stay open, nothing answers.
    pub fn pause(&self, broker: usize) -> anyhow::Result<()> {
        self.with_broker(broker, |node| node.signal(Signal::STOP))
    }

    /// Lets a frozen broker go on (SIGCONT).
    pub fn resume(&self, broker: usize) -> anyhow::Result<()> {
        self.with_broker(broker, |node| node.signal(Signal::CONT))
    }

    /// Takes a broker of a [severable](Spec::severable) cluster out of the reach of clients of its secure listener: what
    /// they send arrives nowhere and nothing answers, as when packets are dropped on the way.
    pub fn sever(&self, broker: usize) -> anyhow::Result<()> {
        self.proxy(broker).map(|proxy| proxy.hold(true))
    }

    /// Undoes [`sever`](Self::sever); connections that were held break.
    pub fn mend(&self, broker: usize) -> anyhow::Result<()> {
        self.proxy(broker).map(|proxy| proxy.hold(false))
    }

    /// Bytes that a broker of a [severable](Spec::severable) cluster has given to clients of its secure listener.
    pub fn given(&self, broker: usize) -> anyhow::Result<u64> {
        self.proxy(broker).map(Proxy::given)
    }

    fn proxy(&self, broker: usize) -> anyhow::Result<&Proxy> {
        self.proxies.get(&broker).with_context(|| format!("no proxy before broker {broker}: start a severable cluster"))
    }

    /// A broker's copy of a partition: its segments are in this folder.
    pub fn log_dir(&self, broker: usize, topic: &str, partition: i32) -> anyhow::Result<PathBuf> {
        self.with_broker(broker, |node| Ok(node.data_dir().join(format!("{topic}-{partition}"))))
    }

    fn with_broker<T>(&self, broker: usize, act: impl FnOnce(&mut Node) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut nodes = self.nodes();
        let node = nodes.iter_mut().find(|node| node.id == broker);
        let name = &self.endpoints.name;
        act(node
            .with_context(|| format!("broker {broker} of cluster {name} is not ours: start a cluster of your own"))?)
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until both listeners answer with `brokers` brokers and a SCRAM login works.
    fn await_health(&self, brokers: usize) -> anyhow::Result<()> {
        let plain = self.plain_config();
        let secure = self.client_config("admin")?;
        for (listener, config) in [("PLAINTEXT", plain), ("SASL_SSL", secure)] {
            let what = format!("{listener} listener of cluster {} answers", self.endpoints.name);
            let probe = clients::Probe::new(&config)?;
            eventually(START_DEADLINE, &what, || {
                // An ended process is final: no reason to go on waiting.
                if let Err(error) = self.nodes().iter_mut().try_for_each(Node::check_alive) {
                    return Ok(Err(error));
                }
                let seen = probe.brokers(Duration::from_secs(1))?;
                anyhow::ensure!(seen >= brokers, "{seen} of {brokers} brokers");
                Ok(Ok(()))
            })??;
        }
        Ok(())
    }
}
