//! SIGHUP: the configuration file is read again and takes effect as a whole, or not at all.
//!
//! Order: read and check → refuse keys that need a restart → make the new taps ready → pipelines → exchange taps. Whatever
//! is refused before the pipelines leaves everything as it was; it is said in the log, as a notice (page,
//! `/readyz`, which stays 200) and to the service manager, with the key and what to do, until a later reload succeeds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chaperone_audit::Clock;
use chaperone_collector::{Pipelines, Retention};
use chrono::{DateTime, SecondsFormat, Utc};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::reload::{Change, Loaded, judge};
use crate::config::{Config, System};
use crate::door::Door;
use crate::exit::{Code, Failure};
use crate::lag::Lags;
use crate::problems::Problems;
use crate::supervisor;
use crate::taps::{Ready, Taps};

/// The key of "the last reload was refused".
const KEY: &str = "configuration";

/// What this verb cannot do without.
type Accept = Box<dyn Fn(&Config) -> Result<(), Failure> + Send>;

/// The file, what was read from it last, and the signal that asks to read it again.
pub struct Reload {
    file: PathBuf,
    loaded: Loaded,
    loaded_at: String,
    hangups: Signal,
    clock: Arc<dyn Clock>,
    accept: Accept,
}

/// The parts that a new configuration reaches.
pub struct Reached<'a> {
    /// The taps of this process.
    pub taps: &'a mut Taps,
    /// Who asks for the lag of groups; a process of taps has nobody.
    pub lags: Option<&'a mut Lags>,
    /// Whoever judges and shows; a process of taps has nobody.
    pub pipelines: Option<&'a watch::Sender<Arc<Pipelines>>>,
    /// Whoever drops rows.
    pub retention: &'a watch::Sender<Retention>,
    /// Whom the page lets in.
    pub door: &'a Door,
    /// Where it is said that a reload was refused.
    pub problems: &'a Problems,
}

impl Reload {
    /// Reads the file for the first time. From here on SIGHUP does not end the process.
    ///
    /// # Errors
    /// [`Code::Configuration`] with all mistakes, and what `accept` says.
    pub fn new(
        file: &Path,
        clock: Arc<dyn Clock>,
        accept: impl Fn(&Config) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let hangups = signal(SignalKind::hangup())
            .map_err(|e| Failure::new(Code::Software, format!("cannot catch SIGHUP: {e}")))?;
        let loaded = Loaded::read(file, &System)?;
        accept(&loaded.config)?;
        let loaded_at = now(&*clock);
        tracing::info!("configuration {}: loaded", file.display());
        Ok(Self { file: file.to_owned(), loaded, loaded_at, hangups, clock, accept: Box::new(accept) })
    }

    /// What is in effect.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Waits until somebody asks for a reload.
    pub async fn asked(&mut self) {
        if self.hangups.recv().await.is_none() {
            // No signal can come any more.
            std::future::pending::<()>().await;
        }
    }

    /// Reads the file again and puts it in effect, or says why not. Blocks while taps are exchanged.
    pub fn act(&mut self, reached: &mut Reached<'_>) -> Outcome {
        supervisor::reloading();
        let (file, at) = (self.file.display().to_string(), now(&*self.clock));
        let exchanged = self.exchange(reached);
        let done = exchanged.is_ok();
        let said = match exchanged {
            Ok(what) => {
                self.loaded_at.clone_from(&at);
                reached.problems.clear(KEY);
                let said = format!("configuration {file}: read again at {at}: {what}");
                tracing::info!("{said}");
                said
            }
            Err(Refused::Whole(why)) => {
                let before = &self.loaded_at;
                let said = format!("configuration {file}: refused at {at}, that of {before} stays in effect: {why}");
                reached.problems.notice(KEY, &said);
                said
            }
            Err(Refused::Half(why)) => {
                let said =
                    format!("configuration {file}: of {at}, not all of it took effect: {why}; restart chaperone");
                reached.problems.set(KEY, &said);
                said
            }
        };
        supervisor::reloaded(&said);
        Outcome { said, done }
    }

    /// Returns what changed.
    fn exchange(&mut self, reached: &mut Reached<'_>) -> Result<String, Refused> {
        let new = Loaded::read(&self.file, &System).map_err(|e| Refused::Whole(e.mistakes.join("; ")))?;
        let changes = self.loaded.changes(&new);
        judge(&changes).map_err(|why| Refused::Whole(why.join("; ")))?;
        (self.accept)(&new.config).map_err(|e| Refused::Whole(e.message))?;
        let ready = reached.taps.prepare(&new.config).map_err(|e| Refused::Whole(e.message))?;
        let certificate = reached.door.prepare().map_err(Refused::Whole)?;
        let what = sentence(&changes, &ready);
        reached.door.change(&new.config.web, certificate);
        // First the judge: a window that a new tap counts must find its pipeline.
        if let Some(pipelines) = reached.pipelines {
            pipelines.send_replace(Arc::clone(&new.config.pipelines));
        }
        reached.retention.send_replace(new.config.retention);
        self.loaded = new;
        reached.taps.change(ready).map_err(|e| Refused::Half(e.message))?;
        if let Some(lags) = &mut reached.lags {
            lags.change(&self.loaded.config).map_err(|e| Refused::Half(e.message))?;
        }
        Ok(what)
    }
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// In one sentence, without values.
    pub said: String,
    /// All of it took effect.
    pub done: bool,
}

enum Refused {
    /// Everything is as it was.
    Whole(String),
    /// The machine gave out in between.
    Half(String),
}

/// What changed, without values.
fn sentence(changes: &[Change], ready: &Ready) -> String {
    if changes.is_empty() && ready.clusters().is_empty() {
        return "nothing changed".to_owned();
    }
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    match ready.clusters().as_slice() {
        [] => format!("changed: {}; no tap of this process is exchanged", paths.join(", ")),
        taps => format!("changed: {}; taps exchanged: {}", paths.join(", "), taps.join(", ")),
    }
}

fn now(clock: &dyn Clock) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(clock.now_ms()).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
