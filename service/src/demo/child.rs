//! A stage's process: started, told, killed, started again, ended.
//!
//! Invariants: at most one process of a stage lives; a new one is connected only when all that the one before said has
//! been heard. Processes have a group of their own, so that the terminal's Ctrl-C reaches the demo alone; they end by
//! themselves when the demo does, however it does, because their input ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::Event;
use super::link::Link;
use super::wire::{Order, Said, Settings, Stage};
use crate::exit::{Code, Failure};

/// From a process's death to the next one's start.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How often a process that is to end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// See the module's head.
pub struct StageProcess {
    settings: Settings,
    link: Arc<Link>,
    events: Sender<Event>,
    life: u32,
    running: Option<(Child, JoinHandle<()>)>,
    restart_at: Option<Instant>,
}

impl StageProcess {
    /// Starts it.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(settings: Settings, events: Sender<Event>) -> Result<Self, Failure> {
        let link = Arc::new(Link::default());
        let mut process = Self { settings, link, events, life: 0, running: None, restart_at: None };
        process.spawn()?;
        Ok(process)
    }

    /// The way to it.
    pub fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// Tells it something.
    pub fn order(&self, order: &Order) {
        if !self.link.order(order) {
            tracing::warn!("the demo's {} does not listen", self.settings.stage.as_str());
        }
    }

    /// SIGKILL; it is started again a little later.
    pub fn kill(&mut self) {
        let Some((child, _)) = &mut self.running else { return };
        if let Err(e) = child.kill() {
            tracing::warn!("the demo's {} cannot be killed: {e}", self.settings.stage.as_str());
        }
    }

    /// Its output has ended: it is dead.
    pub fn ended(&mut self, life: u32, now: Instant) {
        if life != self.life {
            return;
        }
        self.link.disconnect();
        self.reap();
        self.restart_at = Some(now + RESTART_AFTER);
    }

    /// Starts it again when it is time.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn tick(&mut self, now: Instant) -> Result<(), Failure> {
        if self.restart_at.is_some_and(|at| now >= at) {
            self.restart_at = None;
            self.spawn()?;
        }
        Ok(())
    }

    /// Ends it: its input ends, and what has not ended by the deadline is killed.
    pub fn stop(mut self, deadline: Instant) {
        self.link.disconnect();
        while let Some((child, _)) = &mut self.running
            && matches!(child.try_wait(), Ok(None))
            && Instant::now() < deadline
        {
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill();
        self.reap();
    }

    fn reap(&mut self) {
        let Some((mut child, reader)) = self.running.take() else { return };
        if let Err(e) = child.wait() {
            tracing::warn!("the demo's {}: {e}", self.settings.stage.as_str());
        }
        reader.join().ok();
    }

    fn spawn(&mut self) -> Result<(), Failure> {
        let wrong = |e: &dyn std::fmt::Display| {
            Failure::new(Code::Software, format!("cannot start the demo's {}: {e}", self.settings.stage.as_str()))
        };
        let argument = serde_json::to_string(&self.settings).map_err(|e| wrong(&e))?;
        let mut command = this_program().map_err(|e| wrong(&e))?;
        command.args(["demo-stage", &argument]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| wrong(&e))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(wrong(&"it has no pipes"));
        };
        self.life += 1;
        let (stage, life) = (self.settings.stage, self.life);
        let (link, events) = (Arc::clone(&self.link), self.events.clone());
        let reader = std::thread::Builder::new()
            .name(format!("demo-{}", stage.as_str()))
            .spawn(move || listen(output, stage, life, &link, &events))
            .map_err(|e| wrong(&e))?;
        self.link.connect(input);
        self.running = Some((child, reader));
        Ok(())
    }
}

/// A demo that fails half-way leaves no process behind.
impl Drop for StageProcess {
    fn drop(&mut self) {
        self.link.disconnect();
        self.kill();
        self.reap();
    }
}

/// This program, also when its file has been replaced by a newer build meanwhile.
fn this_program() -> std::io::Result<Command> {
    let running = Path::new("/proc/self/exe");
    let program = std::env::current_exe()?;
    let mut command = Command::new(if running.exists() { running } else { &program });
    command.arg0(&program);
    Ok(command)
}

fn listen(output: ChildStdout, stage: Stage, life: u32, link: &Link, events: &Sender<Event>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(said @ (Said::Taken(_) | Said::Refused(_) | Said::Doubtful(_))) => link.answered(&said),
            // A director that is gone wants to know nothing.
            Ok(said) => drop(events.send(Event::Said(stage, said))),
            Err(e) => tracing::warn!("the demo's {}: {e}", stage.as_str()),
        }
    }
    events.send(Event::Ended(stage, life)).ok();
}
