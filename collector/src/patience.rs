//! How long whoever asks a store waits: what nobody waits for any more is not read to its end.
//!
//! [`within`] gives a deadline to every question that a future asks: a page's, say. Without one a question may take as long
//! as it needs: an export, a rebuild, the judge. Whoever asks and is dropped before the answer waits no longer either. Only
//! reading ends so; what was begun to be written is written.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::store::StoreError;

tokio::task_local! {
    static UNTIL: Instant;
}

/// Gives what `work` asks a store so long altogether. A question that is not answered by then is
/// [`TooLong`](StoreError::TooLong). What `work` spawns is not meant; within another deadline the earlier one counts.
pub async fn within<F: Future>(limit: Duration, work: F) -> F::Output {
    let until = Instant::now() + limit;
    let until = UNTIL.try_with(|outer| until.min(*outer)).unwrap_or(until);
    UNTIL.scope(until, work).await
}

/// Of one who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    until: Option<Instant>,
    gone: Arc<AtomicBool>,
}

/// While this lives somebody waits.
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Patience {
    /// Of whoever asks here and now.
    pub(crate) fn here() -> (Self, Waiting) {
        let patience = Self { until: UNTIL.try_with(|until| *until).ok(), gone: Arc::default() };
        let waiting = Waiting(Arc::clone(&patience.gone));
        (patience, waiting)
    }

    /// Nobody waits any longer.
    pub(crate) fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.until.is_some_and(|until| until <= Instant::now())
    }

    /// What is left until the deadline, if there is one.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits for a place among those who are answered; `None`: not any longer.
    pub(crate) async fn wait<T>(&self, place: impl Future<Output = T>) -> Option<T> {
        match self.left() {
            Some(left) => tokio::time::timeout(left, place).await.ok(),
            None => Some(place.await),
        }
    }
}

/// Nobody waits for `action` any longer.
pub(crate) fn too_long(path: &str, action: &'static str) -> StoreError {
    StoreError::TooLong { path: path.to_owned(), action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_earlier_deadline_counts_and_outside_there_is_none() {
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(1_000));
        let left = async || Patience::here().0.left();
        assert_eq!(left().await, None);
        for (outer, inner) in [(short, long), (long, short)] {
            let left = within(outer, within(inner, left())).await.expect("a deadline");
            assert!(left <= short, "{left:?}");
        }
        assert_eq!(left().await, None);
    }

    #[tokio::test]
    async fn it_ends_with_the_deadline_or_with_the_asker() {
        let (patience, waiting) = Patience::here();
        assert!(!patience.is_over() && !Patience::default().is_over());
        drop(waiting);
        assert!(patience.is_over());
        let (patience, _waiting) = within(Duration::ZERO, async { Patience::here() }).await;
        assert!(patience.is_over());
        assert_eq!(patience.wait(std::future::pending::<()>()).await, None);
    }
}
