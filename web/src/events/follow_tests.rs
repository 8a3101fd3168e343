//! One look for all who follow the same, none for nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const EVERY: Duration = Duration::from_millis(1);

struct World {
    follows: Arc<Follows>,
    revision: watch::Sender<u64>,
    looks: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self { follows: Arc::default(), revision: watch::Sender::new(1), looks: Arc::default() }
    }

    /// Finds the revision.
    fn follow(&self, kind: &Kind) -> Follower {
        let (looks, revisions) = (Arc::clone(&self.looks), self.revision.subscribe());
        let look = move || {
            looks.fetch_add(1, Ordering::SeqCst);
            let found = *revisions.borrow();
            async move { Some(found) }
        };
        self.follows.follow(kind.clone(), look, self.revision.subscribe(), EVERY)
    }

    fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }
}

fn kind(topic: &str, from: &str) -> Kind {
    Kind { topic: topic.into(), from: Some(from.into()), to: None, offset_ms: 0 }
}

#[tokio::test]
async fn two_hundred_cost_what_one_does() {
    let world = World::new();
    let mut all: Vec<Follower> = (0..200).map(|_| world.follow(&kind("a", "now-24h"))).collect();
    for revision in 1..=10 {
        world.revision.send_replace(revision);
        for follower in &mut all {
            while follower.mark().await != Some(Some(revision)) {
                assert!(follower.changed().await);
            }
        }
        assert_eq!(world.looks(), revision);
    }
    // What happens within the interval is one look.
    for revision in 11..=20 {
        world.revision.send_replace(revision);
    }
    while all[0].mark().await != Some(Some(20)) {
        assert!(all[0].changed().await);
    }
    assert_eq!(world.looks(), 11);
}

#[tokio::test]
async fn what_differs_is_not_mixed_up_and_who_leaves_is_forgotten() {
    let world = World::new();
    let mut kinds = vec![kind("a", "now-1h"), kind("a", "now-2h"), kind("b", "now-1h")];
    kinds.push(Kind { offset_ms: 3_600_000, ..kind("a", "now-1h") });
    kinds.push(Kind { to: Some("now".into()), ..kind("a", "now-1h") });
    let mut all: Vec<Follower> = kinds.iter().chain(&kinds).map(|kind| world.follow(kind)).collect();
    for follower in &mut all {
        assert_eq!(follower.mark().await, Some(Some(1)));
    }
    let kept = || world.follows.shared.lock().len();
    assert_eq!((world.looks(), kept()), (5, 5));
    let second = all.split_off(5);
    drop(all);
    assert_eq!(kept(), 5, "others follow them still");
    drop(second);
    assert_eq!(kept(), 0);
    // Nobody listens to revisions any more.
    world.revision.closed().await;
    assert_eq!(world.looks(), 5);
}

#[tokio::test]
async fn what_cannot_be_known_is_unknown_and_the_store_may_end() {
    let world = World::new();
    let unknown = || std::future::ready(None);
    let mut follower = world.follows.follow(kind("a", "now-1h"), unknown, world.revision.subscribe(), EVERY);
    assert_eq!(follower.mark().await, Some(None));
    drop(world.revision);
    assert!(!follower.changed().await);
    // What was seen last is still told.
    assert_eq!(follower.mark().await, Some(None));
}
