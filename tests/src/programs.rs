//! The programs under test: the built `chaperone` and the library's examples, with their output kept.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::{self, Guarded};
use crate::{Cluster, eventually, paths};
use anyhow::Context;

/// A running program and everything that it printed.
pub struct Program {
    /// The process, killed when dropped.
    pub process: Guarded,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    fn start(path: &Path, arguments: &[&str], environment: &[(String, String)]) -> anyhow::Result<Self> {
        anyhow::ensure!(
            path.exists(),
            "{} is not built: cargo build --profile ci --workspace --all-targets",
            path.display()
        );
        let mut command = process::command(&path.to_string_lossy());
        command.args(arguments);
        Self::spawn(command, environment)
    }

    fn spawn(mut command: Command, environment: &[(String, String)]) -> anyhow::Result<Self> {
        command.envs(environment.iter().cloned()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = process::spawn(command)?;
        let output = Arc::new(Mutex::new(String::new()));
        let child = process.child();
        let readers = vec![
            keep(child.stdout.take().context("no stdout")?, Arc::clone(&output)),
            keep(child.stderr.take().context("no stderr")?, Arc::clone(&output)),
        ];
        Ok(Self { process, output, readers })
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that it printed, once it has ended.
    pub fn whole_output(&mut self) -> anyhow::Result<String> {
        for reader in self.readers.drain(..) {
            reader.join().ok().context("a reader panicked")?;
        }
        Ok(self.output())
    }

    /// Waits for the first line that `wanted` accepts; an ended program that printed none is an error.
    pub fn line(&mut self, what: &str, deadline: Duration, wanted: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        eventually(deadline, what, || {
            let output = self.output();
            let found = output.lines().find(|line| wanted(line)).map(str::to_owned);
            found.with_context(|| format!("printed only:\n{output}"))
        })
    }
}

/// Reads a pipe to its end, so that the program never blocks on it.
fn keep(pipe: impl Read + Send + 'static, output: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            // Writing to a String cannot fail.
            writeln!(output, "{line}").ok();
        }
    })
}

/// What cargo built, by its place below `target/ci`.
pub fn built(relative: &str) -> PathBuf {
    paths::target().join("ci").join(relative)
}

/// Librdkafka's settings for the examples: `KAFKA_<NAME>`.
pub fn example_settings(cluster: &Cluster, user: &str) -> anyhow::Result<Vec<(String, String)>> {
    let settings = cluster.client_settings(user)?;
    let name = |key: &str| format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
    let others = settings.into_iter().filter(|(key, _)| *key != "bootstrap.servers");
    let mut all: Vec<_> = others.map(|(key, value)| (name(key), value)).collect();
    all.push(("BOOTSTRAP".to_owned(), cluster.bootstrap_secure()?.to_owned()));
    Ok(all)
}

/// Starts a program that is installed on the machine.
pub fn installed(name: &str, arguments: &[&str], environment: &[(String, String)]) -> anyhow::Result<Program> {
    let mut command = process::command(name);
    command.args(arguments);
    Program::spawn(command, environment)
}

/// Starts an example of the library.
pub fn example(name: &str, environment: &[(String, String)]) -> anyhow::Result<Program> {
    Program::start(&built(&format!("examples/{name}")), &[], environment)
}

/// Starts `chaperone` with a configuration file.
pub fn chaperone(verb: &[&str], config: &Path) -> anyhow::Result<Program> {
    let config = config.to_string_lossy();
    let arguments: Vec<&str> = verb.iter().copied().chain(["--config", &config]).collect();
    Program::start(&built("chaperone"), &arguments, &[("NO_COLOR".to_owned(), "1".to_owned())])
}

/// Likewise, with a disk of its own ([`on_small_disk`]).
pub fn chaperone_on_small_disk(verb: &[&str], config: &Path, disk: &Path, size: &str) -> anyhow::Result<Program> {
    let config = config.to_string_lossy();
    let arguments: Vec<&str> = verb.iter().copied().chain(["--config", &config]).collect();
    on_small_disk(&built("chaperone"), &arguments, disk, size)
}

/// Starts a program with a disk of `size` (as `mount` writes it) of its own at `disk`, which others see below
/// `root` in its folder of `/proc`: a mount namespace, which any user may have.
pub fn on_small_disk(program: &Path, arguments: &[&str], disk: &Path, size: &str) -> anyhow::Result<Program> {
    let mut command = small_disk(disk, size);
    command.arg(program).args(arguments);
    Program::spawn(command, &[("NO_COLOR".to_owned(), "1".to_owned())])
}

/// Whether this machine allows that.
pub fn may_have_small_disk() -> anyhow::Result<()> {
    let disk = tempfile::tempdir()?;
    let output = small_disk(disk.path(), "1m").arg("true").output().context("unshare")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn small_disk(disk: &Path, size: &str) -> Command {
    let mut command = Command::new("unshare");
    // The death signal last: a change of namespaces forgets it.
    command.args(["--map-root-user", "--mount", "setpriv", "--pdeathsig", "KILL", "--", "sh", "-ec"]);
    command.arg("mount -t tmpfs -o size=\"$1\" none \"$2\"; shift 2; exec \"$@\"").arg("sh").arg(size).arg(disk);
    command
}

/// Starts a verb of `chaperone` that needs no configuration file.
pub fn chaperone_verb(verb: &str, arguments: &[&str]) -> anyhow::Result<Program> {
    let all: Vec<&str> = [verb].into_iter().chain(arguments.iter().copied()).collect();
    Program::start(&built("chaperone"), &all, &[("NO_COLOR".to_owned(), "1".to_owned())])
}

/// Waits until `chaperone run` says where it listens; returns the URL.
pub fn listening(program: &mut Program) -> anyhow::Result<String> {
    let line =
        program.line("chaperone listens", Duration::from_mins(1), |line| line.contains("listening on http://"))?;
    let (_, url) = line.split_once("listening on ").context("no URL")?;
    Ok(url.trim().to_owned())
}
