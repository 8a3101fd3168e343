//! The store on a real PostgreSQL, by TLS: a database, a configuration that names it, and what it holds.

mod away;
mod shared;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_audit::message::{Message, NoHeaders};
use chaperone_audit::recorder::Recorder;
use chaperone_tests::postgres::{PASSWORD, Server};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, Cluster, eventually, recount};

use crate::scene::{Folder, PATIENCE, Traffic, send, topics, windows};

const STAGE: &str = "kafka:main";
const ANY: &str = "127.0.0.1:0";
/// Partitions of the audit topic.
const AUDITED: f64 = 3.0;
/// Messages that a producer is told are stored and that are not.
const LOST: u64 = 3;

/// A topic, a database and a folder.
struct Place {
    cluster: &'static Cluster,
    server: Server,
    folder: Folder,
    topic: String,
    audit: String,
}

impl Place {
    fn new(name: &str) -> anyhow::Result<Self> {
        let cluster = &Bed::get()?.regional;
        let (topic, audit) = topics(cluster, name, 4)?;
        let server = Server::own(name)?;
        server.say("postgres", "CREATE DATABASE chaperone")?;
        let place = Self { cluster, server, folder: Folder::new(name)?, topic, audit };
        place.write("localhost")?;
        Ok(place)
    }

    /// Writes the configuration, with a store that is reached by this name.
    fn write(&self, host: &str) -> anyhow::Result<PathBuf> {
        self.write_with(host, &format!("ca_file = {:?}\n", self.server.ca().to_string_lossy()), PASSWORD)
    }

    fn write_with(&self, host: &str, tls: &str, password: &str) -> anyhow::Result<PathBuf> {
        let (topic, audit) = (&self.topic, &self.audit);
        self.folder.write(&format!(
            "data_dir = {data:?}\n[store]\nurl = \"postgres://chaperone@{host}:{port}/chaperone\"\n\
             password = {password:?}\n{tls}[web]\nlisten = \"{ANY}\"\n[kafka.main]\n\
             bootstrap_servers = {servers:?}\n[kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\n\
             group = \"{topic}-taps\"\n[kafka.main.audit]\ntopic = {audit:?}\n[pipeline.database]\n\
             topics = [{topic:?}]\nstages = [\"producer\", {STAGE:?}]\ncomplete = [\"producer\"]\ngrace = \"2s\"\n",
            data = self.folder.path("data").to_string_lossy(),
            port = self.server.port(),
            servers = self.cluster.bootstrap_plain(),
        ))
    }

    /// Starts a verb that listens somewhere; returns its URL too.
    fn start(&self, verb: &[&str]) -> anyhow::Result<(Program, String)> {
        let mut program = programs::chaperone(verb, &self.folder.path("chaperone.toml"))?;
        let url = programs::listening(&mut program)?;
        Ok((program, url))
    }

    /// Messages by window, as a stage counted them.
    fn counts(&self, stage: &str) -> anyhow::Result<BTreeMap<i64, u64>> {
        let sql = format!(
            "SELECT window_ms, sum(n - failed) FROM v_stage_window WHERE topic = '{}' AND stage = '{stage}' GROUP BY 1",
            self.topic
        );
        let one = |row: Vec<String>| {
            let [window, n] = row.as_slice() else { anyhow::bail!("{row:?}") };
            Ok((window.parse()?, n.parse()?))
        };
        self.server.say("chaperone", &sql)?.into_iter().map(one).collect()
    }

    fn counted(&self, stage: &str) -> u64 {
        // The store may be away.
        self.counts(stage).map_or(0, |counts| counts.values().sum())
    }

    /// Waits until a stage has counted at least so many.
    fn counts_to(&self, stage: &str, messages: u64, log: impl Fn() -> String) -> anyhow::Result<()> {
        eventually(PATIENCE, &format!("{stage} counts {messages}"), || {
            let n = self.counted(stage);
            ensure!(n >= messages, "{n} of {messages}\n{}", log());
            Ok(())
        })
    }

