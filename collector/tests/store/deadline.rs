//! A question ends at its asker's deadline, and the store answers the next; without one it goes on.

use std::time::{Duration, Instant};

use chaperone_collector::{StoreError, within};

use crate::place::Place;

/// For a broken build only.
const LONG: Duration = Duration::from_secs(30);
/// More than there are readers.
const ASKERS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_cut_and_every_reader_comes_back() {
    let place = Place::new();
    let store = place.open();
    place.drag();
    let began = Instant::now();
    let askers = (0..ASKERS).map(|_| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move { within(Duration::from_millis(200), store.complete_through()).await })
    });
    let askers: Vec<_> = askers.collect();
    for asker in askers {
        let cut = asker.await.expect("no panic").expect_err("cut");
        assert!(matches!(cut, StoreError::TooLong { action: "read how far topics are", .. }), "{cut}");
    }
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    // Each of them in turn, so that none was lost.
    for _ in 0..ASKERS {
        tokio::time::timeout(LONG, store.status()).await.expect("a reader is free").expect("answers");
    }
    // The control: nobody set a deadline, and it goes on.
    let patient = tokio::time::timeout(Duration::from_millis(600), store.complete_through()).await;
    assert!(patient.is_err(), "{patient:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_time_enough_the_answer_is_the_same() {
    let place = Place::new();
    let store = place.open();
    let hurried = within(LONG, store.complete_through()).await.expect("answers");
    assert_eq!(hurried, store.complete_through().await.expect("answers"));
    let none = within(Duration::ZERO, store.status()).await;
    assert!(matches!(none, Err(StoreError::TooLong { .. })), "{none:?}");
}
