//! A process that counts, its host's agent, Kafka (librdkafka's mock cluster) and a store: process and agent are killed
//! with SIGKILL amid traffic, and what comes to the store is what was counted.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chaperone::config::{Config, System};
use common::{AUDIT, Bed, cluster, eventually};

const STAGE: &str = "inspect-count";
const THREADS: u64 = 2;

/// A process that is killed at the end at the latest.
struct Killed(Child);

impl Killed {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
        let command = command.args(arguments).env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().expect("spawn"))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

/// The directories and the configuration of one host.
struct Host {
    dir: tempfile::TempDir,
    file: PathBuf,
    config: Config,
}

impl Host {
    fn new(bootstrap: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let text = format!(
            "data_dir = 'unused'
[kafka.k]
bootstrap_servers = '{bootstrap}'
[kafka.k.audit]
topic = '{AUDIT}'
[pipeline.all]
topics = ['orders']
stages = ['{STAGE}', 'consumer']
"
        );
        let file = dir.path().join("chaperone.toml");
        std::fs::write(&file, &text).expect("written");
        Self { dir, file, config: Config::parse(&text, &System).expect("configuration") }
    }
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }
    fn agent(&self) -> Killed {
        let config = self.file.to_string_lossy();
        let listen = ["--listen", "127.0.0.1:0"];
        Killed::start(
            &[&["recover", "--watch", &self.path("host"), "--config", &config, "--every", "1"], &listen[..]].concat(),
        )
    }
    /// A process that counts until it is killed, and how many messages it has told of.
    fn counts(&self) -> (Killed, Arc<AtomicU64>) {
        let (app, host) = (self.path("host/app"), self.path("host"));
        let mut process =
            Killed::start(&["inspect", "count", "--dir", &app, "--agent", &host, "--threads", &THREADS.to_string()]);
        let told = Arc::new(AtomicU64::new(0));
        let (mut out, sum) = (process.0.stdout.take().expect("stdout"), Arc::clone(&told));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Some(n) = out.read(&mut bytes).ok().filter(|n| *n > 0) {
                sum.fetch_add(n as u64, Ordering::SeqCst);
            }
        });
        (process, told)
    }
    /// `chaperone recover --dir … --json`: its answer and exit code.
    fn recover(&self, more: &[&str]) -> (serde_json::Value, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
        let command = command.args(["recover", "--json", "--dir", &self.path("host/app")]).args(more);
        let output = command.output().expect("ran");
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code())
    }
}

fn told(told: &AtomicU64, more_than: u64) {
    eventually("messages", || match told.load(Ordering::SeqCst) {
        n if n > more_than => Ok(()),
        n => Err(format!("{n} told")),
    });
}

fn stored(bed: &Bed, n: u64) {
    eventually("the store has all", || {
        let stored = bed.counted(STAGE).0;
        assert!(stored <= n, "{stored} stored, {n} counted");
        if stored == n { Ok(()) } else { Err(format!("{stored} of {n}; {:?}", bed.wrong())) }
    });
}

#[test]
fn process_and_agent_are_killed_amid_traffic_and_every_message_is_counted_once() {
    let kafka = cluster(1);
    let host = Host::new(&kafka.bootstrap_servers());
    let bed = Bed::new();
    let intake = bed.intake(&host.config);
    let agent = host.agent();
    let (first, first_told) = host.counts();
    eventually("counts of a living process come through", || {
        if bed.counted(STAGE).0 > 0 { Ok(()) } else { Err(format!("{:?}", bed.wrong())) }
    });
    drop(agent);
    // The process counts on without an agent, dies, and so does its successor.
    told(&first_told, first_told.load(Ordering::SeqCst) + 5_000);
    drop(first);
    let (second, second_told) = host.counts();
    told(&second_told, 5_000);
    drop(second);
    let (left, code) = host.recover(&[]);
    let n = left["n"].as_u64().expect("a number");
    let known = first_told.load(Ordering::SeqCst) + second_told.load(Ordering::SeqCst);
    assert!(code == Some(0) && (known..=known + 2 * THREADS).contains(&n), "{known} told, {left}");
    assert!(bed.counted(STAGE).0 < n, "the control: without the agent the counts stay where they are");
    // One that hardly begins, and one that lives.
    drop(host.agent());
    let agent = host.agent();
    stored(&bed, n);
    eventually("nothing is left", || match host.recover(&[]).0 {
        left if left["n"] == 0 => Ok(()),
        left => Err(left.to_string()),
    });
    drop(agent);
    one_directory(&host, &bed, n);
    assert!(bed.wrong().is_empty(), "{:?}", bed.wrong());
    Bed::stop(Vec::new(), vec![intake]);
}

/// `recover --dir --config` does the same once, and says when Kafka does not answer.
fn one_directory(host: &Host, bed: &Bed, before: u64) {
    let (third, third_told) = host.counts();
    told(&third_told, 1_000);
    drop(third);
    let left = host.recover(&[]).0["n"].as_u64().expect("a number");
    let nobody = host.dir.path().join("nobody.toml");
    let text = std::fs::read_to_string(&host.file).expect("read");
    let kafka = text.lines().find(|l| l.starts_with("bootstrap_servers")).expect("a line");
    std::fs::write(&nobody, text.replace(kafka, "bootstrap_servers = '127.0.0.1:1'")).expect("written");
    let with = |file: &Path, more: &[&str]| host.recover(&[&["--config", &file.to_string_lossy()], more].concat());
    let (said, code) = with(&nobody, &["--patience", "1"]);
    assert_eq!((said["n"].as_u64(), said["sent"].as_u64(), code), (Some(left), Some(0), Some(69)));
    let (said, code) = with(&host.file, &[]);
    assert_eq!((said["n"].as_u64(), code), (Some(left), Some(0)), "{said}");
    assert!(said["sent"].as_u64() > Some(0));
    stored(bed, before + left);
    assert_eq!(host.recover(&[]).0["n"], 0);
}

#[test]
fn an_agent_says_what_it_cannot_use_and_ends_at_a_signal() {
    let host = Host::new("127.0.0.1:1");
    let file = host.file.to_string_lossy().into_owned();
    let ends = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
        let output = command.arg("recover").args(arguments).output().expect("ran");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(ends(&["--watch", &host.path("host")]).0, Some(64), "where to?");
    assert_eq!(ends(&["--watch", &file, "--config", &file]).0, Some(73), "no directory");
    let (code, words) = ends(&["--watch", &host.path("host"), "--config", &file, "--audit", "x"]);
    assert!(code == Some(64) && words.contains("clusters with an audit topic: k"), "{code:?} {words}");
    let mut agent = host.agent();
    let mut said = String::new();
    BufReader::new(agent.0.stdout.take().expect("stdout")).read_line(&mut said).expect("a line");
    let (_, url) = said.trim().rsplit_once("listening on ").expect("an address");
    let get = |path: &str| ureq::get(format!("{url}{path}")).call().expect("an answer").body_mut().read_to_string();
    assert_eq!(get("/readyz").expect("text"), "ready\n");
    let metrics = get("/metrics").expect("text");
    assert!(metrics.contains("chaperone_agent_connections 0") && metrics.contains("role=\"agent\""), "{metrics}");
    let (code, words) = ends(&["--watch", &host.path("host"), "--config", &file]);
    assert!(code == Some(73) && words.contains("another agent"), "{code:?} {words}");
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    eventually("it ends and takes its socket away", || {
        let there = Path::new(&host.path("host/agent.sock")).exists();
        if there { Err("it is there".to_owned()) } else { Ok(()) }
    });
}
