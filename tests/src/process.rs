//! Child processes that never outlive the test process, even if that is killed with SIGKILL.
//!
//! The kernel kills a child when its parent dies (`setpriv --pdeathsig`), but by *parent* it means the thread that
//! forked, and libtest gives each test a thread of its own. So one thread, which lives as long as the process, starts
//! all children.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// A command that dies with this process. Give it to [`spawn`] only.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Starts `command` (made by [`command`]) on the one thread that starts children.
pub fn spawn(command: Command) -> anyhow::Result<Guarded> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for mut order in inbox {
                // Nobody waits for the answer any more: the child is dropped, as its parent wished.
                drop(order.answer.send(order.command.spawn()));
            }
        });
        orders
    });
    let text = format!("{command:?}");
    let (answer, outcome) = mpsc::sync_channel(1);
    spawner.send(Order { command, answer }).ok().context("the spawning thread is gone")?;
    let child = outcome.recv()?.with_context(|| format!("cannot start {text}"))?;
    Ok(Guarded(child))
}

/// A child that is killed when dropped.
#[derive(Debug)]
pub struct Guarded(Child);

impl Guarded {
    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.0), signal).with_context(|| format!("cannot signal process {}", self.id()))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end until `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(deadline)
    }

    /// Waits for the end until `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("process {} ends", self.id());
        eventually(deadline, &what, || self.ended()?.context("it still runs"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cannot kill process {}: {error:#}", self.id());
        }
    }
}

/// Kills a process and all its descendants (a hung suite: cargo, the test binary, what that started).
pub fn kill_tree(pid: u32) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Already gone is as good as killed.
        kill_process(pid, Signal::KILL).ok();
    }
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        kill_tree(child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_survives_the_thread_that_ordered_it_and_dies_with_its_guard() -> anyhow::Result<()> {
        let order = || {
            let mut sleeper = command("tail");
            sleeper.args(["-f", "/dev/null"]);
            spawn(sleeper)
        };
        let mut child = thread::spawn(order).join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
        assert!(child.ended()?.is_none(), "the child died with the thread that ordered it");
        let stat = format!("/proc/{}", child.id());
        drop(child);
        assert!(!std::path::Path::new(&stat).exists());
        Ok(())
    }
}
