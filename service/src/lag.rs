//! How far consumer groups are behind: a thread per cluster asks, again and again, what groups have committed and where
//! partitions end, and puts the answer into the store, where page, API, SQL and metrics read it.
//!
//! [`watcher`] asks (no group is joined, one client asks for all of them), [`ledger`] makes rows of the answers, [`ring`]
//! and the store's index say when an offset arrived. Nothing here counts messages or decides a verdict: a cluster that
//! does not answer costs rows that are old, and say so.

pub mod history;
pub mod ledger;
pub mod retention;
pub mod ring;
pub mod settings;
pub mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::tap::Shared;
use crate::threads;
pub use settings::Settings;
use watcher::Watcher;

/// The watchers of this process, as a set that can be changed while it runs.
pub struct Lags {
    shared: Shared,
    running: Vec<(Settings, Running)>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Lags {
    /// Starts these.
    ///
    /// # Errors
    /// When librdkafka refuses a property, or no thread can be started.
    pub fn start(wanted: Vec<Settings>, shared: Shared) -> Result<Self, Failure> {
        let mut lags = Self { shared, running: Vec::new() };
        lags.exchange(wanted)?;
        Ok(lags)
    }

    /// Makes it as `config` wants it: what differs ends and begins anew, the rest goes on.
    ///
    /// # Errors
    /// As [`start`](Self::start); what ran and is not wanted has ended.
    pub fn change(&mut self, config: &Config) -> Result<(), Failure> {
        self.exchange(Settings::of(config))
    }

    fn exchange(&mut self, mut wanted: Vec<Settings>) -> Result<(), Failure> {
        let running = std::mem::take(&mut self.running);
        let (kept, ended): (Vec<_>, Vec<_>) = running.into_iter().partition(|(settings, _)| wanted.contains(settings));
        self.running = kept;
        for (settings, ended) in ended {
            ended.stop();
            let key = watcher::key(&settings.cluster.name);
            self.shared.problems.forget(|k| k.starts_with(&key));
        }
        wanted.retain(|settings| !self.running.iter().any(|(running, _)| running == settings));
        for settings in wanted {
            let watcher = Watcher::new(&settings, &self.shared)?;
            let name = format!("lag-{}", settings.cluster.name);
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = Arc::clone(&stop);
            let thread = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || watcher.run(&stopped))
                .map_err(|e| Failure::new(Code::Software, format!("cannot start thread {name}: {e}")))?;
            self.running.push((settings, Running { stop, thread }));
        }
        Ok(())
    }

    /// Asks all to end.
    pub fn stop(&self) {
        self.running.iter().for_each(|(_, running)| running.stop());
    }

    /// Waits until all have ended, at most until `deadline`. Blocks; not for a runtime's thread.
    pub fn join(self, deadline: Instant) {
        self.stop();
        for (settings, running) in self.running {
            threads::join(&format!("lag-{}", settings.cluster.name), running.thread, deadline);
        }
    }
}

impl Running {
    /// It may be waiting for a broker: it ends by itself after that, and writes nothing any more.
    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}
