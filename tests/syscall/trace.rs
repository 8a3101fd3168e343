//! `strace`, as these tests use it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use chaperone_tests::process;

/// The calls that write, make, remove, name, lock and map.
pub(crate) const WRITES: &str = "write,pwrite64,fdatasync,fsync,fallocate,ftruncate,rename,renameat2,unlink,unlinkat,openat,mkdir,flock,mmap,madvise";

/// What a traced process left.
pub(crate) struct Traced {
    /// Of the process; 128 and the signal's number if one ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program under `strace` with these arguments of its own; the trace goes to `log`. Not with `--seccomp-bpf`, which is
/// faster: with it an injected signal is forgotten.
pub(crate) fn run(log: &Path, strace: &[&str], program: &Path, arguments: &[&str]) -> anyhow::Result<Traced> {
    let mut command = process::command("strace");
    command.args(["-f", "-qq", "-o"]).arg(log).args(strace).arg(program).args(arguments);
    finish(command)
}

/// Runs a program by itself.
pub(crate) fn plain(program: &Path, arguments: &[&str]) -> anyhow::Result<Traced> {
    let mut command = process::command(program.to_str().context("a path in UTF-8")?);
    command.args(arguments);
    finish(command)
}

fn finish(mut command: std::process::Command) -> anyhow::Result<Traced> {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(command)?;
    let (mut out, mut err) = (String::new(), String::new());
    let mut pipes = (child.child().stdout.take().context("a pipe")?, child.child().stderr.take().context("a pipe")?);
    // Neither is ever long.
    pipes.0.read_to_string(&mut out)?;
    pipes.1.read_to_string(&mut err)?;
    let status = child.wait(Duration::from_secs(60))?;
    let code = status.code().or(status.signal().map(|s| 128 + s)).context("neither code nor signal")?;
    Ok(Traced { code, out, err })
}

/// One call in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) thread: u32,
    pub(crate) name: String,
    /// Which of its name, from 1, in its thread.
    pub(crate) nth: usize,
    pub(crate) text: String,
}

/// The calls of a trace made with `-f`, in their order.
pub(crate) fn calls(log: &Path) -> anyhow::Result<Vec<Call>> {
    let mut counts = std::collections::BTreeMap::new();
    let mut calls = Vec::new();
    for line in std::fs::read_to_string(log)?.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        let Some((name, _)) = text.split_once('(') else { continue };
        // The second half of a call, a signal, an end.
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let thread: u32 = thread.parse().context("a thread's number")?;
        let nth = counts.entry((thread, name.to_owned())).or_insert(0);
        *nth += 1;
        calls.push(Call { thread, name: name.to_owned(), nth: *nth, text: text.to_owned() });
    }
    Ok(calls)
}