    /// By how much the tapped stage's counts differ from what the topic holds, over all windows.
    fn difference(&self, messages: u64) -> anyhow::Result<u64> {
        let (truth, stored) = (recount::by_window(self.cluster, &self.topic, messages)?, self.counts(STAGE)?);
        let windows: BTreeSet<&i64> = truth.keys().chain(stored.keys()).collect();
        let of = |counts: &BTreeMap<i64, u64>, w: &i64| counts.get(w).copied().unwrap_or(0);
        Ok(windows.into_iter().map(|w| of(&truth, w).abs_diff(of(&stored, w))).sum())
    }

    /// Sends while `act` is done; afterwards everything must be counted, and exactly what was lost told. Returns what `act`
    /// found, and by how much the counts differ.
    fn under_traffic<T>(
        &self,
        log: impl Fn() -> String,
        act: impl FnOnce(&Traffic, &Recorder) -> anyhow::Result<(T, String)>,
    ) -> anyhow::Result<(T, u64)> {
        let recorder = self.folder.recorder(self.cluster, &self.audit)?;
        let producer = AuditedProducer::new(&self.cluster.exact_config(), recorder.clone())?;
        let traffic = Traffic::default();
        let one = |number, time_ms| send(&producer, &self.topic, number, time_ms);
        let (found, page) = traffic.during(one, |traffic| act(traffic, &recorder)).with_context(&log)?;
        producer.flush(Duration::from_secs(60)).context("flush")?;
        let closed = recorder.close(Duration::from_secs(20));
        ensure!(closed.unsent == 0, "{closed:?}");
        let messages = traffic.sent();
        self.counts_to(STAGE, messages, &log)?;
        self.counts_to("producer", messages + LOST, &log)?;
        let (windows, missing) = self.all_judged(&page).with_context(&log)?;
        ensure!(missing == LOST, "{missing} missing instead of {LOST}\n{}", self.told(&page)?);
        let difference = self.difference(messages)?;
        println!("{messages} messages, {windows} windows, {missing} missing, difference {difference}");
        Ok((found, difference))
    }

    /// What is said of windows that lack something, by what both stages counted, for somebody who has to find out why.
    fn told(&self, url: &str) -> anyhow::Result<String> {
        let (up, down, bad) = (self.counts("producer")?, self.counts(STAGE)?, windows(url, &self.topic)?);
        let of = |counts: &BTreeMap<i64, u64>, w: i64| counts.get(&w).copied().unwrap_or(0);
        let lines = bad
            .iter()
            .filter(|w| w.missing_min > 0)
            .map(|w| format!("{w:?}: now {} upstream, {} downstream", of(&up, w.window_ms), of(&down, w.window_ms)));
        let amended = self.server.say("chaperone", "SELECT * FROM v_amendment ORDER BY 1 DESC LIMIT 20")?;
        Ok(lines.chain(amended.iter().map(|row| row.join(" | "))).collect::<Vec<_>>().join("\n"))
    }

    /// Counts messages that are never sent.
    fn lose(&self, recorder: &Recorder) {
        let now_ms = chaperone_audit::Clock::now_ms(&chaperone_audit::SystemClock);
        for n in 0..LOST {
            let value = format!("lost {n}");
            let (topic, value, timestamp_ms) = (self.topic.as_str(), Some(value.as_bytes()), Some(now_ms));
            let message = Message { topic, key: None, value, headers: &NoHeaders, timestamp_ms, broker_time: false };
            recorder.attempt(&message).acked();
        }
    }

    /// Waits until every window is ok, or lacks something for certain; returns how many there are, and what they lack.
    fn all_judged(&self, url: &str) -> anyhow::Result<(usize, u64)> {
        eventually(PATIENCE, "every window is judged", || {
            let windows = windows(url, &self.topic)?;
            let bad = windows.iter().find(|w| w.verdict != "ok" && w.verdict != "missing");
            ensure!(!windows.is_empty() && bad.is_none(), "{bad:?}");
            Ok((windows.len(), windows.iter().map(|w| w.missing_min).sum()))
        })
    }
}
