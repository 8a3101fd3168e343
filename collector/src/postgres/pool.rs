//! Connections and the threads that use them.
//!
//! Readers and writers have half of the connections each, so that neither keeps the other waiting. Work that others were in the
//! way of, or whose connection ended, is run again, until it is done or the patience that was set is over: what ends then is told, and
//! nothing of it stays. Readers are people who wait for a page: their patience is shorter, and while the database is known to be
//! away they are told at once. What nobody waits for any more is not asked, and what is under way for them the server ends at their deadline;
//! only readers have one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use super::refusal::{Refusal, Remedy};
use super::session::{Session, remedy};
use crate::db::{Done, Fault, Tx};
use crate::patience::{Patience, too_long};
use crate::store::{Answer, StoreError};

/// The wait before another attempt; it grows with each.
const STEP: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);
/// A reader's patience at most.
const READERS_PATIENCE: Duration = Duration::from_secs(1);
/// For so long readers are told what the last attempt to connect met.
const KNOWN_AWAY: Duration = Duration::from_secs(2);

/// What work is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    Writing,
}

/// The pool.
pub(super) struct Pool {
    shared: Arc<Shared>,
    readers: Arc<Semaphore>,
    writers: Arc<Semaphore>,
}

struct Shared {
    settings: Settings,
    durable: bool,
    /// The schema has been looked at.
    checks: bool,
    idle: Mutex<Vec<Session>>,
    /// When connecting failed last, and why.
    away: Mutex<Option<(Instant, String)>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Shared {
    fn session(&self, what: For) -> Done<Session> {
        let mut idle = self.idle.lock();
        if let Some(found) = idle.iter().rposition(|session| session.what() == what) {
            return Ok(idle.swap_remove(found));
        }
        drop(idle);
        let connected = Session::connect(&self.settings, what, self.durable);
        let failed = connected.as_ref().err().filter(|fault| remedy(fault) == Remedy::Reconnect);
        *self.away.lock() = failed.map(|fault| (Instant::now(), fault.to_string()));
        let session = connected?;
        if self.checks {
            session.usable()?;
        }
        Ok(session)
    }

    /// Whether connecting has not failed lately.
    fn is_there(&self) -> Done<()> {
        match &*self.away.lock() {
            Some((at, why)) if at.elapsed() < KNOWN_AWAY => Err(Refusal::Away(why.clone()).into()),
            _ => Ok(()),
        }
    }

    fn attempt<T>(&self, what: For, work: &dyn Fn(&mut Session) -> Done<T>) -> Done<T> {
        let mut session = self.session(what)?;
        let outcome = work(&mut session);
        if session.is_over() {
            // What is idle ended by the same, as a rule.
            self.idle.lock().clear();
        } else {
            self.idle.lock().push(session);
        }
        outcome
    }

    fn run<T>(&self, what: For, asker: &Patience, work: &dyn Fn(&mut Session) -> Done<T>) -> Done<T> {
        let patience = self.settings.patience;
        let patience = if what == For::Reading { patience.min(READERS_PATIENCE) } else { patience };
        let until = Instant::now() + patience;
        let mut wait = STEP;
        if what == For::Reading {
            self.is_there()?;
        }
        loop {
            if asker.is_over() {
                return Err(Fault::TooLong);
            }
            match self.attempt(what, work) {
                Err(fault) if remedy(&fault) != Remedy::None && Instant::now() < until => {
                    tracing::debug!("store: {fault}; tried again");
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(LONGEST);
                }
                outcome => return outcome,
            }
        }
    }
}

impl Pool {
    /// A pool without connections yet. `checks`: what connects must find this build's schema.
    pub(super) fn new(settings: Settings, durable: bool, checks: bool) -> Self {
        let half = settings.connections.div_ceil(2).max(1) as usize;
        let shared = Shared { settings, durable, checks, idle: Mutex::default(), away: Mutex::default() };
        let permits = || Arc::new(Semaphore::new(half));
        Self { shared: Arc::new(shared), readers: permits(), writers: permits() }
    }

    /// Makes one connection and runs `work` on it: the schema, before anything else.
    pub(super) fn first(&self, work: &dyn Fn(&mut Session) -> Done<()>) -> Done<()> {
        self.shared.run(For::Writing, &Patience::default(), work)
    }

    /// Runs `work` on one moment of the store, for as long as whoever asks waits.
    pub(super) fn read<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&dyn Tx) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let (patience, _waiting) = Patience::here();
            let Some(permit) = patience.wait(Arc::clone(&self.readers).acquire_owned()).await else {
                return Err(too_long(&self.shared.settings.place, action));
            };
            let permit = permit.map_err(|_| StoreError::Stopped)?;
            let asker = patience.clone();
            self.on_a_thread(permit, For::Reading, asker, action, move |session| session.read(&patience, &work)).await
        })
    }

    /// Runs `work` on a connection that may write. Once begun it runs to its end, whether or not anybody waits.
    pub(super) fn write<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        work: impl Fn(&mut Session) -> Done<T> + Send + 'static,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let permit = Arc::clone(&self.writers).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
            self.on_a_thread(permit, For::Writing, Patience::default(), action, work).await
        })
    }

    /// Runs `work` on a connection, on a thread that may wait.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        what: For,
        asker: Patience,
        action: &'static str,
        work: impl Fn(&mut Session) -> Done<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = shared.run(what, &asker, &work);
            drop(permit);
            outcome
        });
        outcome.await.map_err(|_| StoreError::Stopped)?.map_err(|fault| told(&self.shared.settings, action, fault))
    }
}

/// A fault as callers see it.
pub(super) fn told(settings: &Settings, action: &'static str, fault: Fault) -> StoreError {
    match fault {
        Fault::Moved { topic, partition, log } => StoreError::Moved { topic, partition, log },
        Fault::Former { topic } => StoreError::Former { topic },
        Fault::TooLong => too_long(&settings.place, action),
        fault => StoreError::Database { path: settings.place.clone(), action, source: Box::new(fault) },
    }
}
