//! What many streams follow is looked at once for all of them.
//!
//! A look is about a topic in a range. Whoever follows the first of its kind starts a task that looks at each revision, at most
//! once an interval; the last that leaves ends it. Limits: an entry for each kind that is followed now, so never more than
//! there are streams; one look at a time, so that pages keep readers of the store for themselves; [`LOOK`] for each, and
//! what takes longer is not known.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chaperone_collector::within;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// The longest that a look may take.
const LOOK: Duration = Duration::from_secs(2);

/// What streams share that show the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) topic: String,
    /// As it was written: it moves with the clock.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// The zone's distance from UTC.
    pub(super) offset_ms: i64,
}

/// A number that changes with what is shown; `None` where that cannot be known.
pub(super) type Mark = Option<u64>;

/// What was found, and by which look.
type Seen = Option<(u64, Mark)>;

#[derive(Debug)]
struct Shared {
    followers: usize,
    seen: watch::Receiver<Seen>,
    task: AbortHandle,
}

/// All that is followed.
#[derive(Debug)]
pub(crate) struct Follows {
    shared: Mutex<HashMap<Kind, Shared>>,
    turn: Arc<Semaphore>,
}

impl Default for Follows {
    fn default() -> Self {
        Self { shared: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

/// One who follows; leaves by being dropped.
pub(super) struct Follower {
    kind: Kind,
    follows: Arc<Follows>,
    seen: watch::Receiver<Seen>,
}

impl Follower {
    /// What was found last; waits for the first look. `None`: the store is gone.
    pub(super) async fn mark(&mut self) -> Option<Mark> {
        let seen = self.seen.wait_for(Option::is_some).await.ok()?;
        (*seen).map(|(_, mark)| mark)
    }

    /// Waits for the next look; `false`: there will be none.
    pub(super) async fn changed(&mut self) -> bool {
        self.seen.changed().await.is_ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut all = self.follows.shared.lock();
        let Some(shared) = all.get_mut(&self.kind) else { return };
        shared.followers -= 1;
        if shared.followers == 0 {
            shared.task.abort();
            all.remove(&self.kind);
        }
    }
}

impl Follows {
    /// Follows what `look` looks at, as all others do who follow that kind.
    pub(super) fn follow<F: Future<Output = Mark> + Send + 'static>(
        self: &Arc<Self>,
        kind: Kind,
        look: impl Fn() -> F + Send + 'static,
        revisions: watch::Receiver<u64>,
        every: Duration,
    ) -> Follower {
        let mut all = self.shared.lock();
        let shared = all.entry(kind.clone()).or_insert_with(|| {
            let (told, seen) = watch::channel(None);
            let turn = Arc::clone(&self.turn);
            let task = tokio::spawn(keep_looking(look, turn, revisions, told, every)).abort_handle();
            Shared { followers: 0, seen, task }
        });
        shared.followers += 1;
        Follower { kind, follows: Arc::clone(self), seen: shared.seen.clone() }
    }
}

/// Looks at each revision until the store is gone.
async fn keep_looking<F: Future<Output = Mark>>(
    look: impl Fn() -> F,
    turn: Arc<Semaphore>,
    mut revisions: watch::Receiver<u64>,
    told: watch::Sender<Seen>,
    every: Duration,
) {
    for times in 1.. {
        let Ok(ours) = turn.acquire().await else { return };
        revisions.borrow_and_update();
        let mark = within(LOOK, look()).await;
        drop(ours);
        told.send_replace(Some((times, mark)));
        tokio::time::sleep(every).await;
        if revisions.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
