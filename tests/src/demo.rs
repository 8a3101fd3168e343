//! A running `chaperone demo`: its events, its directory, and what it leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tempfile::TempDir;

use crate::process::{self, Guarded};
use crate::{eventually, paths};

/// The events, to the letter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The dashboard is there.
    Ready {
        /// Its address.
        url: String,
    },
    /// A fault was injected.
    Injected {
        /// Its number.
        id: u64,
        /// What.
        kind: String,
        /// Where, from 1.
        hop: usize,
        /// Start of its window.
        window_ms: i64,
        /// How many messages it touched.
        count: u64,
    },
    /// A fault was seen.
    Caught {
        /// Its number.
        id: u64,
        /// As which verdict.
        verdict: String,
        /// How many it says.
        count: u64,
        /// From the injection to the sight.
        after_s: f64,
        /// The page that shows it.
        url: String,
    },
    /// The account of all.
    End {
        /// Faults injected.
        injected: u64,
        /// Of those seen.
        caught: u64,
        /// Verdicts that nothing explains.
        invented: u64,
        /// Hops and windows settled `ok`.
        settled_ok: u64,
    },
}

/// The built binary.
pub fn binary() -> anyhow::Result<String> {
    let path = paths::target().join("ci/chaperone");
    anyhow::ensure!(path.exists(), "{} is not built: cargo build --profile ci --workspace", path.display());
    Ok(path.to_string_lossy().into_owned())
}

/// A demo with its own temporary directory, so that what is left of it can be told from what is others'.
pub struct Demo {
    /// Its main process.
    pub process: Guarded,
    dir: TempDir,
    shared_memory: BTreeSet<PathBuf>,
    said: Arc<Mutex<Vec<String>>>,
    warned: Arc<Mutex<Vec<String>>>,
}

impl Demo {
    /// `chaperone demo --json --port 0` with these arguments.
    pub fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix_in("demo-", paths::scratch("demo")?)?;
        for folder in ["tmp", "data"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        let mut command = process::command(&binary()?);
        command.args(["demo", "--json", "--port", "0", "--data-dir"]).arg(dir.path().join("data")).args(arguments);
        command.env("TMPDIR", dir.path().join("tmp")).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shared_memory = listed(Path::new("/dev/shm"))?;
        let mut process = process::spawn(command)?;
        let child = process.child();
        let said = keep(child.stdout.take().context("no stdout")?);
        let warned = keep(child.stderr.take().context("no stderr")?);
        Ok(Self { process, dir, shared_memory, said, warned })
    }

    /// `chaperone demo --port 0` with these arguments, for who reads its output alone; and its temporary directory.
    pub fn silent(arguments: &[&str]) -> anyhow::Result<(Guarded, TempDir)> {
        let dir = TempDir::with_prefix_in("demo-", paths::scratch("demo")?)?;
        let mut command = process::command(&binary()?);
        command.args(["demo", "--port", "0"]).args(arguments).env("TMPDIR", dir.path()).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok((process::spawn(command)?, dir))
    }

    /// Where the store is.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Everything that it said so far.
    pub fn events(&self) -> anyhow::Result<Vec<Event>> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not the documented event: {line}")))
            .collect()
    }

    /// The same as text, with its warnings.
    pub fn told(&self) -> String {
        let [said, warned] =
            [&self.said, &self.warned].map(|l| l.lock().unwrap_or_else(PoisonError::into_inner).join("\n"));
        format!("{said}\n{warned}")
    }

    /// Waits for the first event that `wanted` takes. An end without it is an error at once.
    pub fn first<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Event) -> Option<T>,
    ) -> anyhow::Result<T> {
        eventually(deadline, what, || {
            let over = self.process.ended()?;
            match (self.events()?.iter().find_map(&wanted), over) {
                (Some(found), _) => Ok(Ok(found)),
                (None, Some(status)) => Ok(Err(anyhow::anyhow!("{status} before {what}:\n{}", self.told()))),
                (None, None) => anyhow::bail!("it said only:\n{}", self.told()),
            }
        })?
    }

    /// The stage processes of this demo.
    pub fn stages(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.stage_processes()?.into_iter().map(|(pid, arguments)| format!("{pid} {arguments:.80}")).collect())
    }

    /// Their numbers and arguments: this demo's directory is among them.
    fn stage_processes(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut stages = Vec::new();
        for process in fs::read_dir("/proc")?.flatten() {
            // A process may end while it is looked at.
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            if arguments.contains("demo-stage") && arguments.contains(&*self.dir.path().to_string_lossy()) {
                stages.push((process.file_name().to_string_lossy().into_owned(), arguments));
            }
        }
        Ok(stages)
    }

    /// Where the mock clusters are that its stage processes use: regional and aggregate.
    pub fn brokers(&self) -> anyhow::Result<[String; 2]> {
        let stages = self.stage_processes()?;
        let of = |stage: &str| -> anyhow::Result<String> {
            let settings =
                stages.iter().filter_map(|(_, arguments)| arguments.split_once('{')).find_map(|(_, json)| {
                    let settings: serde_json::Value = serde_json::from_str(&format!("{{{}", json.trim())).ok()?;
                    (settings["stage"] == stage).then(|| settings["brokers"].as_str().map(str::to_owned))?
                });
            settings.with_context(|| format!("no stage {stage} runs: {stages:?}"))
        };
        Ok([of("proxy")?, of("consumer")?])
    }

    /// What it left behind: processes, files but the store that it was told to keep, shared memory.
    pub fn leftovers(&self) -> anyhow::Result<Vec<String>> {
        let mut left = self.stages()?;
        let kept = self.data_dir().join("chaperone.sqlite");
        let mut files = listed(&self.dir.path().join("tmp"))?;
        files.extend(listed(&self.data_dir())?.into_iter().filter(|file| *file != kept));
        // Others may use shared memory meanwhile; ours would bear our name or librdkafka's.
        let ours = |file: &&PathBuf| ["chaperone", "rdkafka"].iter().any(|name| file.to_string_lossy().contains(name));
        files.extend(listed(Path::new("/dev/shm"))?.difference(&self.shared_memory).filter(ours).cloned());
        left.extend(files.into_iter().map(|file| file.display().to_string()));
        Ok(left)
    }
}

fn listed(dir: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) => Err(e).with_context(|| format!("cannot list {}", dir.display())),
    }
}

/// Reads a pipe to its end, so that the program never blocks on it.
fn keep(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&kept);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    kept
}
